package integration

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"syscall"
	"testing"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/deploy/sandbox"
	"github.com/mysqlha/mysqlha/integration/harness"
)

// What somebody does to the replication of a replica by hand is undone.
func TestReplicationThatSomebodyStoppedOrMovedIsRepaired(t *testing.T) {
	s := harness.Start(t, sandbox.Options{})
	l := harness.Writers(t, s, 2)
	away := others(s, record(t, s).Primary)
	server, other := away[0], away[1]
	db := openLocal(t, s, server)
	var port int
	if err := openLocal(t, s, other).QueryRowContext(t.Context(), "SELECT @@port").Scan(&port); err != nil {
		t.Fatal(err)
	}
	for name, statements := range map[string][]string{
		"stopped":               {"STOP REPLICA"},
		"an applier stopped":    {"STOP REPLICA SQL_THREAD"},
		"its settings removed":  {"STOP REPLICA", "RESET REPLICA ALL"},
		"another source":        {"STOP REPLICA IO_THREAD", fmt.Sprintf("CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT=%d", port), "START REPLICA"},
		"acknowledgements off":  {"STOP REPLICA IO_THREAD", "SET GLOBAL rpl_semi_sync_replica_enabled = OFF", "START REPLICA IO_THREAD"},
		"opened by an operator": {"SET GLOBAL super_read_only = OFF", "SET GLOBAL read_only = OFF"},
	} {
		t.Log(name)
		mustExec(t, db, statements...)
		within(t, name+": it is as before", func(ctx context.Context) error {
			return poll(ctx, func() error {
				var source, receiver, applier string
				var acks, closed bool
				err := db.QueryRowContext(ctx, `SELECT CONCAT(c.HOST, ':', c.PORT), r.SERVICE_STATE, a.SERVICE_STATE, @@GLOBAL.super_read_only,
					(SELECT VARIABLE_VALUE = 'ON' FROM performance_schema.global_status WHERE VARIABLE_NAME = 'Rpl_semi_sync_replica_status')
					FROM performance_schema.replication_connection_configuration c JOIN performance_schema.replication_connection_status r USING (CHANNEL_NAME)
					JOIN performance_schema.replication_applier_status a USING (CHANNEL_NAME)`).Scan(&source, &receiver, &applier, &closed, &acks)
				if err != nil {
					return err
				}
				if receiver != "ON" || applier != "ON" || !closed || !acks || source == fmt.Sprintf("127.0.0.1:%d", port) {
					return fmt.Errorf("it follows %s, receiver %s, applier %s, closed %t, acknowledges %t", source, receiver, applier, closed, acks)
				}
				return nil
			})
		})
		awaitCluster(t, s, name+": all are in sync", sandbox.Settled)
	}
	l.Check()
}

// A replica that lacks what its source has purged is built anew, by itself.
func TestAReplicaWhoseSourceHasPurgedWhatItNeedsIsCloned(t *testing.T) {
	s := harness.Start(t, sandbox.Options{})
	l := harness.Writers(t, s, 2)
	primary := record(t, s).Primary
	server := others(s, primary)[0]
	signal(t, s, server+"/daemon", syscall.SIGSTOP) // It would start the receiver again.
	stopReceiver(t, s, server)
	awaitCluster(t, s, "it has left the set", func(c api.Cluster) bool {
		return c.Record.Plan == nil && !slices.Contains(c.Record.InSync, server)
	})
	db := openAdmin(t, s, primary)
	purge(t, db)
	before := uuidOf(t, s, server)
	signal(t, s, server+"/daemon", syscall.SIGCONT)
	awaitCluster(t, s, "it is in sync again", sandbox.Settled)
	if after := uuidOf(t, s, server); after == before {
		t.Error("it was not cloned")
	}
	l.Check()
}

// purge throws a source's binary logs away, all but the newest.
func purge(t *testing.T, db *sql.DB) {
	t.Helper()
	mustExec(t, db, "FLUSH BINARY LOGS")
	within(t, "the old binary logs are purged", func(ctx context.Context) error {
		return poll(ctx, func() error { // Not before all replicas have read them.
			mustExec(t, db, "PURGE BINARY LOGS BEFORE '2100-01-01'")
			if n := count(t, db, "SHOW BINARY LOGS"); n != 1 {
				return fmt.Errorf("%d are left", n)
			}
			return nil
		})
	})
}

// uuidOf returns a server's server_uuid, which is another one after a clone.
func uuidOf(t *testing.T, s *sandbox.Sandbox, server string) (uuid string) {
	t.Helper()
	if err := openLocal(t, s, server).QueryRowContext(t.Context(), "SELECT @@server_uuid").Scan(&uuid); err != nil {
		t.Fatal(err)
	}
	return uuid
}

// count returns how many rows a query has.
func count(t *testing.T, db *sql.DB, query string) (n int) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		n++
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return n
}
