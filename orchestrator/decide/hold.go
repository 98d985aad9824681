package decide

import (
	"fmt"
	"time"
)

// What keeps the primary where it is although it is dead: a human has paused the
// automation, or it was moved too often. Neither stops a plan that has been opened,
// what a human asks for, or a primary from closing itself (S9).

// Pause keeps the primary where it is: no failover, no new term of a lone primary
// and no clone begins by itself.
type Pause struct {
	// Reason and By are told wherever the cluster is shown.
	Reason string `json:"reason"`
	By     string `json:"by,omitempty"`
	// Since is when it began, Until when it ends by itself, zero for never; by the
	// clocks of the daemons.
	Since time.Time `json:"since"`
	Until time.Time `json:"until,omitzero"`
}

// String says it in words.
func (p Pause) String() string {
	text := "automation is paused"
	if p.By != "" {
		text += " by " + p.By
	}
	text += " since " + p.Since.UTC().Format(time.DateTime) + " UTC"
	if !p.Until.IsZero() {
		text += " until " + p.Until.UTC().Format(time.DateTime) + " UTC"
	}
	return text + ": " + p.Reason
}

// Paused returns the pause that is in force, nil for none.
func (p *Policy) Paused(now time.Time) *Pause {
	if p == nil || p.Pause == nil || !p.Pause.Until.IsZero() && !now.Before(p.Pause.Until) {
		return nil
	}
	return p.Pause
}

// Cooldown bounds failovers that nobody asked for: after so many within a time the
// primary stays where it is until the first of them is longer ago.
type Cooldown struct {
	Failovers int           `json:"failovers"`
	Within    time.Duration `json:"within_ns"`
}

// DefaultCooldown is in force where nobody wants another. A statement that kills
// every server it reaches shall not go round.
func DefaultCooldown() Cooldown { return Cooldown{Failovers: 3, Within: 10 * time.Minute} }

// mostFailovers is how many failovers the record remembers for it.
const mostFailovers = 16

func (d *decider) cooldown() Cooldown {
	if d.Policy == nil || d.Policy.Cooldown == nil {
		return DefaultCooldown()
	}
	return *d.Policy.Cooldown
}

// cooling returns until when no failover is made by itself, zero for not at all.
func (d *decider) cooling() time.Time {
	c, past := d.cooldown(), d.Record.Failovers
	if c.Failovers <= 0 || len(past) < c.Failovers {
		return time.Time{}
	}
	if until := past[len(past)-c.Failovers].Add(c.Within); d.now.Before(until) {
		return until
	}
	return time.Time{}
}

// held returns what is decided instead of a failover that nobody asked for, while
// one may not begin.
func (d *decider) held(h health) (Decision, bool) {
	r := d.Record
	if r.Plan != nil && r.Plan.Promotes() || h.reason == ReasonRequested {
		return Decision{}, false
	}
	reason, why, remedy := Reason(""), "", ""
	if p := d.Policy.Paused(d.now); p != nil {
		reason, why, remedy = ReasonPaused, p.String(), "start "+r.Primary+" again; or mysqlha resume; or mysqlha failover"
	} else if until := d.cooling(); !until.IsZero() {
		c := d.cooldown()
		reason, why = ReasonCooldown, fmt.Sprintf("there were %d failovers within %s, and no other is made by itself before %s UTC", c.Failovers, c.Within, until.UTC().Format(time.TimeOnly))
		remedy = "find out what kills the servers; start " + r.Primary + " again, or mysqlha failover"
	}
	if reason == "" {
		return Decision{}, false
	}
	d.wait(CodeFailoverHeld, r.Primary, fmt.Sprintf("%s is dead (%s), and nobody takes over: %s", r.Primary, h.detail, why), remedy)
	return Decision{Reason: reason, Detail: h.detail}, true
}

// noteHeld tells of a pause, whatever else is going on.
func (d *decider) noteHeld() {
	if p := d.Policy.Paused(d.now); p != nil {
		d.wait(CodePaused, "", p.String(), "mysqlha resume")
	}
}

// noteFailover remembers in the record that nobody asked for this failover.
func (d *decider) noteFailover(r *Record) {
	if r.Plan.Kind != PlanFailover || r.Plan.Reason == ReasonRequested {
		return
	}
	r.Failovers = append(r.Failovers[max(0, len(r.Failovers)-mostFailovers+1):len(r.Failovers):len(r.Failovers)], d.now)
}
