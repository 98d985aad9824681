package guard

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/mysqlha/mysqlha/replication/process"
)

// # A mysqld that the guard did not start
//
// A running cluster is adopted without a restart: the guard watches over a mysqld
// that somebody else has started, until it ends. It can do all but one thing for it:
// it describes the process for the daemon, closes it when the daemon cannot (S9),
// and stops it by the rules of S10 when it is asked to. What it cannot know is how
// the process ended, so it reads from the binary log whether that was polite.
//
// A guard that is told to attach starts nothing. One that is to start mysqld and finds
// such a one still there watches over that first, and starts its own when it has ended.

// watchOver watches over a running mysqld until it has ended, and returns its exit
// status, 0. It has no lock to inherit, so that its life alone keeps others from
// starting another one.
func watchOver(ctx context.Context, o Options, run process.RunFile) (int, error) {
	proc, err := os.FindProcess(run.PID)
	if err != nil {
		return 0, fmt.Errorf("attach to mysqld: %w", err)
	}
	c := &child{run: run, proc: proc, attached: true, exited: make(chan struct{})}
	go func() {
		defer close(c.exited)
		c.waitErr = process.AwaitDeath(context.WithoutCancel(ctx), run)
	}()
	return supervise(ctx, o, c, nil)
}

// attach finds the mysqld that listens on the socket, and watches over it.
func attach(ctx context.Context, o Options) (int, error) {
	run, err := process.Listening(o.Socket, o.DataDir)
	if err != nil {
		return 0, fmt.Errorf("attach to mysqld: %w", err)
	}
	return watchOver(ctx, o, run)
}

// outlive returns once the mysqld of the run file is gone, and watches over it until
// then. One that was started by a guard holds the lock; one that a guard was attached
// to does not, and while it lives nothing may be started or cut off its binary log (S7).
func outlive(ctx context.Context, o Options) error {
	run, err := process.ReadRunFile(o.RunFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	lives, err := process.Lives(run)
	if err != nil || !lives {
		return err
	}
	o.Logger.Warn("mysqld runs already, without a guard that is its parent: it is watched over, and another one is started when it has ended", "pid", run.PID, "run", run.StartID)
	run.Attached, run.GuardPID = true, os.Getpid()
	_, err = watchOver(ctx, o, run)
	return err
}

// endedPolitely tells whether mysqld closed its binary log at its end.
func endedPolitely(o Options, c *child) (bool, error) {
	if !c.attached {
		return c.state != nil && (c.state.ExitCode() == 0 || c.state.ExitCode() == restartStatus), nil
	}
	opened, err := process.ReadOpened(o.TermFile)
	if errors.Is(err, fs.ErrNotExist) || err == nil && opened.Run != c.run.StartID {
		return false, nil // It was never open here, so it let nothing go.
	}
	if err != nil {
		return false, err
	}
	inUse, err := leftInUse(o, opened)
	return err == nil && !inUse, err
}
