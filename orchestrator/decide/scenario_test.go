package decide

import (
	"slices"
	"testing"
	"time"
)

// running is a cluster after its bootstrap, with writes going on.
func running(t testing.TB, seed uint64, names ...string) *world {
	t.Helper()
	w := newWorld(t, seed, names...)
	w.until("bootstrap", func() bool { return w.isOpen("a") && len(w.record.InSync) == len(names)-1 })
	w.writes("after bootstrap")
	return w
}

func (w *world) pass(d time.Duration) {
	w.helper()
	for end := w.now.Add(d); w.now.Before(end); {
		w.tick()
	}
}

func (w *world) in(phase Phase) func() bool {
	return func() bool { return w.record.Plan != nil && w.record.Plan.Phase == phase }
}

func TestThreeEmptyServersBecomeACluster(t *testing.T) {
	w := running(t, 1, "a", "b", "c")
	if w.record.Term != 1 || !w.record.Complete || !slices.Equal(w.record.InSync, []string{"b", "c"}) {
		t.Errorf("record %+v", w.record)
	}
}

func TestADeadPrimaryIsReplacedAndComesBackAsAReplica(t *testing.T) {
	w := running(t, 2, "a", "b", "c")
	w.crash("a")
	w.until("failover", func() bool { return w.record.Term == 2 && w.openAnywhere() })
	w.writes("after the failover")
	w.boot("a")
	// It may hold writes that nobody was told are safe; then it stands.
	w.until("a is back or stands by name", func() bool {
		return slices.Contains(w.record.InSync, "a") || waitsFor(w.last, CodeDiverged)
	})
}

func TestAFailoverSurvivesAChangeOfLeaderBetweenAnyTwoSteps(t *testing.T) {
	for at := range 120 {
		w := running(t, 3, "a", "b", "c")
		w.crash("a")
		n := 0
		w.until("failover", func() bool {
			if n++; n == at {
				w.lead("b")
			}
			return w.record.Term == 2 && w.openAnywhere()
		})
		w.writes("after the failover")
	}
}

func TestAFailoverSurvivesALeaderThatChangesAllTheTime(t *testing.T) {
	w := running(t, 4, "a", "b", "c")
	w.crash("a")
	n := 0
	w.until("failover", func() bool {
		if n++; w.record.Plan != nil {
			w.lead([]string{"b", "c"}[n%2]) // At every step.
		}
		return w.record.Term == 2 && w.openAnywhere()
	})
}

func TestACandidateThatDiesWhileItIsPromotedIsReplaced(t *testing.T) {
	w := running(t, 5, "a", "b", "c", "d")
	w.crash("a")
	w.until("choice", w.in(PhasePromote))
	first := w.record.Plan.Candidate
	// All have the same, so that any of them can be chosen.
	w.crash(first)
	w.until("failover to another", func() bool {
		return w.record.Term == 2 && w.openAnywhere() || waitsFor(w.last, CodeNoCompleteCandidate)
	})
	if w.record.Term == 2 && w.record.Primary == first {
		t.Errorf("%s is primary although it is dead", first)
	}
	w.boot(first)
	w.boot("a")
	w.until("failover in the end", w.openAnywhere)
	w.writes("in the end")
}

func TestANewPrimaryThatDiesBeforeItOpensIsReplaced(t *testing.T) {
	w := running(t, 6, "a", "b", "c", "d")
	w.crash("a")
	w.until("publication", w.in(PhaseOpen))
	w.crash(w.record.Primary)
	w.until("the next term", func() bool {
		return w.record.Term == 3 && w.openAnywhere() || w.record.Term == 2 && waitsFor(w.last, CodeWaitingForFollowers)
	})
	w.boot("a")
	w.until("the next term with a", func() bool { return w.record.Term == 3 && w.openAnywhere() })
	w.writes("in term 3")
}

func TestTwoFailoversInARowLoseNothing(t *testing.T) {
	w := running(t, 7, "a", "b", "c", "d")
	for term := uint64(2); term <= 3; term++ {
		w.crash(w.record.Primary)
		w.until("failover", func() bool { return w.record.Term == term && w.openAnywhere() })
		w.writes("after it")
		if term == 2 {
			w.until("the dead one has left the in-sync set", func() bool { return len(w.record.InSync) == 2 })
		}
	}
}

func TestAReplicaThatWasRemovedDoesNotHoldUpAFailover(t *testing.T) {
	w := running(t, 8, "a", "b", "c", "d")
	w.crash("c")
	w.until("removal", func() bool { return !slices.Contains(w.record.InSync, "c") && w.record.Plan == nil })
	w.writes("without c")
	w.crash("a")
	w.until("failover", func() bool { return w.record.Term == 2 && w.openAnywhere() })
	w.writes("after it")
	w.boot("c")
	w.until("c is in sync again", func() bool { return slices.Contains(w.record.InSync, "c") })
}

func TestAPrimaryThatComesBackDuringTheRevokeKeepsItsTerm(t *testing.T) {
	w := running(t, 9, "a", "b", "c")
	w.kill("a", false)
	w.until("revoke", w.in(PhaseRevoke))
	w.crash("c") // Now the evidence can never be complete.
	w.start("a")
	w.until("the plan is given up", func() bool { return w.record.Plan == nil })
	w.until("a is open", func() bool { return w.isOpen("a") })
	if w.record.Term != 1 {
		t.Errorf("term %d", w.record.Term)
	}
	w.writes("in the old term")
}

func TestAReplicaThatCannotBeReachedForbidsTheFailover(t *testing.T) {
	w := running(t, 10, "a", "b", "c")
	w.crash("c")
	w.crash("a")
	w.pass(20 * time.Second)
	if w.record.Plan != nil || w.record.Term != 1 || !waitsFor(w.last, CodeCannotReachReplicas) {
		t.Fatalf("record %+v, decision %+v", w.record, w.last)
	}
	w.boot("a")
	w.until("a is open again", func() bool { return w.isOpen("a") })
	w.writes("after that")
}

func TestAfterAPowerCutOfAllTheRecordedPrimaryOpensInItsTerm(t *testing.T) {
	w := running(t, 11, "a", "b", "c")
	for _, n := range w.names {
		w.crash(n)
	}
	w.pass(5 * time.Second)
	for _, n := range w.names {
		w.boot(n)
	}
	w.until("a is open again", func() bool { return w.isOpen("a") })
	w.until("b and c are known again", func() bool {
		return w.record.Runs["b"] == w.hosts["b"].startID() && w.record.Runs["c"] == w.hosts["c"].startID()
	})
	w.writes("after that")
}

func TestAPrimaryThatOnlyItsLeaderDoesNotSeeIsLeftAlone(t *testing.T) {
	w := running(t, 12, "a", "b", "c")
	w.dropped["ac"] = true
	w.lead("c")
	w.until("c asks to be relieved", func() bool { return w.last.Yield })
	if w.record.Plan != nil && w.record.Plan.Kind == PlanFailover {
		t.Errorf("plan %+v", w.record.Plan)
	}
}

// The status of a daemon that is cut off is what it last wrote: here that c
// does not acknowledge, written a moment before it was told to.
func TestS3_AnOldWordThatAReplicaDoesNotAcknowledgeLetsNobodyIn(t *testing.T) {
	w := running(t, 20, "a", "b", "c")
	c := w.hosts["c"]
	w.crash("c")
	w.until("c is dropped", func() bool { return !slices.Contains(w.record.InSync, "c") && w.record.Plan == nil })
	w.boot("c")
	w.until("c may acknowledge, and etcd has not heard that it does", func() bool {
		return c.spec.Acks && c.spec.Goal == GoalFollow && w.specs["c"].Acks && c.acks
	})
	st := w.statuses["c"]
	st.AcksOff, c.etcd = true, false
	w.statuses["c"] = st
	w.until("c is dropped again", func() bool { return !slices.Contains(w.record.InSync, "c") && w.record.Plan == nil })
	w.pass(time.Second)
	if slices.Contains(w.specs["a"].Attach, "c") {
		t.Error("c is let in")
	}
}
