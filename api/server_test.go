package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mysqlha/mysqlha/certs"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a daemon's side of the endpoint.
type world struct {
	settings Settings
	events   chan Event
	evidence Evidence
	cluster  Cluster
	history  []decide.History
	err      error
	limit    atomic.Int64
	block    chan struct{} // Cluster waits for it, nil for not
}

func (w *world) Evidence() Evidence { return w.evidence }

func (w *world) AdviseStart(_ context.Context, term uint64, waited time.Duration) (decide.StartAnswer, error) {
	return decide.StartAnswer{Advice: decide.StartWait, Why: waited.String(), Term: term}, w.err
}

func (w *world) Cluster(ctx context.Context) (Cluster, error) {
	if w.block != nil {
		select {
		case <-w.block:
		case <-ctx.Done():
			return Cluster{}, ctx.Err()
		}
	}
	return w.cluster, w.err
}

func (w *world) Why(context.Context) (Why, error) {
	return Why{Leader: "db2", Decision: decide.Decision{Reason: decide.ReasonHealthy, Detail: "db1 is open in term 7"}}, w.err
}

func (w *world) History(_ context.Context, limit int) ([]decide.History, error) {
	w.limit.Store(int64(limit))
	return w.history, w.err
}

func (w *world) Ready(context.Context) error { return w.err }

func (w *world) Settings(context.Context) (Settings, error) { return w.settings, w.err }

func (w *world) ChangeSettings(_ context.Context, want SettingsChange) (Settings, error) {
	if want.Set["required_acks"] == "4" {
		return Settings{}, &RefusedError{"there are 3 servers"}
	}
	w.settings.Version++
	return w.settings, w.err
}

func (w *world) SettingsHistory(context.Context, int) ([]decide.PolicyVersion, error) {
	return nil, w.err
}

func (w *world) Pause(_ context.Context, want PauseRequest) (decide.Pause, error) {
	return decide.Pause{Reason: want.Reason, By: want.By, Until: time.Unix(0, 0).Add(want.For)}, w.err
}

func (w *world) Resume(_ context.Context, want ResumeRequest) (decide.Pause, error) {
	return decide.Pause{Reason: want.By}, w.err
}

func (w *world) Rejoin(_ context.Context, want RejoinRequest) (RejoinRequest, error) {
	return want, w.err
}

func (w *world) Failover(_ context.Context, want decide.FailoverRequest) (string, error) {
	if want.To == "db1" {
		return "", &RefusedError{"it is the primary"}
	}
	return want.ID, w.err
}

// Watch tells of what is sent to it.
func (w *world) Watch(ctx context.Context, tell func(Event)) {
	for {
		select {
		case e := <-w.events:
			tell(e)
		case <-ctx.Done():
			return
		}
	}
}

func (w *world) Kept(_ context.Context, server string) ([]decide.Kept, error) {
	if server != "db1" {
		return nil, &RefusedError{"it is not a server"}
	}
	return nil, w.err
}

func (w *world) OpenKept(_ context.Context, server, name string) (io.ReadCloser, error) {
	if server != "db1" {
		return nil, &RefusedError{"it is not a server"}
	}
	return io.NopCloser(strings.NewReader(strings.Repeat(name, 1<<20))), w.err
}

func (w *world) ChangeServers(_ context.Context, want ServersRequest) ([]decide.Server, error) {
	if want.Remove == "db1" {
		return nil, &RefusedError{"it is the primary"}
	}
	return []decide.Server{{Name: "db1"}, {Name: want.Add}}, w.err
}

func (w *world) Bootstrap(_ context.Context, want decide.BootstrapRequest) (string, error) {
	return "", &RefusedError{"the cluster has begun"}
}

func (w *world) Passwords(context.Context) (Passwords, error) {
	return Passwords{Host: "db1"}, w.err
}

func (w *world) Rotate(_ context.Context, want decide.RotationRequest) (string, error) {
	return want.ID, w.err
}

func (w *world) Certificates(context.Context) (Certificates, error) {
	return Certificates{Host: "db1", Trusts: []string{"a"}}, w.err
}

func (w *world) Doctor(_ context.Context, server string) (Examination, error) {
	if server == "db9" {
		return Examination{}, &RefusedError{"it is not a server"}
	}
	return Examination{Servers: []Examined{{Server: "db1", Version: "9.7.4", At: time.Now()}}, Found: []decide.Diagnosis{
		{Code: decide.CodeAttached, Severity: decide.SeverityInfo, Server: "db1", Detail: "so it is", Mend: "a restart", Statements: []string{"RESTART"}}}}, w.err
}

func (w *world) Switchover(_ context.Context, want decide.SwitchoverRequest) (string, error) {
	if want.To == "db1" {
		return "", &RefusedError{"it is the primary"}
	}
	return want.ID, w.err
}

func (w *world) TestFence(_ context.Context, want FenceRequest) (decide.FenceTest, error) {
	if want.Server == "db1" {
		return decide.FenceTest{}, &RefusedError{"it is the primary"}
	}
	return decide.FenceTest{Server: want.Server, Killed: want.Kill}, w.err
}

// authority makes a CA and one certificate for 127.0.0.1 in a folder.
func authority(t *testing.T) certs.Files {
	t.Helper()
	dir := t.TempDir()
	ca, err := certs.NewAuthority("test", time.Hour)
	if err == nil {
		err = ca.WriteTo(dir)
	}
	if err == nil {
		err = ca.IssueTo(dir, "host", certs.For(certs.RoleMember, "host", []string{"127.0.0.1"}, time.Hour))
	}
	if err != nil {
		t.Fatal(err)
	}
	return certs.Files{CA: filepath.Join(dir, "ca.crt"), Cert: filepath.Join(dir, "host.crt"), Key: filepath.Join(dir, "host.key")}
}

// serve runs a server until the test ends and returns its address.
func serve(t *testing.T, files certs.Files, backend Backend, member Member) string {
	t.Helper()
	return serveWith(t, Options{TLS: certs.OptionalClientServerConfig(files), Backend: backend, Member: member})
}

// serveWith likewise, with more options.
func serveWith(t *testing.T, o Options) string {
	t.Helper()
	o.Listen, o.Version, o.Logger = "127.0.0.1:0", "test", slog.New(slog.DiscardHandler)
	o.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "metrics") })
	s, err := NewServer(o)
	if err == nil {
		err = s.Listen()
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the server stopped with %v", err)
		}
	})
	return s.Addr().String()
}

func clientOf(t *testing.T, files certs.Files, addresses ...string) *Client {
	t.Helper()
	var endpoints []Endpoint
	for _, a := range addresses {
		endpoints = append(endpoints, Endpoint{Address: a, TLS: certs.ClientConfig(files, "127.0.0.1")})
	}
	c, err := NewClient(endpoints...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestPathsAnswerAsPatronisDo(t *testing.T) {
	files := authority(t)
	primary := serve(t, files, &world{evidence: openPrimary()}, &world{evidence: openPrimary()})
	second := serve(t, files, &world{err: errors.New("etcd has not answered yet")}, &world{evidence: replica()})
	bare := serve(t, files, &world{}, nil)
	transport := &http.Transport{TLSClientConfig: certs.ClientConfig(certs.Files{CA: files.CA}, "127.0.0.1")}
	t.Cleanup(transport.CloseIdleConnections)
	for _, c := range []struct {
		name, method, address, path string
		status                      int
		body                        string
	}{
		{"a change is not a question", "GET", primary, "/v1/fence-test", 405, "only answers POST"},
		{"the primary is the primary", "GET", primary, "/primary", 200, `"ok":true`},
		{"the primary is no replica", "GET", primary, "/replica", 503, "it is the primary"},
		{"the primary serves reads", "GET", primary, "/read-only?lag=1s", 200, `"server":"db1"`},
		{"a replica is no primary", "GET", second, "/primary", 503, "the primary of term 7 is db1"},
		{"a replica within ten bare seconds is one", "GET", second, "/replica?lag=10", 200, ""},
		{"a replica beyond 500 ms is none", "GET", second, "/replica?lag=500ms", 503, "its lag is 2s"},
		{"a replica with few transactions is one", "GET", second, "/replica?lag=10s&lag_transactions=30", 200, ""},
		{"a replica with too many transactions is none", "GET", second, "/replica?lag_transactions=29", 503, "30 received"},
		{"a lag in bytes is refused", "GET", second, "/replica?lag=10MB", 400, "write a duration"},
		{"a negative lag is refused", "GET", second, "/replica?lag=-1s", 400, "write a duration"},
		{"an empty lag is refused", "GET", second, "/replica?lag=", 400, "write a duration"},
		{"a limit with a slip in its name is refused", "GET", second, "/replica?lagg=1", 400, "use lag, lag_transactions"},
		{"a limit given twice is refused", "GET", second, "/replica?lag=1&lag=2", 400, "2 times"},
		{"a parameter where none is taken is refused", "GET", primary, "/primary?lag=1", 400, "takes none"},
		{"HEAD has the status and no body", "HEAD", second, "/primary", 503, ""},
		{"OPTIONS has the status and no body", "OPTIONS", primary, "/primary", 200, ""},
		{"OPTIONS of a failing check fails", "OPTIONS", second, "/primary", 503, ""},
		{"a daemon that runs is alive", "GET", second, "/liveness", 200, ""},
		{"a daemon without etcd is not ready and says why", "GET", second, "/readiness", 503, "etcd has not answered yet"},
		{"a daemon with etcd is ready", "GET", primary, "/readiness", 200, ""},
		{"a backend that fails is 503 with its reason", "GET", second, "/cluster", 503, "etcd has not answered yet"},
		{"a limit of history that is none is refused", "GET", primary, "/history?limit=0", 400, "from 1 to 1000"},
		{"an empty history is a list", "GET", primary, "/history", 200, "[]"},
		{"the decision comes in words", "GET", primary, "/v1/why", 200, "Nothing has to be done."},
		{"metrics are passed on", "GET", primary, "/metrics", 200, "metrics"},
		{"an unknown path names the known ones", "GET", primary, "/master", 404, `"/primary"`},
		{"a change of what is only read is refused", "POST", primary, "/cluster", 405, "only answers GET"},
		{"a host without a server is no primary", "GET", bare, "/primary", 503, "no server"},
		{"a host without a server has no figures", "GET", bare, "/v1/member", 404, "no server"},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer, body := askRaw(t, transport, c.method, "https://"+c.address+c.path, "")
			if answer.StatusCode != c.status || !strings.Contains(body, c.body) {
				t.Errorf("got %d %s, want %d with %q", answer.StatusCode, body, c.status, c.body)
			}
			if c.method != "GET" && c.method != "POST" && len(body) > 0 {
				t.Errorf("%s has the body %s", c.method, body)
			}
			if answer.Header.Get("Cache-Control") != "no-store" {
				t.Error("the answer may be cached")
			}
		})
	}
}

func TestClientReadsWhatTheServerWrote(t *testing.T) {
	files := authority(t)
	w := &world{evidence: openPrimary(), cluster: Cluster{Name: "shop", Record: &decide.Record{Term: 7}},
		history: []decide.History{{Term: 7, Result: "completed"}}}
	c := clientOf(t, files, serve(t, files, w, w))
	cluster, err := c.Cluster(t.Context())
	if err != nil || cluster.Name != "shop" || cluster.Record.Term != 7 {
		t.Errorf("got %+v, %v", cluster, err)
	}
	live, err := c.Member(t.Context())
	if err != nil || live.OpenTerm != 7 || live.CommitAge != w.evidence.Live.CommitAge {
		t.Errorf("got %+v, %v", live, err)
	}
	entries, err := c.History(t.Context(), 3)
	if err != nil || len(entries) != 1 || entries[0].Result != "completed" || w.limit.Load() != 3 {
		t.Errorf("got %+v, %v, limit %d", entries, err, w.limit.Load())
	}
	why, err := c.Why(t.Context())
	if err != nil || why.Leader != "db2" {
		t.Errorf("got %+v, %v", why, err)
	}
}

func TestClientTakesTheNextEndpoint(t *testing.T) {
	files := authority(t)
	stale := serve(t, files, &world{cluster: Cluster{Name: "stale", Stale: true, StaleFor: time.Minute}}, nil)
	fresh := serve(t, files, &world{cluster: Cluster{Name: "fresh"}}, nil)
	failing := serve(t, files, &world{err: errors.New("no copy yet")}, nil)
	hangs := serve(t, files, &world{block: make(chan struct{})}, nil)
	closed := unused(t)
	for _, c := range []struct {
		name      string
		endpoints []string
		want      string
	}{
		{"when nobody listens at the first", []string{closed, fresh}, "fresh"},
		{"when the first fails", []string{failing, fresh}, "fresh"},
		{"when the first hangs", []string{hangs, fresh}, "fresh"},
		{"when the first is stale", []string{stale, fresh}, "fresh"},
		{"but a stale answer is better than none", []string{stale, closed}, "stale"},
	} {
		t.Run(c.name, func(t *testing.T) {
			// Less than a daemon takes to give up: the first must not use it up.
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
			defer cancel()
			got, err := clientOf(t, files, c.endpoints...).Cluster(ctx)
			if err != nil || got.Name != c.want {
				t.Errorf("got %q, %v, want %q", got.Name, err, c.want)
			}
		})
	}
	t.Run("and names each with its cause when all fail", func(t *testing.T) {
		_, err := clientOf(t, files, closed, failing).Cluster(t.Context())
		if err == nil || !strings.Contains(err.Error(), closed+": ") || !strings.Contains(err.Error(), failing+": it answered 503: no copy yet") {
			t.Errorf("got %v", err)
		}
		if errors.Is(err, ErrUnreachable) {
			t.Error("one of them answered")
		}
		if _, err := clientOf(t, files, closed).Cluster(t.Context()); !errors.Is(err, ErrUnreachable) {
			t.Errorf("got %v, want ErrUnreachable", err)
		}
	})
}

func TestAChangeNeedsACertificate(t *testing.T) {
	files := authority(t)
	address := serve(t, files, &world{}, nil)
	client := func(files certs.Files) *Client {
		c, err := NewClient(Endpoint{Address: address, TLS: certs.ClientConfig(files, "127.0.0.1")})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	bare, full := client(certs.Files{CA: files.CA}), client(files)
	report, err := full.TestFence(t.Context(), FenceRequest{Server: "db2", Kill: true})
	if err != nil || report.Server != "db2" || !report.Killed {
		t.Errorf("got %+v, %v", report, err)
	}
	servers, err := full.ChangeServers(t.Context(), ServersRequest{Add: "db4"})
	if err != nil || !slices.Equal(decide.ServerNames(servers), []string{"db1", "db4"}) {
		t.Errorf("got %v, %v", servers, err)
	}
	for name, client := range map[string]*Client{"refused": full, "without a certificate": bare} {
		var answer *AnswerError
		if _, err := client.ChangeServers(t.Context(), ServersRequest{Remove: "db1"}); !errors.As(err, &answer) || answer.Status == http.StatusOK {
			t.Errorf("%s: got %v", name, err)
		}
	}
	for name, c := range map[string]struct {
		client *Client
		server string
		status int
	}{
		"without a certificate":    {bare, "db2", http.StatusForbidden},
		"what the cluster refuses": {full, "db1", http.StatusConflict},
	} {
		_, err := c.client.TestFence(t.Context(), FenceRequest{Server: c.server})
		var answer *AnswerError
		if !errors.As(err, &answer) || answer.Status != c.status {
			t.Errorf("%s: got %v, want %d", name, err, c.status)
		}
	}
}

func TestCertificateOfAnotherAuthorityIsRefused(t *testing.T) {
	ours, theirs := authority(t), authority(t)
	w := &world{evidence: openPrimary()}
	address := serve(t, ours, w, w)
	t.Run("by the client", func(t *testing.T) {
		_, err := clientOf(t, theirs, address).Member(t.Context())
		if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "verifying the server's certificate") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("by the server, where a client shows one", func(t *testing.T) {
		mixed := certs.Files{CA: ours.CA, Cert: theirs.Cert, Key: theirs.Key}
		if _, err := clientOf(t, mixed, address).Member(t.Context()); !errors.Is(err, ErrUnreachable) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("but a client needs none to read", func(t *testing.T) {
		if _, err := clientOf(t, certs.Files{CA: ours.CA}, address).Member(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestPollsShareOneConnection(t *testing.T) {
	files := authority(t)
	var connections atomic.Int64
	settings := certs.OptionalClientServerConfig(files)
	settings.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		connections.Add(1)
		return nil, nil
	}
	w := &world{evidence: openPrimary()}
	s, err := NewServer(Options{Listen: "127.0.0.1:0", TLS: settings, Backend: w, Member: w, Logger: slog.New(slog.DiscardHandler)})
	if err != nil || s.Listen() != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	c := clientOf(t, files, s.Addr().String())
	for range 20 {
		if _, err := c.Member(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-done; err != nil || connections.Load() != 1 {
		t.Errorf("20 polls took %d connections (%v)", connections.Load(), err)
	}
}

func TestListenNamesAnAddressInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s, err := NewServer(Options{Listen: l.Addr().String(), TLS: &tls.Config{}, Backend: &world{}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(); err == nil || !strings.Contains(err.Error(), l.Addr().String()+": another process") {
		t.Errorf("got %v", err)
	}
}

func TestConnectionsBeyondTheLimitAreClosedAtOnce(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := newLimited(inner, 2, 1, slog.New(slog.DiscardHandler), nobody{})
	accepted := make(chan net.Conn)
	go func() {
		defer close(accepted)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	dialFrom := func(last byte) net.Conn {
		c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, last)}}).Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	dial := func() net.Conn { return dialFrom(1) }
	isRefused := func(what string, c net.Conn) {
		t.Helper()
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s was not closed: %v", what, err)
		}
	}
	dial()
	first := <-accepted
	isRefused("the second connection of an address", dial())
	dialFrom(2)
	other := <-accepted
	isRefused("the third connection of all", dialFrom(3))
	first.Close()
	first.Close() // a second close gives nothing back
	dial()
	next := <-accepted
	if l.open != 2 || len(l.of) != 2 {
		t.Errorf("%d connections of %d addresses are counted, want 2 of 2", l.open, len(l.of))
	}
	next.Close()
	other.Close()
	if l.open != 0 || len(l.of) != 0 {
		t.Errorf("%d connections of %d addresses are left", l.open, len(l.of))
	}
	inner.Close()
	<-accepted
}

func unused(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return fmt.Sprint(l.Addr())
}

func TestTheGateIsAdvisedByItsOwnDaemon(t *testing.T) {
	files := authority(t)
	address := serve(t, files, &world{}, &world{})
	client, err := NewClient(Endpoint{Address: address, TLS: certs.ClientConfig(files, "127.0.0.1")})
	if err != nil {
		t.Fatal(err)
	}
	got, err := client.AdviseStart(t.Context(), 7, 1500*time.Millisecond)
	if err != nil || got.Advice != decide.StartWait || got.Term != 7 || got.Why != "1.5s" {
		t.Errorf("%+v, %v", got, err)
	}
	for _, query := range []string{"", "?term=0&waited=1s", "?term=x&waited=1s", "?term=1", "?term=1&waited=-1s", "?term=1&waited=1s&more=1"} {
		var answer *AnswerError
		if _, err := first[decide.StartAnswer](t.Context(), client, "/v1/start"+query); !errors.As(err, &answer) || answer.Status != http.StatusBadRequest {
			t.Errorf("%q: %v", query, err)
		}
	}
}

func TestWhatWasKeptIsSentToWhoHasACertificate(t *testing.T) {
	files := authority(t)
	address := serve(t, files, &world{}, &world{})
	with, err := NewClient(Endpoint{Address: address, TLS: certs.ClientConfig(files, "127.0.0.1")})
	if err != nil {
		t.Fatal(err)
	}
	without, err := NewClient(Endpoint{Address: address, TLS: certs.ClientConfig(certs.Files{CA: files.CA}, "127.0.0.1")})
	if err != nil {
		t.Fatal(err)
	}
	if kept, err := without.Kept(t.Context(), "db1"); err != nil || kept == nil || len(kept) > 0 {
		t.Errorf("the list: %v, %v", kept, err)
	}
	file, err := with.OpenKept(t.Context(), "db1", "abc")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if text, err := io.ReadAll(file); err != nil || len(text) != 3<<20 {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	for client, want := range map[*Client]int{with: http.StatusConflict, without: http.StatusForbidden} {
		var answer *AnswerError
		if _, err := client.OpenKept(t.Context(), "db7", "abc"); !errors.As(err, &answer) || answer.Status != want {
			t.Errorf("want %d: %v", want, err)
		}
	}
}

func (w *world) Recent(_ context.Context, server string, since time.Time) ([]Recent, error) {
	return []Recent{{Server: server, Samples: []Sample{{At: since.UnixMilli() + 1}}, Interruptions: []Interruption{}}}, w.err
}

func TestThePathsAreAllThatIsAnswered(t *testing.T) {
	s, err := NewServer(Options{TLS: &tls.Config{}, Backend: &world{}, Metrics: http.NotFoundHandler(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	paths := s.Paths()
	for _, path := range []string{"/metrics", "/cluster", "/v1/openapi.json"} {
		if !slices.Contains(paths, path) {
			t.Errorf("there is no %s among %v", path, paths)
		}
	}
}
