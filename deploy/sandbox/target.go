package sandbox

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/mysqlha/mysqlha/deploy/sandbox/process"
)

// Targets says in words what Pid and Signal take.
const Targets = "db1 (its mysqld), db1/daemon, db1/guard, primary (also primary/daemon and primary/guard), redirector, witness, etcd1"

// Pid returns the process that a target names; see Targets. Its error wraps
// process.ErrGone when there is none at this moment.
func (s *Sandbox) Pid(ctx context.Context, target string) (process.Identity, error) {
	host, part, err := s.resolve(ctx, target)
	if err != nil {
		return process.Identity{}, err
	}
	if s.layout.isServer(host) && part == "" {
		id, err := process.Read(s.layout.runFile(host))
		if err == nil && !id.Alive() {
			err = process.ErrGone
		}
		if err != nil {
			return process.Identity{}, fmt.Errorf("finding mysqld of %s: %w", host, err)
		}
		return id, nil
	}
	report, _, err := s.Processes()
	if err != nil {
		return process.Identity{}, fmt.Errorf("finding %s: %w", target, err)
	}
	program, found := report.Find(programName(host, part))
	if !found {
		return process.Identity{}, fmt.Errorf("%q is not a part of this sandbox: use %s", target, Targets)
	}
	if !program.Alive() {
		return process.Identity{}, fmt.Errorf("finding %s: %w", target, process.ErrGone)
	}
	return program.Identity, nil
}

// Signal sends a signal to the process that a target names, and to no other.
func (s *Sandbox) Signal(ctx context.Context, target string, signal syscall.Signal) error {
	id, err := s.Pid(ctx, target)
	if err != nil {
		return err
	}
	if err := id.Signal(signal); err != nil {
		return fmt.Errorf("%s: %w", target, err)
	}
	return nil
}

// Restart asks a target to stop, as `systemctl restart` would; the supervisor
// starts it again. A server is stopped by its guard.
func (s *Sandbox) Restart(ctx context.Context, target string) error {
	host, part, err := s.resolve(ctx, target)
	if err != nil {
		return err
	}
	if s.layout.isServer(host) && part == "" {
		part = "guard"
	}
	return s.Signal(ctx, programName(host, part), syscall.SIGTERM)
}

// resolve splits a target and puts the primary's name in the alias's place.
func (s *Sandbox) resolve(ctx context.Context, target string) (host, part string, err error) {
	host, part, cut := strings.Cut(target, "/")
	if host == "" || cut && part == "" {
		return "", "", fmt.Errorf("%q is not a part of this sandbox: use %s", target, Targets)
	}
	if host != "primary" {
		return host, part, nil
	}
	if host, err = s.Primary(ctx); err == nil {
		return host, part, nil
	}
	return "", "", errors.Join(err, errors.New("name the server instead"))
}

// programName is how the supervisor calls a process.
func programName(host, part string) string {
	if part == "" {
		return host
	}
	return host + "/" + part
}
