package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/mysqlha/mysqlha/deploy/sandbox"
	"github.com/mysqlha/mysqlha/deploy/sandbox/load"
)

// recovery bounds one failover; a cluster that needs longer has not recovered.
const recovery = 60 * time.Second

// failoverTrial is one failover of a cluster of its own, which loses its primary
// some time after the load has begun.
func failoverTrial(ctx context.Context, s settings, number int, after time.Duration) (f sandbox.Failover, text string, err error) {
	templates := filepath.Join(s.folder, "templates")
	if err := os.MkdirAll(templates, 0o700); err != nil {
		return f, "", err
	}
	c, err := sandbox.Up(ctx, sandbox.Options{Dir: filepath.Join(s.folder, fmt.Sprintf("trial%d", number+1)),
		BufferPool: s.pool, MySQLD: s.mysqld, Mysqlha: s.mysqlha, Templates: templates, Attached: true})
	if err != nil {
		return f, "", err
	}
	defer func() { err = errors.Join(err, c.Kill(context.WithoutCancel(ctx), false)) }()
	filled, release, err := fillPool(ctx, s, c)
	if err != nil {
		return f, "", err
	}
	defer release()
	g, err := c.StartLoad(ctx, load.Options{Writers: s.writers})
	if err != nil {
		return f, "", err
	}
	f, err = failAfter(ctx, c, g, after, s.fault)
	result := g.Stop()
	if err != nil {
		return f, "", err
	}
	bounded, cancel := context.WithTimeoutCause(ctx, recovery, fmt.Errorf("no primary within %v", recovery))
	defer cancel()
	report, err := c.CheckLoad(bounded, result)
	if err != nil {
		return f, "", err
	}
	if !report.OK() {
		return f, "", errors.New(report.String())
	}
	return f, fmt.Sprintf("%s -> %s: %s%s; %s", f.Old, f.New, phaseText(f.Phases), filled, report), nil
}

func failAfter(ctx context.Context, c *sandbox.Sandbox, g *load.Generator, after time.Duration, fault syscall.Signal) (sandbox.Failover, error) {
	select {
	case <-ctx.Done():
		return sandbox.Failover{}, context.Cause(ctx)
	case <-time.After(after): // The moment that was drawn.
	}
	ctx, cancel := context.WithTimeoutCause(ctx, recovery, fmt.Errorf("not recovered within %v", recovery))
	defer cancel()
	return c.FailPrimary(ctx, g, fault)
}

// fillPool fills the primary's buffer pool, where a size was given.
func fillPool(ctx context.Context, s settings, c *sandbox.Sandbox) (text string, release func(), err error) {
	if s.poolBytes == 0 {
		return "", func() {}, nil
	}
	primary, err := c.Primary(ctx)
	if err != nil {
		return "", nil, err
	}
	db, err := c.OpenAdmin(primary)
	if err != nil {
		return "", nil, err
	}
	if _, err := touch(ctx, db, sandbox.AppSchema, s.poolBytes); err != nil {
		return "", nil, errors.Join(err, db.Close())
	}
	id, err := c.Pid(ctx, primary)
	if err != nil {
		return "", nil, errors.Join(err, db.Close())
	}
	resident, err := id.ResidentBytes()
	if err != nil {
		return "", nil, errors.Join(err, db.Close())
	}
	// The server is killed before the session ends; there is no error to heed.
	return "; " + mebibytes(resident) + " resident at the kill", func() { _ = db.Close() }, nil
}
