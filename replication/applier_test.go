package replication_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication"
	"github.com/mysqlha/mysqlha/replication/gtid"
)

// TestWhatWasReceivedIsNeverThrownAway tells one story on two servers.
func TestWhatWasReceivedIsNeverThrownAway(t *testing.T) {
	ctx := t.Context()
	all := startAll(t, "a", "b")
	a, b := all[0], all[1]
	do(t, "initialise", a.local.Initialise(ctx, []decide.Account{
		{Server: "b", ReplicationHash: hash(t, replicaPassword), ProbeHash: hash(t, probePassword)}}))
	a.exec(t, "SET GLOBAL read_only = OFF", "CREATE DATABASE d", "CREATE TABLE d.t (n INT PRIMARY KEY, blob_ LONGBLOB)")
	do(t, "follow", b.local.Follow(ctx, a.source("b", replicaPassword)))
	do(t, "start the receiver", b.local.StartReceiver(ctx))
	received := func() bool {
		h, err := b.local.Held(ctx)
		do(t, "held", err)
		return h.All().Contains(a.read(t).Executed)
	}
	elsewhere := a.source("b", replicaPassword)
	elsewhere.Host = "localhost"

	if !t.Run("a stopped applier is started before the source changes", func(t *testing.T) {
		eventually(t, "all is received", received)
		if s := b.read(t); s.LagTransactions == 0 || s.LagKnown && s.Lag == 0 || !s.Executed.IsEmpty() {
			t.Fatalf("nothing is unapplied: %+v", s)
		}
		wantError(t, "reset with unapplied transactions", b.local.ResetReplica(ctx), replication.ErrUnapplied)
		wantError(t, "become a source with unapplied transactions", b.local.BecomeSource(ctx, 1), replication.ErrUnapplied)
		do(t, "follow elsewhere", b.local.Follow(ctx, elsewhere))
		if !received() {
			t.Fatal("the relay log is gone")
		}
		do(t, "apply", b.local.ApplyWait(ctx, a.read(t).Executed))
		hangs(t, "a transaction that nobody has", 700*time.Millisecond, func(ctx context.Context) error {
			return b.local.ApplyWait(ctx, gtid.MustParse("00000000-0000-0000-0000-000000000001:1"))
		})
	}) {
		t.FailNow()
	}
	if !t.Run("a broken applier is told and its relay log is kept", func(t *testing.T) {
		do(t, "follow", b.local.Follow(ctx, a.source("b", replicaPassword)))
		do(t, "start the receiver", b.local.StartReceiver(ctx))
		b.exec(t, "SET GLOBAL super_read_only = OFF", "SET SESSION sql_log_bin = OFF", "INSERT INTO d.t VALUES (1, '')", "SET GLOBAL super_read_only = ON")
		a.exec(t, "INSERT INTO d.t VALUES (1, 'a')")
		eventually(t, "it is received", received)
		err := b.local.ApplyWait(ctx, a.read(t).Executed)
		var broken *replication.ApplierError
		if !errors.As(err, &broken) || !errors.Is(err, replication.ErrApplierBroken) || broken.Errno != 1062 {
			t.Fatalf("apply with a conflict: %v", err)
		}
		if s := b.read(t); s.Applier != decide.ReceiverOff || s.ApplierErrno != 1062 || s.ApplierError == "" {
			t.Fatalf("with a broken applier: %+v", s)
		}
		err = b.local.Follow(ctx, elsewhere)
		wantError(t, "follow elsewhere", err, replication.ErrUnapplied)
		wantError(t, "follow elsewhere", err, replication.ErrApplierBroken)
		if !received() {
			t.Fatal("the relay log is gone")
		}
		b.exec(t, "SET GLOBAL super_read_only = OFF", "SET SESSION sql_log_bin = OFF", "DELETE FROM d.t", "SET GLOBAL super_read_only = ON")
		do(t, "start the applier", b.local.StartApplier(ctx))
		do(t, "apply", b.local.ApplyWait(ctx, a.read(t).Executed))
	}) {
		t.FailNow()
	}
	t.Run("a relay log that ends inside a transaction is left behind in seconds", func(t *testing.T) {
		do(t, "start the receiver", b.local.StartReceiver(ctx))
		before := a.read(t).Executed
		stopInside(t, a, b)
		if s := b.read(t); s.Received.Contains(a.read(t).Executed) || !before.Contains(s.Received) {
			t.Fatalf("the transaction was received completely: %+v", s)
		}
		limit, cancel := context.WithTimeout(ctx, bound) // Half of what an unaided STOP takes.
		defer cancel()
		do(t, "reset", b.local.ResetReplica(limit))
		if s := b.read(t); s.Configured || !s.Executed.Equal(before) {
			t.Fatalf("after the reset: %+v", s)
		}
	})
}

// stopInside stops b's receiver in the middle of a transaction of 64 MB and lets
// the applier come to where it ends.
func stopInside(t *testing.T, a, b *server) {
	t.Helper()
	ctx := t.Context()
	done := make(chan error, 1)
	go func() {
		conn, err := a.db.Conn(ctx)
		if err != nil {
			done <- err
			return
		}
		defer conn.Close()
		for _, q := range []string{"BEGIN", "INSERT INTO d.t VALUES (10, REPEAT('x', 4000000))",
			"INSERT INTO d.t SELECT n + 1, blob_ FROM d.t WHERE n >= 10", "INSERT INTO d.t SELECT n + 2, blob_ FROM d.t WHERE n >= 10",
			"INSERT INTO d.t SELECT n + 4, blob_ FROM d.t WHERE n >= 10", "INSERT INTO d.t SELECT n + 8, blob_ FROM d.t WHERE n >= 10", "COMMIT"} {
			if _, err = conn.ExecContext(ctx, q); err != nil {
				break
			}
		}
		done <- err
	}()
	eventually(t, "the transaction is being received", func() bool {
		var n int
		err := b.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM performance_schema.replication_connection_status WHERE QUEUEING_TRANSACTION <> ''").Scan(&n)
		do(t, "read the receiver", err)
		return n > 0
	})
	do(t, "stop the receiver", b.local.StopReceiver(ctx))
	do(t, "insert", <-done)
	eventually(t, "the applier is inside the transaction", func() bool {
		var n int
		err := b.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM performance_schema.replication_applier_status_by_worker WHERE APPLYING_TRANSACTION <> ''").Scan(&n)
		do(t, "read the applier", err)
		return n > 0
	})
}
