package guard

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"go.uber.org/goleak"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication/process"
)

const (
	// helperEnv makes the test binary be a guard, with the plan in its value.
	helperEnv = "GUARD_TEST_PLAN"
	// bound is for a slow, busy machine.
	bound = 30 * time.Second
	poll  = 5 * time.Millisecond
	// controlUser is the control account's name in the tests.
	controlUser = "ctl"
)

// plan is what the guard of a test is started with.
type plan struct {
	Args                               []string
	RunFile, DataDir, Socket, Password string
	Proof                              string
	RepairControl                      bool
	// Answer is a file with what the daemon says; without it there is no start
	// gate. Term and Rewind go with it.
	Answer, Term, Rewind string
	LetGo                string
	Attach               bool
}

func TestMain(m *testing.M) {
	if text := os.Getenv(helperEnv); text != "" {
		os.Exit(beGuard(text))
	}
	goleak.VerifyTestMain(m)
}

func beGuard(text string) int {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	var p plan
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		log.Error("plan", "error", err)
		return 99
	}
	code, err := Run(context.Background(), p.options(log))
	if err != nil {
		log.Error("guard", "error", err)
		return 99
	}
	return code
}

func (p plan) options(log *slog.Logger) Options {
	o := Options{Args: p.Args, RunFile: p.RunFile, DataDir: p.DataDir, Socket: p.Socket, User: controlUser,
		Password: func() (string, error) { return readPassword(p.Password) }, Logger: log, RepairControl: p.RepairControl,
		ProofFile: p.Proof, FenceDeadline: time.Hour, TermFile: p.Term, RewindFile: p.Rewind, LetGoFile: p.LetGo, Attach: p.Attach}
	if p.Answer != "" {
		o.Ask = func(context.Context, uint64, time.Duration) (answer decide.StartAnswer, err error) {
			text, err := os.ReadFile(p.Answer)
			if err == nil {
				err = json.Unmarshal(text, &answer)
			}
			return answer, err
		}
	}
	return o
}

func readPassword(path string) (string, error) {
	text, err := os.ReadFile(path)
	return strings.TrimSpace(string(text)), err
}

// mysqld names the real server, as the integration tests find it.
func mysqld(t testing.TB) string {
	t.Helper()
	if program := os.Getenv("MYSQLD"); program != "" {
		return program
	}
	out, err := exec.CommandContext(t.Context(), "../../deploy/mysqld/fetch").Output()
	if err != nil {
		t.Fatalf("no mysqld: MYSQLD is not set and deploy/mysqld/fetch: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// smallArgs keep a test server small. The option file is the one under test.
func smallArgs(t testing.TB, optionFile string) []string {
	args := []string{mysqld(t), "--defaults-file=" + optionFile}
	if os.Geteuid() == 0 {
		args = append(args, "--user=root")
	}
	return append(args, "--skip-networking", "--mysqlx=OFF", "--server-id=1", "--gtid-mode=ON",
		"--enforce-gtid-consistency=ON", "--innodb-redo-log-capacity=8M", "--innodb-buffer-pool-size=16M")
}

// template is initialised once and copied for each test.
type template struct {
	once sync.Once
	dir  string
	err  error
}

// server is one data directory with all that belongs to it.
type server struct {
	t    *testing.T
	plan plan
	log  string
	// wrapper is a program and its arguments that start the guard.
	wrapper []string
}

// newServer copies the initialised template.
func newServer(t *testing.T, tmpl *template) *server {
	t.Helper()
	tmpl.make(t)
	dir, err := os.MkdirTemp("/tmp", "guard") // Short enough for a socket.
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", tmpl.dir+"/.", dir).CombinedOutput(); err != nil {
		t.Fatalf("copy the template: %v\n%s", err, out)
	}
	return serverIn(t, dir)
}

func serverIn(t *testing.T, dir string) *server {
	option := filepath.Join(dir, "my.cnf")
	opens := filepath.Join(dir, "opens.sql")
	err := errors.Join(os.WriteFile(option, []byte("[mysqld]\nread_only=OFF\nsuper_read_only=OFF\ninit_file="+opens+"\n"), 0o600),
		os.WriteFile(opens, []byte("SET GLOBAL super_read_only = OFF;\nSET GLOBAL read_only = OFF;\n"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return &server{t: t, log: filepath.Join(dir, "log"), plan: plan{
		Args: smallArgs(t, option), RunFile: filepath.Join(dir, "run.json"), DataDir: filepath.Join(dir, "data"),
		Socket: filepath.Join(dir, "s"), Password: filepath.Join(dir, "password"),
	}}
}

func (s *server) initOptions() InitOptions {
	return InitOptions{Args: s.plan.Args, DataDir: s.plan.DataDir, User: controlUser,
		PasswordFile: s.plan.Password, Logger: slog.New(slog.DiscardHandler)}
}

// guardProcess is a started guard.
type guardProcess struct {
	s    *server
	cmd  *exec.Cmd
	done chan struct{}
	code int
}

// start starts a guard and waits until its mysqld answers.
func (s *server) start() (*guardProcess, *sql.DB) {
	s.t.Helper()
	g := s.startGuard()
	db := s.pool(controlUser, "")
	s.await("mysqld answers", func() bool {
		select {
		case <-g.done:
			s.t.Fatalf("the guard ended with %d:\n%s", g.code, s.readLog())
		default:
		}
		return db.PingContext(s.t.Context()) == nil
	})
	return g, db
}

func (s *server) startGuard() *guardProcess {
	s.t.Helper()
	text, err := json.Marshal(s.plan)
	if err != nil {
		s.t.Fatal(err)
	}
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	command := append(slices.Clone(s.wrapper), os.Args[0])
	g := &guardProcess{s: s, cmd: exec.Command(command[0], command[1:]...), done: make(chan struct{})}
	g.cmd.Env = append(os.Environ(), helperEnv+"="+string(text))
	g.cmd.Stdout, g.cmd.Stderr = log, log
	if err := g.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		defer close(g.done)
		_ = g.cmd.Wait() // The status tells.
		g.code = g.cmd.ProcessState.ExitCode()
		_ = log.Close()
	}()
	s.t.Cleanup(func() {
		_ = g.cmd.Process.Kill() // Fails only where it is gone already.
		<-g.done
		s.killLeft()
	})
	return g
}

// killLeft kills a mysqld that outlived its guard.
func (s *server) killLeft() {
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	if _, err := os.Stat(s.plan.RunFile); err == nil {
		_ = process.KillFile(ctx, s.plan.RunFile) // Mostly gone already.
	}
}

func (s *server) readLog() string {
	text, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// pool opens connections as the user; without a password as the control account.
func (s *server) pool(user, password string) *sql.DB {
	s.t.Helper()
	if password == "" {
		var err error
		if password, err = readPassword(s.plan.Password); err != nil {
			s.t.Fatal(err)
		}
	}
	cfg := mysql.NewConfig()
	cfg.User, cfg.Passwd, cfg.Net, cfg.Addr = user, password, "unix", s.plan.Socket
	cfg.Logger = &mysql.NopLogger{}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	s.t.Cleanup(func() { _ = db.Close() })
	return db
}

func (s *server) await(what string, ok func() bool) {
	s.t.Helper()
	deadline := time.After(bound)
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			s.t.Fatalf("waited %s for: %s\n%s", bound, what, s.readLog())
		case <-tick.C:
		}
	}
}

// stop sends the signal and returns the guard's exit status.
func (g *guardProcess) stop(sig syscall.Signal) int {
	g.s.t.Helper()
	if err := g.cmd.Process.Signal(sig); err != nil {
		g.s.t.Fatal(err)
	}
	g.s.await("the guard ends", g.ended)
	return g.code
}

// only returns the pid of the one child of the guard's wrapper.
func (g *guardProcess) only() int {
	g.s.t.Helper()
	pid := g.cmd.Process.Pid
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		g.s.t.Fatal(err)
	}
	child, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		g.s.t.Fatalf("the children of %d are %q", pid, text)
	}
	return child
}

func (g *guardProcess) ended() bool {
	select {
	case <-g.done:
		return true
	default:
		return false
	}
}

func (s *server) run() process.RunFile {
	s.t.Helper()
	run, err := process.ReadRunFile(s.plan.RunFile)
	if err != nil {
		s.t.Fatal(err)
	}
	return run
}

func (s *server) exec(db *sql.DB, statements ...string) {
	s.t.Helper()
	for _, q := range statements {
		if _, err := db.ExecContext(s.t.Context(), q); err != nil {
			s.t.Fatalf("%s: %v", q, err)
		}
	}
}

func (s *server) query(db *sql.DB, q string) string {
	s.t.Helper()
	var v sql.NullString
	if err := db.QueryRowContext(s.t.Context(), q).Scan(&v); err != nil {
		s.t.Fatalf("%s: %v", q, err)
	}
	return v.String
}
