package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/mysqlha/mysqlha/deploy/sandbox/process"
)

// killDeadline is how long a killed process may take to be gone; the kernel
// must free its memory first.
const killDeadline = 20 * time.Second

// Down stops everything as a host that is shut down would, and removes the
// folder unless keep is set; a kept one can be started again by Up. It returns
// when nothing is left running. The sandbox cannot be used after it.
func (s *Sandbox) Down(ctx context.Context, keep bool) error {
	return s.end(ctx, syscall.SIGTERM, keep)
}

// Kill is Down without asking anybody: all processes are killed at once.
func (s *Sandbox) Kill(ctx context.Context, keep bool) error {
	return s.end(ctx, syscall.SIGKILL, keep)
}

// Remove removes the files of a sandbox that was ended and kept.
func (s *Sandbox) Remove() error { return s.layout.remove() }

func (s *Sandbox) end(ctx context.Context, signal syscall.Signal, keep bool) error {
	unlock, err := lock(s.layout.dir)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.stop(ctx, signal); err != nil {
		return err
	}
	if keep {
		return nil
	}
	return s.layout.remove()
}

// stop ends the supervisor, which ends all others, and then whatever is left.
func (s *Sandbox) stop(ctx context.Context, signal syscall.Signal) error {
	s.client.Close()
	id := s.spawned
	if report, err := s.report(); err == nil {
		id = report.Supervisor
	}
	asked, cancel := context.WithTimeout(ctx, wholeStopDeadline)
	defer cancel()
	if err := endProcess(asked, id, signal); err != nil {
		// Its children have the death signal, and what is left is killed below.
		if err := endProcess(context.WithoutCancel(ctx), id, syscall.SIGKILL); err != nil {
			return fmt.Errorf("stopping the supervisor: %w", err)
		}
	}
	if s.ended != nil {
		<-s.ended
	}
	return s.sweep(context.WithoutCancel(ctx))
}

// sweep kills what outlived the supervisor: first those that could start
// another process, then the servers.
func (s *Sandbox) sweep(ctx context.Context) error {
	var errs []error
	if report, err := s.report(); err == nil {
		for _, p := range report.Programs {
			errs = append(errs, endProcess(ctx, p.Identity, syscall.SIGKILL))
		}
	}
	for _, server := range s.Servers() {
		if id, err := process.Read(s.layout.runFile(server)); err == nil {
			errs = append(errs, endProcess(ctx, id, syscall.SIGKILL))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("stopping the sandbox: %w", err)
	}
	return nil
}

// endProcess signals a process and returns when it has ended.
func endProcess(ctx context.Context, id process.Identity, signal syscall.Signal) error {
	err := id.Signal(signal)
	if errors.Is(err, process.ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	if signal == syscall.SIGKILL {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, killDeadline)
		defer cancel()
	}
	return id.Await(ctx)
}

// remove removes all files of the sandbox.
func (l layout) remove() error {
	errs := []error{os.RemoveAll(l.dir)}
	if l.RunDir != "" {
		errs = append(errs, os.RemoveAll(l.RunDir))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("removing the sandbox: %w", err)
	}
	return nil
}
