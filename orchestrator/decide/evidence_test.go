package decide

import (
	"slices"
	"testing"
	"time"

	"github.com/mysqlha/mysqlha/replication/gtid"
)

// A transaction that waits for its acknowledgement is in the relay log of a
// replica and not yet executed by the primary. It is not errant.
func TestS7_AReplicaThatHoldsAWaitingTransactionMayReattach(t *testing.T) {
	w := running(t, 21, "a", "b", "c")
	w.crash("c")
	w.until("c is dropped", func() bool { return slices.Equal(w.record.InSync, []string{"b"}) && w.record.Plan == nil })
	a, b := w.hosts["a"], w.hosts["b"]
	w.until("b holds a transaction whose acknowledgement is on its way", func() bool {
		return len(a.waiting) > 0 && b.all().Contains(a.waiting[0].tx)
	})
	a.flying = nil // The connection broke.
	w.kill("b", false)
	a.flying = nil
	w.start("b")
	w.writes("once b is back")
}

func TestS5_ACandidateWhoseMysqldCrashesOnceCanStillBeTheFollower(t *testing.T) {
	w := running(t, 22, "a", "b", "c")
	w.crash("a")
	w.until("choice", func() bool {
		p := w.record.Plan
		return p != nil && p.Phase == PhasePromote && p.Sets["b"].All().Equal(p.Sets["c"].All())
	})
	first := w.record.Plan.Candidate
	w.kill(first, false)
	w.until("another is chosen", func() bool { return w.record.Plan.Candidate != first })
	w.start(first)
	// The leader's next look comes after the daemon has begun.
	w.dropped[first] = true
	w.pass(500 * time.Millisecond)
	w.dropped[first] = false
	w.until("failover", w.openAnywhere)
}

func TestS5_AFollowerThatHasReceivedEverythingCanReplaceTheCandidate(t *testing.T) {
	c := chosen(t).did("c", gs("a:1-11"), gs("a:1-12")).dies("b")
	if c.settle(); c.Record.Plan.Candidate != "c" {
		t.Errorf("the plan waits for %s, c has received the whole target since", c.Record.Plan.Candidate)
	}
}

func TestS5_ACandidateThatRestartedSinceItsSetWasReadIsNotChosen(t *testing.T) {
	all := gs("a:1-12")
	c := revoked(t).did("b", all, all).did("c", gs("a:1-11"), all)
	c.settle()
	c.returns("c", "c2", gs("a:1-11")).dies("b")
	if c.settle(); c.Record.Plan.Candidate == "c" {
		t.Error("c restarted without a:12 and can never apply it; it would be waited for until it dies")
	}
}

func TestS5_ACandidateWithoutItsDaemonIsReplaced(t *testing.T) {
	all := gs("a:1-12")
	c := revoked(t).did("b", all, all).did("c", gs("a:1-11"), all)
	c.settle()
	delete(c.Members, "b")
	c.Absent["b"] = c.now
	if c.pass(time.Minute).settle(); c.Record.Plan.Candidate != "c" {
		t.Errorf("the plan waits for %s, whose daemon is gone", c.Record.Plan.Candidate)
	}
}

// d replicates without acknowledging, and its receiver is not stopped.
func TestS5_AFollowerIsListedOnlyOnceItIsKnownToBeContained(t *testing.T) {
	c := healthy(t, "a", "b", "c", "d")
	c.Record.InSync, c.Record.Runs = []string{"b", "c"}, map[string]string{"b": "b1", "c": "c1"}
	c.specs(map[string]Spec{"d": {Goal: GoalFollow, Term: 1, Source: "a"}})
	c.live("d", func(l *Live) { l.Received = gs("a:1-9") })
	c.dies("a").settle()
	c.did("b", gs("a:1-12"), gs("a:1-12")).did("c", gs("a:1-12"), gs("a:1-12")).settle()
	if slices.Contains(c.Record.Plan.NewInSync, "d") {
		t.Error("d is listed while it may still be receiving what nobody in the in-sync set has")
	}
}

func TestS4_AListedReplicaThatIsNotKnownLeavesTheSet(t *testing.T) {
	c := healthy(t, "a", "b", "c", "d").returns("d", "d2", gs("a:1-9"))
	c.live("d", func(l *Live) { l.Source, l.Receiver, l.Applier = "a", ReceiverOn, ReceiverOff })
	for range 100 {
		c.pass(100 * time.Millisecond).settle()
	}
	if c.phase() != PhaseEject {
		t.Error("d restarted, its applier is broken, and it forbids every failover for ever; nobody removes it and nothing says so")
	}
}

func TestS4_NoReceiverIsStoppedForEvidenceThatCannotCome(t *testing.T) {
	c := healthy(t, "a", "b", "c").returns("c", "c2", gs("a:1-10")).dies("a")
	if c.settle(); c.phase() == PhaseRevoke {
		t.Error("receivers are stopped although c, which restarted, can prove nothing")
	}
}

// The leader did not hear of a for ten seconds; what it knew of a before that
// is older than c's restart.
func TestS4_TheMomentMustBeAfterTheRestart(t *testing.T) {
	c := healthy(t, "a", "b", "c")
	c.deaf["a"] = true
	c.pass(10 * time.Second)
	c.returns("c", "c2", gs("a:1-10"))
	c.live("c", func(l *Live) { l.Source, l.Receiver, l.Applier = "a", ReceiverOn, ReceiverOn })
	delete(c.deaf, "a")
	c.live("a", func(l *Live) { l.Executed = gs("a:1-500") }) // ExecutedBefore is from ten seconds ago.
	if c.settle(); c.Record.Runs["c"] == "c2" {
		t.Error("c is known again by what a had before c restarted: it may have acknowledged and lost a:11-500")
	}
}

func TestS5_WhatCameFromAnEarlierTermIsNotErrant(t *testing.T) {
	c := healthy(t, "b", "c", "d") // b follows a, which died; its heartbeat row is not everywhere yet.
	c.Record.Base = gs("a:1-12")
	c.dies("b").settle()
	c.Seen["b"] = Observation{SQLFailures: 5, SQLFailure: FailureRefused} // A new leader.
	c.did("c", gs("a:1-12"), gtid.Set{}).did("d", gs("a:1-12"), gtid.Set{})
	if c.settle(); c.phase() != PhasePromote {
		t.Error("a:10-12, which every server has from the term before, counts as errant, and the plan waits for a human")
	}
}

func TestS6_APlanWithoutACandidateIsGivenUpWhenThePrimaryIsBack(t *testing.T) {
	c := revoked(t).did("b", gs("a:1-12,b:1"), gs("a:5-12"))
	c.settle()
	c.returns("a", "a2", gs("a:1-12"))
	if c.pass(time.Minute).settle(); c.Record.Plan != nil {
		t.Error("a is back, nothing is chosen, and the receivers stay stopped for ever")
	}
}

func TestAClosedPrimaryAdmitsAServerThatHoldsAllItHas(t *testing.T) {
	w := running(t, 23, "a", "b", "c")
	w.crash("c")
	w.until("c is dropped", func() bool { return slices.Equal(w.record.InSync, []string{"b"}) && w.record.Plan == nil })
	w.crash("a")
	w.crash("b") // For good.
	w.pass(time.Second)
	w.boot("a")
	w.boot("c")
	w.until("a opens with c", func() bool { return w.isOpen("a") })
}

// A host that answers that nobody listens is evidence at once, not after the
// time that silence needs.
func TestARefusedConnectionIsEvidenceBeforeTheDetectionTime(t *testing.T) {
	c := healthy(t, "a", "b", "c")
	c.deaf["a"] = true
	c.pass(500 * time.Millisecond)
	seen := c.Seen["a"]
	seen.SQLFailure, seen.SQLFailures, seen.Live.OpenTerm = FailureRefused, 2, 0
	c.Seen["a"] = seen
	for _, name := range []string{"b", "c"} {
		c.live(name, func(l *Live) { l.Receiver = ReceiverConnecting })
	}
	if d := c.decide(); d.Reason != ReasonRefused {
		t.Errorf("%s (%s)", d.Reason, d.Detail)
	}
}

// A replica that hangs keeps its connection and its daemon, and acknowledges
// nothing. Listed, it would forbid every failover: it cannot be revoked.
func TestS4_AListedReplicaThatHangsLeavesTheSet(t *testing.T) {
	for _, tc := range []struct {
		name        string
		b, c        time.Duration
		leaves      string
		withoutAcks bool
	}{
		{"one gets nothing", 7 * time.Second, 100 * time.Millisecond, "b", false},
		{"one is in a large transaction", 5 * time.Second, 100 * time.Millisecond, "", false},
		{"nobody gets anything", 7 * time.Second, 7 * time.Second, "", false},
		{"the other does not acknowledge", 7 * time.Second, 100 * time.Millisecond, "", true},
	} {
		c := healthy(t, "a", "b", "c")
		c.live("b", func(l *Live) { l.ContactAge = tc.b })
		c.live("c", func(l *Live) { l.ContactAge, l.Acks = tc.c, !tc.withoutAcks })
		c.look()
		d := c.decide()
		leaves := ""
		if d.Change != nil && d.Change.Record != nil && d.Change.Record.Plan != nil {
			leaves = d.Change.Record.Plan.Server
		}
		if leaves != tc.leaves {
			t.Errorf("%s: %q leaves, want %q (%s)", tc.name, leaves, tc.leaves, d.Detail)
		}
	}
}

// A daemon that is being restarted says nothing of its receiver, which is no sign that
// it is not connected: the lease tells whether the daemon comes back.
func TestS3_ADaemonThatIsRestartedCostsItsServerNoPlace(t *testing.T) {
	for name, c := range map[string]struct {
		answered, received time.Duration // ago
		knows              bool          // what its mysqld does
		leaves             bool
	}{
		"answers and receives":                {0, 0, true, false},
		"has not answered for three seconds":  {3100 * time.Millisecond, 3 * time.Second, true, false},
		"answers and does not receive":        {0, 3 * time.Second, true, true},
		"is there again and knows nothing":    {0, 3 * time.Second, false, false},
		"knows nothing for too long":          {0, 6100 * time.Millisecond, false, true},
		"did not receive when it was asked":   {2 * time.Second, 3 * time.Second, true, true},
		"is silent for as long as one may be": {6200 * time.Millisecond, 6100 * time.Millisecond, true, true},
	} {
		v := healthy(t, "a", "b", "c")
		seen := v.Seen["b"]
		seen.DaemonAt, seen.ReceivingAt = v.now.Add(-c.answered), v.now.Add(-c.received)
		seen.Live.Answers = c.knows
		v.Seen["b"] = seen
		d := &decider{View: v.View, settings: v.s, now: v.now}
		if away, why := d.away("b"); away != c.leaves {
			t.Errorf("%s: away %t, %s", name, away, why)
		}
	}
}
