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
	"github.com/mysqlha/mysqlha/integration/faults"
	"github.com/mysqlha/mysqlha/integration/harness"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// A primary has lost its only acknowledging replica, and the other one needs a
// clone, which would never end while commits wait for it. The primary begins a new
// term with that one as its follower, without a human, and nobody was told OK
// meanwhile of what one server alone had (S2, S5, S10).
func TestS2S5S10_ALonePrimaryGetsAReplicaByItself(t *testing.T) {
	s := harness.Start(t, sandbox.Options{RestartDelay: 3 * time.Second})
	before := record(t, s)
	l := harness.Writers(t, s, 4)
	lost, needy := others(s, before.Primary)[0], others(s, before.Primary)[1]

	// The one lacks what its source has purged.
	signal(t, s, needy+"/daemon", syscall.SIGSTOP)
	stopReceiver(t, s, needy)
	awaitCluster(t, s, "it is out of the in-sync set", func(c api.Cluster) bool {
		return c.Record.Plan == nil && slices.Equal(c.Record.InSync, []string{lost})
	})
	purge(t, openAdmin(t, s, before.Primary))

	// The other hangs for ever.
	signal(t, s, lost, syscall.SIGSTOP)
	signal(t, s, lost+"/daemon", syscall.SIGSTOP)
	hangs := time.Now()
	signal(t, s, needy+"/daemon", syscall.SIGCONT)
	var at time.Time
	awaitCluster(t, s, "a new term is under way", func(c api.Cluster) bool {
		if c.Record.Plan != nil && c.Record.Plan.Kind == decide.PlanRenew {
			at = time.Now()
			return true
		}
		return false
	})
	awaitCluster(t, s, "the new term is open", func(c api.Cluster) bool {
		return sandbox.IsOpen(c) && c.Record.Term == before.Term+1 && c.Record.Primary == before.Primary && c.Record.Complete && slices.Contains(c.Record.InSync, needy)
	})
	t.Logf("closed %s after the last replica, open %s later", at.Sub(hangs), time.Since(at))
	firstWriteAfter(t, l, at)
	for _, part := range []string{"/daemon", ""} {
		signal(t, s, lost+part, syscall.SIGCONT)
	}
	awaitCluster(t, s, "all are in sync", sandbox.Settled)
	l.Check()
	opened := record(t, s).Published
	for _, ack := range l.Result().Acks {
		// From when the last replica stood still until the new term was open.
		if ack.Begun.After(hangs.Add(time.Second)) && ack.Acked.Before(opened) {
			t.Errorf("a write was acknowledged at %s, and one server alone had it", ack.Acked)
			break
		}
	}
	c := &faults.Cluster{Sandbox: s}
	within(t, "all have the same data", func(ctx context.Context) error {
		return poll(ctx, func() error {
			a, err := executedOf(ctx, c, before.Primary)
			if err != nil {
				return err
			}
			for _, name := range []string{lost, needy} {
				if b, err := executedOf(ctx, c, name); err != nil || a != b {
					return fmt.Errorf("%s and %s (%v)", a, b, err)
				}
			}
			return nil
		})
	})
}
