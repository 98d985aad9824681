package integration

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/template"
	"time"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/deploy/sandbox"
	"github.com/mysqlha/mysqlha/integration/harness"
)

// haproxySettings send writes to whom /primary says and reads to whom /replica says,
// and know nothing else of the cluster. Bytes pass as they are: TLS ends at mysqld.
var haproxySettings = template.Must(template.New("haproxy").Parse(`
defaults
  mode tcp
  timeout connect 1s
  timeout client 1m
  timeout server 1m
  timeout check 1s
  retries 0
  default-server check check-ssl verify required ca-file {{.CA}} inter 100ms fastinter 50ms fall 2 rise 1 on-marked-down shutdown-sessions

listen writes
  bind {{.Write}}
  option httpchk OPTIONS /primary
  http-check expect status 200
{{range .Servers}}  server {{.Name}} {{.MySQL}} port {{.Port}} verifyhost {{.Name}}
{{end}}
listen reads
  bind {{.Read}}
  balance roundrobin
  option httpchk
  http-check send meth HEAD uri /replica?lag=10s&lag_transactions=100000
  http-check expect status 200
{{range .Servers}}  server {{.Name}} {{.MySQL}} port {{.Port}} verifyhost {{.Name}}
{{end}}`))

// balanced starts HAProxy before a cluster and returns where it takes writes and reads.
func balanced(t *testing.T, s *sandbox.Sandbox) (write, read string) {
	t.Helper()
	program, err := exec.LookPath("haproxy")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/haproxy"); err != nil {
			t.Fatalf("%v: apt-get install haproxy", err)
		}
	}
	type server struct{ Name, MySQL, Port string }
	var servers []server
	c, err := s.Cluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range c.Servers {
		_, port, err := net.SplitHostPort(one.API)
		if err != nil {
			t.Fatal(err)
		}
		servers = append(servers, server{one.Name, one.Address, port})
	}
	write, read = freeAddress(t), freeAddress(t)
	var text bytes.Buffer
	err = haproxySettings.Execute(&text, map[string]any{"CA": filepath.Join(s.Dir(), "client", "ca.crt"), "Write": write, "Read": read, "Servers": servers})
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	if err = errors.Join(err, os.WriteFile(file, text.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	command := exec.Command(program, "-f", file, "-db")
	command.Stdout, command.Stderr = &log, &log
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
		if t.Failed() {
			t.Logf("haproxy:\n%s", log.String())
		}
	})
	return write, read
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// through asks which server answers at an address, in a session of its own.
func through(ctx context.Context, db *sql.DB, statement string) (id int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	c, err := db.Conn(ctx)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if statement != "" {
		if _, err := c.ExecContext(ctx, statement); err != nil {
			return 0, err
		}
	}
	err = c.QueryRowContext(ctx, "SELECT @@server_id").Scan(&id)
	return id, err
}

// HAProxy, which only asks /primary and /replica, sends writes to the primary and reads
// to replicas through ten failovers, and nobody loses what was acknowledged to him.
func TestHAProxySendsEverybodyWhereHeBelongs(t *testing.T) {
	s := harness.Start(t, sandbox.Options{})
	if _, err := s.API().ChangeSettings(t.Context(), api.SettingsChange{Set: map[string]string{"cooldown": "off"}}); err != nil {
		t.Fatal(err)
	}
	write, read := balanced(t, s)
	writes, err := s.OpenApp(write)
	if err != nil {
		t.Fatal(err)
	}
	defer writes.Close()
	writes.SetMaxIdleConns(0) // Each question is a session of its own.
	reads, err := s.OpenApp(read)
	if err != nil {
		t.Fatal(err)
	}
	defer reads.Close()
	reads.SetMaxIdleConns(0)
	within(t, "writes go through", func(ctx context.Context) error {
		return poll(ctx, func() error {
			_, err := through(ctx, writes, "CREATE TABLE IF NOT EXISTS app.balanced (n INT PRIMARY KEY)")
			return err
		})
	})

	// A client that writes one number after the other, and tries again after an error.
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	var acked []int
	lastAck := time.Now()
	var client sync.WaitGroup
	client.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			if _, err := through(ctx, writes, fmt.Sprintf("INSERT INTO app.balanced VALUES (%d)", n)); err != nil {
				continue // Its fate is not known: the next is another.
			}
			mu.Lock()
			acked, lastAck = append(acked, n), time.Now()
			mu.Unlock()
		}
	})
	defer client.Wait()
	defer cancel()

	const failovers = 10
	var gaps []time.Duration
	for round := range failovers {
		awaitCluster(t, s, "all are in sync", sandbox.Settled)
		term := record(t, s).Term
		killed := time.Now()
		signal(t, s, "primary", syscall.SIGKILL)
		awaitCluster(t, s, "the next term is open", func(c api.Cluster) bool { return sandbox.IsOpen(c) && c.Record.Term == term+1 })
		primary, err := s.ServerID(record(t, s).Primary)
		if err != nil {
			t.Fatal(err)
		}
		within(t, "writes go to the new primary", func(ctx context.Context) error {
			return poll(ctx, func() error {
				id, err := through(ctx, writes, "")
				if err == nil && id != primary {
					err = fmt.Errorf("they go to %d, the primary is %d", id, primary)
				}
				return err
			})
		})
		within(t, "an acknowledgement", func(ctx context.Context) error {
			return poll(ctx, func() error {
				mu.Lock()
				defer mu.Unlock()
				if lastAck.Before(killed) {
					return errors.New("none since the kill")
				}
				return nil
			})
		})
		gaps = append(gaps, time.Since(killed))
		awaitCluster(t, s, "all are in sync", sandbox.Settled)
		var readers []int64
		within(t, "reads go to both replicas and not to the primary", func(ctx context.Context) error {
			return poll(ctx, func() error {
				readers = nil
				for range 6 {
					id, err := through(ctx, reads, "")
					if err != nil {
						return err
					}
					readers = append(readers, id)
				}
				slices.Sort(readers)
				if distinct := slices.Compact(slices.Clone(readers)); len(distinct) != 2 || slices.Contains(distinct, primary) {
					return fmt.Errorf("reads go to %v, the primary is %d", readers, primary)
				}
				return nil
			})
		})
		t.Logf("failover %d: writes through HAProxy after %s", round+1, gaps[round].Round(time.Millisecond))
	}
	cancel()
	client.Wait()

	var missing []string
	for _, n := range acked {
		var found int
		if err := writes.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM app.balanced WHERE n = ?", n).Scan(&found); err != nil || found != 1 {
			missing = append(missing, fmt.Sprintf("%d (%v)", n, err))
		}
	}
	if len(acked) < failovers || len(missing) > 0 {
		t.Errorf("%d writes were acknowledged, and %d are missing: %s", len(acked), len(missing), strings.Join(missing, ", "))
	}
}
