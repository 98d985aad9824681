package integration

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/deploy/sandbox"
	"github.com/mysqlha/mysqlha/deploy/sandbox/load"
	"github.com/mysqlha/mysqlha/integration/harness"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// Two servers and a witness outlive the host of either server: without the
// replica the primary acknowledges alone once the record says so, without the
// primary the replica opens alone. Nothing acknowledged is lost (S2, S5, S9).
func TestS2S5_TwoServersAndAWitnessOutliveEitherHost(t *testing.T) {
	c := onNetwork(t, sandbox.Options{Servers: 2})
	l := harness.Writers(t, c.Sandbox, 2)
	before := record(t, c.Sandbox)
	replica := others(c.Sandbox, before.Primary)[0]

	lost := time.Now()
	if err := c.Lab.Isolate(t.Context(), replica); err != nil {
		t.Fatal(err)
	}
	awaitCluster(t, c.Sandbox, "the primary acknowledges alone", func(s api.Cluster) bool { return s.Record != nil && s.Record.Suspended })
	alone := time.Now()
	within(t, "writes go on", func(ctx context.Context) error {
		_, err := l.Await(ctx, func(a load.Ack) bool { return a.Begun.After(alone) })
		return err
	})
	t.Logf("suspended %s after the replica's host was cut off", alone.Sub(lost))
	if err := c.Lab.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	awaitCluster(t, c.Sandbox, "the replica acknowledges again", sandbox.Settled)
	if after := record(t, c.Sandbox); after.Term != before.Term {
		t.Fatalf("term %d was followed by term %d", before.Term, after.Term)
	}

	led := ""
	awaitCluster(t, c.Sandbox, "somebody leads", func(s api.Cluster) bool { led = s.Leader; return led != "" })
	lost = time.Now()
	if err := c.Lab.Isolate(t.Context(), before.Primary); err != nil {
		t.Fatal(err)
	}
	first := firstWriteAfter(t, l, lost)
	t.Logf("first write %s after the primary's host was cut off, while %s led", first.Acked.Sub(lost), led)
	awaitCluster(t, c.Sandbox, "the record says that the replica is the primary and acknowledges alone", func(s api.Cluster) bool {
		return sandbox.IsOpen(s) && s.Record.Primary == replica && s.Record.Suspended && s.Record.Complete
	})
	if err := c.Lab.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	awaitCluster(t, c.Sandbox, "the new primary is led and open", sandbox.IsOpen)
	l.Check()
}

// The witness leads a failover like any other daemon.
func TestTheWitnessLeadsAFailover(t *testing.T) {
	s := harness.Start(t, sandbox.Options{Servers: 2, Etcd: sandbox.EtcdSeparate, RestartDelay: 5 * time.Second})
	l := harness.Writers(t, s, 2)
	before := record(t, s)
	replica := others(s, before.Primary)[0]
	// The leases of the two others end while they are held still.
	signal(t, s, replica+"/daemon", syscall.SIGSTOP)
	signal(t, s, before.Primary+"/daemon", syscall.SIGSTOP)
	awaitCluster(t, s, "the witness leads", func(c api.Cluster) bool { return c.Leader == "witness" })
	signal(t, s, replica+"/daemon", syscall.SIGCONT)
	signal(t, s, before.Primary+"/daemon", syscall.SIGCONT)
	awaitCluster(t, s, "all is well under the witness", func(c api.Cluster) bool { return sandbox.Settled(c) && c.Leader == "witness" })
	killed := time.Now()
	signal(t, s, before.Primary, syscall.SIGKILL)
	first := firstWriteAfter(t, l, killed)
	t.Logf("first write %s after the kill", first.Acked.Sub(killed))
	entries, err := s.API().History(t.Context(), 1)
	if err != nil || len(entries) != 1 || entries[0].Plan.Kind != decide.PlanFailover || entries[0].Plan.Leader != "witness" {
		t.Errorf("the history says %+v (%v)", entries, err)
	}
	l.Check()
}

// One server is a cluster as well: it waits for nobody, and opens again in the
// same term after a kill.
func TestOneServerOpensAgainInTheSameTerm(t *testing.T) {
	s := harness.Start(t, sandbox.Options{Servers: 1})
	before := record(t, s)
	l := harness.Writers(t, s, 2)
	killed := time.Now()
	signal(t, s, before.Primary, syscall.SIGKILL)
	first := firstWriteAfter(t, l, killed)
	t.Logf("first write %s after the kill", first.Acked.Sub(killed))
	after := record(t, s)
	if after.Term != before.Term || after.Primary != before.Primary || after.Durability != decide.DurabilityAsync {
		t.Errorf("before %+v, after %+v", before, after)
	}
	l.Check()
}
