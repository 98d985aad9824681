package process

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// bound is for a slow, busy machine.
const bound = 20 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// startSleep starts a process that lives until it is killed.
func startSleep(t testing.TB) (*exec.Cmd, RunFile) {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // Fails only where it is gone already.
		_ = cmd.Wait()         // Likewise.
	})
	run, err := Describe(cmd.Process.Pid, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return cmd, run
}

func runFile(t testing.TB, run RunFile) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run.json")
	if err := WriteRunFile(path, run); err != nil {
		t.Fatal(err)
	}
	return path
}

// watch starts a Watch and returns a function that awaits a state.
func watch(t *testing.T, path string) func(decide.Process) State {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	states := make(chan State, 100)
	var owner sync.WaitGroup
	owner.Go(func() { Watch(ctx, path, time.Millisecond, func(s State) { states <- s }) })
	t.Cleanup(func() { cancel(); owner.Wait() })
	return func(want decide.Process) State {
		t.Helper()
		deadline := time.After(bound)
		var last State
		for {
			select {
			case last = <-states:
				if last.Process == want {
					return last
				}
			case <-deadline:
				t.Fatalf("no %q within %s, last %+v", want, bound, last)
			}
		}
	}
}

func TestWatchSeesExitingThenGoneThenTheNextRun(t *testing.T) {
	cmd, run := startSleep(t)
	path := runFile(t, run)
	next := watch(t, path)
	if s := next(decide.ProcessRunning); s.StartID != run.StartID || s.PID != run.PID {
		t.Fatalf("running %+v, want %+v", s, run)
	}
	if err := Kill(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	next(decide.ProcessExiting) // A zombie until it is reaped.
	_ = cmd.Wait()              // Killed.
	if s := next(decide.ProcessGone); s.StartID != run.StartID {
		t.Fatalf("gone %+v, want %+v", s, run)
	}
	_, second := startSleep(t)
	if err := WriteRunFile(path, second); err != nil {
		t.Fatal(err)
	}
	if s := next(decide.ProcessRunning); s.StartID != second.StartID || s.StartID == run.StartID {
		t.Fatalf("the next run is %+v, want %+v", s, second)
	}
}

func TestWatchJudgesByTheRunFile(t *testing.T) {
	_, run := startSleep(t)
	recycled, rebooted := run, run
	recycled.StartTicks++
	rebooted.BootID = "00000000-0000-0000-0000-000000000000"
	none := run
	none.PID = 1<<22 + 1 // Beyond the kernel's largest pid.
	for name, c := range map[string]struct {
		run  RunFile
		want decide.Process
	}{
		"the process itself runs":                  {run, decide.ProcessRunning},
		"a recycled pid is a process that is gone": {recycled, decide.ProcessGone},
		"no process outlives its kernel":           {rebooted, decide.ProcessGone},
		"a pid without a process is gone":          {none, decide.ProcessGone},
	} {
		t.Run(name, func(t *testing.T) {
			c.run.StartID = c.run.startID()
			watch(t, runFile(t, c.run))(c.want)
		})
	}
	t.Run("without a run file nothing is known", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "run.json")
		next := watch(t, path)
		next(decide.ProcessUnknown)
		if err := WriteRunFile(path, run); err != nil {
			t.Fatal(err)
		}
		next(decide.ProcessRunning)
	})
	t.Run("a broken run file proves nothing and a later one is read", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "run.json")
		if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		next := watch(t, path)
		next(decide.ProcessUnknown)
		if err := WriteRunFile(path, run); err != nil {
			t.Fatal(err)
		}
		next(decide.ProcessRunning)
	})
	t.Run("a removed run file does not make a living process gone", func(t *testing.T) {
		path := runFile(t, run)
		w := watcher{path: path, fd: -1, buf: make([]byte, maxStat)}
		defer w.close()
		w.look()
		if err := RemoveRunFile(path); err != nil {
			t.Fatal(err)
		}
		if s := w.look(); s.Process != decide.ProcessRunning {
			t.Errorf("%+v", s)
		}
	})
}

func TestKillHitsNobodyElse(t *testing.T) {
	cmd, run := startSleep(t)
	recycled := run
	recycled.StartTicks++
	recycled.StartID = recycled.startID()
	if err := KillFile(t.Context(), runFile(t, recycled)); !errors.Is(err, ErrRecycled) {
		t.Errorf("a recycled pid: %v", err)
	}
	for _, pid := range []int{-1, 0, 1} {
		other := run
		other.PID = pid
		other.StartID = other.startID()
		if err := Kill(t.Context(), other); err == nil {
			t.Errorf("pid %d was accepted", pid)
		}
	}
	if err := unix.Kill(cmd.Process.Pid, 0); err != nil {
		t.Errorf("the process is gone: %v", err)
	}
	if err := Kill(t.Context(), run); err != nil {
		t.Errorf("the right one: %v", err)
	}
	_ = cmd.Wait() // Killed.
	if err := Kill(t.Context(), run); err != nil {
		t.Errorf("one that is dead already: %v", err)
	}
	if err := KillFile(t.Context(), filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a run file: %v", err)
	}
}

func TestAnUnconfirmedDeathIsAnError(t *testing.T) {
	_, run := startSleep(t)
	fd, err := unix.PidfdOpen(run.PID, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := awaitDeath(ctx, fd, killPoll); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a living process: %v", err)
	}
}

func TestRunFileSurvivesTheWayToDiskAndIsPrivate(t *testing.T) {
	_, run := startSleep(t)
	path := runFile(t, run)
	got, err := ReadRunFile(path)
	if err != nil || got.StartID != run.StartID || got.PID != run.PID || !got.Started.Equal(run.Started) {
		t.Fatalf("%+v, %v; want %+v", got, err, run)
	}
	if !strings.HasPrefix(run.BootID, strings.SplitN(run.StartID, "-", 2)[0]) || run.GuardPID != os.Getpid() {
		t.Errorf("%+v", run)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestStatIsParsedBehindTheLastParenthesis(t *testing.T) {
	tail := " S 1 2 3 4 -1 %F 5 6 7 8 9 10 11 12 20 0 40 0 777 0 0\n"
	for name, c := range map[string]struct {
		text string
		want stat
		ok   bool
	}{
		"a plain name":                    {"12 (mysqld)" + strings.Replace(tail, "%F", "4194560", 1), stat{'S', 4194560, 777}, true},
		"a name with spaces and brackets": {"12 (a) R 4 (b )" + strings.Replace(tail, "%F", "4", 1), stat{'S', 4, 777}, true},
		"an empty file":                   {"", stat{}, false},
		"a file that is cut off":          {"12 (mysqld) S 1 2", stat{}, false},
		"a flag that is no number":        {"12 (mysqld)" + strings.Replace(tail, "%F", "x", 1), stat{}, false},
		"a state that is not one letter":  {"12 (mysqld) SS 1 2", stat{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseStat([]byte(c.text))
			if (err == nil) != c.ok || got != c.want {
				t.Errorf("%+v, %v; want %+v", got, err, c.want)
			}
		})
	}
	for _, s := range []stat{{'S', pfExiting, 1}, {'Z', 0, 1}, {'X', 0, 1}} {
		if s.process() != decide.ProcessExiting {
			t.Errorf("%+v is not exiting", s)
		}
	}
}

func TestTheTwoStatFilesAgree(t *testing.T) {
	_, run := startSleep(t)
	text, err := os.ReadFile("/proc/" + strings.Split(run.StartID, "-")[1] + "/stat")
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(text))
	if !slices.Contains(fields, strings.Split(run.StartID, "-")[2]) {
		t.Errorf("%s has no start of %s", text, run.StartID)
	}
}

func TestALookAtALivingProcessAllocatesNothing(t *testing.T) {
	_, run := startSleep(t)
	w := watcher{path: runFile(t, run), fd: -1, buf: make([]byte, maxStat)}
	defer w.close()
	w.look()
	if n := testing.AllocsPerRun(100, func() { w.look() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkLook is what each interval costs.
func BenchmarkLook(b *testing.B) {
	_, run := startSleep(b)
	w := watcher{path: runFile(b, run), fd: -1, buf: make([]byte, maxStat)}
	defer w.close()
	w.look()
	b.ResetTimer()
	for b.Loop() {
		w.look()
	}
}
