package member

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mysqlha/mysqlha/replication"
)

const (
	// drainPoll is how often it is looked whether open transactions have ended.
	drainPoll = 5 * time.Millisecond
	// quietDeadline bounds the wait for commits that replicas have not acknowledged,
	// and closeDeadline super_read_only.
	quietDeadline = 2 * time.Second
	// holdLead is what redirectors get to hear of the plan, as this daemon has, and hold
	// new sessions before the present ones are ended; up to 34 ms were seen. Writes go
	// on meanwhile.
	holdLead      = 50 * time.Millisecond
	closeDeadline = 2500 * time.Millisecond
)

// demote closes an open primary politely: sessions are ended, nothing can be
// written any more, and nobody waits, so that nobody can be answered any more
// (S10). What it has then is final. Until another term is published it can be
// opened again in its own.
func (w *worker) demote(ctx context.Context) error {
	snap, err := w.local().Read(ctx)
	if err != nil {
		return err
	}
	if !snap.SuperReadOnly {
		if err := wait(ctx, holdLead); err != nil {
			return err
		}
		if err := w.step("drain", func() error { return w.drain(ctx) }); err != nil {
			return err
		}
		if err := w.step("close", func() error { return w.close(ctx) }); err != nil {
			return err
		}
	}
	if err := w.step("quiet", func() error { return w.awaitQuiet(ctx) }); err != nil {
		return err
	}
	// Nobody waits and nothing can be written any more. What is left to be done does
	// not depend on each other.
	return w.step("read_sets", func() error {
		group, ctx := errgroup.WithContext(ctx)
		group.Go(func() error { return w.readHeld(ctx) })
		group.Go(w.m.terms.demoted) // It was never left open: another goal does not have to kill it.
		if !snap.SuperReadOnly {
			group.Go(func() error { return w.cutRest(ctx) })
		}
		return group.Wait()
	})
}

// drain ends idle sessions, and gives transactions that are open the time they
// were promised. What ends here costs no time in which writes stop.
func (w *worker) drain(ctx context.Context) error {
	deadline := time.Now().Add(w.spec.Drain)
	var waited map[int64]bool // those that were in a transaction when it began
	for {
		clients, err := w.local().Clients(ctx)
		if err != nil {
			return err
		}
		if waited == nil {
			waited = make(map[int64]bool)
			for _, c := range clients {
				waited[c.ID] = c.InTransaction
			}
		}
		left := false
		for _, c := range clients {
			left = left || c.InTransaction && waited[c.ID]
			if c.InTransaction || c.Running {
				continue
			}
			w.count(c, waited)
			if err := w.local().KillSession(ctx, c.ID); err != nil {
				return err
			}
		}
		if !left || !time.Now().Before(deadline) {
			return nil
		}
		if err := wait(ctx, drainPoll); err != nil {
			return err
		}
	}
}

// count counts a session that is ended.
func (w *worker) count(c replication.Client, waited map[int64]bool) {
	cause := CutIdle
	switch {
	case c.InTransaction || c.Running:
		w.cut.Forced++
		cause = CutForced
	case waited[c.ID]:
		w.cut.InTransaction++
		cause = CutInTransaction
	default:
		w.cut.Idle++
	}
	w.m.tellCut(cause, 1)
}

// close refuses all writes and ends the sessions that are left. What they have
// under way commits, or is refused; it is not waited until they are all gone, since
// whoever is left can write nothing any more.
func (w *worker) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, closeDeadline)
	defer cancel()
	// No more commits of its own. It counts as open, and closes itself if it is cut
	// off, until it is known to be closed.
	w.m.send(ctx, func(s *state) { s.stopHeart(); s.pendingSince = time.Time{} })
	if err := w.insist(ctx, lockPatience, w.local().SetSuperReadOnly); err != nil {
		w.m.send(ctx, func(s *state) { s.beatAgain() })
		return err
	}
	at := time.Now()
	w.m.send(ctx, func(s *state) { s.shut(at) })
	return nil
}

// cutRest ends the sessions that are left, beside what goes on.
func (w *worker) cutRest(ctx context.Context) error {
	clients, err := w.local().Clients(ctx)
	if err != nil {
		return err
	}
	ids := make([]int64, 0, len(clients))
	for _, c := range clients {
		w.count(c, nil)
		ids = append(ids, c.ID)
	}
	w.m.send(ctx, func(s *state) {
		s.wg.Go(func() {
			if err := w.local().KillSessions(s.ctx, ids); err != nil && s.ctx.Err() == nil {
				w.log.Warn("sessions are left on a server that is closed", "error", err)
			}
		})
	})
	return nil
}

// awaitQuiet waits until no commit waits for an acknowledgement.
func (w *worker) awaitQuiet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, quietDeadline)
	defer cancel()
	for {
		n, err := w.local().WaitSessions(ctx)
		if err != nil || n == 0 {
			return err
		}
		if err := wait(ctx, attachPoll); err != nil {
			return fmt.Errorf("%d commits wait for replicas: %w", n, err)
		}
	}
}

// shut notes that the server was closed by this daemon: what was read of it before
// says nothing any more.
func (s *state) shut(at time.Time) {
	s.closed()
	s.shutAt = at
	s.snap.ReadOnly, s.snap.SuperReadOnly = true, true
}

// beatAgain goes on with the own commits of a server that could not be closed.
func (s *state) beatAgain() {
	if s.openTerm != 0 && s.heart == nil {
		s.startHeart(s.openTerm)
	}
}
