package decide

import (
	"slices"
	"testing"
	"time"

	"github.com/mysqlha/mysqlha/replication/gtid"
)

var none gtid.Set

// revoked brings a failover from a dead a to where everybody reports what it
// has, b a little more than c.
func revoked(t *testing.T) *table {
	t.Helper()
	c := healthy(t, "a", "b", "c").dies("a")
	c.settle()
	if c.phase() != PhaseRevoke {
		t.Fatalf("no failover is open, the phase is %q", c.phase())
	}
	return c.did("b", gs("a:1-8"), gs("a:5-12")).did("c", gs("a:1-11"), gs("a:1-11"))
}

// chosen brings it to where b was chosen to be primary.
func chosen(t *testing.T) *table {
	t.Helper()
	c := revoked(t)
	c.settle()
	if c.phase() != PhasePromote || c.Record.Plan.Candidate != "b" {
		t.Fatalf("b is not chosen: %+v", c.Record.Plan)
	}
	return c
}

func TestS1_TheTermGrowsByOneAndChangesWithThePrimary(t *testing.T) {
	c := chosen(t).did("b", gs("a:1-12"), gs("a:5-12")).did("c", gs("a:1-11"), gs("a:1-12"))
	if c.settle(); c.Record.Term != 2 || c.Record.Primary != "b" {
		t.Errorf("term %d of %s, want term 2 of b", c.Record.Term, c.Record.Primary)
	}
	if !slices.Equal(c.Record.InSync, []string{"c"}) {
		t.Errorf("in sync: %v", c.Record.InSync)
	}
}

func TestS1_ATermHigherThanTheRecordsStopsEverything(t *testing.T) {
	c := healthy(t, "a", "b", "c").dies("a")
	c.status("c", func(s *Status) { s.TermSeen = 2 })
	d := c.decide()
	if d.Change != nil || d.Reason != ReasonTermWentBack {
		t.Errorf("decided %s: %+v", d.Reason, d.Change)
	}
	c.mustWait(d, CodeTermWentBack)
}

func TestS1_NothingIsBegunAnewOverDataOrATermSeen(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil func(*Status)
		code  Code
	}{
		"a server holds data":             {func(s *Status) { s.Empty = false }, CodeServerNotEmpty},
		"a server has seen a term":        {func(s *Status) { s.TermSeen = 3 }, CodeServerNotEmpty},
		"a server is not there yet":       {func(s *Status) { s.Process = ProcessGone }, CodeWaitingForServers},
		"a server is not known yet":       {func(s *Status) { s.StartID = "" }, CodeWaitingForServers},
		"a server has a forbidden my.cnf": {func(s *Status) { s.Findings = []Finding{{Code: CodeBadVariable}} }, CodeBadVariable},
	} {
		t.Run(name, func(t *testing.T) {
			c := blank(t)
			c.status("c", tc.spoil)
			d := c.decide()
			if d.Change != nil {
				t.Errorf("decided %s: %+v", d.Reason, d.Change)
			}
			c.mustWait(d, tc.code)
		})
	}
}

// blank is a cluster of three empty servers without a record.
func blank(t *testing.T) *table {
	t.Helper()
	c := healthy(t, "a", "b", "c")
	c.Record, c.Revision, c.Specs = nil, 0, make(map[string]SpecAt)
	for _, name := range c.Servers {
		c.Statuses[name] = Status{Process: ProcessRunning, StartID: name + "1", Empty: true}
	}
	return c
}

func TestS3_EtcdFirstThenEnable(t *testing.T) {
	c := healthy(t, "a", "b", "c", "d")
	c.Record.InSync, c.Record.Runs = []string{"b", "c"}, map[string]string{"b": "b1", "c": "c1"}
	c.live("d", func(l *Live) { l.Received, l.Executed = gs("a:1-9"), gs("a:1-8") })
	c.settle()
	if spec := c.Specs["d"]; spec.Acks {
		t.Fatal("d may acknowledge before it is listed")
	}
	c.live("d", func(l *Live) { l.Received = gs("a:1-10") })
	d := c.decide()
	if d.Change == nil || d.Change.Record == nil || !slices.Contains(d.Change.Record.InSync, "d") || !d.Change.Specs["d"].Acks {
		t.Fatalf("d is not listed and enabled in one transaction: %+v", d)
	}
	if run := c.Record.Runs["d"]; run != "d1" {
		t.Errorf("d is known in run %q", run)
	}
}

func TestS3_NobodyIsAdmittedWithoutProof(t *testing.T) {
	for name, spoil := range map[string]func(*table){
		"it lacks one transaction":      func(c *table) { c.live("d", func(l *Live) { l.Received, l.Executed = none, gs("a:1-9") }) },
		"its receiver is connecting":    func(c *table) { c.live("d", func(l *Live) { l.Receiver = ReceiverConnecting }) },
		"its applier is off":            func(c *table) { c.live("d", func(l *Live) { l.Applier = ReceiverOff }) },
		"it follows another server":     func(c *table) { c.live("d", func(l *Live) { l.Source = "b" }) },
		"its daemon has no lease":       func(c *table) { c.vanishes("d") },
		"it does not answer the leader": func(c *table) { c.deaf["d"] = true; c.pass(time.Second) },
		"it was probed in another run":  func(c *table) { c.live("d", func(l *Live) { l.StartID = "d0" }) },
		"the primary's set is not known yet": func(c *table) {
			s := c.Seen["a"]
			s.DaemonAt, s.ExecutedBefore, c.deaf["a"] = c.now, none, true
			c.Seen["a"] = s
		},
		"the primary is open in another term": func(c *table) { c.live("a", func(l *Live) { l.OpenTerm = 7 }) },
		"the primary's daemon is silent": func(c *table) {
			c.pass(400 * time.Millisecond)
			s := c.Seen["a"]
			s.DaemonAt = c.now.Add(-400 * time.Millisecond)
			c.Seen["a"], c.deaf["a"] = s, true
		},
		"it was told to stand": func(c *table) { c.specs(map[string]Spec{"d": {Goal: GoalStand, Term: 1, Why: "x"}}) },
	} {
		t.Run(name, func(t *testing.T) {
			c := healthy(t, "a", "b", "c", "d")
			c.Record.InSync, c.Record.Runs = []string{"b", "c"}, map[string]string{"b": "b1", "c": "c1"}
			c.specs(map[string]Spec{"d": {Goal: GoalFollow, Term: 1, Source: "a"}})
			spoil(c)
			if c.decide(); slices.Contains(c.Record.InSync, "d") {
				t.Error("d is in sync")
			}
		})
	}
}

func TestS3_AReplicaStaysListedUntilThePrimaryProvedItIsNotNeeded(t *testing.T) {
	c := healthy(t, "a", "b", "c").vanishes("c")
	if c.pass(time.Second).settle(); c.Record.Plan != nil {
		t.Fatal("c leaves before the removal delay")
	}
	c.pass(1500 * time.Millisecond).settle()
	if c.phase() != PhaseEject || !slices.Contains(c.Record.InSync, "c") {
		t.Fatalf("no removal is open, or c is not listed any more: %+v", c.Record)
	}
	if spec := c.Specs["a"]; spec.Eject != "c" || slices.Contains(spec.Attach, "c") || slices.Contains(spec.InSync, "c") {
		t.Fatalf("a is not asked to lock c out: %+v", spec)
	}
	for name, not := range map[string]func(*Status){
		"the proof is still waited for":    func(s *Status) { s.State = SpecWorking },
		"the proof failed":                 func(s *Status) { s.State = SpecFailed },
		"the status is of the spec before": func(s *Status) { s.SpecRevision-- },
	} {
		c.did("a", gs("a:1-12"), none).status("a", not)
		if c.settle(); !slices.Contains(c.Record.InSync, "c") {
			t.Fatalf("c is dropped although %s", name)
		}
	}
	c.did("a", gs("a:1-12"), none).settle()
	if slices.Contains(c.Record.InSync, "c") || c.Record.Plan != nil || c.Record.Runs["c"] != "" {
		t.Errorf("c is still listed after the proof: %+v", c.Record)
	}
}

func TestS3_ALockedOutReplicaIsLetInOnlyWhenItDoesNotAcknowledge(t *testing.T) {
	c := healthy(t, "a", "b", "c").vanishes("c")
	c.pass(3 * time.Second).settle()
	c.did("a", gs("a:1-12"), none).settle()
	if slices.Contains(c.Specs["a"].Attach, "c") {
		t.Fatal("c is let in although its daemon never said that it does not acknowledge")
	}
	c.status("c", func(s *Status) { s.AcksOff, s.SpecRevision = true, c.Specs["c"].Revision-1 })
	if c.settle(); slices.Contains(c.Specs["a"].Attach, "c") {
		t.Fatal("c is let in by a word from before it was told not to acknowledge")
	}
	c.status("c", func(s *Status) { s.AcksOff, s.SpecRevision, s.Plan = true, c.Specs["c"].Revision, c.Specs["c"].Plan })
	if c.settle(); !slices.Contains(c.Specs["a"].Attach, "c") {
		t.Error("c is not let in although it does not acknowledge")
	}
}

func TestS3_AReplicaThatIsNeededIsNeverRemoved(t *testing.T) {
	for name, lay := range map[string]func(*testing.T) *table{
		"it is the only one": func(t *testing.T) *table {
			c := healthy(t, "a", "b", "c").vanishes("c")
			c.Record.InSync, c.Record.Runs = []string{"b"}, map[string]string{"b": "b1"}
			return c.vanishes("b")
		},
		"the others are away too": func(t *testing.T) *table { return healthy(t, "a", "b", "c").vanishes("c").vanishes("b") },
		"the primary is not open": func(t *testing.T) *table {
			c := healthy(t, "a", "b", "c").vanishes("c")
			c.status("a", func(s *Status) { s.OpenTerm = 0 })
			return c
		},
		"the leader has just begun": func(t *testing.T) *table {
			c := healthy(t, "a", "b", "c").vanishes("c")
			c.LeadingSince = c.now.Add(1500 * time.Millisecond)
			return c
		},
		"it is away for less than a blip": func(t *testing.T) *table {
			c := healthy(t, "a", "b", "c")
			c.pass(2 * time.Second)
			return c.vanishes("c")
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := lay(t)
			c.pass(1900 * time.Millisecond)
			if name == "it is the only one" || name == "the others are away too" || name == "the primary is not open" {
				c.pass(time.Minute)
			}
			if c.settle(); c.phase() == PhaseEject {
				t.Errorf("%s is being removed", c.Record.Plan.Server)
			}
		})
	}
}

func TestS3_ALeaverThatIsBackEndsARemovalThatCannotBeProved(t *testing.T) {
	c := healthy(t, "a", "b", "c").vanishes("c")
	c.pass(3 * time.Second).settle()
	c.returns("c", "c1", gs("a:1-12"))
	c.vanishes("b")
	if c.pass(3 * time.Second).settle(); c.phase() != PhaseEject {
		t.Fatal("the removal is given up at once")
	}
	c.pass(2 * time.Second).settle()
	if c.Specs["a"].Eject == "c" || !slices.Contains(c.Record.InSync, "c") || !c.Specs["c"].Acks || !slices.Contains(c.Specs["a"].Attach, "c") {
		t.Errorf("c may not acknowledge again: %+v, %+v", c.Record, c.Specs)
	}
}

func TestS3_FollowersOfTheCandidateAreInThePlanBeforeTheyAcknowledge(t *testing.T) {
	c := chosen(t)
	if !slices.Equal(c.Record.Plan.NewInSync, []string{"c"}) || !c.Specs["c"].Acks || c.Specs["c"].Source != "b" {
		t.Errorf("plan %+v, spec of c %+v", c.Record.Plan, c.Specs["c"])
	}
	if got := c.Specs["b"].Attach; !slices.Equal(got, []string{"c"}) {
		t.Errorf("b lets in %v", got)
	}
}

func TestS4_NoReceiverIsStoppedUnlessEnoughCanBeReached(t *testing.T) {
	for name, tc := range map[string]struct {
		k     int
		spoil func(*table)
		opens bool
	}{
		"all are well":                          {1, func(*table) {}, true},
		"one daemon's lease is gone":            {1, func(c *table) { delete(c.Members, "c") }, false},
		"one is silent":                         {1, func(c *table) { c.deaf["c"] = true; c.pass(450 * time.Millisecond) }, false},
		"one mysqld does not answer its daemon": {1, func(c *table) { c.live("c", func(l *Live) { l.Answers = false }) }, false},
		"one mysqld is gone":                    {1, func(c *table) { c.status("c", func(s *Status) { s.Process = ProcessGone }) }, false},
		"one of three with two acks is out":     {2, func(c *table) { delete(c.Members, "c") }, true},
		"two of three with two acks are out":    {2, func(c *table) { delete(c.Members, "c"); delete(c.Members, "d") }, false},
		"one is not reachable and does not count": {1, func(c *table) {
			c.Record.InSync = []string{"b", "c"}
			delete(c.Record.Runs, "d")
			delete(c.Members, "d")
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := healthy(t, "a", "b", "c", "d")
			c.Record.RequiredAcks = tc.k
			c.settle()
			c.dies("a")
			tc.spoil(c)
			d := c.decide()
			if opened := c.phase() == PhaseRevoke; opened != tc.opens {
				t.Errorf("opened: %v, want %v (%s)", opened, tc.opens, d.Reason)
			}
			if !tc.opens {
				c.mustWait(d, CodeCannotReachReplicas)
			}
		})
	}
}

func TestS4_ARestartedReplicaProvesNothing(t *testing.T) {
	c := revoked(t)
	c.status("c", func(s *Status) { s.StartID, s.Held.StartID = "c2", "c2" })
	d := c.settle()
	if c.phase() != PhaseRevoke {
		t.Fatalf("the plan went on to %s", c.phase())
	}
	c.mustWait(d, CodeReplicaRestarted)
}

func TestS4_ARestartedReplicaIsKnownAgainWhenItHasCaughtUp(t *testing.T) {
	c := healthy(t, "a", "b", "c")
	follow := func(executed gtid.Set) {
		c.live("c", func(l *Live) {
			l.Source, l.Receiver, l.Applier, l.Acks, l.Executed = "a", ReceiverOn, ReceiverOn, true, executed
		})
	}
	c.returns("c", "c2", gs("a:1-9"))
	follow(gs("a:1-9"))
	if c.settle(); c.Record.Runs["c"] != "c1" {
		t.Fatalf("c is known in run %s although it lacks a:10", c.Record.Runs["c"])
	}
	follow(gs("a:1-10"))
	c.live("a", func(l *Live) { l.CommitReadAge = time.Hour })
	if c.pass(c.s.ProbeInterval).pass(c.s.ProbeInterval).settle(); c.Record.Runs["c"] != "c1" {
		t.Fatal("c is known again although no commit was acknowledged since: what it acknowledged before may still wait for others")
	}
	c.live("a", func(l *Live) { l.CommitReadAge = 0 })
	if c.pass(c.s.ProbeInterval).pass(c.s.ProbeInterval).settle(); c.Record.Runs["c"] != "c2" {
		t.Errorf("c is known in run %s, it runs as c2", c.Record.Runs["c"])
	}
}

func TestS4_AStatusCountsOnlyIfItEchoesTheNewestSpecOfThePlan(t *testing.T) {
	for name, spoil := range map[string]func(*table){
		"it speaks of an older spec":   func(c *table) { c.status("c", func(s *Status) { s.SpecRevision-- }) },
		"it is still at work":          func(c *table) { c.status("c", func(s *Status) { s.State = SpecWorking }) },
		"it failed":                    func(c *table) { c.status("c", func(s *Status) { s.State = SpecFailed }) },
		"it refused":                   func(c *table) { c.status("c", func(s *Status) { s.State = SpecRefused }) },
		"the spec is of another plan":  func(c *table) { s := c.Specs["c"]; s.Plan = "failover-t1-r3"; c.Specs["c"] = s },
		"the spec has another goal":    func(c *table) { s := c.Specs["c"]; s.Goal = GoalStand; c.Specs["c"] = s },
		"there is no status":           func(c *table) { delete(c.Statuses, "c") },
		"the mysqld restarted between": func(c *table) { c.status("c", func(s *Status) { s.Held.StartID = "c7" }) },
	} {
		t.Run(name, func(t *testing.T) {
			c := revoked(t)
			spoil(c)
			if c.settle(); c.phase() != PhaseRevoke {
				t.Errorf("the plan went on to %s", c.phase())
			}
		})
	}
}

func TestS4_WithTwoRequiredAcksOneReplicaMayBeMissing(t *testing.T) {
	c := healthy(t, "a", "b", "c", "d")
	c.Record.RequiredAcks = 2
	c.settle()
	c.dies("a").settle()
	c.did("b", gs("a:1-12"), gs("a:1-12"))
	if c.settle(); c.phase() != PhaseRevoke {
		t.Fatal("two of three are missing, and two suffice to acknowledge")
	}
	c.did("c", gs("a:1-11"), gs("a:1-11"))
	if c.settle(); c.phase() != PhasePromote || c.Record.Plan.Candidate != "b" {
		t.Errorf("plan %+v", c.Record.Plan)
	}
}

func TestS4_AnAbandonedPlanStartsTheReceiversAgain(t *testing.T) {
	c := healthy(t, "a", "b", "c").dies("a")
	c.settle()
	c.did("b", gs("a:1-12"), none)
	c.returns("a", "a2", gs("a:1-12"))
	if c.pass(time.Second).settle(); c.phase() != PhaseRevoke {
		t.Fatal("the plan is given up at once")
	}
	c.pass(1500 * time.Millisecond).settle()
	if c.Record.Plan != nil || c.Record.Term != 1 || c.Record.Primary != "a" {
		t.Fatalf("not abandoned: %+v", c.Record)
	}
	for _, name := range []string{"b", "c"} {
		if spec := c.Specs[name]; spec.Goal != GoalFollow || !spec.Acks || spec.Source != "a" {
			t.Errorf("%s is left with %+v", name, spec)
		}
	}
	if c.Specs["a"].Goal != GoalPrimary {
		t.Errorf("a is left with %+v", c.Specs["a"])
	}
}

func TestServersThatShareAServerIDAreNamed(t *testing.T) {
	c := healthy(t, "a", "b", "c")
	for name, id := range map[string]uint32{"a": 1, "b": 2, "c": 3} {
		c.live(name, func(l *Live) { l.ServerID = id })
	}
	if d := c.settle(); waitsFor(d, CodeDuplicateServerID) {
		t.Errorf("three ids: %v", d.Waits)
	}
	c.live("c", func(l *Live) { l.ServerID = 2 })
	c.mustWait(c.settle(), CodeDuplicateServerID)
}

func TestAMysqldThatRunsAndDoesNotAnswerIsNamed(t *testing.T) {
	c := healthy(t, "a", "b", "c", "d")
	c.deaf["d"] = true
	if d := c.pass(time.Second).settle(); waitsFor(d, CodeMysqldUnreachable) {
		t.Errorf("after a second: %v", d.Waits)
	}
	c.mustWait(c.pass(5*time.Second).settle(), CodeMysqldUnreachable)
}
