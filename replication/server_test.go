package replication_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/mysqlha/mysqlha/replication"
)

const (
	// bound is for whatever must happen soon, on a slow, busy machine.
	bound     = 30 * time.Second
	pollEvery = 10 * time.Millisecond
)

// fixture is what all servers of this test binary share: the program, a data
// directory to copy and certificates for 127.0.0.1.
type fixture struct {
	dir, program string
	roots        *x509.CertPool
}

// shared is made by TestMain and only read afterwards.
var shared fixture

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "repl")
	const maxFolder = 90 // Sockets live in it.
	if err == nil && len(dir) > maxFolder {
		_ = os.Remove(dir)
		dir, err = os.MkdirTemp("/tmp", "repl")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if shared, err = newFixture(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func newFixture(dir string) (fixture, error) {
	f := fixture{dir: dir, program: os.Getenv("MYSQLD")}
	if f.program == "" {
		cmd := exec.Command("../deploy/mysqld/fetch")
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			return f, fmt.Errorf("no mysqld: MYSQLD is not set and deploy/mysqld/fetch: %w", err)
		}
		f.program = strings.TrimSpace(string(out))
	}
	var err error
	if f.roots, err = writeCertificates(dir); err != nil {
		return f, err
	}
	args := append(commonArgs(f.file("template")), "--initialize-insecure", "--innodb-redo-log-capacity=8M", "--innodb-buffer-pool-size=32M")
	if out, err := exec.Command(f.program, args...).CombinedOutput(); err != nil {
		return f, fmt.Errorf("initialize a data directory: %w\n%s", err, out)
	}
	// Each copy makes its own server_uuid.
	return f, os.Remove(filepath.Join(f.file("template"), "auto.cnf"))
}

func (f fixture) file(name string) string { return filepath.Join(f.dir, name) }

// commonArgs must come first: mysqld takes --no-defaults only there.
func commonArgs(data string) []string {
	args := []string{"--no-defaults", "--datadir=" + data}
	if os.Geteuid() == 0 {
		args = append(args, "--user=root")
	}
	return args
}

// writeCertificates makes an authority and a certificate for 127.0.0.1.
func writeCertificates(dir string) (*x509.CertPool, error) {
	template := func(serial int64, name string) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		}
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	ca := template(1, "authority")
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = true, true, x509.KeyUsageCertSign
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	server := template(2, "server")
	server.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	serverDER, err := x509.CreateCertificate(rand.Reader, server, ca, key.Public(), caKey)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	for name, block := range map[string]*pem.Block{
		"ca.pem":     {Type: "CERTIFICATE", Bytes: caDER},
		"server.pem": {Type: "CERTIFICATE", Bytes: serverDER},
		"server.key": {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			return nil, err
		}
	}
	roots := x509.NewCertPool()
	parsed, err := x509.ParseCertificate(caDER)
	if err != nil {
		return nil, err
	}
	roots.AddCert(parsed)
	return roots, nil
}

// server is one running mysqld.
type server struct {
	name    string
	port    int
	socket  string
	log     string
	process *os.Process
	exited  chan struct{}
	local   *replication.Local
	db      *sql.DB // root, for what the package does not do
}

// startAll starts harmless servers with the ids 1, 2 and so on, each on a copy
// of the template, and waits until they answer. With the test they end and
// their files go.
func startAll(t testing.TB, names ...string) []*server {
	t.Helper()
	var all []*server
	for i, name := range names {
		data := filepath.Join(t.TempDir(), name)
		if err := os.CopyFS(data, os.DirFS(shared.file("template"))); err != nil {
			t.Fatalf("copy the data directory: %v", err)
		}
		s := &server{name: name, port: freePort(t), log: data + ".log", exited: make(chan struct{})}
		s.socket = shared.file(fmt.Sprintf("%d.s", s.port)) // TempDir is too long for a socket.
		s.launch(t, i+1, data)
		s.connect(t)
		all = append(all, s)
	}
	for _, s := range all {
		s.awaitAnswer(t)
	}
	return all
}

func (s *server) connect(t testing.TB) {
	var err error
	s.local, err = replication.OpenLocal(replication.Options{Server: s.name, Socket: s.socket, User: "root"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.local.Close() })
	cfg := mysql.NewConfig()
	cfg.User, cfg.Net, cfg.Addr, cfg.Logger = "root", "unix", s.socket, &mysql.NopLogger{}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.db = sql.OpenDB(connector)
	t.Cleanup(func() { _ = s.db.Close() })
}

func (s *server) awaitAnswer(t testing.TB) {
	t.Helper()
	eventually(t, "mysqld "+s.name+" answers", func() bool {
		select {
		case <-s.exited:
			text, _ := os.ReadFile(s.log)
			t.Fatalf("mysqld %s exited:\n%s", s.name, text)
		default:
		}
		return s.db.PingContext(t.Context()) == nil
	})
}

func (s *server) launch(t testing.TB, id int, data string) {
	args := append(commonArgs(data), "--socket="+s.socket, "--pid-file="+data+".pid", "--log-error="+s.log,
		"--bind-address=127.0.0.1", "--port="+strconv.Itoa(s.port), "--mysqlx=OFF", "--server-id="+strconv.Itoa(id),
		"--gtid-mode=ON", "--enforce-gtid-consistency=ON", "--relay-log-recovery=OFF", "--skip-replica-start=ON",
		"--require-secure-transport=ON", "--super-read-only=ON", "--innodb-buffer-pool-size=32M", "--innodb-redo-log-capacity=64M",
		"--plugin-load-add=semisync_source.so;semisync_replica.so", "--max-allowed-packet=1G",
		"--ssl-ca="+shared.file("ca.pem"), "--ssl-cert="+shared.file("server.pem"), "--ssl-key="+shared.file("server.key"))
	cmd := exec.Command(shared.program, args...)
	// A test binary that dies takes its servers along.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func() {
		defer close(s.exited)
		runtime.LockOSThread() // The death signal is sent when this thread ends.
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		t.Fatalf("start mysqld %s: %v", s.name, err)
	}
	s.process = cmd.Process
	t.Cleanup(s.kill)
}

// kill ends the server as a crash does, and waits until it is gone.
func (s *server) kill() {
	_ = s.process.Kill()
	<-s.exited
}

// freeze stops the server's process (SIGSTOP) and waits until every thread
// stands still: the signal returns before the threads that run have taken it.
func (s *server) freeze(t testing.TB) {
	t.Helper()
	if err := s.process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatalf("stop mysqld %s: %v", s.name, err)
	}
	eventually(t, "every thread of mysqld "+s.name+" stands still", func() bool {
		stats, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", s.process.Pid))
		for _, file := range stats {
			text, err := os.ReadFile(file)
			_, fields, found := strings.Cut(string(text), ") ")
			if err == nil && (!found || fields[0] != 'T') {
				return false
			}
		}
		return len(stats) > 0
	})
}

// exec runs SQL as root, on one connection, so that SET SESSION lasts.
func (s *server) exec(t testing.TB, statements ...string) {
	t.Helper()
	conn, err := s.db.Conn(t.Context())
	if err != nil {
		t.Fatalf("%s: %v", s.name, err)
	}
	defer conn.Close()
	for _, q := range statements {
		if _, err := conn.ExecContext(t.Context(), q); err != nil {
			t.Fatalf("%s: %.80s: %v", s.name, q, err)
		}
	}
}

// source says how to follow this server with another one's account.
func (s *server) source(follower, password string) replication.Source {
	return replication.Source{
		Host: "127.0.0.1", Port: s.port, User: replication.ReplicationUser(follower), Password: password,
		CAFile: shared.file("ca.pem"), HeartbeatPeriod: 200 * time.Millisecond, NetTimeout: 10 * time.Second,
	}
}

func (s *server) remote(t testing.TB, user, password string) *replication.Remote {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(shared.file("server.pem"), shared.file("server.key"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := replication.DialRemote(replication.RemoteOptions{
		Server: s.name, Address: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)), User: user,
		Password: func() (string, error) { return password, nil }, TLS: &tls.Config{RootCAs: shared.roots, Certificates: []tls.Certificate{pair}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// login logs in without a certificate.
func (s *server) login(t testing.TB, user, password string) error {
	t.Helper()
	return replication.Login(t.Context(), replication.RemoteOptions{
		Server: s.name, Address: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)), User: user,
		Password: func() (string, error) { return password, nil }, TLS: &tls.Config{RootCAs: shared.roots},
	})
}

func (s *server) read(t testing.TB) replication.Snapshot {
	t.Helper()
	snap, err := s.local.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

func freePort(t testing.TB) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func eventually(t testing.TB, what string, ask func() bool) {
	t.Helper()
	deadline := time.NewTimer(bound)
	defer deadline.Stop()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for !ask() {
		select {
		case <-deadline.C:
			t.Fatalf("not within %s: %s", bound, what)
		case <-tick.C:
		}
	}
}

// do runs a step that must succeed.
func do(t testing.TB, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// wantError checks that an error is a certain one.
func wantError(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: got %v, want %v", what, err, want)
	}
}

// hangs runs a step that must still be waiting after a moment, and returns its
// error once its context has ended.
func hangs(t testing.TB, what string, moment time.Duration, step func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), moment)
	defer cancel()
	if err := step(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("%s: got %v, want that it waits", what, err)
	}
}

func hash(t testing.TB, password string) string {
	t.Helper()
	h, err := replication.HashPassword(password)
	if err != nil {
		t.Fatal(err)
	}
	return h
}
