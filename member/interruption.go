package member

import "time"

// The causes of an interruption of writes, as told to Events: the term had ended and
// the next one was opened here, or commits waited within one.
const (
	InterruptedByTerm  = "new-term"
	InterruptedByStall = "stall"
)

// InterruptionCauses returns all of them.
func InterruptionCauses() []string { return []string{InterruptedByTerm, InterruptedByStall} }

// pulse finds interruptions of writes by the cluster's heartbeat, a commit every period:
// whoever wrote may have gone without an answer between two of them that were
// acknowledged, and no longer. It is the loop's.
type pulse struct {
	period time.Duration
	// last is when the newest heartbeat that is known was acknowledged, zero for none:
	// by this host's clock where it is its own, else by its writer's.
	last time.Time
}

// heard notes a heartbeat that another primary wrote and that is applied here.
func (p *pulse) heard(at time.Time) {
	if at.After(p.last) {
		p.last = at
	}
}

// opened notes that a term was opened here, and returns since when nobody is known to
// have taken writes; false where that is not known.
func (p *pulse) opened(now time.Time) (since time.Time, known bool) {
	since, p.last = p.last, now
	return since, !since.IsZero() && since.Before(now)
}

// acknowledged notes an own heartbeat, and returns the one before it where so much time
// has passed since that one is missing.
func (p *pulse) acknowledged(now time.Time) (since time.Time, missed bool) {
	since, p.last = p.last, now
	return since, !since.IsZero() && now.Sub(since) > 2*p.period
}
