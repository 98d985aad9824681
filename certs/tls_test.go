package certs

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// end is one end of a connection: a folder with ca.crt, host.crt and host.key.
type end struct {
	t   *testing.T
	dir string
}

// newEnd makes an end that trusts one authority and is issued by another, valid
// from an hour before now until an hour after.
func newEnd(t *testing.T, trusts, issuer *Authority, now time.Time, q Request) end {
	t.Helper()
	e := end{t, t.TempDir()}
	e.trust(trusts)
	q.ValidFor = time.Hour
	certPEM, keyPEM, err := issuer.issue(now, q)
	if err != nil {
		t.Fatal(err)
	}
	if err := writePair(e.dir, "host.crt", certPEM, "host.key", keyPEM); err != nil {
		t.Fatal(err)
	}
	return e
}

func (e end) trust(authorities ...*Authority) {
	e.t.Helper()
	var bundle []byte
	for _, a := range authorities {
		bundle = append(bundle, a.CertPEM()...)
	}
	if err := writeFile(filepath.Join(e.dir, "ca.crt"), bundle, 0o644); err != nil {
		e.t.Fatal(err)
	}
}

func (e end) files() Files {
	return Files{CA: filepath.Join(e.dir, "ca.crt"), Cert: filepath.Join(e.dir, "host.crt"), Key: filepath.Join(e.dir, "host.key")}
}

var (
	db1   = Request{Name: "db1", Hosts: []string{"db1.example", "127.0.0.1"}, Server: true, Client: true}
	dbApp = Request{Name: "app", Client: true}
)

// connect makes one connection over which a byte goes from server to client,
// and returns what the server saw of the client, and the errors of both ends.
func connect(t *testing.T, server, client *tls.Config) (seen tls.ConnectionState, clientErr, serverErr error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	done := make(chan error, 1)
	go func() {
		raw, err := listener.Accept()
		if err != nil {
			done <- err
			return
		}
		defer raw.Close()
		raw.SetDeadline(time.Now().Add(20 * time.Second))
		conn := tls.Server(raw, server)
		if err := conn.Handshake(); err != nil {
			done <- err
			return
		}
		seen = conn.ConnectionState()
		_, err = conn.Write([]byte{1})
		done <- err
	}()
	clientErr = dialOnce(listener.Addr().String(), client)
	serverErr = <-done
	return seen, clientErr, serverErr
}

func dialOnce(address string, config *tls.Config) error {
	raw, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(20 * time.Second))
	conn := tls.Client(raw, config)
	if err := conn.Handshake(); err != nil {
		return err
	}
	// In TLS 1.3 a client learns only now that the server refused it.
	_, err = io.ReadFull(conn, make([]byte, 1))
	return err
}

func TestBothEndsVerifyEachOther(t *testing.T) {
	ca, otherCA := newTestAuthority(t), newTestAuthority(t)
	now := time.Now()
	expiredCA, err := newAuthority(now.Add(-3*time.Hour), "old CA", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	ago, ahead := now.Add(-3*time.Hour), now.Add(3*time.Hour)
	clientOnly, serverOnly := Request{Name: "x", Hosts: db1.Hosts, Client: true}, Request{Name: "x", Hosts: db1.Hosts, Server: true}
	good := newEnd(t, ca, ca, now, db1)
	for _, c := range []struct {
		name           string
		server, client end
		serverName     string
		atClient       string // the client's refusal
		atServer       string // the server's refusal
	}{
		{"a server is verified by its host name", good, good, "db1.example", "", ""},
		{"a host name is compared without case and final dot", good, good, "DB1.example.", "", ""},
		{"a server is verified by its address", good, good, "127.0.0.1", "", ""},
		{"a client needs no host of its own", good, newEnd(t, ca, ca, now, dbApp), "127.0.0.1", "", ""},
		{"a wrong host name is refused", good, good, "db2.example", "not db2.example", ""},
		{"the subject is no host name", good, good, "db1", "not db1", ""},
		{"a wrong address is refused", good, good, "127.0.0.2", "not 127.0.0.2", ""},
		{"no name is refused", good, good, "", "no server name", ""},
		{"a server of another CA is refused", newEnd(t, ca, otherCA, now, db1), good, "db1.example", "unknown authority", ""},
		{"an expired server is refused", newEnd(t, ca, ca, ago, db1), good, "db1.example", "has expired", ""},
		{"a server from the future is refused", newEnd(t, ca, ca, ahead, db1), good, "db1.example", "not yet valid", ""},
		{"a server of an expired CA is refused", newEnd(t, ca, expiredCA, ago, db1), newEnd(t, expiredCA, ca, now, db1), "db1.example", "has expired", ""},
		{"a client's certificate makes no server", newEnd(t, ca, ca, now, clientOnly), good, "db1.example", "incompatible key usage", ""},
		{"a client of another CA is refused", good, newEnd(t, ca, otherCA, now, dbApp), "db1.example", "", "unknown authority"},
		{"an expired client is refused", good, newEnd(t, ca, ca, ago, dbApp), "db1.example", "", "has expired"},
		{"a server's certificate makes no client", good, newEnd(t, ca, ca, now, serverOnly), "db1.example", "", "incompatible key usage"},
	} {
		for version, number := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
			t.Run(c.name+", "+version, func(t *testing.T) {
				server, client := ServerConfig(c.server.files(), true), ClientConfig(c.client.files(), c.serverName)
				client.MaxVersion = number
				_, atClient, atServer := connect(t, server, client)
				switch {
				case c.atClient == "" && c.atServer == "":
					if atClient != nil || atServer != nil {
						t.Errorf("refused: client %v, server %v", atClient, atServer)
					}
				case c.atClient != "" && (atClient == nil || !strings.Contains(atClient.Error(), c.atClient)):
					t.Errorf("client: got %v, want %q", atClient, c.atClient)
				case c.atServer != "" && (atServer == nil || !strings.Contains(atServer.Error(), c.atServer)):
					t.Errorf("server: got %v, want %q", atServer, c.atServer)
				case atClient == nil:
					t.Error("the client got its answer all the same")
				}
			})
		}
	}
}

func TestOldVersionsOfTLSAreRefused(t *testing.T) {
	ca := newTestAuthority(t)
	e := newEnd(t, ca, ca, time.Now(), db1)
	client := ClientConfig(e.files(), "127.0.0.1")
	client.MinVersion, client.MaxVersion = tls.VersionTLS11, tls.VersionTLS11
	if _, err, _ := connect(t, ServerConfig(e.files(), false), client); err == nil {
		t.Error("a server spoke TLS 1.1")
	}
	server := ServerConfig(e.files(), false)
	server.MinVersion, server.MaxVersion = tls.VersionTLS11, tls.VersionTLS11
	if _, err, _ := connect(t, server, ClientConfig(e.files(), "127.0.0.1")); err == nil {
		t.Error("a client spoke TLS 1.1")
	}
}

func TestAServerAsksForCertificatesAsConfigured(t *testing.T) {
	ca, otherCA := newTestAuthority(t), newTestAuthority(t)
	e := newEnd(t, ca, ca, time.Now(), db1)
	foreign := newEnd(t, ca, otherCA, time.Now(), dbApp)
	none := Files{CA: e.files().CA}
	for _, c := range []struct {
		name   string
		server *tls.Config
		client Files
		ok     bool
		seen   int
	}{
		{"required and not shown", ServerConfig(e.files(), true), none, false, 0},
		{"not asked for", ServerConfig(e.files(), false), e.files(), true, 0},
		{"optional and not shown", OptionalClientServerConfig(e.files()), none, true, 0},
		{"optional and shown", OptionalClientServerConfig(e.files()), e.files(), true, 1},
		{"optional and of another CA", OptionalClientServerConfig(e.files()), foreign.files(), false, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			seen, atClient, atServer := connect(t, c.server, ClientConfig(c.client, "127.0.0.1"))
			if ok := atClient == nil && atServer == nil; ok != c.ok || len(seen.PeerCertificates) != c.seen {
				t.Errorf("client %v, server %v, %d certificates seen", atClient, atServer, len(seen.PeerCertificates))
			}
		})
	}
}

func TestAClientOfSeveralServersAcceptsTheirNamesOnly(t *testing.T) {
	ca := newTestAuthority(t)
	e := newEnd(t, ca, ca, time.Now(), db1)
	for _, c := range []struct {
		name  string
		names []string
		sni   string
		ok    bool
	}{
		{"one of the names fits", []string{"db2.example", "db1.example"}, "", true},
		{"an address fits", []string{"10.0.0.1", "127.0.0.1"}, "", true},
		{"no name fits", []string{"db2.example", "db3.example"}, "", false},
		{"no names at all", nil, "", false},
		{"the dialled name fits", []string{"db2.example", "db1.example"}, "db1.example", true},
		{"the dialled name does not fit though another would", []string{"db2.example", "db1.example"}, "db2.example", false},
		{"the dialled name is not listed", []string{"db2.example"}, "db1.example", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := ClientConfigAny(e.files(), func() []string { return c.names })
			client.ServerName = c.sni
			_, err, _ := connect(t, ServerConfig(e.files(), true), client)
			if (err == nil) != c.ok {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestReplacedFilesAreUsedAtTheNextHandshake(t *testing.T) {
	first, second := newTestAuthority(t), newTestAuthority(t)
	now := time.Now()
	srv, cli := newEnd(t, first, first, now, db1), newEnd(t, first, first, now, dbApp)
	server, client := ServerConfig(srv.files(), true), ClientConfig(cli.files(), "db1.example")
	expect := func(stage string, ok bool) {
		t.Helper()
		_, atClient, atServer := connect(t, server, client)
		if got := atClient == nil && atServer == nil; got != ok {
			t.Errorf("%s: client %v, server %v", stage, atClient, atServer)
		}
	}
	reissue := func(e end, q Request) {
		t.Helper()
		q.ValidFor = time.Hour
		if err := second.IssueTo(e.dir, "host", q); err != nil {
			t.Fatal(err)
		}
	}
	expect("before", true)
	reissue(srv, db1)
	expect("the server's new pair is of a CA that it does not know itself", true)
	srv.trust(first, second)
	expect("the server is of a CA that the client does not know", false)
	cli.trust(first, second)
	expect("the client has the bundle", true)
	reissue(cli, dbApp)
	srv.trust(first)
	expect("the client is of a CA that the server does not know", false)
	srv.trust(second)
	expect("the server knows the new CA only", true)
	srv.trust(first)
	expect("the server takes back its trust", false)
}

func TestUnusableFilesLeaveTheFormerOnesInUse(t *testing.T) {
	ca := newTestAuthority(t)
	e := newEnd(t, ca, ca, time.Now(), db1)
	var told []error
	files := e.files()
	files.OnError = func(err error) { told = append(told, err) }
	server, client := ServerConfig(files, true), ClientConfig(e.files(), "db1.example")
	expect := func(stage string, reports int) {
		t.Helper()
		for range 2 {
			if _, atClient, atServer := connect(t, server, client); atClient != nil || atServer != nil {
				t.Errorf("%s: client %v, server %v", stage, atClient, atServer)
			}
		}
		if len(told) != reports {
			t.Errorf("%s: told %v, want %d reports", stage, told, reports)
		}
	}
	spoil := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(e.dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	expect("before", 0)
	key, err := os.ReadFile(files.Key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(files.Key); err != nil {
		t.Fatal(err)
	}
	expect("the key is gone", 1)
	spoil("host.key", "half a k")
	expect("the key is half written", 2)
	spoil("host.key", string(key))
	expect("the key is back", 2)
	spoil("ca.crt", "")
	expect("the CA is empty", 3)
}

func TestWithoutUsableFilesNothingIsTrusted(t *testing.T) {
	ca := newTestAuthority(t)
	good, bad := newEnd(t, ca, ca, time.Now(), db1), newEnd(t, ca, ca, time.Now(), db1)
	if err := os.WriteFile(bad.files().CA, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := bad.files().Check(); err == nil {
		t.Error("an unusable CA passed the check")
	}
	if _, err, _ := connect(t, ServerConfig(good.files(), true), ClientConfig(bad.files(), "db1.example")); err == nil {
		t.Error("a client without a CA trusted a server")
	}
	if _, _, err := connect(t, ServerConfig(bad.files(), true), ClientConfig(good.files(), "db1.example")); err == nil {
		t.Error("a server without a CA trusted a client")
	}
}

func TestTheCheckFindsWhatAHandshakeWouldRefuse(t *testing.T) {
	ca, otherCA := newTestAuthority(t), newTestAuthority(t)
	now := time.Now()
	good := newEnd(t, ca, ca, now, db1)
	mixed := good.files()
	mixed.Key = newEnd(t, ca, ca, now, db1).files().Key
	gone := good.files()
	gone.Cert += ".none"
	for _, c := range []struct {
		name, want string
		files      Files
	}{
		{"all is well", "", good.files()},
		{"a client shows no certificate", "", Files{CA: good.files().CA}},
		{"the key is another's", "does not match", mixed},
		{"the certificate is missing", "no such file", gone},
		{"the CA is missing", "no such file", Files{CA: good.dir + "/none"}},
		{"the certificate has expired", "has expired", newEnd(t, ca, ca, now.Add(-3*time.Hour), db1).files()},
		{"the certificate is of another CA", "unknown authority", newEnd(t, ca, otherCA, now, db1).files()},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.files.Check()
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestHTTPWorksOverTheSettings(t *testing.T) {
	ca := newTestAuthority(t)
	e := newEnd(t, ca, ca, time.Now(), db1)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{TLSConfig: ServerConfig(e.files(), true), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Proto+" "+r.TLS.PeerCertificates[0].Subject.CommonName)
	})}
	done := make(chan error, 1)
	go func() { done <- server.ServeTLS(listener, "", "") }()
	defer func() {
		server.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	transport := &http.Transport{TLSClientConfig: ClientConfig(e.files(), "127.0.0.1"), ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport, Timeout: 20 * time.Second}).Get("https://" + listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || string(body) != "HTTP/2.0 db1" {
		t.Errorf("got %q, %v", body, err)
	}
}

func TestAServerMustHaveTheRoleThatIsAskedFor(t *testing.T) {
	a, err := NewAuthority("test", year)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	client := newEnd(t, a, a, now, For(RoleOperator, "ann", nil, time.Hour))
	for _, c := range []struct {
		role  Role
		asked []Role
		fine  bool
	}{
		{RoleMember, Daemons(), true}, {RoleRedirector, Daemons(), true}, {RoleMysqld, Daemons(), false}, {RoleMysqld, nil, true}, {RoleRedirector, []Role{RoleMember}, false}, {"", Daemons(), false},
	} {
		q := For(c.role, "db1", db1.Hosts, time.Hour)
		q.Server = true
		server := newEnd(t, a, a, now, q)
		_, clientErr, _ := connect(t, ServerConfig(server.files(), false), ClientConfig(client.files(), "db1.example", c.asked...))
		if (clientErr == nil) != c.fine {
			t.Errorf("a server with the role %q where %v is asked for: %v", c.role, c.asked, clientErr)
		}
	}
}

// A pair of another authority, or a list of authorities that was cut off, does not take
// the place of what is in use.
func TestWhatOthersWouldNotKnowIsNotTaken(t *testing.T) {
	a, err := NewAuthority("test", year)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := NewAuthority("staging", year)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	server, client := newEnd(t, a, a, now, db1), newEnd(t, a, a, now, dbApp)
	heard := make(chan error, 10)
	files := server.files()
	files.OnError = func(err error) { heard <- err }
	serving, dialling := ServerConfig(files, true), ClientConfig(client.files(), "db1.example")
	works := func(when string) {
		t.Helper()
		if _, clientErr, serverErr := connect(t, serving, dialling); clientErr != nil || serverErr != nil {
			t.Errorf("%s: %v, %v", when, clientErr, serverErr)
		}
	}
	works("at first")
	q := db1
	q.ValidFor = time.Hour
	certPEM, keyPEM, err := foreign.issue(now, q)
	if err == nil {
		err = writePair(server.dir, "host.crt", certPEM, "host.key", keyPEM)
	}
	if err != nil {
		t.Fatal(err)
	}
	works("with a pair of another authority")
	whole := append(append([]byte{}, a.CertPEM()...), foreign.CertPEM()...)
	if err := writeFile(files.CA, whole[:len(whole)-40], 0o644); err != nil {
		t.Fatal(err)
	}
	works("with authorities that were cut off")
	for _, want := range []string{"signed by unknown authority", "ends in the middle of a certificate"} {
		found := false
		for !found {
			select {
			case err := <-heard:
				found = strings.Contains(err.Error(), want)
			default:
				t.Fatalf("nobody was told of %q", want)
			}
		}
	}
}
