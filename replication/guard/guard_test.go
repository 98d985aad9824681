package guard

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"golang.org/x/sys/unix"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication/process"
)

// make initialises the template, which is the test of Initialise's first half.
func (m *template) make(t *testing.T) {
	t.Helper()
	m.once.Do(func() {
		if m.dir, m.err = os.MkdirTemp("/tmp", "guard"); m.err != nil {
			return
		}
		made, err := Initialise(t.Context(), serverIn(t, m.dir).initOptions())
		if m.err = err; err == nil && !made {
			m.err = errors.New("nothing was initialised")
		}
	})
	if m.err != nil {
		t.Fatal(m.err)
	}
}

func TestRealServer(t *testing.T) {
	tmpl := &template{}
	t.Cleanup(func() { _ = os.RemoveAll(tmpl.dir) })
	for name, test := range map[string]func(*testing.T, *template){
		"an empty directory becomes a server with one usable account and no GTIDs":  testInitialise,
		"a started server is harmless whatever its option file says":                testHarmless,
		"a quiet server stops politely on SIGTERM (S10)":                            testQuietStop,
		"a stop drains a commit that gets its acknowledgement (S10)":                testBusyStop,
		"SIGTERM kills while a commit waits, and the client never gets OK (S10)":    testWaitingStop(syscall.SIGTERM),
		"SIGQUIT kills while a commit waits, and the client never gets OK (S10)":    testWaitingStop(syscall.SIGQUIT),
		"SIGPWR kills while a commit waits, and the client never gets OK (S10)":     testWaitingStop(syscall.SIGPWR),
		"SIGRTMIN+3 kills while a commit waits, and the client never gets OK (S10)": testWaitingStop(realTimeStop),
		"the first process of a container stops as safely (S10)":                    testContainerStop(syscall.SIGTERM),
		"a container that is killed answers nobody (S10)":                           testContainerStop(syscall.SIGKILL),
		"a primary that does not stop is killed soon (S10)":                         testSlowStopOfAPrimary,
		"SIGHUP stops nothing": testHangUp,
		"a stop kills while the control account's own commit waits (S10)":               testOwnCommitStop,
		"a server that answers nothing is killed":                                       testSilentStop,
		"mysqld dies with its guard, the watcher sees it, and a restart is another run": testGuardDies,
		"persisted variables that would undo the rules are refused and nothing starts":  testPersisted,
		"the control account of a clone is repaired at the next start":                  testRepair,
		"a stop past the gate is noted, one through it is not (S10)":                    testLetGo,
		"a mysqld without a guard is attached to, and its end judged (S10)":             testAttach,
		"a second guard waits for the first (S7, S9)":                                   testSecondGuardWaits,
		"a dead primary waits for an answer":                                            testGateWaits,
		"what waited for an acknowledgement is rewound, also in two goes (S7)":          testRewind,
		"what the engine had committed is not rewound unnoticed (S7)":                   testRewindOfCommitted,
		"a server that ran since it died is not rewound (S7)":                           testNoRewindAfterARun,
	} {
		t.Run(name, func(t *testing.T) { test(t, tmpl) })
	}
}

func testLetGo(t *testing.T, tmpl *template) {
	s := newServer(t, tmpl)
	s.plan.LetGo = filepath.Join(filepath.Dir(s.plan.RunFile), "let-go.json")
	for name, tc := range map[string]struct {
		stop  func(g *guardProcess, db *sql.DB)
		noted bool
	}{
		"through the gate": {func(g *guardProcess, _ *sql.DB) { g.stop(syscall.SIGTERM) }, false},
		"SHUTDOWN":         {func(_ *guardProcess, _ *sql.DB) { s.exec(s.pool("root", ""), "SHUTDOWN") }, true},
		"SIGTERM to mysqld": {func(*guardProcess, *sql.DB) {
			if err := syscall.Kill(s.run().PID, syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
		}, true},
		"SIGKILL to mysqld": {func(*guardProcess, *sql.DB) {
			if err := syscall.Kill(s.run().PID, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}, false},
	} {
		if err := os.RemoveAll(s.plan.LetGo); err != nil {
			t.Fatal(err)
		}
		g, db := s.start()
		run := s.run().StartID
		tc.stop(g, db)
		s.await("the guard ends", g.ended)
		note, found, err := process.ReadLetGo(s.plan.LetGo)
		if err != nil || found != tc.noted || found && note.StartID != run {
			t.Errorf("%s: noted %t, %+v (%v)", name, found, note, err)
		}
	}
}

// plainly starts mysqld as somebody does who knows of no guard.
func (s *server) plainly() *exec.Cmd {
	s.t.Helper()
	cmd := exec.Command(s.plan.Args[0], append(slices.Clone(s.plan.Args[1:]), "--datadir="+s.plan.DataDir, "--socket="+s.plan.Socket)...)
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = cmd.Wait() }() // Its end is seen by the guard.
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill() // Fails only where it is gone already.
		<-done
	})
	db := s.pool(controlUser, "")
	s.await("mysqld answers", func() bool { return db.PingContext(s.t.Context()) == nil })
	return cmd
}

func testAttach(t *testing.T, tmpl *template) {
	s := newServer(t, tmpl)
	dir := filepath.Dir(s.plan.RunFile)
	s.plan.LetGo, s.plan.Term, s.plan.Rewind, s.plan.Attach = filepath.Join(dir, "let-go.json"), filepath.Join(dir, "term.json"), filepath.Join(dir, "rewind.json"), true
	for name, tc := range map[string]struct {
		stop        func(g *guardProcess, mysqld *exec.Cmd)
		open, noted bool
	}{
		"through the guard": {func(g *guardProcess, _ *exec.Cmd) { g.stop(syscall.SIGTERM) }, true, false},
		"SIGTERM to mysqld": {func(_ *guardProcess, m *exec.Cmd) { _ = m.Process.Signal(syscall.SIGTERM) }, true, true},
		"SIGKILL to mysqld": {func(_ *guardProcess, m *exec.Cmd) { _ = m.Process.Kill() }, true, false},
		"one never open":    {func(_ *guardProcess, m *exec.Cmd) { _ = m.Process.Signal(syscall.SIGTERM) }, false, false},
	} {
		for _, file := range []string{s.plan.LetGo, s.plan.Term} {
			if err := os.RemoveAll(file); err != nil {
				t.Fatal(err)
			}
		}
		mysqld := s.plainly()
		g := s.startGuard()
		s.await("the run file", func() bool {
			run, err := process.ReadRunFile(s.plan.RunFile)
			return err == nil && run.PID == mysqld.Process.Pid && run.Attached
		})
		run := s.run().StartID
		if tc.open {
			index := s.query(s.pool(controlUser, ""), "SELECT @@global.log_bin_index")
			text, err := json.Marshal(process.Opened{Term: 1, Run: run, LogIndex: index})
			if err == nil {
				err = os.WriteFile(s.plan.Term, text, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		tc.stop(g, mysqld)
		s.await("the guard ends", g.ended)
		note, found, err := process.ReadLetGo(s.plan.LetGo)
		if g.code != 0 || err != nil || found != tc.noted || found && note.StartID != run {
			t.Errorf("%s: status %d, noted %t, %+v (%v)\n%s", name, g.code, found, note, err, s.readLog())
		}
	}
	// A guard that is attached to nobody says so; one that starts waits for the other.
	g := s.startGuard()
	s.await("the guard ends", g.ended)
	if g.code != 99 {
		t.Errorf("it attached to nothing and ended with %d", g.code)
	}
	former := s.plainly()
	g = s.startGuard()
	s.await("it is attached", func() bool { return s.run().PID == former.Process.Pid })
	if err := g.cmd.Process.Kill(); err != nil { // mysqld lives on.
		t.Fatal(err)
	}
	s.await("the guard ends", g.ended)
	s.plan.Attach, s.plan.Term = false, ""
	next := s.startGuard()
	s.await("it waits", func() bool { return strings.Contains(s.readLog(), "mysqld runs already") })
	if err := former.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	s.await("it starts its own", func() bool {
		run, err := process.ReadRunFile(s.plan.RunFile)
		return err == nil && run.PID != former.Process.Pid && !run.Attached
	})
	next.stop(syscall.SIGTERM)
}

func testInitialise(t *testing.T, tmpl *template) {
	s := newServer(t, tmpl)
	if made, err := Initialise(t.Context(), s.initOptions()); err != nil || made {
		t.Fatalf("the second time it made %v, %v; want nothing", made, err)
	}
	info, err := os.Stat(s.plan.Password)
	if err != nil || info.Mode() != 0o600 || info.Size() != passwordLength+1 {
		t.Fatalf("password file %v, %v", info, err)
	}
	if _, err := os.Stat(s.plan.Password + initSuffix); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("the file with the statements is left: %v", err)
	}
	_, db := s.start()
	if got := s.query(db, "SELECT @@GLOBAL.gtid_executed"); got != "" {
		t.Errorf("gtid_executed %q, want none", got)
	}
	const accounts = "SELECT GROUP_CONCAT(user, '@', host, ' ', plugin ORDER BY user) FROM mysql.user WHERE account_locked = 'N'"
	if got := s.query(db, accounts); got != "ctl@localhost caching_sha2_password,root@localhost auth_socket" {
		t.Errorf("accounts that can log in: %s", got)
	}
	if err := s.pool("root", "guess").PingContext(t.Context()); (err == nil) != (os.Geteuid() == 0) {
		t.Errorf("root over the socket: %v", err)
	}
	testGrants(t, s)
}

// testGrants does what a daemon does with the account, without the binary log.
func testGrants(t *testing.T, s *server) {
	db := s.pool(controlUser, "")
	db.SetMaxOpenConns(1) // sql_log_bin is of the session.
	s.exec(db,
		"SET GLOBAL super_read_only = OFF", "SET SESSION sql_log_bin = 0",
		"INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'",
		"INSTALL PLUGIN rpl_semi_sync_replica SONAME 'semisync_replica.so'",
		"INSTALL PLUGIN clone SONAME 'mysql_clone.so'",
		"CREATE DATABASE mysqlha", "CREATE TABLE mysqlha.t (a INT PRIMARY KEY)", "INSERT INTO mysqlha.t VALUES (1)",
		"CREATE USER repl IDENTIFIED BY 'x'", "GRANT REPLICATION SLAVE ON *.* TO repl",
		"GRANT BACKUP_ADMIN, CONNECTION_ADMIN ON *.* TO repl", "REVOKE CONNECTION_ADMIN ON *.* FROM repl",
		"ALTER USER repl ACCOUNT LOCK",
		"CREATE USER probe IDENTIFIED BY 'x'", "GRANT REPLICATION CLIENT ON *.* TO probe",
		"GRANT SELECT ON performance_schema.* TO probe", "GRANT SELECT ON mysqlha.* TO probe",
		"CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_AUTO_POSITION = 1",
		"STOP REPLICA", "RESET REPLICA ALL", "RESET BINARY LOGS AND GTIDS", "SET GLOBAL rpl_semi_sync_replica_enabled = OFF",
		"SET GLOBAL offline_mode = ON", "SET GLOBAL offline_mode = OFF", "SET GLOBAL super_read_only = ON",
	)
	rows, err := db.QueryContext(t.Context(), "SHOW REPLICA STATUS")
	if err != nil {
		t.Fatal(err)
	}
	_ = rows.Close()
	if got := s.query(db, "SELECT @@GLOBAL.gtid_executed"); got != "" {
		t.Errorf("gtid_executed %q, want none", got)
	}
}

func TestInitialiseRefusesAServerWithoutItsControlPassword(t *testing.T) {
	dir := t.TempDir()
	o := InitOptions{Args: []string{"/nonexistent"}, DataDir: dir, User: controlUser,
		PasswordFile: filepath.Join(dir, "none"), Logger: slog.New(slog.DiscardHandler)}
	if err := os.WriteFile(filepath.Join(dir, "mysql.ibd"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if made, err := Initialise(t.Context(), o); err == nil || made || !strings.Contains(err.Error(), "not empty") {
		t.Fatalf("made %v, error %v; want a refusal", made, err)
	}
}

func testHarmless(t *testing.T, tmpl *template) {
	s := newServer(t, tmpl)
	s.plan.Args = append(s.plan.Args, "--plugin-load-add=semisync_source.so;semisync_replica.so")
	cnf := "[mysqld]\nread_only=OFF\nsuper_read_only=0\nrelay_log_recovery=ON\nskip_replica_start=OFF\n" +
		"loose_rpl_semi_sync_source_enabled=ON\nloose-rpl_semi_sync_replica_enabled=1\nlog_error_verbosity=1\nsocket=/nonexistent\n"
	if err := os.WriteFile(filepath.Join(filepath.Dir(s.plan.DataDir), "my.cnf"), []byte(cnf), 0o600); err != nil {
		t.Fatal(err)
	}
	g, db := s.start()
	const q = "SELECT CONCAT_WS(' ', @@read_only, @@super_read_only, @@relay_log_recovery, @@skip_replica_start, " +
		"@@rpl_semi_sync_source_enabled, @@rpl_semi_sync_replica_enabled, @@log_error_verbosity)"
	if got := s.query(db, q); got != "1 1 0 1 0 0 3" {
		t.Errorf("%s\nis %s", q, got)
	}
	run := s.run()
	if run.GuardPID != g.cmd.Process.Pid || run.PID == run.GuardPID {
		t.Errorf("run file %+v, guard %d", run, g.cmd.Process.Pid)
	}
	if pgid, err := unix.Getpgid(run.PID); err != nil || pgid != run.PID {
		t.Errorf("process group %d, %v; want one of its own", pgid, err)
	}
}

func testQuietStop(t *testing.T, tmpl *template) {
	s := newServer(t, tmpl)
	g, db := s.start()
	openForWrites(s, "OFF")
	_ = db.Close()
	if code := g.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit status %d:\n%s", code, s.readLog())
	}
	if log := s.readLog(); !strings.Contains(log, "Shutdown complete") {
		t.Errorf("no polite end in the log:\n%s", log)
	}
	if s.run().PID == 0 {
		t.Error("the run file is gone")
	}
}

// openForWrites makes a primary of the server, with a client's account, whose
// commits wait for ever if semiSync is ON.
func openForWrites(s *server, semiSync string) {
	s.t.Helper()
	db := s.pool(controlUser, "")
	s.exec(db,
		"SET GLOBAL super_read_only = OFF", "INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'",
		"CREATE DATABASE mysqlha", "CREATE TABLE mysqlha.t (a INT PRIMARY KEY)",
		"CREATE USER client@localhost IDENTIFIED BY 'client'", "GRANT SELECT, INSERT ON mysqlha.* TO client@localhost",
		"SET GLOBAL rpl_semi_sync_source_timeout = 4294967295", "SET GLOBAL rpl_semi_sync_source_wait_no_replica = ON",
		"SET GLOBAL rpl_semi_sync_source_enabled = "+semiSync, "SET GLOBAL read_only = OFF")
	_ = db.Close()
}

// insertHanging begins an insert that waits for an acknowledgement.
func insertHanging(s *server, user, password string) <-chan error {
	s.t.Helper()
	db := s.pool(user, password)
	result := make(chan error, 1)
	go func() {
		_, err := db.ExecContext(context.WithoutCancel(s.t.Context()), "INSERT INTO mysqlha.t VALUES (1)")
		result <- err
	}()
	control := s.pool(controlUser, "")
	s.await("a session waits", func() bool {
		return s.query(control, "SELECT VARIABLE_VALUE FROM performance_schema.global_status WHERE VARIABLE_NAME = 'Rpl_semi_sync_source_wait_sessions'") == "1"
	})
	_ = control.Close()
	return result
}

func checkKilled(s *server, code int, result <-chan error) {
	s.t.Helper()
	if want := signalBase + int(syscall.SIGKILL); code != want {
		s.t.Errorf("exit status %d, want %d", code, want)
	}
	if err := <-result; err == nil {
		s.t.Error("the waiting commit was answered OK")
	}
	log := s.readLog()
	if strings.Contains(log, "Received SHUTDOWN") || !strings.Contains(log, "mysqld is killed") {
		s.t.Errorf("mysqld was asked to stop:\n%s", log)
	}
}

func testWaitingStop(sig syscall.Signal) func(*testing.T, *template) {
	return func(t *testing.T, tmpl *template) {
		s := newServer(t, tmpl)
		g, db := s.start()
		_ = db.Close()
		openForWrites(s, "ON")
		result := insertHanging(s, "client", "client")
		checkKilled(s, g.stop(sig), result)
	}
}

// testContainerStop stops a guard that is the first process of a namespace of
// pids, as a container's runtime does.
func testContainerStop(sig syscall.Signal) func(*testing.T, *template) {
	return func(t *testing.T, tmpl *template) {
		if os.Geteuid() != 0 {
			t.Skip("a namespace of pids needs root")
		}
		s := newServer(t, tmpl)
		s.wrapper = []string{"unshare", "--pid", "--fork", "--kill-child", "--mount-proc"}
		g, db := s.start()
		_ = db.Close()
		openForWrites(s, "ON")
		result := insertHanging(s, "client", "client")
		if run := s.run(); run.GuardPID != 1 {
			t.Fatalf("the guard has the pid %d in its namespace, want 1", run.GuardPID)
		}
		if err := unix.Kill(g.only(), sig); err != nil {
			t.Fatal(err)
		}
		s.await("the container ends", g.ended)
		if err := <-result; err == nil {
			t.Error("the waiting commit was answered OK")
		}
		if sig != syscall.SIGKILL && !strings.Contains(s.readLog(), "mysqld is killed") {
			t.Errorf("the guard did not stop it:\n%s", s.readLog())
		}
	}
}

// testSlowStopOfAPrimary makes the polite stop of an open primary last for ever,
// once nobody waits in it.
func testSlowStopOfAPrimary(t *testing.T, tmpl *template) {
	s := newServer(t, tmpl)
	s.plan.Proof = filepath.Join(filepath.Dir(s.plan.DataDir), "proof.json")
	g, db := s.start()
	openForWrites(s, "OFF")
	_ = db.Close()
	run := s.run()
	if err := process.WriteProof(s.plan.Proof, process.Proof{StartID: run.StartID, Open: true, At: process.BootTime()}); err != nil {
		t.Fatal(err)
	}
	// SIGTERM is taken only by a process that runs.
	log := func() bool { return strings.Contains(s.readLog(), "mysqld is asked to stop") }
	go func() {
		for !log() && !g.ended() {
			time.Sleep(time.Millisecond)
		}
		_ = unix.Kill(run.PID, unix.SIGSTOP) // Fails where it was faster.
	}()
	if code := g.stop(syscall.SIGTERM); code != signalBase+int(syscall.SIGKILL) || !strings.Contains(s.readLog(), "did not stop in time") {
		t.Errorf("exit status %d, want a kill:\n%s", code, s.readLog())
	}
}

func testHangUp(t *testing.T, tmpl *template) {
	s := newServer(t, tmpl)
	g, db := s.start()
	if err := g.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s.query(db, "SELECT SLEEP(0.5)")
	if g.ended() {
		t.Errorf("the guard ended with %d", g.code)
	}
	_ = db.Close()
	if code := g.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit status %d:\n%s", code, s.readLog())
	}
}

func testOwnCommitStop(t *testing.T, tmpl *template) {
	s := newServer(t, tmpl)
	g, db := s.start()
	_ = db.Close()
	openForWrites(s, "ON")
	result := insertHanging(s, controlUser, "")
	checkKilled(s, g.stop(syscall.SIGINT), result)
}

// testBusyStop lets the acknowledgement, here the end of the wait by its
// time-out, come while the stop drains.
func testBusyStop(t *testing.T, tmpl *template) {
	s := newServer(t, tmpl)
	g, db := s.start()
	openForWrites(s, "ON")
	s.exec(db, "SET GLOBAL rpl_semi_sync_source_timeout = 700")
	_ = db.Close()
	result := insertHanging(s, "client", "client")
	if code := g.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit status %d:\n%s", code, s.readLog())
	}
	// offline_mode first would have cut it off, and the replicas too.
	if err := <-result; err != nil {
		t.Errorf("a commit that was acknowledged in time: %v", err)
	}
}

func testSilentStop(t *testing.T, tmpl *template) {
	s := newServer(t, tmpl)
	g, db := s.start()
	_ = db.Close()
	if err := unix.Kill(s.run().PID, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if code, want := g.stop(syscall.SIGTERM), signalBase+int(syscall.SIGKILL); code != want {
		t.Errorf("exit status %d, want %d", code, want)
	}
}

func testGuardDies(t *testing.T, tmpl *template) {
	s := newServer(t, tmpl)
	g, db := s.start()
	_ = db.Close()
	ctx, cancel := context.WithCancel(t.Context())
	states, ended := make(chan process.State, 100), make(chan struct{})
	go func() {
		defer close(ended)
		process.Watch(ctx, s.plan.RunFile, 0, func(st process.State) { states <- st })
	}()
	defer func() { cancel(); <-ended }()
	next := func(want decide.Process) process.State {
		t.Helper()
		var st process.State
		s.await("mysqld is "+string(want), func() bool {
			select {
			case st = <-states:
			default:
			}
			return st.Process == want
		})
		return st
	}
	first := next(decide.ProcessRunning)
	if err := g.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if gone := next(decide.ProcessGone); gone.StartID != first.StartID {
		t.Errorf("%+v is gone, want %+v", gone, first)
	}
	_, db = s.start()
	_ = db.Close()
	if second := next(decide.ProcessRunning); second.StartID == first.StartID || second.StartID != s.run().StartID {
		t.Errorf("after the restart %+v, before %+v", second, first)
	}
}

func testPersisted(t *testing.T, tmpl *template) {
	s := newServer(t, tmpl)
	g, db := s.start()
	s.exec(db, "SET PERSIST read_only = OFF", "SET PERSIST max_connections = 77")
	_ = db.Close()
	g.stop(syscall.SIGTERM)
	if err := os.Remove(s.plan.RunFile); err != nil {
		t.Fatal(err)
	}
	g = s.startGuard()
	s.await("the guard ends", g.ended)
	if log := s.readLog(); g.code != 99 || !strings.Contains(log, persistedFiles[0]+":1: read_only=OFF") {
		t.Errorf("exit status %d, log\n%s", g.code, log)
	}
	if _, err := os.Stat(s.plan.RunFile); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something was started: %v", err)
	}
}

func testRepair(t *testing.T, tmpl *template) {
	s := newServer(t, tmpl)
	const other = "TheDonorsPasswordWasNotThis-1234"
	if err := os.WriteFile(s.plan.Password, []byte(other), 0o600); err != nil {
		t.Fatal(err)
	}
	s.plan.RepairControl = true
	_, db := s.start()
	if got := s.query(db, "SELECT CONCAT(@@super_read_only, @@GLOBAL.gtid_executed)"); got != "1" {
		t.Errorf("super_read_only and gtid_executed: %s", got)
	}
	var fault *mysql.MySQLError
	if err := s.pool(controlUser, "wrong").PingContext(t.Context()); !errors.As(err, &fault) {
		t.Errorf("a wrong password: %v", err)
	}
}
