package decide

import (
	"fmt"
	"time"

	"github.com/mysqlha/mysqlha/replication/gtid"
)

// StartAdvice says what the gate of a dead primary does with it.
type StartAdvice string

// The advices.
const (
	// StartNow: it is the recorded primary and is started as it is.
	StartNow StartAdvice = "start"
	// StartWait: a failover may be about to take its place.
	StartWait StartAdvice = "wait"
	// StartCompare: another server has taken its place, or was chosen to. What that
	// one lacks was never acknowledged, and is cut off before the start where that
	// is safe.
	StartCompare StartAdvice = "compare"
)

// StartAnswer is what a gate is told that asks for a dead primary.
type StartAnswer struct {
	// Advice is what to do, Why the reason.
	Advice StartAdvice `json:"advice"`
	Why    string      `json:"why"`
	// Term is the term of the server Primary that has taken the dead one's place or
	// was chosen to, and Holds what that one has of all that was ever written at the
	// dead one (StartCompare).
	Term    uint64   `json:"term,omitempty"`
	Primary string   `json:"primary,omitempty"`
	Holds   gtid.Set `json:"holds"`
	// Forbidden is why nothing may be cut off whatever it is, empty for nothing.
	Forbidden string `json:"forbidden,omitempty"`
	// Complete says that all terms since then hold all that their predecessor could
	// have committed in its engine (S6). Else nothing may be cut off.
	Complete bool `json:"complete,omitempty"`
}

const (
	// startPatience is how long a dead primary leaves a failover the first move: a
	// start takes seconds and would commit, in the middle of it, what was never
	// acknowledged.
	startPatience = 2 * time.Second
	// revokePatience is how long it waits for a failover that has not chosen
	// anybody: that one may be waiting for the dead primary itself.
	revokePatience = 2 * startPatience
)

// AdviseStart answers the gate of a server whose mysqld died as the open primary
// of a term, and whose gate has waited for so long. While the automation is paused no
// failover begins, so nothing is waited for.
//
// Nobody has received anything from a dead primary since the term that followed
// its own began. So what that term began with is all that any later one has of
// its transactions.
func AdviseStart(r Record, server string, term uint64, waited time.Duration, paused bool) StartAnswer {
	if r.Primary != server {
		return StartAnswer{Advice: StartCompare, Why: fmt.Sprintf("%s is the primary of term %d", r.Primary, r.Term),
			Term: r.Term, Primary: r.Primary, Holds: r.Base, Complete: r.CompleteSince <= term}
	}
	p := r.Plan
	failover := p != nil && p.Promotes()
	switch {
	case failover && p.Kind == PlanRenew && (p.Candidate == "" || p.Candidate == server):
		return StartAnswer{Advice: StartNow, Why: fmt.Sprintf("it was stopped to begin term %d", r.Term+1)}
	case failover && p.Phase == PhasePromote && p.Candidate != server:
		// There is no way back: the candidate is as good as the primary (S5).
		return StartAnswer{Advice: StartCompare, Why: fmt.Sprintf("%s is chosen to be the primary of term %d", p.Candidate, r.Term+1),
			Term: r.Term + 1, Primary: p.Candidate, Holds: p.Target, Complete: !r.Suspended && p.Override == nil && r.CompleteSince <= term}
	case failover && waited < revokePatience:
		return StartAnswer{Advice: StartWait, Why: "a failover is under way and has chosen nobody yet"}
	case waited < startPatience && !r.Suspended && !paused:
		return StartAnswer{Advice: StartWait, Why: "a failover would be faster than its start"}
	}
	return StartAnswer{Advice: StartNow, Why: fmt.Sprintf("it is the primary of term %d", r.Term)}
}
