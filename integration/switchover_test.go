package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/deploy/sandbox"
	"github.com/mysqlha/mysqlha/deploy/sandbox/load"
	"github.com/mysqlha/mysqlha/deploy/sandbox/process"
	"github.com/mysqlha/mysqlha/integration/faults"
	"github.com/mysqlha/mysqlha/integration/harness"
	"github.com/mysqlha/mysqlha/member"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// switchedOver is the newest switchover of the history.
func switchedOver(t *testing.T, s *sandbox.Sandbox) decide.History {
	t.Helper()
	entries, err := s.API().History(t.Context(), 50)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(entries, func(h decide.History) bool { return h.Plan.Kind == decide.PlanSwitchover })
	if i < 0 {
		t.Fatal("the history has no switchover")
	}
	return entries[i]
}

// The primary moves under load. A transaction that is open gets its time, an idle
// session is cut, nobody loses anything, and the old primary follows without a
// restart (S4, S5, S10).
func TestS4S5S10_ASwitchoverLosesNothingAndRestartsNobody(t *testing.T) {
	s := harness.Start(t, sandbox.Options{})
	l := harness.Calmly(t, s, 8, 5*time.Millisecond)
	before := record(t, s)
	state, err := s.Cluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	run := serverOf(state, before.Primary).Status.StartID
	to := others(s, before.Primary)[1]
	if out, err := mysqlha(t, s, "switchover", "--dry-run", "--to", to); err != nil || !strings.Contains(out, "would move from "+before.Primary+" to "+to) {
		t.Errorf("the dry run: %v", err)
	}

	app, err := s.OpenApp(s.WriteAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer app.Close()
	mustExec(t, app, "CREATE TABLE app.moved (id INT PRIMARY KEY)")
	session := func() *sql.Conn {
		t.Helper()
		c, err := app.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	idle, busy := session(), session()
	var idleID int64
	if err := idle.QueryRowContext(t.Context(), "SELECT CONNECTION_ID()").Scan(&idleID); err != nil {
		t.Fatal(err)
	}
	local := openLocal(t, s, before.Primary)
	mustExec(t, busy, "BEGIN", "INSERT INTO app.moved VALUES (1)")
	committed := make(chan error, 1)
	go func() {
		// The transaction goes on until the others are being sent away.
		for left := 1; left > 0 && t.Context().Err() == nil; time.Sleep(5 * time.Millisecond) {
			if err := local.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM performance_schema.threads WHERE PROCESSLIST_ID = ?", idleID).Scan(&left); err != nil {
				committed <- err
				return
			}
		}
		_, err := busy.ExecContext(t.Context(), "COMMIT")
		committed <- err
	}()
	out, err := mysqlha(t, s, "switchover", "--to", to)
	if err != nil || !strings.Contains(out, to+" is primary in term 2, and "+before.Primary+" follows it") {
		t.Errorf("mysqlha switchover: %v", err)
	}
	if err := <-committed; err != nil {
		t.Errorf("a transaction that was open: %v", err)
	}
	if _, err := idle.ExecContext(t.Context(), "DO 1"); err == nil {
		t.Error("an idle session outlived the switchover")
	}
	awaitCluster(t, s, "all are in sync", sandbox.Settled)
	h := switchedOver(t, s)
	if h.Result != "completed" || h.Primary != to || h.Plan.Cut.Idle < 1 || h.Plan.Cut.InTransaction < 1 || !h.Complete {
		t.Errorf("the history: %+v", h)
	}
	for cause, sessions := range map[string]int{member.CutIdle: h.Plan.Cut.Idle, member.CutInTransaction: h.Plan.Cut.InTransaction, member.CutForced: h.Plan.Cut.Forced} {
		awaitMetric(t, s, before.Primary, fmt.Sprintf("mysqlha_sessions_cut_total{cause=%q}", cause), float64(sessions))
	}
	if state, err = s.Cluster(t.Context()); err != nil || serverOf(state, before.Primary).Status.StartID != run {
		t.Errorf("the old primary was restarted (%v)", err)
	}
	// And back again.
	if out, err := mysqlha(t, s, "switchover", "--to", before.Primary); err != nil || !strings.Contains(out, "in term 3") {
		t.Errorf("mysqlha switchover: %v", err)
	}
	awaitCluster(t, s, "all are in sync", sandbox.Settled)
	l.Check()
	c := &faults.Cluster{Sandbox: s}
	within(t, "all servers have the same data", func(ctx context.Context) error { return c.SameEverywhere(ctx, "moved") })
	var rows int
	if err := openAdmin(t, s, to).QueryRowContext(t.Context(), "SELECT COUNT(*) FROM app.moved").Scan(&rows); err != nil || rows != 1 {
		t.Errorf("%d rows of the open transaction (%v)", rows, err)
	}
}

// trouble is something that stands in the way of a switchover.
type trouble struct {
	name string
	// begin brings it, before the switchover is asked for; during, once its plan is
	// open; end takes it away.
	begin, during, end func(t *testing.T, s *sandbox.Sandbox, from, to string)
	// moves says that it succeeds all the same, stays that it must not.
	moves, stays bool
}

func troubles() []trouble {
	send := func(target string, sig syscall.Signal) func(*testing.T, *sandbox.Sandbox, string, string) {
		return func(t *testing.T, s *sandbox.Sandbox, from, to string) {
			signal(t, s, strings.NewReplacer("FROM", from, "TO", to).Replace(target), sig)
		}
	}
	thaw := func(target string) func(*testing.T, *sandbox.Sandbox, string, string) {
		return func(t *testing.T, s *sandbox.Sandbox, from, to string) {
			err := s.Signal(t.Context(), strings.NewReplacer("FROM", from, "TO", to).Replace(target), syscall.SIGCONT)
			if err != nil && !errors.Is(err, process.ErrGone) { // Its daemon may have killed it.
				t.Error(err)
			}
		}
	}
	return []trouble{
		{name: "the candidate is frozen", begin: send("TO", syscall.SIGSTOP), end: send("TO", syscall.SIGCONT), stays: true},
		{name: "the candidate's daemon is frozen", begin: send("TO/daemon", syscall.SIGSTOP), end: send("TO/daemon", syscall.SIGCONT), stays: true},
		{name: "the candidate's receiver is stopped", begin: func(t *testing.T, s *sandbox.Sandbox, _, to string) {
			signal(t, s, to+"/daemon", syscall.SIGSTOP)
			stopReceiver(t, s, to)
		}, end: send("TO/daemon", syscall.SIGCONT), stays: true},
		{name: "the candidate dies", during: send("TO", syscall.SIGKILL)},
		{name: "the candidate freezes", during: send("TO", syscall.SIGSTOP), end: thaw("TO")},
		{name: "the primary dies", during: send("FROM", syscall.SIGKILL)},
		{name: "the primary freezes", during: send("FROM", syscall.SIGSTOP), end: thaw("FROM")},
		{name: "the leader dies", during: func(t *testing.T, s *sandbox.Sandbox, _, _ string) {
			state, err := s.Cluster(t.Context())
			if err != nil || state.Leader == "" {
				t.Logf("nobody leads (%v)", err)
				return
			}
			signal(t, s, state.Leader+"/daemon", syscall.SIGKILL)
		}},
		{name: "a backup's lock is held on the primary", begin: func(t *testing.T, s *sandbox.Sandbox, from, _ string) {
			c, err := openAdmin(t, s, from).Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() }) // It was ended.
			mustExec(t, c, "FLUSH TABLES WITH READ LOCK")
		}, moves: true},
		{name: "a table is locked on the candidate", begin: func(t *testing.T, s *sandbox.Sandbox, _, to string) {
			holdLock(t, s, to, "mysqlha.heartbeat READ") // Its applier waits, and it lags.
		}, stays: true},
		{name: "a transaction does not end", begin: func(t *testing.T, s *sandbox.Sandbox, from, _ string) {
			db, err := s.OpenApp(s.WriteAddr())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = db.Close() })
			c, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() })
			mustExec(t, c, "BEGIN", "INSERT INTO app.endless VALUES (1)")
		}, moves: true},
	}
}

// Whatever stands in its way, a switchover ends with the old primary or a new one,
// never between, says why, and loses nothing.
func TestASwitchoverEndsInTheOldStateOrTheNew(t *testing.T) {
	s := harness.Start(t, sandbox.Options{})
	l := harness.Calmly(t, s, 4, 5*time.Millisecond)
	mustExec(t, openAdmin(t, s, record(t, s).Primary), "CREATE TABLE app.endless (id INT)")
	for _, one := range troubles() {
		ok := t.Run(one.name, func(t *testing.T) {
			before := record(t, s)
			to := others(s, before.Primary)[0]
			if one.begin != nil {
				one.begin(t, s, before.Primary, to)
			}
			done := make(chan struct{})
			var out string
			var err error
			go func() { defer close(done); out, err = mysqlha(t, s, "switchover", "--to", to, "--drain", "1s") }()
			if one.during != nil {
				awaitCluster(t, s, "it is under way", func(c api.Cluster) bool {
					select {
					case <-done:
						return true // Faster than this look.
					default:
					}
					p := c.Record.Plan
					return p != nil && p.Kind == decide.PlanSwitchover || c.Record.Term > before.Term
				})
				one.during(t, s, before.Primary, to)
			}
			<-done
			if one.end != nil {
				one.end(t, s, before.Primary, to)
			}
			awaitCluster(t, s, "all are in sync", sandbox.Settled)
			now, h := record(t, s), switchedOver(t, s)
			t.Logf("%s: %s -> %s, %s", h.Plan.Evidence, before.Primary, now.Primary, h.Result)
			switch {
			case one.moves && (err != nil || now.Primary != to):
				t.Errorf("it was not moved (%v)", err)
			case one.stays && (err == nil || now.Primary != before.Primary || now.Term != before.Term):
				t.Errorf("it was moved to %s (%v)", now.Primary, err)
			case (err == nil) != (h.Result == "completed" && h.Primary == to):
				t.Errorf("the command says %v, the history %s, the primary is %s", err, h.Result, h.Primary)
			case h.Result == "" || err != nil && !strings.Contains(out, h.Result) && !strings.Contains(out, now.Primary+" is primary in term"):
				t.Errorf("why is not said: %q", h.Result)
			}
			since := time.Now()
			within(t, "writes go on", func(ctx context.Context) error {
				_, err := l.Await(ctx, func(a load.Ack) bool { return a.Begun.After(since) })
				return err
			})
		})
		if !ok {
			break
		}
	}
	l.Check()
}
