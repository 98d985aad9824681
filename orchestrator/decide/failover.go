package decide

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mysqlha/mysqlha/replication/gtid"
)

// openFailover journals a failover and revokes the in-sync replicas, if fresh
// evidence shows that enough of them can be reached (S4). An open plan of
// another kind, or one whose new primary died before it opened, is superseded.
func (d *decider) openFailover(h health) Decision {
	if decision, held := d.held(h); held {
		return decision
	}
	r := d.Record.clone()
	if r.Suspended {
		return d.openSuspendedFailover(r, h)
	}
	if d.weakened() {
		return Decision{Reason: ReasonNotEnoughProof, Detail: h.detail}
	}
	var out []string
	for _, name := range r.InSync {
		// One that restarted proves nothing: no receiver is stopped for it (S4).
		if run := d.Statuses[name].StartID; run == "" || !d.reachable(name) || run != r.Runs[name] {
			out = append(out, name)
			d.noteRestarted(name)
		}
	}
	if len(out) >= r.RequiredAcks {
		d.wait(CodeCannotReachReplicas, "", fmt.Sprintf(
			"%s is dead (%s); %s may have acknowledged what nobody else has and cannot be asked (out of reach, or restarted and not caught up since), so no other server is known to hold every acknowledged write",
			r.Primary, h.detail, strings.Join(out, ", ")),
			fmt.Sprintf("bring back %s, or %s", strings.Join(out, " or "), r.Primary))
		return Decision{Reason: ReasonNotEnoughProof, Detail: h.detail, Yield: d.othersMayReach(out)}
	}
	return d.beginFailover(r, h, slices.Clone(r.InSync))
}

// beginFailover journals the plan that leaves the primary, over an open plan if
// there is one, and asks the servers named to stop receiving.
func (d *decider) beginFailover(r Record, h health, revoking []string) Decision {
	var history *History
	if r.Plan != nil {
		history = d.finish(&r, "superseded: "+h.detail)
	}
	r.Plan = &Plan{
		ID: d.planID(PlanFailover), Kind: PlanFailover, Reason: h.reason, Evidence: h.detail,
		Leader: d.Self, From: r.Primary, Revoking: revoking,
	}
	r.Plan.advance(PhaseRevoke, d.now)
	change := d.change(r, d.revokeSpecs(r))
	change.History = history
	return Decision{Reason: h.reason, Detail: h.detail, Change: change}
}

// othersMayReach tells whether one of the servers has a daemon that lives and
// that this leader has not reached for twice the detection time: then another
// leader may.
func (d *decider) othersMayReach(names []string) bool {
	limit := 2 * d.settings.Detection
	for _, name := range names {
		if _, lives := d.Members[name]; lives && d.now.Sub(later(d.Seen[name].DaemonAt, d.LeadingSince)) > limit {
			return true
		}
	}
	return false
}

// noteRestarted names a replica whose run of mysqld is not the one in which it
// was known.
func (d *decider) noteRestarted(name string) {
	if run := d.Statuses[name].StartID; run != "" && run != d.Record.Runs[name] {
		d.wait(CodeReplicaRestarted, name, name+" restarted since it was last known to hold all of the primary's transactions, so what it has proves nothing", "")
	}
}

func (d *decider) revokeSpecs(r Record) map[string]Spec {
	specs := map[string]Spec{
		r.Primary: {Goal: GoalStand, Term: r.Term, Plan: r.Plan.ID, Why: "a failover from this server is under way"},
	}
	for _, name := range r.Plan.Revoking {
		specs[name] = Spec{Goal: GoalRevoke, Term: r.Term, Plan: r.Plan.ID}
	}
	return specs
}

func (d *decider) continueFailover() Decision {
	switch d.Record.Plan.Phase {
	case PhaseRevoke:
		if d.Record.Plan.Kind == PlanRenew {
			return d.awaitClosed()
		}
		return d.awaitRevoked()
	case PhasePrepare:
		return d.awaitCandidate()
	case PhaseClose:
		return d.awaitDemoted()
	case PhasePromote:
		return d.awaitPromoted()
	default:
		return d.awaitOpen()
	}
}

// awaitRevoked waits until too few replicas are left to acknowledge anything
// without the plan's knowledge, then journals what the revoked ones have and
// who is chosen.
func (d *decider) awaitRevoked() Decision {
	r := d.Record.clone()
	p := r.Plan
	sets := make(map[string]Held)
	var missing []string
	for _, name := range p.Revoking {
		st, done := d.did(name, GoalRevoke, p.ID)
		switch {
		case !done:
			missing = append(missing, name)
		case !r.Suspended && p.Override == nil && st.Held.StartID != r.Runs[name]:
			// S4: a restart may have lost what it had acknowledged.
			missing = append(missing, name)
			d.noteRestarted(name)
		default:
			sets[name] = st.Held
		}
	}
	if r.Suspended {
		if why := d.notSilenced(r, missing); why != "" {
			return d.revokeWaits(r, why)
		}
	} else if len(missing) >= r.RequiredAcks && !d.overridden(p, missing) {
		return d.revokeLacks(r, missing)
	}
	p.Sets = sets
	p.Target = union(sets)
	candidate, why := d.choose(p, sets)
	if candidate != "" && (r.Suspended || p.Override != nil) {
		p.Lost = d.Seen[p.From].Live.Executed.Union(sets[candidate].Reported).Subtract(p.Target)
	}
	if candidate != "" && r.Suspended && p.Override == nil {
		if far := d.tooFar(p, sets[candidate]); far != "" {
			candidate, why = "", far
		}
	}
	if candidate == "" {
		out := d.revokeWaits(d.Record.clone(), why)
		if out.Change == nil {
			out.Reason = ReasonNotEnoughProof
		}
		return out
	}
	return d.promote(r, candidate, keys(sets))
}

// abandon gives up a failover in which nothing was chosen yet, if the old
// primary turns out to be there.
func (d *decider) abandon(r Record) (Decision, bool) {
	h := d.primaryHealth()
	if !h.alive {
		return Decision{Reason: h.reason, Detail: h.detail, Yield: h.yield}, false
	}
	return Decision{Reason: ReasonPlanAbandoned, Detail: h.detail, Change: d.ended(r, "abandoned: "+h.detail)}, true
}

// revokeLacks waits for the missing, or abandons the plan if the old primary
// turns out to be there: nothing has been chosen yet.
func (d *decider) revokeLacks(r Record, missing []string) Decision {
	detail := fmt.Sprintf("not yet revoked: %s", strings.Join(missing, ", "))
	if d.inPhase() > 2*d.settings.Detection {
		d.wait(CodeCannotReachReplicas, "", fmt.Sprintf("%s; each may have acknowledged what nobody else has", detail),
			fmt.Sprintf("bring back %s, or %s", strings.Join(missing, " or "), r.Primary))
	}
	return d.revokeWaits(r, detail)
}

// revokeWaits goes on waiting in the first phase, or abandons the plan if the
// old primary turns out to be there after twice the detection time.
func (d *decider) revokeWaits(r Record, detail string) Decision {
	if d.inPhase() <= 2*d.settings.Detection {
		return Decision{Reason: ReasonPlanWaits, Detail: detail}
	}
	back, ok := d.abandon(r)
	if ok {
		return back
	}
	return Decision{Reason: ReasonPlanWaits, Detail: detail, Yield: back.Yield}
}

// choose returns the best candidate among servers whose journaled sets hold
// the whole target, or why there is none (S5).
func (d *decider) choose(p *Plan, sets map[string]Held) (string, string) {
	var able []contender
	var barred []string
	for _, name := range d.Servers {
		held, ok := sets[name]
		if !ok || !held.All().Contains(p.Target) {
			continue
		}
		if errant := d.errant(p.From, held); !errant.IsEmpty() && p.Kind == PlanFailover { // Else the target is the primary's own.
			d.wait(CodeErrantCandidate, name, fmt.Sprintf("%s holds transactions that never came from %s: %s", name, p.From, errant),
				"look at them with mysqlbinlog; a human must decide")
			continue
		}
		if why := d.barred(name); why != "" {
			barred = append(barred, why)
			continue
		}
		able = append(able, contender{name, d.reachable(name), p.Target.Subtract(held.Executed).Count()})
	}
	if able = d.prefers(p.From, p.Wanted, able); len(able) > 0 {
		return able[0].name, ""
	}
	why, remedy := "no revoked replica holds everything that the others hold: "+p.Target.String(), "a human must decide"
	if barred != nil {
		why = "only servers that must not be primary hold everything that was acknowledged: " + strings.Join(barred, "; ")
		remedy = "bring " + p.From + " or another replica back; or mysqlha settings set candidate.SERVER=normal"
	}
	d.wait(CodeNoCompleteCandidate, "", why, remedy)
	return "", why
}

// errant returns what a replica has executed that its primary is not known to
// have had: neither reported by it in the heartbeat row, nor seen by the
// leader's probe, nor received from it, nor what its term began with.
func (d *decider) errant(primary string, held Held) gtid.Set {
	known := held.Reported.Union(held.Received).Union(d.Seen[primary].Live.Executed).Union(d.Record.Base)
	return held.Executed.Subtract(known)
}

// promote journals the choice and asks the candidate to apply and the others
// to follow it. From here there is no way back to the old primary.
func (d *decider) promote(r Record, candidate string, followers []string) Decision {
	p := r.Plan
	p.Candidate = candidate
	p.NewInSync = sorted(without(followers, candidate))
	p.advance(PhasePromote, d.now)
	return Decision{Reason: ReasonPlanContinues,
		Detail: fmt.Sprintf("%s is chosen, followed by %s", candidate, strings.Join(p.NewInSync, ", ")),
		Change: d.change(r, d.promoteSpecs(r))}
}

func (d *decider) promoteSpecs(r Record) map[string]Spec {
	p := r.Plan
	chosen := Spec{Goal: GoalPromote, Term: r.Term, Plan: p.ID, Target: p.Target,
		Attach: p.NewInSync, RequiredAcks: r.RequiredAcks, Suspended: r.Durability == DurabilityAsync}
	if p.Kind == PlanSwitchover && p.Candidate != p.From {
		chosen.Source = p.From // It may not have received the last of it.
	}
	specs := map[string]Spec{p.Candidate: chosen}
	// All others stand: one that was chosen before must not stay prepared, and
	// nobody may receive from elsewhere while it is judged as a follower.
	for _, name := range d.Servers {
		switch {
		case name == p.Candidate:
		case slices.Contains(p.NewInSync, name):
			specs[name] = Spec{Goal: GoalFollow, Term: r.Term, Plan: p.ID, Source: p.Candidate, Acks: r.Durability != DurabilityAsync, Target: p.Target}
		default:
			specs[name] = Spec{Goal: GoalStand, Term: r.Term, Plan: p.ID, Why: "a failover is under way"}
			if spec, goesOn := d.cloning(r, name); goesOn && spec.Source == p.Candidate {
				specs[name] = spec
			}
		}
	}
	return specs
}

// awaitPromoted waits until the candidate has applied the target and k
// followers have received all that it has, then publishes the new term (S5).
func (d *decider) awaitPromoted() Decision {
	r := d.Record.clone()
	p := r.Plan
	st, prepared := d.prepared(p)
	if d.lost(p.Candidate) || !prepared && d.hopeless(p) {
		if again := d.chooseAgain(r.clone(), "did not take over"); again.Change != nil || d.lost(p.Candidate) {
			return again
		}
	}
	var have []string
	runs := make(map[string]string) // Of the new set; in force with the new term.
	for _, name := range p.NewInSync {
		f, done := d.did(name, GoalFollow, p.ID)
		if prepared && done && f.Held.All().Contains(st.Held.Executed) {
			have = append(have, name)
			runs[name] = f.Held.StartID
		} else if held, ok := p.Sets[name]; ok {
			// It acknowledges nothing of the new term before it is enabled, in the run
			// in which it was revoked or in one that does not count. So in this run it
			// holds all that it acknowledges, and k others hold what came before.
			runs[name] = held.StartID
		}
	}
	if prepared && (len(have) >= r.RequiredAcks || r.Durability == DurabilityAsync) {
		r.Runs = runs
		return d.publish(r)
	}
	if prepared && p.Kind == PlanSwitchover && p.Candidate != p.From && d.inPhase() > moveReserve {
		if again := d.chooseAgain(r.clone(), "found nobody who could follow it"); again.Change != nil {
			return again
		}
	}
	if more := d.moreFollowers(p); len(more) > 0 {
		p.NewInSync = sorted(append(p.NewInSync, more...))
		return Decision{Reason: ReasonPlanContinues, Detail: "more followers: " + strings.Join(more, ", "),
			Change: d.change(r, d.promoteSpecs(r))}
	}
	if prepared && r.Durability == DurabilityAvailable && d.countNotLost(p.NewInSync) < r.RequiredAcks {
		return d.publishAlone(r)
	}
	if specs := d.furnish(r); len(specs) > 0 {
		names := sorted(slices.Collect(maps.Keys(specs)))
		p.NewInSync = slices.DeleteFunc(p.NewInSync, func(n string) bool { return slices.Contains(names, n) })
		wanted := d.promoteSpecs(r)
		maps.Copy(wanted, specs)
		return Decision{Reason: ReasonPlanContinues, Detail: "too few servers can follow " + p.Candidate + ": " + strings.Join(names, ", "),
			Change: d.change(r, wanted)}
	}
	detail := fmt.Sprintf("%d of %d followers have all that %s has", len(have), r.RequiredAcks, p.Candidate)
	if prepared {
		d.wait(CodeWaitingForFollowers, "", fmt.Sprintf("waiting for k followers: %s; term %d opens as soon as they have", detail, r.Term+1),
			fmt.Sprintf("bring back any other server: %s", strings.Join(without(d.Servers, p.Candidate), ", ")))
	} else {
		d.wait(CodeWaitingForCandidate, p.Candidate, fmt.Sprintf("%s applies what it has received: %s", p.Candidate, p.Target.Subtract(d.Seen[p.Candidate].Live.Executed)), "")
		detail = p.Candidate + " is not prepared yet"
	}
	return Decision{Reason: ReasonPlanWaits, Detail: detail}
}

// prepared tells whether the candidate has applied the target and could open, and
// what it reported.
func (d *decider) prepared(p *Plan) (Status, bool) {
	st, done := d.did(p.Candidate, GoalPromote, p.ID)
	return st, done && st.Held.Executed.Contains(p.Target)
}

// lost tells whether the candidate died, by its daemon's word, or lost its
// daemon for the removal delay: without it, it can never open.
func (d *decider) lost(server string) bool {
	if p := d.Statuses[server].Process; p == ProcessExiting || p == ProcessGone {
		return true
	}
	return d.daemonGone(server)
}

// daemonGone tells whether a server's daemon has had no lease for the removal
// delay.
func (d *decider) daemonGone(server string) bool {
	since, absent := d.Absent[server]
	return absent && d.now.Sub(since) > d.settings.RemovalDelay
}

// hopeless tells whether the candidate lives and yet will not open: it restarted
// and has lost what it was chosen for, or its last step fails or hangs (behind
// somebody's lock, say). Another may be better.
func (d *decider) hopeless(p *Plan) bool {
	st, live := d.Statuses[p.Candidate], d.Seen[p.Candidate].Live
	if held, ok := p.Sets[p.Candidate]; ok && st.StartID != "" && st.StartID != held.StartID && live.StartID == st.StartID {
		return !live.All().Contains(p.Target)
	}
	waited := d.inPhase()
	if p.Kind == PlanSwitchover && waited > moveReserve {
		return true // The old primary is one of the others.
	}
	failed := st.Plan == p.ID && (st.State == SpecFailed || st.State == SpecRefused)
	return failed && waited > 2*d.settings.Detection || live.Executed.Contains(p.Target) && waited > 5*d.settings.Detection
}

// chooseAgain replaces a candidate that died or will not open. The journaled
// sets still say what the new term must hold, so any other server that holds it
// all will do; nobody can have been acknowledged by the first candidate, since
// it never opened.
func (d *decider) chooseAgain(r Record, trouble string) Decision {
	p := r.Plan
	alive := make(map[string]Held)
	for _, name := range d.Servers {
		held, ok := p.Sets[name]
		if f, done := d.did(name, GoalFollow, p.ID); done && (!ok || held.StartID == f.Held.StartID || f.Held.All().Contains(p.Target)) {
			held, ok = f.Held, true // It has received more since.
		}
		if ok && name != p.Candidate && d.reachable(name) && d.Statuses[name].StartID == held.StartID {
			alive[name] = held
		}
		// Where the old primary has closed itself the target is all there will ever be,
		// so whoever has it now will do, be it asked for anything or not.
		live := d.Seen[name].Live
		if p.Kind != PlanFailover && name != p.Candidate && d.reachable(name) && !d.unusable(name) && !d.leaving(name) &&
			live.StartID == d.Statuses[name].StartID && live.All().Contains(p.Target) {
			alive[name] = Held{Executed: live.Executed, Received: live.Received, StartID: live.StartID}
		}
	}
	candidate, why := d.choose(p, alive)
	if _, back := alive[p.From]; back && p.Kind == PlanSwitchover {
		candidate = p.From // Where it was, rather than somewhere else.
	}
	p.Trouble = p.Candidate + " " + trouble
	if st := d.Statuses[p.Candidate]; st.Plan == p.ID && st.Detail != "" {
		p.Trouble += ": " + st.Detail
	}
	if candidate == "" {
		d.wait(CodeWaitingForCandidate, p.Candidate, p.Candidate+" was chosen and died, or cannot go on, before it opened", "look at "+p.Candidate)
		return Decision{Reason: ReasonPlanWaits, Detail: why}
	}
	// The plan's id changes with it, so that no status of the first attempt is
	// taken for one of the second.
	p.ID = d.planID(p.Kind)
	return d.promote(r, candidate, keys(alive))
}

// moreFollowers returns servers that can follow the candidate besides those
// revoked: closed, and with nothing that the target does not have. A former
// primary that came back is one of them. They enter the plan before they are
// enabled (S3).
func (d *decider) moreFollowers(p *Plan) []string {
	var out []string
	for _, name := range d.Servers {
		if name == p.Candidate || slices.Contains(p.NewInSync, name) || !d.reachable(name) {
			continue
		}
		if d.unusable(name) || len(d.Statuses[name].Findings) > 0 || d.leaving(name) {
			continue // Its data is not what it says, or it may not keep what it acknowledges.
		}
		if d.stands(name) && p.Target.Contains(d.Seen[name].Live.All()) {
			out = append(out, name)
		}
	}
	return out
}

// stands tells whether what a server has is known and cannot grow: it has
// confirmed that it stands, or that its clone is done, and receives nothing.
func (d *decider) stands(name string) bool {
	at, live := d.Specs[name], d.Seen[name].Live
	_, done := d.did(name, at.Goal, at.Plan)
	return done && (at.Goal == GoalStand || at.Goal == GoalClone) && live.Receiver == ReceiverOff && d.closed(name)
}

// closed tells whether a server, as last seen, takes no writes in the run its
// daemon reports.
func (d *decider) closed(name string) bool {
	live := d.Seen[name].Live
	return live.SuperReadOnly && live.OpenTerm == 0 && live.StartID == d.Statuses[name].StartID
}

// publish writes the new term. The candidate is complete and k followers have
// all it has; it opens after its own commit is acknowledged (S2).
func (d *decider) publish(r Record) Decision {
	d.nextTerm(&r)
	return Decision{Reason: ReasonPlanContinues, Detail: fmt.Sprintf("term %d: %s", r.Term, r.Primary),
		Change: d.change(r, d.standing(r))}
}

// completes tells whether what the plan has chosen holds all that servers of the
// term that ends could have committed (S6).
func (d *decider) completes(r Record) bool {
	if r.Plan.Kind != PlanFailover {
		return true // It is the old primary's own data.
	}
	return !r.Suspended && r.Plan.Override == nil && !d.Statuses[r.Plan.From].Weakened
}

// nextTerm makes the plan's choice the primary of the next term.
func (d *decider) nextTerm(r *Record) {
	p := r.Plan
	r.Complete = d.completes(*r)
	r.Term++
	if !r.Complete {
		r.CompleteSince = r.Term
	}
	r.Primary, r.InSync = p.Candidate, slices.Clone(p.NewInSync)
	if r.Suspended = r.Durability == DurabilityAsync; r.Suspended {
		d.standAlone(r)
	}
	r.Base, r.Published = p.Target, d.now
	d.noteFailover(r)
	p.advance(PhaseOpen, d.now)
}

// awaitOpen waits for the published primary to open, and starts over with the
// next term if it dies before.
func (d *decider) awaitOpen() Decision {
	r := d.Record.clone()
	if d.Statuses[r.Primary].OpenTerm == r.Term {
		result := "completed"
		if p := r.Plan; p.Kind == PlanSwitchover && r.Primary == p.From {
			result = "went back: " + p.Trouble
		}
		history := d.finish(&r, result)
		change := d.change(r, nil)
		change.History = history
		return Decision{Reason: ReasonPlanContinues, Detail: fmt.Sprintf("%s is open in term %d", r.Primary, r.Term), Change: change}
	}
	if h := d.primaryHealth(); h.dead {
		return d.openFailover(h)
	}
	if since, absent := d.Absent[r.Primary]; absent && d.now.Sub(since) > d.settings.FenceDeadline {
		// It never opened, and without its daemon it never will.
		return d.openFailover(health{dead: true, reason: ReasonClosed, detail: fmt.Sprintf("%s was published and its daemon has had no lease for %s", r.Primary, round(d.now.Sub(since)))})
	}
	for _, look := range []func() (Decision, bool){d.suspend, d.admit} {
		if decision, act := look(); act {
			return decision
		}
	}
	d.wait(CodeWaitingForAcks, r.Primary, fmt.Sprintf("%s opens as soon as its first commit in term %d is acknowledged by %d of %s",
		r.Primary, r.Term, r.RequiredAcks, strings.Join(r.InSync, ", ")), "")
	if specs := d.changed(d.standing(r)); len(specs) > 0 {
		return Decision{Reason: ReasonSpecsAdjusted, Change: &Change{Specs: specs}}
	}
	return Decision{Reason: ReasonPlanWaits, Detail: r.Primary + " is not open yet"}
}

func union(sets map[string]Held) gtid.Set {
	var all gtid.Set
	for _, held := range sets {
		all = all.Union(held.All())
	}
	return all
}

func keys(sets map[string]Held) []string {
	var out []string
	for name := range sets {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

func setRun(runs map[string]string, server, run string) map[string]string {
	if runs == nil {
		runs = make(map[string]string)
	}
	runs[server] = run
	return runs
}
