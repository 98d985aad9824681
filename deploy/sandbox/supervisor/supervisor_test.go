package supervisor_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mysqlha/mysqlha/deploy/sandbox/process"
	"github.com/mysqlha/mysqlha/deploy/sandbox/supervisor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait; only a failing test uses it up.
const patience = 20 * time.Second

type running struct {
	t      *testing.T
	spec   supervisor.Spec
	cancel context.CancelFunc
	ended  chan error
}

// supervise runs shell scripts by name; each is followed by sleep in the same
// process, so that its pid is the script's.
func supervise(t *testing.T, programs ...supervisor.Program) *running {
	t.Helper()
	dir := t.TempDir()
	for i := range programs {
		programs[i].Log = filepath.Join(dir, programs[i].Name+".log")
		if programs[i].StopDeadline == 0 {
			programs[i].StopDeadline = patience
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{t, supervisor.Spec{Programs: programs, RestartDelay: 10 * time.Millisecond,
		ReportFile: filepath.Join(dir, "report.json")}, cancel, make(chan error, 1)}
	go func() { r.ended <- supervisor.Run(ctx, r.spec, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(cancel)
	return r
}

func (r *running) stop() {
	r.t.Helper()
	r.cancel()
	select {
	case err := <-r.ended:
		if err != nil {
			r.t.Fatal(err)
		}
	case <-time.After(patience):
		r.t.Fatal("the supervisor does not stop")
	}
}

func (r *running) await(name, what string, is func(supervisor.Status) bool) supervisor.Status {
	r.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		report, err := supervisor.ReadReport(r.spec.ReportFile)
		if err != nil {
			continue // Not written yet.
		}
		if s, found := report.Find(name); found && is(s) {
			return s
		}
	}
	r.t.Fatalf("%s never was %s", name, what)
	return supervisor.Status{}
}

func shell(name, script string) supervisor.Program {
	return supervisor.Program{Name: name, Args: []string{"/bin/sh", "-c", script}}
}

func isRunning(s supervisor.Status) bool { return s.State == supervisor.StateRunning }

func TestAProgramThatEndsIsStartedAgain(t *testing.T) {
	r := supervise(t, shell("a", "exec sleep 600"))
	first := r.await("a", "running", isRunning)
	if err := first.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	second := r.await("a", "running again", func(s supervisor.Status) bool { return isRunning(s) && s.Starts == 2 })
	if second.PID == first.PID || !strings.Contains(second.LastExit, "killed") {
		t.Errorf("after a kill of pid %d: %+v", first.PID, second)
	}
	r.stop()
	if second.Alive() {
		t.Error("the program outlived its supervisor's stop")
	}
}

func TestAProgramThatCannotBeStartedIsReportedAndTriedAgain(t *testing.T) {
	r := supervise(t, supervisor.Program{Name: "a", Args: []string{"/nonexistent/program"}})
	got := r.await("a", "tried twice", func(s supervisor.Status) bool { return s.Starts >= 2 })
	if !strings.Contains(got.LastExit, "could not be started") {
		t.Errorf("LastExit = %q", got.LastExit)
	}
	r.stop()
}

func TestAHigherStageIsStoppedOnlyAfterTheLowerOnesAreGone(t *testing.T) {
	order := filepath.Join(t.TempDir(), "order")
	say := func(name string) supervisor.Program {
		return shell(name, "trap 'echo "+name+" >>"+order+"; exit' TERM; echo ready; while :; do sleep 0.01; done")
	}
	first, second := say("first"), say("second")
	second.Stage = 1
	r := supervise(t, second, first)
	for _, p := range r.spec.Programs {
		awaitLine(t, p.Log, "ready")
	}
	r.stop()
	got, err := os.ReadFile(order)
	if err != nil || string(got) != "first\nsecond\n" {
		t.Errorf("stopped in the order %q, %v", got, err)
	}
}

func TestAProgramThatIgnoresTheStopIsKilledAtTheDeadline(t *testing.T) {
	stubborn := shell("a", "trap '' TERM; echo ready; while :; do sleep 0.01; done")
	stubborn.StopDeadline = 50 * time.Millisecond
	r := supervise(t, stubborn)
	awaitLine(t, r.spec.Programs[0].Log, "ready")
	s := r.await("a", "running", isRunning)
	r.stop()
	if s.Alive() {
		t.Error("the program still runs")
	}
	report, err := supervisor.ReadReport(r.spec.ReportFile)
	if err != nil || !strings.Contains(report.Programs[0].LastExit, "after the deadline") {
		t.Errorf("report %+v, %v", report, err)
	}
}

func TestAStoppedProgramAndItsStoppedChildEndToo(t *testing.T) {
	file := filepath.Join(t.TempDir(), "child.json")
	// The child writes its own identity, as a guard would for it.
	p := shell("a", `sleep 600 & set -- $(cut -d' ' -f22 /proc/$!/stat); echo "{\"pid\": $!, \"start_ticks\": $1}" >`+file+`; exec sleep 600`)
	p.ChildFile = file
	r := supervise(t, p)
	s := r.await("a", "running", isRunning)
	var child process.Identity
	for end := time.Now().Add(patience); child.PID == 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
		child, _ = process.Read(file) // Until it is there.
	}
	for _, id := range []process.Identity{child, s.Identity} {
		if err := id.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	r.stop()
	if child.Alive() || s.Alive() {
		t.Errorf("left running: child %t, program %t", child.Alive(), s.Alive())
	}
}

// A program that is killed alone leaves nothing behind that would keep its ports.
func TestWhatAProgramOfAGroupHasStartedIsKilledWithIt(t *testing.T) {
	p := shell("group", "sleep 1000 & echo child $!; exec sleep 1000")
	p.Group = true
	r := supervise(t, p)
	first := r.await("group", "it runs", isRunning)
	var child process.Identity
	for begun := time.Now(); ; time.Sleep(time.Millisecond) {
		text, err := os.ReadFile(r.spec.Programs[0].Log)
		if line, rest, whole := strings.Cut(string(text), "\n"); err == nil && whole && rest == "" {
			pid, err := strconv.Atoi(strings.TrimPrefix(line, "child "))
			if err == nil {
				child, err = process.Of(pid)
			}
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			break
		}
		if time.Since(begun) > patience {
			t.Fatalf("its log has %q, %v", text, err)
		}
	}
	if err := first.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := child.Await(ctx); err != nil {
		t.Errorf("what it had started lives on: %v", err)
	}
	r.await("group", "it runs again", func(s supervisor.Status) bool { return isRunning(s) && s.Starts > 1 })
	r.stop()
}

func TestEnvironmentDropsWhatWouldOverrideConfigurationFiles(t *testing.T) {
	got := supervisor.Environment([]string{"PATH=/bin", "MYSQLHA_API_LISTEN=:1", "HOME=/"})
	if strings.Join(got, " ") != "PATH=/bin HOME=/" {
		t.Errorf("Environment = %q", got)
	}
}

func awaitLine(t *testing.T, file, line string) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if data, err := os.ReadFile(file); err == nil && strings.Contains(string(data), line+"\n") {
			return
		}
	}
	t.Fatalf("%s never said %q", file, line)
}
