package integration

import (
	"context"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/deploy/sandbox"
	"github.com/mysqlha/mysqlha/deploy/sandbox/load"
	"github.com/mysqlha/mysqlha/integration/harness"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// exitCode is that of a command that ended.
func exitCode(err error) int {
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		return ended.ExitCode()
	}
	return 0
}

// While somebody has paused the automation, a primary that dies comes back in its
// own term, and a human may move it all the same.
func TestAPauseKeepsThePrimaryUntilAHumanMovesIt(t *testing.T) {
	s := harness.Start(t, sandbox.Options{})
	l := harness.Writers(t, s, 4)
	before := record(t, s)
	if out, err := mysqlha(t, s, "pause", "--reason", "patching "+before.Primary, "--for", "1h"); err != nil || !strings.Contains(out, "AUTOMATION IS PAUSED") {
		t.Fatal(err)
	}
	awaitCluster(t, s, "the leader knows of the pause", func(c api.Cluster) bool { return waits(c, decide.CodePaused, "") && c.Pause != nil })

	died := time.Now()
	signal(t, s, "primary", syscall.SIGKILL)
	firstWriteAfter(t, l, died.Add(time.Second))
	if r := record(t, s); r.Term != before.Term || r.Primary != before.Primary {
		t.Fatalf("it was moved: %s in term %d", r.Primary, r.Term)
	}
	awaitCluster(t, s, "all are in sync", sandbox.Settled)

	// Held still, it is dead, and that is all that happens.
	signal(t, s, before.Primary, syscall.SIGSTOP)
	signal(t, s, before.Primary+"/daemon", syscall.SIGSTOP) // It would kill it and have it started anew.
	awaitCluster(t, s, "the failover is held back by name", func(c api.Cluster) bool { return waits(c, decide.CodeFailoverHeld, c.Record.Primary) })
	if out, err := mysqlha(t, s, "status"); exitCode(err) != 1 || !strings.Contains(out, "AUTOMATION IS PAUSED") || !strings.Contains(out, "failover-held") {
		t.Errorf("status: %v", err)
	}
	asked := time.Now()
	out, err := mysqlha(t, s, "failover")
	if err != nil || !strings.Contains(out, "is primary in term 2\nno acknowledged write was lost\n") {
		t.Errorf("the failover by hand: %v", err)
	}
	firstWriteAfter(t, l, asked)
	signal(t, s, before.Primary+"/daemon", syscall.SIGCONT) // Which kills what it finds.
	if _, err := mysqlha(t, s, "resume"); err != nil {
		t.Error(err)
	}
	awaitCluster(t, s, "all are in sync", sandbox.Settled)
	l.Check()
	versions, err := s.API().SettingsHistory(t.Context(), 10)
	if err != nil || len(versions) != 2 || versions[0].Changes[0].Name != "pause" || versions[0].Changes[0].To != "" || versions[1].By == "" {
		t.Errorf("the versions of the settings: %+v, %v", versions, err)
	}
}

// Too little is known for a failover; a human accepts what may be lost. The new term
// is not complete, and says so (S6), and still opens only with a follower (S5).
func TestS5S6_AHumanMayAcceptALossAndNobodyElse(t *testing.T) {
	s := harness.Start(t, sandbox.Options{RestartDelay: 40 * time.Second})
	l := harness.Writers(t, s, 4)
	before := record(t, s)
	hangs, lives := others(s, before.Primary)[0], others(s, before.Primary)[1]
	awayFrom(t, s, hangs)
	signal(t, s, hangs, syscall.SIGSTOP)
	signal(t, s, hangs+"/daemon", syscall.SIGSTOP)
	signal(t, s, before.Primary, syscall.SIGKILL)
	awaitCluster(t, s, "too few replicas can be asked", func(c api.Cluster) bool { return waits(c, decide.CodeCannotReachReplicas, "") })

	if out, err := mysqlha(t, s, "failover", "--dry-run"); err != nil || !strings.Contains(out, "Acknowledged writes might be lost: "+hangs) {
		t.Errorf("the dry run: %v", err)
	}
	if out, err := mysqlha(t, s, "failover"); exitCode(err) != 3 || !strings.Contains(out, "acknowledged writes might be lost: "+hangs) {
		t.Errorf("without a word of data: %v", err)
	}
	if out, err := mysqlha(t, s, "failover", "--allow-data-loss"); exitCode(err) != 2 || !strings.Contains(out, "add --yes") {
		t.Errorf("without being sure: %v", err)
	}
	if r := record(t, s); r.Term != before.Term {
		t.Fatalf("term %d", r.Term)
	}
	if _, err := mysqlha(t, s, "failover", "--allow-data-loss", "--yes", "--no-wait"); err != nil {
		t.Fatal(err)
	}
	awaitCluster(t, s, lives+" is chosen and waits for a follower", func(c api.Cluster) bool {
		return waits(c, decide.CodeWaitingForFollowers, "") && c.Record.Plan != nil && c.Record.Plan.Candidate == lives && c.Record.Plan.Override != nil
	})
	back := time.Now()
	signal(t, s, hangs+"/daemon", syscall.SIGCONT)
	signal(t, s, hangs, syscall.SIGCONT)
	awaitCluster(t, s, "the new term is open", func(c api.Cluster) bool {
		return sandbox.IsOpen(c) && c.Record.Term == before.Term+1 && c.Record.Primary == lives && !c.Record.Complete && c.Record.CompleteSince == c.Record.Term
	})
	firstWriteAfter(t, l, back)
	// The one that hung acknowledged nothing that the other had not, this time.
	l.Check()
}

// awayFrom has another server's daemon lead, so that holding that one still is no
// loss of the leader.
func awayFrom(t *testing.T, s *sandbox.Sandbox, server string) {
	t.Helper()
	c, err := s.Cluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if c.Leader != server {
		return
	}
	signal(t, s, server+"/daemon", syscall.SIGSTOP)
	awaitCluster(t, s, "another leads", func(c api.Cluster) bool { return c.Leader != "" && c.Leader != server })
	signal(t, s, server+"/daemon", syscall.SIGCONT)
	awaitCluster(t, s, "all are in sync", func(c api.Cluster) bool {
		return c.Leader != "" && c.Leader != server && sandbox.Settled(c) && serverOf(c, server).Live != nil
	})
}

// A server that shall never be primary acknowledges only where too few others do,
// follows whoever is, and is not chosen (S3, S5).
func TestS3S5_AServerThatShallNeverBePrimaryIsNot(t *testing.T) {
	s := harness.Start(t, sandbox.Options{})
	l := harness.Writers(t, s, 4)
	before := record(t, s)
	never, other := others(s, before.Primary)[0], others(s, before.Primary)[1]
	if _, err := mysqlha(t, s, "settings", "set", "candidate."+never+"=never"); err != nil {
		t.Fatal(err)
	}
	only := func(name string) func(api.Cluster) bool {
		return func(c api.Cluster) bool { return c.Record.Plan == nil && slices.Equal(c.Record.InSync, []string{name}) }
	}
	awaitCluster(t, s, never+" is out of the in-sync set", only(other))
	if out, err := mysqlha(t, s, "switchover", "--to", never); exitCode(err) != 3 || !strings.Contains(out, "shall never be primary") {
		t.Errorf("a switchover to it: %v", err)
	}

	// Its acknowledgements are needed when the other is gone, and no more when it is back.
	gone := time.Now()
	signal(t, s, other, syscall.SIGSTOP)
	awaitCluster(t, s, never+" acknowledges", func(c api.Cluster) bool { return slices.Contains(c.Record.InSync, never) })
	within(t, "writes go on", func(ctx context.Context) error {
		_, err := l.Await(ctx, func(a load.Ack) bool { return a.Begun.After(gone.Add(time.Second)) })
		return err
	})
	signal(t, s, other, syscall.SIGCONT)
	awaitCluster(t, s, never+" is spared again", only(other))

	died := time.Now()
	signal(t, s, "primary", syscall.SIGKILL)
	first := firstWriteAfter(t, l, died)
	if r := record(t, s); r.Primary != other {
		t.Errorf("%s is primary", r.Primary)
	}
	t.Logf("first write %s after the kill", first.Acked.Sub(died))
	awaitCluster(t, s, "it is as it was", only(before.Primary))
	l.Check()
}

// After as many failovers as are allowed in a time, a primary that dies stays
// primary, by name, and comes back in its term.
func TestAfterTheCooldownAllowsNoMoreThePrimaryStays(t *testing.T) {
	s := harness.Start(t, sandbox.Options{})
	l := harness.Writers(t, s, 4)
	out, err := mysqlha(t, s, "settings", "set", "cooldown=1 in 1h", "detection=100ms", "required_acks=9")
	if exitCode(err) != 3 || !strings.Contains(out, "required_acks is 9, and 3 servers have 2 replicas") || !strings.Contains(out, "one lost probe must not look like a dead primary") {
		t.Errorf("settings that cannot be: %v", err)
	}
	if _, err := mysqlha(t, s, "settings", "set", "cooldown=1 in 1h"); err != nil {
		t.Fatal(err)
	}
	if versions, err := s.API().SettingsHistory(t.Context(), 10); err != nil || len(versions) != 1 {
		t.Errorf("what was refused is a version: %+v, %v", versions, err)
	}
	signal(t, s, "primary", syscall.SIGKILL)
	awaitCluster(t, s, "term 2 is open and all are in sync", func(c api.Cluster) bool { return sandbox.Settled(c) && c.Record.Term == 2 })
	second := record(t, s)
	died := time.Now()
	signal(t, s, "primary", syscall.SIGKILL)
	awaitCluster(t, s, "the failover is held back by name", func(c api.Cluster) bool { return waits(c, decide.CodeFailoverHeld, c.Record.Primary) })
	firstWriteAfter(t, l, died.Add(time.Second))
	if r := record(t, s); r.Term != 2 || r.Primary != second.Primary {
		t.Errorf("it was moved: %s in term %d", r.Primary, r.Term)
	}
	awaitCluster(t, s, "all are in sync", sandbox.Settled)
	l.Check()
}

// Whoever watches is told of a failover as it happens.
func TestAFailoverIsToldToThoseWhoWatch(t *testing.T) {
	s := harness.Start(t, sandbox.Options{})
	events := make(chan api.Event, 1000)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.API().Watch(ctx, func(e api.Event) { events <- e }) }()
	var seen []string
	await := func(what string, suits func(api.Event) bool) {
		t.Helper()
		within(t, what, func(ctx context.Context) error {
			for {
				select {
				case e := <-events:
					seen = append(seen, string(e.Plan)+" "+string(e.Phase))
					if suits(e) {
						return nil
					}
				case err := <-ended:
					return err
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		})
	}
	await("what stands", func(e api.Event) bool { return e.Term == 1 && e.Open && len(e.InSync) == 2 && len(e.Members) == 3 })
	signal(t, s, "primary", syscall.SIGKILL)
	await("the failover", func(e api.Event) bool { return e.Plan == decide.PlanFailover && !e.Open })
	await("the next term", func(e api.Event) bool { return e.Term == 2 && e.Open && e.Plan == "" })
	for _, phase := range []string{"failover revoke", "failover promote", "failover open"} {
		if !slices.Contains(seen, phase) {
			t.Errorf("%s was not told: %q", phase, seen)
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
}
