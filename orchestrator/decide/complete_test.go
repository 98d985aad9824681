package decide

import (
	"slices"
	"testing"
	"time"

	"github.com/mysqlha/mysqlha/replication/gtid"
)

func TestS5_TheChosenOneHoldsAllThatAnyRevokedReplicaHas(t *testing.T) {
	for name, tc := range map[string]struct {
		b, c []gtid.Set // executed, received
		want string
	}{
		"received and not applied counts":       {[]gtid.Set{gs("a:1-8"), gs("a:9-12")}, []gtid.Set{gs("a:1-11"), none}, "b"},
		"received alone would be too little":    {[]gtid.Set{gs("a:1-12"), none}, []gtid.Set{gs("a:1-9"), gs("a:5-11")}, "b"},
		"who has less to apply is quicker":      {[]gtid.Set{gs("a:1-9"), gs("a:10-12")}, []gtid.Set{gs("a:1-11"), gs("a:12")}, "c"},
		"of two that are alike it is the first": {[]gtid.Set{gs("a:1-12"), none}, []gtid.Set{gs("a:1-12"), none}, "b"},
		"nobody holds everything":               {[]gtid.Set{gs("a:1-10"), gs("a:12")}, []gtid.Set{gs("a:1-11"), none}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := revoked(t)
			reported := func(s *Status) { s.Held.Reported = gs("a:1-20") }
			c.did("b", tc.b[0], tc.b[1]).did("c", tc.c[0], tc.c[1])
			c.status("b", reported)
			c.status("c", reported)
			d := c.settle()
			if got := c.Record.Plan.Candidate; got != tc.want {
				t.Errorf("%q is chosen, want %q", got, tc.want)
			}
			if tc.want == "" {
				c.mustWait(d, CodeNoCompleteCandidate)
			}
		})
	}
}

func TestS5_AnErrantReplicaIsNeverChosen(t *testing.T) {
	c := revoked(t).did("b", gs("a:1-12,b:1"), gs("a:5-12"))
	d := c.settle()
	if c.phase() != PhaseRevoke {
		t.Errorf("the plan went on with %s", c.Record.Plan.Candidate)
	}
	c.mustWait(d, CodeErrantCandidate)
}

func TestS5_WhatTheHeartbeatRowOrTheProbeKnowsIsNotErrant(t *testing.T) {
	c := revoked(t).did("b", gs("a:1-12,d:1-5"), gs("a:5-12"))
	c.status("b", func(s *Status) { s.Held.Reported = gs("a:1-9,d:1-4") })
	c.live("a", func(l *Live) { l.Executed = gs("a:1-10,d:1-5") })
	if c.settle(); c.Record.Plan.Candidate != "b" {
		t.Errorf("%q is chosen", c.Record.Plan.Candidate)
	}
}

func TestS5_NoTermIsPublishedBeforeKFollowersHaveEverything(t *testing.T) {
	all := gs("a:1-12")
	for name, tc := range map[string]struct {
		report    func(*table)
		published bool
	}{
		"nobody has reported":               {func(*table) {}, false},
		"the candidate alone is prepared":   {func(c *table) { c.did("b", all, none) }, false},
		"the follower alone has everything": {func(c *table) { c.did("c", all, none) }, false},
		"the candidate has not applied all": {func(c *table) { c.did("b", gs("a:1-11"), all).did("c", all, none) }, false},
		"the follower lacks one":            {func(c *table) { c.did("b", all, none).did("c", gs("a:1-11"), none) }, false},
		"the candidate has one more":        {func(c *table) { c.did("b", gs("a:1-13"), none).did("c", all, none) }, false},
		"the follower's status is an older one": {func(c *table) {
			c.did("b", all, none).did("c", all, none).status("c", func(s *Status) { s.SpecRevision-- })
		}, false},
		"the follower is still receiving": {func(c *table) {
			c.did("b", all, none).did("c", all, none).status("c", func(s *Status) { s.State = SpecWorking })
		}, false},
		"the candidate's status is an older one": {func(c *table) {
			c.did("b", all, none).did("c", all, none).status("b", func(s *Status) { s.SpecRevision-- })
		}, false},
		"both have everything": {func(c *table) { c.did("b", all, none).did("c", gs("a:1-11"), gs("a:12")) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := chosen(t)
			tc.report(c)
			d := c.settle()
			if got := c.Record.Term == 2; got != tc.published {
				t.Errorf("published: %v, want %v (%s)", got, tc.published, d.Detail)
			}
			if !tc.published && c.Specs["b"].Goal == GoalPrimary {
				t.Error("b may open")
			}
		})
	}
}

func TestS5_TwoRequiredAcksNeedTwoFollowers(t *testing.T) {
	all := gs("a:1-12")
	c := healthy(t, "a", "b", "c", "d")
	c.Record.RequiredAcks = 2
	c.settle()
	c.dies("a").settle()
	c.did("b", all, all).did("c", all, all).did("d", all, all).settle()
	c.did("b", all, all).did("c", all, all)
	d := c.settle()
	if c.Record.Term != 1 {
		t.Fatal("published with one follower of two")
	}
	c.mustWait(d, CodeWaitingForFollowers)
	c.did("d", all, none)
	if c.settle(); c.Record.Term != 2 {
		t.Error("not published although both followers have everything")
	}
}

func TestS5_OnceChosenThereIsNoWayBackToTheOldPrimary(t *testing.T) {
	c := chosen(t).returns("a", "a2", gs("a:1-12,a:13"))
	c.pass(time.Minute).settle()
	if c.phase() != PhasePromote || c.Specs["a"].Goal != GoalStand {
		t.Errorf("phase %s, a is asked to %s", c.phase(), c.Specs["a"].Goal)
	}
}

func TestS5_AFormerPrimaryThatIsContainedBecomesTheFollower(t *testing.T) {
	for name, tc := range map[string]struct {
		executed gtid.Set
		spoil    func(*Live)
		follows  bool
	}{
		"it has no more than the target":        {gs("a:1-12"), func(*Live) {}, true},
		"it has one transaction more":           {gs("a:1-13"), func(*Live) {}, false},
		"it has received one transaction more":  {gs("a:1-12"), func(l *Live) { l.Received = gs("a:13") }, false},
		"it is not closed":                      {gs("a:1-12"), func(l *Live) { l.SuperReadOnly = false }, false},
		"it is open":                            {gs("a:1-12"), func(l *Live) { l.OpenTerm = 1 }, false},
		"what was probed is of the run that is": {gs("a:1-12"), func(l *Live) { l.StartID = "a1" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := chosen(t).vanishes("c").returns("a", "a2", tc.executed).did("a", tc.executed, none)
			c.live("a", tc.spoil)
			c.settle()
			if got := slices.Contains(c.Record.Plan.NewInSync, "a"); got != tc.follows {
				t.Fatalf("in the plan: %v, want %v", got, tc.follows)
			}
			if !tc.follows {
				return
			}
			if spec := c.Specs["a"]; spec.Goal != GoalFollow || spec.Source != "b" || !slices.Contains(c.Specs["b"].Attach, "a") {
				t.Errorf("a: %+v, b lets in %v", spec, c.Specs["b"].Attach)
			}
			c.did("b", gs("a:1-12"), none).did("a", gs("a:1-12"), none)
			if c.settle(); c.Record.Term != 2 || !slices.Contains(c.Record.InSync, "a") {
				t.Errorf("not published with a: %+v", c.Record)
			}
		})
	}
}

func TestS5_ACandidateThatDiesIsReplacedByOneThatHoldsTheTarget(t *testing.T) {
	all := gs("a:1-12")
	both := func(t *testing.T) *table {
		c := revoked(t).did("b", all, all).did("c", gs("a:1-11"), gs("a:1-12"))
		c.settle()
		return c
	}
	t.Run("the other holds it as well", func(t *testing.T) {
		c := both(t)
		first := c.Record.Plan.ID
		c.dies("b").settle()
		p := c.Record.Plan
		if p.Candidate != "c" || p.ID == first || len(p.NewInSync) != 0 || !p.Target.Equal(all) {
			t.Errorf("plan %+v", p)
		}
	})
	t.Run("the other holds less", func(t *testing.T) {
		c := chosen(t).dies("b")
		d := c.settle()
		if c.Record.Plan.Candidate != "b" || c.Record.Term != 1 {
			t.Errorf("plan %+v", c.Record.Plan)
		}
		c.mustWait(d, CodeWaitingForCandidate)
	})
	t.Run("no status of the first attempt counts for the second", func(t *testing.T) {
		c := both(t).did("b", all, none).dies("b")
		c.status("c", func(s *Status) { s.State = SpecWorking })
		c.settle()
		c.returns("b", "b2", all).did("c", all, none).status("c", func(s *Status) { s.SpecRevision -= 2 })
		if c.settle(); c.Record.Term != 1 {
			t.Error("published on a status of the first attempt")
		}
	})
}

func TestS5_APrimaryThatDiesBeforeItOpensIsFailedOverFrom(t *testing.T) {
	c := chosen(t).did("b", gs("a:1-12"), none).did("c", gs("a:1-12"), none)
	c.returns("a", "a2", gs("a:1-12"))
	c.settle()
	c.did("a", gs("a:1-12"), none).settle()
	if c.phase() != PhaseOpen {
		t.Fatalf("phase %q", c.phase())
	}
	c.dies("b").settle()
	if p := c.Record.Plan; p == nil || p.Phase != PhaseRevoke || p.From != "b" || c.Record.Term != 2 {
		t.Errorf("record %+v, plan %+v", c.Record, p)
	}
}

func TestS6_WithoutEvidenceNobodyIsPromotedAndTheReasonHasAName(t *testing.T) {
	for name, tc := range map[string]struct {
		lay  func(*testing.T) *table
		code Code
	}{
		"a replica that may have acknowledged is away": {func(t *testing.T) *table { return healthy(t, "a", "b", "c").vanishes("c").dies("a") }, CodeCannotReachReplicas},
		"all replicas restarted": {func(t *testing.T) *table {
			c := healthy(t, "a", "b", "c").returns("b", "b2", gs("a:1-12")).returns("c", "c2", gs("a:1-12")).dies("a")
			c.settle()
			return c.did("b", gs("a:1-12"), none).did("c", gs("a:1-12"), none)
		}, CodeReplicaRestarted},
		"a revoke does not come back": {func(t *testing.T) *table {
			c := healthy(t, "a", "b", "c").dies("a")
			c.settle()
			return c.did("b", gs("a:1-12"), none).vanishes("c")
		}, CodeCannotReachReplicas},
		"too few followers": {func(t *testing.T) *table {
			return chosen(t).did("b", gs("a:1-12"), none).vanishes("c")
		}, CodeWaitingForFollowers},
	} {
		t.Run(name, func(t *testing.T) {
			c := tc.lay(t)
			for range 20 {
				c.pass(3 * time.Second).settle()
			}
			d := c.decide()
			if c.Record.Term != 1 || c.Record.Primary != "a" {
				t.Errorf("term %d of %s", c.Record.Term, c.Record.Primary)
			}
			c.mustWait(d, tc.code)
		})
	}
}

func TestS7_AServerWithTransactionsOfItsOwnNeverReplicates(t *testing.T) {
	c := chosen(t).did("b", gs("a:1-12"), none).did("c", gs("a:1-12"), none)
	c.settle()
	c.status("b", func(s *Status) { s.OpenTerm, s.TermSeen = 2, 2 })
	c.live("b", func(l *Live) { l.OpenTerm, l.Executed, l.SuperReadOnly = 2, gs("a:1-12,b:1-3"), false })
	c.settle()
	c.returns("a", "a2", gs("a:1-13"))
	c.settle()
	d := c.decide()
	if spec := c.Specs["a"]; spec.Goal != GoalStand || !spec.Errant.Equal(gs("a:13")) {
		t.Fatalf("a is asked to %s, errant %s", spec.Goal, spec.Errant)
	}
	c.mustWait(d, CodeDiverged)
	c.returns("a", "a3", gs("a:1-12"))
	if c.settle(); c.Specs["a"].Goal != GoalFollow || c.Specs["a"].Acks {
		t.Errorf("once it is contained it may follow, without acknowledging: %+v", c.Specs["a"])
	}
}
