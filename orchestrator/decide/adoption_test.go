package decide

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// setUpByHand is a view of servers that somebody has set up: the first takes writes, the
// others replicate from it, and their adoption is asked for.
func setUpByHand(now time.Time, servers ...string) View {
	v := beginning(now, servers, nil)
	v.Policy = &Policy{Bootstrap: &BootstrapRequest{ID: "one", Adopt: true}}
	v.Configured = named(servers...)
	for _, name := range servers {
		v.Statuses[name] = Status{Process: ProcessRunning, StartID: name + "1", ServerUUID: uuidOf(name)}
		live := Live{Server: name, Process: ProcessRunning, StartID: name + "1", Answers: true, Executed: gs("a:1-10")}
		if name != servers[0] {
			live.ReadOnly, live.SuperReadOnly, live.Source, live.SourceUUID = true, true, servers[0], uuidOf(servers[0])
			live.Receiver, live.Applier, live.Executed = ReceiverOn, ReceiverOn, gs("a:1-9")
		}
		before := now.Add(-100 * time.Millisecond)
		v.Seen[name] = Observation{}.Heard(live, before, before).Heard(live, now, now)
	}
	return v
}

func TestS2S6_AnAdoptedPrimaryPromisesNothingBeforeItIsSeenToWait(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	v := setUpByHand(now, "a", "b", "c")
	d := Decide(v, testSettings(), now)
	if d.Change == nil || d.Change.Record == nil {
		t.Fatalf("it is not adopted: %s, waits %v", d.Detail, d.Waits)
	}
	r := *d.Change.Record
	if r.Primary != "a" || r.Term != 1 || !r.Suspended || len(r.InSync) > 0 || r.Complete || r.CompleteSince != 1 || !r.Base.Equal(gs("a:1-10")) {
		t.Errorf("the record begins with %+v", r)
	}
	spec := d.Change.Specs["a"]
	if len(d.Change.Specs) != 1 || spec.Goal != GoalPrimary || !spec.Adopt || !spec.Suspended || len(spec.Accounts) != 3 {
		t.Errorf("the specs are %+v", d.Change.Specs)
	}
	if found := faults(v, d.Change, testSettings(), now); len(found) > 0 {
		t.Error(found)
	}

	// Each of the invariants sees its own breach.
	for rule, spoil := range map[string]func(*Record){
		"S2": func(r *Record) { r.InSync = []string{"b"} },
		"S6": func(r *Record) { r.Complete = true },
		"S1": func(r *Record) { r.Primary = "b" },
	} {
		broken := *d.Change
		spoilt := r.clone()
		spoil(&spoilt)
		broken.Record = &spoilt
		if found := faults(v, &broken, testSettings(), now); !slices.ContainsFunc(found, func(f string) bool { return strings.HasPrefix(f, rule) }) {
			t.Errorf("%s is broken, and only this is seen: %v", rule, found)
		}
	}

	// The accounts are there: the replicas go on as they are, with their own.
	r.Version, v.Record, v.Servers, v.Revision = 1, &r, []string{"a", "b", "c"}, 7
	v.Specs["a"] = SpecAt{Spec: spec, Revision: 7}
	st := v.Statuses["a"]
	st.SpecRevision, st.Plan, st.State, st.OpenTerm = 7, r.Plan.ID, SpecDone, 1
	v.Statuses["a"] = st
	d = Decide(v, testSettings(), now)
	if d.Change == nil || d.Change.Record == nil || d.Change.Record.Plan != nil || d.Change.History == nil || d.Change.History.Result != "completed" {
		t.Fatalf("it does not go on: %+v", d)
	}
	for _, name := range []string{"b", "c"} {
		if spec := d.Change.Specs[name]; spec.Goal != GoalFollow || spec.Source != "a" || spec.Acks {
			t.Errorf("%s: %+v", name, spec)
		}
	}
}

func TestWhatIsInTheWayOfAnAdoptionIsSaidAtOnce(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	live := func(name string, change func(*Live)) func(*View) {
		return func(v *View) {
			seen := v.Seen[name]
			change(&seen.Live)
			v.Seen[name] = seen
		}
	}
	for name, c := range map[string]struct {
		spoil  func(*View)
		code   Code
		server string
	}{
		"a daemon is missing":         {func(v *View) { delete(v.Members, "b") }, CodeWaitingForServers, "b"},
		"mysqld is not attached to":   {func(v *View) { v.Statuses["b"] = Status{} }, CodeWaitingForServers, "b"},
		"it cannot be reached by SQL": {func(v *View) { s := v.Seen["c"]; s.SQLFailure = FailureRefused; v.Seen["c"] = s }, CodeMysqldUnreachable, "c"},
		"there was a record":          {func(v *View) { s := v.Statuses["c"]; s.TermSeen = 3; v.Statuses["c"] = s }, CodeServerNotEmpty, "c"},
		"a variable is wrong": {func(v *View) {
			s := v.Statuses["c"]
			s.Findings = []Finding{{CodeBadVariable, "x"}}
			v.Statuses["c"] = s
		}, CodeBadVariable, "c"},
		"a server_id is there twice": {func(v *View) {
			live("b", func(l *Live) { l.ServerID = 4 })(v)
			live("c", func(l *Live) { l.ServerID = 4 })(v)
		}, CodeDuplicateServerID, "c"},
		"nobody takes writes":               {live("a", func(l *Live) { l.ReadOnly = true }), CodeAdoptionWaits, ""},
		"two take writes":                   {live("b", func(l *Live) { l.ReadOnly = false }), CodeAdoptionWaits, ""},
		"another was named":                 {func(v *View) { v.Policy.Bootstrap.Primary = "b" }, CodeAdoptionWaits, "b"},
		"the primary is a replica":          {live("a", func(l *Live) { l.SourceUUID = uuidOf("f") }), CodeForeignReplication, "a"},
		"the primary waits already":         {live("a", func(l *Live) { l.Waits = true }), CodeSemiSyncOn, "a"},
		"one replicates from nobody":        {live("b", func(l *Live) { l.Source, l.SourceUUID = "", "" }), CodeAdoptionWaits, "b"},
		"one replicates from outside":       {live("b", func(l *Live) { l.Source, l.SourceUUID = "", uuidOf("f") }), CodeForeignReplication, "b"},
		"one does not replicate":            {live("b", func(l *Live) { l.Receiver = ReceiverOff }), CodeReplicationBroken, "b"},
		"one has what the primary does not": {func(v *View) { s := v.Seen["b"]; s.ExecutedBefore = gs("a:1-9,b:1"); v.Seen["b"] = s }, CodeErrant, "b"},
		"one was seen once only":            {func(v *View) { s := v.Seen["b"]; s.BeforeAt = time.Time{}; v.Seen["b"] = s }, CodeWaitingForServers, "b"},
	} {
		v := setUpByHand(now, "a", "b", "c")
		c.spoil(&v)
		d := Decide(v, testSettings(), now)
		named := func(w Wait) bool { return w.Code == c.code && w.Server == c.server && w.Detail != "" }
		if d.Change != nil || !slices.ContainsFunc(d.Waits, named) {
			t.Errorf("%s: changes %v, waits %v", name, d.Change, d.Waits)
		}
		if d.Beginning == nil || !d.Beginning.Adopt || !slices.ContainsFunc(d.Beginning.Problems, named) {
			t.Errorf("%s: a dry run would say %+v", name, d.Beginning)
		}
	}
}

// Nobody asks for it, and so nothing is done; the outlook says what would be.
func TestARunningClusterIsNotAdoptedUnasked(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	v := setUpByHand(now, "a", "b", "c")
	v.Policy = nil
	d := Decide(v, testSettings(), now)
	if d.Change != nil || d.Beginning == nil || !d.Beginning.Adopt || d.Beginning.Primary != "a" || len(d.Beginning.Problems) > 0 || len(d.Beginning.Changes) != 4 {
		t.Errorf("changes %v, beginning %+v", d.Change, d.Beginning)
	}
	// Nor are empty servers begun with another first primary than the one that was named.
	v = beginning(now, []string{"a", "b", "c"}, nil)
	v.Policy = &Policy{Bootstrap: &BootstrapRequest{ID: "one", Primary: "b"}}
	if d := Decide(v, testSettings(), now); d.Change == nil || d.Change.Record.Primary != "b" || d.Beginning.Adopt {
		t.Errorf("empty servers: %+v", d)
	}
}
