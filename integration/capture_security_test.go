//go:build security

package integration

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/deploy/sandbox"
	"github.com/mysqlha/mysqlha/integration/harness"
)

// Clients write a marker while a primary is lost, a server is cloned and every
// certificate is replaced: on no link can it be read, and nothing speaks without TLS.
// With TLS switched off the same look finds it.
func TestSecurityNothingIsReadOnAnyLink(t *testing.T) {
	c := onNetwork(t, sandbox.Options{Spares: 1})
	p := startCapture(t, strings.TrimSuffix(c.Lab.Namespace("x"), "-x"), len(c.Lab.Hosts()))
	db, err := c.OpenApp(c.WriteAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	within(t, "the table of markers", func(ctx context.Context) error {
		return poll(ctx, func() error {
			_, err := db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS marked (id BIGINT AUTO_INCREMENT PRIMARY KEY, words TEXT)")
			return err
		})
	})
	l := harness.Writers(t, c.Sandbox, 4)
	wrote := 0
	mark := func() {
		t.Helper()
		within(t, "a marker is written", func(ctx context.Context) error {
			return poll(ctx, func() error {
				_, err := db.ExecContext(ctx, "INSERT INTO marked (words) VALUES (?)", strings.Repeat(marker+" ", 50))
				return err
			})
		})
		wrote++
	}
	mark()
	before := record(t, c.Sandbox)
	signal(t, c.Sandbox, before.Primary, syscall.SIGKILL)
	mark()
	awaitCluster(t, c.Sandbox, "the next term is open", func(s api.Cluster) bool { return s.Record.Term > before.Term && sandbox.Settled(s) })
	mark()
	purge(t, openAdmin(t, c.Sandbox, record(t, c.Sandbox).Primary)) // So that who joins is cloned.
	if out, err := mysqlha(t, c.Sandbox, "server", "add", "db4"); err != nil || !strings.Contains(out, "cloning") {
		t.Fatalf("%v\n%s", err, out)
	}
	mark()
	// What was purged may have been needed by the former primary, too, which is a clone then.
	awaitCluster(t, c.Sandbox, "every server is in sync", sandbox.Settled)
	replaceAuthority(t, c.Sandbox)
	mark()
	for range 20 {
		mark()
	}
	l.Check()
	s := p.stop()
	if s.Packets < 10_000 || s.Began() < 25 {
		t.Fatalf("only %d packets of %d connections were captured", s.Packets, s.Began())
	}
	if len(s.Marked) > 0 {
		t.Errorf("the marker can be read on %v", s.Marked)
	}
	if bad := s.Plaintext(); len(bad) > 0 {
		t.Errorf("%d connections speak without TLS:\n%s", len(bad), strings.Join(bad[:min(20, len(bad))], "\n"))
	}
	if len(s.Other) > 0 {
		t.Errorf("there are packets of other protocols: %v", s.Other)
	}
	t.Logf("%d packets, %d MB, %d connections from their beginning, %d markers", s.Packets, s.Bytes>>20, s.Began(), wrote)

	// The look is one that can find it: a session without TLS, straight to mysqld.
	primary := record(t, c.Sandbox).Primary
	admin := openAdmin(t, c.Sandbox, primary)
	mustExec(t, admin, "SET GLOBAL require_secure_transport = OFF")
	mustExec(t, admin, "CREATE USER 'careless'@'%' IDENTIFIED BY 'a-Careless-1'")
	mustExec(t, admin, "GRANT INSERT ON *.* TO 'careless'@'%'")
	p = startCapture(t, strings.TrimSuffix(c.Lab.Namespace("x"), "-x"), len(c.Lab.Hosts()))
	address, err := c.ServerAddr(primary)
	if err != nil {
		t.Fatal(err)
	}
	config, err := c.App(address)
	if err != nil {
		t.Fatal(err)
	}
	config.User, config.Passwd, config.TLS, config.TLSConfig = "careless", "a-Careless-1", nil, ""
	connector, err := mysql.NewConnector(config)
	if err != nil {
		t.Fatal(err)
	}
	plain := sql.OpenDB(connector)
	defer plain.Close()
	within(t, "this look finds what is said without TLS", func(ctx context.Context) error {
		return poll(ctx, func() error {
			if _, err := plain.ExecContext(ctx, "INSERT INTO marked (words) VALUES (?)", strings.Repeat(marker+" ", 50)); err != nil {
				t.Fatalf("writing without TLS: %v", err)
			}
			s := p.read()
			if len(s.Marked) == 0 || len(s.Plaintext()) == 0 {
				return fmt.Errorf("the marker is read on %v, and %v speak without TLS", s.Marked, s.Plaintext())
			}
			return nil
		})
	})
}
