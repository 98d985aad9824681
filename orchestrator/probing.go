package orchestrator

import (
	"context"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

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
