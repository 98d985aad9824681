package decide

import (
	"slices"
	"testing"
	"time"
)

// picked plays a failover in which b and c hold what is given, and returns who is
// chosen.
func picked(t *testing.T, rules map[string]CandidateRule, b, c string) (*table, string) {
	t.Helper()
	at := healthy(t, "a", "b", "c")
	at.Policy = &Policy{Candidates: rules}
	at.dies("a").pass(time.Second).settle()
	at.did("b", gs("a:1-10"), gs(b)).did("c", gs("a:1-10"), gs(c)).settle()
	if at.phase() != PhasePromote {
		return at, ""
	}
	return at, at.Record.Plan.Candidate
}

func TestTheOperatorsWishesDecideAmongEquals(t *testing.T) {
	for name, tc := range map[string]struct {
		rules map[string]CandidateRule
		b, c  string
		want  string
	}{
		"nothing is wanted":                             {nil, "a:1-12", "a:1-12", "b"},
		"c is preferred":                                {map[string]CandidateRule{"c": {Preference: PreferencePrefer}}, "a:1-12", "a:1-12", "c"},
		"c is preferred and lacks something (S5)":       {map[string]CandidateRule{"c": {Preference: PreferencePrefer}}, "a:1-12", "a:1-11", "b"},
		"c has a higher priority":                       {map[string]CandidateRule{"c": {Priority: 1}}, "a:1-12", "a:1-12", "c"},
		"a preference counts more than a priority":      {map[string]CandidateRule{"b": {Preference: PreferencePrefer}, "c": {Priority: 9}}, "a:1-12", "a:1-12", "b"},
		"c stands where the old primary stood":          {map[string]CandidateRule{"a": {Zone: "x"}, "b": {Zone: "y"}, "c": {Zone: "x"}}, "a:1-12", "a:1-12", "c"},
		"a priority counts more than a zone":            {map[string]CandidateRule{"a": {Zone: "x"}, "b": {Priority: 1}, "c": {Zone: "x"}}, "a:1-12", "a:1-12", "b"},
		"b shall never be":                              {map[string]CandidateRule{"b": {Preference: PreferenceNever}}, "a:1-12", "a:1-12", "c"},
		"b shall never be, and alone holds what counts": {map[string]CandidateRule{"b": {Preference: PreferenceNever}}, "a:1-12", "a:1-11", ""},
	} {
		if _, got := picked(t, tc.rules, tc.b, tc.c); got != tc.want {
			t.Errorf("%s: %q is chosen", name, got)
		}
	}
}

func TestAPreferenceCostsNoMoreThanAMoment(t *testing.T) {
	d := &decider{View: View{Policy: &Policy{Candidates: map[string]CandidateRule{"c": {Preference: PreferencePrefer}}}}}
	for left, want := range map[uint64]string{closeBehind: "c", closeBehind + 1: "b"} {
		if got := d.prefers("a", "", []contender{{"b", true, 0}, {"c", true, left}})[0].name; got != want {
			t.Errorf("c has %d left to apply: %s", left, got)
		}
	}
	if got := d.prefers("a", "", []contender{{"b", true, 0}, {"c", false, 0}})[0].name; got != "b" {
		t.Errorf("c cannot be reached: %s", got)
	}
}

func TestS5_WhatOnlyABarredServerHoldsIsWaitedForByName(t *testing.T) {
	c, _ := picked(t, map[string]CandidateRule{"b": {Preference: PreferenceNever}}, "a:1-12", "a:1-11")
	c.mustWait(c.settle(), CodeNoCompleteCandidate)
	c.Policy = &Policy{} // The operator changes his mind.
	if c.settle(); c.phase() != PhasePromote || c.Record.Plan.Candidate != "b" {
		t.Errorf("the plan %+v", c.Record.Plan)
	}
}

func TestS3_ABarredServerAcknowledgesOnlyWhereTooFewOthersDo(t *testing.T) {
	c := healthy(t, "a", "b", "c")
	c.Policy = &Policy{Candidates: map[string]CandidateRule{"c": {Preference: PreferenceNever}}}
	for range 20 {
		c.pass(200 * time.Millisecond).settle()
	}
	if p := c.Record.Plan; p == nil || p.Kind != PlanRemove || p.Server != "c" {
		t.Fatalf("c stays in the in-sync set: the plan %+v", p)
	}
	c.did("a", gs("a:1-10"), none).settle()
	if !slices.Equal(c.Record.InSync, []string{"b"}) {
		t.Fatalf("the record %+v", c.Record)
	}
	c.did("c", gs("a:1-10"), none).status("c", func(s *Status) { s.AcksOff = true })
	if d := c.settle(); !slices.Equal(c.Record.InSync, []string{"b"}) || waitsFor(d, CodeTooFewInSync) {
		t.Fatalf("it comes back at once, or is missed: %v, %v", c.Record.InSync, d.Waits)
	}
	// Its word is needed once b does not give its own.
	c.live("b", func(l *Live) { l.Receiver, l.Acks = ReceiverConnecting, false })
	for range 5 {
		c.pass(200 * time.Millisecond).settle()
	}
	if !slices.Contains(c.Record.InSync, "c") {
		t.Errorf("writes wait although c is there: the record %+v", c.Record)
	}
}

func TestADelayedReplicaIsNoCandidate(t *testing.T) {
	c := healthy(t, "a", "b", "c")
	c.live("b", func(l *Live) { l.Delay = time.Hour })
	c.Record.InSync, c.Record.Runs = []string{"c"}, map[string]string{"c": "c1"}
	d := c.settle()
	if got := d.Candidates[0]; got.Server != "c" || len(got.Problems) > 0 || len(d.Candidates[1].Problems) == 0 {
		t.Errorf("%+v", d.Candidates)
	}
}

func TestAPrimaryThatShallNeverBeIsNamedAndStays(t *testing.T) {
	c := healthy(t, "a", "b", "c")
	c.Policy = &Policy{Candidates: map[string]CandidateRule{"a": {Preference: PreferenceNever}}}
	c.mustWait(c.settle(), CodeUnwantedPrimary)
	if c.Record.Plan != nil {
		t.Errorf("the plan %+v", c.Record.Plan)
	}
}
