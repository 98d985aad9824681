// Package process owns the identity of a process that another program started:
// its pid together with the time of its start, so that a pid that the kernel
// has given to somebody else is never signalled. The sandbox and its supervisor
// import it; it imports nothing of ours.
package process

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrGone is in the chain of an error when the process does not exist any more,
// whether or not its pid is in use again.
var ErrGone = errors.New("the process is gone")

// poll is how often Await looks where the kernel gives no notice.
const poll = 5 * time.Millisecond

// Identity tells one process from every other since the machine started.
type Identity struct {
	// PID is its process id, 0 for no process.
	PID int `json:"pid"`
	// StartTicks is its start in clock ticks since the machine started, field
	// 22 of /proc/PID/stat.
	StartTicks uint64 `json:"start_ticks"`
}

// Of returns the identity of the process that has the pid now. Its error wraps
// ErrGone when there is none.
func Of(pid int) (Identity, error) {
	ticks, _, err := stat(pid)
	if err != nil {
		return Identity{}, err
	}
	return Identity{PID: pid, StartTicks: ticks}, nil
}

// Read returns the identity that a JSON file holds in its fields pid and
// start_ticks; other fields do not matter. Its error wraps ErrGone when there
// is no file: whoever wrote it has taken it away.
func Read(file string) (Identity, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return Identity{}, fmt.Errorf("reading %s: %w", file, ErrGone)
	}
	if err != nil {
		return Identity{}, fmt.Errorf("reading the identity of a process: %w", err)
	}
	var id Identity
	if err := json.Unmarshal(data, &id); err != nil {
		return Identity{}, fmt.Errorf("reading the identity of a process from %s: %w", file, err)
	}
	if id.PID <= 1 || id.StartTicks == 0 {
		return Identity{}, fmt.Errorf("reading the identity of a process from %s: it names no process", file)
	}
	return id, nil
}

// Alive tells whether the process exists and has not ended; one that ended and
// was not reaped yet is not alive.
func (id Identity) Alive() bool {
	ticks, state, err := stat(id.PID)
	return err == nil && ticks == id.StartTicks && state != 'Z' && state != 'X'
}

// Signal sends a signal to the process and to no other. Its error wraps ErrGone
// when the process has ended.
func (id Identity) Signal(signal syscall.Signal) error {
	if id.PID <= 1 {
		return fmt.Errorf("signalling: %w", ErrGone)
	}
	// Once the descriptor is open the pid cannot become another's unnoticed: the
	// start is compared after it.
	fd, err := unix.PidfdOpen(id.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("signalling pid %d: %w", id.PID, ErrGone)
	}
	if err != nil {
		return fmt.Errorf("signalling pid %d: %w", id.PID, err)
	}
	defer unix.Close(fd)
	if !id.Alive() {
		return fmt.Errorf("signalling pid %d: %w", id.PID, ErrGone)
	}
	if err := unix.PidfdSendSignal(fd, signal, nil, 0); err != nil {
		if errors.Is(err, unix.ESRCH) {
			err = ErrGone
		}
		return fmt.Errorf("signalling pid %d: %w", id.PID, err)
	}
	return nil
}

// Await returns once the process has ended, or with the context's error.
func (id Identity) Await(ctx context.Context) error {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for id.Alive() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for pid %d to end: %w", id.PID, context.Cause(ctx))
		case <-tick.C:
		}
	}
	return nil
}

// ResidentBytes returns how much of the process's memory is in RAM.
func (id Identity) ResidentBytes() (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", id.PID))
	if err != nil || !id.Alive() {
		return 0, fmt.Errorf("reading the memory of pid %d: %w", id.PID, errors.Join(ErrGone, err))
	}
	fields := strings.Fields(string(data))
	if len(fields) < 2 {
		return 0, fmt.Errorf("reading the memory of pid %d: statm has %d fields", id.PID, len(fields))
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("reading the memory of pid %d: %w", id.PID, err)
	}
	return pages * int64(os.Getpagesize()), nil
}

// stat returns the start and the state of a process.
func stat(pid int) (ticks uint64, state byte, err error) {
	if pid <= 0 {
		return 0, 0, fmt.Errorf("looking at pid %d: %w", pid, ErrGone)
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return 0, 0, fmt.Errorf("looking at pid %d: %w", pid, ErrGone)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("looking at pid %d: %w", pid, err)
	}
	// The name in parentheses may hold anything; the fields begin after the
	// last of them, with the third.
	const startField = 22 - 3
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	if len(fields) <= startField {
		return 0, 0, fmt.Errorf("looking at pid %d: its stat has %d fields", pid, len(fields))
	}
	ticks, err = strconv.ParseUint(string(fields[startField]), 10, 64)
	if err != nil {
		return 0, 0, fmt.Errorf("looking at pid %d: %w", pid, err)
	}
	return ticks, fields[0][0], nil
}
