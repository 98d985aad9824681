//go:build monitoring

package alertmanager_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"
)

// serve starts an Alertmanager with the shipped routing, which tells nobody.
func serve(t *testing.T) (base string) {
	t.Helper()
	var config map[string]any
	read(t, routingFile, &config)
	for _, r := range config["receivers"].([]any) {
		maps.DeleteFunc(r.(map[string]any), func(k string, _ any) bool { return k != "name" })
	}
	dir := t.TempDir()
	text, err := yaml.Marshal(config)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, routingFile), text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	cmd := exec.Command(filepath.Join(programs(t), "prometheus-alertmanager"), "--config.file="+filepath.Join(dir, routingFile), "--storage.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+address, "--cluster.listen-address=")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("Alertmanager said:\n%s", said.String())
		}
	})
	return "http://" + address
}

// request asks Alertmanager's API, for at most ten seconds while it is not there yet.
func request(t *testing.T, method, url string, body, into any) {
	t.Helper()
	sent, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		r, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(sent))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		answer, err := http.DefaultClient.Do(r)
		if err != nil && time.Now().Before(end) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err == nil && answer.StatusCode != http.StatusOK {
			err = fmt.Errorf("it answered %s: %s", answer.Status, text)
		}
		if err == nil && into != nil {
			err = json.Unmarshal(text, into)
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	}
}

// Each two alerts fire together in a cluster of their own, once of the same server
// and once of two. A real Alertmanager says which of them it keeps back.
func TestAnOutageKeepsBackItsSymptomsAndNothingElse(t *testing.T) {
	all := alerts(t)
	byName := map[string]alert{}
	for _, a := range all {
		byName[a.Alert] = a
	}
	want := map[string]bool{}
	for source, targets := range map[string][]string{
		"MysqlhaNoPrimary":        {"MysqlhaServerDown", "MysqlhaDaemonDown", "MysqlhaNextLossStopsWrites", "MysqlhaReplicaLags", "MysqlhaConnectionsRunOut"},
		"MysqlhaWritesWait":       {"MysqlhaNextLossStopsWrites", "MysqlhaConnectionsRunOut"},
		"MysqlhaSuspended":        {"MysqlhaNextLossStopsWrites"},
		"MysqlhaNoLeader":         {"MysqlhaEtcdSlow"},
		"MysqlhaLeaseRunsOut":     {"MysqlhaEtcdSlow"},
		"MysqlhaCertificateEnded": {"MysqlhaCertificateEnds"},
		"SiteHostGone":            {"MysqlhaDaemonDown"},
		"SiteTierDown":            {"MysqlhaDaemonDown"},
	} {
		for _, target := range targets {
			want["same "+source+" "+target] = true
			if source != "MysqlhaLeaseRunsOut" && source != "MysqlhaCertificateEnded" && source != "SiteHostGone" {
				want["other "+source+" "+target] = true
			}
			if byName[target].Labels["severity"] == "critical" {
				t.Errorf("%s pages, and is kept back by %s", target, source)
			}
			if strings.Contains(byName[target].Expr, "increase(") {
				t.Errorf("%s is an event, and is kept back by %s: nobody would be told", target, source)
			}
		}
	}
	type posted struct {
		Labels map[string]string `json:"labels"`
	}
	var post []posted
	for _, a := range all {
		for _, b := range all {
			if a.Alert < b.Alert {
				cluster := a.Alert + "-" + b.Alert
				post = append(post, posted{a.labels("same-"+cluster, "db1")}, posted{b.labels("same-"+cluster, "db1")})
				post = append(post, posted{a.labels("other-"+cluster, "db1")}, posted{b.labels("other-"+cluster, "db2")})
			}
		}
	}
	base := serve(t)
	request(t, http.MethodPost, base+"/api/v2/alerts", post, nil)
	var got map[string]bool
	var seen int
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end) && (seen != len(post) || !maps.Equal(got, want)); time.Sleep(100 * time.Millisecond) {
		var known []struct {
			Labels      map[string]string
			Fingerprint string
			Status      struct{ InhibitedBy []string }
		}
		request(t, http.MethodGet, base+"/api/v2/alerts", nil, &known)
		names := map[string]string{}
		for _, a := range known {
			names[a.Fingerprint] = a.Labels["alertname"]
		}
		seen, got = len(known), map[string]bool{}
		for _, a := range known {
			for _, by := range a.Status.InhibitedBy {
				servers, _, _ := strings.Cut(a.Labels["cluster"], "-")
				got[servers+" "+names[by]+" "+a.Labels["alertname"]] = true
			}
		}
	}
	if seen != len(post) {
		t.Errorf("of %d alerts it knows %d", len(post), seen)
	}
	for pair := range want {
		if !got[pair] {
			t.Errorf("not kept back: %s", pair)
		}
	}
	for pair := range got {
		if !want[pair] {
			t.Errorf("kept back: %s", pair)
		}
	}
}
