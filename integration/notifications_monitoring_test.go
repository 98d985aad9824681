//go:build monitoring

package integration

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/mysqlha/mysqlha/certs"
	"github.com/mysqlha/mysqlha/deploy/sandbox"
	"github.com/mysqlha/mysqlha/hooks"
)

// installed is where the shipped files have certificates and secrets.
const installed = "/etc/prometheus/mysqlha/"

// shipped is a file of deploy/, with that folder elsewhere.
func shipped(t *testing.T, file, folder string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../deploy", file))
	if err != nil {
		t.Fatal(err)
	}
	return []byte(strings.ReplaceAll(string(text), installed, folder+"/"))
}

func write(t *testing.T, file string, text []byte) string {
	t.Helper()
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// issue puts a certificate of the sandbox's authority into a folder, as mysqlha certs
// issue does, and the authority's own.
func issue(t *testing.T, s *sandbox.Sandbox, dir string, q certs.Request) {
	t.Helper()
	ca, err := certs.LoadAuthority(string(s.PKI()))
	if err == nil {
		err = ca.IssueTo(dir, certs.FileOf(q.Role), q)
	}
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "ca.crt"), ca.CertPEM())
}

// webhook is somebody's HTTPS address, with an authority that is not the cluster's. It
// keeps what it is told, by path.
type webhook struct {
	base, ca, token string

	mu   sync.Mutex
	told map[string][]string
}

func startWebhook(t *testing.T) *webhook {
	t.Helper()
	dir := t.TempDir()
	w := &webhook{ca: filepath.Join(dir, certs.AuthorityCert), token: write(t, filepath.Join(dir, "token"), []byte("t0ken\n")), told: make(map[string][]string)}
	ca, err := certs.NewAuthority("somebody else", time.Hour)
	if err == nil {
		err = errors.Join(ca.WriteTo(dir), ca.IssueTo(dir, "webhook", certs.Request{Name: "webhook", Hosts: []string{"127.0.0.1"}, Server: true, ValidFor: time.Hour}))
	}
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "webhook.crt"), filepath.Join(dir, "webhook.key"))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if got := r.Header.Get("Authorization"); got != "Bearer t0ken" && r.URL.Path != "/chat" {
			t.Errorf("%s was told with %q", r.URL.Path, got)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.told[r.URL.Path] = append(w.told[r.URL.Path], string(body))
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	server.StartTLS()
	t.Cleanup(server.Close)
	w.base = server.URL
	return w
}

// at is what was told there.
func (w *webhook) at(path string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.told[path])
}

// hooks is the part of a host's configuration with which its daemon tells the webhook,
// itself and by the program that docs/notifications.md has for chats.
func (w *webhook) hooks(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../docs/notifications.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^    #!/bin/sh\n(    .*\n|\n)+`).Find(page)
	dir := t.TempDir()
	settings := write(t, filepath.Join(dir, "chat.curl"), fmt.Appendf(nil, "url = \"%s/chat\"\ncacert = \"%s\"\n", w.base, w.ca))
	text := strings.ReplaceAll(regexp.MustCompile(`(?m)^    `).ReplaceAllString(string(found), ""), "/etc/mysqlha/chat.curl", settings)
	if !strings.Contains(text, settings) {
		t.Fatalf("docs/notifications.md has no program for chats, but %q", text)
	}
	program := write(t, filepath.Join(dir, "chat"), []byte(text))
	if err := os.Chmod(program, 0o700); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("hooks:\n  - {name: direct, url: %s/direct, ca: %s, token_file: %s}\n  - {name: chat, on: [failover], command: [%s]}\n", w.base, w.ca, w.token, program)
}

// notification is what Alertmanager posts to a webhook.
type notification struct {
	Receiver, Status string
	Alerts           []struct {
		Status              string
		Labels, Annotations map[string]string
	}
}

// receivers are those of the shipped routing.
var receivers = []string{"page", "ticket", "note"}

// alerts are all notifications of Alertmanagers.
func (w *webhook) alerts(t *testing.T) (all []notification) {
	t.Helper()
	for _, r := range receivers {
		for _, text := range w.at("/" + r) {
			var n notification
			if err := json.Unmarshal([]byte(text), &n); err != nil || n.Receiver != r {
				t.Errorf("%s was told %s (%v)", r, text, err)
			}
			all = append(all, n)
		}
	}
	return all
}

// notifiers is a pair of real Alertmanagers with the shipped files. Only who is told
// and how long they wait is different.
type notifiers struct {
	addresses []string
	client    *http.Client
}

func startNotifiers(t *testing.T, s *sandbox.Sandbox, w *webhook) *notifiers {
	t.Helper()
	folder, err := exec.Command("../deploy/prometheus/fetch", "alertmanager").Output()
	if err != nil {
		t.Fatalf("no alertmanager: deploy/prometheus/fetch alertmanager: %v", err)
	}
	reader := t.TempDir()
	issue(t, s, reader, certs.For(certs.RoleReader, "prometheus", nil, time.Hour))
	files := certs.Files{CA: filepath.Join(reader, "ca.crt"), Cert: filepath.Join(reader, "reader.crt"), Key: filepath.Join(reader, "reader.key")}
	n := &notifiers{addresses: free(t, 2), client: &http.Client{Transport: &http.Transport{TLSClientConfig: certs.ClientConfig(files, "127.0.0.1")}}}
	t.Cleanup(n.client.CloseIdleConnections)
	gossip := free(t, 2)
	for i, address := range n.addresses {
		dir := t.TempDir()
		issue(t, s, dir, certs.Request{Name: "alert", Hosts: []string{"127.0.0.1"}, Server: true, Client: true, ValidFor: time.Hour})
		cmd := exec.Command(filepath.Join(strings.TrimSpace(string(folder)), "prometheus-alertmanager"),
			"--config.file="+write(t, filepath.Join(dir, "alertmanager.yml"), routing(t, w)), "--storage.path="+filepath.Join(dir, "data"), "--web.listen-address="+address,
			"--web.config.file="+write(t, filepath.Join(dir, "web.yml"), shipped(t, "alertmanager/web.yml", dir)),
			"--cluster.listen-address="+gossip[i], "--cluster.advertise-address="+gossip[i], "--cluster.peer="+gossip[1-i],
			"--cluster.tls-config="+write(t, filepath.Join(dir, "cluster.yml"), shipped(t, "alertmanager/cluster.yml", dir)))
		beside(t, fmt.Sprint("Alertmanager ", i+1), cmd)
	}
	for _, address := range n.addresses {
		within(t, "the pair is one", func(ctx context.Context) error {
			return poll(ctx, func() error {
				var status struct {
					Cluster struct {
						Status string
						Peers  []any
					}
				}
				err := n.get(ctx, "https://"+address+"/api/v2/status", &status)
				if err == nil && (status.Cluster.Status != "ready" || len(status.Cluster.Peers) != 2) {
					err = fmt.Errorf("%s is %+v", address, status)
				}
				return err
			})
		})
	}
	stranger := &http.Client{Transport: &http.Transport{TLSClientConfig: certs.ClientConfig(certs.Files{CA: files.CA}, "127.0.0.1")}}
	if answer, err := stranger.Get("https://" + n.addresses[0] + "/api/v2/status"); err == nil {
		answer.Body.Close()
		t.Errorf("who has no certificate is answered %s", answer.Status)
	}
	return n
}

func (n *notifiers) get(ctx context.Context, url string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := n.client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	return json.NewDecoder(answer.Body).Decode(into)
}

// routing is the shipped one with the webhook as each receiver, and without its patience.
func routing(t *testing.T, w *webhook) []byte {
	t.Helper()
	var config map[string]any
	if err := yaml.Unmarshal(shipped(t, "alertmanager/alertmanager.yml", "/nowhere"), &config); err != nil {
		t.Fatal(err)
	}
	var hasten func(route map[string]any)
	hasten = func(route map[string]any) {
		route["group_wait"], route["group_interval"] = "1s", "5s"
		below, _ := route["routes"].([]any)
		for _, r := range below {
			hasten(r.(map[string]any))
		}
	}
	hasten(config["route"].(map[string]any))
	var told []any
	for _, name := range receivers {
		told = append(told, map[string]any{"name": name, "webhook_configs": []any{map[string]any{"url": w.base + "/" + name, "send_resolved": true,
			"http_config": map[string]any{"authorization": map[string]any{"credentials_file": w.token}, "tls_config": map[string]any{"ca_file": w.ca}}}}})
	}
	config["receivers"] = told
	text, err := yaml.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// free are addresses on which nobody listens.
func free(t *testing.T, n int) (all []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		all = append(all, l.Addr().String())
	}
	return all
}

// toldOnce judges what the webhook was told of one failover: by the Alertmanagers that
// it happened and that it is over, by the daemons one event, perhaps more than once.
func (w *webhook) toldOnce(t *testing.T, from, to string) {
	t.Helper()
	within(t, "the end of the alert is told", func(ctx context.Context) error {
		return poll(ctx, func() error {
			if n := len(w.alerts(t)); n < 2 {
				return fmt.Errorf("%d notifications", n)
			}
			return nil
		})
	})
	time.Sleep(20 * time.Second) // The second of the pair lets the first go ahead for 15 s.
	var all []string
	for _, n := range w.alerts(t) {
		all = append(all, n.Receiver+" "+n.Status)
		if len(n.Alerts) != 1 {
			t.Errorf("a notification of %d alerts: %+v", len(n.Alerts), n)
		}
		for _, a := range n.Alerts {
			if a.Labels["alertname"] != "MysqlhaFailover" || a.Labels["cluster"] != "sandbox" || a.Annotations["summary"] == "" || !strings.HasSuffix(a.Annotations["runbook_url"], "/docs/alerts.md#mysqlhafailover") {
				t.Errorf("%s: %+v", n.Status, a)
			}
		}
	}
	if !slices.Equal(all, []string{"ticket firing", "ticket resolved"}) {
		t.Errorf("the Alertmanagers told %q", all)
	}

	ids := make(map[string]int)
	for _, text := range w.at("/direct") {
		var e hooks.Event
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			t.Errorf("the hook was told %s: %v", text, err)
		}
		if e.Kind == hooks.KindFailover {
			ids[e.ID]++
			if e.Cluster != "sandbox" || e.From != from || e.Primary != to || e.Result != "completed" {
				t.Errorf("the hook was told %s", text)
			}
		}
	}
	chat := w.at("/chat")
	t.Logf("the hook was told of the failover %v times, by id; the chat: %q", ids, chat)
	if len(ids) != 1 {
		t.Errorf("the hook was told of %d failovers", len(ids))
	}
	want := fmt.Sprintf(`{"text":"sandbox: failover from %s to %s: completed"}`, from, to)
	if slices.ContainsFunc(chat, func(text string) bool { return text != want }) || len(chat) == 0 {
		t.Errorf("the chat was told %q, not %s", chat, want)
	}
}
