package member

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication"
)

// promote applies everything and prepares the server to be primary. It stays
// closed: read_only is on until the term is published (S5).
func (w *worker) promote(ctx context.Context) error {
	if err := w.step("receive", func() error { return w.awaitTarget(ctx) }); err != nil {
		return err
	}
	if err := w.ceaseAcknowledging(ctx); err != nil {
		return err
	}
	err := w.insist(ctx, applyPatience, func(ctx context.Context) error {
		return w.step("apply", func() error { return w.local().ApplyWait(ctx, w.spec.Target) })
	})
	if err != nil {
		return err
	}
	if w.offline {
		// Else no follower could attach, and without them no term is published. It
		// stays closed for writes.
		if err := w.local().SetOffline(ctx, false); err != nil {
			return err
		}
	}
	if err := w.step("become_source", func() error { return w.becomeSource(ctx) }); err != nil {
		return err
	}
	if err := w.lock(ctx); err != nil {
		return err
	}
	return w.readHeld(ctx)
}

// awaitTarget waits, on a candidate, until it has received all that it is to
// apply, from a source that is closed.
func (w *worker) awaitTarget(ctx context.Context) error {
	for w.spec.Source != "" {
		held, err := w.local().Sets(ctx)
		if err != nil || held.All().Contains(w.spec.Target) {
			return err
		}
		snap, err := w.local().Read(ctx)
		if err != nil {
			return err
		}
		if snap.Receiver == decide.ReceiverOff ||
			w.m.serverAt(snap.SourceHost, snap.SourcePort) != w.spec.Source {
			return nil
		}
		if err := wait(ctx, attachPoll); err != nil {
			return err
		}
	}
	return nil
}

// lock locks all replication accounts but those that may attach and ends their
// sessions (S3).
func (w *worker) lock(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, accountsDeadline)
	defer cancel()
	once := func(ctx context.Context) error {
		return w.step("lock_accounts", func() error { return w.local().LockAccounts(ctx, w.spec.Attach) })
	}
	err := error(nil)
	if w.isOpen || w.spec.Adopt {
		err = once(ctx)
	} else {
		err = w.insist(ctx, lockPatience, once)
	}
	if err == nil {
		w.m.locked.Store(&lockedAs{w.proc.StartID, slices.Clone(w.spec.Attach), time.Now()})
	}
	if errors.Is(err, replication.ErrNotPrepared) {
		w.log.Warn("a server cannot attach", "error", err)
		return nil // The others can, and nobody else.
	}
	return err
}

// lockedAs is how the accounts were locked last: in which run, for whom, and when.
type lockedAs struct {
	run    string
	attach []string
	at     time.Time
}

// lockedLately is how long it is not looked again whether the accounts are locked as
// they were: between a candidate's preparation and its opening.
const lockedLately = 2 * time.Second

// isLocked tells whether the accounts were locked likewise a moment ago.
func (w *worker) isLocked() bool {
	l := w.m.locked.Load()
	return l != nil && l.run == w.proc.StartID && slices.Equal(l.attach, w.spec.Attach) && time.Since(l.at) < lockedLately
}

// insist does a step of a server that is closed for writes. If it is not done
// in time, the clients that read here are ended, since one of them may hold a
// lock that is in the way (a backup's, or a table's), and it is done again.
func (w *worker) insist(ctx context.Context, patience time.Duration, do func(context.Context) error) error {
	short, cancel := context.WithTimeout(ctx, patience)
	err := do(short)
	cancel()
	if err == nil || ctx.Err() != nil || short.Err() == nil {
		return err
	}
	ended, killErr := w.local().KillClients(ctx)
	w.m.tellCut(CutInTheWay, ended)
	w.log.Warn("a step took too long; the clients that might be in its way were ended", "after", patience, "clients", ended, "error", err)
	if killErr != nil {
		return killErr
	}
	return do(ctx)
}
