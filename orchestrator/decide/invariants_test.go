package decide

import (
	"fmt"
	"slices"
	"time"
)

// faults names every rule of the write contract that a change would break when
// it is written over the view it was decided on.
func faults(v View, c *Change, s Settings, now time.Time) []string {
	var out []string
	bad := func(rule, format string, args ...any) { out = append(out, rule+": "+fmt.Sprintf(format, args...)) }
	before, after := Record{}, v.Record
	if v.Record != nil {
		before = *v.Record
	}
	if c.Record != nil {
		after = c.Record
	}
	published := after.Term != before.Term
	if published && after.Term != before.Term+1 {
		bad("S1", "term %d follows %d", after.Term, before.Term)
	}
	if !published && before.Primary != "" && after.Primary != before.Primary {
		bad("S1", "the primary changes from %s to %s within term %d", before.Primary, after.Primary, after.Term)
	}
	if slices.Contains(after.InSync, after.Primary) {
		bad("S3", "the primary %s is in its own in-sync set", after.Primary)
	}
	out = append(out, publishFaults(v, before, after, published)...)
	out = append(out, removalFaults(v, before, after, published)...)
	out = append(out, planFaults(v, before, after, s, now)...)
	return append(out, specFaults(v, before, after, c, s, now)...)
}

// echoed tells whether the server reports its newest spec, with that goal and
// plan, as done.
func echoed(v View, name string, goal Goal, plan string) (Status, bool) {
	st, spec := v.Statuses[name], v.Specs[name]
	return st, spec.Goal == goal && spec.Plan == plan && st.SpecRevision == spec.Revision && spec.Revision > 0 && st.State == SpecDone
}

// adopts tells whether the record begins with the adoption of a running cluster.
func adopts(before Record, after *Record) bool {
	return before.Version == 0 && before.Term == 0 && after.Plan != nil && after.Plan.Kind == PlanAdopt
}

// adoptionFaults: nothing is promised before it is proved, and nothing is known of
// what the servers did before.
func adoptionFaults(v View, after *Record) (out []string) {
	if !after.Suspended || len(after.InSync) > 0 {
		out = append(out, "S2: an adopted primary is called safe before it was seen to wait")
	}
	if after.Complete || after.CompleteSince != after.Term {
		out = append(out, "S6: an adopted term is called complete")
	}
	for _, name := range v.Servers {
		live := v.Seen[name].Live
		if (name == after.Primary) == live.ReadOnly {
			out = append(out, fmt.Sprintf("S1: %s is adopted beside the primary %s, and is read_only: %t", name, after.Primary, live.ReadOnly))
		}
		if name == after.Primary && live.Waits {
			out = append(out, "S10: the adopted primary waits for somebody's replicas already")
		}
	}
	return out
}

func publishFaults(v View, before Record, after *Record, published bool) (out []string) {
	if !published || before.Plan == nil {
		if adopts(before, after) {
			return adoptionFaults(v, after)
		}
		if published {
			out = append(out, "S1: a term is published without a plan")
		}
		return out
	}
	p := before.Plan
	candidate, goal, followers := p.Candidate, GoalPromote, p.NewInSync
	if p.Kind == PlanBootstrap {
		candidate, goal, followers = before.Primary, GoalInitialise, after.InSync
	}
	if p.Override != nil && (after.Complete || after.CompleteSince != after.Term) {
		out = append(out, fmt.Sprintf("S6: term %d lacks what a human gave up, and is called complete", after.Term))
	}
	if after.Primary != candidate {
		out = append(out, fmt.Sprintf("S5: %s is published, %s was chosen", after.Primary, candidate))
	}
	has := p.Target
	if p.Kind == PlanFailover {
		st, done := echoed(v, candidate, goal, p.ID)
		if !done || !st.Held.Executed.Contains(p.Target) {
			out = append(out, fmt.Sprintf("S5: %s is published before it has applied the target", candidate))
		}
		has = st.Held.Executed
	}
	n := 0
	for _, name := range followers {
		if st, done := echoed(v, name, GoalFollow, p.ID); done && st.Held.All().Contains(has) {
			n++
		}
	}
	if n < after.RequiredAcks && !after.Suspended {
		out = append(out, fmt.Sprintf("S5: term %d is published with %d followers that have everything, %d are needed", after.Term, n, after.RequiredAcks))
	}
	for _, name := range after.InSync {
		if !slices.Contains(followers, name) {
			out = append(out, fmt.Sprintf("S3: %s is in sync in term %d without having been in the plan", name, after.Term))
		}
	}
	return out
}

func removalFaults(v View, before Record, after *Record, published bool) (out []string) {
	if published || after.Suspended {
		return nil // A suspension counts nobody's word.
	}
	for _, name := range before.InSync {
		if slices.Contains(after.InSync, name) {
			continue
		}
		p := before.Plan
		if p == nil || p.Kind != PlanRemove || p.Server != name {
			out = append(out, fmt.Sprintf("S3: %s leaves the in-sync set without a plan", name))
			continue
		}
		if _, proved := echoed(v, before.Primary, GoalPrimary, p.ID); !proved || v.Specs[before.Primary].Eject != name {
			out = append(out, fmt.Sprintf("S3: %s leaves the in-sync set before %s has proved that it is not needed", name, before.Primary))
		}
	}
	if len(after.InSync) < len(before.InSync) && len(after.InSync) < after.RequiredAcks {
		out = append(out, "S3: fewer replicas are left in sync than must acknowledge")
	}
	for name, run := range after.Runs {
		if planned := after.Plan != nil && slices.Contains(after.Plan.NewInSync, name); !planned && !slices.Contains(after.InSync, name) {
			out = append(out, fmt.Sprintf("S4: a run of %s is kept although it is not in sync", name))
		}
		if before.Runs[name] != run && run != v.Statuses[name].StartID {
			out = append(out, fmt.Sprintf("S4: run %s of %s is taken as known, it reports %s", run, name, v.Statuses[name].StartID))
		}
	}
	return out
}

// planFaults are about the failover: who may be left out, and the way back.
func planFaults(v View, before Record, after *Record, s Settings, now time.Time) (out []string) {
	b, a := before.Plan, after.Plan
	if b != nil && b.Kind == PlanFailover && b.Phase == PhasePromote && (a == nil || a.Phase == PhaseRevoke) {
		out = append(out, "S5: the plan goes back although its choice was journaled")
	}
	if a == nil || a.Kind != PlanFailover {
		return out
	}
	opened := b == nil || b.ID != a.ID && a.Phase == PhaseRevoke
	if opened && a.Override != nil {
		if !slices.Contains(after.Answered, a.Request) || slices.Contains(before.Answered, a.Request) {
			out = append(out, "S6: nobody allowed it")
		}
	} else if opened && before.Suspended {
		if before.Durability != DurabilityAsync {
			out = append(out, "S6: a failover from a primary that acknowledged alone")
		}
	} else if opened {
		if !slices.Equal(sorted(a.Revoking), sorted(before.InSync)) {
			out = append(out, fmt.Sprintf("S4: %v are revoked, %v may acknowledge", a.Revoking, before.InSync))
		}
		d := &decider{View: v, settings: s, now: now}
		if n := len(before.InSync) - d.countReachable(before.InSync); n >= before.RequiredAcks {
			out = append(out, fmt.Sprintf("S4: receivers are stopped although %d of the in-sync set cannot be reached", n))
		}
	}
	if a.Phase == PhasePromote && (b == nil || b.Phase == PhaseRevoke) {
		out = append(out, choiceFaults(v, before, a, s, now)...)
	}
	if a.Phase == PhasePromote && !a.Target.Equal(union(a.Sets)) {
		out = append(out, "S5: the target is not what the revoked replicas had")
	}
	return out
}

func choiceFaults(v View, before Record, a *Plan, s Settings, now time.Time) (out []string) {
	left := 0
	for _, name := range a.Revoking {
		held, ok := a.Sets[name]
		if !ok {
			left++
			continue
		}
		st, done := echoed(v, name, GoalRevoke, a.ID)
		if !done || st.Held.StartID != held.StartID || !st.Held.All().Equal(held.All()) {
			out = append(out, fmt.Sprintf("S4: what %s holds was not read after its revoke", name))
		}
		if !before.Suspended && a.Override == nil && held.StartID != before.Runs[name] {
			out = append(out, fmt.Sprintf("S4: %s restarted and is taken for evidence", name))
		}
	}
	_, stands := echoed(v, a.From, GoalStand, a.ID)
	if said := a.Override != nil && a.Override.Off; before.Suspended && !stands && !said {
		if since, absent := v.Absent[a.From]; !absent || now.Sub(since) <= s.Silenced {
			out = append(out, fmt.Sprintf("S9: %s may still acknowledge alone", a.From))
		}
	}
	if !before.Suspended && left >= before.RequiredAcks && (a.Override == nil || !stands && !a.Override.Off) {
		out = append(out, fmt.Sprintf("S4: %d of the in-sync set are not revoked, and %d acknowledgements suffice", left, before.RequiredAcks))
	}
	if !a.Sets[a.Candidate].All().Contains(a.Target) {
		out = append(out, fmt.Sprintf("S5: %s is chosen and does not hold the target", a.Candidate))
	}
	return out
}

// specFaults look at all specs as they stand after the change.
func specFaults(v View, before Record, after *Record, c *Change, s Settings, now time.Time) (out []string) {
	var primaries []string
	for _, name := range v.Servers {
		spec, changes := c.Specs[name]
		if !changes {
			spec = v.Specs[name].Spec
		}
		if spec.Goal == "" {
			continue
		}
		// A server that a plan does not speak to keeps its spec until a term is
		// published; all others are of the record's term.
		if changes && spec.Term != after.Term || after.Term != before.Term && spec.Term != after.Term {
			out = append(out, fmt.Sprintf("S1: the spec of %s is of term %d, the record of %d", name, spec.Term, after.Term))
		}
		listed := slices.Contains(after.InSync, name) || after.Plan != nil && slices.Contains(after.Plan.NewInSync, name)
		if spec.Goal == GoalFollow && spec.Acks && changes && !listed {
			out = append(out, fmt.Sprintf("S3: %s may acknowledge without being listed", name))
		}
		switch spec.Goal {
		case GoalPrimary:
			primaries = append(primaries, name)
			if name != after.Primary {
				out = append(out, fmt.Sprintf("S1: %s is to be primary, the record says %s", name, after.Primary))
			}
			if changes {
				out = append(out, attachFaults(v, after, spec, name)...)
			}
			if spec.Suspended && !after.Suspended {
				out = append(out, fmt.Sprintf("S2: %s is to acknowledge alone and the record does not say so", name))
			}
			if changes && spec.RequiredAcks < after.RequiredAcks {
				out = append(out, fmt.Sprintf("S3: %s waits for %d acknowledgements, the record promises %d", name, spec.RequiredAcks, after.RequiredAcks))
			}
		case GoalRevoke:
			if changes && (after.Plan == nil || !slices.Contains(after.Plan.Revoking, name)) {
				out = append(out, fmt.Sprintf("S4: %s is revoked outside a plan", name))
			}
		}
	}
	if len(primaries) > 1 {
		out = append(out, fmt.Sprintf("S1: %v are all to be primary", primaries))
	}
	return out
}

// attachFaults: nobody is let in at a primary who could acknowledge unlisted.
func attachFaults(v View, after *Record, spec Spec, name string) (out []string) {
	for _, f := range spec.InSync {
		if !slices.Contains(after.InSync, f) {
			out = append(out, fmt.Sprintf("S3: %s takes acknowledgements of %s, which is not listed", name, f))
		}
	}
	for _, f := range spec.Attach {
		st, at := v.Statuses[f], v.Specs[f]
		sure := st.AcksOff && st.SpecRevision == at.Revision && at.Goal == GoalFollow && !at.Acks
		if !slices.Contains(after.InSync, f) && !sure {
			out = append(out, fmt.Sprintf("S3: %s lets %s in, which may acknowledge and is not listed", name, f))
		}
	}
	return out
}
