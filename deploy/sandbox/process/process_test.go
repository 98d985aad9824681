package process_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/mysqlha/mysqlha/deploy/sandbox/process"
)

func start(t *testing.T) (*exec.Cmd, process.Identity) {
	t.Helper()
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // Fails only where the test has done it.
		_ = cmd.Wait()
	})
	id, err := process.Of(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return cmd, id
}

func TestAProcessIsAliveUntilItEndsEvenIfNobodyReapsIt(t *testing.T) {
	_, id := start(t)
	if !id.Alive() {
		t.Fatal("a running process is not alive")
	}
	if err := id.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := id.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	if id.Alive() {
		t.Error("a zombie is alive")
	}
	if err := id.Signal(syscall.SIGKILL); !errors.Is(err, process.ErrGone) {
		t.Errorf("signalling it again: %v, want ErrGone", err)
	}
}

func TestAPidWithAnotherStartIsNeverSignalled(t *testing.T) {
	_, id := start(t)
	recycled := id
	recycled.StartTicks--
	if recycled.Alive() {
		t.Error("another process of the same pid counts as alive")
	}
	if err := recycled.Signal(syscall.SIGKILL); !errors.Is(err, process.ErrGone) {
		t.Errorf("signalling a recycled pid: %v, want ErrGone", err)
	}
	if !id.Alive() {
		t.Error("the signal reached the process that has the pid now")
	}
}

func TestReadTakesPidAndStartAndRefusesTheRest(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		content string
		want    process.Identity
	}{
		"a run file with more fields": {`{"pid": 77, "start_ticks": 1234, "start_id": "x"}`, process.Identity{PID: 77, StartTicks: 1234}},
		"no start":                    {`{"pid": 77}`, process.Identity{}},
		"init itself":                 {`{"pid": 1, "start_ticks": 5}`, process.Identity{}},
		"not JSON":                    {`77`, process.Identity{}},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(dir, "run.json")
			if err := os.WriteFile(file, []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := process.Read(file)
			if got != c.want || (err == nil) != (c.want.PID != 0) {
				t.Errorf("Read = %+v, %v; want %+v", got, err, c.want)
			}
		})
	}
	if _, err := process.Read(filepath.Join(dir, "none")); !errors.Is(err, process.ErrGone) {
		t.Errorf("Read of no file: %v, want ErrGone", err)
	}
}
