package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/deploy/sandbox"
	"github.com/mysqlha/mysqlha/deploy/sandbox/load"
	"github.com/mysqlha/mysqlha/integration/faults"
	"github.com/mysqlha/mysqlha/integration/harness"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// onNetwork starts a cluster whose hosts have networks of their own.
func onNetwork(t *testing.T, o sandbox.Options) *faults.Cluster {
	t.Helper()
	dir, err := os.MkdirTemp("", "mysqlha-net-")
	if err != nil {
		t.Fatal(err)
	}
	o.Dir, o.Mysqlha = filepath.Join(dir, "s"), harness.Build(t)
	c, err := faults.Start(t.Context(), o, false)
	if err != nil {
		t.Fatal(errors.Join(err, os.RemoveAll(dir)))
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, file := range sandbox.Logs(o.Dir) {
				t.Logf("end of %s:\n%s", file, sandbox.Tail(file, 30))
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := errors.Join(c.Close(ctx), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	return c
}

// A primary whose host is cut off from everybody is replaced, closes itself,
// and comes back; nothing acknowledged is lost, and no write begun after the
// new term's first acknowledgement is acknowledged in the old one (S4, S9).
func TestS4S9_AnIsolatedHostIsReplacedAndClosesItself(t *testing.T) {
	c := onNetwork(t, sandbox.Options{})
	l := harness.Writers(t, c.Sandbox, 4)
	before := record(t, c.Sandbox)
	db, err := c.OpenLocal(before.Primary) // Over its socket, which no partition cuts.
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	cutOff := time.Now()
	if err := c.Lab.Isolate(t.Context(), before.Primary); err != nil {
		t.Fatal(err)
	}
	first := firstWriteAfter(t, l, cutOff)
	t.Logf("first write on the other side %s after the cut", first.Acked.Sub(cutOff))
	within(t, "the cut-off primary is closed", func(ctx context.Context) error {
		return poll(ctx, func() error {
			var closed bool
			if err := db.QueryRowContext(ctx, "SELECT @@global.offline_mode OR @@global.super_read_only").Scan(&closed); err != nil {
				return err
			}
			if !closed {
				return errors.New("it still serves")
			}
			return nil
		})
	})
	t.Logf("proven closed %s after the cut", time.Since(cutOff))
	if dropped, err := c.Lab.Dropped(t.Context()); err != nil || dropped == 0 {
		t.Errorf("%d packets were dropped (%v): nothing was cut", dropped, err)
	}
	if err := c.Lab.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	within(t, "the cluster is whole again", c.WholeAgain)
	l.Check()
	entries, err := c.API().History(t.Context(), 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range entries {
		for _, m := range h.Plan.Marks {
			t.Logf("%s: %s %s after the cut", h.Plan.ID, m.Name, m.At.Sub(cutOff.Round(0)))
		}
	}
	splits := faults.Splits(l.Result().Acks, entries, func(server string) int64 { id, _ := c.ServerID(server); return id })
	if len(splits) > 0 {
		t.Errorf("two terms acknowledged at the same time: %v", splits)
	}
	within(t, "all servers have the same data", func(ctx context.Context) error { return c.SameEverywhere(ctx, l.Result().Table) })
}

// A replica that only the primary cannot reach, or a leader that alone does not
// see the primary, is no reason for a failover.
func TestAnAsymmetricPartitionIsNoFailover(t *testing.T) {
	c := onNetwork(t, sandbox.Options{})
	l := harness.Writers(t, c.Sandbox, 2)
	before := record(t, c.Sandbox)
	leader := awayFromPrimary(t, c.Sandbox)
	if err := c.Lab.Cut(t.Context(), leader, before.Primary); err != nil {
		t.Fatal(err)
	}
	awaitCluster(t, c.Sandbox, "another daemon leads", func(s api.Cluster) bool { return s.Leader != "" && s.Leader != leader })
	if err := c.Lab.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	within(t, "the cluster is whole again", c.WholeAgain)
	if after := record(t, c.Sandbox); after.Term != before.Term {
		t.Errorf("term %d was followed by term %d", before.Term, after.Term)
	}
	l.Check()
}

// With one replica dead and out of the set, the last server of an available
// cluster opens alone at once; the record says so, and ends the suspension by
// itself when the others are back (S2, S5).
func TestS2S5_InAvailableTheLastServerOpensAlone(t *testing.T) {
	s := harness.Start(t, sandbox.Options{Durability: "available", RestartDelay: 12 * time.Second})
	before := record(t, s)
	away := others(s, before.Primary)
	lost, last := away[0], away[1]
	signal(t, s, lost, syscall.SIGKILL)
	awaitCluster(t, s, "the dead replica has left the in-sync set", func(c api.Cluster) bool {
		return c.Record != nil && c.Record.Plan == nil && slices.Equal(c.Record.InSync, []string{last})
	})
	l := harness.Writers(t, s, 2)
	killed := time.Now()
	signal(t, s, before.Primary, syscall.SIGKILL)
	first := firstWriteAfter(t, l, killed)
	t.Logf("first write %s after the kill", first.Acked.Sub(killed))
	if r := record(t, s); r.Primary != last || !r.Suspended || len(r.InSync) > 0 {
		t.Errorf("after the kill: %+v", r)
	}
	awaitCluster(t, s, "the suspension has ended by itself", func(c api.Cluster) bool {
		return sandbox.IsOpen(c) && !c.Record.Suspended && len(c.Record.InSync) > 0
	})
	l.Check()
}

// Semi-sync that is switched off by hand at the primary is on again at once, and
// until a later commit has proved it the status says so (S2).
func TestS2_WaitingForReplicasCannotBeSwitchedOffByHand(t *testing.T) {
	s := harness.Start(t, sandbox.Options{})
	primary := record(t, s).Primary
	db := openAdmin(t, s, primary)
	for _, statement := range []string{"rpl_semi_sync_source_enabled = OFF", "rpl_semi_sync_source_wait_point = AFTER_COMMIT", "rpl_semi_sync_source_timeout = 1000"} {
		if _, err := db.ExecContext(t.Context(), "SET GLOBAL "+statement); err != nil {
			t.Fatal(err)
		}
		within(t, "it waits again after "+statement, func(ctx context.Context) error {
			return poll(ctx, func() error {
				var waits bool
				err := db.QueryRowContext(ctx, `SELECT @@global.rpl_semi_sync_source_enabled AND @@global.rpl_semi_sync_source_wait_point = 'AFTER_SYNC'
					AND @@global.rpl_semi_sync_source_timeout > 1000000`).Scan(&waits)
				if err == nil && !waits {
					err = errors.New("it does not wait for replicas")
				}
				return err
			})
		})
	}
	awaitCluster(t, s, "the proof has been made", func(c api.Cluster) bool { return sandbox.Settled(c) && !serverOf(c, primary).Status.Weakened })
}

// While daemons are stopped and no replica acknowledges, the gate closes the
// primary; on fresh proof it opens again in the same term (S9).
func TestS9_TheGateClosesAServerWhoseDaemonIsStopped(t *testing.T) {
	s := harness.Start(t, sandbox.Options{})
	before := record(t, s)
	db := openLocal(t, s, before.Primary)
	var held []string
	for _, name := range s.Servers() {
		held = append(held, name+"/daemon")
	}
	for _, target := range append(held, others(s, before.Primary)...) {
		signal(t, s, target, syscall.SIGSTOP)
	}
	stopped := time.Now()
	within(t, "the gate refuses clients", func(ctx context.Context) error { return awaitOffline(ctx, db, true) })
	t.Logf("closed after %s", time.Since(stopped))
	for _, target := range append(held, others(s, before.Primary)...) {
		signal(t, s, target, syscall.SIGCONT)
	}
	// What a daemon that has just woken up says of itself is seconds old.
	within(t, "clients are let in again", func(ctx context.Context) error { return awaitOffline(ctx, db, false) })
	awaitCluster(t, s, "it is open again", sandbox.Settled)
	awaitMetric(t, s, before.Primary, `mysqlha_fences_total{cause="gate"}`, 1)
	if after := record(t, s); after.Term != before.Term {
		t.Errorf("term %d was followed by term %d", before.Term, after.Term)
	}
	l := harness.Writers(t, s, 1)
	l.Check()
}

// awaitOffline waits until a server refuses clients, or lets them in.
func awaitOffline(ctx context.Context, db *sql.DB, want bool) error {
	return poll(ctx, func() error {
		var offline bool
		err := db.QueryRowContext(ctx, "SELECT @@global.offline_mode").Scan(&offline)
		if err == nil && offline != want {
			err = fmt.Errorf("offline_mode is %t", offline)
		}
		return err
	})
}

// A CREATE USER that hangs behind semi-sync blocks every login, and so every
// replica that could end its wait: the server is killed and comes back (S2, S10).
func TestS10_AStatementThatBlocksAllLoginsDoesNotHangTheCluster(t *testing.T) {
	s := harness.Start(t, sandbox.Options{})
	before := record(t, s)
	db := openAdmin(t, s, before.Primary)
	if err := db.PingContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range others(s, before.Primary) {
		signal(t, s, name, syscall.SIGKILL)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	_, err := db.ExecContext(ctx, "CREATE USER hung")
	cancel()
	if err == nil {
		t.Log("a replica was back before the statement: nothing hung")
	}
	app, err := s.OpenApp(s.WriteAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer app.Close()
	within(t, "applications can write again", func(ctx context.Context) error {
		return poll(ctx, func() error {
			ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			_, err := app.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS alive (id INT PRIMARY KEY)")
			return err
		})
	})
	awaitCluster(t, s, "the cluster is whole again", sandbox.Settled)
	l := harness.Writers(t, s, 1)
	l.Check()
}

// In async the promotion waits until the old primary is silent, and what it may
// have lost is named (S9).
func TestS9_InAsyncAPromotionWaitsForSilence(t *testing.T) {
	s := harness.Start(t, sandbox.Options{Durability: "async", RestartDelay: 20 * time.Second})
	before := record(t, s)
	if !before.Suspended || len(before.InSync) > 0 {
		t.Fatalf("an async cluster waits for nobody, the record says %+v", before)
	}
	awayFromPrimaryAsync(t, s)
	killed := time.Now()
	signal(t, s, before.Primary+"/daemon", syscall.SIGKILL)
	signal(t, s, before.Primary, syscall.SIGKILL)
	awaitCluster(t, s, "another primary is open", func(c api.Cluster) bool { return sandbox.IsOpen(c) && c.Record.Primary != before.Primary })
	t.Logf("open after %s", time.Since(killed))
	if r := record(t, s); r.Complete {
		t.Error("a term that may have lost something is marked complete (S6)")
	}
	if took := time.Since(killed); took < 5*time.Second {
		t.Errorf("promoted after %s, while a daemon that is only silent could still serve", took)
	}
}

func awayFromPrimaryAsync(t *testing.T, s *sandbox.Sandbox) {
	t.Helper()
	awaitCluster(t, s, "leadership is away from the primary", func(c api.Cluster) bool {
		return sandbox.IsOpen(c) && c.Leader != "" && c.Leader != c.Record.Primary
	})
}

// The required acks and the durability change while writes go on (S3).
func TestS3_TheRequiredAcksChangeUnderLoad(t *testing.T) {
	s := harness.Start(t, sandbox.Options{Servers: 4})
	l := harness.Writers(t, s, 4)
	for _, k := range []int{2, 1} {
		if _, err := s.API().ChangeSettings(t.Context(), api.SettingsChange{Set: map[string]string{"required_acks": strconv.Itoa(k)}}); err != nil {
			t.Fatal(err)
		}
		awaitCluster(t, s, fmt.Sprintf("%d acknowledgements are required", k), func(c api.Cluster) bool {
			return sandbox.IsOpen(c) && c.Record.RequiredAcks == k
		})
		before := time.Now()
		within(t, "writes go on", func(ctx context.Context) error {
			_, err := l.Await(ctx, func(a load.Ack) bool { return a.Begun.After(before) })
			return err
		})
	}
	l.Check()
}

// What was acknowledged while somebody had switched semi-sync off at the primary
// is on no other server. The death of the primary is then no reason for a
// failover: it comes back and proves that all of it is replicated (S2, S6).
func TestS2S6_WhatWasAcknowledgedWithoutReplicasSurvivesADeath(t *testing.T) {
	s := harness.Start(t, sandbox.Options{Etcd: sandbox.EtcdSeparate, RestartDelay: 8 * time.Second})
	before := record(t, s)
	l := harness.Writers(t, s, 2)
	db := openAdmin(t, s, before.Primary)
	for _, name := range others(s, before.Primary) {
		signal(t, s, name+"/daemon", syscall.SIGSTOP) // It would start the receiver again.
		stopReceiver(t, s, name)
	}
	if _, err := db.ExecContext(t.Context(), "SET GLOBAL rpl_semi_sync_source_enabled = OFF"); err != nil {
		t.Fatal(err)
	}
	awaitCluster(t, s, "the weakness is in the status", func(c api.Cluster) bool { return serverOf(c, before.Primary).Status.Weakened })
	signal(t, s, before.Primary, syscall.SIGKILL)
	for _, name := range others(s, before.Primary) {
		signal(t, s, name+"/daemon", syscall.SIGCONT)
	}
	awaitCluster(t, s, "the reason why nobody is promoted is named", func(c api.Cluster) bool {
		return slices.ContainsFunc(c.Decision.Waits, func(w decide.Wait) bool { return w.Code == decide.CodeWeakened })
	})
	awaitCluster(t, s, "the primary is back and everything is proved", func(c api.Cluster) bool {
		return sandbox.Settled(c) && !serverOf(c, before.Primary).Status.Weakened
	})
	if after := record(t, s); after.Term != before.Term {
		t.Errorf("term %d was followed by term %d", before.Term, after.Term)
	}
	l.Check()
}
