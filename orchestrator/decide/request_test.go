package decide

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mysqlha/mysqlha/replication/gtid"
)

func setsOf(server, set string) map[string]gtid.Set { return map[string]gtid.Set{server: gs(set)} }

// byHand lays out a cluster in which somebody has asked for a failover a while ago.
func byHand(t *testing.T, change func(*table)) *table {
	t.Helper()
	c := healthy(t, "a", "b", "c")
	c.Policy = &Policy{Failover: &FailoverRequest{ID: "one", By: "me", At: c.now.Add(-15 * time.Second)}}
	change(c)
	return c
}

func TestS4S5_AFailoverByHandIsOneLikeAnyOther(t *testing.T) {
	c := byHand(t, func(c *table) {
		c.dies("a")
		c.Policy.Pause = &Pause{Reason: "and although it is paused"}
		c.Record.Failovers = []time.Time{c.now, c.now, c.now}
		c.Policy.Failover.To = "c"
	})
	c.settle()
	p := c.Record.Plan
	if p == nil || p.Kind != PlanFailover || p.Phase != PhaseRevoke || p.Reason != ReasonRequested || p.Override != nil || !slices.Equal(p.Revoking, []string{"b", "c"}) {
		t.Fatalf("the plan %+v", p)
	}
	c.did("b", gs("a:1-10"), none).did("c", gs("a:1-10"), none).settle()
	if p := c.Record.Plan; p.Phase != PhasePromote || p.Candidate != "c" {
		t.Fatalf("the plan %+v", p)
	}
	c.did("b", gs("a:1-10"), none).did("c", gs("a:1-10"), none).settle()
	if r := c.Record; r.Term != 2 || r.Primary != "c" || !r.Complete {
		t.Errorf("the record %+v", r)
	}
}

func TestAFailoverByHandIsRefusedWithAllReasons(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*table)
		why    string
	}{
		"the primary is well":            {func(*table) {}, "mysqlha switchover"},
		"too few can be asked":           {func(c *table) { c.dies("a").vanishes("b") }, "might be lost: b"},
		"one restarted":                  {func(c *table) { c.dies("a").returns("b", "b2", gs("a:1-9")) }, "might be lost: b"},
		"the primary acknowledges alone": {func(c *table) { c.dies("a"); c.Record.Suspended, c.Record.InSync = true, nil }, "writes alone"},
		"the primary is weakened":        {func(c *table) { c.dies("a").status("a", func(s *Status) { s.Weakened = true }) }, "was found not to wait"},
		"nobody can be asked":            {func(c *table) { c.dies("a").vanishes("b").vanishes("c") }, "no replica"},
		"nobody is called that":          {func(c *table) { c.dies("a"); c.Policy.Failover.To = "x" }, `no server "x"`},
		"it is there":                    {func(c *table) { c.dies("a"); c.Policy.Failover.To = "a" }, "already"},
		"it shall never be primary":      {func(c *table) { c.dies("a"); c.never("b").Policy.Failover.To = "b" }, "never"},
		"it cannot be reached":           {func(c *table) { c.dies("a").vanishes("b"); c.Policy.Failover.To = "b" }, "b cannot be reached"},
		"nobody waits for it":            {func(c *table) { c.dies("a"); c.Policy.Failover.At = c.now.Add(-time.Hour) }, "asked for"},
		"another is said to be off":      {func(c *table) { c.dies("a"); c.Policy.Failover.Off = "b" }, "b is said to be off"},
		"the primary is said to be off, and answers": {func(c *table) {
			c.Policy.Failover.Off, c.Policy.Failover.EvenIfWell = "a", true
		}, "its mysqld answers"},
		"a loss is allowed, and a might go on": {func(c *table) {
			c.vanishes("a").vanishes("b").Policy.Failover.AllowDataLoss = true
		}, "see to it that it is off"},
	} {
		c := byHand(t, tc.change)
		c.unwatched = true
		var history *History
		for range 5 {
			if d := c.decide(); d.Change != nil && d.Change.History != nil && d.Change.History.Plan.Request == "one" {
				history = d.Change.History
				break
			}
		}
		if history == nil || !strings.HasPrefix(history.Result, "refused: ") || !strings.Contains(history.Result, tc.why) || !slices.Contains(c.Record.Answered, "one") {
			t.Errorf("%s: %+v", name, history)
		}
		if p := c.Record.Plan; p != nil && p.Reason == ReasonRequested {
			t.Errorf("%s: the plan %+v", name, p)
		}
	}
}

func TestARefusalLeavesAnOpenPlanAlone(t *testing.T) {
	c := healthy(t, "a", "b", "c")
	c.dies("a").pass(time.Second).settle()
	c.did("b", gs("a:1-10"), none).did("c", gs("a:1-10"), none).settle()
	c.Policy = &Policy{Failover: &FailoverRequest{ID: "late", To: "c", At: c.now.Add(-15 * time.Second)}}
	open := c.Record.Plan.ID
	c.settle()
	if p := c.Record.Plan; p == nil || p.ID != open || !slices.Contains(c.Record.Answered, "late") {
		t.Errorf("the plan %+v", p)
	}
}

// stuckWithout lays out a failover that waits because b, which may have
// acknowledged what c has not, cannot be asked.
func stuckWithout(t *testing.T, change func(*table, *FailoverRequest)) *table {
	t.Helper()
	return byHand(t, func(c *table) {
		c.dies("a").vanishes("b")
		c.live("a", func(l *Live) { l.Executed = gs("a:1-14") })
		change(c, c.Policy.Failover)
	})
}

func TestS6_AHumanMayAcceptALoss(t *testing.T) {
	c := stuckWithout(t, func(_ *table, q *FailoverRequest) { q.AllowDataLoss = true })
	d := c.settle()
	p := c.Record.Plan
	if p == nil || p.Override == nil || p.Override.Off || !p.Override.AtStake.Equal(gs("a:11-14")) || !strings.Contains(p.Evidence, "b") {
		t.Fatalf("%s, the plan %+v", d.Reason, p)
	}
	if o := d.Outlook; o == nil || len(o.Doubts) != 1 || !o.Silent || o.To != "c" || !slices.Equal(o.OutOfReach, []string{"b"}) || !o.AtStake.Equal(gs("a:11-14")) {
		t.Errorf("the outlook %+v", o)
	}
	c.did("c", gs("a:1-10"), none)
	// The daemon beside a has not confirmed that it stands: it might come back with b.
	if c.mustWait(c.settle(), CodeWaitingForSilence); c.phase() != PhaseRevoke {
		t.Fatalf("the plan %+v", c.Record.Plan)
	}
	c.did("a", none, none).settle()
	if p := c.Record.Plan; p.Phase != PhasePromote || p.Candidate != "c" || !p.Lost.Equal(gs("a:11-14")) {
		t.Fatalf("the plan %+v", p)
	}
	if got := AdviseStart(*c.Record, "a", 1, time.Hour, false); got.Advice != StartCompare || got.Complete {
		t.Errorf("a may be rewound against what a human allowed to lack something: %+v", got)
	}
	c.did("c", gs("a:1-10"), none)
	c.mustWait(c.settle(), CodeWaitingForFollowers) // It is S5 that waits now.
	c.returns("b", "b2", gs("a:1-10"))
	c.did("b", gs("a:1-10"), none).settle()
	c.did("b", gs("a:1-10"), none).did("c", gs("a:1-10"), none).settle()
	if r := c.Record; r.Term != 2 || r.Primary != "c" || r.Complete || r.CompleteSince != 2 {
		t.Errorf("the record %+v", r)
	}
}

func TestS6_WhoSaysThatThePrimaryIsOffIsBelieved(t *testing.T) {
	c := stuckWithout(t, func(c *table, q *FailoverRequest) {
		c.vanishes("a")
		q.AllowDataLoss, q.Off = true, "a"
	})
	c.settle()
	c.did("c", gs("a:1-10"), none).settle()
	if p := c.Record.Plan; p == nil || p.Phase != PhasePromote || p.Candidate != "c" {
		t.Errorf("the plan %+v", p)
	}
}

func TestS6_WhoCanBeAskedIsAskedFirst(t *testing.T) {
	c := stuckWithout(t, func(c *table, q *FailoverRequest) {
		c.returns("b", "b2", gs("a:1-13")) // It restarted: what it has is no proof, and yet is not given up.
		c.live("b", func(l *Live) { l.Source = "a" })
		q.AllowDataLoss, q.Off = true, "a"
	})
	c.settle()
	if c.did("c", gs("a:1-10"), none).settle(); c.phase() != PhaseRevoke {
		t.Fatalf("b was not waited for: %+v", c.Record.Plan)
	}
	c.did("b", gs("a:1-13"), none).settle()
	if p := c.Record.Plan; p.Candidate != "b" || !p.Target.Equal(gs("a:1-13")) {
		t.Errorf("the plan %+v", p)
	}
}

func (c *table) never(server string) *table {
	c.Policy.Candidates = map[string]CandidateRule{server: {Preference: PreferenceNever}}
	return c
}
