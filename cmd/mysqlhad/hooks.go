package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mysqlha/mysqlha/certs"
	"github.com/mysqlha/mysqlha/config"
	"github.com/mysqlha/mysqlha/election"
	"github.com/mysqlha/mysqlha/hooks"
	"github.com/mysqlha/mysqlha/metrics"
)

// hooksOf are those of a host's configuration.
func hooksOf(cfg *config.Config) []hooks.Hook {
	all := make([]hooks.Hook, 0, len(cfg.Hooks))
	for _, c := range cfg.Hooks {
		h := hooks.Hook{Name: c.Name, Command: c.Command, URL: c.URL, Timeout: c.Timeout, Tries: c.Tries}
		for _, kind := range c.On {
			h.On = append(h.On, hooks.Kind(kind))
		}
		if c.TokenFile != "" {
			h.Token = func() (string, error) { return config.ReadSecret(c.TokenFile) }
		}
		if u, err := url.Parse(c.URL); err == nil && c.CA != "" {
			h.TLS = certs.ClientConfig(certs.Files{CA: c.CA}, u.Hostname())
		}
		all = append(all, h)
	}
	return all
}

// told counts what was told.
type told struct{ metrics *metrics.Registry }

func (t told) Hooked(hook string, _ hooks.Kind, delivered bool) {
	t.metrics.Hooked(hook, delivered)
}

// memberEvents are what a member tells: metrics, the hooks of a fence, and what is
// remembered of the last hour.
type memberEvents struct {
	*metrics.Registry
	d *daemon
}

func (e memberEvents) Fenced(cause string, took, sinceProof time.Duration) {
	e.Registry.Fenced(cause, took, sinceProof)
	e.d.courier.Tell(hooks.Fence(e.d.cfg.Cluster, e.d.cfg.Name, cause, took, time.Now()))
}

func (e memberEvents) Interrupted(cause string, since, until time.Time) {
	e.Registry.Interrupted(cause, since, until)
	e.d.recent.interrupted(cause, since, until)
}

// journal is the events of the cluster as they stand in etcd, for the leader.
type journal struct {
	d      *daemon
	leader election.Leader
}

func (j journal) Changed() <-chan struct{} { return j.d.bus.Changed() }

func (j journal) Version() uint64 {
	if r := j.d.bus.State().Record; r != nil {
		return r.Version
	}
	return 0
}

func (j journal) Begin(ctx context.Context, hook string) (hooks.Cursor, error) {
	var c hooks.Cursor
	found, err := j.d.bus.HookCursor(ctx, hook, &c)
	if err != nil || found {
		return c, err
	}
	s := j.d.bus.State()
	if !s.Loaded() {
		return c, errors.New("etcd has not been read yet")
	}
	if s.Record != nil { // Else nothing has happened yet.
		last, err := j.d.bus.LastHistory(ctx)
		if err != nil {
			return c, err
		}
		c = hooks.Behind(*s.Record, last)
	}
	return c, j.Save(ctx, hook, c)
}

func (j journal) Steps(ctx context.Context, c hooks.Cursor) ([]hooks.Step, error) {
	r := j.d.bus.State().Record
	if r == nil {
		return nil, nil
	}
	found, err := j.d.bus.HistoryAfter(ctx, c.History)
	if err != nil {
		return nil, err
	}
	entries := make([]hooks.Entry, 0, len(found))
	for _, h := range found {
		entries = append(entries, hooks.Entry(h))
	}
	return hooks.Steps(j.d.cfg.Cluster, c, entries, *r, time.Now()), nil
}

func (j journal) Save(ctx context.Context, hook string, c hooks.Cursor) error {
	return j.d.bus.SaveHookCursor(ctx, j.leader, hook, c)
}

func hooksCommand(flags []cli.Flag, stdout, stderr io.Writer) *cli.Command {
	return &cli.Command{Name: "hooks", Usage: "the hooks of this host's configuration",
		Subcommands: []*cli.Command{{Name: "test", Usage: "tell one hook, or all, of an event of the kind test, once", ArgsUsage: "[NAME]", Flags: flags,
			Action: func(c *cli.Context) error { return testHooks(c, stdout, stderr) }}}}
}

// testHooks tries the hooks as the daemon would, but for the repeating.
func testHooks(c *cli.Context, stdout, stderr io.Writer) error {
	if c.NArg() > 1 {
		return usage("name one hook, or none for all")
	}
	cfg, _, err := prepare(c, stderr)
	if err != nil {
		return err
	}
	tried, failed := 0, error(nil)
	for _, h := range hooksOf(cfg) {
		if c.Args().Present() && h.Name != c.Args().First() {
			continue
		}
		tried++
		begun := time.Now()
		if err := h.Deliver(c.Context, hooks.Test(cfg.Cluster, begun)); err != nil {
			failed = errors.Join(failed, fmt.Errorf("hook %s: %w", h.Name, err))
			continue
		}
		fmt.Fprintf(stdout, "hook %s was told, in %s\n", h.Name, time.Since(begun).Round(time.Millisecond))
	}
	if tried == 0 {
		return usage("there is no such hook in %s", c.String("config"))
	}
	return failed
}
