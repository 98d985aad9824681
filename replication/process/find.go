package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Lives tells whether the process of a run file exists and has not begun to end.
// It returns an error where that cannot be seen.
func Lives(run RunFile) (bool, error) {
	if err := run.check(); err != nil {
		return false, err
	}
	switch err := sameRun(run); {
	case errors.Is(err, unix.ESRCH), errors.Is(err, ErrRecycled):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("look for mysqld %s: %w", run.StartID, err)
	}
	return true, nil
}

// AwaitDeath returns nil once all of the process is dead, and the cause of ctx's end
// if that comes first. The process need not be the caller's child.
func AwaitDeath(ctx context.Context, run RunFile) error {
	if err := run.check(); err != nil {
		return err
	}
	err := withPidfd(run, func(fd int) error { return awaitDeath(ctx, fd, deathPoll) })
	if err == nil || errors.Is(err, unix.ESRCH) || errors.Is(err, ErrRecycled) {
		return nil
	}
	return fmt.Errorf("watch mysqld %s: %w", run.StartID, err)
}

// deathPoll is how long one wait lasts before the context is looked at again; the
// death itself is seen at once.
const deathPoll = 250 * time.Millisecond

// Listening returns the process that listens on mysqld's Unix socket, as the kernel
// names it. It is refused unless that process works in the data directory, as a
// mysqld does: anybody may listen on a path.
func Listening(socket, dataDir string) (RunFile, error) {
	pid, err := listener(socket)
	if err != nil {
		return RunFile{}, fmt.Errorf("find the mysqld of %s: %w", socket, err)
	}
	if pid <= 1 {
		return RunFile{}, fmt.Errorf("find the mysqld of %s: it runs where this process cannot see it (another container?)", socket)
	}
	run, err := Describe(pid, time.Time{})
	if err != nil {
		return RunFile{}, err
	}
	run.Attached = true
	at, err := os.Stat(filepath.Join("/proc", strconv.Itoa(pid), "cwd"))
	if err != nil {
		return RunFile{}, fmt.Errorf("find the mysqld of %s: process %d cannot be looked at: %w", socket, pid, err)
	}
	want, err := os.Stat(dataDir)
	if err != nil {
		return RunFile{}, fmt.Errorf("find the mysqld of %s: %w", socket, err)
	}
	if !os.SameFile(at, want) {
		return RunFile{}, fmt.Errorf("find the mysqld of %s: process %d listens there and does not work in %s: is mysql.data_dir right?", socket, pid, dataDir)
	}
	return run, nil
}

func listener(socket string) (int, error) {
	conn, err := net.DialTimeout("unix", socket, time.Second)
	if err != nil {
		return 0, err
	}
	defer conn.Close() // Nothing was written to it.
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return 0, err
	}
	if credErr != nil {
		return 0, credErr
	}
	return int(cred.Pid), nil
}
