package decide

import (
	"testing"
	"time"
)

// lone lays a cluster in term 3 whose primary a has waited for replicas for so
// long: b, in sync, is away, and c is back with what a does not have.
func lone(t *testing.T, stuck time.Duration, change func(*table)) *table {
	t.Helper()
	c := healthy(t, "a", "b", "c")
	c.Record.Term, c.Record.InSync, c.Record.Runs = 3, []string{"b"}, map[string]string{"b": "b1"}
	c.status("a", func(s *Status) { s.OpenTerm = 3 })
	c.live("a", func(l *Live) { l.OpenTerm, l.CommitPending = 3, stuck })
	c.vanishes("b")
	c.Absent["b"] = c.now.Add(-time.Minute)
	c.returns("c", "c2", gs("a:1-10,c:1"))
	c.status("c", func(s *Status) { s.TailOf, s.ServerUUID, s.State = 2, uuidOf("c"), SpecDone })
	c.specs((&decider{View: c.View, settings: c.s, now: c.now}).standing(*c.Record))
	change(c)
	return c
}

func TestS2S5S10_ALonePrimaryBeginsANewTermWithAClone(t *testing.T) {
	c := lone(t, time.Minute, func(*table) {})
	d := c.decide()
	p := c.Record.Plan
	if d.Reason != ReasonLonely || p == nil || p.Kind != PlanRenew || c.Specs["a"].Goal != GoalRevoke || c.Specs["c"].Goal != GoalStand {
		t.Fatalf("decided %s (%s), the plan %+v", d.Reason, d.Detail, p)
	}
	// It was killed, and is back with what had waited.
	c.dies("a")
	if d := c.pass(time.Second).decide(); d.Change != nil || c.Record.Term != 3 {
		t.Fatalf("while it restarts: %s", d.Reason)
	}
	c.returns("a", "a2", gs("a:1-12")).did("a", gs("a:1-12"), none)
	c.settle()
	if c.phase() != PhasePromote || c.Record.Plan.Candidate != "a" || !c.Record.Plan.Target.Equal(gs("a:1-12")) || c.Specs["a"].Goal != GoalPromote {
		t.Fatalf("the plan %+v", c.Record.Plan)
	}
	stands := func() { c.did("c", gs("a:1-10,c:1"), none) }
	stands()
	c.settle()
	if c.Specs["c"].Goal == GoalClone {
		t.Fatal("it is cloned from a server that is not prepared")
	}
	c.did("a", gs("a:1-12"), none)
	stands()
	c.mustWait(c.settle(), CodeCloning)
	if spec := c.Specs["c"]; spec.Goal != GoalClone || spec.Source != "a" {
		t.Fatalf("c is asked to %s %s", spec.Goal, spec.Source)
	}
	if c.Record.Term != 3 {
		t.Fatal("the term is published without a follower (S5)")
	}
	c.returns("c", "c3", gs("a:1-12")).did("c", gs("a:1-12"), none)
	c.settle()
	if spec := c.Specs["c"]; spec.Goal != GoalFollow || !spec.Acks {
		t.Fatalf("c is asked to %s", spec.Goal)
	}
	c.did("a", gs("a:1-12"), none).did("c", gs("a:1-12"), none)
	c.status("a", func(s *Status) { s.Weakened = true }) // It has all the same what anybody was told of.
	c.settle()
	if r := c.Record; r.Term != 4 || r.Primary != "a" || !r.Complete || len(r.InSync) != 1 || r.InSync[0] != "c" || r.Runs["c"] != "c3" {
		t.Errorf("the record %+v", r)
	}
}

func TestS5_AReplicaThatReturnsInTimeIsTheFollower(t *testing.T) {
	c := lone(t, time.Minute, func(*table) {})
	c.decide()
	c.returns("a", "a2", gs("a:1-12")).did("a", gs("a:1-12"), none)
	c.settle()
	c.did("a", gs("a:1-12"), none)
	c.returns("b", "b1", gs("a:1-10")).did("b", gs("a:1-10"), none)
	c.settle()
	if spec := c.Specs["b"]; spec.Goal != GoalFollow || !spec.Acks {
		t.Errorf("b is asked to %s", spec.Goal)
	}
}

func TestALonePrimaryIsNotClosedForNothing(t *testing.T) {
	for name, tc := range map[string]struct {
		stuck  time.Duration
		change func(*table)
	}{
		"not for long": {15 * time.Second, func(*table) {}},
		"commits flow": {0, func(*table) {}},
		"the replica is there": {time.Minute, func(c *table) {
			c.returns("b", "b1", gs("a:1-10"))
			c.live("b", func(l *Live) { l.Source, l.Receiver, l.Applier = "a", ReceiverOn, ReceiverOn })
		}},
		"nobody can come back":               {time.Minute, func(c *table) { c.vanishes("c") }},
		"a human must decide on what it has": {time.Minute, func(c *table) { c.status("c", func(s *Status) { s.TailOf = 0 }) }},
		"no room for a clone": {time.Minute, func(c *table) {
			c.live("a", func(l *Live) { l.Disk = Disk{Data: 9e9} })
			c.live("c", func(l *Live) { l.Disk = Disk{Free: 1e9, Data: 1e9} })
		}},
		"nothing is cloned without a human":     {time.Minute, func(c *table) { c.Policy = &Policy{AutoRejoin: AutoRejoinRewind} }},
		"the cluster goes on without a replica": {time.Minute, func(c *table) { c.Record.Durability = DurabilityAvailable }},
		"nobody is waited for":                  {time.Minute, func(c *table) { c.Record.Durability, c.Record.Suspended, c.Record.InSync = DurabilityAsync, true, nil }},
	} {
		c := lone(t, tc.stuck, tc.change)
		if c.settle(); c.Record.Plan != nil && c.Record.Plan.Kind == PlanRenew {
			t.Errorf("%s: %s", name, c.Record.Plan.Evidence)
		}
	}
}

func TestAPrimaryThatWasClosedForAMomentIsNotLonely(t *testing.T) {
	c := lone(t, 0, func(c *table) {
		c.status("a", func(s *Status) { s.OpenTerm = 0 })
		c.live("a", func(l *Live) { l.OpenTerm, l.ReadOnly, l.SuperReadOnly = 0, true, true })
	})
	if c.settle(); c.Record.Plan != nil {
		t.Fatalf("the plan %+v", c.Record.Plan)
	}
	c.pass(30 * time.Second)
	c.Absent["b"] = c.now.Add(-time.Minute)
	if c.settle(); c.Record.Plan == nil || c.Record.Plan.Kind != PlanRenew {
		t.Errorf("after 30 s: %+v", c.Record.Plan)
	}
}

func TestALonePrimaryThatDoesNotReturnIsReplacedIfThatCanBe(t *testing.T) {
	c := lone(t, time.Minute, func(*table) {})
	c.decide()
	c.dies("a")
	c.returns("b", "b1", gs("a:1-10"))
	c.live("b", func(l *Live) { l.Source = "a" })
	if c.pass(time.Second).settle(); c.Record.Plan.Kind != PlanRenew {
		t.Fatalf("it is not waited for: %+v", c.Record.Plan)
	}
	if c.pass(30 * time.Second).settle(); c.Record.Plan.Kind != PlanFailover || c.Record.Plan.Revoking[0] != "b" {
		t.Errorf("the plan %+v", c.Record.Plan)
	}
}

func TestS5S7_AFollowerWhoseSourceHasPurgedWhatItLacksIsBuiltAnew(t *testing.T) {
	c := chosen(t).did("b", gs("a:1-12"), none)
	c.dies("c")
	c.returns("a", "a2", gs("a:1-9"))
	c.status("a", func(s *Status) { s.State, s.SpecRevision, s.Plan = SpecDone, c.Specs["a"].Revision, c.Specs["a"].Plan })
	c.settle()
	if c.Specs["a"].Goal != GoalFollow {
		t.Fatalf("a is asked to %s", c.Specs["a"].Goal)
	}
	c.did("b", gs("a:1-12"), none)
	c.status("a", func(s *Status) {
		s.State, s.Problem, s.SpecRevision, s.Plan = SpecRefused, CodeSourcePurged, c.Specs["a"].Revision, c.Specs["a"].Plan
	})
	c.settle()
	spec := c.Specs["a"]
	if spec.Goal != GoalClone || spec.Source != "b" {
		t.Fatalf("a is asked to %s", spec.Goal)
	}
	for _, n := range c.Record.Plan.NewInSync {
		if n == "a" {
			t.Error("it is cloned while it is listed (S3)")
		}
	}
	if c.settle(); !c.Specs["a"].Equal(spec.Spec) {
		t.Error("the clone is begun again")
	}
}

func TestTheGateOfAPrimaryThatBeginsANewTermStartsItAtOnce(t *testing.T) {
	r := Record{Term: 3, Primary: "a", Plan: &Plan{Kind: PlanRenew, From: "a", Phase: PhaseRevoke}}
	if got := AdviseStart(r, "a", 3, 0, false); got.Advice != StartNow {
		t.Errorf("closing: %+v", got)
	}
	r.Plan.Phase, r.Plan.Candidate, r.Plan.Target = PhasePromote, "a", gs("a:1-9")
	if got := AdviseStart(r, "a", 3, 0, false); got.Advice != StartNow {
		t.Errorf("chosen: %+v", got)
	}
	r.Plan.Candidate = "b"
	if got := AdviseStart(r, "a", 3, 0, false); got.Advice != StartCompare || !got.Holds.Equal(gs("a:1-9")) {
		t.Errorf("another was chosen: %+v", got)
	}
}
