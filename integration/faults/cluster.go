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
	"time"

	"golang.org/x/sys/unix"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/deploy/sandbox"
	"github.com/mysqlha/mysqlha/integration/netlab"
)

// Cluster is a sandbox on a network of its own.
type Cluster struct {
	*sandbox.Sandbox
	Lab *netlab.Lab
	// disks are what is mounted for the servers' data.
	disks []string
}

// diskSize is that of each server's disk, where it has one of its own: room for
// the binary and relay logs of an hour.
const diskSize = 5 << 30

// Start makes network and cluster, and where asked a small disk for each server's
// data; Close ends them.
func Start(ctx context.Context, o sandbox.Options, disks bool) (*Cluster, error) {
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
	c := &Cluster{Lab: lab}
	if disks {
		o.Volume = c.mount
	}
	c.Sandbox, err = sandbox.Up(ctx, o)
	if err != nil {
		return nil, errors.Join(err, c.unmount(), lab.Close(context.WithoutCancel(ctx)))
	}
	// So many faults would be too many for a cluster that nobody breaks on purpose.
	if _, err := c.API().ChangeSettings(ctx, api.SettingsChange{Set: map[string]string{"cooldown": "off"}}); err != nil {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		return nil, errors.Join(err, c.Close(end))
	}
	return c, nil
}

// mount mounts a small disk, of memory.
func (c *Cluster) mount(dir string) error {
	if err := unix.Mount("mysqlha", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0750", diskSize)); err != nil {
		return fmt.Errorf("mounting a disk at %s: %w", dir, err)
	}
	c.disks = append(c.disks, dir)
	return nil
}

func (c *Cluster) unmount() error {
	var errs []error
	for _, dir := range c.disks {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			errs = append(errs, fmt.Errorf("unmounting %s: %w", dir, err))
		}
	}
	c.disks = nil
	return errors.Join(errs...)
}

// Close ends the cluster and removes its disks, its network and its files.
func (c *Cluster) Close(ctx context.Context) error {
	return errors.Join(c.KillKeep(ctx), c.Remove())
}

// KillKeep ends the cluster, its disks and its network and keeps the other files.
func (c *Cluster) KillKeep(ctx context.Context) error {
	return errors.Join(c.Kill(ctx, true), c.unmount(), c.Lab.Close(ctx))
}

// Others returns the servers but that one.
func (c *Cluster) Others(server string) []string {
	return slices.DeleteFunc(c.Servers(), func(n string) bool { return n == server })
}

// quiet is for how long a cluster must look whole to be whole.
const quiet = 3 * time.Second

// WholeAgain waits until the cluster is open and every server is in sync, without
// lending a hand.
func (c *Cluster) WholeAgain(ctx context.Context) error {
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

// CountLogged counts the lines of the servers' log files of that name that hold
// the text.
func (c *Cluster) CountLogged(name, text string) (int, error) {
	n := 0
	for _, server := range c.Servers() {
		log, err := os.ReadFile(filepath.Join(c.Dir(), server, name))
		if err != nil {
			return 0, fmt.Errorf("counting in the logs: %w", err)
		}
		n += strings.Count(string(log), text)
	}
	return n, nil
}
