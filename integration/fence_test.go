package integration

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/deploy/sandbox"
	"github.com/mysqlha/mysqlha/integration/harness"
)

// awaitMetric waits until the daemon beside a server reports a value.
func awaitMetric(t *testing.T, s *sandbox.Sandbox, server, series string, want float64) {
	t.Helper()
	within(t, fmt.Sprintf("%s reports %s %v", server, series, want), func(ctx context.Context) error {
		return poll(ctx, func() error {
			samples, err := s.Metrics(ctx, server)
			if have, found := samples[series]; err == nil && (!found || have != want) {
				err = fmt.Errorf("it reports %v (%t)", have, found)
			}
			return err
		})
	})
}

// The fence can be tried on a replica at any time: its clients are cut off, it is
// proven closed, and it serves again; the primary is refused, and nothing is lost
// (S9). With a kill it comes back through its supervisor.
func TestS9_TheFenceIsTestedOnAReplica(t *testing.T) {
	s := harness.Start(t, sandbox.Options{})
	l := harness.Writers(t, s, 2)
	before := record(t, s)
	replica := others(s, before.Primary)[0]
	addr, err := s.ServerAddr(replica)
	if err != nil {
		t.Fatal(err)
	}
	db, err := s.OpenApp(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	session := func() int64 {
		var id int64
		within(t, "a reader gets a session", func(ctx context.Context) error {
			return poll(ctx, func() error { return db.QueryRowContext(ctx, "SELECT CONNECTION_ID()").Scan(&id) })
		})
		return id
	}
	reader := session()
	report, err := s.API().TestFence(t.Context(), api.FenceRequest{Server: replica})
	if err != nil || report.Failed() || report.Closed <= 0 || report.Killed {
		t.Fatalf("%+v, %v", report, err)
	}
	t.Logf("closed after %s: %+v", report.Closed, report.Stages)
	if again := session(); again == reader {
		t.Error("the reader kept its session: nobody was cut off")
	}
	samples, err := s.Metrics(t.Context(), replica)
	if n := samples[`mysqlha_sessions_cut_total{cause="fence_test"}`]; err != nil || n < 1 {
		t.Errorf("%v sessions were cut, it reports (%v)", n, err)
	}
	var refused *api.AnswerError
	if _, err := s.API().TestFence(t.Context(), api.FenceRequest{Server: before.Primary}); !errors.As(err, &refused) || refused.Status != http.StatusConflict {
		t.Errorf("a test on the primary: %v", err)
	}
	report, err = s.API().TestFence(t.Context(), api.FenceRequest{Server: replica, Kill: true})
	if err != nil || report.Failed() || !report.Killed {
		t.Fatalf("with a kill: %+v, %v", report, err)
	}
	awaitCluster(t, s, "the replica is back", sandbox.Settled)
	if after := record(t, s); after.Term != before.Term {
		t.Errorf("term %d was followed by term %d", before.Term, after.Term)
	}
	l.Check()
}

// A replica whose fence is being tried all the time is promoted all the same.
func TestS9_AFenceTestDoesNotHoldUpAFailover(t *testing.T) {
	s := harness.Start(t, sandbox.Options{})
	l := harness.Writers(t, s, 2)
	before := record(t, s)
	ctx, stop := context.WithCancel(t.Context())
	var testers sync.WaitGroup
	done := make(map[string]int)
	var mu sync.Mutex
	for _, replica := range others(s, before.Primary) {
		testers.Go(func() {
			for ctx.Err() == nil {
				if _, err := s.API().TestFence(ctx, api.FenceRequest{Server: replica}); err == nil {
					mu.Lock()
					done[replica]++
					mu.Unlock()
				}
			}
		})
	}
	within(t, "tests go on at both replicas", func(ctx context.Context) error {
		return poll(ctx, func() error {
			mu.Lock()
			defer mu.Unlock()
			for _, replica := range others(s, before.Primary) {
				if done[replica] < 3 {
					return fmt.Errorf("so far %v", done)
				}
			}
			return nil
		})
	})
	killed := time.Now()
	signal(t, s, before.Primary, syscall.SIGKILL)
	first := firstWriteAfter(t, l, killed)
	t.Logf("first write %s after the kill", first.Acked.Sub(killed))
	stop()
	testers.Wait()
	awaitCluster(t, s, "the new term is open", sandbox.IsOpen)
	if after := record(t, s); after.Term != before.Term+1 {
		t.Errorf("term %d was followed by term %d", before.Term, after.Term)
	}
	l.Check()
}

// A candidate on which somebody left offline_mode on lets its followers in, or
// the new term could never be published (S5).
func TestS5_ACandidateWithOfflineModeIsPromoted(t *testing.T) {
	s := harness.Start(t, sandbox.Options{RestartDelay: 20 * time.Second})
	l := harness.Writers(t, s, 2)
	before := record(t, s)
	for _, replica := range others(s, before.Primary) {
		mustExec(t, openAdmin(t, s, replica), "SET GLOBAL offline_mode = ON")
	}
	killed := time.Now()
	signal(t, s, before.Primary, syscall.SIGKILL)
	first := firstWriteAfter(t, l, killed)
	t.Logf("first write %s after the kill", first.Acked.Sub(killed))
	l.Check()
}
