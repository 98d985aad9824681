package reference

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/config"
	"github.com/mysqlha/mysqlha/deploy/reference/customer"
	"github.com/mysqlha/mysqlha/deploy/sandbox"
	"github.com/mysqlha/mysqlha/deploy/sandbox/process"
)

// The measures of a drill.
const (
	drillCustomers = 8
	// ordersBefore are acknowledged before the harm is done, ordersAfter after it, in
	// lastsFor at least.
	ordersBefore = 100
	ordersAfter  = 300
	lastsFor     = 8 * time.Second
	drillTimeout = 2 * time.Minute
)

// Drill is a harm that is done to a site under orders, and mended.
type Drill struct {
	// Name is one word, What a sentence.
	Name, What string
	// harm does it, and returns how it is mended. Of a drill that moves the public address
	// it also returns where to, and how long that took.
	harm func(*Site, context.Context) (moved move, mend func(context.Context) error, err error)
}

// move is a move of the public address.
type move struct {
	to    string
	after time.Duration
}

// DrillResult is what came of a drill.
type DrillResult struct {
	Drill Drill
	// MovedTo is the balancer that took the public address over, and Moved how long that
	// took; empty where the drill does not look at it.
	MovedTo string
	Moved   time.Duration
	// Customers is what they saw, Found what the database has.
	Customers customer.Report
	Found     customer.Found
}

// Drills returns all drills, from the customers inwards.
func Drills() []Drill {
	none := func(context.Context) error { return nil }
	return []Drill{
		{"balancer", "the balancer that has the public address loses power", (*Site).loseBalancer},
		{"haproxy", "HAProxy is killed on the balancer that has the public address", func(s *Site, ctx context.Context) (move, func(context.Context) error, error) {
			holder, err := s.holder(ctx)
			if err != nil {
				return move{}, none, err
			}
			return move{}, none, s.Signal(holder+"/haproxy", syscall.SIGKILL)
		}},
		{"web", "a web server loses power", func(s *Site, ctx context.Context) (move, func(context.Context) error, error) {
			return s.losePower(ctx, hostsOf(s.layout.site, config.TierWeb)[0].Name)
		}},
		{"app", "an application server loses power", func(s *Site, ctx context.Context) (move, func(context.Context) error, error) {
			return s.losePower(ctx, hostsOf(s.layout.site, config.TierApp)[0].Name)
		}},
		{"primary", "the primary's mysqld is killed (kill -9)", func(s *Site, ctx context.Context) (move, func(context.Context) error, error) {
			return move{}, none, s.cluster.Signal(ctx, "primary", syscall.SIGKILL)
		}},
		{"network", "the primary's host is cut off", func(s *Site, ctx context.Context) (move, func(context.Context) error, error) {
			primary, err := s.cluster.Primary(ctx)
			if err != nil {
				return move{}, none, err
			}
			return move{}, func(ctx context.Context) error { return s.Plug(ctx, primary, true) }, s.Plug(ctx, primary, false)
		}},
		{"etcd", "etcd has no quorum: the daemons of all replicas are stopped", (*Site).stopEtcd},
	}
}

// holder is the balancer that has the public address.
func (s *Site) holder(ctx context.Context) (string, error) {
	holders, err := s.Holders(ctx)
	if err == nil && len(holders) != 1 {
		err = fmt.Errorf("%v have the public address", holders)
	}
	if err != nil {
		return "", err
	}
	return holders[0], nil
}

// losePower cuts a host off and kills all that runs there. What is started again there
// has no network until it is mended, as on a host that comes back.
func (s *Site) losePower(ctx context.Context, host string) (move, func(context.Context) error, error) {
	mend := func(ctx context.Context) error { return s.Plug(ctx, host, true) }
	if err := s.Plug(ctx, host, false); err != nil {
		return move{}, mend, err
	}
	own, err := s.Processes()
	if err != nil {
		return move{}, mend, err
	}
	cluster, _, err := s.cluster.Processes()
	if err != nil {
		return move{}, mend, err
	}
	var errs []error
	for _, p := range append(own.Programs, cluster.Programs...) {
		if p.Name == host || strings.HasPrefix(p.Name, host+"/") {
			if err := p.Signal(syscall.SIGKILL); !errors.Is(err, process.ErrGone) {
				errs = append(errs, err)
			}
		}
	}
	return move{}, mend, errors.Join(errs...)
}

// loseBalancer tells how long it took until another one had the address.
func (s *Site) loseBalancer(ctx context.Context) (move, func(context.Context) error, error) {
	holder, err := s.holder(ctx)
	if err != nil {
		return move{}, func(context.Context) error { return nil }, err
	}
	begun := time.Now()
	_, mend, err := s.losePower(ctx, holder)
	if err != nil {
		return move{}, mend, err
	}
	var m move
	err = sandbox.Poll(ctx, pollInterval, "waiting until another balancer has the public address", func(ctx context.Context) error {
		holders, err := s.Holders(ctx)
		if i := slices.IndexFunc(holders, func(h string) bool { return h != holder }); i >= 0 {
			m = move{holders[i], time.Since(begun)}
			return nil
		}
		return errors.Join(err, errors.New("none has"))
	})
	return m, mend, err
}

// stopEtcd holds the daemons of all replicas still, and their members of etcd with them.
func (s *Site) stopEtcd(ctx context.Context) (move, func(context.Context) error, error) {
	primary, err := s.cluster.Primary(ctx)
	if err != nil {
		return move{}, func(context.Context) error { return nil }, err
	}
	replicas := slices.DeleteFunc(s.cluster.Servers(), func(server string) bool { return server == primary })
	each := func(ctx context.Context, signal syscall.Signal) (err error) {
		for _, server := range replicas {
			err = errors.Join(err, s.cluster.Signal(ctx, server+"/daemon", signal))
		}
		return err
	}
	return move{}, func(ctx context.Context) error { return each(ctx, syscall.SIGCONT) }, each(ctx, syscall.SIGSTOP)
}

// Run carries a drill out under orders, mends what it broke, and waits until the site is
// whole again.
func (s *Site) Run(ctx context.Context, d Drill) (r DrillResult, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, drillTimeout, fmt.Errorf("the drill was not over within %s", drillTimeout))
	defer cancel()
	r.Drill = d
	crowd, err := s.Order(ctx, Crowd{Customers: drillCustomers})
	if err != nil {
		return r, err
	}
	if err := crowd.Await(ctx, ordersBefore); err != nil {
		return r, err
	}
	begun := time.Now()
	moved, mend, err := d.harm(s, ctx)
	r.MovedTo, r.Moved = moved.to, moved.after
	if err == nil {
		err = sandbox.Poll(ctx, pollInterval, "waiting for orders after the harm", func(context.Context) error {
			after := 0
			for _, a := range crowd.Acknowledged() {
				if a.Begun.After(begun) {
					after++
				}
			}
			if after < ordersAfter || time.Since(begun) < lastsFor {
				return fmt.Errorf("%d were acknowledged", after)
			}
			return nil
		})
	}
	// It is mended whatever has become of the rest.
	clean, stop := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
	defer stop()
	err = errors.Join(err, mend(clean))
	var left error
	if r.Customers, left = crowd.Stop(); left != nil || err != nil {
		return r, errors.Join(err, left)
	}
	if r.Found, err = s.Check(ctx, r.Customers.Acks); err != nil {
		return r, err
	}
	return r, s.AwaitWhole(ctx)
}

// AwaitWhole returns when all replicas are in sync, one balancer has the public address
// and the monitoring sees everything.
func (s *Site) AwaitWhole(ctx context.Context) error {
	if err := s.cluster.AwaitCluster(ctx, "all replicas are in sync", func(c api.Cluster) bool { return sandbox.Settled(c) }); err != nil {
		return err
	}
	return sandbox.Poll(ctx, pollInterval, "waiting until the site is whole", func(ctx context.Context) error {
		if _, err := s.holder(ctx); err != nil {
			return err
		}
		return s.Healthy(ctx)
	})
}
