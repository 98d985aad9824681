package decide

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A lone primary whose replicas are gone waits for one. Where the only servers
// left can come back as clones alone, they cannot: a clone ends only when the
// commits of its donor do, and those wait for a replica. So the primary begins a
// new term with new followers: it is killed, which answers nobody (S10), starts
// closed, and is then what any candidate of a failover is, with all that was ever
// acknowledged. Its followers are built anew from it, and the term opens when k of
// them have all that it has (S5).

// renew opens the plan.
func (d *decider) renew() (Decision, bool) {
	r := d.Record
	if r.Durability != DurabilityLossless || r.Suspended || d.pausing(PlanRenew) || !d.reachable(r.Primary) || d.Policy.Paused(d.now) != nil {
		return Decision{}, false
	}
	stuck := d.stuckFor()
	if stuck < d.settings.Lonely {
		return Decision{}, false
	}
	gone, hope := []string{}, 0
	for _, name := range r.InSync {
		if away, why := d.away(name); away {
			gone = append(gone, why)
		} else if d.needsClone(name) {
			gone = append(gone, name+" must be built anew")
		} else {
			hope++
		}
	}
	if hope >= r.RequiredAcks {
		return Decision{}, false
	}
	i := slices.IndexFunc(d.Servers, func(name string) bool { return name != r.Primary && d.comesBackAsClone(name) })
	if i < 0 {
		return Decision{}, false
	}
	next := r.clone()
	next.Plan = &Plan{ID: d.planID(PlanRenew), Kind: PlanRenew, Reason: ReasonLonely, Leader: d.Self, From: r.Primary, Revoking: []string{r.Primary},
		Evidence: fmt.Sprintf("nothing has been acknowledged on %s for %s (%s), and %s can only come back as its clone", r.Primary, round(stuck), strings.Join(gone, "; "), d.Servers[i])}
	next.Plan.advance(PhaseRevoke, d.now)
	return Decision{Reason: ReasonLonely, Detail: next.Plan.Evidence, Change: d.change(next, d.closeSpecs(next))}, true
}

// stuckFor returns for how long nothing has been acknowledged on the primary, as
// far as that is known.
func (d *decider) stuckFor() time.Duration {
	seen := d.Seen[d.Record.Primary]
	if seen.Live.OpenTerm == d.Record.Term {
		return seen.Live.CommitPending
	}
	return d.now.Sub(later(later(seen.NotOpenSince, seen.RunSince), d.LeadingSince))
}

// comesBackAsClone tells whether a server is there, can only come back as a clone,
// may, and has room for it.
func (d *decider) comesBackAsClone(name string) bool {
	live, primary := d.Seen[name].Live, d.Seen[d.Record.Primary]
	if !d.reachable(name) || !d.closed(name) || d.leaving(name) || d.sharesID(name) != "" || len(d.Statuses[name].Findings) > 0 {
		return false
	}
	return d.mayBeClone(*d.Record, name, live.All().Subtract(primary.Live.Executed)) && d.noRoom(name, d.Record.Primary) == ""
}

func (d *decider) closeSpecs(r Record) map[string]Spec {
	specs := make(map[string]Spec, len(d.Servers))
	for _, name := range d.Servers {
		specs[name] = Spec{Goal: GoalStand, Term: r.Term, Plan: r.Plan.ID, Why: r.Primary + " begins a new term"}
	}
	specs[r.Primary] = Spec{Goal: GoalRevoke, Term: r.Term, Plan: r.Plan.ID}
	return specs
}

// awaitClosed waits until the primary is back, closed, and journals what it has.
// That is all that was ever acknowledged, whoever acknowledged it.
func (d *decider) awaitClosed() Decision {
	r := d.Record.clone()
	p := r.Plan
	st, closed := d.did(p.From, GoalRevoke, p.ID)
	if !closed {
		// It was killed for this. Where it stays away, others may be there.
		if h := d.primaryHealth(); h.dead && d.inPhase() > d.settings.Lonely {
			return d.openFailover(h)
		}
		d.wait(CodeWaitingForCandidate, p.From, p.From+" is closed and starts again, so that it can give its data to others", "")
		return Decision{Reason: ReasonPlanWaits, Detail: p.From + " is not closed yet"}
	}
	p.Sets = map[string]Held{p.From: st.Held}
	p.Target = st.Held.All()
	return d.promote(r, p.From, nil)
}
