package integration

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
)

const (
	// initializeTimeout bounds the making of an empty data directory and
	// answerTimeout the start on it; both are for a slow, busy machine.
	initializeTimeout = 3 * time.Minute
	answerTimeout     = 2 * time.Minute
	// answerPoll is how often a starting server is asked.
	answerPoll = 50 * time.Millisecond
	// maxSocketPath is what fits into a Unix socket address.
	maxSocketPath = 107
)

// StartMySQL starts an empty throw-away mysqld with GTIDs on, reachable over a
// Unix socket only, and returns a pool of root's connections to it. The server
// is the program that the environment variable MYSQLD names, else the one that
// deploy/mysqld/fetch brings. When the test ends, the pool is closed, the
// server killed and reaped, and its files are removed. It fails the test, and
// never skips it, when no server can be had.
func StartMySQL(t testing.TB) *sql.DB {
	t.Helper()
	program := mysqldProgram(t)
	data := filepath.Join(t.TempDir(), "data")
	socket := filepath.Join(socketDir(t), "s")
	initialize(t, program, data)

	logFile := filepath.Join(t.TempDir(), "error.log")
	exited := startProcess(t, logFile, program, serverArgs(data, socket)...)

	cfg := mysql.NewConfig()
	cfg.User, cfg.Net, cfg.Addr = "root", "unix", socket
	cfg.Logger = &mysql.NopLogger{} // Refused connections are expected while it starts.
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		t.Fatalf("configure the connection to %s: %v", socket, err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("close the connections to %s: %v", socket, err)
		}
	})
	if err := awaitAnswer(t.Context(), db, exited); err != nil {
		t.Fatalf("start %s: %v; its log:\n%s", program, err, readLog(logFile))
	}
	return db
}

func mysqldProgram(t testing.TB) string {
	t.Helper()
	if program := os.Getenv("MYSQLD"); program != "" {
		return program
	}
	const fetch = "../deploy/mysqld/fetch"
	cmd := exec.CommandContext(t.Context(), fetch)
	cmd.Stderr = os.Stderr // Its progress; a download can take a while.
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("no mysqld: MYSQLD is not set and %s: %v", fetch, err)
	}
	program := strings.TrimSpace(string(out))
	if program == "" || strings.Contains(program, "\n") {
		t.Fatalf("%s printed %q, want the path of mysqld in one line", fetch, out)
	}
	return program
}

// socketDir makes a directory of its own, because the one of t.TempDir carries
// the test's name and can be too long for a socket.
func socketDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "my")
	if err == nil && len(filepath.Join(dir, "s")) > maxSocketPath {
		_ = os.Remove(dir)
		dir, err = os.MkdirTemp("/tmp", "my")
	}
	if err != nil {
		t.Fatalf("make a directory for the socket: %v", err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove the socket's directory: %v", err)
		}
	})
	return dir
}

// commonArgs must come first: mysqld takes --no-defaults only there.
func commonArgs(data string) []string {
	args := []string{"--no-defaults", "--datadir=" + data}
	if os.Geteuid() == 0 {
		args = append(args, "--user=root") // As root, mysqld asks to be told so.
	}
	return args
}

func serverArgs(data, socket string) []string {
	return append(commonArgs(data),
		"--socket="+socket,
		"--pid-file="+filepath.Join(data, "mysqld.pid"),
		"--skip-networking",
		"--mysqlx=OFF",
		"--server-id=1",
		"--gtid-mode=ON",
		"--enforce-gtid-consistency=ON",
	)
}

func initialize(t testing.TB, program, data string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), initializeTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, append(commonArgs(data), "--initialize-insecure")...).CombinedOutput()
	if err != nil {
		t.Fatalf("initialize a data directory with %s: %v\n%s", program, err, out)
	}
}

// startProcess starts the program and returns a channel that is closed once it
// is gone and reaped. At the test's end the process is killed and awaited.
func startProcess(t testing.TB, logFile, program string, args ...string) <-chan struct{} {
	t.Helper()
	log, err := os.Create(logFile)
	if err != nil {
		t.Fatalf("make the log of %s: %v", program, err)
	}
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = log, log
	// A test binary that dies takes its server along.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}

	started, exited := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(exited)
		defer log.Close()
		// The kernel sends the death signal when the starting thread ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // Always an error: the process is killed.
		}
	}()
	if err := <-started; err != nil {
		t.Fatalf("start %s: %v", program, err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // Fails only where the process is gone already.
		<-exited
	})
	return exited
}

func awaitAnswer(ctx context.Context, db *sql.DB, exited <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	tick := time.NewTicker(answerPoll)
	defer tick.Stop()
	for {
		err := db.PingContext(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-exited:
			return fmt.Errorf("the server exited before it answered: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("no answer within %s: %w", answerTimeout, err)
		case <-tick.C:
		}
	}
}

// readLog returns the log, or why there is none, for a failure message.
func readLog(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
