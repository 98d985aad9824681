package integration

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"

	"github.com/mysqlha/mysqlha/certs"
	"github.com/mysqlha/mysqlha/deploy/sandbox"
	"github.com/mysqlha/mysqlha/integration/harness"
)

// handMade is a cluster that somebody made by hand: three mysqlds with GTIDs, no
// semi-sync, an account for replication and one for an application.
type handMade struct {
	t    *testing.T
	dir  string
	bin  string
	base int
}

// The ports of a host, after its base.
const (
	handMadeMySQL = iota
	handMadeAPI
	handMadeClient
	handMadePeer
	handMadeWrite
	handMadeRead
	handMadePorts
)

func (h *handMade) port(host, kind int) int { return h.base + host*handMadePorts + kind }

func (h *handMade) path(host int, parts ...string) string {
	return filepath.Join(append([]string{h.dir, fmt.Sprintf("db%d", host+1)}, parts...)...)
}

// freeBase returns the first of so many ports in a row that nobody listens on.
func freeBase(t testing.TB, n int) int {
	t.Helper()
	for base := 21000 + os.Getpid()%5000; base < 32000; base += n {
		free := true
		for port := base; free && port < base+n; port++ {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if free = err == nil; free {
				_ = l.Close() // Nobody has connected.
			}
		}
		if free {
			return base
		}
	}
	t.Fatal("no ports are free")
	return 0
}

// run starts a program that ends with the test at the latest.
func (h *handMade) run(name string, args ...string) *exec.Cmd {
	h.t.Helper()
	log, err := os.OpenFile(filepath.Join(h.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		h.t.Fatal(err)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started, ended := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread() // The death signal comes with the end of the thread.
		defer runtime.UnlockOSThread()
		defer close(ended)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // Killed in the end.
		}
		_ = log.Close() // Its process has it no more.
	}()
	if err := <-started; err != nil {
		h.t.Fatalf("starting %s: %v", name, err)
	}
	h.t.Cleanup(func() {
		_ = cmd.Process.Kill() // Fails only where it is gone.
		<-ended
		if h.t.Failed() {
			h.t.Logf("end of %s:\n%s", name, sandbox.Tail(log.Name(), 25))
		}
	})
	return cmd
}

// sql runs statements as the administrator of a host.
func (h *handMade) sql(host int, statements ...string) {
	h.t.Helper()
	db := h.admin(host)
	defer db.Close()
	for _, s := range statements {
		if _, err := db.ExecContext(h.t.Context(), s); err != nil {
			h.t.Fatalf("db%d: %s: %v", host+1, s, err)
		}
	}
}

func (h *handMade) admin(host int) *sql.DB {
	db, err := sql.Open("mysql", fmt.Sprintf("root:%s@unix(%s)/?interpolateParams=true", rootPassword, h.path(host, "mysqld.sock")))
	if err != nil {
		h.t.Fatal(err)
	}
	return db
}

const rootPassword = "Root-by-hand-1"

// makeByHand makes it and returns when all replicas run.
func makeByHand(t *testing.T) *handMade {
	t.Helper()
	bin := filepath.Dir(harness.Build(t))
	dir, err := os.MkdirTemp("", "mysqlha-hm-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	h := &handMade{t: t, dir: dir, bin: bin, base: freeBase(t, 3*handMadePorts)}
	mysqld := os.Getenv("MYSQLD")
	if mysqld == "" {
		t.Fatal("MYSQLD names no mysqld: make integration finds or fetches one")
	}
	template := filepath.Join(dir, "template")
	if out, err := exec.CommandContext(t.Context(), mysqld, "--no-defaults", "--initialize-insecure", "--user=root", "--datadir="+template).CombinedOutput(); err != nil {
		t.Fatalf("initialising: %v\n%s", err, out)
	}
	if err := os.Remove(filepath.Join(template, "auto.cnf")); err != nil {
		t.Fatal(err)
	}
	for host := range 3 {
		if err := os.MkdirAll(h.path(host, "state"), 0o700); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(t.Context(), "cp", "-a", "--reflink=auto", template, h.path(host, "data")).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		// Somebody's my.cnf: GTIDs, and little else.
		cnf := fmt.Sprintf("[mysqld]\nserver_id=%d\ndatadir=%s\nsocket=%s\npid_file=%s\nport=%d\nbind_address=127.0.0.1\nmysqlx=OFF\nlog_bin=binlog\ngtid_mode=ON\nenforce_gtid_consistency=ON\nsync_binlog=0\ninnodb_flush_log_at_trx_commit=2\nrelay_log_recovery=ON\ninnodb_buffer_pool_size=64M\ninnodb_redo_log_capacity=64M\nreplica_parallel_workers=4\n",
			host+10, h.path(host, "data"), h.path(host, "mysqld.sock"), h.path(host, "mysqld.pid"), h.port(host, handMadeMySQL))
		if err := os.WriteFile(h.path(host, "my.cnf"), []byte(cnf), 0o644); err != nil {
			t.Fatal(err)
		}
		h.run(fmt.Sprintf("mysqld%d", host+1), mysqld, "--defaults-file="+h.path(host, "my.cnf"), "--user=root")
	}
	for host := range 3 {
		h.awaitMySQL(host)
	}
	h.sql(0, "CREATE USER repl IDENTIFIED BY 'Repl-by-hand-1'", "GRANT REPLICATION SLAVE ON *.* TO repl",
		"CREATE DATABASE shop", "CREATE USER app IDENTIFIED BY 'App-by-hand-1' REQUIRE SSL", "GRANT ALL ON shop.* TO app",
		"CREATE TABLE shop.orders (client INT NOT NULL, seq BIGINT NOT NULL, PRIMARY KEY (client, seq))")
	for host := 1; host < 3; host++ {
		h.sql(host, fmt.Sprintf("CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT=%d, SOURCE_USER='repl', SOURCE_PASSWORD='Repl-by-hand-1', SOURCE_AUTO_POSITION=1, SOURCE_SSL=1", h.port(0, handMadeMySQL)),
			"START REPLICA", "SET GLOBAL super_read_only = ON")
	}
	return h
}

func (h *handMade) awaitMySQL(host int) {
	h.t.Helper()
	within(h.t, fmt.Sprintf("mysqld %d answers", host+1), func(ctx context.Context) error {
		for {
			db, err := sql.Open("mysql", fmt.Sprintf("root@unix(%s)/", h.path(host, "mysqld.sock")))
			if err != nil {
				return err
			}
			_, err = db.ExecContext(ctx, "SET sql_log_bin = 0")
			if err == nil {
				conn, err := db.Conn(ctx)
				if err != nil {
					return err
				}
				for _, s := range []string{"SET sql_log_bin = 0", "ALTER USER root@localhost IDENTIFIED BY '" + rootPassword + "'"} {
					if _, err := conn.ExecContext(ctx, s); err != nil {
						return err
					}
				}
				return db.Close()
			}
			_ = db.Close() // It never connected.
			select {
			case <-ctx.Done():
				return err
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
}

// writeFiles gives every host certificates and a configuration.
func (h *handMade) writeFiles() {
	h.t.Helper()
	ca, err := certs.NewAuthority("hand made", 100*24*time.Hour)
	if err == nil {
		err = ca.WriteTo(filepath.Join(h.dir, "ca"))
	}
	if err == nil {
		err = ca.IssueTo(filepath.Join(h.dir, "client"), "client", certs.For(certs.RoleOperator, "ann", nil, 100*24*time.Hour))
	}
	if err != nil {
		h.t.Fatal(err)
	}
	var servers, members, endpoints strings.Builder
	for host := range 3 {
		fmt.Fprintf(&servers, "  - {name: db%d, mysql: \"127.0.0.1:%d\", api: \"127.0.0.1:%d\"}\n", host+1, h.port(host, handMadeMySQL), h.port(host, handMadeAPI))
		fmt.Fprintf(&members, "      - {name: db%d, peer: \"127.0.0.1:%d\", client: \"127.0.0.1:%d\"}\n", host+1, h.port(host, handMadePeer), h.port(host, handMadeClient))
		fmt.Fprintf(&endpoints, "  - {address: \"127.0.0.1:%d\"}\n", h.port(host, handMadeAPI))
	}
	for host := range 3 {
		if err := ca.IssueTo(h.path(host, "tls"), "host", certs.For(certs.RoleMember, fmt.Sprintf("db%d", host+1), []string{"127.0.0.1"}, 90*24*time.Hour)); err != nil {
			h.t.Fatal(err)
		}
		if err := ca.IssueTo(h.path(host, "tls"), "mysqld", certs.For(certs.RoleMysqld, fmt.Sprintf("db%d", host+1), []string{"127.0.0.1"}, 90*24*time.Hour)); err != nil {
			h.t.Fatal(err)
		}
		text := fmt.Sprintf("cluster: shop\nname: db%d\ndata_dir: state\nservers:\n%smysql:\n  socket: %s\n  data_dir: data\ntls: {ca: %s, cert: tls/host.crt, key: tls/host.key}\netcd:\n  embedded:\n    listen_client: 127.0.0.1:%d\n    listen_peer: 127.0.0.1:%d\n    members:\n%s    token: made-by-hand-1\napi: {listen: \"127.0.0.1:%d\"}\nredirect: {write: \"127.0.0.1:%d\", read: \"127.0.0.1:%d\"}\n",
			host+1, servers.String(), h.path(host, "mysqld.sock"), filepath.Join(h.dir, "ca", certs.AuthorityCert), h.port(host, handMadeClient), h.port(host, handMadePeer), members.String(), h.port(host, handMadeAPI), h.port(host, handMadeWrite), h.port(host, handMadeRead))
		if err := os.WriteFile(h.path(host, "mysqlhad.yaml"), []byte(text), 0o644); err != nil {
			h.t.Fatal(err)
		}
	}
	context := fmt.Sprintf("cluster: shop\nendpoints:\n%stls: {ca: ca/%s, cert: client/client.crt, key: client/client.key}\n", endpoints.String(), certs.AuthorityCert)
	if err := os.WriteFile(filepath.Join(h.dir, "context.yaml"), []byte(context), 0o644); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(h.dir, "root.password"), []byte(rootPassword+"\n"), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// command runs one of the project's to its end.
func (h *handMade) command(args ...string) (string, int) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(h.bin, args[0]), args[1:]...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	h.t.Logf("%s\n%s", strings.Join(args, " "), out.String())
	if err != nil && exitCode(err) == 0 {
		h.t.Fatal(err)
	}
	return out.String(), exitCode(err)
}

func (h *handMade) adopt(host int, more ...string) (string, int) {
	return h.command(append([]string{"mysqlhad", "adopt", "--config", h.path(host, "mysqlhad.yaml"), "--admin-password-file", filepath.Join(h.dir, "root.password")}, more...)...)
}

func (h *handMade) mysqlha(args ...string) (string, int) {
	return h.command(append([]string{"mysqlha", "--context", filepath.Join(h.dir, "context.yaml")}, args...)...)
}

// appLoad is an application that knows nothing of the cluster.
type appLoad struct {
	stop   context.CancelFunc
	wg     sync.WaitGroup
	acked  [4]atomic.Int64
	errors atomic.Int64
	mu     sync.Mutex
	last   time.Time
	gap    time.Duration
}

// write inserts on the primary with some sessions, without ever trying again.
func (h *handMade) write() *appLoad {
	h.t.Helper()
	db, err := sql.Open("mysql", fmt.Sprintf("app:App-by-hand-1@tcp(127.0.0.1:%d)/shop?tls=skip-verify", h.port(0, handMadeMySQL)))
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &appLoad{stop: cancel, last: time.Now()}
	for client := range l.acked {
		l.wg.Go(func() {
			for seq := int64(1); ctx.Err() == nil; seq++ {
				if _, err := db.ExecContext(context.Background(), "INSERT INTO orders VALUES (?, ?)", client, seq); err != nil {
					l.errors.Add(1)
					h.t.Logf("the application: %v", err)
					return
				}
				l.acked[client].Store(seq)
				now := time.Now()
				l.mu.Lock()
				l.gap, l.last = max(l.gap, now.Sub(l.last)), now
				l.mu.Unlock()
				time.Sleep(5 * time.Millisecond) // Replicas keep up.
			}
		})
	}
	h.t.Cleanup(func() {
		cancel()
		l.wg.Wait()
		_ = db.Close() // Its sessions are of no use any more.
	})
	return l
}

// end stops it and returns how many inserts were acknowledged.
func (l *appLoad) end() (n int64) {
	l.stop()
	l.wg.Wait()
	for i := range l.acked {
		n += l.acked[i].Load()
	}
	return n
}

// A cluster that somebody made by hand is adopted while an application writes: no
// write fails, nothing is restarted, the doctor finds nothing, and from then on a lost
// primary is replaced without the loss of an acknowledged write (S2, S3).
func TestS2S3_ARunningClusterIsAdoptedWithoutStoppingWrites(t *testing.T) {
	h := makeByHand(t)
	load := h.write()
	h.writeFiles()

	// Whatever is in the way is said, and nothing is changed.
	h.sql(2, "SET GLOBAL super_read_only = OFF, GLOBAL read_only = OFF")
	h.sql(1, "SET GLOBAL require_secure_transport = OFF")
	if out, code := h.adopt(1, "--dry-run"); code != 0 || !strings.Contains(out, "SET PERSIST sync_binlog = 1") || !strings.Contains(out, "ALTER INSTANCE RELOAD TLS") {
		t.Fatalf("the dry run: %d", code)
	}
	guards := make([]*exec.Cmd, 3)
	for host := range 3 {
		if _, code := h.adopt(host); code != 2 { // No terminal, and no --yes.
			t.Fatalf("it did not ask: %d", code)
		}
		if out, code := h.adopt(host, "--yes"); code != 0 || strings.Contains(out, "IDENTIFIED BY") {
			t.Fatalf("db%d is not prepared: %d", host+1, code)
		}
		if out, code := h.adopt(host, "--yes"); code != 0 || strings.Contains(out, "done:") {
			t.Fatalf("db%d is prepared twice: %d", host+1, code)
		}
		config := h.path(host, "mysqlhad.yaml")
		guards[host] = h.run(fmt.Sprintf("guard%d", host+1), filepath.Join(h.bin, "mysqlhad"), "guard", "--attach", "--config", config)
		h.run(fmt.Sprintf("daemon%d", host+1), filepath.Join(h.bin, "mysqlhad"), "--config", config, "--without", "redirector")
	}
	if out, code := h.mysqlha("bootstrap", "--dry-run"); code != 3 || !strings.Contains(out, "--adopt") {
		t.Errorf("a new cluster on servers that hold data: %d", code)
	}
	if out, code := h.mysqlha("bootstrap", "--adopt", "--dry-run"); code != 3 || !strings.Contains(out, "db1 and db3 all take writes") {
		t.Fatalf("two servers take writes: %d", code)
	}
	h.sql(2, "SET GLOBAL super_read_only = ON")
	if out, code := h.mysqlha("bootstrap", "--adopt", "--dry-run"); code != 0 || !strings.Contains(out, "Primary: db1") || !strings.Contains(out, "mysqlha_r_db2") {
		t.Fatalf("the dry run: %d", code)
	}
	if out, code := h.mysqlha("bootstrap", "--adopt", "--yes"); code != 0 || !strings.Contains(out, "db1 is primary in term 1, and db2, db3 are in sync") {
		t.Fatalf("the adoption: %d", code)
	}
	if out, code := h.mysqlha("doctor"); code != 1 || !strings.Contains(out, "REVOKE SHUTDOWN ON *.* FROM 'root'@'localhost'") {
		t.Errorf("the doctor does not find the account that may stop mysqld: %d", code)
	}
	h.sql(0, "REVOKE SHUTDOWN ON *.* FROM 'root'@'localhost'")
	within(t, "the doctor finds nothing", func(ctx context.Context) error {
		return until(ctx, func() bool {
			out, code := h.mysqlha("doctor")
			return code == 0 && strings.Contains(out, "all is well")
		})
	})
	acked := load.end()
	t.Logf("%d writes acknowledged, the longest gap was %s", acked, load.gap)
	if n := load.errors.Load(); n > 0 {
		t.Errorf("%d writes of the application failed", n)
	}
	h.replaceTheRedirector()
	h.restartThroughTheGate(1, guards[1])

	// A gate that was told of the running mysqld by nobody but the run file watches over
	// it until its end; then it does what a gate does.
	if err := guards[0].Process.Kill(); err != nil {
		t.Fatal(err)
	}
	within(t, "the doctor misses the guard", func(ctx context.Context) error {
		return until(ctx, func() bool { out, code := h.mysqlha("doctor"); return code == 1 && strings.Contains(out, "unguarded") })
	})
	h.guard(0)
	within(t, "the gate watches over the mysqld that runs", func(ctx context.Context) error {
		return until(ctx, func() bool {
			return strings.Contains(sandbox.Tail(filepath.Join(h.dir, "gate1.log"), 5), "mysqld runs already")
		})
	})
	if out, _ := h.mysqlha("doctor"); strings.Contains(out, "unguarded") {
		t.Error("the doctor misses a guard that is there")
	}
	h.loseThePrimary(acked)
	within(t, "the former primary is back", func(ctx context.Context) error {
		inSync := regexp.MustCompile(`(?m)^db1 +replica +in sync`)
		return until(ctx, func() bool { out, _ := h.mysqlha("status"); return inSync.MatchString(out) })
	})
	if out, _ := h.mysqlha("doctor"); strings.Contains(out, "info      db1  attached") || strings.Contains(out, "info      db2  attached") || !strings.Contains(out, "info      db3  attached") {
		t.Error("the doctor does not tell which servers were started by their gates")
	}
}

// until returns nil as soon as something is so.
func until(ctx context.Context, so func() bool) error {
	for !so() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(300 * time.Millisecond):
		}
	}
	return nil
}

// replaceTheRedirector has one as a unit of its own, and a successor of it begin before
// it stops: a session goes on, and nobody finds the port closed.
func (h *handMade) replaceTheRedirector() {
	t := h.t
	t.Helper()
	unit := func(name string) *exec.Cmd {
		return h.run(name, filepath.Join(h.bin, "mysqlhad"), "--only", "redirector", "--config", h.path(0, "mysqlhad.yaml"))
	}
	db, err := sql.Open("mysql", fmt.Sprintf("app:App-by-hand-1@tcp(127.0.0.1:%d)/shop?tls=skip-verify", h.port(0, handMadeWrite)))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxIdleConns(0)
	first := unit("redirector")
	var kept *sql.Conn
	within(t, "a session through it", func(ctx context.Context) error {
		return poll(ctx, func() (err error) { kept, err = db.Conn(ctx); return err })
	})
	unit("successor")
	within(t, "the successor serves", func(ctx context.Context) error {
		return poll(ctx, func() error {
			if log := sandbox.Tail(filepath.Join(h.dir, "successor.log"), 5); !strings.Contains(log, "daemon started") {
				return fmt.Errorf("its log: %s", log)
			}
			return nil
		})
	})
	if err := first.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	within(t, "it drains", func(ctx context.Context) error {
		return poll(ctx, func() error {
			if err := db.PingContext(ctx); err != nil { // In a session of its own.
				t.Errorf("a new session: %v", err)
			}
			if log := sandbox.Tail(filepath.Join(h.dir, "redirector.log"), 5); !strings.Contains(log, "draining") {
				return fmt.Errorf("its log: %s", log)
			}
			return nil
		})
	})
	if _, err := kept.ExecContext(t.Context(), "INSERT INTO orders VALUES (99, 1)"); err != nil {
		t.Errorf("the session that was there: %v", err)
	}
	if err := kept.Close(); err != nil {
		t.Error(err)
	}
	within(t, "it ends with its last session", func(ctx context.Context) error {
		return poll(ctx, func() error {
			if log := sandbox.Tail(filepath.Join(h.dir, "redirector.log"), 5); !strings.Contains(log, "daemon ends") {
				return fmt.Errorf("its log: %s", log)
			}
			return nil
		})
	})
}

// guard starts the gate of a host, which starts its mysqld.
func (h *handMade) guard(host int) *exec.Cmd {
	return h.run(fmt.Sprintf("gate%d", host+1), filepath.Join(h.bin, "mysqlhad"), "guard", "--config", h.path(host, "mysqlhad.yaml"), "--",
		os.Getenv("MYSQLD"), "--defaults-file="+h.path(host, "my.cnf"), "--user=root")
}

// restartThroughTheGate stops a replica by the guard that is attached to it, and
// starts it as it will be from now on.
func (h *handMade) restartThroughTheGate(host int, attached *exec.Cmd) {
	h.t.Helper()
	if err := attached.Process.Signal(syscall.SIGTERM); err != nil {
		h.t.Fatal(err)
	}
	h.guard(host)
	inSync := regexp.MustCompile(fmt.Sprintf(`(?m)^db%d +replica +in sync`, host+1))
	down := regexp.MustCompile(fmt.Sprintf(`(?m)^db%d +replica +(in sync|following)`, host+1))
	within(h.t, "it is stopped", func(ctx context.Context) error {
		return until(ctx, func() bool { out, _ := h.mysqlha("status"); return !down.MatchString(out) })
	})
	within(h.t, "it is in sync again", func(ctx context.Context) error {
		return until(ctx, func() bool { out, _ := h.mysqlha("status"); return inSync.MatchString(out) })
	})
}

// loseThePrimary kills the adopted primary and compares its successor.
func (h *handMade) loseThePrimary(acked int64) {
	t := h.t
	t.Helper()
	pid, err := os.ReadFile(h.path(0, "mysqld.pid"))
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if _, err := fmt.Sscan(string(pid), &n); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(n, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var primary int
	opened := regexp.MustCompile(`(?m)^db([23]) +primary +open`)
	within(t, "another takes its place", func(ctx context.Context) error {
		return until(ctx, func() bool {
			out, _ := h.mysqlha("status")
			m := opened.FindStringSubmatch(out)
			if m != nil {
				primary = int(m[1][0] - '1')
			}
			return m != nil
		})
	})
	db := h.admin(primary)
	defer db.Close()
	var have int64
	if err := db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM shop.orders").Scan(&have); err != nil {
		t.Fatal(err)
	}
	if have < acked {
		t.Errorf("%d writes were acknowledged, and db%d has %d", acked, primary+1, have)
	}
}
