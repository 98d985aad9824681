//go:build security

package integration

import (
	"context"
	"crypto/tls"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/certs"
	"github.com/mysqlha/mysqlha/deploy/sandbox"
	"github.com/mysqlha/mysqlha/election"
	"github.com/mysqlha/mysqlha/integration/harness"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication"
)

// attacker has what somebody may have stolen, or had issued by somebody careless.
type attacker struct {
	t   *testing.T
	s   *sandbox.Sandbox
	dir string
	ca  string // the cluster's, which is no secret
	of  map[string]decide.Server
	own map[string]certs.Files
}

func newAttacker(t *testing.T, s *sandbox.Sandbox) *attacker {
	t.Helper()
	a := &attacker{t: t, s: s, dir: t.TempDir(), ca: filepath.Join(s.Dir(), "client", "ca.crt"), of: make(map[string]decide.Server), own: make(map[string]certs.Files)}
	for _, server := range record(t, s).Servers {
		a.of[server.Name] = server
	}
	good, err := certs.LoadAuthority(string(s.PKI()))
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := certs.NewAuthority("mysqlha sandbox", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	hosts := []string{"127.0.0.1"}
	for name, one := range map[string]struct {
		by *certs.Authority
		q  certs.Request
	}{
		"wrong CA":        {foreign, certs.For(certs.RoleMember, "db1", hosts, time.Hour)},
		"expired":         {good, certs.For(certs.RoleMember, "db1", hosts, time.Millisecond)},
		"operator":        {good, certs.For(certs.RoleOperator, "eve", nil, time.Hour)},
		"reader":          {good, certs.For(certs.RoleReader, "eve", nil, time.Hour)},
		"redirector":      {good, certs.For(certs.RoleRedirector, "eve", hosts, time.Hour)},
		"mysqld":          {good, certs.For(certs.RoleMysqld, "db1", hosts, time.Hour)},
		"no role":         {good, certs.Request{Name: "eve", Client: true, ValidFor: time.Hour}},
		"for another one": {good, certs.For(certs.RoleMember, "db9", []string{"db9.example"}, time.Hour)},
	} {
		base := strings.ReplaceAll(name, " ", "-")
		if err := one.by.IssueTo(a.dir, base, one.q); err != nil {
			t.Fatal(err)
		}
		a.own[name] = certs.Files{CA: a.ca, Cert: filepath.Join(a.dir, base+".crt"), Key: filepath.Join(a.dir, base+".key")}
	}
	a.own["self-signed"] = a.selfSigned()
	a.own["none"] = certs.Files{CA: a.ca}
	return a
}

// selfSigned is a certificate that has issued itself.
func (a *attacker) selfSigned() certs.Files {
	authority, err := certs.NewAuthority(string(certs.RoleOperator), time.Hour)
	if err == nil {
		err = authority.WriteTo(filepath.Join(a.dir, "self"))
	}
	if err != nil {
		a.t.Fatal(err)
	}
	return certs.Files{CA: a.ca, Cert: filepath.Join(a.dir, "self", certs.AuthorityCert), Key: filepath.Join(a.dir, "self", certs.AuthorityKey)}
}

// request makes one request to a daemon with one of the certificates and returns the
// status; 0 says that there was no answer.
func (a *attacker) request(with, server, method, path string, body io.Reader) (int, http.Header, string) {
	a.t.Helper()
	transport := &http.Transport{TLSClientConfig: certs.ClientConfig(a.own[with], "127.0.0.1")}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(a.t.Context(), 20*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, "https://"+a.of[server].API+path, body)
	if err != nil {
		a.t.Fatal(err)
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return 0, nil, err.Error()
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(response.Body)
	return response.StatusCode, response.Header, string(text)
}

// refusals are how often a daemon has counted each reason.
func (a *attacker) refusals(server string) map[string]float64 {
	a.t.Helper()
	all, err := a.s.Metrics(a.t.Context(), server)
	if err != nil {
		a.t.Fatal(err)
	}
	found := make(map[string]float64)
	for name, value := range all {
		if reason, ok := strings.CutPrefix(name, `mysqlha_api_refusals_total{reason="`); ok {
			found[strings.TrimSuffix(reason, `"}`)] = value
		}
	}
	return found
}

// counted tries something and fails the test unless the daemon has counted it.
func (a *attacker) counted(server, reason, what string, try func()) {
	a.t.Helper()
	before := a.refusals(server)[reason]
	try()
	within(a.t, what+" is counted", func(context.Context) error {
		return poll(a.t.Context(), func() error {
			if now := a.refusals(server)[reason]; now <= before {
				return fmt.Errorf("%s stands at %v", reason, now)
			}
			return nil
		})
	})
}

// Whoever has the wrong certificate, or none, is let in nowhere, and that is counted.
func (a *attacker) certificates() {
	const change = `{"reason":"mischief","for_ns":1000000000}`
	for _, with := range []string{"wrong CA", "expired", "self-signed"} {
		a.counted("db2", "no-request", "a certificate: "+with, func() {
			if status, _, text := a.request(with, "db2", "POST", "/v1/pause", strings.NewReader(change)); status != 0 {
				a.t.Errorf("%s: %d %s", with, status, text)
			}
		})
	}
	for with, reason := range map[string]string{"none": "certificate-needed", "reader": "role-needed", "redirector": "role-needed", "mysqld": "role-needed", "no role": "role-needed"} {
		a.counted("db2", reason, "a certificate: "+with, func() {
			if status, _, text := a.request(with, "db2", "POST", "/v1/pause", strings.NewReader(change)); status != http.StatusForbidden {
				a.t.Errorf("%s: %d %s", with, status, text)
			}
		})
	}
	a.counted("db2", "token-refused", "a token that nobody has issued", func() {
		client, err := api.NewClient(api.Endpoint{Address: a.of["db2"].API, TLS: certs.ClientConfig(a.own["none"], "127.0.0.1"), Token: "mysqlha_AAAAAAAAAAAAAAAA"})
		if err != nil {
			a.t.Fatal(err)
		}
		defer client.Close()
		_, err = client.Pause(a.t.Context(), api.PauseRequest{Reason: "mischief", For: time.Second})
		var answer *api.AnswerError
		if !errors.As(err, &answer) || answer.Status != http.StatusUnauthorized {
			a.t.Errorf("a token: %v", err)
		}
	})
	// Etcd: its peers are members alone, and its clients those who have a user there.
	for with := range a.own {
		if err := handshake(a.t, a.of["db2"].Etcd.Peer, a.own[with]); err == nil && with != "for another one" {
			a.t.Errorf("%s is heard by etcd's peers", with)
		}
		get, put := a.etcd(with)
		if (get == nil) != (with == "redirector" || with == "reader" || with == "for another one") {
			a.t.Errorf("%s reads etcd: %v", with, get)
		}
		if (put == nil) != (with == "for another one") { // A member's, wherever it comes from.
			a.t.Errorf("%s writes etcd: %v", with, put)
		}
	}
	// A server that proves another name, or no server's name at all, is not believed.
	for _, with := range []string{"for another one", "wrong CA", "no role", "mysqld"} {
		if err := a.impostor(with); err == nil {
			a.t.Errorf("a daemon with a certificate %s is believed", with)
		}
	}
}

func (a *attacker) etcd(with string) (get, put error) {
	a.t.Helper()
	client, err := election.Dial(a.t.Context(), election.ClientOptions{Endpoints: []string{"https://" + a.of["db2"].Etcd.Client}, TLS: certs.ClientConfig(a.own[with], "127.0.0.1")})
	if err != nil {
		a.t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(a.t.Context(), 2*time.Second)
	defer cancel()
	_, get = client.Get(ctx, "/mysqlha/sandbox/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	_, put = client.Put(ctx, "/mysqlha/sandbox/mischief", "x")
	return get, put
}

// impostor serves with a certificate where a daemon is expected; nil says that it was
// believed.
func (a *attacker) impostor(with string) error {
	a.t.Helper()
	pair, err := tls.LoadX509KeyPair(a.own[with].Cert, a.own[with].Key)
	if err != nil {
		a.t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		a.t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err == nil {
			c.Read(make([]byte, 100)) //nolint:errcheck // a victim's first words
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
			c.Close()
		}
	}()
	client, err := api.NewClient(api.Endpoint{Address: l.Addr().String(), TLS: certs.ClientConfig(certs.Files{CA: a.ca}, "127.0.0.1", certs.Daemons()...)})
	if err != nil {
		a.t.Fatal(err)
	}
	defer client.Close()
	_, err = client.Why(a.t.Context())
	return err
}

// The password of an account is of no use without a certificate. With one, somebody's, a
// stolen probe account may look at the state of replication, and do nothing else.
func (a *attacker) probeAccount() {
	stolen := func(name string) string {
		text, err := os.ReadFile(filepath.Join(a.s.StateDir("db2"), name+".password"))
		if err != nil {
			a.t.Fatal(err)
		}
		return strings.TrimSpace(string(text))
	}
	address := a.of[record(a.t, a.s).Primary].MySQL
	for user, password := range map[string]string{replication.ProbeUser("db2"): stolen("probe"), replication.CloneUser("db2"): stolen("replication"), replication.ReplicationUser("db2"): stolen("replication")} {
		for _, with := range []string{"none", "wrong CA", "expired", "self-signed"} {
			err := replication.Login(a.t.Context(), replication.RemoteOptions{Server: "db1", Address: address, User: user,
				Password: func() (string, error) { return password, nil }, TLS: certs.ClientConfig(a.own[with], "127.0.0.1")})
			if err == nil || with == "none" && !replication.RefusesLogin(err) {
				a.t.Errorf("%s with its password and the certificate %q: %v", user, with, err)
			}
		}
	}
	config := mysql.NewConfig()
	config.User, config.Passwd, config.Net, config.Addr = replication.ProbeUser("db2"), stolen("probe"), "tcp", address
	config.TLS = certs.ClientConfig(a.own["reader"], "127.0.0.1")
	connector, err := mysql.NewConnector(config)
	if err != nil {
		a.t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	if err := db.PingContext(a.t.Context()); err != nil {
		a.t.Fatal(err) // The rest would prove nothing.
	}
	for _, statement := range []string{
		"CREATE DATABASE mischief", "DELETE FROM mysqlha.heartbeat", "SELECT * FROM mysql.user", "SELECT * FROM app.load_rows", "SET GLOBAL read_only = OFF", "SET GLOBAL offline_mode = ON",
		"STOP REPLICA", "SHUTDOWN", "RESET BINARY LOGS AND GTIDS", "CREATE USER eve", "GRANT ALL ON *.* TO CURRENT_USER()", "KILL 1", "ALTER INSTANCE RELOAD TLS", "CLONE LOCAL DATA DIRECTORY = '/tmp/mischief'",
	} {
		if _, err := db.ExecContext(a.t.Context(), statement); err == nil {
			a.t.Errorf("a stolen probe account may: %s", statement)
		}
	}
	config.TLS = nil
	if connector, err = mysql.NewConnector(config); err != nil {
		a.t.Fatal(err)
	}
	plain := sql.OpenDB(connector)
	defer plain.Close()
	if err := plain.PingContext(a.t.Context()); err == nil {
		a.t.Error("it is let in without TLS")
	}
}

// Requests in the wrong form.
func (a *attacker) requests() {
	a.counted("db2", "too-large", "a body of a gigabyte", func() {
		status, _, text := a.request("operator", "db2", "POST", "/v1/pause", io.MultiReader(strings.NewReader(`{"reason":"`), &endless{left: 1 << 30}))
		if status != http.StatusRequestEntityTooLarge && status != 0 { // It may be cut off while it still sends.
			a.t.Errorf("a gigabyte: %d %s", status, text)
		}
	})
	for _, path := range []string{"/../../../etc/passwd", "/v1/../../etc/shadow", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/metrics/../../secret"} {
		a.counted("db2", "not-found", "the path "+path, func() {
			if answer := a.raw("db2", "operator", "GET "+path+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(answer, "HTTP/1.1 404") || strings.Contains(answer, "root:") {
				a.t.Errorf("%s: %.200s", path, answer)
			}
		})
	}
	for _, name := range []string{"../state/control.password", "..%2fstate%2fcontrol.password", "/etc/passwd", "binlog.000001", "%00"} {
		if status, _, text := a.request("operator", "db2", "GET", "/v1/kept/file?server=db2&name="+name, nil); status == http.StatusOK || strings.Contains(text, "root:") {
			a.t.Errorf("a file that was not kept, %s: %d %.100s", name, status, text)
		}
	}
	for what, request := range map[string]string{
		"a header in a parameter": "GET /replica?lag=1%0d%0aSet-Cookie:+mischief=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
		"a header in a path":      "GET /nothing%0d%0aSet-Cookie:%20mischief=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
		"a folded header":         "GET /primary HTTP/1.1\r\nHost: x\r\nA: b\r\n Set-Cookie: mischief=1\r\nConnection: close\r\n\r\n",
		"two lengths":             "POST /v1/pause HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 40\r\nConnection: close\r\n\r\n{}",
		"a length and chunks":     "POST /v1/pause HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked, identity\r\nConnection: close\r\n\r\n0\r\n\r\n",
	} {
		answer := a.raw("db2", "operator", request)
		head, _, _ := strings.Cut(answer, "\r\n\r\n")
		if strings.Contains(head, "Set-Cookie") || strings.Contains(what, "length") && strings.HasPrefix(head, "HTTP/1.1 200") {
			a.t.Errorf("%s: %s", what, head)
		}
	}
	// Headers that never end are waited for so long, and no longer.
	conn := a.dial("db2", "operator")
	defer conn.Close()
	begun := time.Now()
	for time.Since(begun) < 30*time.Second {
		if _, err := io.WriteString(conn, "GET /primary HTTP/1.1\r\nX-Slow: "[:1]); err != nil {
			break
		}
		conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		if _, err := conn.Read(make([]byte, 1)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
	}
	if took := time.Since(begun); took > 20*time.Second {
		a.t.Errorf("slow headers were waited for %s", took)
	}
}

// endless is a body without an end.
type endless struct{ left int }

func (e *endless) Read(b []byte) (int, error) {
	if e.left <= 0 {
		return 0, io.EOF
	}
	n := min(len(b), e.left)
	for i := range b[:n] {
		b[i] = 'x'
	}
	e.left -= n
	return n, nil
}

func (a *attacker) dial(server, with string) *tls.Conn {
	a.t.Helper()
	conn, err := tls.Dial("tcp", a.of[server].API, certs.ClientConfig(a.own[with], "127.0.0.1"))
	if err != nil {
		a.t.Fatal(err)
	}
	return conn
}

// raw sends bytes as they are and returns all that comes back.
func (a *attacker) raw(server, with, request string) string {
	a.t.Helper()
	conn := a.dial(server, with)
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(15 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		return ""
	}
	answer, _ := io.ReadAll(conn)
	return string(answer)
}

// halfOpen opens connections that say nothing, from an address of its own, until ctx
// ends, and tells how many it has opened.
func halfOpen(ctx context.Context, address, from string, atOnce int) *atomic.Int64 {
	var opened atomic.Int64
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 5 * time.Second}
	for range atOnce {
		go func() {
			for ctx.Err() == nil {
				c, err := dialer.DialContext(ctx, "tcp", address)
				if err != nil {
					time.Sleep(50 * time.Millisecond)
					continue
				}
				opened.Add(1)
				stop := context.AfterFunc(ctx, func() { c.Close() })
				io.Copy(io.Discard, c) //nolint:errcheck // until it is cut off
				stop()
				c.Close()
				select { // An attacker of 10,000 hosts would have more than this one's processor.
				case <-ctx.Done():
				case <-time.After(2 * time.Second):
				}
			}
		}()
	}
	return &opened
}

// Everything that an attacker may try is refused and counted, and the cluster fails over
// meanwhile as it always does. No secret is found anywhere afterwards.
func TestSecurityAttackersAreRefusedAndTheClusterFailsOver(t *testing.T) {
	s := harness.Start(t, sandbox.Options{})
	l := harness.Writers(t, s, 4)
	a := newAttacker(t, s)
	awaitProtected(t, s)
	a.certificates()
	a.probeAccount()
	a.requests()

	ctx, end := context.WithCancel(t.Context())
	defer end()
	opened := []*atomic.Int64{halfOpen(ctx, s.WriteAddr(), "127.0.0.66", 10_000)}
	for i, server := range s.Servers() {
		opened = append(opened, halfOpen(ctx, a.of[server].API, fmt.Sprintf("127.0.0.%d", 70+i), 200))
	}
	within(t, "the crowd is there", func(ctx context.Context) error {
		return poll(ctx, func() error {
			for i, n := range opened {
				if n.Load() < int64([]int{10_000, 200, 200, 200}[i]) {
					return fmt.Errorf("flood %d has opened %d", i, n.Load())
				}
			}
			return nil
		})
	})
	for _, words := range []string{"GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x00\x05hello hello hello hello hello hello", strings.Repeat("\x00", 200), strings.Repeat("\xff", 5000)} {
		conn, err := net.Dial("tcp", s.WriteAddr())
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(15 * time.Second))
		conn.Read(make([]byte, 1024)) //nolint:errcheck // the greeting
		io.WriteString(conn, words)
		answer, _ := io.ReadAll(conn)
		if len(answer) > 500 {
			t.Errorf("%q was answered with %d bytes", words[:8], len(answer))
		}
		conn.Close()
	}
	before := record(t, s)
	failover, err := s.FailPrimary(t.Context(), l.Generator, syscall.SIGKILL)
	if err != nil {
		t.Errorf("the failover under attack: %v", err)
	}
	t.Logf("the failover under attack took %s", failover.Total)
	awaitCluster(t, s, "all is well", func(c api.Cluster) bool { return c.Record.Term > before.Term && sandbox.Settled(c) })
	for i, n := range opened {
		t.Logf("flood %d opened %d connections", i, n.Load())
	}
	end()
	l.Check()
	for _, server := range s.Servers()[1:] {
		if got := a.refusals(server)["too-many-connections"]; got == 0 {
			t.Errorf("%s has counted no connection too many", server)
		}
	}
	metrics, err := s.Metrics(t.Context(), "redirector")
	if err != nil {
		t.Fatal(err)
	}
	for _, reason := range []string{"crowd", "mute", "malformed"} {
		if metrics[`mysqlha_redirect_refused_total{port="write",reason="`+reason+`"}`] == 0 {
			t.Errorf("the redirector has counted nobody as %s", reason)
		}
	}
	secretsNowhere(t, s)
}

// awaitProtected waits until etcd asks who its clients are.
func awaitProtected(t *testing.T, s *sandbox.Sandbox) {
	t.Helper()
	client, _ := dialEtcd(t, s)
	within(t, "etcd asks who its clients are", func(ctx context.Context) error {
		return poll(ctx, func() error {
			on, err := election.Protected(ctx, client)
			if err == nil && !on {
				err = errors.New("it does not")
			}
			return err
		})
	})
}

var keyLine = regexp.MustCompile(`(?m)^[A-Za-z0-9+/]{60,}$`)

// secretsNowhere looks for every password and private key of a sandbox where none may
// be: in logs, in the arguments of all processes, in etcd, and in what daemons tell.
func secretsNowhere(t *testing.T, s *sandbox.Sandbox) {
	t.Helper()
	secrets := make(map[string]string)
	err := filepath.WalkDir(s.Dir(), func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, ".password") && !strings.HasSuffix(path, ".key") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(s.Dir(), path)
		if info, err := e.Info(); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("others may read %s: %v", name, info.Mode())
		}
		secret := strings.TrimSpace(string(text))
		if strings.HasSuffix(path, ".key") {
			secret = keyLine.FindString(secret)
		}
		if len(secret) < 20 {
			t.Errorf("%s holds no secret of any length", name)
			return nil
		}
		secrets[name] = secret
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(secrets) < 12 {
		t.Fatalf("only %d secrets are known: %v", len(secrets), secrets)
	}
	places := make(map[string]string)
	for _, file := range sandbox.Logs(s.Dir()) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		places[file] = string(text)
	}
	arguments, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(arguments, strings.Split(strings.ReplaceAll(strings.Join(arguments, " "), "cmdline", "environ"), " ")...) {
		if text, err := os.ReadFile(file); err == nil { // It may have ended.
			places[file] = string(text)
		}
	}
	client, _ := dialEtcd(t, s)
	all, err := client.Get(t.Context(), "", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range all.Kvs {
		places["etcd "+string(kv.Key)] = string(kv.Value)
	}
	a := &attacker{t: t, s: s, ca: filepath.Join(s.Dir(), "client", "ca.crt"), of: map[string]decide.Server{}, own: map[string]certs.Files{}}
	a.own["operator"] = certs.Files{CA: a.ca, Cert: filepath.Join(s.Dir(), "client", "operator.crt"), Key: filepath.Join(s.Dir(), "client", "operator.key")}
	for _, server := range record(t, s).Servers {
		a.of[server.Name] = server
		for _, path := range []string{"/cluster", "/history", "/metrics", "/v1/why", "/v1/settings", "/v1/settings/history", "/v1/certificates", "/v1/doctor", "/v1/openapi.json", "/v1/problems", "/v1/member", "/v1/kept?server=" + server.Name, "/readiness"} {
			_, _, places[server.Name+path] = a.request("operator", server.Name, "GET", path, nil)
		}
	}
	if len(all.Kvs) < 10 || len(places) < 60 {
		t.Fatalf("only %d places were looked at", len(places))
	}
	for place, text := range places {
		for name, secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("%s is found in %s", name, place)
			}
		}
	}
	if places["a place"] = "x" + secrets["app.password"] + "y"; !strings.Contains(places["a place"], secrets["app.password"]) {
		t.Error("this look finds nothing")
	}
	t.Logf("%d secrets in none of %d places", len(secrets), len(places))
}
