package decide

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// asked lays out a healthy cluster that somebody asked for a switchover to b.
func asked(t *testing.T, change func(*table)) *table {
	t.Helper()
	c := healthy(t, "a", "b", "c")
	c.Policy = &Policy{Switchover: &SwitchoverRequest{ID: "one", To: "b", Drain: time.Second, By: "me", At: c.now}}
	change(c)
	return c
}

// closing brings a switchover to where the primary closes.
func closing(t *testing.T) *table {
	t.Helper()
	c := asked(t, func(*table) {})
	c.settle()
	c.did("b", gs("a:1-10"), none).settle()
	if c.phase() != PhaseClose {
		t.Fatalf("the plan %+v", c.Record.Plan)
	}
	return c
}

func (c *table) demoted() *table { return c.did("a", gs("a:1-20"), none) }

func TestS4S5S10_ASwitchoverMovesWhatTheClosedPrimaryHas(t *testing.T) {
	c := asked(t, func(*table) {})
	c.settle()
	if p := c.Record.Plan; p == nil || p.Phase != PhasePrepare || c.Specs["a"].Goal != GoalPrimary || !c.Specs["b"].Rotate {
		t.Fatalf("the plan %+v", p)
	}
	c.did("b", gs("a:1-10"), none).settle()
	if p := c.Record.Plan; p == nil || p.Kind != PlanSwitchover || p.Phase != PhaseClose || p.Candidate != "b" || !slices.Contains(c.Record.Answered, "one") {
		t.Fatalf("the plan %+v", p)
	}
	if spec := c.Specs["a"]; spec.Goal != GoalDemote || spec.Drain != time.Second {
		t.Fatalf("a is asked to %s", spec.Goal)
	}
	for _, name := range []string{"b", "c"} {
		if spec := c.Specs[name]; spec.Goal != GoalFollow || !spec.Acks || spec.Source != "a" {
			t.Errorf("%s is asked to %s %s: the last commits need its acknowledgement", name, spec.Goal, spec.Source)
		}
	}
	c.status("a", func(s *Status) { s.OpenTerm, s.Cut = 0, SessionsCut{Idle: 3} })
	c.live("a", func(l *Live) { l.OpenTerm, l.ReadOnly, l.SuperReadOnly = 0, true, true })
	c.demoted().settle()
	p := c.Record.Plan
	if p.Phase != PhasePromote || !p.Target.Equal(gs("a:1-20")) || !slices.Equal(p.NewInSync, []string{"a", "c"}) || p.Cut.Idle != 3 {
		t.Fatalf("the plan %+v", p)
	}
	if spec := c.Specs["b"]; spec.Goal != GoalPromote || spec.Source != "a" || !spec.Target.Equal(gs("a:1-20")) {
		t.Errorf("b is asked to %s, the rest from %q", spec.Goal, spec.Source)
	}
	if spec := c.Specs["a"]; spec.Goal != GoalFollow || spec.Source != "b" || !spec.Acks {
		t.Errorf("a is asked to %s %s", spec.Goal, spec.Source)
	}
	c.did("b", gs("a:1-20"), none)
	if c.settle(); c.Record.Term != 1 {
		t.Fatal("the term is published without a follower (S5)")
	}
	c.did("a", gs("a:1-20"), none).settle()
	if r := c.Record; r.Term != 2 || r.Primary != "b" || !r.Complete || !slices.Equal(r.InSync, []string{"a", "c"}) || r.Runs["c"] != "c1" || r.Runs["a"] != "a1" {
		t.Errorf("the record %+v", r)
	}
	c.status("b", func(s *Status) { s.OpenTerm, s.TermSeen = 2, 2 })
	c.live("b", func(l *Live) { l.OpenTerm, l.ReadOnly, l.SuperReadOnly = 2, false, false })
	if c.settle(); c.Record.Plan != nil {
		t.Errorf("it never ends: %+v", c.Record.Plan)
	}
	// The request was answered.
	if c.pass(time.Second).settle(); c.Record.Plan != nil || c.Record.Primary != "b" {
		t.Error("it is carried out again")
	}
}

func TestASwitchoverThatCannotBeIsRefusedWithAllReasons(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*table)
		why    string
	}{
		"it lags":                  {func(c *table) { c.live("b", func(l *Live) { l.LagTransactions = 5000 }) }, "5000 transactions left"},
		"it does not acknowledge":  {func(c *table) { c.live("b", func(l *Live) { l.Acks = false }) }, "does not acknowledge"},
		"its applier has an error": {func(c *table) { c.live("b", func(l *Live) { l.Applier, l.ApplierErrno = ReceiverOff, 1062 }) }, "error 1062"},
		"its disk is full":         {func(c *table) { c.live("b", func(l *Live) { l.Disk = Disk{Free: 1e6, Data: 1e9} }) }, "the disk of b"},
		"it is gone":               {func(c *table) { c.vanishes("b") }, "cannot be reached"},
		"it is not in sync":        {func(c *table) { c.Record.InSync = []string{"c"} }, "not in the in-sync set"},
		"its my.cnf is wrong": {func(c *table) {
			c.status("b", func(s *Status) { s.Findings = []Finding{{CodeBadVariable, "sync_binlog"}} })
		}, "sync_binlog"},
		"it shall leave":             {func(c *table) { c.Record.Servers, c.Policy.Servers = named("a", "b", "c"), named("a", "c") }, "shall leave"},
		"it is the primary":          {func(c *table) { c.Policy.Switchover.To = "a" }, "already"},
		"nobody is called that":      {func(c *table) { c.Policy.Switchover.To = "x" }, `no server "x"`},
		"nobody waits for it":        {func(c *table) { c.Policy.Switchover.At = c.now.Add(-time.Hour) }, "asked for"},
		"the primary is weakened":    {func(c *table) { c.status("a", func(s *Status) { s.Weakened = true }) }, "not proved"},
		"nobody could acknowledge":   {func(c *table) { c.Record.RequiredAcks = 3 }, "must acknowledge to b"},
		"the primary stands alone":   {func(c *table) { c.Record.Suspended, c.Record.Durability = true, DurabilityAvailable }, "alone"},
		"the primary is not open":    {func(c *table) { c.status("a", func(s *Status) { s.OpenTerm = 0 }) }, "not open"},
		"two things speak against b": {func(c *table) { c.live("b", func(l *Live) { l.LagTransactions, l.Acks = 5000, false }) }, "5000 transactions left"},
	} {
		c := asked(t, tc.change)
		c.unwatched = true
		if q := c.Policy.Switchover; c.now.Sub(q.At) < time.Minute {
			q.At = c.now.Add(-15 * time.Second) // It was waited for.
		}
		var history *History
		for range 5 {
			if d := c.decide(); d.Change != nil && d.Change.History != nil && d.Change.History.Plan.Request == "one" {
				history = d.Change.History
				break
			}
		}
		if history == nil || !strings.HasPrefix(history.Result, "refused: ") || !strings.Contains(history.Result, tc.why) || c.Record.Plan != nil || !slices.Contains(c.Record.Answered, "one") {
			t.Errorf("%s: %+v, the plan %+v", name, history, c.Record.Plan)
		}
		if name == "two things speak against b" && !strings.Contains(history.Result, "does not acknowledge") {
			t.Errorf("not all is said: %s", history.Result)
		}
		if c.Specs["a"].Goal != GoalPrimary {
			t.Errorf("%s: a is asked to %s", name, c.Specs["a"].Goal)
		}
	}
}

func TestANewLeaderDoesNotRefuseWhatItDoesNotKnow(t *testing.T) {
	c := asked(t, func(c *table) { c.live("b", func(l *Live) { l.Acks = false }) })
	c.LeadingSince = c.now
	c.mustWait(c.settle(), CodePolicyWaits)
	if len(c.Record.Answered) != 0 {
		t.Fatal("the request was answered")
	}
	c.live("b", func(l *Live) { l.Acks = true })
	if c.settle(); c.Record.Plan == nil {
		t.Error("it is not carried out")
	}
	// Nor does anybody in the first moment.
	c = asked(t, func(c *table) { c.live("b", func(l *Live) { l.Acks = false }) })
	if c.mustWait(c.settle(), CodePolicyWaits); len(c.Record.Answered) != 0 {
		t.Error("the request was answered at once")
	}
}

func TestACandidateIsWaitedForBeforeWritesAre(t *testing.T) {
	c := asked(t, func(c *table) { c.live("b", func(l *Live) { l.LagTransactions = 900 }) })
	c.mustWait(c.settle(), CodeCatchingUp)
	if len(c.Record.Answered) != 0 {
		t.Fatal("the request was answered")
	}
	c.live("b", func(l *Live) { l.LagTransactions = 100 })
	if c.settle(); c.Record.Plan == nil {
		t.Error("it has caught up, and nothing happens")
	}
	c = asked(t, func(c *table) { c.live("b", func(l *Live) { l.LagTransactions = 900 }) })
	c.Policy.Switchover.At = c.now.Add(-11 * time.Second)
	if c.settle(); c.Record.Plan == nil {
		t.Error("it is waited for, for ever")
	}
	// Having waited for that is no reason to refuse what one more answer will tell.
	for age, answered := range map[time.Duration]int{5 * time.Second: 0, 14 * time.Second: 1} {
		c = asked(t, func(c *table) { c.live("b", func(l *Live) { l.Executed = none }) })
		c.Policy.Switchover.At = c.now.Add(-age)
		if c.decide(); len(c.Record.Answered) != answered || c.Record.Plan != nil {
			t.Errorf("after %s: answered %v, the plan %+v", age, c.Record.Answered, c.Record.Plan)
		}
	}
}

func TestWithoutANameTheBestReplicaIsTaken(t *testing.T) {
	c := asked(t, func(c *table) {
		c.Policy.Switchover.To = ""
		c.live("b", func(l *Live) { l.LagTransactions = 10 })
	})
	d := (&decider{View: c.View, settings: c.s, now: c.now}).candidates()
	if len(d) != 2 || d[0].Server != "c" || d[1].Left != 10 {
		t.Errorf("the candidates %+v", d)
	}
	if c.settle(); c.Record.Plan.Candidate != "c" {
		t.Errorf("the plan %+v", c.Record.Plan)
	}
}

func TestASwitchoverIsTakenBackBeforeAnythingIsChosen(t *testing.T) {
	for name, tc := range map[string]struct {
		happens func(*table)
		why     string
	}{
		"the candidate dies":          {func(c *table) { c.dies("b") }, "b is gone"},
		"the candidate's host is cut": {func(c *table) { c.vanishes("b"); c.pass(3 * time.Second) }, "b is gone"},
		"it cannot be closed": {func(c *table) {
			c.status("a", func(s *Status) { s.Plan, s.State, s.Detail = c.Record.Plan.ID, SpecFailed, "FLUSH TABLES" })
			c.pass(5 * time.Second)
		}, "FLUSH TABLES"},
	} {
		c := closing(t)
		tc.happens(c)
		d := c.decide()
		if d.Change == nil || d.Change.History == nil || !strings.HasPrefix(d.Change.History.Result, "rolled back: ") || !strings.Contains(d.Change.History.Result, tc.why) {
			t.Errorf("%s: %s %s", name, d.Reason, d.Detail)
			continue
		}
		if c.settle(); c.Specs["a"].Goal != GoalPrimary || c.Specs["a"].Term != 1 {
			t.Errorf("%s: a is asked to %s", name, c.Specs["a"].Goal)
		}
	}
}

func TestS4_APrimaryThatDiesWhileItClosesIsAFailover(t *testing.T) {
	c := closing(t)
	c.dies("a")
	if d := c.decide(); d.Change == nil || d.Change.Record.Plan.Kind != PlanFailover || !slices.Equal(d.Change.Record.Plan.Revoking, []string{"b", "c"}) {
		t.Errorf("decided %s", d.Reason)
	}
}

func TestASwitchoverWhoseCandidateFailsMayGoBack(t *testing.T) {
	for name, happens := range map[string]func(*table){
		"it dies":  func(c *table) { c.dies("b") },
		"it hangs": func(c *table) { c.pass(6 * time.Second) },
		"its disk ...": func(c *table) {
			c.status("b", func(s *Status) { s.State, s.Plan = SpecFailed, c.Record.Plan.ID })
			c.pass(3 * time.Second)
		},
	} {
		c := closing(t)
		c.status("a", func(s *Status) { s.OpenTerm = 0 })
		c.live("a", func(l *Live) { l.OpenTerm, l.ReadOnly, l.SuperReadOnly, l.Executed = 0, true, true, gs("a:1-20") })
		c.demoted().settle()
		id := c.Record.Plan.ID
		happens(c)
		c.settle()
		if p := c.Record.Plan; p.ID == id || p.Candidate != "a" || c.Specs["a"].Goal != GoalPromote || c.Specs["a"].Source != "" {
			t.Errorf("%s: the plan %+v", name, p)
		}
	}
}

func TestS5_NobodyIsChosenInASwitchoverWhoLacksSomething(t *testing.T) {
	c := closing(t)
	c.demoted().settle()
	c.did("c", gs("a:1-19"), none)
	c.dies("a").dies("b")
	if d := c.settle(); c.Record.Plan.Candidate != "b" {
		t.Errorf("chosen is %s", c.Record.Plan.Candidate)
	} else {
		c.mustWait(d, CodeWaitingForCandidate)
	}
}

func TestASwitchoverWhoseCandidateDoesNotAnswerNeverCloses(t *testing.T) {
	for name, tc := range map[string]struct {
		happens func(*table)
		why     string
	}{
		"it hangs": {func(c *table) { c.pass(4 * time.Second) }, "did not answer"},
		"it dies":  {func(c *table) { c.dies("b") }, "is gone"},
	} {
		c := asked(t, func(*table) {})
		c.settle()
		tc.happens(c)
		d := c.decide()
		if d.Change == nil || d.Change.History == nil || !strings.Contains(d.Change.History.Result, tc.why) || c.Specs["a"].Goal != GoalPrimary {
			t.Errorf("%s: %s, a is asked to %s", name, d.Reason, c.Specs["a"].Goal)
		}
		if c.settle(); c.Specs["b"].Rotate {
			t.Errorf("%s: b is still asked to prepare", name)
		}
	}
}

// promoting brings a switchover to where b was chosen; c alone has all of it.
func switching(t *testing.T) *table {
	t.Helper()
	c := closing(t)
	c.status("a", func(s *Status) { s.OpenTerm = 0 })
	c.live("a", func(l *Live) { l.OpenTerm, l.ReadOnly, l.SuperReadOnly, l.Executed = 0, true, true, gs("a:1-20") })
	c.live("b", func(l *Live) { l.Executed, l.Received = gs("a:1-19"), gs("a:1-19") })
	c.live("c", func(l *Live) { l.Executed, l.Received = gs("a:1-15"), gs("a:1-20") })
	c.demoted().settle()
	if c.phase() != PhasePromote || c.Record.Plan.Candidate != "b" {
		t.Fatalf("the plan %+v", c.Record.Plan)
	}
	return c
}

func TestS5_WhoHasTheWholeTargetMayTakeOver(t *testing.T) {
	for name, tc := range map[string]struct {
		happens func(*table)
		chosen  string
	}{
		"the old primary dies, and the candidate has not received the last of it": {func(c *table) { c.vanishes("a") }, "c"},
		"it restarts":                    {func(c *table) { c.returns("a", "a2", gs("a:1-20")) }, "a"},
		"all but the candidate are gone": {func(c *table) { c.vanishes("a"); c.vanishes("c") }, "b"},
	} {
		c := switching(t)
		tc.happens(c)
		for range 7 {
			c.pass(time.Second).settle()
		}
		if got := c.Record.Plan.Candidate; got != tc.chosen {
			t.Errorf("%s: chosen is %s", name, got)
		}
		if c.Record.Term != 1 {
			t.Errorf("%s: a term is published", name)
		}
	}
}

func TestACandidateThatNobodyCanFollowLeadsBack(t *testing.T) {
	c := switching(t)
	c.did("b", gs("a:1-20"), none).settle()
	if c.pass(4 * time.Second).settle(); c.Record.Plan.Candidate != "b" {
		t.Fatal("it had no time")
	}
	c.pass(2 * time.Second).settle()
	if p := c.Record.Plan; p.Candidate != "a" || !strings.Contains(p.Trouble, "nobody who could follow") {
		t.Errorf("the plan %+v", p)
	}
}

func TestS7_AServerWithTransactionsOfItsOwnIsNotMovedTo(t *testing.T) {
	c := asked(t, func(c *table) {
		c.live("b", func(l *Live) { l.Executed = l.Executed.Union(gs("b:1")) })
		c.Record.InSync = []string{"b"} // It cannot be spared.
	})
	c.unwatched = true
	c.pass(time.Second).pass(time.Second)
	c.Policy.Switchover.At = c.now.Add(-5 * time.Second)
	if c.settle(); c.Record.Plan != nil || !slices.Contains(c.Record.Answered, "one") {
		t.Errorf("the plan %+v, answered %v", c.Record.Plan, c.Record.Answered)
	}
}

func TestARequestIsCarriedOutOnceWhateverCameBetween(t *testing.T) {
	c := asked(t, func(c *table) { c.Record.Answered = []string{"zero", "one", "two"} })
	if c.settle(); c.Record.Plan != nil {
		t.Error("it is carried out again")
	}
	for i := range 20 {
		c.Policy.Switchover = &SwitchoverRequest{ID: string(rune('a' + i)), To: "x", At: c.now}
		c.settle()
	}
	if n := len(c.Record.Answered); n != mostAnswered {
		t.Errorf("%d are remembered", n)
	}
}
