package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/deploy/sandbox"
	"github.com/mysqlha/mysqlha/deploy/sandbox/load"
	sandboxprocess "github.com/mysqlha/mysqlha/deploy/sandbox/process"
	"github.com/mysqlha/mysqlha/integration/harness"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// openAdmin opens a server as its administrator, who has every privilege and
// whom neither read_only nor offline_mode stops.
func openAdmin(t *testing.T, s *sandbox.Sandbox, server string) *sql.DB {
	t.Helper()
	return opened(t, s.OpenAdmin, server)
}

// openLocal opens a server over its socket, as its daemon does.
func openLocal(t *testing.T, s *sandbox.Sandbox, server string) *sql.DB {
	t.Helper()
	return opened(t, s.OpenLocal, server)
}

func opened(t *testing.T, open func(server string) (*sql.DB, error), server string) *sql.DB {
	t.Helper()
	db, err := open(server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() }) // Its server may be gone by then.
	return db
}

func mustExec(t *testing.T, db interface {
	ExecContext(context.Context, string, ...any) (sql.Result, error)
}, statements ...string) {
	t.Helper()
	for _, q := range statements {
		if _, err := db.ExecContext(t.Context(), q); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
}

// A primary that is stopped as `systemctl stop` does while commits wait for
// replicas answers none of them: no client may take for safe what no replica
// has (S10).
func TestS10_AStopWhileCommitsWaitAnswersNobody(t *testing.T) {
	s := harness.Start(t, sandbox.Options{})
	l := harness.Writers(t, s, 4)
	primary := record(t, s).Primary
	id, err := s.ServerID(primary)
	if err != nil {
		t.Fatal(err)
	}
	db := openAdmin(t, s, primary)
	for _, name := range others(s, primary) {
		signal(t, s, name, syscall.SIGSTOP)
	}
	within(t, "commits wait", func(ctx context.Context) error {
		return poll(ctx, func() error {
			var n int
			err := db.QueryRowContext(ctx, "SELECT VARIABLE_VALUE FROM performance_schema.global_status WHERE VARIABLE_NAME = 'Rpl_semi_sync_source_wait_sessions'").Scan(&n)
			if err == nil && n == 0 {
				err = errors.New("none waits")
			}
			return err
		})
	})
	stopped := time.Now()
	old, err := s.Pid(t.Context(), primary)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(t.Context(), primary); err != nil {
		t.Fatal(err)
	}
	within(t, "its mysqld is gone", old.Await)
	gone := time.Now()
	for _, name := range others(s, primary) {
		signal(t, s, name, syscall.SIGCONT)
	}
	firstWriteAfter(t, l, gone)
	l.Check()
	for _, ack := range l.Result().Acks {
		if ack.Server == id && ack.Acked.After(stopped) && ack.Acked.Before(gone) {
			t.Fatalf("write %d/%d was acknowledged %s after the stop began, while no replica ran", ack.Client, ack.Seq, ack.Acked.Sub(stopped))
		}
	}
}

// The replicas' relay logs end inside a large transaction: MySQL would wait a
// minute for the rest of it before the applier stops. The failover does not (S5).
func TestS5_ARelayLogThatEndsInsideATransactionDelaysNothing(t *testing.T) {
	s := harness.Start(t, sandbox.Options{})
	primary := record(t, s).Primary
	db := openAdmin(t, s, primary)
	mustExec(t, db, "CREATE TABLE app.big (id INT AUTO_INCREMENT PRIMARY KEY, content LONGBLOB)")
	l := harness.Writers(t, s, 2)
	before := relayLogBytes(t, s, primary)
	go fillOnce(t.Context(), db) // It dies with its server.
	within(t, "a part of the transaction is received", func(ctx context.Context) error {
		for relayLogBytes(t, s, primary)-before < 16<<20 {
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		return nil
	})
	killed := time.Now()
	signal(t, s, primary, syscall.SIGKILL)
	if received := relayLogBytes(t, s, primary) - before; received > bigRows<<20 {
		t.Fatalf("%d bytes were received: the transaction is complete", received)
	}
	first := firstWriteAfter(t, l, killed)
	t.Logf("first write %s after the kill", first.Acked.Sub(killed))
	if took := first.Acked.Sub(killed); took > 30*time.Second {
		t.Errorf("the first write took %s: the rest of the transaction was waited for", took)
	}
	l.Check()
	current := openAdmin(t, s, record(t, s).Primary)
	var rows int
	if err := current.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM app.big").Scan(&rows); err != nil || rows != 0 {
		t.Errorf("%d rows of the transaction are there (%v), want none", rows, err)
	}
}

// A replica is stopped politely while it waits for the rest of a large
// transaction. It does not wait for the minute that MySQL gives that one.
func TestAPoliteStopDoesNotWaitForTheRestOfATransaction(t *testing.T) {
	s := harness.Start(t, sandbox.Options{RestartDelay: 10 * time.Second})
	primary := record(t, s).Primary
	db := openAdmin(t, s, primary)
	mustExec(t, db, "CREATE TABLE app.big (id INT AUTO_INCREMENT PRIMARY KEY, content LONGBLOB)")
	before := relayLogBytes(t, s, primary)
	go fillOnce(t.Context(), db) // It hangs with its server.
	within(t, "a part of the transaction is received", func(ctx context.Context) error {
		for relayLogBytes(t, s, primary)-before < 16<<20 {
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		return nil
	})
	stopped := time.Now()
	signal(t, s, primary, syscall.SIGSTOP)
	for _, name := range others(s, primary) {
		signal(t, s, name+"/daemon", syscall.SIGSTOP) // They would end the applier themselves.
		signal(t, s, name+"/guard", syscall.SIGTERM)
	}
	for _, name := range others(s, primary) {
		within(t, name+" is stopped", func(ctx context.Context) error {
			return poll(ctx, func() error {
				if _, err := s.Pid(ctx, name); !errors.Is(err, sandboxprocess.ErrGone) {
					return fmt.Errorf("its mysqld is still there (%w)", err)
				}
				return nil
			})
		})
	}
	took := time.Since(stopped)
	t.Logf("stopped after %s", took)
	if took > 30*time.Second {
		t.Errorf("the stop took %s: it waited for the rest of the transaction", took)
	}
	for _, name := range others(s, primary) {
		signal(t, s, name+"/daemon", syscall.SIGCONT)
	}
	// Its own daemon has killed the hung primary by now, or will.
	if err := s.Signal(t.Context(), primary, syscall.SIGCONT); err != nil && !errors.Is(err, sandboxprocess.ErrGone) {
		t.Fatal(err)
	}
	awaitCluster(t, s, "all are in sync", sandbox.Settled)
}

// bigRows are the rows of fillOnce, of a megabyte each.
const bigRows = 128

// fillOnce inserts that many rows in one transaction.
func fillOnce(ctx context.Context, db *sql.DB) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return
	}
	defer tx.Rollback() // After a commit this does nothing.
	_, err = tx.ExecContext(ctx, "INSERT INTO app.big (content) VALUES (REPEAT('x', 1048576))")
	for rows := 1; err == nil && rows < bigRows; rows *= 2 {
		_, err = tx.ExecContext(ctx, "INSERT INTO app.big (content) SELECT content FROM app.big")
	}
	if err == nil {
		_ = tx.Commit() // Its server is killed meanwhile.
	}
}

// relayLogBytes returns the size of the larger of the replicas' relay logs.
func relayLogBytes(t *testing.T, s *sandbox.Sandbox, primary string) (largest int64) {
	t.Helper()
	for _, name := range others(s, primary) {
		var sum int64
		err := filepath.WalkDir(s.DataDir(name), func(_ string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.Contains(entry.Name(), "relay-bin.0") {
				return nil // Files come and go.
			}
			if info, err := entry.Info(); err == nil {
				sum += info.Size()
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		largest = max(largest, sum)
	}
	return largest
}

// With four servers the new primary may die as soon as it has opened: the next
// failover rests on what the first published, and both complete (S5).
func TestS5_TwoFailoversWithinASecond(t *testing.T) {
	s := harness.Start(t, sandbox.Options{Servers: 4, RestartDelay: 15 * time.Second})
	l := harness.Writers(t, s, 4)
	before := record(t, s)
	first := time.Now()
	signal(t, s, before.Primary, syscall.SIGKILL)
	awaitCluster(t, s, "another primary is open", func(c api.Cluster) bool {
		return c.Record != nil && c.Record.Term == before.Term+1 && serverOf(c, c.Record.Primary).Status.OpenTerm == c.Record.Term
	})
	second := time.Now()
	signal(t, s, record(t, s).Primary, syscall.SIGKILL)
	ack := firstWriteAfter(t, l, second)
	t.Logf("second kill %s after the first, first write %s after the second", second.Sub(first), ack.Acked.Sub(second))
	awaitCluster(t, s, "the third primary is open", func(c api.Cluster) bool { return sandbox.IsOpen(c) && c.Record.Term >= before.Term+2 })
	if after := record(t, s); after.Term != before.Term+2 || !after.Complete {
		t.Errorf("term %d was followed by term %d, complete %t", before.Term, after.Term, after.Complete)
	}
	l.Check()
}

// holdLock takes LOCK TABLES on a server in a session that lasts.
func holdLock(t *testing.T, s *sandbox.Sandbox, server, lock string) {
	t.Helper()
	conn, err := openAdmin(t, s, server).Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // It may have been ended.
	within(t, lock+" is held on "+server, func(ctx context.Context) error {
		return poll(ctx, func() error { // A replica may not have applied the table's making yet.
			_, err := conn.ExecContext(ctx, "LOCK TABLES "+lock)
			return err
		})
	})
}

// A session that holds LOCK TABLES for ever, of an account that offline_mode
// spares, keeps a cut-off primary from being closed no longer than another (S9).
func TestS9_LockTablesForEverKeepsNoCutOffPrimaryOpen(t *testing.T) {
	s := harness.Start(t, sandbox.Options{})
	primary := record(t, s).Primary
	mustExec(t, openAdmin(t, s, primary), "CREATE TABLE app.locked (id INT PRIMARY KEY)")
	local := openLocal(t, s, primary)
	holdLock(t, s, primary, "app.locked WRITE")
	for _, name := range others(s, primary) {
		signal(t, s, name+"/daemon", syscall.SIGSTOP)
		signal(t, s, name, syscall.SIGSTOP)
	}
	isolated := time.Now()
	within(t, "the isolated primary is closed", func(ctx context.Context) error { return awaitClosed(ctx, local) })
	t.Logf("closed after %s", time.Since(isolated))
	for _, name := range others(s, primary) {
		signal(t, s, name, syscall.SIGCONT)
		signal(t, s, name+"/daemon", syscall.SIGCONT)
	}
	awaitCluster(t, s, "writes are possible again", sandbox.IsOpen)
}

// Sessions on the replicas that hold LOCK TABLES for ever on what is written
// keep them from applying; a failover ends the candidate's (S5).
func TestS5_LockTablesForEverOnACandidateStopsNoFailover(t *testing.T) {
	s := harness.Start(t, sandbox.Options{})
	l := harness.Writers(t, s, 4)
	primary := record(t, s).Primary
	for _, name := range others(s, primary) {
		holdLock(t, s, name, "app.load_rows READ") // WRITE is refused by super_read_only.
	}
	awaitCluster(t, s, "the replicas are behind", func(c api.Cluster) bool {
		return !slices.ContainsFunc(c.Servers, func(s api.Server) bool {
			return s.Name != primary && (s.Live == nil || s.Live.LagTransactions == 0)
		})
	})
	killed := time.Now()
	signal(t, s, primary, syscall.SIGKILL)
	first := firstWriteAfter(t, l, killed)
	t.Logf("first write %s after the kill", first.Acked.Sub(killed))
	l.Check()
}

// The only replica that acknowledged a write is killed right after, and the
// primary with it. What is left can tell nobody whether it has everything, so
// nobody is promoted until it is proved (S4); nothing is lost.
func TestS4_AReplicaKilledRightAfterAcknowledgingLosesNothing(t *testing.T) {
	s := harness.Start(t, sandbox.Options{RestartDelay: 5 * time.Second})
	l := harness.Writers(t, s, 4)
	before := record(t, s)
	away := others(s, before.Primary)
	acks, silent := away[0], away[1]
	signal(t, s, silent+"/daemon", syscall.SIGSTOP) // It would start the receiver again.
	stopReceiver(t, s, silent)
	from := time.Now()
	var ack load.Ack
	within(t, "a write that one replica alone acknowledged", func(ctx context.Context) (err error) {
		ack, err = l.Await(ctx, func(a load.Ack) bool { return a.Begun.After(from) })
		return err
	})
	signal(t, s, acks, syscall.SIGKILL)
	signal(t, s, before.Primary, syscall.SIGKILL)
	t.Logf("killed %s after the acknowledgement", time.Since(ack.Acked))
	signal(t, s, silent+"/daemon", syscall.SIGCONT)
	awaitCluster(t, s, "the failover waits for evidence", func(c api.Cluster) bool {
		return c.Record != nil && c.Record.Term == before.Term &&
			slices.ContainsFunc(c.Decision.Waits, func(w decide.Wait) bool { return w.Code == decide.CodeCannotReachReplicas })
	})
	awaitCluster(t, s, "writes are possible again", func(c api.Cluster) bool {
		return sandbox.IsOpen(c) && len(c.Record.InSync) > 0
	})
	l.Check()
}
