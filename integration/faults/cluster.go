// Package faults brings real clusters, each host in a network namespace of its
// own, into trouble and checks what the project promises: nothing acknowledged
// is lost or doubled, no two terms acknowledge at the same time, and all
// servers have the same data in the end. Tests and the soak run share it.
package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/deploy/sandbox"
	"github.com/mysqlha/mysqlha/deploy/sandbox/process"
	"github.com/mysqlha/mysqlha/integration/netlab"
)

// Cluster is a sandbox on a network of its own.
type Cluster struct {
	*sandbox.Sandbox
	Lab *netlab.Lab
	// Rebuilt counts the servers that were built anew by hand, because they held
	// transactions that nobody was told about.
	Rebuilt int
}

// Start makes network and cluster; Close ends them.
func Start(ctx context.Context, o sandbox.Options) (*Cluster, error) {
	hosts, err := o.Hosts()
	if err != nil {
		return nil, err
	}
	lab, err := netlab.New(ctx, hosts)
	if err != nil {
		return nil, err
	}
	o.Network = &sandbox.Network{Namespaces: map[string]string{}, IPs: map[string]string{}}
	for _, host := range hosts {
		o.Network.Namespaces[host], o.Network.IPs[host] = lab.Namespace(host), lab.IP(host)
	}
	o.Attached = true
	s, err := sandbox.Up(ctx, o)
	if err != nil {
		return nil, errors.Join(err, lab.Close(context.WithoutCancel(ctx)))
	}
	return &Cluster{Sandbox: s, Lab: lab}, nil
}

// Close ends the cluster and removes its network.
func (c *Cluster) Close(ctx context.Context) error {
	return errors.Join(c.Kill(ctx, false), c.Lab.Close(ctx))
}

// KillKeep ends the cluster and its network and keeps the files.
func (c *Cluster) KillKeep(ctx context.Context) error {
	return errors.Join(c.Kill(ctx, true), c.Lab.Close(ctx))
}

// Others returns the servers but that one.
func (c *Cluster) Others(server string) []string {
	return slices.DeleteFunc(c.Servers(), func(n string) bool { return n == server })
}

// Diverged returns the servers that hold transactions which the primary has not.
func Diverged(state api.Cluster) []string {
	var names []string
	for _, s := range state.Servers {
		if !s.Errant.IsEmpty() {
			names = append(names, s.Name)
		}
	}
	return names
}

// quiet is for how long a cluster must look whole to be whole.
const quiet = 3 * time.Second

// WholeAgain waits until the cluster is open and every server is in sync. A
// server that is named diverged is built anew, as its operator would have to.
func (c *Cluster) WholeAgain(ctx context.Context) error {
	rebuilt := make(map[string]time.Time)
	var since time.Time
	for {
		state, err := c.Cluster(ctx)
		switch {
		case err != nil || !sandbox.Settled(state) || state.Record.Suspended:
			since = time.Time{}
		case since.IsZero():
			since = time.Now() // What happened a moment ago may not show yet.
		case time.Since(since) > quiet:
			return nil
		}
		if err == nil && sandbox.IsOpen(state) {
			for _, name := range Diverged(state) {
				if time.Since(rebuilt[name]) < 20*time.Second {
					continue // It is on its way.
				}
				if err := c.Rebuild(ctx, name); err != nil {
					return err
				}
				rebuilt[name] = time.Now()
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the cluster is not whole: %w; %s", context.Cause(ctx), describe(state, err))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func describe(state api.Cluster, err error) string {
	if err != nil {
		return err.Error()
	}
	var words []string
	if state.Record != nil {
		words = append(words, fmt.Sprintf("term %d of %s, in sync %v, plan %v", state.Record.Term, state.Record.Primary, state.Record.InSync, state.Record.Plan != nil))
	}
	words = append(words, "leader "+state.Leader, string(state.Decision.Reason)+" "+state.Decision.Detail)
	for _, w := range state.Decision.Waits {
		words = append(words, fmt.Sprintf("%s %s: %s", w.Code, w.Server, w.Detail))
	}
	for _, s := range state.Servers {
		words = append(words, fmt.Sprintf("%s: goal %s, status %s %s %s, in sync %t", s.Name, s.Goal, s.Status.State, s.Status.Problem, s.Status.Detail, s.InSync))
	}
	return strings.Join(words, "; ")
}

// Rebuild replaces a server's data by a clone of a replica's, or else of the
// primary's, made on this machine.
func (c *Cluster) Rebuild(ctx context.Context, server string) error {
	donor, err := c.donor(ctx, server)
	if err != nil {
		return err
	}
	next := fmt.Sprintf("%s.next-%d", c.DataDir(server), time.Now().UnixNano())
	db, err := c.OpenAdmin(donor)
	if err != nil {
		return err
	}
	defer db.Close() // Nothing is under way on it.
	if _, err := db.ExecContext(ctx, "CLONE LOCAL DATA DIRECTORY = '"+next+"'"); err != nil {
		return fmt.Errorf("building %s anew from %s: %w", server, donor, err)
	}
	// Its parent gone, mysqld is gone, and the supervisor waits before it starts
	// both again.
	if err := c.Signal(ctx, server+"/guard", syscall.SIGKILL); err != nil {
		return fmt.Errorf("building %s anew: %w", server, err)
	}
	if err := c.awaitGone(ctx, server); err != nil {
		return err
	}
	data := c.DataDir(server)
	old := next + ".old"
	// The donor's accounts come along, the daemon's own among them.
	password, err := os.ReadFile(filepath.Join(c.StateDir(donor), "control.password"))
	if err == nil {
		err = os.WriteFile(filepath.Join(c.StateDir(server), "control.password"), password, 0o600)
	}
	if err := errors.Join(err, os.Rename(data, old), os.Rename(next, data), os.RemoveAll(old)); err != nil {
		return fmt.Errorf("building %s anew: %w", server, err)
	}
	c.Rebuilt++
	return c.forgetSource(ctx, server)
}

// forgetSource removes the donor's replication settings, whose relay logs were
// not cloned, as soon as the server answers.
func (c *Cluster) forgetSource(ctx context.Context, server string) error {
	db, err := c.OpenAdmin(server)
	if err != nil {
		return err
	}
	defer db.Close() // Nothing is under way on it.
	for {
		if _, err = db.ExecContext(ctx, "RESET REPLICA ALL"); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("building %s anew: %w (%w)", server, context.Cause(ctx), err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// donor returns a server in sync, else the primary.
func (c *Cluster) donor(ctx context.Context, not string) (string, error) {
	state, err := c.Cluster(ctx)
	if err != nil || state.Record == nil {
		return "", fmt.Errorf("looking for a donor: %w", err)
	}
	for _, name := range append(state.Record.InSync, state.Record.Primary) {
		if name != not {
			return name, nil
		}
	}
	return "", errors.New("looking for a donor: there is none")
}

// awaitGone returns when the server's mysqld is gone.
func (c *Cluster) awaitGone(ctx context.Context, server string) error {
	for {
		if _, err := c.Pid(ctx, server); errors.Is(err, process.ErrGone) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("mysqld of %s is not gone: %w", server, context.Cause(ctx))
		case <-time.After(time.Millisecond):
		}
	}
}
