package decide

import (
	"slices"
	"testing"
	"time"
)

func TestS2_AWeakenedPrimaryIsNotFailedOverFrom(t *testing.T) {
	c := healthy(t, "a", "b", "c")
	c.status("a", func(s *Status) { s.Weakened = true })
	c.mustWait(c.decide(), CodeWeakened)
	c.dies("a")
	if d := c.decide(); c.Record.Plan != nil || d.Reason != ReasonNotEnoughProof {
		t.Fatalf("%s: what it acknowledged alone would be lost", d.Reason)
	}
	c.status("a", func(s *Status) { s.Weakened = false })
	if c.decide(); c.phase() != PhaseRevoke {
		t.Error("no failover although the weakness was disproved")
	}
}

func TestS2_ASuspensionIsRecordedBeforeThePrimaryIsTold(t *testing.T) {
	c := healthy(t, "a", "b", "c")
	c.Record.Durability = DurabilityAvailable
	c.vanishes("b").vanishes("c")
	for range 6 {
		c.pass(time.Second)
		d := c.decide()
		if d.Change == nil {
			continue
		}
		if spec, told := d.Change.Specs["a"]; told && spec.Suspended && !c.Record.Suspended {
			t.Fatal("the primary may acknowledge alone and the record does not say so")
		}
	}
	if !c.Record.Suspended || len(c.Record.InSync) > 0 || !c.Specs["a"].Suspended {
		t.Errorf("not suspended: %+v", c.Record)
	}
	c.dies("a")
	if d := c.decide(); c.Record.Plan != nil {
		t.Errorf("%s: a failover from a primary that acknowledged alone (S6)", d.Reason)
	}
}

func TestS3_MoreAcksAreProvedFirstAndFewerRecordedFirst(t *testing.T) {
	c := healthy(t, "a", "b", "c", "d")
	c.Policy = &Policy{RequiredAcks: 2}
	c.decide()
	if c.Record.Plan == nil || c.Record.RequiredAcks != 1 || c.Specs["a"].RequiredAcks != 2 || !c.Specs["a"].Prove {
		t.Fatalf("record %+v, spec %+v", c.Record, c.Specs["a"].Spec)
	}
	c.did("a", gs("a:1-11"), gs("")).settle()
	if c.Record.RequiredAcks != 2 || c.Record.Plan != nil {
		t.Fatalf("proved and not recorded: %+v", c.Record)
	}
	c.Policy = &Policy{RequiredAcks: 1}
	if d := c.decide(); d.Change == nil || d.Change.Record.RequiredAcks != 1 {
		t.Errorf("%s: fewer acks are recorded at once", d.Reason)
	}
}

func TestACommitThatStallsIsDeathOnlyIfReplicasWereThereAllTheTime(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*table)
		dead   bool
	}{
		"replicas acknowledge all the time": {func(*table) {}, true},
		"they came back a moment ago": {func(c *table) {
			for _, r := range []string{"b", "c"} {
				seen := c.Seen[r]
				seen.AckingSince = c.now.Add(-time.Second)
				c.Seen[r] = seen
			}
		}, false},
		"it waits for somebody's lock": {func(c *table) { c.live("a", func(l *Live) { l.CommitLocked = true }) }, false},
		"its daemon's lease is gone":   {func(c *table) { delete(c.Members, "a") }, false},
		"it is not pending for long":   {func(c *table) { c.live("a", func(l *Live) { l.CommitPending = time.Second }) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := healthy(t, "a", "b", "c")
			c.live("a", func(l *Live) { l.CommitPending = 6 * time.Second })
			for _, r := range []string{"b", "c"} {
				seen := c.Seen[r]
				seen.AckingSince = c.now.Add(-time.Minute)
				c.Seen[r] = seen
			}
			test.change(c)
			if d := c.decide(); (d.Reason == ReasonStalled) != test.dead {
				t.Errorf("%s: %s", d.Reason, d.Detail)
			}
		})
	}
}

func TestAClosedPrimaryWithoutADaemonIsDead(t *testing.T) {
	c := healthy(t, "a", "b", "c")
	delete(c.Members, "a")
	c.Absent["a"] = c.now
	c.pass(6 * time.Second)
	if d := c.decide(); d.Reason == ReasonClosed {
		t.Fatal("it still serves: a dead daemon alone is never a failover (S9)")
	}
	seen := c.Seen["a"]
	seen.Closed = true
	c.Seen["a"] = seen
	if d := c.decide(); d.Reason != ReasonClosed {
		t.Errorf("%s: nobody will ever open it", d.Reason)
	}
}

func TestS1_ARecordOlderThanOneThatWasSeenIsNotActedOn(t *testing.T) {
	for name, see := range map[string]func(*table){
		"by the leader's own daemon": func(c *table) { c.RecordSeen = c.Record.Version + 1 },
		"by another":                 func(c *table) { c.live("b", func(l *Live) { l.RecordSeen = c.Record.Version + 1 }) },
	} {
		t.Run(name, func(t *testing.T) {
			c := healthy(t, "a", "b", "c")
			see(c)
			c.dies("a")
			d := c.decide()
			c.mustWait(d, CodeTermWentBack)
			if d.Change != nil {
				t.Error("something was changed on the word of an old backup")
			}
		})
	}
}

func TestS7_AnErrantReplicaLeavesTheInSyncSet(t *testing.T) {
	c := healthy(t, "a", "b", "c")
	c.live("c", func(l *Live) { l.Executed = gs("a:1-10,c:1") })
	for range 3 {
		c.pass(c.s.ProbeInterval).decide()
	}
	if p := c.Record.Plan; p == nil || p.Kind != PlanRemove || p.Server != "c" || !slices.Contains(c.Record.InSync, "c") {
		t.Errorf("plan %+v", p)
	}
}
