package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/google/renameio/v2"
)

const (
	bootIDFile = "/proc/sys/kernel/random/boot_id"
	// bootIDShown is how much of the boot id goes into a start id.
	bootIDShown = 8
)

// RunFile says which process is the mysqld that the guard started.
type RunFile struct {
	// PID is mysqld's process id in the guard's PID namespace.
	PID int `json:"pid"`
	// StartTicks is when it started, in clock ticks since boot, as field 22 of
	// /proc/PID/stat has it.
	StartTicks uint64 `json:"start_ticks"`
	// BootID is the kernel's boot id, without which ticks mean nothing.
	BootID string `json:"boot_id"`
	// StartID tells this run of mysqld from any other, for people and for etcd.
	StartID string `json:"start_id"`
	// Started is the wall time of the start; only for people.
	Started time.Time `json:"started"`
	// GuardPID is the process id of the guard.
	GuardPID int `json:"guard_pid"`
	// Attached says that the guard did not start it.
	Attached bool `json:"attached,omitempty"`
}

// Describe returns the run file of a process that was started by the caller
// at the given wall time. It fails when the process is already reaped.
func Describe(pid int, started time.Time) (RunFile, error) {
	boot, err := bootID()
	if err != nil {
		return RunFile{}, err
	}
	ticks, err := startTicks(pid)
	if err != nil {
		return RunFile{}, fmt.Errorf("read the start time of process %d: %w", pid, err)
	}
	run := RunFile{PID: pid, StartTicks: ticks, BootID: boot, Started: started, GuardPID: os.Getpid()}
	run.StartID = run.startID()
	return run, nil
}

// WriteRunFile replaces the file at path in one step, readable by its owner
// alone.
func WriteRunFile(path string, run RunFile) error {
	text, err := json.Marshal(run)
	if err != nil {
		return fmt.Errorf("encode the run file: %w", err)
	}
	err = renameio.WriteFile(path, append(text, '\n'), 0o600, renameio.WithStaticPermissions(0o600))
	if err != nil {
		return fmt.Errorf("write the run file: %w", err)
	}
	return nil
}

// ReadRunFile reads and checks the file at path. The error wraps
// [fs.ErrNotExist] where mysqld has never been started under a guard.
func ReadRunFile(path string) (RunFile, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return RunFile{}, fmt.Errorf("read the run file: %w", err)
	}
	var run RunFile
	if err := json.Unmarshal(text, &run); err != nil {
		return RunFile{}, fmt.Errorf("read the run file %s: %w", path, err)
	}
	if err := run.check(); err != nil {
		return RunFile{}, fmt.Errorf("read the run file %s: %w", path, err)
	}
	return run, nil
}

// RemoveRunFile removes the file at path; that it is absent is no error. It
// must not be called while the process lives, because nobody could fence it
// any more.
func RemoveRunFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the run file: %w", err)
	}
	return nil
}

// check refuses what could lead a signal astray: pid 1 is init, and 0 and
// negative numbers stand for groups of processes.
func (r RunFile) check() error {
	switch {
	case r.PID <= 1:
		return fmt.Errorf("pid %d cannot be mysqld's", r.PID)
	case r.StartTicks == 0 || r.BootID == "":
		return errors.New("start_ticks or boot_id is missing")
	case r.StartID != r.startID():
		return fmt.Errorf("start_id %q does not match the rest, want %q", r.StartID, r.startID())
	}
	return nil
}

func (r RunFile) startID() string {
	return fmt.Sprintf("%.*s-%d-%d", bootIDShown, r.BootID, r.PID, r.StartTicks)
}

func bootID() (string, error) {
	text, err := os.ReadFile(bootIDFile)
	if err != nil {
		return "", fmt.Errorf("read the kernel's boot id: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}
