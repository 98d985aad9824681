package decide

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mysqlha/mysqlha/replication/gtid"
)

// A failover by hand leaves a primary that a human calls dead or useless. It is the
// same plan as any failover, so it loses nothing (S4, S5), but waits for no
// detection, no pause and no cooldown. Only where too little is known to be sure of
// that may the human say that the loss is acceptable (S6); then the term is not
// complete, and nothing is ever rewound against it.

// FailoverRequest is what an operator asks for.
type FailoverRequest struct {
	// ID is unique; the record says which request was answered last.
	ID string `json:"id"`
	// To is the server that shall be primary if it is as good as any, empty for the
	// best.
	To string `json:"to,omitempty"`
	// EvenIfWell asks for it although the primary is open and answers.
	EvenIfWell bool `json:"even_if_well,omitempty"`
	// AllowDataLoss accepts that what nobody who can be asked has is lost.
	AllowDataLoss bool `json:"allow_data_loss,omitempty"`
	// Off is the primary's name, said again by a human who has seen to it that it is
	// off and stays so: else it might go on with the replicas that cannot be asked.
	Off string `json:"off,omitempty"`
	// By is who asked, in words, and At when, by the clock of that host.
	By string    `json:"by,omitempty"`
	At time.Time `json:"at"`
}

// Override is what a human allows a failover.
type Override struct {
	// Off says that a human has seen to it that the old primary is off.
	Off bool `json:"off,omitempty"`
	// AtStake is what the old primary is known to have had and nobody who could be
	// asked has; there may be more.
	AtStake gtid.Set `json:"at_stake"`
}

// Outlook is what a failover at this moment would mean.
type Outlook struct {
	// From is the primary that it would leave, To who would probably follow.
	From string `json:"from"`
	To   string `json:"to,omitempty"`
	// Well says that the primary is open and answers.
	Well bool `json:"well,omitempty"`
	// Doubts is why it is not certain that nothing acknowledged would be lost,
	// OutOfReach who might have it.
	Doubts     []string `json:"doubts,omitempty"`
	OutOfReach []string `json:"out_of_reach,omitempty"`
	// AtStake is what the primary is known to have and nobody who can be asked has.
	AtStake gtid.Set `json:"at_stake"`
	// Silent says that the primary's daemon lives and can see to it that it
	// acknowledges nothing more, or that it is known not to run.
	Silent bool `json:"silent,omitempty"`
	// Problems is why it cannot be at all.
	Problems []string `json:"problems,omitempty"`
}

// outlook judges a failover at this moment.
func (d *decider) outlook() Outlook {
	r := d.Record
	o := Outlook{From: r.Primary}
	o.Well = d.reachable(r.Primary) && d.Statuses[r.Primary].OpenTerm == r.Term
	var known gtid.Set
	var able []contender
	for _, name := range without(d.Servers, r.Primary) {
		live := d.Seen[name].Live
		if !d.reachable(name) || d.unusable(name) {
			continue
		}
		known = known.Union(live.All())
		if d.barred(name) == "" && live.Source == r.Primary {
			able = append(able, contender{name: name, reached: true, left: live.LagTransactions})
		}
	}
	if able = d.prefers(r.Primary, "", able); len(able) > 0 {
		o.To = able[0].name
	} else {
		o.Problems = append(o.Problems, "no replica that may be primary can be reached")
	}
	for _, name := range r.InSync {
		if run := d.Statuses[name].StartID; run == "" || !d.reachable(name) || run != r.Runs[name] {
			o.OutOfReach = append(o.OutOfReach, name)
		}
	}
	switch {
	case r.Suspended:
		o.Doubts = append(o.Doubts, r.Primary+" acknowledges writes alone, and what no replica has received would be lost")
	case len(o.OutOfReach) >= r.RequiredAcks:
		o.Doubts = append(o.Doubts, fmt.Sprintf("%s may have acknowledged what nobody else has, and cannot be asked (out of reach, or restarted and not caught up since)", strings.Join(o.OutOfReach, ", ")))
	}
	if d.weakened() {
		o.Doubts = append(o.Doubts, r.Primary+" was found not to wait for replicas and has not proved since that they have everything")
	}
	o.AtStake = d.Seen[r.Primary].Live.Executed.Subtract(known)
	_, lives := d.Members[r.Primary]
	o.Silent = lives || len(o.Doubts) == 0
	return o
}

// failover answers a request: it opens the plan, or says in the history why not.
func (d *decider) failover() (Decision, bool) {
	r := d.Record
	if d.Policy == nil || d.Policy.Failover == nil || slices.Contains(r.Answered, d.Policy.Failover.ID) || r.Term == 0 {
		return Decision{}, false
	}
	q := *d.Policy.Failover
	next := r.clone()
	next.answer(q.ID)
	plan := Plan{ID: d.planID(PlanFailover), Kind: PlanFailover, Reason: ReasonRequested, Leader: d.Self, From: r.Primary,
		Candidate: q.To, Request: q.ID, Evidence: strings.TrimSpace("requested " + byWhom(q.By))}
	plan.advance(PhaseRevoke, d.now)
	o := d.outlook()
	problems := d.againstFailover(q, o)
	if min(d.now.Sub(d.LeadingSince), d.now.Sub(q.At)) < transient && len(problems) > 0 {
		d.wait(CodePolicyWaits, r.Primary, "a failover was asked for, and waits a moment: "+strings.Join(problems, "; "), "")
		return Decision{}, false
	}
	if len(problems) > 0 {
		return d.refuse(next, plan, problems), true
	}
	var history *History
	if next.Plan != nil {
		history = d.finish(&next, "superseded: "+plan.Evidence)
	}
	plan.Candidate, plan.Wanted = "", q.To
	if q.AllowDataLoss && len(o.Doubts) > 0 {
		plan.Override = &Override{Off: q.Off == r.Primary, AtStake: o.AtStake}
		plan.Evidence += ", who accepts the loss of what " + strings.Join(o.OutOfReach, ", ") + " may have: " + strings.Join(o.Doubts, "; ")
	}
	plan.Revoking = slices.Clone(r.InSync)
	if r.Suspended {
		plan.Revoking = d.followersNow()
	}
	next.Plan = &plan
	change := d.change(next, d.revokeSpecs(next))
	change.History = history
	return Decision{Reason: ReasonRequested, Detail: plan.Evidence, Change: change}, true
}

// againstFailover says all that speaks against what was asked for.
func (d *decider) againstFailover(q FailoverRequest, o Outlook) (problems []string) {
	say := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	r := d.Record
	problems = append(problems, o.Problems...)
	if p := r.Plan; p != nil && p.Promotes() && (p.Phase == PhasePromote || p.Phase == PhaseOpen) {
		say("a %s to %s is under way and cannot be taken back", p.Kind, p.Candidate)
	}
	if o.Well && !q.EvenIfWell {
		say("%s is open and answers: mysqlha switchover moves it without cutting what is under way; or ask for it even if the primary is well", r.Primary)
	}
	if len(o.Doubts) > 0 && !q.AllowDataLoss {
		say("acknowledged writes might be lost: %s; bring back %s, or allow data loss", strings.Join(o.Doubts, "; "), strings.Join(append(slices.Clone(o.OutOfReach), r.Primary), " or "))
	}
	if len(o.Doubts) > 0 && q.AllowDataLoss && !o.Silent && q.Off != r.Primary {
		say("the daemon beside %s cannot be asked to close it, so it might go on with replicas that cannot be reached: see to it that it is off and stays so, and say that it is off", r.Primary)
	}
	if q.Off != "" && q.Off != r.Primary {
		say("%s is said to be off, and the primary is %s", q.Off, r.Primary)
	} else if answers := d.fresh(d.Seen[r.Primary].SQLAt, d.settings.Detection) && d.Seen[r.Primary].SQLFailures == 0; q.Off != "" && answers {
		say("%s is said to be off, and its mysqld answers", r.Primary)
	}
	switch {
	case q.To == "":
	case q.To == r.Primary:
		say("%s is the primary already", q.To)
	case !slices.Contains(d.Servers, q.To):
		say("there is no server %q to move to", q.To)
	case d.barred(q.To) != "":
		say("%s", d.barred(q.To))
	case !d.reachable(q.To):
		say("%s cannot be reached by the leader", q.To)
	}
	if age := d.now.Sub(q.At); age > RequestLives || age < -RequestLives {
		say("it was asked for %s ago", age.Round(time.Second))
	}
	return problems
}

// refused is how the result of a request begins that came to nothing.
const refused = "refused: "

// Refused tells whether it is a request that came to nothing.
func (h History) Refused() bool { return strings.HasPrefix(h.Result, refused) }

// answer remembers that a request has been answered.
func (r *Record) answer(id string) {
	r.Answered = append(r.Answered[max(0, len(r.Answered)-mostAnswered+1):], id)
}

// refuse answers a request in the history; whatever plan is open stays so.
func (d *decider) refuse(next Record, asked Plan, problems []string) Decision {
	why := refused + strings.Join(problems, "; ")
	open := next.Plan
	next.Plan = &asked
	history := d.finish(&next, why)
	next.Plan = open
	return Decision{Reason: ReasonRequested, Detail: why, Change: &Change{Record: &next, History: history}}
}

// followersNow are the servers that follow the primary and can be reached, listed
// or not: the candidates where nobody's acknowledgement was waited for.
func (d *decider) followersNow() (names []string) {
	for _, name := range without(d.Servers, d.Record.Primary) {
		// One that does not follow, because it is diverged, say, is no candidate.
		if spec := d.Specs[name]; d.reachable(name) && spec.Goal == GoalFollow && spec.Source == d.Record.Primary {
			names = append(names, name)
		}
	}
	return names
}

// overridden tells whether a human accepts what the missing may have, and the old
// primary cannot go on with them: its daemon has confirmed that it stands, or a
// human has seen to it. Those who can be reached are waited for.
func (d *decider) overridden(p *Plan, missing []string) bool {
	if p.Override == nil {
		return false
	}
	if _, stands := d.did(p.From, GoalStand, p.ID); !stands && !p.Override.Off {
		d.wait(CodeWaitingForSilence, p.From, fmt.Sprintf("%s may still acknowledge writes: its daemon has not confirmed that it stands", p.From), "")
		return false
	}
	return !slices.ContainsFunc(missing, d.reachable) || d.inPhase() > 2*d.settings.Detection
}

// foresee returns what a failover by hand would mean, nil before the first term and
// once a plan has chosen.
func (d *decider) foresee() *Outlook {
	r := d.Record
	if r == nil || r.Term == 0 || r.Plan != nil && (r.Plan.Phase == PhasePromote || r.Plan.Phase == PhaseOpen) {
		return nil
	}
	o := d.outlook()
	return &o
}

// Waiting returns the id of a request that has not been answered and may still be,
// and when it was made.
func (p Policy) Waiting(r Record, now time.Time) (id string, at time.Time) {
	if q := p.Switchover; q != nil && !slices.Contains(r.Answered, q.ID) && now.Sub(q.At) < RequestLives {
		return q.ID, q.At
	}
	if q := p.Failover; q != nil && !slices.Contains(r.Answered, q.ID) && now.Sub(q.At) < RequestLives {
		return q.ID, q.At
	}
	return "", time.Time{}
}
