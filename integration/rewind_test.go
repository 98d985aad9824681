package integration

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/config"
	"github.com/mysqlha/mysqlha/deploy/sandbox"
	"github.com/mysqlha/mysqlha/integration/faults"
	"github.com/mysqlha/mysqlha/integration/harness"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication/binlog"
	"github.com/mysqlha/mysqlha/replication/gtid"
	"github.com/mysqlha/mysqlha/replication/process"
)

// leaveTail runs statements at the primary, each on a connection of its own,
// that reach its binary log and nobody else, and kills its mysqld then: the
// receivers are stopped while their daemons, who would start them again, are
// frozen.
func leaveTail(t *testing.T, s *sandbox.Sandbox, primary string, statements ...string) {
	t.Helper()
	for _, name := range others(s, primary) {
		signal(t, s, name+"/daemon", syscall.SIGSTOP)
		stopReceiver(t, s, name)
	}
	db := openAdmin(t, s, primary)
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, statement := range statements {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			c, err := db.Conn(ctx)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close() // Dead by then.
			var last error
			for one := range strings.SplitSeq(statement, "; ") {
				_, last = c.ExecContext(ctx, one)
			}
			if last == nil {
				t.Errorf("%q was acknowledged, and no replica has it (S2)", statement)
			}
		})
		// Each stands in the binary log before the next.
		time.Sleep(200 * time.Millisecond)
	}
	signal(t, s, primary, syscall.SIGKILL)
	for _, name := range others(s, primary) {
		signal(t, s, name+"/daemon", syscall.SIGCONT)
	}
}

func rewindOf(t *testing.T, s *sandbox.Sandbox, server string) process.Rewind {
	t.Helper()
	r, found, err := process.ReadRewind(filepath.Join(s.StateDir(server), "rewind.json"))
	if err != nil || !found {
		t.Fatalf("what %s rewound is not known: %v", server, err)
	}
	return r
}

// A former primary holds transactions that no replica received and nobody was
// told of. Before it starts again they are cut off its binary log, its engine
// rolls them back, and it is a replica like any other (S6, S7). What was cut off
// is kept.
func TestS6S7_AnUnacknowledgedTailIsRewound(t *testing.T) {
	s := harness.Start(t, sandbox.Options{})
	before := record(t, s)
	db := openAdmin(t, s, before.Primary)
	mustExec(t, db, "CREATE TABLE app.tail (id INT PRIMARY KEY, x TEXT)", "INSERT INTO app.tail VALUES (1, 'kept')")
	leaveTail(t, s, before.Primary,
		"INSERT INTO app.tail VALUES (2, 'lonely')",
		"SET SESSION binlog_transaction_compression = ON; INSERT INTO app.tail VALUES (3, REPEAT('x', 5000))",
		"SET GTID_NEXT = 'AUTOMATIC:blue'; INSERT INTO app.tail VALUES (4, 'tagged')",
		"CREATE TABLE app.never (id INT PRIMARY KEY)")
	begun := time.Now()
	awaitCluster(t, s, "the old primary is back in sync", func(c api.Cluster) bool {
		return sandbox.Settled(c) && c.Record.Term == before.Term+1 && c.Record.Primary != before.Primary
	})
	t.Logf("whole again %s after the kill", time.Since(begun))
	r := rewindOf(t, s, before.Primary)
	if r.State != process.RewindVerified || r.Prepared < 4 || r.RolledBack < r.Prepared || r.Term != before.Term {
		t.Errorf("the rewind: %+v", r)
	}
	awaitMetric(t, s, before.Primary, `mysqlha_rejoins_total{way="rewound"}`, 1)
	c := &faults.Cluster{Sandbox: s}
	within(t, "all servers have the same data", func(ctx context.Context) error { return c.SameEverywhere(ctx, "tail") })
	old := openAdmin(t, s, before.Primary)
	var rows, tables int
	if err := old.QueryRowContext(t.Context(), "SELECT COUNT(*), (SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'app' AND table_name = 'never') FROM app.tail").Scan(&rows, &tables); err != nil || rows != 1 || tables != 0 {
		t.Errorf("%d rows and %d new tables are left (%v)", rows, tables, err)
	}
	command := exec.CommandContext(t.Context(), harness.Build(t), "rewound", "--context", s.Context(), before.Primary, filepath.Base(r.Kept))
	command.Env = append(os.Environ(), "PATH="+filepath.Dir(mysqldProgram(t))+":"+os.Getenv("PATH"))
	show, err := command.CombinedOutput()
	if err != nil || !strings.Contains(string(show), "lonely") || !strings.Contains(string(show), "CREATE TABLE app.never") || strings.Contains(string(show), "'kept'") {
		t.Errorf("what was cut off cannot be read: %v\n%s", err, show)
	}
}

// What the engine cannot take back is not cut off. The server is diverged, and
// since nobody was told of what it has, it is built anew as a clone of another;
// what it had is kept (S7).
func TestS7_ATailThatCannotBeTakenBackIsReplacedByAClone(t *testing.T) {
	s := harness.Start(t, sandbox.Options{})
	before := record(t, s)
	mustExec(t, openAdmin(t, s, before.Primary), "CREATE TABLE app.tail (id INT PRIMARY KEY)")
	leaveTail(t, s, before.Primary, "INSERT INTO app.tail VALUES (1)", "FLUSH PRIVILEGES")
	awaitCluster(t, s, "the clone is named", func(c api.Cluster) bool { return waits(c, decide.CodeCloning, before.Primary) })
	if r := rewindOf(t, s, before.Primary); r.State != process.RewindRefused || !strings.Contains(r.Why, "FLUSH PRIVILEGES") || r.Kept != "" {
		t.Errorf("the rewind: %+v", r)
	}
	awaitCluster(t, s, "the old primary is back in sync", func(c api.Cluster) bool { return sandbox.Settled(c) && c.Record.Term == before.Term+1 })
	c := &faults.Cluster{Sandbox: s}
	within(t, "all servers have the same data", func(ctx context.Context) error { return c.SameEverywhere(ctx, "tail") })
	awaitMetric(t, s, before.Primary, `mysqlha_rejoins_total{way="rewind refused"}`, 1)
	awaitMetric(t, s, before.Primary, `mysqlha_rejoins_total{way="cloned"}`, 1)
	note, _, err := process.ReadClone(filepath.Join(s.StateDir(before.Primary), "clone.json"))
	if err != nil || !note.Done {
		t.Fatalf("the clone: %+v, %v", note, err)
	}
	var kept []string
	files, err := filepath.Glob(filepath.Join(note.Kept, "*"))
	for _, file := range files {
		_, scanErr := binlog.ScanFile(file, func(g binlog.Group) error { kept = append(kept, string(g.Kind)+" "+g.What); return nil })
		err = errors.Join(err, scanErr)
	}
	if err != nil || len(kept) < 2 || !slices.Contains(kept, "other FLUSH PRIVILEGES") {
		t.Errorf("%v of %v are kept (%v)", kept, files, err)
	}
	if _, found, err := process.ReadRewind(filepath.Join(s.StateDir(before.Primary), "rewind.json")); found || err != nil {
		t.Errorf("the refused rewind outlived the clone (%v)", err)
	}
}

// A failover needs a follower, and the only other server comes back with a tail
// that the engine cannot take back. It is built anew as a copy of the candidate,
// and the term opens with it, without a human (S5, S7).
func TestS5S7_TheOnlyFollowerIsBuiltAnewBeforeTheTermOpens(t *testing.T) {
	s := harness.Start(t, sandbox.Options{Servers: 2, Durability: config.DurabilityLossless})
	before := record(t, s)
	mustExec(t, openAdmin(t, s, before.Primary), "CREATE TABLE app.tail (id INT PRIMARY KEY)", "INSERT INTO app.tail VALUES (1)")
	leaveTail(t, s, before.Primary, "INSERT INTO app.tail VALUES (2)", "FLUSH PRIVILEGES")
	awaitCluster(t, s, "the clone is named before the term is published", func(c api.Cluster) bool {
		return c.Record.Term == before.Term && waits(c, decide.CodeCloning, before.Primary)
	})
	awaitCluster(t, s, "both are in sync", func(c api.Cluster) bool {
		return sandbox.Settled(c) && c.Record.Term == before.Term+1 && c.Record.Primary != before.Primary && c.Record.Complete
	})
	awaitMetric(t, s, before.Primary, `mysqlha_rejoins_total{way="cloned"}`, 1)
	c := &faults.Cluster{Sandbox: s}
	within(t, "both have the same data", func(ctx context.Context) error { return c.SameEverywhere(ctx, "tail") })
	var rows int
	if err := openAdmin(t, s, before.Primary).QueryRowContext(t.Context(), "SELECT COUNT(*) FROM app.tail").Scan(&rows); err != nil || rows != 1 {
		t.Errorf("%d rows are left (%v)", rows, err)
	}
}

// What somebody wrote on a replica is named, and nothing that decides by itself
// throws it away. A human may (S7).
func TestS7_WhatSomebodyWroteOnAReplicaIsNotDiscarded(t *testing.T) {
	s := harness.Start(t, sandbox.Options{})
	before := record(t, s)
	server := others(s, before.Primary)[0]
	writeOnReplica(t, s, server, "CREATE DATABASE notes")
	state, err := s.Cluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	run := serverOf(state, server).Status.StartID
	signal(t, s, server, syscall.SIGKILL)
	awaitCluster(t, s, "it is named after a restart", func(c api.Cluster) bool {
		now := serverOf(c, server)
		return now.Status.StartID != run && now.Status.StartID != "" && now.Live != nil && now.Live.Answers && !now.InSync &&
			(waits(c, decide.CodeErrant, server) || waits(c, decide.CodeDiverged, server))
	})
	var left int
	if err := openAdmin(t, s, server).QueryRowContext(t.Context(), "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = 'notes'").Scan(&left); err != nil || left != 1 {
		t.Errorf("%d databases are left (%v)", left, err)
	}
	entries, err := s.API().History(t.Context(), 100)
	if err != nil {
		t.Fatal(err)
	}
	removals := 0
	for _, h := range entries {
		if h.Plan.Kind == decide.PlanRemove && h.Plan.Server == server {
			removals++
		}
	}
	if removals != 1 {
		t.Errorf("it was removed from the in-sync set %d times", removals)
	}
	// A human gives them up.
	awaitCluster(t, s, "they are named", func(c api.Cluster) bool { return !serverOf(c, server).Errant.IsEmpty() })
	out, err := exec.CommandContext(t.Context(), harness.Build(t), "rejoin", "--context", s.Context(), "--discard", server).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "is in sync again") {
		t.Errorf("mysqlha rejoin: %v\n%s", err, out)
	}
	if err := openAdmin(t, s, server).QueryRowContext(t.Context(), "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = 'notes'").Scan(&left); err != nil || left != 0 {
		t.Errorf("%d databases are left (%v)", left, err)
	}
}

// What somebody wrote on a replica may be called harmless: the primary makes empty
// transactions of the same names, and the server replicates again (S7).
func TestS7_WhatIsCalledHarmlessStaysWhereItIs(t *testing.T) {
	s := harness.Start(t, sandbox.Options{})
	l := harness.Writers(t, s, 2)
	before := record(t, s)
	server := others(s, before.Primary)[0]
	writeOnReplica(t, s, server, "CREATE DATABASE notes", "CREATE DATABASE more_notes")
	var errant gtid.Set
	awaitCluster(t, s, "they are named", func(c api.Cluster) bool {
		errant = serverOf(c, server).Errant
		return errant.Count() == 2
	})
	out, err := exec.CommandContext(t.Context(), harness.Build(t), "rejoin", "--context", s.Context(), "--inject-empty", server).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "alone holds what "+errant.String()) {
		t.Errorf("mysqlha rejoin: %v\n%s", err, out)
	}
	for name, databases := range map[string]int{server: 2, before.Primary: 0} {
		var executed string
		var there int
		err := openAdmin(t, s, name).QueryRowContext(t.Context(),
			"SELECT @@GLOBAL.gtid_executed, (SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name LIKE '%notes')").Scan(&executed, &there)
		if err != nil || !gtid.MustParse(executed).Contains(errant) || there != databases {
			t.Errorf("%s has executed %s and has %d databases, want %d (%v)", name, executed, there, databases, err)
		}
	}
	// It counts like any other: the other replica is not needed.
	if now := record(t, s); now.Term != before.Term || !slices.Contains(now.InSync, server) {
		t.Errorf("term %d after %d, in sync are %v", now.Term, before.Term, now.InSync)
	}
	l.Check()
}

// writeOnReplica writes where nobody should, and waits until that is noticed.
func writeOnReplica(t *testing.T, s *sandbox.Sandbox, server string, statements ...string) {
	t.Helper()
	db := openAdmin(t, s, server)
	db.SetMaxOpenConns(1)
	signal(t, s, server+"/daemon", syscall.SIGSTOP) // It would close the server again.
	mustExec(t, db, "SET GLOBAL super_read_only = OFF", "SET GLOBAL read_only = OFF")
	mustExec(t, db, statements...)
	mustExec(t, db, "SET GLOBAL super_read_only = ON")
	signal(t, s, server+"/daemon", syscall.SIGCONT)
	awaitCluster(t, s, "it is out, by name", func(c api.Cluster) bool {
		return !serverOf(c, server).InSync && (waits(c, decide.CodeErrant, server) || waits(c, decide.CodeDiverged, server))
	})
}

func waits(c api.Cluster, code decide.Code, server string) bool {
	return slices.ContainsFunc(c.Decision.Waits, func(w decide.Wait) bool { return w.Code == code && w.Server == server })
}

// A primary that is cut off from its replicas and replaced is killed by its own
// daemon, rewound while it is still cut off, and back once it is not (S6, S7, S9).
func TestS7S9_ALivingFormerPrimaryIsRewound(t *testing.T) {
	c := onNetwork(t, sandbox.Options{Etcd: sandbox.EtcdSeparate})
	before := record(t, c.Sandbox)
	mustExec(t, openAdmin(t, c.Sandbox, before.Primary), "CREATE TABLE app.tail (id INT PRIMARY KEY)")
	for _, other := range c.Others(before.Primary) {
		if err := c.Lab.Cut(t.Context(), before.Primary, other); err != nil {
			t.Fatal(err)
		}
	}
	answered := make(chan error, 1)
	go func() {
		db, err := c.OpenLocal(before.Primary) // Over its socket, which no partition cuts.
		if err == nil {
			defer db.Close()
			_, err = db.ExecContext(t.Context(), "INSERT INTO app.tail VALUES (1)")
		}
		answered <- err
	}()
	awaitCluster(t, c.Sandbox, "another is primary", func(s api.Cluster) bool { return sandbox.IsOpen(s) && s.Record.Term > before.Term })
	if err := <-answered; err == nil {
		t.Error("a write was acknowledged that no replica has (S2)")
	}
	within(t, "it is rewound", func(ctx context.Context) error {
		return poll(ctx, func() error {
			if r, _, err := process.ReadRewind(filepath.Join(c.StateDir(before.Primary), "rewind.json")); err != nil || r.State != process.RewindVerified {
				return errors.Join(err, errors.New("not verified: "+string(r.State)+" "+r.Why))
			}
			return nil
		})
	})
	if err := c.Lab.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	awaitCluster(t, c.Sandbox, "all are in sync", sandbox.Settled)
	if r := rewindOf(t, c.Sandbox, before.Primary); r.Prepared < 1 || r.RolledBack < r.Prepared {
		t.Errorf("the rewind: %+v", r)
	}
	within(t, "all servers have the same data", func(ctx context.Context) error { return c.SameEverywhere(ctx, "tail") })
}
