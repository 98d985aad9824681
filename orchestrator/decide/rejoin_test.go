package decide

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/mysqlha/mysqlha/replication/gtid"
)

// returned lays a cluster in term 2 of b, to which the former primary a comes
// back with transactions that b does not have.
func returned(t *testing.T, tail gtid.Set, change func(*Record, *Status)) (*table, Decision) {
	t.Helper()
	c := chosen(t).did("b", gs("a:1-12"), none).did("c", gs("a:1-12"), none)
	c.settle()
	c.status("b", func(s *Status) { s.OpenTerm, s.TermSeen = 2, 2 })
	c.live("b", func(l *Live) { l.OpenTerm, l.Executed, l.SuperReadOnly = 2, gs("a:1-12,b:1-3"), false })
	c.live("c", func(l *Live) { l.Source, l.Executed, l.Acks, l.Receiver = "b", gs("a:1-12,b:1-3"), true, ReceiverOn })
	c.pass(time.Second).pass(time.Second).settle()
	c.returns("a", "a2", tail)
	c.status("a", func(s *Status) { s.TailOf, s.ServerUUID = 1, uuidOf("a"); change(c.Record, s) })
	c.settle()
	return c, c.decide()
}

func TestS7_OnlyWhatNobodyWasToldOfIsReplacedByAClone(t *testing.T) {
	for _, tc := range []struct {
		name   string
		tail   string
		change func(*Record, *Status)
		goal   Goal
	}{
		{"its own tail", "a:1-13", func(*Record, *Status) {}, GoalClone},
		{"a term since was opened incomplete", "a:1-13", func(r *Record, _ *Status) { r.CompleteSince = 2 }, GoalStand},
		{"it was complete since that term", "a:1-13", func(r *Record, _ *Status) { r.CompleteSince = 1 }, GoalClone},
		{"it has followed since", "a:1-13", func(_ *Record, s *Status) { s.TailOf = 0 }, GoalStand},
		{"it was open in the term that is", "a:1-13", func(_ *Record, s *Status) { s.TailOf = 2 }, GoalStand},
		{"it acknowledged without replicas", "a:1-13", func(_ *Record, s *Status) { s.Weakened = true }, GoalStand},
		{"it was stopped past its gate", "a:1-13", func(_ *Record, s *Status) { s.LetGo = true }, GoalStand},
		{"whose they are is not known", "a:1-13", func(_ *Record, s *Status) { s.ServerUUID = "" }, GoalStand},
		{"others' that it received", "a:1-12,d:1", func(_ *Record, s *Status) { s.TailOf, s.FollowedTerm = 0, 1 }, GoalClone},
		{"others', in a term before an incomplete one", "a:1-12,d:1", func(r *Record, s *Status) { s.FollowedTerm, r.CompleteSince = 1, 2 }, GoalStand},
		{"others', and it never followed", "a:1-12,d:1", func(*Record, *Status) {}, GoalStand},
		{"of both kinds, one not known", "a:1-13,d:1", func(_ *Record, s *Status) { s.TailOf, s.FollowedTerm = 0, 1 }, GoalStand},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, d := returned(t, gs(tc.tail), tc.change)
			spec := c.Specs["a"]
			if spec.Goal != tc.goal || spec.Errant.IsEmpty() {
				t.Fatalf("a is asked to %s, errant %s", spec.Goal, spec.Errant)
			}
			if tc.goal == GoalStand {
				c.mustWait(d, CodeDiverged)
				return
			}
			c.mustWait(d, CodeCloning)
			if spec.Source != "c" || spec.Plan == "" {
				t.Errorf("a copies %q under the plan %q", spec.Source, spec.Plan)
			}
		})
	}
}

func TestS7_AHumanMayGiveUpTransactionsByName(t *testing.T) {
	c, _ := returned(t, gs("a:1-12,d:1-2"), func(*Record, *Status) {})
	for _, tc := range []struct {
		discard map[string]gtid.Set
		goal    Goal
	}{
		{map[string]gtid.Set{"a": gs("d:1")}, GoalStand},
		{map[string]gtid.Set{"c": gs("d:1-2")}, GoalStand},
		{map[string]gtid.Set{"a": gs("d:1-5")}, GoalClone},
	} {
		c.Policy = &Policy{Discard: tc.discard}
		if c.settle(); c.Specs["a"].Goal != tc.goal {
			t.Errorf("%v given up: a is asked to %s", tc.discard, c.Specs["a"].Goal)
		}
	}
}

func TestS7_OnlyWhatAHumanCallsHarmlessIsInjected(t *testing.T) {
	c, _ := returned(t, gs("a:1-12,d:1-2"), func(*Record, *Status) {})
	for _, tc := range []struct {
		name     string
		harmless map[string]gtid.Set
		inject   gtid.Set
	}{
		{"nothing", nil, none},
		{"not all", map[string]gtid.Set{"a": gs("d:1")}, none},
		{"another's", map[string]gtid.Set{"c": gs("d:1-2")}, none},
		{"more than it has", map[string]gtid.Set{"a": gs("d:1-3")}, none},
		{"all", map[string]gtid.Set{"a": gs("d:1-2")}, gs("d:1-2")},
	} {
		c.Policy = &Policy{Harmless: tc.harmless}
		if c.settle(); !c.Specs["b"].Inject.Equal(tc.inject) || c.Specs["a"].Goal != GoalStand {
			t.Errorf("%s: b is asked to make %s, a to %s", tc.name, c.Specs["b"].Inject, c.Specs["a"].Goal)
		}
	}
	// The primary has made them.
	c.live("b", func(l *Live) { l.Executed = l.Executed.Union(gs("d:1-2")) })
	if c.settle(); c.Specs["a"].Goal != GoalFollow || !c.Specs["b"].Inject.IsEmpty() {
		t.Errorf("a is asked to %s, and b to make %s", c.Specs["a"].Goal, c.Specs["b"].Inject)
	}
	if err := (Policy{Durability: DurabilityLossless, RequiredAcks: 1, Harmless: map[string]gtid.Set{"a": gs("d:1-1001")}}).Check(3); err == nil {
		t.Error("too many are taken")
	}
}

func TestNothingIsClonedAgainstTheSettings(t *testing.T) {
	c, _ := returned(t, gs("a:1-13"), func(r *Record, _ *Status) { r.CompleteSince = 2 }) // Not discardable yet.
	c.Record.CompleteSince = 0
	for _, tc := range []struct {
		policy *Policy
		goal   Goal
	}{
		{&Policy{AutoRejoin: AutoRejoinOff}, GoalStand},
		{&Policy{AutoRejoin: AutoRejoinRewind}, GoalStand},
		{&Policy{AutoRejoin: AutoRejoinOff, Discard: map[string]gtid.Set{"a": gs("a:13")}}, GoalClone},
	} {
		c.Policy = tc.policy
		c.settle()
		if d := c.decide(); c.Specs["a"].Goal != tc.goal {
			t.Errorf("%+v: a is asked to %s (%v)", *tc.policy, c.Specs["a"].Goal, d.Waits)
		}
	}
	if err := (Policy{Durability: DurabilityLossless, RequiredAcks: 1, AutoRejoin: "perhaps"}).Check(3); err == nil {
		t.Error("an unknown value is taken")
	}
}

func TestACloneGoesOnUntilItIsDone(t *testing.T) {
	c, _ := returned(t, gs("a:1-13"), func(*Record, *Status) {})
	first := c.Specs["a"]
	// mysqld restarts in the middle of it.
	c.returns("a", "a3", gs("a:1-12"))
	c.pass(5 * time.Second).settle()
	if c.Specs["a"].Revision != first.Revision {
		t.Fatalf("a restart changes the spec to %+v", c.Specs["a"].Spec)
	}
	c.status("a", func(s *Status) { s.SpecRevision, s.State = first.Revision, SpecFailed })
	if c.settle(); c.Specs["a"].Revision != first.Revision {
		t.Fatalf("a failure changes the spec to %+v while the donor is there", c.Specs["a"].Spec)
	}
	c.status("a", func(s *Status) { s.State = SpecDone })
	if c.settle(); c.Specs["a"].Goal != GoalFollow || c.Specs["a"].Acks {
		t.Errorf("after the clone a is asked to %+v", c.Specs["a"].Spec)
	}
}

func TestACloneWhoseDonorIsGoneBeginsAgainElsewhere(t *testing.T) {
	c, _ := returned(t, gs("a:1-13"), func(*Record, *Status) {})
	first := c.Specs["a"]
	c.vanishes("c")
	if c.pass(behind*c.s.RemovalDelay - time.Second).settle(); c.Specs["a"].Revision != first.Revision {
		t.Fatalf("after a moment's silence of the donor a is asked to %+v", c.Specs["a"].Spec)
	}
	if c.pass(time.Second).settle(); c.Specs["a"].Goal != GoalStand {
		t.Errorf("the donor is silent, and a is asked to %+v", c.Specs["a"].Spec)
	}
}

func TestNothingIsClonedWhereItDoesNotFit(t *testing.T) {
	c, _ := returned(t, gs("a:1-13"), func(r *Record, _ *Status) { r.CompleteSince = 2 }) // Not discardable yet.
	c.Record.CompleteSince = 0
	c.live("c", func(l *Live) { l.Disk = Disk{Free: 1, Data: 10e9, Logs: 500e9} })
	for _, tc := range []struct {
		disk Disk
		goal Goal
	}{
		{Disk{Free: 4e9, Data: 5e9, Logs: 1e9}, GoalStand},
		{Disk{Free: 4e9, Data: 5e9, Logs: 2e9}, GoalClone},
	} {
		c.live("a", func(l *Live) { l.Disk = tc.disk })
		if c.settle(); c.Specs["a"].Goal != tc.goal {
			t.Errorf("with %+v a is asked to %s", tc.disk, c.Specs["a"].Goal)
		}
		if d := c.decide(); tc.goal == GoalStand {
			c.mustWait(d, CodeNoDonor)
			c.mustWait(d, CodeDiskFull) // The donor's own.
		}
	}
}

// One look at a server and an older one at the primary do not tell what is too
// much: the primary may have it by now.
func TestS7_NothingIsClonedOverOnAnOldLook(t *testing.T) {
	c, _ := returned(t, gs("a:1-13"), func(r *Record, _ *Status) { r.CompleteSince = 2 }) // Not discardable yet.
	c.Record.CompleteSince = 0
	errant := gs("a:13")
	for name, spoil := range map[string]func(*Observation, *Observation){
		"it had something else a moment ago": func(a, _ *Observation) { a.AllBefore = gs("a:1-12") },
		"nothing is known of before":         func(a, _ *Observation) { a.BeforeAt = time.Time{} },
		"the primary was asked before that":  func(_, b *Observation) { b.Live.Age = time.Hour },
		"the primary has not opened":         func(_, b *Observation) { b.Live.OpenTerm = 0 },
	} {
		d := &decider{View: c.View, settings: c.s, now: c.now}
		if !d.stillErrant(*c.Record, "a", errant) {
			t.Fatal("it is not errant at all")
		}
		a, b := c.Seen["a"], c.Seen["b"]
		spoil(&a, &b)
		d.Seen = maps.Clone(c.Seen)
		d.Seen["a"], d.Seen["b"] = a, b
		if d.stillErrant(*c.Record, "a", errant) || d.mustBeCloned(*c.Record, "a", errant) {
			t.Errorf("%s, and it is cloned over", name)
		}
	}
}

func TestOneServerIsClonedAtATime(t *testing.T) {
	c := healthy(t, "a", "b", "c", "d", "e")
	c.Record.InSync = []string{"b", "c"}
	for _, name := range []string{"d", "e"} {
		delete(c.Record.Runs, name)
		c.returns(name, name+"2", none)
		c.status(name, func(s *Status) { s.Unusable = CodeCloneUnfinished })
	}
	c.settle()
	first := c.Specs["d"]
	if first.Goal != GoalClone || c.Specs["e"].Goal != GoalStand {
		t.Fatalf("d is asked to %s, e to %s", first.Goal, c.Specs["e"].Goal)
	}
	c.vanishes("d").pass(c.s.RemovalDelay - 500*time.Millisecond).settle()
	if c.Specs["e"].Goal != GoalStand {
		t.Error("d may come back, and e is cloned as well")
	}
	if c.pass(time.Second).settle(); c.Specs["e"].Goal != GoalClone {
		t.Errorf("d is gone, and e is asked to %s", c.Specs["e"].Goal)
	}
	c.returns("d", "d3", none)
	c.status("d", func(s *Status) {
		s.Unusable, s.SpecRevision, s.State = CodeCloneUnfinished, first.Revision, SpecRefused
	})
	c.status("e", func(s *Status) { s.SpecRevision, s.State, s.Unusable = c.Specs["e"].Revision, SpecDone, "" })
	if c.settle(); c.Specs["d"].Goal != GoalClone || c.Specs["d"].Plan == first.Plan {
		t.Errorf("after it refused, d is asked to %s under the plan %s", c.Specs["d"].Goal, c.Specs["d"].Plan)
	}
}

func TestABegunCloneIsFinishedAgainstTheSettings(t *testing.T) {
	c, _ := returned(t, gs("a:1-12"), func(*Record, *Status) {})
	c.Policy = &Policy{AutoRejoin: AutoRejoinOff}
	c.status("a", func(s *Status) { s.Unusable = CodeRewindFailed })
	if c.settle(); c.Specs["a"].Goal == GoalClone {
		t.Fatal("a clone is begun")
	}
	c.status("a", func(s *Status) { s.Unusable = CodeCloneUnfinished })
	if c.settle(); c.Specs["a"].Goal != GoalClone {
		t.Errorf("a is asked to %s", c.Specs["a"].Goal)
	}
}

// A half-cloned server holds nothing, so that nothing seems to be too much; its
// daemon lets it follow nobody. No failover may wait for it.
func TestS5_AHalfClonedServerIsNoFollower(t *testing.T) {
	c := chosen(t).did("b", gs("a:1-12"), gs("a:5-12"))
	c.settle()
	c.returns("a", "a2", none).did("a", none, none)
	c.status("a", func(s *Status) { s.Unusable = CodeCloneUnfinished })
	d := &decider{View: c.View, settings: c.s, now: c.now}
	if more := d.moreFollowers(c.Record.Plan); len(more) > 0 {
		t.Errorf("%v enter the plan", more)
	}
	c.status("a", func(s *Status) { s.Unusable = "" })
	d = &decider{View: c.View, settings: c.s, now: c.now}
	if more := d.moreFollowers(c.Record.Plan); !slices.Equal(more, []string{"a"}) {
		t.Errorf("%v enter the plan, not a", more)
	}
}

func TestTheProgressOfACloneIsTold(t *testing.T) {
	for want, p := range map[string]CloneProgress{
		"": {Done: 5},
		"file copy, 25 % of 4.0 GB, 100.0 MB/s, about 30s left": {Stage: "file copy", Done: 1e9, Total: 4e9, For: 10 * time.Second},
		"100 % of 4.0 kB, 410 B/s":                              {Done: 4100, Total: 4000, For: 10 * time.Second},
	} {
		if got := p.String(); got != want {
			t.Errorf("%+v is %q, not %q", p, got, want)
		}
	}
}

func TestAServerWhoseDataIsNobodysIsCloned(t *testing.T) {
	for _, problem := range []Code{CodeRewindFailed, CodeCloneUnfinished} {
		c, _ := returned(t, gs("a:1-12"), func(*Record, *Status) {})
		if c.Specs["a"].Goal != GoalFollow {
			t.Fatalf("a is asked to %s", c.Specs["a"].Goal)
		}
		c.status("a", func(s *Status) { s.Unusable = problem })
		if c.settle(); c.Specs["a"].Goal != GoalClone {
			t.Errorf("%s: a is asked to %+v", problem, c.Specs["a"].Spec)
		}
	}
}

func TestAReplicaWhoseSourceHasPurgedWhatItNeedsIsCloned(t *testing.T) {
	c, _ := returned(t, gs("a:1-12"), func(*Record, *Status) {})
	follow := c.Specs["a"]
	c.status("a", func(s *Status) { s.SpecRevision, s.State, s.Problem = follow.Revision-1, SpecRefused, CodeSourcePurged })
	if c.settle(); c.Specs["a"].Revision != follow.Revision {
		t.Fatalf("what was said of another spec counts: %+v", c.Specs["a"].Spec)
	}
	c.status("a", func(s *Status) { s.SpecRevision = follow.Revision })
	if c.settle(); c.Specs["a"].Goal != GoalClone || !c.Specs["a"].Errant.IsEmpty() {
		t.Errorf("a is asked to %+v", c.Specs["a"].Spec)
	}
}

func TestTheDonorIsAReplicaOrElseAPrimaryWhoseCommitsDoNotWait(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*table)
		donor  string
	}{
		{"a replica in sync", func(*table) {}, "c"},
		{"no replica acknowledges", func(c *table) { c.live("c", func(l *Live) { l.Acks, l.Receiver = false, ReceiverConnecting }) }, ""},
		{"no replica, and the primary acknowledges alone", func(c *table) {
			c.Record.Suspended = true
			c.live("c", func(l *Live) { l.Acks, l.Receiver = false, ReceiverConnecting })
		}, "b"},
	} {
		c := healthy(t, "a", "b", "c")
		c.Record.Primary, c.Record.InSync = "b", []string{"c"}
		c.live("b", func(l *Live) { l.OpenTerm = 1 })
		c.status("b", func(s *Status) { s.OpenTerm = 1 })
		c.live("c", func(l *Live) { l.Source = "b" })
		tc.change(c)
		d := &decider{View: c.View, settings: c.s, now: c.now}
		if got := d.donor(*c.Record, "a"); got != tc.donor {
			t.Errorf("%s: %q gives the data, want %q", tc.name, got, tc.donor)
		}
	}
}

// alone brings a failover to where its candidate b waits for a follower: c has
// died, and the former primary a is back with a tail.
func alone(t *testing.T, tail gtid.Set, change func(*Record, *Status)) (*table, Decision) {
	t.Helper()
	c := chosen(t).did("b", gs("a:1-12"), none).dies("c")
	c.returns("a", "a2", tail)
	c.status("a", func(s *Status) { s.TailOf, s.ServerUUID = 1, uuidOf("a"); change(c.Record, s) })
	c.settle()
	c.status("a", func(s *Status) { s.State, s.SpecRevision, s.Plan = SpecDone, c.Specs["a"].Revision, c.Specs["a"].Plan })
	return c, c.settle()
}

func TestS5S7_AFailoverThatLacksAFollowerHasOneBuiltAnew(t *testing.T) {
	c, d := alone(t, gs("a:1-13"), func(*Record, *Status) {})
	spec := c.Specs["a"]
	if spec.Goal != GoalClone || spec.Source != "b" || !spec.Errant.Equal(gs("a:13")) || c.phase() != PhasePromote {
		t.Fatalf("a is asked to %s %s, errant %s", spec.Goal, spec.Source, spec.Errant)
	}
	c.mustWait(d, CodeCloning)
	if again := c.pass(time.Second).settle(); !c.Specs["a"].Equal(spec.Spec) {
		t.Fatalf("it is begun again: %+v", again)
	}
	// The clone is done; nobody has asked c, and it is not needed.
	c.returns("a", "a3", gs("a:1-12"))
	c.status("a", func(s *Status) { s.State, s.SpecRevision, s.Plan = SpecDone, c.Specs["a"].Revision, c.Specs["a"].Plan })
	c.settle()
	if spec := c.Specs["a"]; spec.Goal != GoalFollow || !spec.Acks || c.Record.Term != 1 {
		t.Fatalf("a is asked to %s in term %d", spec.Goal, c.Record.Term)
	}
	c.did("a", gs("a:1-12"), none).did("b", gs("a:1-12"), none)
	if c.settle(); c.Record.Term != 2 || c.Record.Primary != "b" || !c.Record.Complete {
		t.Errorf("term %d of %s", c.Record.Term, c.Record.Primary)
	}
}

func TestS5S7_AFailoverClonesOverNothingThatSomebodyMayHaveBeenToldOf(t *testing.T) {
	for _, tc := range []struct {
		name, tail string
		change     func(*Record, *Status)
	}{
		{"it acknowledged without replicas", "a:1-13", func(_ *Record, s *Status) { s.Weakened = true }},
		{"an older term was the last complete one", "a:1-13", func(r *Record, _ *Status) { r.CompleteSince = 2 }},
		{"somebody wrote it", "a:1-12,d:1", func(*Record, *Status) {}},
		{"it has followed since", "a:1-13", func(_ *Record, s *Status) { s.TailOf = 0 }},
	} {
		c, d := alone(t, gs(tc.tail), tc.change)
		spec := c.Specs["a"]
		if spec.Goal != GoalStand || spec.Errant.IsEmpty() {
			t.Errorf("%s: a is asked to %s, errant %s", tc.name, spec.Goal, spec.Errant)
		}
		c.mustWait(d, CodeDiverged)
		c.mustWait(d, CodeWaitingForFollowers)
		c.Policy = &Policy{Discard: map[string]gtid.Set{"a": spec.Errant}}
		c.status("a", func(s *Status) { s.State, s.SpecRevision, s.Plan = SpecDone, c.Specs["a"].Revision, c.Specs["a"].Plan })
		if c.settle(); c.Specs["a"].Goal != GoalClone {
			t.Errorf("%s: given up by a human, and a is asked to %s", tc.name, c.Specs["a"].Goal)
		}
	}
}

func TestS5_AServerThatCannotBeTheFollowerIsNotBuiltAnewForIt(t *testing.T) {
	c, _ := alone(t, gs("a:1-13"), func(_ *Record, s *Status) { s.Findings = []Finding{{Code: CodeBadVariable}} })
	if c.Specs["a"].Goal != GoalStand {
		t.Errorf("a is asked to %s", c.Specs["a"].Goal)
	}
}

func TestS5_AFailoverWithEnoughFollowersBuildsNobodyAnew(t *testing.T) {
	c := chosen(t).did("b", gs("a:1-12"), none)
	c.returns("a", "a2", gs("a:1-13"))
	c.status("a", func(s *Status) { s.TailOf, s.ServerUUID = 1, uuidOf("a"); s.Plan = c.Specs["a"].Plan })
	c.settle()
	c.status("a", func(s *Status) { s.State, s.SpecRevision, s.Plan = SpecDone, c.Specs["a"].Revision, c.Specs["a"].Plan })
	if c.settle(); c.Specs["a"].Goal != GoalStand {
		t.Errorf("a is asked to %s while c lives", c.Specs["a"].Goal)
	}
}

func TestACloneGoesOnWhenAFailoverFindsAnotherFollower(t *testing.T) {
	c, _ := alone(t, gs("a:1-13"), func(*Record, *Status) {})
	spec := c.Specs["a"]
	c.Servers = append(c.Servers, "d")
	c.returns("d", "d1", gs("a:1-5"))
	c.specs(map[string]Spec{"d": {Goal: GoalStand, Term: 1, Plan: c.Record.Plan.ID}})
	c.did("d", gs("a:1-5"), none)
	c.settle()
	if c.Specs["d"].Goal != GoalFollow || !c.Specs["a"].Equal(spec.Spec) {
		t.Errorf("d is asked to %s, a to %s", c.Specs["d"].Goal, c.Specs["a"].Goal)
	}
}
