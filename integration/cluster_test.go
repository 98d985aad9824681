package integration

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/certs"
	"github.com/mysqlha/mysqlha/config"
	"github.com/mysqlha/mysqlha/deploy/sandbox"
	"github.com/mysqlha/mysqlha/deploy/sandbox/load"
	"github.com/mysqlha/mysqlha/election"
	"github.com/mysqlha/mysqlha/hooks"
	"github.com/mysqlha/mysqlha/integration/harness"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// patience bounds every wait; only a failing test uses it up.
const patience = 60 * time.Second

// within runs a wait with its bound.
func within(t *testing.T, what string, wait func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := wait(ctx); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// awaitCluster waits until what the daemons say suits.
func awaitCluster(t *testing.T, s *sandbox.Sandbox, what string, suits func(api.Cluster) bool) {
	t.Helper()
	within(t, what, func(ctx context.Context) error { return s.AwaitCluster(ctx, what, suits) })
}

func signal(t *testing.T, s *sandbox.Sandbox, target string, sig syscall.Signal) {
	t.Helper()
	if err := s.Signal(t.Context(), target, sig); err != nil {
		t.Fatal(err)
	}
}

// An account that could stop mysqld past its gate is named (S10).
func TestS10_AnAccountThatMayShutDownIsNamed(t *testing.T) {
	s := harness.Start(t, sandbox.Options{})
	named := func(c api.Cluster) bool { return waits(c, decide.CodeMayShutDown, c.Record.Primary) }
	if c, err := s.Cluster(t.Context()); err != nil || named(c) {
		t.Fatalf("one is named from the beginning: %v, %v", c.Decision.Waits, err)
	}
	db := openAdmin(t, s, record(t, s).Primary)
	mustExec(t, db, "CREATE USER stopper IDENTIFIED BY 'Stop-7-it'", "GRANT SHUTDOWN ON *.* TO stopper")
	awaitCluster(t, s, "it is named", named)
	mustExec(t, db, "ALTER USER stopper ACCOUNT LOCK")
	awaitCluster(t, s, "it is not named any more", func(c api.Cluster) bool { return !named(c) })
}

// firstWriteAfter returns the first acknowledged insert that was begun after a
// moment in a session opened after it.
func firstWriteAfter(t *testing.T, l *harness.Load, moment time.Time) load.Ack {
	t.Helper()
	var ack load.Ack
	within(t, "a write after the fault", func(ctx context.Context) (err error) {
		ack, err = l.Await(ctx, load.AfterReconnect(moment))
		return err
	})
	return ack
}

func record(t *testing.T, s *sandbox.Sandbox) decide.Record {
	t.Helper()
	var r decide.Record
	awaitCluster(t, s, "a record", func(c api.Cluster) bool {
		if c.Record == nil {
			return false
		}
		r = *c.Record
		return true
	})
	return r
}

func serverOf(c api.Cluster, name string) api.Server {
	i := slices.IndexFunc(c.Servers, func(s api.Server) bool { return s.Name == name })
	if i < 0 {
		return api.Server{}
	}
	return c.Servers[i]
}

func others(s *sandbox.Sandbox, name string) []string {
	return slices.DeleteFunc(s.Servers(), func(n string) bool { return n == name })
}

// A primary that is killed under load loses nothing and is replaced; its
// server comes back, and joins again or is named diverged (S2, S4, S5, S7).
func TestS2S4S5_KillOfThePrimaryLosesNoAcknowledgedWrite(t *testing.T) {
	s := harness.Start(t, sandbox.Options{})
	l := harness.Writers(t, s, 8)
	before := record(t, s)
	killed := time.Now()
	signal(t, s, before.Primary, syscall.SIGKILL)
	first := firstWriteAfter(t, l, killed)
	t.Logf("first write %s after the kill", first.Acked.Sub(killed))
	awaitCluster(t, s, "the new term is open", sandbox.IsOpen)
	after := record(t, s)
	if after.Term != before.Term+1 || after.Primary == before.Primary {
		t.Errorf("term %d of %s was followed by term %d of %s", before.Term, before.Primary, after.Term, after.Primary)
	}
	if !after.Complete {
		t.Error("the new term is not marked complete")
	}
	awaitCluster(t, s, "the old primary joined again or is named diverged", func(c api.Cluster) bool {
		old := serverOf(c, before.Primary)
		return old.InSync || !old.Errant.IsEmpty()
	})
	l.Check()
}

// Two failovers in a row, each as soon as the cluster is whole, lose nothing
// either (S5: the second rests on the in-sync set that the first published).
func TestS5_TwoFailoversInARow(t *testing.T) {
	s := harness.Start(t, sandbox.Options{})
	before := record(t, s)
	l := harness.Writers(t, s, 1)
	l.Result() // Nothing is under way when the servers die, so that each can join again.
	for range 2 {
		awaitCluster(t, s, "all are in sync", sandbox.Settled)
		primary := record(t, s).Primary
		signal(t, s, primary, syscall.SIGKILL)
		awaitCluster(t, s, "another primary is open", func(c api.Cluster) bool { return sandbox.IsOpen(c) && c.Record.Primary != primary })
	}
	if after := record(t, s); after.Term != before.Term+2 || !after.Complete {
		t.Errorf("term %d was followed by term %d, complete %t", before.Term, after.Term, after.Complete)
	}
	l.Check()
}

// A frozen primary is replaced, and when it is let go it acknowledges nothing
// that was begun after the new term opened (S4, S10).
func TestS4S10_AFrozenPrimaryIsReplacedAndAcknowledgesNothingMore(t *testing.T) {
	s := harness.Start(t, sandbox.Options{})
	l := harness.Writers(t, s, 8)
	before := record(t, s)
	id, err := s.ServerID(before.Primary)
	if err != nil {
		t.Fatal(err)
	}
	stopped := time.Now()
	signal(t, s, before.Primary, syscall.SIGSTOP)
	first := firstWriteAfter(t, l, stopped)
	t.Logf("first write %s after the stop", first.Acked.Sub(stopped))
	if first.Server == id {
		t.Fatal("the frozen server acknowledged a write begun after it was frozen")
	}
	// Its daemon may have killed it already; then there is nothing to let go.
	_ = s.Signal(t.Context(), before.Primary, syscall.SIGCONT)
	awaitCluster(t, s, "the new term is open", sandbox.IsOpen)
	l.Check()
	for _, ack := range l.Result().Acks {
		if ack.Server == id && ack.Begun.After(first.Acked) {
			t.Fatalf("the old primary acknowledged a write begun %s after the new term's first", ack.Begun.Sub(first.Acked))
		}
	}
}

// awayFromPrimary waits until a daemon leads that is not beside the primary and
// returns its name.
func awayFromPrimary(t *testing.T, s *sandbox.Sandbox) (leader string) {
	t.Helper()
	awaitCluster(t, s, "leadership is away from the primary", func(c api.Cluster) bool {
		leader = c.Leader
		return sandbox.Settled(c) && c.Leader != "" && c.Leader != c.Record.Primary
	})
	return leader
}

// A leader's daemon that dies is replaced; so is one that dies together with
// the primary.
func TestALeaderThatDiesIsReplaced(t *testing.T) {
	// Later than the leader's lease ends: else it may come back as the leader.
	s := harness.Start(t, sandbox.Options{RestartDelay: 4 * time.Second})
	idle := awayFromPrimary(t, s)
	signal(t, s, idle+"/daemon", syscall.SIGKILL)
	awaitCluster(t, s, "another daemon leads", func(c api.Cluster) bool { return c.Leader != "" && c.Leader != idle })
	leader := awayFromPrimary(t, s)

	l := harness.Writers(t, s, 8)
	before := record(t, s)
	killed := time.Now()
	signal(t, s, before.Primary, syscall.SIGKILL)
	signal(t, s, leader+"/daemon", syscall.SIGKILL)
	first := firstWriteAfter(t, l, killed)
	t.Logf("first write %s after the kill of primary and leader", first.Acked.Sub(killed))
	awaitCluster(t, s, "all are whole again", func(c api.Cluster) bool { return sandbox.IsOpen(c) && len(c.Record.InSync) > 0 })
	l.Check()
}

// A plan that is journaled is finished by the next leader. The failover stands
// still in its first phase, because one replica's mysqld is frozen, when its
// leader dies.
func TestAFailoverWhoseLeaderDiesIsFinishedByTheNext(t *testing.T) {
	s := harness.Start(t, sandbox.Options{RestartDelay: 4 * time.Second})
	leader := awayFromPrimary(t, s)
	l := harness.Writers(t, s, 8)
	before := record(t, s)
	frozen := others(s, before.Primary)
	frozen = slices.DeleteFunc(frozen, func(n string) bool { return n == leader })
	signal(t, s, frozen[0], syscall.SIGSTOP)
	killed := time.Now()
	signal(t, s, before.Primary, syscall.SIGKILL)
	awaitCluster(t, s, "the failover is journaled", func(c api.Cluster) bool {
		return c.Record != nil && c.Record.Plan != nil && c.Record.Plan.Kind == decide.PlanFailover
	})
	journaled := record(t, s).Plan
	signal(t, s, leader+"/daemon", syscall.SIGKILL)
	signal(t, s, frozen[0], syscall.SIGCONT)
	firstWriteAfter(t, l, killed)
	awaitCluster(t, s, "the next term is open", func(c api.Cluster) bool { return sandbox.IsOpen(c) && c.Record.Term == before.Term+1 })
	entries, err := s.API().History(t.Context(), 5)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(entries, func(h decide.History) bool { return h.Plan.ID == journaled.ID && h.Result == "completed" }) {
		t.Errorf("the plan %s of %s is not in the history as completed", journaled.ID, journaled.Leader)
	}
	l.Check()
}

// With etcd gone the primary goes on: acknowledged commits prove that no later
// term is open (S9). Nothing is fenced, and no failover follows its return.
func TestS9_EtcdDownAndAcknowledgementsFlowingCutsNobody(t *testing.T) {
	s := harness.Start(t, sandbox.Options{Etcd: sandbox.EtcdSeparate, RestartDelay: 10 * time.Second})
	l := harness.Writers(t, s, 8)
	before := record(t, s)
	for _, member := range []string{"etcd1", "etcd2", "etcd3"} {
		signal(t, s, member, syscall.SIGKILL)
	}
	down := time.Now()
	awaitCluster(t, s, "the daemons notice that etcd is gone", func(c api.Cluster) bool { return c.Stale })
	awaitCluster(t, s, "etcd is back and somebody leads", func(c api.Cluster) bool { return !c.Stale && c.Leader != "" && c.At.Sub(down) > 10*time.Second })
	awaitCluster(t, s, "all are in sync", sandbox.Settled)
	after := record(t, s)
	if after.Term != before.Term || after.Primary != before.Primary {
		t.Errorf("term %d of %s was followed by term %d of %s", before.Term, before.Primary, after.Term, after.Primary)
	}
	l.Check()
	if r := l.Result(); r.Unknown > 0 || r.LastError != nil {
		t.Errorf("%d writes failed while etcd was down: %v", r.Unknown, r.LastError)
	}
}

// A primary that neither reaches etcd nor gets acknowledgements closes itself
// within the fence deadline and what closing takes (S9).
func TestS9_AnIsolatedPrimaryClosesItself(t *testing.T) {
	told := filepath.Join(t.TempDir(), "told")
	s := harness.Start(t, sandbox.Options{Config: fmt.Sprintf("hooks:\n  - {name: told, on: [fence], command: [/bin/sh, -c, \"cat >> %s; echo >> %[1]s\"]}\n", told)})
	before := record(t, s)
	db := openLocal(t, s, before.Primary)
	for _, name := range others(s, before.Primary) {
		signal(t, s, name+"/daemon", syscall.SIGSTOP)
		signal(t, s, name, syscall.SIGSTOP)
	}
	isolated := time.Now()
	within(t, "the isolated primary is closed", func(ctx context.Context) error { return awaitClosed(ctx, db) })
	took := time.Since(isolated)
	t.Logf("closed after %s", took)
	if took < 3*time.Second {
		t.Errorf("closed after %s: long before the fence deadline of 5s, a blip would cut it", took)
	}
	awaitTold(t, told, func(all []hooks.Event) bool { // By a host that has nobody else to talk to.
		return len(all) == 1 && all[0].Kind == hooks.KindFence && all[0].Server == before.Primary && all[0].Cause != ""
	})
	for _, name := range others(s, before.Primary) {
		signal(t, s, name, syscall.SIGCONT)
		signal(t, s, name+"/daemon", syscall.SIGCONT)
	}
	awaitCluster(t, s, "writes are possible again", sandbox.IsOpen)
}

// awaitClosed waits until a server takes no write that could be acknowledged: it
// is read-only, or it lets no client in and its commits wait for replicas.
func awaitClosed(ctx context.Context, db *sql.DB) error {
	return poll(ctx, func() error {
		var closed bool
		err := db.QueryRowContext(ctx, `SELECT @@global.super_read_only OR @@global.offline_mode AND @@global.rpl_semi_sync_source_enabled
			AND (SELECT VARIABLE_VALUE > 0 FROM performance_schema.global_status WHERE VARIABLE_NAME = 'Rpl_semi_sync_source_wait_sessions')`).Scan(&closed)
		if err == nil && !closed {
			err = errors.New("still open")
		}
		return err // Killed, it comes back harmless.
	})
}

// With one replica dead and out of the set, the loss of the primary leaves one
// server. It waits by name for a follower, and opens by itself as soon as there
// is one (S3, S5, S6).
func TestS3S5_TheLastServerWaitsForAFollowerByName(t *testing.T) {
	s := harness.Start(t, sandbox.Options{RestartDelay: 15 * time.Second})
	before := record(t, s)
	away := others(s, before.Primary)
	lost, last := away[0], away[1]
	signal(t, s, lost, syscall.SIGKILL)
	awaitCluster(t, s, "the dead replica has left the in-sync set", func(c api.Cluster) bool {
		return c.Record != nil && c.Record.Plan == nil && slices.Equal(c.Record.InSync, []string{last})
	})
	killed := time.Now()
	signal(t, s, before.Primary, syscall.SIGKILL)
	awaitCluster(t, s, "the wait for a follower is named", func(c api.Cluster) bool {
		return slices.ContainsFunc(c.Decision.Waits, func(w decide.Wait) bool { return w.Code == decide.CodeWaitingForFollowers })
	})
	t.Logf("waits by name %s after the kill", time.Since(killed))
	if r := record(t, s); r.Term != before.Term {
		t.Fatalf("term %d was published without a follower", r.Term)
	}
	awaitCluster(t, s, "a follower came back and the last server opened", func(c api.Cluster) bool {
		return sandbox.IsOpen(c) && c.Record.Primary == last && c.Record.Term == before.Term+1
	})
	awaitCluster(t, s, "all are in sync", sandbox.Settled)
}

// What etcd says of the past is not followed: a record below the highest term
// that a daemon has seen pauses the cluster (S1).
func TestS1_ARecordOfThePastPausesTheCluster(t *testing.T) {
	s := harness.Start(t, sandbox.Options{})
	before := record(t, s)
	signal(t, s, before.Primary, syscall.SIGKILL)
	awaitCluster(t, s, "the next term is open", func(c api.Cluster) bool { return sandbox.IsOpen(c) && c.Record.Term == before.Term+1 })
	now := record(t, s)
	overwriteRecord(t, s, before)
	awaitCluster(t, s, "the leader says that the term went back", func(c api.Cluster) bool {
		return slices.ContainsFunc(c.Decision.Waits, func(w decide.Wait) bool { return w.Code == decide.CodeTermWentBack })
	})
	c, err := s.Cluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if st := serverOf(c, before.Primary).Status; st.OpenTerm != 0 {
		t.Errorf("%s was opened in term %d by a record of the past", before.Primary, st.OpenTerm)
	}
	if st := serverOf(c, now.Primary).Status; st.OpenTerm != now.Term {
		t.Errorf("%s was closed by a record of the past: open in term %d", now.Primary, st.OpenTerm)
	}
}

func stopReceiver(t *testing.T, s *sandbox.Sandbox, server string) {
	t.Helper()
	db, err := s.OpenLocal(server)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), "STOP REPLICA IO_THREAD"); err != nil {
		t.Fatal(err)
	}
}

// dialEtcd returns a client of the sandbox's etcd and the keys in it.
func dialEtcd(t *testing.T, s *sandbox.Sandbox) (*clientv3.Client, election.Keys) {
	t.Helper()
	cfg, err := config.Load(filepath.Join(s.Dir(), s.Servers()[0], "mysqlhad.yaml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	client, err := election.Dial(t.Context(), election.ClientOptions{Endpoints: cfg.EtcdEndpoints(),
		TLS: certs.ClientConfigAny(certs.Files{CA: cfg.TLS.CA, Cert: cfg.TLS.Cert, Key: cfg.TLS.Key}, cfg.EtcdHosts)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client, election.NewKeys(cfg.Cluster)
}

// overwriteRecord puts a record into etcd as a restored backup would.
func overwriteRecord(t *testing.T, s *sandbox.Sandbox, r decide.Record) {
	t.Helper()
	client, keys := dialEtcd(t, s)
	value, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	within(t, "overwriting the record", func(ctx context.Context) error {
		_, err := client.Put(ctx, keys.Record(), string(value))
		return err
	})
}

// In steady state leases are renewed and nothing is written: etcd's revision
// stands still, although the primary commits its heartbeat all the while.
func TestAnIdleClusterWritesNothingToEtcd(t *testing.T) {
	const idle = 10 * time.Second
	s := harness.Start(t, sandbox.Options{})
	awayFromPrimary(t, s)
	client, keys := dialEtcd(t, s)
	revision, since := int64(0), time.Now()
	within(t, "etcd's revision stands still", func(ctx context.Context) error {
		return poll(ctx, func() error {
			resp, err := client.Get(ctx, keys.Record())
			if err != nil {
				return err
			}
			if resp.Header.Revision != revision {
				revision, since = resp.Header.Revision, time.Now()
			}
			if still := time.Since(since); still < idle {
				return fmt.Errorf("revision %d for %s", revision, still)
			}
			return nil
		})
	})
}

func poll(ctx context.Context, done func() error) error {
	for {
		err := done()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %s", ctx.Err(), strings.TrimSpace(err.Error()))
		case <-time.After(20 * time.Millisecond):
		}
	}
}
