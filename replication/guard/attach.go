package guard

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"github.com/mysqlha/mysqlha/replication/binlog"
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
// It starts nothing. The next start is that of a guard that is mysqld's parent.

// attach finds the running mysqld. It has no lock to inherit, so that its life alone
// keeps another guard waiting.
func attach(ctx context.Context, o Options) (*child, error) {
	run, err := process.Listening(o.Socket, o.DataDir)
	if err != nil {
		return nil, fmt.Errorf("attach to mysqld: %w", err)
	}
	proc, err := os.FindProcess(run.PID)
	if err != nil {
		return nil, fmt.Errorf("attach to mysqld: %w", err)
	}
	c := &child{run: run, proc: proc, attached: true, exited: make(chan struct{})}
	go func() {
		defer close(c.exited)
		c.waitErr = process.AwaitDeath(context.WithoutCancel(ctx), run)
	}()
	return c, nil
}

// awaitFormer returns once the mysqld of the run file is gone. One that was started
// by the guard holds the lock; one that a guard was attached to does not, and while
// it lives nothing may be started or cut off its binary log (S7).
func awaitFormer(ctx context.Context, runFile string, log *slog.Logger) error {
	run, err := process.ReadRunFile(runFile)
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
	log.Warn("mysqld runs already, without a guard that is its parent; it is not started before that one is gone; mysqlhad guard --attach watches over it until then",
		"pid", run.PID, "start_id", run.StartID)
	if err := process.AwaitDeath(ctx, run); err != nil {
		return fmt.Errorf("mysqld is not started: another one is there, pid %d: %w", run.PID, err)
	}
	return nil
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
	logs, err := binlog.List(opened.LogIndex, o.DataDir)
	if err != nil {
		return false, err
	}
	inUse, err := isInUse(logs[len(logs)-1])
	return err == nil && !inUse, err
}
