package api

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mysqlha/mysqlha/certs"
)

// told is an observer that remembers.
type told struct {
	mu      sync.Mutex
	refused []string
}

func (o *told) Requested(string, int) {}

func (o *told) Refused(reason string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.refused = append(o.refused, reason)
}

func (o *told) take() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	taken := o.refused
	o.refused = nil
	return taken
}

// locked is a buffer for a logger.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *locked) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.b.Reset()
	return l.b.String()
}

// guarded is an endpoint with tokens, an audit log and a CA that issues every role.
type guarded struct {
	t       *testing.T
	dir     string
	ca      *certs.Authority
	address string
	told    *told
	audit   *locked
}

func newGuarded(t *testing.T, readsNeedRole bool) guarded {
	t.Helper()
	g := guarded{t: t, dir: t.TempDir(), told: &told{}, audit: &locked{}}
	var err error
	if g.ca, err = certs.NewAuthority("test", time.Hour); err == nil {
		err = g.ca.WriteTo(g.dir)
	}
	for _, role := range certs.Roles() {
		if err == nil {
			err = g.ca.IssueTo(g.dir, string(role), certs.For(role, "ann", []string{"127.0.0.1"}, time.Hour))
		}
	}
	if err == nil {
		err = g.ca.IssueTo(g.dir, "plain", certs.Request{Name: "app", Client: true, ValidFor: time.Hour})
	}
	var tokens *Tokens
	if err == nil {
		_, err = NewToken(g.tokens(), "first", "reader", time.Now())
	}
	if err == nil {
		tokens = OpenTokens(g.tokens(), nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	g.address = serveWith(t, Options{TLS: certs.OptionalClientServerConfig(g.files("mysqlha-member")), Backend: &world{evidence: openPrimary()}, Member: &world{evidence: openPrimary()},
		Tokens: tokens, ReadsNeedRole: readsNeedRole, Observer: g.told, Audit: slog.New(slog.NewJSONHandler(g.audit, nil))})
	return g
}

func (g guarded) tokens() string { return filepath.Join(g.dir, "tokens") }

func (g guarded) files(name string) certs.Files {
	f := certs.Files{CA: filepath.Join(g.dir, "ca.crt")}
	if name != "" {
		f.Cert, f.Key = filepath.Join(g.dir, name+".crt"), filepath.Join(g.dir, name+".key")
	}
	return f
}

// ask makes one request on a connection of its own.
func (g guarded) ask(method, path, certificate, token, body string) (*http.Response, string) {
	g.t.Helper()
	return g.askWith(http.Header{}, method, path, certificate, token, body)
}

// askWith likewise, with headers.
func (g guarded) askWith(headers http.Header, method, path, certificate, token, body string) (*http.Response, string) {
	g.t.Helper()
	transport := &http.Transport{TLSClientConfig: certs.ClientConfig(g.files(certificate), "127.0.0.1")}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(g.t.Context(), method, "https://"+g.address+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	request.Header = headers
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		g.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return response, string(text)
}

func TestWhoMayDoWhat(t *testing.T) {
	g := newGuarded(t, true)
	operator, err := NewToken(g.tokens(), "bob", "operator", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	reader, err := NewToken(g.tokens(), "prometheus", "reader", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ended, err := NewToken(g.tokens(), "gone", "operator", time.Now().AddDate(0, 0, -2))
	if err != nil {
		t.Fatal(err)
	}
	const pause = `{"reason":"r","by":"root@laptop"}`
	for _, c := range []struct {
		name, method, path, certificate, token string
		status                                 int
		says, refused                          string
	}{
		{"a health check needs nothing", "GET", "/primary", "", "", 200, "", ""},
		{"a health check does not mind a bad token", "GET", "/primary", "", "nonsense", 200, "", ""},
		{"looking needs a role here", "GET", "/cluster", "", "", 403, "needs a client certificate", "certificate-needed"},
		{"the metrics too", "GET", "/metrics", "", "", 403, "needs a client certificate", "certificate-needed"},
		{"a certificate without a role is none", "GET", "/cluster", "plain", "", 403, "you are app without a role", "role-needed"},
		{"a mysqld has nothing to look at", "GET", "/cluster", "mysqlha-mysqld", "", 403, "you are mysqld ann", "role-needed"},
		{"a reader looks", "GET", "/cluster", "mysqlha-reader", "", 200, "", ""},
		{"a redirector looks", "GET", "/v1/member", "mysqlha-redirector", "", 200, "", ""},
		{"a reader's token looks", "GET", "/metrics", "", reader, 200, "", ""},
		{"a reader changes nothing", "POST", "/v1/pause", "mysqlha-reader", "", 403, "is for member, operator, and you are reader ann", "role-needed"},
		{"a redirector changes nothing", "POST", "/v1/pause", "mysqlha-redirector", "", 403, "you are redirector ann", "role-needed"},
		{"a mysqld changes nothing", "POST", "/v1/pause", "mysqlha-mysqld", "", 403, "you are mysqld ann", "role-needed"},
		{"a certificate without a role changes nothing", "POST", "/v1/pause", "plain", "", 403, "without a role", "role-needed"},
		{"nobody changes nothing", "POST", "/v1/pause", "", "", 403, "needs a client certificate", "certificate-needed"},
		{"a reader's token changes nothing", "POST", "/v1/pause", "", reader, 403, "you are reader prometheus", "role-needed"},
		{"an unknown token", "POST", "/v1/pause", "", "mysqlha_GUESSED", 401, "not known", "token-refused"},
		{"a token whose time is over", "POST", "/v1/pause", "", ended, 401, "has ended", "token-refused"},
		{"a bad token beside a good certificate", "POST", "/v1/pause", "mysqlha-operator", "nonsense", 401, "not known", "token-refused"},
		{"what a server gave up is for no reader", "GET", "/v1/kept/file?server=db1&name=x", "mysqlha-reader", "", 403, "you are reader", "role-needed"},
		{"an operator changes", "POST", "/v1/pause", "mysqlha-operator", "", 200, `"by":"ann (root@laptop)"`, ""},
		{"a token of an operator changes", "POST", "/v1/pause", "", operator, 200, `"by":"bob (root@laptop)"`, ""},
		{"a daemon hands on who asked it", "POST", "/v1/pause", "mysqlha-member", "", 200, `"by":"root@laptop"`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			g.told.take()
			body := ""
			if c.method == http.MethodPost {
				body = pause
			}
			response, text := g.ask(c.method, c.path, c.certificate, c.token, body)
			if response.StatusCode != c.status || !strings.Contains(text, c.says) {
				t.Errorf("%d %s\nwant %d with %q", response.StatusCode, text, c.status, c.says)
			}
			want := []string{c.refused}
			if c.refused == "" {
				want = nil
			}
			if got := g.told.take(); !slices.Equal(got, want) {
				t.Errorf("counted as refused: %q, want %q", got, want)
			}
			for name, value := range securityHeaders {
				if got := response.Header.Get(name); got != value {
					t.Errorf("%s is %q, want %q", name, got, value)
				}
			}
		})
	}
}

func TestATokenThatWasDroppedIsRefusedAtOnce(t *testing.T) {
	g := newGuarded(t, false)
	token, err := NewToken(g.tokens(), "bob", "operator", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if r, text := g.ask("POST", "/v1/pause", "", token, `{"reason":"r"}`); r.StatusCode != 200 {
		t.Fatalf("before: %d %s", r.StatusCode, text)
	}
	if err := DropToken(g.tokens(), "bob"); err != nil {
		t.Fatal(err)
	}
	if r, text := g.ask("POST", "/v1/pause", "", token, `{"reason":"r"}`); r.StatusCode != 401 {
		t.Errorf("the dropped token was replayed with success: %d %s", r.StatusCode, text)
	}
	if text, err := os.ReadFile(g.tokens()); err != nil || strings.Contains(string(text), token) {
		t.Errorf("the file holds the token itself, or %v", err)
	}
}

func TestEveryChangeIsWrittenDownWithWhoAskedForIt(t *testing.T) {
	g := newGuarded(t, false)
	entry := func(certificate, body string) map[string]any {
		t.Helper()
		g.audit.take()
		g.ask("POST", "/v1/pause", certificate, "", body)
		var found map[string]any
		waitFor(t, "the audit", func() bool {
			text := g.audit.take()
			return text != "" && json.Unmarshal([]byte(text), &found) == nil
		})
		return found
	}
	done := entry("mysqlha-operator", "{\n \"reason\": \"patching\"}")
	for name, want := range map[string]any{"msg": "audit", "level": "INFO", "who": "ann", "role": "mysqlha-operator", "proof": "certificate",
		"what": "POST /v1/pause", "request": `{"reason":"patching"}`, "status": 200.0, "result": ""} {
		if done[name] != want {
			t.Errorf("%s is %v, want %v", name, done[name], want)
		}
	}
	if from, _ := done["from"].(string); !strings.HasPrefix(from, "127.0.0.1:") {
		t.Errorf("from is %q", from)
	}
	refused := entry("mysqlha-reader", `{"reason":"mischief"}`)
	if refused["level"] != "WARN" || refused["result"] != "role-needed" || refused["who"] != "ann" {
		t.Errorf("a refused change: %v", refused)
	}
	long := entry("mysqlha-operator", `{"reason":"`+strings.Repeat("r", 5000)+`"}`)
	if text, _ := long["request"].(string); len(text) > mostAudited+10 || !strings.HasSuffix(text, "…") {
		t.Errorf("a long request is written down with %d bytes", len(text))
	}
	g.audit.take()
	g.ask("GET", "/cluster", "mysqlha-operator", "", "")
	if text := g.audit.take(); text != "" {
		t.Errorf("a look was written down: %s", text)
	}
}

func TestWhoeverDoesNotComeToARequestIsCounted(t *testing.T) {
	g := newGuarded(t, false)
	foreign, err := certs.NewAuthority("foreign", time.Hour)
	if err == nil {
		err = foreign.IssueTo(g.dir, "foreign", certs.For(certs.RoleOperator, "eve", nil, time.Hour))
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		do   func(net.Conn)
	}{
		{"plaintext", func(c net.Conn) { io.WriteString(c, "GET /primary HTTP/1.1\r\nHost: x\r\n\r\n") }},
		{"nothing", func(c net.Conn) { c.(*net.TCPConn).CloseWrite() }},
		{"a foreign certificate", func(c net.Conn) {
			tls.Client(c, certs.ClientConfig(g.files("foreign"), "127.0.0.1")).Read(make([]byte, 1))
		}},
		{"an old TLS", func(c net.Conn) {
			tls.Client(c, &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10, ServerName: "127.0.0.1"}).Handshake()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g.told.take()
			conn, err := net.Dial("tcp", g.address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			c.do(conn)
			answer, _ := io.ReadAll(conn)
			if strings.Contains(string(answer), `"ok"`) {
				t.Errorf("it was answered: %q", answer)
			}
			conn.Close()
			waitFor(t, "the count", func() bool { return slices.Equal(g.told.take(), []string{refusedHandshake}) })
		})
	}
}

func TestAFileOfTokensThatCannotBeUsedLetsNobodyIn(t *testing.T) {
	good := "# a comment\n\nann operator " + strings.Repeat("a1", 32) + " 2999-12-31\n"
	for _, c := range []struct{ name, text, says string }{
		{"too few fields", "ann operator\n", ":1: write name, role"},
		{"a role that tokens have not", strings.Replace(good, "operator", "member", 1), ":3: the role \"member\" is none of a token"},
		{"a short hash", strings.Replace(good, "a1a1", "a1", 1), ":3: the hash must be 64 hexadecimal digits"},
		{"a day that is none", strings.Replace(good, "2999-12-31", "never", 1), ":3: the last day"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "tokens")
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			var err error
			tokens := OpenTokens(path, func(why error) { err = why })
			if err == nil || !strings.Contains(err.Error(), path+c.says) {
				t.Errorf("it says %v, want %q", err, path+c.says)
			}
			if _, err := tokens.caller("mysqlha_X", time.Now()); err == nil {
				t.Error("it lets somebody in")
			}
		})
	}
	path := filepath.Join(t.TempDir(), "tokens")
	secret, err := NewToken(path, "ann", "operator", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var heard []error
	tokens := OpenTokens(path, func(err error) { heard = append(heard, err) })
	if who, err := tokens.caller(secret, time.Now()); err != nil || who.String() != "operator ann" || !who.Token {
		t.Fatalf("the token is that of %v, %v", who, err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := tokens.caller(secret, time.Now()); err == nil {
			t.Error("a token was accepted from a file that others may write")
		}
	}
	if len(heard) != 1 || !strings.Contains(heard[0].Error(), "others may write") {
		t.Errorf("heard %v", heard)
	}
}

func waitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
