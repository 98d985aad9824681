// Package harness gives integration tests whole clusters: a sandbox of the
// binaries built from this tree, a load that remembers what was acknowledged,
// and the check that nothing of it was lost. Only tests import it.
package harness

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mysqlha/mysqlha/deploy/sandbox"
	"github.com/mysqlha/mysqlha/deploy/sandbox/load"
)

// The bounds of what the harness waits for; only a failing test uses them up.
const (
	stopTimeout  = 90 * time.Second
	checkTimeout = 60 * time.Second
	// tailLines are shown of each log when a test has failed.
	tailLines = 40
)

// Start starts a sandbox and ends it with the test. What the options leave out
// is filled in: a folder, the binaries of this tree. If the test has failed, the
// tail of every log is in its output. It fails the test, and never skips it,
// when there is no mysqld.
func Start(t testing.TB, o sandbox.Options) *sandbox.Sandbox {
	t.Helper()
	if o.Mysqlha == "" {
		o.Mysqlha = Build(t)
	}
	if o.Dir == "" {
		// Not t.TempDir: with the test's name in it a socket's path is too long.
		dir, err := os.MkdirTemp("", "mysqlha-it-")
		if err != nil {
			t.Fatalf("making a folder for the sandbox: %v", err)
		}
		o.Dir = dir
	}
	if o.Progress == nil {
		o.Progress = func(line string) { t.Logf("sandbox: %s", line) }
	}
	o.Attached = true
	t.Cleanup(func() {
		// What a failed start has left for its logs.
		if err := os.RemoveAll(o.Dir); err != nil {
			t.Errorf("removing the sandbox's folder: %v", err)
		}
	})
	s, err := sandbox.Up(t.Context(), o)
	if err != nil {
		showLogs(t, o.Dir)
		t.Fatalf("starting a sandbox: %v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			showLogs(t, o.Dir)
		}
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		if err := s.Kill(ctx, false); err != nil {
			t.Errorf("ending the sandbox: %v", err)
		}
	})
	return s
}

func showLogs(t testing.TB, dir string) {
	t.Helper()
	for _, file := range sandbox.Logs(dir) {
		t.Logf("end of %s:\n%s", file, sandbox.Tail(file, tailLines))
	}
}

// Load is a running load of a test.
type Load struct {
	*load.Generator
	t       testing.TB
	sandbox *sandbox.Sandbox
	stop    func() load.Result
}

// Writers starts so many clients that write through the redirector until Check
// or the end of the test, and returns when the first insert was acknowledged.
func Writers(t testing.TB, s *sandbox.Sandbox, n int) *Load {
	t.Helper()
	return Calmly(t, s, n, 0)
}

// Calmly is Writers with a pause between two inserts, so that replicas keep up.
func Calmly(t testing.TB, s *sandbox.Sandbox, n int, pause time.Duration) *Load {
	t.Helper()
	g, err := s.StartLoad(t.Context(), load.Options{Writers: n, Pause: pause})
	if err != nil {
		t.Fatal(err)
	}
	l := &Load{Generator: g, t: t, sandbox: s, stop: sync.OnceValue(g.Stop)}
	t.Cleanup(func() { l.stop() })
	ctx, cancel := context.WithTimeout(t.Context(), checkTimeout)
	defer cancel()
	if _, err := g.Await(ctx, func(load.Ack) bool { return true }); err != nil {
		t.Fatal(err)
	}
	return l
}

// Result stops the load and returns what it has done.
func (l *Load) Result() load.Result { return l.stop() }

// Check stops the load and fails the test unless every acknowledged row is on
// the primary of this moment exactly once and no row is there twice.
func (l *Load) Check() load.Report {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), checkTimeout)
	defer cancel()
	report, err := l.sandbox.CheckLoad(ctx, l.stop())
	if err != nil {
		l.t.Fatal(err)
	}
	if !report.OK() {
		l.t.Errorf("after the load: %s", report)
	}
	return report
}

// Build builds both binaries of this tree into its bin folder, unless they are
// there already and up to date, and returns the path of mysqlha.
func Build(t testing.TB) string {
	t.Helper()
	root := moduleRoot(t)
	bin := filepath.Join(root, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatalf("building the binaries: %v", err)
	}
	// Several test binaries run at a time; one builds for all of them.
	folder, err := os.Open(bin)
	if err != nil {
		t.Fatalf("building the binaries: %v", err)
	}
	defer folder.Close() // This ends the lock, too.
	if err := syscall.Flock(int(folder.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatalf("building the binaries: %v", err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", bin+"/", "./cmd/mysqlhad", "./cmd/mysqlha")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building the binaries: %v\n%s", err, out)
	}
	return filepath.Join(bin, "mysqlha")
}

// moduleRoot is two folders above this file.
func moduleRoot(t testing.TB) string {
	t.Helper()
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		t.Fatal("the place of the source code is not known")
	}
	root := filepath.Dir(filepath.Dir(filepath.Dir(file)))
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Fatalf("finding the module: %v", err)
	}
	return root
}
