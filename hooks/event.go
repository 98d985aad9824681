package hooks

import (
	"fmt"
	"slices"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// Kind is what kind of thing happened.
type Kind string

// The kinds.
const (
	// KindFailover is a failover that has ended, whatever came of it.
	KindFailover Kind = "failover"
	// KindSwitchover is a planned one that has ended, whatever came of it.
	KindSwitchover Kind = "switchover"
	// KindInSync is a change of the replicas that may acknowledge.
	KindInSync Kind = "in-sync"
	// KindFence is a server that was closed because nothing proved it current.
	KindFence Kind = "fence"
	// KindTest is made by somebody who tries a hook.
	KindTest Kind = "test"
)

// Kinds returns those that a hook may be for.
func Kinds() []Kind { return []Kind{KindFailover, KindSwitchover, KindInSync, KindFence} }

// payloadVersion grows when a field of an event changes its meaning. New fields do not
// count.
const payloadVersion = 1

// Event is what a hook is told: a command on its standard input, a web address as the
// body of a POST. Fields that do not belong to the kind are left out.
type Event struct {
	// Version is that of this format.
	Version int `json:"version"`
	// ID is the event's own: one that is delivered twice has the same.
	ID string `json:"id"`
	// Kind is what happened, Cluster where.
	Kind    Kind   `json:"event"`
	Cluster string `json:"cluster"`
	// At is when it had happened, by the clock of who saw it.
	At time.Time `json:"at"`
	// Term and Primary are the cluster's after it.
	Term    uint64 `json:"term,omitempty"`
	Primary string `json:"primary,omitempty"`
	// From is the primary before, Reason why it was left, Evidence what was seen, Result
	// "completed" or what else came of it (failover, switchover).
	From     string        `json:"from,omitempty"`
	Reason   decide.Reason `json:"reason,omitempty"`
	Evidence string        `json:"evidence,omitempty"`
	Result   string        `json:"result,omitempty"`
	// Complete says that the term holds all that was acknowledged, Lost the transactions
	// that are known to be lost, empty for none (failover).
	Complete bool   `json:"complete,omitempty"`
	Lost     string `json:"lost,omitempty"`
	// Phases are the moments that it went through, Took from the first to the last, in
	// milliseconds.
	Phases []decide.Mark `json:"phases,omitempty"`
	Took   float64       `json:"took_ms,omitempty"`
	// InSync is the in-sync set after it; Added and Removed are the difference.
	InSync  []string `json:"in_sync,omitempty"`
	Added   []string `json:"added,omitempty"`
	Removed []string `json:"removed,omitempty"`
	// Suspended says that the primary acknowledges alone (in-sync).
	Suspended bool `json:"suspended,omitempty"`
	// Server is whom it befell, Cause why (fence).
	Server string `json:"server,omitempty"`
	Cause  string `json:"cause,omitempty"`
}

// Cursor is how far the events of the cluster were delivered to a hook.
type Cursor struct {
	// History is the key of the last entry of the history that was looked at.
	History uint64 `json:"history"`
	// Version is that of the record that InSync and Suspended are of.
	Version   uint64   `json:"version"`
	InSync    []string `json:"in_sync"`
	Suspended bool     `json:"suspended,omitempty"`
}

// Entry is one of the history, with its key.
type Entry struct {
	Key uint64
	decide.History
}

// Step is an event and the cursor behind it. Without an event, only the cursor moves.
type Step struct {
	Event  *Event
	Cursor Cursor
}

// Behind is the cursor behind everything that has happened.
func Behind(r decide.Record, last uint64) Cursor {
	return Cursor{History: last, Version: r.Version, InSync: slices.Clone(r.InSync), Suspended: r.Suspended}
}

// Steps returns what has happened since a cursor, the oldest first. Of several changes
// of the in-sync set in a row the sum is told.
func Steps(cluster string, c Cursor, entries []Entry, r decide.Record, now time.Time) (steps []Step) {
	for _, e := range entries {
		if e.Key <= c.History {
			continue
		}
		c.History = e.Key
		steps = append(steps, Step{Event: ofHistory(cluster, e), Cursor: c})
	}
	if r.Version <= c.Version {
		return steps
	}
	c.Version = r.Version
	added, removed := minus(r.InSync, c.InSync), minus(c.InSync, r.InSync)
	if len(added) == 0 && len(removed) == 0 && r.Suspended == c.Suspended {
		return steps // Not worth a write: the next event brings it along.
	}
	c.InSync, c.Suspended = slices.Clone(r.InSync), r.Suspended
	return append(steps, Step{Cursor: c, Event: &Event{Version: payloadVersion, ID: fmt.Sprintf("%s-in-sync-%d", cluster, r.Version), Kind: KindInSync, Cluster: cluster, At: now,
		Term: r.Term, Primary: r.Primary, InSync: r.InSync, Added: added, Removed: removed, Suspended: r.Suspended}})
}

func minus(a, b []string) (out []string) {
	for _, one := range a {
		if !slices.Contains(b, one) {
			out = append(out, one)
		}
	}
	return out
}

// ofHistory returns nil for what is told of by its effects.
func ofHistory(cluster string, h Entry) *Event {
	kind := KindFailover
	switch h.Plan.Kind {
	case decide.PlanFailover, decide.PlanRenew:
	case decide.PlanSwitchover:
		kind = KindSwitchover
	default:
		return nil
	}
	e := &Event{Version: payloadVersion, ID: fmt.Sprintf("%s-%s", cluster, h.Plan.ID), Kind: kind, Cluster: cluster, Term: h.Term, Primary: h.Primary, From: h.Plan.From,
		Reason: h.Plan.Reason, Evidence: h.Plan.Evidence, Result: h.Result, Complete: h.Complete, Phases: h.Plan.Marks, InSync: h.InSync}
	if !h.Plan.Lost.IsEmpty() {
		e.Lost = h.Plan.Lost.String()
	}
	if marks := h.Plan.Marks; len(marks) > 0 {
		e.At = marks[len(marks)-1].At
		e.Took = float64(e.At.Sub(marks[0].At).Microseconds()) / 1000
	}
	return e
}

// Fence is the event of a server that was closed.
func Fence(cluster, server, cause string, took time.Duration, now time.Time) Event {
	return Event{Version: payloadVersion, ID: fmt.Sprintf("%s-fence-%s-%d", cluster, server, now.UnixMilli()), Kind: KindFence, Cluster: cluster, At: now,
		Server: server, Cause: cause, Took: float64(took.Microseconds()) / 1000}
}

// Test is an event that nothing has caused.
func Test(cluster string, now time.Time) Event {
	return Event{Version: payloadVersion, ID: fmt.Sprintf("%s-test-%d", cluster, now.UnixMilli()), Kind: KindTest, Cluster: cluster, At: now}
}
