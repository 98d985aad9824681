//go:build monitoring

package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/certs"
	"github.com/mysqlha/mysqlha/deploy/sandbox"
	"github.com/mysqlha/mysqlha/integration/harness"
)

// monitor is a real Prometheus that scrapes a sandbox over TLS, with the rules of the
// project.
type monitor struct {
	t    *testing.T
	base string
}

func startMonitor(t *testing.T, s *sandbox.Sandbox, n *notifiers) *monitor {
	t.Helper()
	folder, err := exec.Command("../deploy/prometheus/fetch").Output()
	if err != nil {
		t.Fatalf("no prometheus: deploy/prometheus/fetch: %v", err)
	}
	rules, err := filepath.Abs("../deploy/prometheus/mysqlha.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	issue(t, s, dir, certs.For(certs.RoleReader, "prometheus", nil, time.Hour))
	var targets []string
	for _, server := range record(t, s).Servers {
		targets = append(targets, server.API)
	}
	// The shipped file, with these hosts and in a hurry.
	var config struct {
		Global   map[string]any   `yaml:"global"`
		Rules    []string         `yaml:"rule_files"`
		Scrape   []map[string]any `yaml:"scrape_configs"`
		Alerting struct {
			Alertmanagers []map[string]any `yaml:"alertmanagers"`
		} `yaml:"alerting"`
	}
	if err := yaml.Unmarshal(shipped(t, "prometheus/prometheus.yml", dir), &config); err != nil {
		t.Fatal(err)
	}
	config.Global, config.Rules = map[string]any{"evaluation_interval": "1s"}, []string{rules}
	config.Scrape[0]["scrape_interval"] = "1s"
	config.Scrape[0]["static_configs"] = []any{map[string]any{"targets": targets, "labels": map[string]string{"cluster": "sandbox"}}}
	config.Alerting.Alertmanagers[0]["static_configs"] = []any{map[string]any{"targets": n.addresses}}
	text, err := yaml.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	address := free(t, 1)[0]
	beside(t, "Prometheus", exec.Command(filepath.Join(strings.TrimSpace(string(folder)), "prometheus"), "--config.file="+write(t, filepath.Join(dir, "prometheus.yml"), text),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address))
	return &monitor{t, "http://" + address}
}

// beside runs a program until the test ends, and shows what it said if that failed.
func beside(t *testing.T, name string, cmd *exec.Cmd) {
	t.Helper()
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
			t.Logf("%s said:\n%s", name, said.String())
		}
	})
}

// ask asks Prometheus' own API.
func (m *monitor) ask(ctx context.Context, path string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, m.base+path, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return err
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", path, answer.Error)
	}
	return json.Unmarshal(answer.Data, into)
}

// value is that of an expression with one result, NaN without one.
func (m *monitor) value(ctx context.Context, expr string) (float64, error) {
	var data struct {
		Result []struct{ Value [2]any }
	}
	if err := m.ask(ctx, "/api/v1/query?query="+url.QueryEscape(expr), &data); err != nil {
		return 0, err
	}
	if len(data.Result) != 1 {
		return math.NaN(), nil
	}
	var v float64
	_, err := fmt.Sscan(data.Result[0].Value[1].(string), &v)
	return v, err
}

// firing are the names of the alerts that fire.
func (m *monitor) firing(ctx context.Context) (names []string, err error) {
	var data struct {
		Alerts []struct {
			State  string
			Labels map[string]string
		}
	}
	err = m.ask(ctx, "/api/v1/alerts", &data)
	for _, a := range data.Alerts {
		if a.State == "firing" {
			names = append(names, a.Labels["alertname"])
		}
	}
	slices.Sort(names)
	return names, err
}

func (m *monitor) await(what string, expr string, suits func(float64) bool) {
	m.t.Helper()
	within(m.t, what, func(ctx context.Context) error {
		return poll(ctx, func() error {
			v, err := m.value(ctx, expr)
			if err == nil && !suits(v) {
				err = fmt.Errorf("%s is %v", expr, v)
			}
			return err
		})
	})
}

// A primary that is killed raises one alert and no other, and that ends. Of both
// somebody is told once, by a pair of Alertmanagers, and of the event by the hooks.
// History and metrics tell the same of it, and every expression of the rules has
// something to say.
func TestMonitoringAFailoverRaisesOneAlertThatEnds(t *testing.T) {
	w := startWebhook(t)
	s := harness.Start(t, sandbox.Options{Config: w.hooks(t)})
	l := harness.Writers(t, s, 4)
	m := startMonitor(t, s, startNotifiers(t, s, w))
	m.await("all are scraped", `count(up{job="mysqlha"} == 1)`, func(v float64) bool { return v == 3 })
	m.await("QPS is known", `cluster:mysqlha_questions:rate1m`, func(v float64) bool { return v > 1 })
	m.await("there is one leader", `sum(mysqlha_leader)`, func(v float64) bool { return v == 1 })
	if firing, err := m.firing(t.Context()); err != nil || len(firing) > 0 {
		t.Fatalf("before anything happened: %v, %v", firing, err)
	}
	before := record(t, s)

	died := time.Now()
	signal(t, s, "primary", syscall.SIGKILL)
	firstWriteAfter(t, l, died)
	seen := map[string]bool{}
	fires := func(want ...string) func(context.Context) error {
		return func(ctx context.Context) error {
			return poll(ctx, func() error {
				firing, err := m.firing(ctx)
				for _, name := range firing {
					seen[name] = true
				}
				if err == nil && !slices.Equal(firing, want) {
					err = fmt.Errorf("firing are %v", firing)
				}
				return err
			})
		}
	}
	within(t, "the alert fires", fires("MysqlhaFailover"))
	awaitCluster(t, s, "all is well again", func(c api.Cluster) bool { return c.Record.Term > before.Term && sandbox.Settled(c) })
	ending, cancel := context.WithTimeout(t.Context(), 4*time.Minute) // It looks back two minutes.
	defer cancel()
	if err := fires()(ending); err != nil {
		t.Errorf("the alert does not end: %v", err)
	}
	if len(seen) != 1 {
		t.Errorf("fired have %v", seen)
	}

	history, err := s.API().History(t.Context(), 10)
	if err != nil {
		t.Fatal(err)
	}
	var failovers []time.Duration
	for _, h := range history {
		if h.Plan.Kind == "failover" {
			failovers = append(failovers, h.Plan.Marks[len(h.Plan.Marks)-1].At.Sub(h.Plan.Marks[0].At))
		}
	}
	if len(failovers) != 1 {
		t.Fatalf("the history has %d failovers", len(failovers))
	}
	for expr, want := range map[string]float64{
		`sum(mysqlha_failovers_total{result="completed"})`:         1,
		`sum(mysqlha_failover_phase_seconds_count{phase="total"})`: 1,
		`sum(mysqlha_failover_phase_seconds_sum{phase="total"})`:   failovers[0].Seconds(),
		`sum(mysqlha_failover_phase_seconds_sum{phase!="total"})`:  failovers[0].Seconds(),
		`max(mysqlha_term)`:                                  float64(record(t, s).Term),
		`count(mysqlha_role{role="primary"} == 1)`:           1,
		`count(mysqlha_open_term > 0)`:                       1,
		`count(mysqlha_lease_margin_seconds > 0)`:            3,
		`count(mysqlha_api_requests_total{path="/metrics"})`: 3,
		`count(mysqlha_durability{promise="lossless"} == 1)`: 3,
	} {
		if v, err := m.value(t.Context(), expr); err != nil || math.Abs(v-want) > 0.01 {
			t.Errorf("%s is %v, not %v (%v)", expr, v, want, err)
		}
	}
	w.toldOnce(t, before.Primary, record(t, s).Primary)
	scrapesAreSmall(t, m)
	everyMetricIsThere(t, m)
	l.Check()
}

// scrapesAreSmall: a scrape of a member costs at most 300 KB. How long it takes is told.
func scrapesAreSmall(t *testing.T, m *monitor) {
	t.Helper()
	took, err := m.value(t.Context(), `max(quantile_over_time(0.5, scrape_duration_seconds{job="mysqlha"}[1m]))`)
	if err != nil {
		t.Fatal(err)
	}
	series, err := m.value(t.Context(), `max(scrape_samples_scraped{job="mysqlha"})`)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("a scrape takes %.1f ms in the median and brings %v samples", took*1000, series)
	if series > 2000 {
		t.Errorf("a scrape brings %v samples", series)
	}
}

// everyMetricIsThere: what the rules name can be found in a scrape of the cluster.
func everyMetricIsThere(t *testing.T, m *monitor) {
	t.Helper()
	text, err := os.ReadFile("../deploy/prometheus/mysqlha.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	// Those of a redirector are elsewhere, and those of endpoints exist from the first on.
	elsewhere := []string{"mysqlha_redirect_refused_total"}
	var names []string
	for _, expr := range regexp.MustCompile(`(?m)^ *expr: (.*)$`).FindAllString(string(text), -1) {
		names = append(names, regexp.MustCompile(`\bmysqlha_\w+`).FindAllString(expr, -1)...)
	}
	if len(names) < 20 {
		t.Fatalf("the rules name %v", names)
	}
	for _, name := range slices.Compact(slices.Sorted(slices.Values(names))) {
		if slices.Contains(elsewhere, name) {
			continue
		}
		if n, err := m.value(t.Context(), "count("+name+")"); err != nil || !(n > 0) {
			t.Errorf("there is no %s: %v, %v", name, n, err)
		}
	}
}
