package decide

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mysqlha/mysqlha/replication/gtid"
)

// suspend records, in available, that the primary acknowledges alone, once so
// few of the in-sync set are left that no write could be acknowledged. Only
// after that the primary ceases to wait (S2). Nobody is listed from then on: no
// failover counts anybody's word until the suspension has ended.
func (d *decider) suspend() (Decision, bool) {
	r := d.Record
	if r.Durability != DurabilityAvailable || r.Suspended {
		return Decision{}, false
	}
	var gone []string
	for _, name := range r.InSync {
		if away, why := d.away(name); away {
			gone = append(gone, why)
		}
	}
	if len(r.InSync)-len(gone) >= r.RequiredAcks {
		return Decision{}, false
	}
	next := r.clone()
	d.standAlone(&next)
	return Decision{Reason: ReasonSuspended, Detail: fmt.Sprintf("%s acknowledges alone: %s", r.Primary, strings.Join(gone, "; ")),
		Change: d.change(next, d.standing(next))}, true
}

func (d *decider) standAlone(r *Record) {
	r.Suspended, r.InSync, r.Runs = true, nil, nil
}

// resume ends a suspension, except in async, as soon as enough replicas have
// caught up. The record goes on saying that the primary may acknowledge alone
// until it has proved, by a commit begun after it waits again, that it does not:
// that commit and so all before it are then on k of the listed replicas.
func (d *decider) resume() (Decision, bool) {
	r := d.Record
	if d.pausing(PlanResume) || !r.Suspended || r.Durability == DurabilityAsync || d.Statuses[r.Primary].OpenTerm != r.Term {
		return Decision{}, false
	}
	next := r.clone()
	for _, name := range d.Servers {
		if d.admissible(name) {
			d.list(&next, name)
		}
	}
	if len(next.InSync) < r.RequiredAcks {
		return Decision{}, false
	}
	next.Plan = &Plan{ID: d.planID(PlanResume), Kind: PlanResume, Reason: ReasonResumed, Leader: d.Self,
		Evidence: fmt.Sprintf("%s hold all that %s had executed at one moment", strings.Join(next.InSync, ", "), r.Primary)}
	return d.openProof(next), true
}

// followPolicy brings the record to what the operator wants, one thing at a
// time. Whatever promises less is recorded before the primary does it, whatever
// promises more after the primary has proved it.
func (d *decider) followPolicy() (Decision, bool) {
	want, r := d.Policy, d.Record
	if want == nil || d.Statuses[r.Primary].OpenTerm != r.Term {
		return Decision{}, false
	}
	next := r.clone()
	switch {
	case want.Durability != "" && want.Durability != r.Durability:
		next.Durability = want.Durability
		if want.Durability == DurabilityAsync {
			d.standAlone(&next)
		}
	case want.RequiredAcks == 0 || want.RequiredAcks == r.RequiredAcks:
		return Decision{}, false
	case want.RequiredAcks < r.RequiredAcks || r.Suspended:
		next.RequiredAcks = want.RequiredAcks
	case d.countAcking(r.InSync) < want.RequiredAcks || d.pausing(PlanRaiseAcks):
		d.wait(CodePolicyWaits, "", fmt.Sprintf("%d acknowledgements are wanted and %d replicas are in sync and acknowledge", want.RequiredAcks, d.countAcking(r.InSync)),
			"bring more servers into the in-sync set, or ask for fewer")
		return Decision{}, false
	default:
		next.Plan = &Plan{ID: d.planID(PlanRaiseAcks), Kind: PlanRaiseAcks, Reason: ReasonPolicyChanged, Leader: d.Self, RequiredAcks: want.RequiredAcks}
		return d.openProof(next), true
	}
	return Decision{Reason: ReasonPolicyChanged, Detail: fmt.Sprintf("%s with %d required acks", next.Durability, next.RequiredAcks),
		Change: d.change(next, d.standing(next))}, true
}

// pausing tells whether a plan of the kind was given up a moment ago.
func (d *decider) pausing(kind PlanKind) bool { return d.now.Before(d.Spared[PausedPlan(kind)]) }

// PausedPlan is how View.Spared names a kind of plan.
func PausedPlan(kind PlanKind) string { return "plan/" + string(kind) }

func (d *decider) openProof(r Record) Decision {
	r.Plan.advance(PhaseProve, d.now)
	return Decision{Reason: r.Plan.Reason, Detail: r.Plan.Evidence, Change: d.change(r, d.proofSpecs(r))}
}

// proofSpecs are what stands, with the primary under the rule that the plan
// leads to.
func (d *decider) proofSpecs(r Record) map[string]Spec {
	specs := d.standing(r)
	primary := specs[r.Primary]
	primary.Plan, primary.Prove = r.Plan.ID, true
	if r.Plan.Kind == PlanResume {
		primary.Suspended = false
	} else {
		primary.RequiredAcks = r.Plan.RequiredAcks
	}
	specs[r.Primary] = primary
	return specs
}

// continueProof waits for the commit that proves the primary's new rule, then
// records it. A proof that does not come is given up: the record never promised
// it.
func (d *decider) continueProof() Decision {
	if h := d.primaryHealth(); h.dead {
		return d.openFailover(h)
	}
	r := d.Record.clone()
	p := r.Plan
	result, detail := "", ""
	switch _, proved := d.did(r.Primary, GoalPrimary, p.ID); {
	case proved && p.Kind == PlanResume:
		r.Suspended = false
		result, detail = "completed", fmt.Sprintf("%s waits for %d of %s again", r.Primary, r.RequiredAcks, strings.Join(r.InSync, ", "))
	case proved:
		r.RequiredAcks = p.RequiredAcks
		result, detail = "completed", fmt.Sprintf("%s waits for %d acknowledgements", r.Primary, r.RequiredAcks)
	case d.inPhase() > 2*d.settings.RemovalDelay:
		if p.Kind == PlanResume {
			d.standAlone(&r)
		}
		result, detail = "abandoned: no commit was acknowledged", "no commit of "+r.Primary+" was acknowledged under the new rule"
	default:
		d.wait(CodeWaitingForAcks, r.Primary, fmt.Sprintf("%s: a commit of %s must be acknowledged", p.Kind, r.Primary), "")
		if specs := d.changed(d.proofSpecs(r)); len(specs) > 0 {
			return Decision{Reason: ReasonSpecsAdjusted, Change: &Change{Specs: specs}}
		}
		return Decision{Reason: ReasonPlanWaits, Detail: string(p.Kind)}
	}
	return Decision{Reason: ReasonPlanContinues, Detail: detail, Change: d.ended(r, result)}
}

// weakened tells that the primary was found not to wait for replicas
// although the record says that it must. Until it has proved that they have
// everything, a failover might lose what it acknowledged meanwhile (S2, S6).
func (d *decider) weakened() bool {
	return d.Statuses[d.Record.Primary].Weakened && !d.Record.Suspended
}

func (d *decider) noteWeakened() {
	if !d.weakened() {
		return
	}
	p := d.Record.Primary
	d.wait(CodeWeakened, p, p+" was found not to wait for replicas, although somebody must have changed that by hand; what it acknowledged meanwhile may be nowhere else",
		"keep the server running; find out who changed its semi-synchronous replication")
}

// openSuspendedFailover is the failover from a primary that may have
// acknowledged what nobody else has. Only async allows it: everybody is asked
// to stop receiving, and the promotion waits until the old primary is silent.
func (d *decider) openSuspendedFailover(r Record, h health) Decision {
	if r.Durability != DurabilityAsync {
		d.wait(CodeSuspendedAndDead, r.Primary, fmt.Sprintf(
			"%s is dead (%s) and acknowledged writes alone before; what no replica has received would be lost by a failover", r.Primary, h.detail),
			"bring "+r.Primary+" back; or mysqlha failover --allow-data-loss, which says what is at stake")
		return Decision{Reason: ReasonNotEnoughProof, Detail: h.detail}
	}
	revoking := d.followersNow()
	if len(revoking) == 0 {
		d.wait(CodeCannotReachReplicas, "", fmt.Sprintf("%s is dead (%s) and no replica can be reached", r.Primary, h.detail), "bring one back")
		return Decision{Reason: ReasonNotEnoughProof, Detail: h.detail}
	}
	return d.beginFailover(r, h, revoking)
}

// notSilenced says why the old primary of an async cluster might still
// acknowledge, or which replicas must be waited for; empty when neither. It is
// silent when its daemon has confirmed that it stands, or when its lease has
// been gone for so long that daemon or gate must have closed it.
func (d *decider) notSilenced(r Record, missing []string) string {
	p := r.Plan
	if _, stands := d.did(p.From, GoalStand, p.ID); !stands && (p.Override == nil || !p.Override.Off) {
		since, absent := d.Absent[p.From]
		if !absent || d.now.Sub(since) <= d.settings.Silenced {
			why := fmt.Sprintf("%s may still acknowledge writes: neither has its daemon confirmed that it stands, nor has its lease been gone for %s", p.From, d.settings.Silenced)
			d.wait(CodeWaitingForSilence, p.From, why, "")
			return why
		}
	}
	for _, name := range missing {
		if d.reachable(name) && d.inPhase() <= 2*d.settings.Detection {
			return "not yet revoked: " + name
		}
	}
	if len(missing) == len(p.Revoking) {
		return "no replica is revoked yet"
	}
	return ""
}

// tooFar says that the candidate is further behind than the policy allows; only
// where something known would be lost.
func (d *decider) tooFar(p *Plan, held Held) string {
	limit := d.settings.MaxLag
	if d.Policy != nil && d.Policy.MaxLag > 0 {
		limit = d.Policy.MaxLag
	}
	// Until then the old primary was seen alive.
	alive := d.Seen[p.From].SQLAt
	if p.Lost.IsEmpty() || limit <= 0 || !held.ReportedAt.IsZero() && alive.Sub(held.ReportedAt) <= limit {
		return ""
	}
	why := fmt.Sprintf("the best replica is more than %s behind %s, whose last heartbeat there is of %s; known to be lost: %s",
		limit, p.From, held.ReportedAt.Format("15:04:05.000"), p.Lost)
	d.wait(CodeLagTooLarge, p.From, why, "bring "+p.From+" back, or allow more: mysqlha settings set max_lag=...")
	return why
}

// publishAlone opens the new term of an available cluster with nobody to
// acknowledge. It holds all that was acknowledged before; the record says that
// from now on its primary acknowledges alone.
func (d *decider) publishAlone(r Record) Decision {
	d.nextTerm(&r)
	d.standAlone(&r)
	return Decision{Reason: ReasonSuspended, Detail: fmt.Sprintf("term %d: %s, alone", r.Term, r.Primary), Change: d.change(r, d.standing(r))}
}

func (d *decider) countNotLost(names []string) int {
	return len(slices.DeleteFunc(slices.Clone(names), d.lost))
}

// noteSuspended names what a cluster whose primary acknowledges alone would
// lose with it.
func (d *decider) noteSuspended() {
	r := d.Record
	if !r.Suspended || r.Term == 0 {
		return
	}
	if r.Durability != DurabilityAsync {
		d.wait(CodeSuspended, r.Primary, fmt.Sprintf("%s acknowledges writes alone until %d replicas have caught up; its loss is no reason for a failover", r.Primary, r.RequiredAcks),
			"bring the other servers back")
	}
	var elsewhere gtid.Set
	for _, name := range without(d.Servers, r.Primary) {
		if live := d.Seen[name].Live; live.StartID != "" {
			elsewhere = elsewhere.Union(live.All())
		}
	}
	if only := d.Seen[r.Primary].Live.Executed.Subtract(elsewhere); !only.IsEmpty() {
		d.wait(CodeAtRisk, r.Primary, fmt.Sprintf("%d transactions are known on %s alone: %s", only.Count(), r.Primary, only), "")
	}
}
