package decide

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A switchover moves the primary while it is well. It closes itself, so that
// nothing is written or waits any more, and what it has then is the target that
// the candidate must have. Until the target is journaled, everything goes back to
// where it was; from then on it is a failover whose old primary is one of those
// that may be chosen again.

// SwitchoverRequest is what an operator asks for.
type SwitchoverRequest struct {
	// ID is unique; the record says which request was answered last.
	ID string `json:"id"`
	// To is the server that shall be primary, empty for the best.
	To string `json:"to,omitempty"`
	// Drain is how long transactions that are open may go on.
	Drain time.Duration `json:"drain_ns"`
	// By is who asked, in words, and At when, by the clock of that host.
	By string    `json:"by,omitempty"`
	At time.Time `json:"at"`
}

const (
	// RequestLives is how long after it was made a request is carried out, by the
	// clocks of two hosts: nobody waits for it any longer.
	RequestLives = 30 * time.Second
	// prepareReserve is what the candidate may take to show that it does what it is
	// asked, closeReserve what closing may take beyond the time for open
	// transactions, and moveReserve what the candidate may take from then on, before
	// another way is taken.
	closeReserve   = 3 * time.Second
	moveReserve    = 5 * time.Second
	prepareReserve = 3 * time.Second
	// mostAnswered is how many requests are remembered.
	mostAnswered = 8
	// closeBehind is how many transactions a candidate should have left to apply, since
	// writes wait for them: it is waited for that for catchUpPatience. Beyond
	// furthestBehind it is refused.
	closeBehind     = 200
	furthestBehind  = 2000
	catchUpPatience = 10 * time.Second
	// transient is within what time anything else that speaks against it may pass.
	transient = 3 * time.Second
)

// Candidate is a server that could be the primary, and what speaks against it.
type Candidate struct {
	Server   string   `json:"server"`
	Problems []string `json:"problems,omitempty"`
	// Left is what it has to apply, in transactions.
	Left uint64 `json:"left"`
}

// SessionsCut are the sessions that a primary ended as it closed.
type SessionsCut struct {
	// Idle did nothing, InTransaction ended their open transaction in time and were
	// cut then, Forced were cut with a statement or transaction under way.
	Idle          int `json:"idle"`
	InTransaction int `json:"in_transaction"`
	Forced        int `json:"forced"`
}

// candidates judges every replica, the best first.
func (d *decider) candidates() []Candidate {
	var all []Candidate
	var contenders []contender
	for _, name := range without(d.Servers, d.Record.Primary) {
		left := d.Seen[name].Live.LagTransactions
		all = append(all, Candidate{Server: name, Problems: d.unfitFor(name), Left: left})
		contenders = append(contenders, contender{name, d.reachable(name), left})
	}
	var order []string
	for _, c := range d.prefers(d.Record.Primary, "", contenders) {
		order = append(order, c.name)
	}
	slices.SortStableFunc(all, func(a, b Candidate) int {
		if len(a.Problems) != len(b.Problems) {
			return len(a.Problems) - len(b.Problems)
		}
		return slices.Index(order, a.Server) - slices.Index(order, b.Server)
	})
	return all
}

// unfitFor says all that speaks against moving the primary to a server now.
func (d *decider) unfitFor(name string) (problems []string) {
	say := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	r, live := d.Record, d.Seen[name].Live
	switch {
	case !d.reachable(name):
		say("%s cannot be reached by the leader", name)
	case !slices.Contains(r.InSync, name):
		say("%s is not in the in-sync set", name)
	case !d.acking(name):
		say("%s does not acknowledge at the moment: receiver %s", name, live.Receiver)
	}
	if d.reachable(name) {
		if live.Applier != ReceiverOn {
			say("the applier of %s does not run: error %d %s", name, live.ApplierErrno, live.ApplierError)
		}
		if live.LagTransactions > furthestBehind {
			say("%s has %d transactions left to apply, and writes would wait for them", name, live.LagTransactions)
		}
		if disk := live.Disk; disk.known() && disk.Free < nearlyFull {
			say("the disk of %s has %s left", name, bytesText(disk.Free))
		}
	}
	switch errant, known := d.errantNow(name); {
	case !known && d.unjudged(name):
		say("it is not known whether %s has transactions that never came from %s", name, r.Primary)
	case !errant.IsEmpty():
		say("%s", d.whyErrant(name))
	}
	for _, f := range d.Statuses[name].Findings {
		say("%s: %s", f.Code, f.Detail)
	}
	if d.leaving(name) {
		say("%s shall leave the cluster", name)
	}
	if why := d.barred(name); why != "" {
		say("%s", why)
	}
	if others := d.countReachable(without(d.Servers, name)); others < r.RequiredAcks && r.Durability != DurabilityAsync {
		say("%d other servers can be reached, and %d must acknowledge to %s", others, r.RequiredAcks, name)
	}
	return problems
}

// unjudged tells whether it is not known, at this moment, what a server has beyond the
// primary: the next answers of both will tell.
func (d *decider) unjudged(name string) bool {
	_, known := d.errantNow(name)
	return !known && d.reachable(name) && d.Record.Durability != DurabilityAsync
}

// unfitNow says what speaks against any switchover now.
func (d *decider) unfitNow() (problems []string) {
	r := d.Record
	if !d.reachable(r.Primary) || d.Statuses[r.Primary].OpenTerm != r.Term {
		problems = append(problems, r.Primary+" is not open, or cannot be reached by the leader")
	}
	if r.Suspended {
		problems = append(problems, r.Primary+" acknowledges writes alone")
	}
	if d.weakened() {
		problems = append(problems, r.Primary+" has not proved yet that replicas have all its writes")
	}
	return problems
}

// switchover answers a request: it opens the plan, or says in the history why not.
func (d *decider) switchover() (Decision, bool) {
	r := d.Record
	if d.Policy == nil || d.Policy.Switchover == nil || slices.Contains(r.Answered, d.Policy.Switchover.ID) {
		return Decision{}, false
	}
	q := *d.Policy.Switchover
	next := r.clone()
	next.answer(q.ID)
	next.Plan = &Plan{ID: d.planID(PlanSwitchover), Kind: PlanSwitchover, Reason: ReasonRequested, Leader: d.Self, From: r.Primary,
		Candidate: q.To, Request: q.ID, Drain: q.Drain, Evidence: strings.TrimSpace("requested " + byWhom(q.By))}
	next.Plan.advance(PhasePrepare, d.now)
	problems := d.unfitNow()
	best := d.candidates()
	if q.To != "" {
		best = slices.DeleteFunc(best, func(c Candidate) bool { return c.Server != q.To })
	}
	switch {
	case len(best) == 0 && q.To == r.Primary:
		problems = append(problems, q.To+" is the primary already")
	case len(best) == 0:
		problems = append(problems, fmt.Sprintf("there is no server %q to move to", q.To))
	default:
		problems = append(problems, best[0].Problems...)
		next.Plan.Candidate = best[0].Server
	}
	if age := d.now.Sub(q.At); age > RequestLives || age < -RequestLives {
		problems = append(problems, fmt.Sprintf("it was asked for %s ago", age.Round(time.Second)))
	}
	patience := transient
	if len(problems) == 1 && d.unjudged(next.Plan.Candidate) {
		patience += catchUpPatience // It may have been waited for something else until now.
	}
	if young := d.now.Sub(d.LeadingSince) < transient || d.now.Sub(q.At) < patience; young && len(problems) > 0 && len(best) > 0 {
		d.wait(CodePolicyWaits, next.Plan.Candidate, "a switchover was asked for, and waits a moment: "+strings.Join(problems, "; "), "")
		return Decision{}, false
	}
	if left := d.Seen[next.Plan.Candidate].Live.LagTransactions; left > closeBehind && d.now.Sub(q.At) < catchUpPatience && d.reachable(next.Plan.Candidate) {
		d.wait(CodeCatchingUp, next.Plan.Candidate, fmt.Sprintf("the switchover waits until %s, which has %d transactions left to apply, has caught up", next.Plan.Candidate, left), "")
		return Decision{}, false
	}
	if len(problems) > 0 {
		asked := *next.Plan
		next.Plan = nil
		return d.refuse(next, asked, problems), true
	}
	return Decision{Reason: ReasonRequested, Detail: fmt.Sprintf("from %s to %s", r.Primary, next.Plan.Candidate), Change: d.change(next, d.switchoverSpecs(next))}, true
}

// switchoverSpecs are what stands, with the candidate preparing, and then the
// primary closing.
func (d *decider) switchoverSpecs(r Record) map[string]Spec {
	p := r.Plan
	specs := d.standing(r)
	candidate, primary := specs[p.Candidate], specs[p.From]
	candidate.Rotate, candidate.Plan = true, p.ID
	specs[p.Candidate] = candidate
	if p.Phase == PhaseClose {
		specs[p.From] = Spec{Goal: GoalDemote, Term: r.Term, Plan: p.ID, Drain: p.Drain, InSync: primary.InSync, Attach: primary.Attach, RequiredAcks: r.RequiredAcks}
	}
	return specs
}

// awaitCandidate waits until the candidate has shown that it does what it is
// asked, and has the primary close then.
func (d *decider) awaitCandidate() Decision {
	r := d.Record.clone()
	p := r.Plan
	if h := d.primaryHealth(); h.dead {
		return d.openFailover(h)
	}
	_, ready := d.did(p.Candidate, GoalFollow, p.ID)
	switch {
	case d.lost(p.Candidate):
		return d.takeBack(r, p.Candidate+" is gone")
	case !ready && d.inPhase() > prepareReserve:
		return d.takeBack(r, fmt.Sprintf("%s did not answer within %s", p.Candidate, prepareReserve))
	case !ready:
		return Decision{Reason: ReasonPlanWaits, Detail: p.Candidate + " prepares"}
	}
	p.advance(PhaseClose, d.now)
	return Decision{Reason: ReasonPlanContinues, Detail: p.From + " closes", Change: d.change(r, d.switchoverSpecs(r))}
}

// takeBack ends a switchover in which nothing was chosen yet.
func (d *decider) takeBack(r Record, why string) Decision {
	return Decision{Reason: ReasonPlanAbandoned, Detail: why, Change: d.ended(r, "rolled back: "+why)}
}

func byWhom(by string) string {
	if by == "" {
		return ""
	}
	return "by " + by
}

// awaitDemoted waits until the primary has closed, then journals what it has and
// asks the candidate to take over. Whatever goes wrong before takes everything back.
func (d *decider) awaitDemoted() Decision {
	r := d.Record.clone()
	p := r.Plan
	if h := d.primaryHealth(); h.dead {
		return d.openFailover(h)
	}
	st, closed := d.did(p.From, GoalDemote, p.ID)
	var why string
	switch {
	case d.lost(p.Candidate) || !d.reachable(p.Candidate) && d.inPhase() > 2*d.settings.Detection:
		why = p.Candidate + " is gone or cannot be reached"
	case closed:
	case d.inPhase() > p.Drain+closeReserve:
		why = fmt.Sprintf("%s was not closed within %s", p.From, p.Drain+closeReserve)
		if st := d.Statuses[p.From]; st.Plan == p.ID && st.Detail != "" {
			why += ": " + st.Detail
		}
	default:
		return Decision{Reason: ReasonPlanWaits, Detail: p.From + " lets open transactions end and closes"}
	}
	if why != "" {
		return d.takeBack(r, why)
	}
	p.Cut, p.Closing = st.Cut, st.Steps
	p.Target = st.Held.All()
	p.Sets = map[string]Held{p.From: st.Held}
	followers := []string{p.From}
	for _, name := range r.InSync {
		// All that it acknowledged is in the target, which k followers will have; of the
		// new term it acknowledges nothing before it is enabled, in this run or in one
		// that does not count.
		p.Sets[name] = Held{StartID: d.Statuses[name].StartID}
		followers = append(followers, name)
	}
	return d.promote(r, p.Candidate, followers)
}
