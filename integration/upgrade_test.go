package integration

import (
	"context"
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/deploy/sandbox"
	"github.com/mysqlha/mysqlha/integration/harness"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// Every daemon is restarted in turn under load, as an upgrade does, while the
// redirector is a unit of its own: no failover, no session ends, no replica leaves the
// in-sync set, and leadership is handed over before it is lost.
func TestRestartingEveryDaemonUnderLoadCostsNothing(t *testing.T) {
	s := harness.Start(t, sandbox.Options{RestartDelay: 200 * time.Millisecond})
	l := harness.Writers(t, s, 8)
	before := record(t, s)
	led := make(map[string]bool)
	for _, name := range s.Servers() {
		var started time.Time
		awaitCluster(t, s, "all is well", func(c api.Cluster) bool {
			led[c.Leader] = true
			started = c.At
			return sandbox.Settled(c) && c.Leader != "" && c.DecisionFrom != ""
		})
		signal(t, s, name+"/daemon", syscall.SIGTERM)
		within(t, name+" has a new daemon", func(ctx context.Context) error {
			return poll(ctx, func() error {
				members, err := daemonsSince(ctx, s)
				if err == nil && !members[name].After(started) {
					err = fmt.Errorf("its daemon began at %s", members[name])
				}
				return err
			})
		})
	}
	awaitCluster(t, s, "all is well in the end", sandbox.Settled)
	undisturbed(t, s, l, before)
	t.Logf("leaders were %v", led)
}

// undisturbed ends a load and fails the test unless nothing of it failed, and unless the
// cluster is as it was: no other term, no plan, the same servers in sync.
func undisturbed(t *testing.T, s *sandbox.Sandbox, l *harness.Load, before decide.Record) {
	t.Helper()
	if r := record(t, s); r.Term != before.Term || r.Primary != before.Primary || !slices.Equal(slices.Sorted(slices.Values(r.InSync)), slices.Sorted(slices.Values(before.InSync))) {
		t.Errorf("term %d of %s with %v became term %d of %s with %v", before.Term, before.Primary, before.InSync, r.Term, r.Primary, r.InSync)
	}
	history, err := s.API().History(t.Context(), 50)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range history {
		if h.Plan.Kind != decide.PlanBootstrap {
			t.Errorf("it brought a plan about: %s (%s), %s", h.Plan.Kind, h.Plan.Evidence, h.Result)
		}
	}
	result := l.Result()
	if result.Unknown > 0 || result.LastError != nil {
		t.Errorf("%d inserts failed, the last with %v", result.Unknown, result.LastError)
	}
	gap := time.Duration(0)
	for i := 1; i < len(result.Acks); i++ {
		gap = max(gap, result.Acks[i].Acked.Sub(result.Acks[i-1].Acked))
	}
	t.Logf("%d writes, the longest gap was %s", len(result.Acks), gap)
}

// daemonsSince returns when each daemon began.
func daemonsSince(ctx context.Context, s *sandbox.Sandbox) (map[string]time.Time, error) {
	since := make(map[string]time.Time)
	c, err := s.Cluster(ctx)
	for _, server := range c.Servers {
		since[server.Name] = server.Started
	}
	return since, err
}
