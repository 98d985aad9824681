package replication_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication"
	"github.com/mysqlha/mysqlha/replication/gtid"
)

const replicaPassword, probePassword = "let me replicate", "let me look"

// TestOneClusterFromBootstrapToFailover tells one story on three servers; its
// parts depend on each other.
func TestOneClusterFromBootstrapToFailover(t *testing.T) {
	all := startAll(t, "a", "b", "c")
	a, b, c := all[0], all[1], all[2]
	var accounts []decide.Account
	for _, s := range []string{"a", "b", "c"} {
		accounts = append(accounts, decide.Account{Server: s, ReplicationHash: hash(t, replicaPassword), ProbeHash: hash(t, probePassword)})
	}
	parts := []struct {
		name string
		run  func(*testing.T)
	}{
		{"an empty server is empty and has nothing wrong", func(t *testing.T) { emptyServer(t, a) }},
		{"initialise makes schema and accounts, twice as well as once", func(t *testing.T) { initialise(t, a, accounts) }},
		{"replicas follow over verified TLS and hold what the source has", func(t *testing.T) { follow(t, a, b, c) }},
		{"a source without acknowledgers makes commits wait and still answers", func(t *testing.T) { becomeSource(t, a) }},
		{"locked accounts are out and unlocked ones come back", func(t *testing.T) { lockAccounts(t, a, b, c) }},
		{"after an acknowledged commit of its own the primary opens", func(t *testing.T) { open(t, a) }},
		{"a commit that was received before the receiver acknowledged is nudged through", func(t *testing.T) { nudged(t, a, b, c) }},
		{"revoked replicas hold every acknowledged write and let no other be", func(t *testing.T) { revoke(t, a, b, c) }},
		{"the candidate is promoted and the other follows it", func(t *testing.T) { promote(t, a, b, c) }},
		{"what an operator changes is found by the check", func(t *testing.T) { badVariables(t, b) }},
	}
	for _, p := range parts {
		if !t.Run(p.name, p.run) {
			t.FailNow()
		}
	}
}

func emptyServer(t *testing.T, a *server) {
	ctx := t.Context()
	do(t, "warm", a.local.Warm(ctx))
	empty, err := a.local.IsEmpty(ctx)
	do(t, "is empty", err)
	findings, err := a.local.Check(ctx)
	do(t, "check", err)
	if !empty || len(findings) > 0 {
		t.Fatalf("empty is %t, findings are %v", empty, findings)
	}
	s := a.read(t)
	if s.Configured || s.Receiver != decide.ReceiverOff || s.ContactAge != replication.NeverHeard || !s.SuperReadOnly ||
		!s.SemiSync.SourceInstalled || !s.SemiSync.ReplicaInstalled || s.SemiSync.SourceEnabled || s.ServerID != 1 {
		t.Fatalf("read %+v", s)
	}
	figures, err := a.local.Figures(ctx, []string{"Com_select", "Questions", "Nothing", "Rpl_semi_sync_source_status"}, []string{"max_connections", "datadir"})
	do(t, "figures", err)
	if len(figures) != 3 || figures["Com_select"] < 1 || figures["Questions"] < figures["Com_select"] || figures["@max_connections"] < 1 {
		t.Errorf("figures are %v", figures)
	}
	wantError(t, "start a receiver without a source", a.local.StartReceiver(ctx), replication.ErrNotConfigured)
	do(t, "stop a receiver without a source", a.local.StopReceiver(ctx))
	do(t, "reset replication without a source", a.local.ResetReplica(ctx))
	held, err := a.local.Held(ctx)
	do(t, "held", err)
	if !held.All().IsEmpty() || !held.Reported.IsEmpty() {
		t.Fatalf("an empty server holds %+v", held)
	}
}

func initialise(t *testing.T, a *server, accounts []decide.Account) {
	ctx := t.Context()
	do(t, "initialise", a.local.Initialise(ctx, accounts))
	before := a.read(t)
	if !before.SuperReadOnly || before.Executed.IsEmpty() {
		t.Fatalf("after initialise: %+v", before)
	}
	accounts = slices.Clone(accounts)
	accounts[0].ProbeHash = hash(t, "another")
	do(t, "initialise again", a.local.Initialise(ctx, accounts))
	empty, err := a.local.IsEmpty(ctx)
	do(t, "is empty", err)
	if empty {
		t.Fatal("an initialised server counts as empty")
	}
	// The account itself: no login with the old password, none without TLS rights.
	if _, err := a.remote(t, replication.ProbeUser("a"), "another").Probe(ctx); err != nil {
		t.Fatalf("probe with the corrected account: %v", err)
	}
	_, err = a.remote(t, replication.ProbeUser("a"), probePassword).Probe(ctx)
	if f, alive := replication.Classify(err); err == nil || f != decide.FailureNone || !alive {
		t.Fatalf("probe with the old password: %v is %q, alive %t", err, f, alive)
	}
	if err := a.login(t, replication.ProbeUser("a"), "another"); !replication.RefusesLogin(err) {
		t.Fatalf("probe with the password and no certificate: %v", err)
	}
	// A server that can show a certificate must.
	for _, certified := range []bool{true, false} {
		accounts[1].Certified = certified
		do(t, "initialise again", a.local.Initialise(ctx, accounts))
		if err := a.login(t, replication.CloneUser("b"), replicaPassword); replication.RefusesLogin(err) != certified || !certified && err != nil {
			t.Fatalf("with a certificate asked for is %t, login without: %v", certified, err)
		}
	}
	bad := []decide.Account{{Server: "x", ReplicationHash: "' OR '", ProbeHash: hash(t, "p")}}
	if err := a.local.Initialise(ctx, bad); err == nil {
		t.Fatal("a hash that is none was taken")
	}
}

func follow(t *testing.T, a, b, c *server) {
	ctx := t.Context()
	for _, s := range []*server{b, c} {
		wrong := a.source(s.name, replicaPassword)
		wrong.Host = "localhost" // The certificate does not carry it.
		do(t, "follow", s.local.Follow(ctx, wrong))
		do(t, "start the receiver", s.local.StartReceiver(ctx))
		eventually(t, "a name that the certificate lacks is refused", func() bool { return s.read(t).ReceiverErrno != 0 })

		do(t, "follow", s.local.Follow(ctx, a.source(s.name, replicaPassword)))
		do(t, "follow again", s.local.Follow(ctx, a.source(s.name, replicaPassword)))
		do(t, "acks", s.local.SetReplicaAcks(ctx, true))
		do(t, "start the receiver", s.local.StartReceiver(ctx))
		do(t, "start the applier", s.local.StartApplier(ctx))
		do(t, "apply", s.local.ApplyWait(ctx, a.read(t).Executed))
		eventually(t, "the receiver acknowledges", func() bool { return s.read(t).SemiSync.ReplicaStatus })
	}
	s := b.read(t)
	if !s.Configured || s.Receiver != decide.ReceiverOn || s.Applier != decide.ReceiverOn || s.SourcePort != a.port ||
		s.SourceUUID != a.read(t).ServerUUID || !s.Received.Equal(s.Executed) || s.ContactAge > bound ||
		!s.LagKnown || s.Lag != 0 || s.LagTransactions != 0 || !s.SuperReadOnly {
		t.Fatalf("a caught-up replica reads %+v", s)
	}
	wantError(t, "become a source while receiving", b.local.BecomeSource(ctx, 1), replication.ErrReceiving)
}

func becomeSource(t *testing.T, a *server) {
	ctx := t.Context()
	do(t, "become a source", a.local.BecomeSource(ctx, 1))
	do(t, "become a source again", a.local.BecomeSource(ctx, 1))
	s := a.read(t)
	if !s.SemiSync.SourceEnabled || !s.SemiSync.SourceStatus || s.SuperReadOnly || !s.ReadOnly || s.SemiSync.RequiredAcks != 1 {
		t.Fatalf("a prepared source reads %+v", s)
	}
	do(t, "lock all out", a.local.LockAccounts(ctx, nil))
	sessions, err := a.local.SemiSyncSessions(ctx)
	do(t, "sessions", err)
	if len(sessions) > 0 || !a.read(t).Executed.Equal(s.Executed) {
		t.Fatalf("after locking: sessions %v; something was written to the binary log", sessions)
	}
	hangs(t, "a commit that nobody acknowledges", time.Second, func(ctx context.Context) error {
		_, err := a.local.OwnCommit(ctx, replication.Heartbeat{Term: 1, Server: "a"})
		return err
	})
	// The client is gone, the commit is not let go.
	s = a.read(t)
	n, err := a.local.WaitSessions(ctx)
	do(t, "waiting sessions", err)
	if n < 1 || s.SemiSync.WaitSessions != n || s.SemiSync.Clients != 0 || !s.SemiSync.SourceStatus {
		t.Fatalf("with a waiting commit: %d sessions, %+v", n, s.SemiSync)
	}
	hangs(t, "super_read_only behind a waiting commit", 300*time.Millisecond, a.local.SetSuperReadOnly)
	a.read(t)
	do(t, "offline", a.local.SetOffline(ctx, true))
	do(t, "online", a.local.SetOffline(ctx, false))
	wantError(t, "initialise under semi-sync", a.local.Initialise(ctx, nil), replication.ErrNotPrepared)
}

func lockAccounts(t *testing.T, a, b, c *server) {
	ctx := t.Context()
	eventually(t, "a locked-out replica knows", func() bool { return b.read(t).Receiver == decide.ReceiverConnecting })
	if s := b.read(t); s.LagKnown {
		t.Fatalf("a replica without its source claims to know its lag: %+v", s)
	}
	wantError(t, "attach a stranger", a.local.LockAccounts(ctx, []string{"b", "stranger"}), replication.ErrNotPrepared)
	do(t, "attach b and c", a.local.LockAccounts(ctx, []string{"b", "c"}))
	do(t, "attach them again", a.local.LockAccounts(ctx, []string{"b", "c"}))
	eventually(t, "both are back", func() bool { return a.read(t).SemiSync.Clients == 2 })
	eventually(t, "the waiting commit ends", func() bool { return a.read(t).SemiSync.WaitSessions == 0 })
	sessions, err := a.local.SemiSyncSessions(ctx)
	do(t, "sessions", err)
	servers := []string{}
	for _, s := range sessions {
		if !s.SemiSync || s.User != replication.ReplicationUser(s.Server) {
			t.Fatalf("session %+v", s)
		}
		servers = append(servers, s.Server)
	}
	slices.Sort(servers)
	if !slices.Equal(servers, []string{"b", "c"}) {
		t.Fatalf("sessions of %v", servers)
	}

	do(t, "an acknowledging receiver starts anew without", c.local.SetReplicaAcks(ctx, false))
	do(t, "restart", c.local.RestartReceiver(ctx))
	eventually(t, "it attaches asynchronously", func() bool {
		sessions, err := a.local.SemiSyncSessions(ctx)
		do(t, "sessions", err)
		return len(sessions) == 2 && a.read(t).SemiSync.Clients == 1 && slices.ContainsFunc(sessions, func(s replication.DumpSession) bool {
			return s.Server == "c" && !s.SemiSync
		})
	})
	do(t, "acks", c.local.SetReplicaAcks(ctx, true))
	do(t, "restart", c.local.RestartReceiver(ctx))
	eventually(t, "it acknowledges again", func() bool { return a.read(t).SemiSync.Clients == 2 })
	askedNotCut(t, a, c)
}

// askedNotCut: a replica's session is asked to end, and not cut off, since the thread that
// reads acknowledgements at the source must have let go of it first.
func askedNotCut(t *testing.T, a, c *server) {
	ctx := t.Context()
	asked := func() (n int) {
		do(t, "count", a.db.QueryRowContext(ctx, "SELECT COALESCE(SUM(COUNT_STAR), 0) FROM performance_schema.events_statements_summary_by_digest WHERE DIGEST_TEXT LIKE 'KILL QUERY%'").Scan(&n))
		return n
	}
	before := asked()
	for range 5 {
		do(t, "lock c out", a.local.LockAccounts(ctx, []string{"b"}))
		do(t, "let it in", a.local.LockAccounts(ctx, []string{"b", "c"}))
		do(t, "start the receiver", c.local.RestartReceiver(ctx))
		eventually(t, "it is back", func() bool { return a.read(t).SemiSync.Clients == 2 })
	}
	if n := asked() - before; n < 5 {
		t.Errorf("sessions were asked %d times", n)
	}
}

func open(t *testing.T, a *server) {
	ctx := t.Context()
	if a.read(t).SuperReadOnly {
		t.Fatal("super_read_only came through although it was given up")
	}
	do(t, "super_read_only", a.local.SetSuperReadOnly(ctx))
	wantError(t, "open under super_read_only", a.local.Open(ctx), replication.ErrNotPrepared)
	wantError(t, "read_only off under super_read_only", a.local.SetReadOnly(ctx, false), replication.ErrNotPrepared)
	_, err := a.local.OwnCommit(ctx, replication.Heartbeat{Term: 1, Server: "a"})
	if !replication.IsReadOnlyError(err) {
		t.Fatalf("a commit under super_read_only: %v", err)
	}
	do(t, "become a source", a.local.BecomeSource(ctx, 1))
	before := time.Now()
	begun, err := a.local.OwnCommit(ctx, replication.Heartbeat{Term: 1, Server: "a"})
	do(t, "own commit", err)
	if begun.Before(before) || begun.After(time.Now()) {
		t.Fatalf("begun at %s, called at %s", begun, before)
	}
	do(t, "two acks", a.local.AssureWaiting(ctx, 2))
	_, err = a.local.OwnCommit(ctx, replication.Heartbeat{Term: 1, Server: "a"})
	do(t, "own commit with two acks", err)
	do(t, "one ack", a.local.AssureWaiting(ctx, 1))
	do(t, "open", a.local.Open(ctx))
	wantError(t, "become a source while open", a.local.BecomeSource(ctx, 1), replication.ErrOpen)
	wantError(t, "initialise while open", a.local.Initialise(ctx, nil), replication.ErrOpen)
	a.exec(t, "CREATE DATABASE d", "CREATE TABLE d.t (n INT PRIMARY KEY)", "INSERT INTO d.t VALUES (1)")
	n, err := a.local.KillClients(ctx) // root is the control account here.
	do(t, "kill clients", err)
	if n != 0 {
		t.Fatalf("killed %d sessions of the project's own accounts", n)
	}
	a.exec(t, "CREATE USER app IDENTIFIED BY 'app'")
	client := a.remote(t, "app", "app")
	_, err = client.Probe(ctx)
	do(t, "a client's session", err)
	if n, err = a.local.KillClients(ctx); err != nil || n != 1 {
		t.Fatalf("killed %d sessions of clients: %v", n, err)
	}
}

func nudged(t *testing.T, a, b, c *server) {
	ctx := t.Context()
	acks := func(on bool, servers ...*server) {
		for _, s := range servers {
			do(t, "switch acks", s.local.SetReplicaAcks(ctx, on))
			do(t, "restart the receiver", s.local.RestartReceiver(ctx))
		}
	}
	acks(false, b, c)
	eventually(t, "nobody acknowledges", func() bool { return a.read(t).SemiSync.Clients == 0 })
	before := b.read(t).Executed
	done := make(chan error, 1)
	go func() {
		_, err := a.local.OwnCommit(ctx, replication.Heartbeat{Term: 1, Server: "a"})
		done <- err
	}()
	eventually(t, "the commit is received without an acknowledgement", func() bool { return !b.read(t).Executed.Equal(before) })
	acks(true, b)
	select {
	case err := <-done:
		do(t, "own commit", err)
	case <-time.After(20 * time.Second):
		t.Fatal("the commit waits for ever, although a replica that has it acknowledges")
	}
	acks(true, c)
	eventually(t, "both acknowledge again", func() bool { return a.read(t).SemiSync.Clients == 2 })
}

func revoke(t *testing.T, a, b, c *server) {
	ctx := t.Context()
	a.exec(t, "INSERT INTO d.t VALUES (2)")
	acknowledged := a.read(t).Executed
	var union gtid.Set
	for _, s := range []*server{b, c} {
		do(t, "no more acks", s.local.SetReplicaAcks(ctx, false))
		do(t, "stop the receiver", s.local.StopReceiver(ctx))
		do(t, "stop it again", s.local.StopReceiver(ctx))
		state, err := s.local.ReceiverState(ctx)
		do(t, "receiver state", err)
		if snap := s.read(t); state != decide.ReceiverOff || snap.SemiSync.ReplicaStatus || snap.SemiSync.ReplicaEnabled {
			t.Fatalf("revoked: receiver %s, %+v", state, snap.SemiSync)
		}
		held, err := s.local.Held(ctx)
		do(t, "held", err)
		union = union.Union(held.All())
		if held.Reported.IsEmpty() || !acknowledged.Contains(held.Reported) {
			t.Fatalf("the heartbeat row reports %s", held.Reported)
		}
	}
	if !union.Contains(acknowledged) {
		t.Fatalf("acknowledged %s, the revoked hold %s", acknowledged, union)
	}
	hangs(t, "a commit that only revoked replicas could acknowledge", 500*time.Millisecond, func(ctx context.Context) error {
		_, err := a.local.OwnCommit(ctx, replication.Heartbeat{Term: 1, Server: "a"})
		return err
	})
}

func promote(t *testing.T, a, b, c *server) {
	ctx := t.Context()
	probe := a.remote(t, replication.ProbeUser("b"), probePassword)
	p, err := probe.Probe(ctx)
	do(t, "probe", err)
	executed, err := probe.Executed(ctx)
	do(t, "executed", err)
	if p.ServerID != 1 || p.ReadOnly || p.ServerUUID != a.read(t).ServerUUID || !executed.Equal(a.read(t).Executed) {
		t.Fatalf("probed %+v with %s", p, executed)
	}
	a.kill()
	_, err = probe.Probe(ctx)
	if f, alive := replication.Classify(err); f != decide.FailureRefused || alive {
		t.Fatalf("probe of a dead server: %v is %q, alive %t", err, f, alive)
	}
	held, err := b.local.Held(ctx)
	do(t, "held", err)
	do(t, "apply", b.local.ApplyWait(ctx, held.All()))
	do(t, "follow the candidate", c.local.Follow(ctx, b.source("c", replicaPassword)))
	s := c.read(t)
	if s.SourcePort != b.port || s.Applier != decide.ReceiverOn || !held.All().Equal(s.Executed.Union(s.Received)) {
		t.Fatalf("repointed: %+v", s)
	}
	do(t, "acks", c.local.SetReplicaAcks(ctx, true))
	do(t, "start the receiver", c.local.StartReceiver(ctx))
	do(t, "become a source", b.local.BecomeSource(ctx, 1))
	do(t, "attach", b.local.LockAccounts(ctx, []string{"c"}))
	_, err = b.local.OwnCommit(ctx, replication.Heartbeat{Term: 2, Server: "b"})
	do(t, "own commit", err)
	do(t, "open", b.local.Open(ctx))
	b.exec(t, "INSERT INTO d.t VALUES (3)")
	do(t, "the follower applies it", c.local.ApplyWait(ctx, b.read(t).Executed))
	do(t, "leave replication", b.local.ResetReplica(ctx))
	if s := b.read(t); s.Configured || s.ReadOnly || s.SuperReadOnly {
		t.Fatalf("the new primary reads %+v", s)
	}
	var n int
	do(t, "count", c.db.QueryRow("SELECT COUNT(*) FROM d.t").Scan(&n))
	if n != 3 {
		t.Fatalf("%d rows of 3", n)
	}
}

func badVariables(t *testing.T, b *server) {
	ctx := t.Context()
	b.exec(t, "SET GLOBAL sync_binlog = 100", "SET PERSIST_ONLY super_read_only = OFF",
		"CHANGE REPLICATION SOURCE TO SOURCE_HOST = 'elsewhere' FOR CHANNEL 'foreign'")
	findings, err := b.local.Check(ctx)
	do(t, "check", err)
	var codes []decide.Code
	for _, f := range findings {
		codes = append(codes, f.Code)
	}
	want := []decide.Code{decide.CodeBadVariable, decide.CodeBadVariable, decide.CodeForeignReplication}
	if !slices.Equal(codes, want) {
		t.Fatalf("found %v", findings)
	}
	if s := b.read(t); s.Configured || !slices.Equal(s.OtherChannels, []string{"foreign"}) {
		t.Fatalf("with a foreign channel: %+v", s)
	}
}
