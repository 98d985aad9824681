package decide

import (
	"testing"
	"time"
)

func TestTheGateOfADeadPrimaryIsAdvised(t *testing.T) {
	record := func(change func(*Record)) Record {
		r := Record{Term: 5, Primary: "b", Base: gs("a:1-7,b:1"), Complete: true, CompleteSince: 3}
		change(&r)
		return r
	}
	own := func(r *Record) { r.Primary = "a" }
	plan := func(phase Phase, candidate string) func(*Record) {
		return func(r *Record) {
			r.Primary = "a"
			r.Plan = &Plan{ID: "p", Kind: PlanFailover, Phase: phase, From: "a", Candidate: candidate, Target: gs("a:1-8")}
		}
	}
	removal := func(r *Record) {
		r.Primary, r.Plan = "a", &Plan{Kind: PlanRemove, Phase: PhaseEject, Server: "c"}
	}
	alone := func(r *Record) { r.Primary, r.Suspended = "a", true }
	for _, c := range []struct {
		name     string
		record   Record
		term     uint64
		waited   time.Duration
		advice   StartAdvice
		holds    string
		complete bool
		paused   bool
	}{
		{"replaced", record(func(*Record) {}), 4, 0, StartCompare, "a:1-7,b:1", true, false},
		{"replaced, complete since its term", record(func(*Record) {}), 3, 0, StartCompare, "a:1-7,b:1", true, false},
		{"replaced, incomplete after its term (S6)", record(func(*Record) {}), 2, 0, StartCompare, "a:1-7,b:1", false, false},
		{"its own term", record(own), 5, 0, StartWait, "", false, false},
		{"its own term, for long", record(own), 5, startPatience, StartNow, "", false, false},
		{"its own term, in a removal", record(removal), 5, startPatience, StartNow, "", false, false},
		{"alone: nobody could take its place", record(alone), 5, 0, StartNow, "", false, false},
		{"a failover has chosen nobody", record(plan(PhaseRevoke, "")), 5, startPatience, StartWait, "", false, false},
		{"a failover has chosen nobody for long", record(plan(PhaseRevoke, "")), 5, revokePatience, StartNow, "", false, false},
		{"a failover has chosen (S5)", record(plan(PhasePromote, "c")), 5, time.Hour, StartCompare, "a:1-8", true, false},
		{"no failover begins while it is paused", record(own), 5, 0, StartNow, "", false, true},
		{"paused, and a failover is under way", record(plan(PhaseRevoke, "")), 5, 0, StartWait, "", false, true},
	} {
		got := AdviseStart(c.record, "a", c.term, c.waited, c.paused)
		if got.Advice != c.advice || !got.Holds.Equal(gs(c.holds)) || got.Complete != c.complete || got.Why == "" {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
	r := record(plan(PhasePromote, "c"))
	r.Suspended = true
	if got := AdviseStart(r, "a", 5, 0, false); got.Complete {
		t.Errorf("a primary that acknowledged alone may have committed anything (S6): %+v", got)
	}
	r = record(plan(PhasePromote, "c"))
	r.Plan.Override = &Override{}
	if got := AdviseStart(r, "a", 5, 0, false); got.Complete {
		t.Errorf("a human allowed the new term to lack something (S6): %+v", got)
	}
}
