package replication

import (
	"context"
	"fmt"
	"time"
)

// ackTimeout is how long a commit waits for acknowledgements before the server
// gives up and lets it go: a hundred years. Larger numbers wait as well, but
// near the end of the range the server's sum of now and the timeout runs into
// the limits of the kernel's clock (292 years); this one stays clear of them.
const ackTimeout = 100 * 365 * 24 * time.Hour

// leastTimeout is a semi-sync time-out, in milliseconds, below which somebody
// has shortened ours: a year.
const leastTimeout = "31536000000"

// BecomeSource prepares a caught-up server to be primary: commits wait for k
// acknowledgements for ever, and super_read_only is off, while read_only stays
// on. It fails with ErrReceiving unless the receiver is stopped, with
// ErrUnapplied while anything received is not executed (the applier would wait
// for acknowledgements too), and with ErrOpen where read_only is off already.
func (l *Local) BecomeSource(ctx context.Context, k int) error {
	const doing = "become a source"
	if k < 1 {
		return l.wrap(doing, fmt.Errorf("%d required acknowledgements: at least one is needed", k))
	}
	if err := l.readyToBecomeSource(ctx); err != nil {
		return l.wrap(doing, err)
	}
	// Before super_read_only goes off: from then on nothing commits unseen.
	if err := l.AssureWaiting(ctx, k); err != nil {
		return err
	}
	if err := l.exec(ctx, doing, "SET GLOBAL super_read_only = OFF"); err != nil {
		return err
	}
	return l.readBack(ctx, doing, `SELECT @@global.rpl_semi_sync_source_wait_point = 'AFTER_SYNC'
		AND @@global.rpl_semi_sync_source_wait_no_replica AND @@global.rpl_semi_sync_source_wait_for_replica_count = ?
		AND @@global.rpl_semi_sync_source_timeout = ? AND @@global.rpl_semi_sync_source_enabled
		AND @@global.read_only AND NOT @@global.super_read_only
		AND (SELECT VARIABLE_VALUE = 'ON' FROM performance_schema.global_status
			WHERE VARIABLE_NAME = 'Rpl_semi_sync_source_status')`, k, ackTimeout.Milliseconds())
}

// AssureWaiting makes every commit from now on wait for k acknowledgements, for
// ever, whatever was set before. A commit that began to wait goes on waiting.
func (l *Local) AssureWaiting(ctx context.Context, k int) error {
	const doing = "have commits wait for replicas"
	if k < 1 {
		return l.wrap(doing, fmt.Errorf("%d required acknowledgements: at least one is needed", k))
	}
	err := l.exec(ctx, doing, `SET GLOBAL rpl_semi_sync_source_wait_point = 'AFTER_SYNC',
		GLOBAL rpl_semi_sync_source_wait_no_replica = ON,
		GLOBAL rpl_semi_sync_source_wait_for_replica_count = ?,
		GLOBAL rpl_semi_sync_source_timeout = ?,
		GLOBAL rpl_semi_sync_source_enabled = ON`, k, ackTimeout.Milliseconds())
	if err != nil {
		return err
	}
	return l.readBack(ctx, doing, "SELECT @@global.rpl_semi_sync_source_enabled AND @@global.rpl_semi_sync_source_wait_for_replica_count = ?", k)
}

// CeaseWaiting lets every commit be acknowledged without any replica, those that
// wait included. Call it only after the record says that the primary may
// acknowledge alone, read after anything else could have changed it (S2).
func (l *Local) CeaseWaiting(ctx context.Context) error {
	const doing = "have commits not wait for replicas"
	if err := l.execOrKill(ctx, doing, "SET GLOBAL rpl_semi_sync_source_enabled = OFF"); err != nil {
		return err
	}
	return l.readBack(ctx, doing, "SELECT NOT @@global.rpl_semi_sync_source_enabled")
}

// RotateBinaryLog begins a new binary log file.
func (l *Local) RotateBinaryLog(ctx context.Context) error {
	return l.execOrKill(ctx, "begin a new binary log", "FLUSH BINARY LOGS")
}

// BecomeAlone prepares a caught-up server to be a primary that acknowledges
// alone: super_read_only goes off, read_only stays on. It fails like
// BecomeSource.
func (l *Local) BecomeAlone(ctx context.Context) error {
	const doing = "become a source without acknowledgements"
	if err := l.readyToBecomeSource(ctx); err != nil {
		return l.wrap(doing, err)
	}
	if err := l.CeaseWaiting(ctx); err != nil {
		return err
	}
	if err := l.exec(ctx, doing, "SET GLOBAL super_read_only = OFF"); err != nil {
		return err
	}
	return l.readBack(ctx, doing, "SELECT @@global.read_only AND NOT @@global.super_read_only AND NOT @@global.rpl_semi_sync_source_enabled")
}

func (l *Local) readyToBecomeSource(ctx context.Context) error {
	receiving, err := l.receiving(ctx)
	if err != nil {
		return err
	}
	if receiving {
		return ErrReceiving
	}
	rest, err := l.unapplied(ctx)
	if err != nil {
		return err
	}
	if !rest.IsEmpty() {
		return fmt.Errorf("%w: %s", ErrUnapplied, rest)
	}
	return l.closed(ctx)
}

// closed fails with ErrOpen unless read_only is on.
func (l *Local) closed(ctx context.Context) error {
	var readOnly bool
	if err := l.row(ctx, "read read_only", "SELECT @@global.read_only", nil, &readOnly); err != nil {
		return err
	}
	if !readOnly {
		return ErrOpen
	}
	return nil
}

// readBack fails with ErrNotAsAsked unless the query yields true.
func (l *Local) readBack(ctx context.Context, doing, query string, args ...any) error {
	var ok bool
	if err := l.row(ctx, doing, query, args, &ok); err != nil {
		return err
	}
	if !ok {
		return l.wrap(doing, ErrNotAsAsked)
	}
	return nil
}

// Open lets clients write: read_only and offline_mode go off. Call it only
// after OwnCommit was acknowledged in this term. It fails with ErrNotPrepared
// while super_read_only is on, which read_only would take along.
func (l *Local) Open(ctx context.Context) error {
	const doing = "open for writes"
	if err := l.notSuperReadOnly(ctx); err != nil {
		return l.wrap(doing, err)
	}
	if err := l.exec(ctx, doing, "SET GLOBAL read_only = OFF, GLOBAL offline_mode = OFF"); err != nil {
		return err
	}
	return l.readBack(ctx, doing, "SELECT NOT @@global.read_only AND NOT @@global.super_read_only AND NOT @@global.offline_mode")
}

func (l *Local) notSuperReadOnly(ctx context.Context) error {
	var on bool
	if err := l.row(ctx, "read super_read_only", "SELECT @@global.super_read_only", nil, &on); err != nil {
		return err
	}
	if on {
		return fmt.Errorf("%w: super_read_only is on", ErrNotPrepared)
	}
	return nil
}

// SetReadOnly sets read_only. Where ctx ends first the statement is withdrawn,
// as by SetSuperReadOnly. Switching it on waits for commits that wait for
// acknowledgements; switching it off fails with ErrNotPrepared while
// super_read_only is on, which it would take along.
func (l *Local) SetReadOnly(ctx context.Context, on bool) error {
	const doing = "set read_only"
	if !on {
		if err := l.notSuperReadOnly(ctx); err != nil {
			return l.wrap(doing, err)
		}
	}
	if err := l.execOrKill(ctx, doing, "SET GLOBAL read_only = ?", on); err != nil {
		return err
	}
	return l.readBack(ctx, doing, "SELECT @@global.read_only = ?", on)
}

// SetSuperReadOnly switches super_read_only on, and read_only with it. It waits
// for commits that wait for acknowledgements, for row locks and for LOCK
// TABLES: give it a deadline. Where ctx ends first the statement is withdrawn,
// because while it waits it holds up every other write and ALTER USER, so that
// no replica could be let in to end the wait.
func (l *Local) SetSuperReadOnly(ctx context.Context) error {
	const doing = "set super_read_only"
	if err := l.execOrKill(ctx, doing, "SET GLOBAL super_read_only = ON"); err != nil {
		return err
	}
	return l.readBack(ctx, doing, "SELECT @@global.super_read_only AND @@global.read_only")
}

// SetOffline sets offline_mode, which refuses and ends all client sessions but
// those of accounts with CONNECTION_ADMIN. It does not wait for commits; a
// hung CREATE USER or GRANT blocks it, so give it a deadline.
func (l *Local) SetOffline(ctx context.Context, on bool) error {
	const doing = "set offline_mode"
	if err := l.execOrKill(ctx, doing, "SET GLOBAL offline_mode = ?", on); err != nil {
		return err
	}
	return l.readBack(ctx, doing, "SELECT @@global.offline_mode = ?", on)
}
