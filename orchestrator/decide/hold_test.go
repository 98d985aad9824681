package decide

import (
	"strings"
	"testing"
	"time"
)

func TestWhilePausedADeadPrimaryIsNotReplaced(t *testing.T) {
	c := healthy(t, "a", "b", "c")
	c.Policy = &Policy{Pause: &Pause{Reason: "patching a", By: "me", Since: c.now, Until: c.now.Add(time.Minute)}}
	c.mustWait(c.settle(), CodePaused)
	c.dies("a").pass(time.Second)
	d := c.settle()
	if c.Record.Plan != nil || d.Reason != ReasonPaused {
		t.Fatalf("%s, the plan %+v", d.Reason, c.Record.Plan)
	}
	c.mustWait(d, CodeFailoverHeld)
	c.mustWait(d, CodePaused)
	// It ends by itself.
	if c.pass(time.Minute).settle(); c.Record.Plan == nil || c.Record.Plan.Kind != PlanFailover {
		t.Errorf("the pause is over and nothing happens: %+v", c.Record.Plan)
	}
}

func TestAFailoverUnderWayGoesOnWhenSomebodyPauses(t *testing.T) {
	c := healthy(t, "a", "b", "c")
	c.dies("a").pass(time.Second).settle()
	c.Policy = &Policy{Pause: &Pause{Reason: "too late", Since: c.now}}
	c.did("b", gs("a:1-10"), none).did("c", gs("a:1-10"), none).settle()
	if p := c.Record.Plan; p == nil || p.Phase != PhasePromote {
		t.Errorf("the plan %+v", p)
	}
}

func TestWhilePausedNoCloneBeginsByItself(t *testing.T) {
	for name, tc := range map[string]struct {
		policy Policy
		clone  bool
	}{
		"not paused":                         {Policy{}, true},
		"paused":                             {Policy{Pause: &Pause{Reason: "r"}}, false},
		"paused, and a human asked for this": {Policy{Pause: &Pause{Reason: "r"}, Discard: setsOf("c", "c:1")}, true},
	} {
		c := healthy(t, "a", "b", "c")
		c.Policy = &tc.policy
		errant := gs("c:1")
		if tc.policy.Discard == nil {
			errant = none
		}
		c.returns("c", "c2", gs("a:1-10").Union(errant))
		if errant.IsEmpty() {
			c.status("c", func(s *Status) { s.Unusable = CodeRewindFailed })
		}
		c.Record.InSync = []string{"b"}
		c.specs(map[string]Spec{"c": {Goal: GoalStand, Term: 1}})
		c.did("c", gs("a:1-10"), none)
		c.unwatched = true
		for range 20 {
			c.pass(200 * time.Millisecond).decide()
		}
		if got := c.Specs["c"].Goal == GoalClone; got != tc.clone {
			t.Errorf("%s: c is asked to %s", name, c.Specs["c"].Goal)
		}
	}
}

func TestAfterSeveralFailoversThePrimaryStays(t *testing.T) {
	c := healthy(t, "a", "b", "c")
	ago := func(d time.Duration) time.Time { return c.now.Add(-d) }
	c.Record.Failovers = []time.Time{ago(9 * time.Minute), ago(5 * time.Minute), ago(time.Minute)}
	c.dies("a").pass(time.Second)
	d := c.settle()
	if c.Record.Plan != nil || d.Reason != ReasonCooldown {
		t.Fatalf("%s, the plan %+v", d.Reason, c.Record.Plan)
	}
	c.mustWait(d, CodeFailoverHeld)
	c.Policy = &Policy{Cooldown: &Cooldown{Failovers: 4, Within: time.Hour}}
	if c.settle(); c.Record.Plan == nil {
		t.Error("four are allowed, and the fourth is not made")
	}
	c = healthy(t, "a", "b", "c")
	c.Record.Failovers = []time.Time{ago(11 * time.Minute), ago(5 * time.Minute), ago(time.Minute)}
	if c.dies("a").pass(time.Second).settle(); c.Record.Plan == nil {
		t.Error("the first is long ago, and still nothing happens")
	}
}

func TestFailoversAreCountedUnlessAskedFor(t *testing.T) {
	c := healthy(t, "a", "b", "c")
	c.dies("a").pass(time.Second).settle()
	c.did("b", gs("a:1-10"), none).did("c", gs("a:1-10"), none).settle()
	c.did("b", gs("a:1-10"), none).did("c", gs("a:1-10"), none).settle()
	if len(c.Record.Failovers) != 1 || c.Record.Term != 2 {
		t.Errorf("the record %+v", c.Record)
	}
	c = byHand(t, func(c *table) { c.dies("a") })
	c.settle()
	c.did("b", gs("a:1-10"), none).did("c", gs("a:1-10"), none).settle()
	c.did("b", gs("a:1-10"), none).did("c", gs("a:1-10"), none).settle()
	if len(c.Record.Failovers) != 0 || c.Record.Term != 2 {
		t.Errorf("the record %+v", c.Record)
	}
}

func TestAPauseSaysWhoAndWhy(t *testing.T) {
	p := Pause{Reason: "patching", By: "me@here", Since: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	if got := p.String(); !strings.Contains(got, "me@here") || !strings.Contains(got, "patching") || !strings.Contains(got, "2026-01-02 03:04:05 UTC") {
		t.Error(got)
	}
}
