package sandbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/certs"
	"github.com/mysqlha/mysqlha/deploy/sandbox/supervisor"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// tooManyStarts is when a program that ends again and again makes the start
// fail: nothing of a sandbox needs so many.
const tooManyStarts = 6

// await follows the start to its end.
func (s *Sandbox) await(ctx context.Context, progress func(string)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() { defer close(watched); s.watch(ctx, cancel) }()
	defer func() { cancel(nil); <-watched }()

	group, hosts := errgroup.WithContext(ctx)
	for _, server := range s.Servers() {
		group.Go(func() error { return s.awaitMySQL(hosts, server, progress) })
		group.Go(func() error { return s.awaitDaemon(hosts, server, progress) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if err := s.AwaitCluster(ctx, "etcd has a quorum", func(c api.Cluster) bool { return !c.Stale }); err != nil {
		return err
	}
	progress("etcd has a quorum")
	var first api.Cluster
	if err := s.AwaitCluster(ctx, "the first term is open", func(c api.Cluster) bool { first = c; return IsOpen(c) }); err != nil {
		return err
	}
	progress(fmt.Sprintf("term %d is open, the primary is %s", first.Record.Term, first.Record.Primary))
	if err := s.createApp(ctx, first.Record.Primary); err != nil {
		return err
	}
	if err := s.AwaitCluster(ctx, "all replicas are in sync", Settled); err != nil {
		return err
	}
	progress("all replicas are in sync")
	return nil
}

// IsOpen tells whether the primary of the record takes writes and no plan is
// under way.
func IsOpen(c api.Cluster) bool {
	if c.Stale || c.Record == nil || c.Record.Term == 0 || c.Record.Plan != nil {
		return false
	}
	i := slices.IndexFunc(c.Servers, func(s api.Server) bool { return s.Name == c.Record.Primary })
	return i >= 0 && c.Servers[i].Status.OpenTerm == c.Record.Term
}

// Settled tells whether the primary takes writes and every other server is in
// sync, or, in async, where nobody is, receives.
func Settled(c api.Cluster) bool {
	if !IsOpen(c) {
		return false
	}
	async := c.Record.Durability == decide.DurabilityAsync
	return !slices.ContainsFunc(c.Servers, func(s api.Server) bool {
		receives := s.Live != nil && s.Live.Receiver == decide.ReceiverOn
		return s.Name != c.Record.Primary && !s.InSync && !(async && receives)
	})
}

// AwaitCluster asks the daemons until what they know suits; what says in words
// what is waited for.
func (s *Sandbox) AwaitCluster(ctx context.Context, what string, suits func(api.Cluster) bool) error {
	return poll(ctx, "waiting until "+what, func(ctx context.Context) error {
		c, err := s.Cluster(ctx)
		if err != nil {
			return err
		}
		if !suits(c) {
			return errors.New(Describe(c))
		}
		return nil
	})
}

func (s *Sandbox) awaitMySQL(ctx context.Context, server string, progress func(string)) error {
	db, err := s.OpenLocal(server)
	if err != nil {
		return err
	}
	defer db.Close() // Nothing of it is needed any more.
	if err := poll(ctx, "waiting for mysqld of "+server, db.PingContext); err != nil {
		return err
	}
	progress(server + " mysqld up")
	return nil
}

func (s *Sandbox) awaitDaemon(ctx context.Context, server string, progress func(string)) error {
	client, err := api.NewClient(api.Endpoint{Address: s.layout.apiAddr(server), TLS: certs.ClientConfig(s.layout.clientFiles(), s.layout.ip(server), certs.Daemons()...)})
	if err != nil {
		return fmt.Errorf("asking the daemon of %s: %w", server, err)
	}
	defer client.Close()
	err = poll(ctx, "waiting for the daemon of "+server, func(ctx context.Context) error {
		_, err := client.Cluster(ctx)
		var answer *api.AnswerError
		if errors.As(err, &answer) {
			return nil // It lives; what it lacks is waited for afterwards.
		}
		return err
	})
	if err != nil {
		return err
	}
	progress(server + " daemon up")
	return nil
}

// watch ends the start early when the supervisor is gone or a program of it
// does not stay up.
func (s *Sandbox) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(pollInterval * 10)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.ended:
			cancel(fmt.Errorf("the supervisor ended:\n%s", Tail(s.layout.supervisorLog(), 10)))
			return
		case <-tick.C:
		}
		report, err := s.report()
		if err != nil {
			continue // Its first report may not be written yet.
		}
		i := slices.IndexFunc(report.Programs, func(p supervisor.Status) bool { return p.Starts >= tooManyStarts })
		if i >= 0 {
			p := report.Programs[i]
			log := s.layout.spec().Programs[i].Log
			cancel(fmt.Errorf("%s does not stay up (%s):\n%s", p.Name, p.LastExit, Tail(log, 10)))
			return
		}
	}
}

// poll is Poll as often as a sandbox is looked at.
func poll(ctx context.Context, doing string, try func(context.Context) error) error {
	return Poll(ctx, pollInterval, doing, try)
}

// Poll tries again and again until it succeeds, each time for at most three seconds. Its
// error tells why it was given up and how the last try failed.
func Poll(ctx context.Context, every time.Duration, doing string, try func(context.Context) error) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var last error
	for {
		one, cancel := context.WithTimeout(ctx, askTimeout)
		err := try(one)
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil {
			last = err // The one that the end of ctx cut off says nothing.
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w (last: %v)", doing, context.Cause(ctx), last)
		case <-tick.C:
		}
	}
}
