package integration

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/deploy/sandbox"
	"github.com/mysqlha/mysqlha/integration/faults"
	"github.com/mysqlha/mysqlha/integration/harness"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// mysqlha runs the operator's command line on a sandbox and returns all it says.
func mysqlha(t *testing.T, s *sandbox.Sandbox, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	command := exec.CommandContext(ctx, harness.Build(t), append([]string{"--context", s.Context()}, args...)...)
	out, err := command.CombinedOutput()
	t.Logf("mysqlha %s:\n%s", strings.Join(args, " "), out)
	return string(out), err
}

// awaitEtcd waits until etcd has so many members, all with a vote.
func awaitEtcd(t *testing.T, s *sandbox.Sandbox, n int) {
	t.Helper()
	client, _ := dialEtcd(t, s)
	within(t, fmt.Sprintf("etcd has %d members", n), func(ctx context.Context) error {
		return poll(ctx, func() error {
			list, err := client.MemberList(ctx)
			if err != nil {
				return err
			}
			votes := 0
			for _, m := range list.Members {
				if !m.IsLearner && len(m.ClientURLs) > 0 {
					votes++
				}
			}
			if len(list.Members) != n || votes != n {
				return fmt.Errorf("%d members, %d with a vote", len(list.Members), votes)
			}
			return nil
		})
	})
}

// An empty server joins a loaded cluster by one command. Nobody has the binary
// logs any more that it would need, so it is built as a clone. It counts then, and
// leaves by one command without a trace (S3).
func TestS3_AnEmptyServerJoinsALoadedClusterAndLeavesIt(t *testing.T) {
	s := harness.Start(t, sandbox.Options{Spares: 1})
	l := harness.Writers(t, s, 4)
	const server = "db4"
	awaitCluster(t, s, "its daemon has registered", func(c api.Cluster) bool { return slices.Contains(c.Applicants, server) })
	before := record(t, s)
	purge(t, openAdmin(t, s, before.Primary))
	out, err := mysqlha(t, s, "server", "add", server)
	if err != nil || !strings.Contains(out, "db4 is of the cluster and in sync") || !strings.Contains(out, "cloning") {
		t.Errorf("mysqlha server add: %v", err)
	}
	if r := record(t, s); !slices.Contains(r.InSync, server) || len(r.Servers) != 4 || r.Term != before.Term {
		t.Errorf("in sync are %v of %v in term %d", r.InSync, decide.ServerNames(r.Servers), r.Term)
	}
	awaitEtcd(t, s, 4)
	awaitMetric(t, s, server, `mysqlha_rejoins_total{way="cloned"}`, 1)

	// It is one of those that a failover leads to; the primary itself does not leave.
	signal(t, s, before.Primary, syscall.SIGKILL)
	awaitCluster(t, s, "the next term is open", func(c api.Cluster) bool { return sandbox.IsOpen(c) && c.Record.Term > before.Term })
	awaitCluster(t, s, "all are in sync", sandbox.Settled)
	now := record(t, s)
	if out, err := mysqlha(t, s, "server", "remove", now.Primary); err == nil || !strings.Contains(out, "is the primary and cannot leave") {
		t.Errorf("the primary was removed: %v", err)
	}

	leaver := others(s, now.Primary)[0]
	awaitMetric(t, s, "redirector", "mysqlha_term", float64(now.Term))
	if n := seriesOf(t, s, leaver); n == 0 {
		t.Error("nobody measures the one that leaves")
	}
	if out, err := mysqlha(t, s, "server", "remove", leaver); err != nil || !strings.Contains(out, leaver+" has left") {
		t.Errorf("mysqlha server remove: %v", err)
	}
	awaitEtcd(t, s, 3)
	if n := count(t, openAdmin(t, s, now.Primary), "SELECT user FROM mysql.user WHERE user LIKE 'mysqlha\\_%\\_"+leaver+"'"); n != 0 {
		t.Errorf("%d of its accounts are left", n)
	}
	awaitCluster(t, s, "it has registered again, and is not of the cluster", func(c api.Cluster) bool {
		return slices.Contains(c.Applicants, leaver) && len(c.Servers) == 3 && sandbox.Settled(c)
	})
	within(t, "nobody has series of it", func(ctx context.Context) error {
		return poll(ctx, func() error {
			if n := seriesOf(t, s, leaver); n > 0 {
				return fmt.Errorf("there are %d", n)
			}
			return nil
		})
	})
	db := openLocal(t, s, leaver)
	within(t, "it receives nothing", func(ctx context.Context) error {
		return poll(ctx, func() error {
			var n int
			err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM performance_schema.replication_connection_status WHERE SERVICE_STATE <> 'OFF'").Scan(&n)
			if err == nil && n > 0 {
				err = errors.New("it receives")
			}
			return err
		})
	})

	// And comes back the same way.
	if out, err := mysqlha(t, s, "server", "add", leaver); err != nil || !strings.Contains(out, "is of the cluster and in sync") {
		t.Errorf("mysqlha server add: %v", err)
	}
	awaitEtcd(t, s, 4)

	// Also without a pause in between, while its member of etcd ends.
	for _, word := range []string{"remove", "add"} {
		if _, err := mysqlha(t, s, "server", word, leaver); err != nil {
			t.Errorf("mysqlha server %s at once: %v", word, err)
		}
	}
	awaitEtcd(t, s, 4)
	awaitCluster(t, s, "all are in sync", func(c api.Cluster) bool { return len(c.Servers) == 4 && sandbox.Settled(c) })
	l.Check()
}

// seriesOf counts, over all hosts that answer, the series that are of a server.
func seriesOf(t *testing.T, s *sandbox.Sandbox, server string) (n int) {
	t.Helper()
	for _, host := range append([]string{"redirector"}, decide.ServerNames(record(t, s).Servers)...) {
		samples, err := s.Metrics(t.Context(), host)
		if err != nil {
			t.Error(err)
		}
		for series := range samples {
			if strings.Contains(series, fmt.Sprintf("server=%q", server)) {
				n++
			}
		}
	}
	return n
}

// A host that is gone for good is replaced: one command takes it out, one lets
// another in. What would cost etcd its quorum is refused, and changes nothing.
func TestADeadServerIsReplaced(t *testing.T) {
	s := harness.Start(t, sandbox.Options{Spares: 1, RestartDelay: 10 * time.Minute})
	l := harness.Writers(t, s, 2)
	before := record(t, s)
	gone, stays := others(s, before.Primary)[0], others(s, before.Primary)[1]
	for _, part := range []string{"", "/daemon"} {
		signal(t, s, gone+part, syscall.SIGKILL)
	}
	awaitCluster(t, s, "it is out of the in-sync set", func(c api.Cluster) bool {
		return c.Record.Plan == nil && slices.Equal(c.Record.InSync, []string{stays})
	})
	if out, err := mysqlha(t, s, "server", "remove", stays); err == nil || !strings.Contains(out, "etcd would have 2 members, of which 1 answer") {
		t.Errorf("etcd lost its quorum: %v", err)
	}
	if r := record(t, s); len(r.Servers) != 3 {
		t.Errorf("the servers are %v", decide.ServerNames(r.Servers))
	}
	if out, err := mysqlha(t, s, "server", "remove", gone); err != nil || !strings.Contains(out, gone+" has left") {
		t.Errorf("mysqlha server remove: %v", err)
	}
	awaitEtcd(t, s, 2)
	if out, err := mysqlha(t, s, "server", "add", "db4"); err != nil || !strings.Contains(out, "is of the cluster and in sync") {
		t.Errorf("mysqlha server add: %v", err)
	}
	awaitEtcd(t, s, 3)
	awaitCluster(t, s, "three servers are well", func(c api.Cluster) bool { return len(c.Servers) == 3 && sandbox.Settled(c) })
	l.Check()
	c := &faults.Cluster{Sandbox: s}
	within(t, "they have the same data", func(ctx context.Context) error {
		return poll(ctx, func() error {
			a, err := executedOf(ctx, c, before.Primary)
			b, err2 := executedOf(ctx, c, "db4")
			if err := errors.Join(err, err2); err != nil || a != b {
				return fmt.Errorf("%s and %s (%w)", a, b, err)
			}
			return nil
		})
	})
}

func executedOf(ctx context.Context, c *faults.Cluster, server string) (executed string, err error) {
	db, err := c.OpenLocal(server)
	if err != nil {
		return "", err
	}
	defer db.Close() // It was only read.
	err = db.QueryRowContext(ctx, "SELECT @@GLOBAL.gtid_executed").Scan(&executed)
	return executed, err
}
