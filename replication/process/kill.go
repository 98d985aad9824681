package process

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// ErrRecycled says that the pid of a run file belongs to another process now,
// which was left alone. The mysqld of that run file is gone, if the file is
// what the guard wrote.
var ErrRecycled = errors.New("the pid belongs to another process now")

// killPoll is how long one wait for the death lasts before the context is
// looked at again; the death itself is seen at once.
const killPoll = 20 * time.Millisecond

// KillFile kills the process that the run file at path names; see [Kill].
func KillFile(ctx context.Context, path string) error {
	run, err := ReadRunFile(path)
	if err != nil {
		return err
	}
	return Kill(ctx, run)
}

// Kill sends SIGKILL to the process and waits until the kernel confirms that
// all of it is dead: its memory freed and its sockets closed. It returns nil
// only then, or when the process does not exist any more. Otherwise the error
// is [ErrRecycled], or wraps ctx's when the death was not confirmed in time,
// which for a fence means that nothing is known. The process need not be the
// caller's child.
func Kill(ctx context.Context, run RunFile) error {
	if err := run.check(); err != nil {
		return fmt.Errorf("kill mysqld: %w", err)
	}
	err := withPidfd(run, func(fd int) error {
		if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
			return err
		}
		if err := awaitDeath(ctx, fd, killPoll); err != nil {
			return fmt.Errorf("SIGKILL was sent but the death is not confirmed: %w", err)
		}
		return nil
	})
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill mysqld %s: %w", run.StartID, err)
	}
	return nil
}

// withPidfd opens a pidfd of the process for do. It returns ESRCH when there is no
// process of that pid, or its kernel is gone. The start time is compared before and
// after the pidfd is opened: the second look proves that the pidfd is of the right
// process, since that one has held the pid all the while; the first spares others
// even the opening.
func withPidfd(run RunFile, do func(fd int) error) error {
	if err := sameRun(run); err != nil {
		return err
	}
	fd, err := unix.PidfdOpen(run.PID, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }() // Nothing was written to it.
	if err := sameRun(run); err != nil {
		return err
	}
	return do(fd)
}

// sameRun returns nil where the process exists, ESRCH where it does not, and
// ErrRecycled where its pid is another's.
func sameRun(run RunFile) error {
	boot, err := bootID()
	if err != nil {
		return err
	}
	if boot != run.BootID {
		return unix.ESRCH // No process outlives its kernel.
	}
	ticks, err := startTicks(run.PID)
	if err != nil {
		return err
	}
	if ticks != run.StartTicks {
		return ErrRecycled
	}
	return nil
}

// awaitDeath waits until the pidfd is readable, which it is as soon as every
// thread is dead, reaped or not. It looks at ctx after each slice.
func awaitDeath(ctx context.Context, pidfd int, slice time.Duration) error {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, int(slice/time.Millisecond))
		switch {
		case err != nil && !errors.Is(err, unix.EINTR):
			return err
		case n > 0:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
	}
}
