package member

import (
	"context"
	"fmt"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication/process"
)

const (
	// verifyPatience is how long the gate may take to judge a crash recovery once
	// mysqld answers; verifyPoll is how often it is looked whether it has.
	verifyPatience = 10 * time.Second
	verifyPoll     = 10 * time.Millisecond
)

// awaitVerified returns nil once nothing is in the way of replicating and
// serving: no clone that was interrupted, and no rewind but one that the gate has
// verified. A server whose engine kept what its binary log lost is not what its
// GTIDs say (S7).
func (w *worker) awaitVerified(ctx context.Context) error {
	if c, found, err := process.ReadClone(w.m.o.CloneFile); err != nil {
		return err
	} else if found && !c.Done {
		return &refusal{decide.CodeCloneUnfinished, fmt.Sprintf("the clone of %s that began at %s did not end", c.Donor, c.At.Format(time.RFC3339))}
	}
	if w.m.o.RewindFile == "" {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, verifyPatience, fmt.Errorf("the gate has not judged the crash recovery after a rewind within %s", verifyPatience))
	defer cancel()
	for {
		r, found, err := process.ReadRewind(w.m.o.RewindFile)
		switch {
		case err != nil:
			return err
		case !found || r.State == process.RewindVerified || r.State == process.RewindRefused:
			return nil
		case r.State == process.RewindFailed:
			return &refusal{decide.CodeRewindFailed, r.Why}
		}
		if err := wait(ctx, verifyPoll); err != nil {
			return err
		}
	}
}

// The ways in which a server is let come back with the primary's data.
const (
	WayRewound       = "rewound"
	WayRewindRefused = "rewind refused"
	WayRewindFailed  = "rewind failed"
	WayCloned        = "cloned"
)

// Ways returns all of them.
func Ways() []string { return []string{WayRewound, WayRewindRefused, WayRewindFailed, WayCloned} }

// lookAtNotes tells the loop whether the data is not what its GTIDs say, and
// returns the note of the last rewind, empty for none. What cannot be read is said
// by whoever needs it. Whoever has changed a note calls it
// before he says so: with the old outcome in the status, a clone that is done
// would be asked for again.
func (m *Member) lookAtNotes() process.Rewind {
	m.notesMu.Lock()
	defer m.notesMu.Unlock()
	code := decide.Code("")
	r, found, err := process.ReadRewind(m.o.RewindFile)
	if err != nil || !found {
		r = process.Rewind{}
	}
	if r.State == process.RewindFailed {
		code = decide.CodeRewindFailed
	}
	if c, found, err := process.ReadClone(m.o.CloneFile); err == nil && found && !c.Done {
		code = decide.CodeCloneUnfinished
	}
	m.unusable.Store(&code)
	if l, found, err := process.ReadLetGo(m.o.LetGoFile); err != nil {
		m.log.Error("nothing that this server alone has is given up by itself", "error", err)
		run := m.terms.now().Opened.Run // It may be this one.
		m.letGo.Store(&run)
	} else if found {
		m.letGo.Store(&l.StartID)
	}
	return r
}

// countRewind counts what the gate did, which has no metrics of its own.
func (m *Member) countRewind(r process.Rewind) {
	if !r.At.After(m.rewindAt) {
		return
	}
	way := map[process.RewindState]string{process.RewindVerified: WayRewound, process.RewindRefused: WayRewindRefused, process.RewindFailed: WayRewindFailed}[r.State]
	if way == "" {
		return // Not judged yet.
	}
	m.rewindAt = r.At
	m.log.Warn("the gate dealt with what the primary does not have", "outcome", r.State, "reason", r.Why, "transactions", r.GTIDs, "kept", r.Kept)
	if m.o.Events != nil {
		m.o.Events.Rejoined(way)
	}
}
