package member

import (
	"context"
	"fmt"
	"slices"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication"
	"github.com/mysqlha/mysqlha/replication/process"
)

// becomeSource prepares the closed server as the spec says.
func (w *worker) becomeSource(ctx context.Context) error {
	if w.spec.Suspended {
		return w.local().BecomeAlone(ctx)
	}
	return w.local().BecomeSource(ctx, w.spec.RequiredAcks)
}

// mayBeAlone reads, after all that was asked before, that the record lets this
// server acknowledge alone (S2).
func (w *worker) mayBeAlone(ctx context.Context) error {
	r, err := w.readRecord(ctx)
	if err == nil && !r.Suspended {
		err = fmt.Errorf("the record does not let %s acknowledge alone in term %d", w.m.o.Server, w.spec.Term)
	}
	return err
}

// isCurrent reads, after all that was asked before, that this server is the
// primary of the newest term.
func (w *worker) isCurrent(ctx context.Context) error {
	_, err := w.readRecord(ctx)
	return err
}

// readRecord reads the record linearizably and fails unless this server is its
// primary in the spec's term.
func (w *worker) readRecord(ctx context.Context) (*decide.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, recordDeadline)
	defer cancel()
	r, err := w.m.o.Board.ReadRecord(ctx)
	if err != nil {
		return nil, err
	}
	if r.Term != w.spec.Term || r.Primary != w.m.o.Server {
		return nil, fmt.Errorf("%s is not the primary of the newest term, which is term %d of %s", w.m.o.Server, r.Term, r.Primary)
	}
	return r, nil
}

// primary opens the server in the spec's term, or keeps an open one as the
// spec says. Opening needs an acknowledged commit of its own, begun in this
// term and in this run of mysqld (S2).
func (w *worker) primary(ctx context.Context) error {
	if w.isOpen {
		return w.keep(ctx)
	}
	snap, err := w.local().Read(ctx)
	if err != nil {
		return err
	}
	if w.spec.Adopt {
		if err := w.step("adopt", func() error { return w.local().Adopt(ctx, w.spec.Accounts) }); err != nil {
			return err
		}
	}
	if snap.SemiSync.SourceEnabled == w.spec.Suspended || snap.SuperReadOnly {
		if w.spec.Suspended {
			if err := w.mayBeAlone(ctx); err != nil {
				return err
			}
		}
		if err := w.stopReceiver(ctx); err != nil {
			return err
		}
		if err := w.becomeSource(ctx); err != nil {
			return err
		}
	}
	if snap.OfflineMode {
		// Fenced in this run: replicas, too, are refused until it is off, and
		// without them nothing is acknowledged.
		if err := w.isCurrent(ctx); err != nil {
			return err
		}
		if !w.spec.Suspended {
			if err := w.local().AssureWaiting(ctx, w.spec.RequiredAcks); err != nil {
				return err
			}
		}
		if err := w.local().SetOffline(ctx, false); err != nil {
			return err
		}
	}
	if !w.isLocked() {
		if err := w.lock(ctx); err != nil {
			return err
		}
	}
	// Before the first commit: should it never be acknowledged, the gate must know
	// what to rewind.
	if err := w.m.terms.opened(process.Opened{Term: w.spec.Term, Run: w.proc.StartID,
		ServerUUID: snap.ServerUUID, LogIndex: w.logIndex, Fit: w.fit}); err != nil {
		return err
	}
	if err := w.step("own_commit", func() error { return w.proveOpen(ctx) }); err != nil {
		return err
	}
	if err := w.step("open", func() error { return w.local().Open(ctx) }); err != nil {
		return err
	}
	// Told at once: redirectors wait for it. What follows is housekeeping.
	w.m.send(ctx, func(s *state) {
		if s.job == w.job {
			w.job.steps = cloneSteps(w.steps)
			s.opened(w.spec.Term)
			s.report()
		}
	})
	if !slices.Contains(w.spec.InSync, w.m.o.Server) && snap.SourceHost != "" {
		resetCtx, cancel := context.WithTimeout(ctx, accountsDeadline)
		defer cancel()
		if err := w.local().ResetReplica(resetCtx); err != nil {
			w.log.Warn("the former replica's relay log is left behind", "error", err)
		}
	}
	return w.accounts(ctx)
}

// keep brings an open primary's account locks and required acks in line, and
// proves by a commit begun afterwards that nobody ejected is needed (S3).
func (w *worker) keep(ctx context.Context) error {
	w.m.send(ctx, func(s *state) { s.beatAgain() }) // After a switchover that was taken back.
	if w.spec.Suspended {
		if err := w.mayBeAlone(ctx); err != nil {
			return err
		}
		if err := w.local().CeaseWaiting(ctx); err != nil {
			return err
		}
		return w.accounts(ctx)
	}
	snap, err := w.local().Read(ctx)
	if err != nil {
		return err
	}
	if !w.weakened && !w.spec.Prove && !waits(snap.SemiSync, 1) {
		// Before it is mended: what was let go meanwhile must be proved to be there.
		w.weakened = true
		w.m.send(ctx, func(s *state) { s.setWeakened(true); s.report() })
	}
	if err := w.local().AssureWaiting(ctx, w.spec.RequiredAcks); err != nil {
		return err
	}
	if err := w.accounts(ctx); err != nil {
		return err
	}
	if !w.spec.Inject.IsEmpty() {
		if err := w.step("inject", func() error { return w.inject(ctx, snap.Executed) }); err != nil {
			return err
		}
	}
	if w.spec.Eject == "" && !w.spec.Prove && !w.weakened {
		return nil
	}
	return w.step("proof", func() error { return w.prove(ctx) })
}

// accounts makes and drops those that the spec names, and keeps the locks.
func (w *worker) accounts(ctx context.Context) error {
	for _, a := range w.spec.Accounts {
		made, err := w.local().AddAccounts(ctx, a)
		if err != nil {
			return err
		}
		if made {
			w.log.Info("accounts made", "of", a.Server)
		}
	}
	if err := w.lock(ctx); err != nil {
		return err
	}
	if w.spec.Drop == "" {
		return nil
	}
	return w.local().DropAccounts(ctx, w.spec.Drop)
}

// inject makes the empty transactions that the spec names and that are not here.
func (w *worker) inject(ctx context.Context, executed Set) error {
	missing := w.spec.Inject.Subtract(executed)
	if missing.IsEmpty() {
		return nil
	}
	w.log.Warn("empty transactions are made here, because a human called harmless what they are elsewhere", "transactions", missing)
	return w.local().InjectEmpty(ctx, missing)
}

// prove makes a commit that listed replicas alone can have acknowledged: a login
// that was let in just before its account was locked may show up late, and then
// the commit proves nothing.
func (w *worker) prove(ctx context.Context) error {
	for {
		if err := w.commit(ctx); err != nil {
			return err
		}
		ended, err := w.local().EndUnlisted(ctx, w.spec.InSync)
		if err != nil || ended == 0 {
			return err
		}
		w.log.Warn("unlisted replicas were attached and were ended; the proof is made again", "sessions", ended)
	}
}

// proveOpen is what stands before a server opens: an acknowledged commit of its
// own, or, where it acknowledges alone, the record itself.
func (w *worker) proveOpen(ctx context.Context) error {
	if w.spec.Suspended {
		return w.mayBeAlone(ctx)
	}
	return w.prove(ctx)
}

// commit makes one commit of the daemon's own and returns once it was
// acknowledged.
func (w *worker) commit(ctx context.Context) error {
	_, err := w.local().OwnCommit(ctx, replication.Heartbeat{Term: w.spec.Term, Server: w.m.o.Server})
	return err
}
