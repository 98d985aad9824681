package orchestrator

import (
	"context"
	"slices"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// probeAll probes the servers of the record, or those of the configuration while
// it names none, and lets go of those that have left or moved.
func (l *lead) probeAll(ctx context.Context, r *decide.Record) {
	servers := decide.ServersOf(r, l.o.o.Configured)
	l.servers = servers
	for s, cancel := range l.probed {
		if !slices.Contains(servers, s) {
			cancel()
			delete(l.probed, s)
			delete(l.seen, s.Name)
			delete(l.absent, s.Name)
		}
	}
	for _, s := range servers {
		if _, already := l.probed[s]; already {
			continue
		}
		p := l.o.o.Probes(s)
		one, cancel := context.WithCancel(ctx)
		l.probed[s] = cancel
		l.wg.Go(func() { l.o.probe(one, l, "sql", s.Name, l.sql(p, s.Name)) })
		l.wg.Go(func() { l.o.probe(one, l, "daemon", s.Name, l.daemon(p, s.Name)) })
	}
}

// etcdInterval is how often the members of the embedded etcd are asked.
const etcdInterval = 2 * time.Second

// watchEtcd carries out what is decided about the members of etcd, and looks at
// them: what is left to do is seen there.
func (l *lead) watchEtcd(ctx context.Context) {
	tick := time.NewTicker(etcdInterval)
	defer tick.Stop()
	for {
		members, err := l.o.o.Etcd.Members(ctx)
		if err != nil {
			members = nil
		}
		select {
		case l.inbox <- func(l *lead) { l.etcd = members }:
		case <-ctx.Done():
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case c := <-l.etcdWork:
			l.o.o.Logger.Warn("changing the members of etcd", "step", c.Step, "server", c.Server, "peer", c.Peer)
			if err := l.o.o.Etcd.Change(ctx, c); err != nil && ctx.Err() == nil {
				l.o.o.Logger.Warn("the members of etcd were not changed, will be tried again", "step", c.Step, "server", c.Server, "error", err)
				select {
				case <-tick.C:
				case <-ctx.Done():
					return
				}
			}
		}
	}
}

// probe asks one server again and again, one question at a time, and hands
// each answer to the loop.
func (o *Orchestrator) probe(ctx context.Context, l *lead, kind, server string, ask func(context.Context) (string, func(*lead))) {
	tick := time.NewTicker(o.o.Settings.ProbeInterval)
	defer tick.Stop()
	for {
		begun := time.Now()
		askCtx, cancel := context.WithTimeout(ctx, o.timeout())
		failure, heard := ask(askCtx)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if o.o.Events != nil {
			o.o.Events.Probed(kind, server, time.Since(begun), failure)
		}
		select {
		case l.inbox <- heard:
		case <-ctx.Done():
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// timeout is how long one probe may take: two must fit into the detection
// time, so that silence is seen twice before it counts.
func (o *Orchestrator) timeout() time.Duration { return o.o.Settings.Detection / 2 }

// sql asks mysqld. An answer counts from before it was asked for.
func (l *lead) sql(p Probes, server string) func(context.Context) (string, func(*lead)) {
	return func(ctx context.Context) (string, func(*lead)) {
		asked := time.Now()
		failure, closed := p.SQL(ctx)
		return string(failure), func(l *lead) {
			seen := l.seen[server]
			seen.SQLFailure = failure
			if failure == decide.FailureNone {
				seen.SQLAt, seen.SQLFailures, seen.Closed = asked, 0, closed
			} else {
				seen.SQLFailures++
			}
			l.seen[server] = seen
		}
	}
}

// daemon asks the daemon beside the server.
func (l *lead) daemon(p Probes, server string) func(context.Context) (string, func(*lead)) {
	return func(ctx context.Context) (string, func(*lead)) {
		asked := time.Now()
		live, err := p.Daemon(ctx)
		if err != nil {
			return "unreachable", func(*lead) {}
		}
		return "", func(l *lead) {
			l.seen[server] = l.seen[server].Heard(live, asked, time.Now())
		}
	}
}
