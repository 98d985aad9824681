package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication"
)

// control is the account with which the daemon controls the mysqld of its host. Each host
// has its own, known to this host alone, and changes its password by itself: mysqld learns
// the next one besides the present, then the file has it, then the present one ends. Where
// that was interrupted it goes on from what the files and mysqld show. A password that is
// kept elsewhere than in the daemon's folder is somebody else's to change.
type control struct {
	d *daemon
	// done is the request that was carried out last.
	done string
	// tidied: it is known that one password alone opens the account.
	tidied bool
	// pending: not all of what was asked for is done.
	pending atomic.Bool
}

func (c *control) doneFile() string { return filepath.Join(c.d.cfg.DataDir, "control.rotated") }

// ours tells whether there is such an account, and the daemon keeps its password.
func (c *control) ours() bool {
	return c.d.member != nil && filepath.Dir(c.d.cfg.MySQL.ControlPasswordFile) == filepath.Clean(c.d.cfg.DataDir)
}

// follow carries out the request, and sees once after that and once after each start that
// nothing was left half-way.
func (c *control) follow(ctx context.Context, wanted *decide.RotationRequest) error {
	if !c.ours() {
		return nil
	}
	asked := wanted != nil && wanted.ID != c.done
	if asked {
		c.pending.Store(true)
	}
	if asked || c.interrupted() {
		if err := c.renew(ctx); err != nil {
			return fmt.Errorf("the daemon's account on its own mysqld: %w", err)
		}
	}
	if asked {
		if err := writeDone(c.doneFile(), wanted); err != nil {
			return err
		}
		c.done = wanted.ID
		return nil // The former one goes a moment later: somebody may be logging in with it.
	}
	if c.tidied {
		return nil
	}
	if err := c.tidy(ctx); err != nil {
		return fmt.Errorf("the former password of the daemon's account on its own mysqld: %w", err)
	}
	c.pending.Store(!c.tidied)
	return nil
}

// interrupted tells whether a next password is left from before.
func (c *control) interrupted() bool {
	_, err := os.Stat(c.d.cfg.MySQL.ControlPasswordFile + nextSuffix)
	return err == nil
}

// renew has the account have another password, besides the present one.
func (c *control) renew(ctx context.Context) error {
	p, err := openPassword(c.d.cfg.MySQL.ControlPasswordFile)
	if err != nil {
		return err
	}
	if err := p.prepare(); err != nil {
		return err
	}
	hash, err := replication.HashPassword(p.next)
	if err != nil {
		return err
	}
	has, err := c.d.member.local.HasPassword(ctx, hash)
	if err == nil && !has {
		err = c.d.member.member.GiveControlPassword(ctx, hash)
	}
	if err != nil {
		return err
	}
	c.tidied = false
	return p.take()
}

// tidy has one password alone open the account.
func (c *control) tidy(ctx context.Context) error {
	former, err := c.d.member.local.HasFormerPassword(ctx)
	if err != nil {
		return nil // mysqld does not answer, and is asked again.
	}
	if former {
		if err := c.d.member.member.DropFormerControlPassword(ctx); err != nil {
			return err
		}
	}
	c.tidied = true
	return nil
}
