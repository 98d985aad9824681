package api

import (
	"fmt"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// Limits are what a health check asks of a replica beyond its replicating.
type Limits struct {
	// Lag is the largest lag allowed, Transactions the most that may be received
	// and not yet executed. Nil allows any, as long as it is known.
	Lag          *time.Duration
	Transactions *uint64
}

// contactMatters is the silence of a source from which on it counts as lag: it
// sends a heartbeat several times in this while, so a longer one means that the
// replica may be missing transactions that it cannot know of.
const contactMatters = time.Second

// heartbeatMatters is likewise the age of the newest heartbeat row, of which the
// primary writes several in this while. A replica that has just connected again
// after a partition may not know yet of anything that it has missed.
const heartbeatMatters = 2 * time.Second

// HealthOK tells whether mysqld answers its own daemon; reason says why or why
// not.
func HealthOK(e Evidence) (ok bool, reason string) {
	l := e.Live
	switch {
	case l.Age > e.FreshFor:
		return false, fmt.Sprintf("the daemon's last look at mysqld is %s old, and only %s counts", round(l.Age), round(e.FreshFor))
	case l.Process == decide.ProcessGone, l.Process == decide.ProcessExiting:
		return false, "mysqld is not running"
	case !l.Answers:
		return false, "mysqld does not answer"
	}
	return true, "mysqld answers"
}

// serves is what primary and replica have in common.
func serves(e Evidence) (ok bool, reason string) {
	if ok, reason := HealthOK(e); !ok {
		return false, reason
	}
	switch {
	case e.Live.Offline:
		return false, "mysqld is in offline_mode"
	case e.Diverged:
		return false, "it holds transactions that the primary does not have"
	}
	return true, ""
}

// PrimaryOK tells whether writes belong here. It counts on nothing but the
// figures of the own server and the daemon's copy of the record: an
// acknowledged commit begun a moment ago proves that no later term was open
// then, whether etcd can be reached or not (S9).
func PrimaryOK(e Evidence) (ok bool, reason string) {
	if ok, reason := serves(e); !ok {
		return false, reason
	}
	l := e.Live
	proof := l.CommitAge + l.Age
	switch {
	case e.Term == 0:
		return false, "no term has been published"
	case e.Primary != e.Self:
		return false, fmt.Sprintf("the primary of term %d is %s", e.Term, e.Primary)
	case l.OpenTerm == 0:
		return false, fmt.Sprintf("it is the primary of term %d and not open", e.Term)
	case l.OpenTerm != e.Term:
		return false, fmt.Sprintf("it is open in term %d, and the term is %d", l.OpenTerm, e.Term)
	case l.ReadOnly || l.SuperReadOnly:
		return false, "it is read-only"
	case l.CommitAge <= 0:
		return false, "no commit of its own has been acknowledged in this term"
	case proof >= e.FenceDeadline:
		return false, fmt.Sprintf("its last acknowledged commit began %s ago, and only less than %s is proof", round(proof), round(e.FenceDeadline))
	}
	return true, fmt.Sprintf("open in term %d, last acknowledged commit begun %s ago", e.Term, round(proof))
}

// ReplicaOK tells whether reads that stand the lag within limits belong here.
func ReplicaOK(e Evidence, limits Limits) (ok bool, reason string) {
	if ok, reason := serves(e); !ok {
		return false, reason
	}
	l := e.Live
	switch {
	case e.Primary == e.Self || l.OpenTerm != 0:
		return false, "it is the primary"
	case l.Receiver != decide.ReceiverOn:
		return false, "its receiver is " + threadWord(l.Receiver)
	case l.Applier != decide.ReceiverOn:
		return false, "its applier is " + threadWord(l.Applier)
	case !l.LagKnown:
		return false, "its lag is not known"
	}
	if most := limits.Lag; most != nil {
		contact, heartbeat := l.ContactAge+l.Age, l.HeartbeatAge+l.Age
		switch {
		case l.Lag > *most:
			return false, fmt.Sprintf("its lag is %s, and at most %s is asked for", round(l.Lag), round(*most))
		case contact > contactMatters && contact > *most:
			return false, fmt.Sprintf("it last heard from its source %s ago, and a lag of at most %s is asked for", round(contact), round(*most))
		case !l.HeartbeatKnown:
			return false, "how old its newest heartbeat row is is not known"
		case heartbeat > heartbeatMatters && heartbeat > *most:
			return false, fmt.Sprintf("its newest heartbeat row is %s old, and a lag of at most %s is asked for", round(heartbeat), round(*most))
		}
	}
	if most := limits.Transactions; most != nil && l.LagTransactions > *most {
		return false, fmt.Sprintf("%d received transactions are not applied, and at most %d are asked for", l.LagTransactions, *most)
	}
	return true, fmt.Sprintf("replicating, lag %s, %d transactions to apply", round(l.Lag), l.LagTransactions)
}

// ReadOnlyOK tells whether reads belong here: a replica within limits, or the
// primary.
func ReadOnlyOK(e Evidence, limits Limits) (ok bool, reason string) {
	if ok, reason := PrimaryOK(e); ok || e.Primary == e.Self || e.Live.OpenTerm != 0 {
		return ok, reason
	}
	return ReplicaOK(e, limits)
}

func threadWord(s decide.ReceiverState) string {
	if s == decide.ReceiverUnknown {
		return "in an unknown state"
	}
	return string(s)
}

// round shortens a duration to what a person reads.
func round(d time.Duration) time.Duration {
	switch {
	case d >= 10*time.Second:
		return d.Round(time.Second)
	case d >= time.Second:
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(time.Millisecond)
}
