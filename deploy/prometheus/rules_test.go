package prometheus_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

const (
	rulesFile = "mysqlha.rules.yml"
	// alertsPage is docs/alerts.md where everybody can read it.
	alertsPage = "https://github.com/mysqlha/mysqlha/blob/main/docs/alerts.md"
)

type rule struct {
	Record, Alert, Expr string
	Labels, Annotations map[string]string
}

func rules(t *testing.T) (all []rule) {
	t.Helper()
	var file struct{ Groups []struct{ Rules []rule } }
	text, err := os.ReadFile(rulesFile)
	if err == nil {
		err = yaml.Unmarshal(text, &file)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) < 20 {
		t.Fatalf("only %d rules were read", len(all))
	}
	return all
}

func TestEveryMetricOfARuleExists(t *testing.T) {
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (\\w+) \\|").FindAllStringSubmatch(string(page), -1) {
		kinds[m[1]] = m[2]
	}
	name := regexp.MustCompile(`\bmysqlha_\w+`)
	for _, r := range rules(t) {
		for _, n := range name.FindAllString(r.Expr, -1) {
			bare := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(n, "")
			if kinds[n] == "" && kinds[bare] != "histogram" {
				t.Errorf("%s%s uses %s, which no daemon exports", r.Alert, r.Record, n)
			}
			if kinds[n] == "counter" && !regexp.MustCompile(`(rate|increase)\(`+n).MatchString(r.Expr) {
				t.Errorf("%s%s uses the counter %s as it is", r.Alert, r.Record, n)
			}
		}
	}
}

func TestEveryAlertSaysWhatToDo(t *testing.T) {
	page, err := os.ReadFile("../../docs/alerts.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := regexp.MustCompile(`(?m)^## (\w+)\n(\w+)\.`).FindAllStringSubmatch(string(page), -1)
	documented := map[string]string{}
	for _, s := range sections {
		documented[s[1]] = strings.ToLower(s[2])
	}
	for _, r := range rules(t) {
		if r.Alert == "" {
			continue
		}
		if s := r.Labels["severity"]; !slices.Contains([]string{"critical", "warning", "info"}, s) || documented[r.Alert] != s {
			t.Errorf("%s has the severity %q, and docs/alerts.md says %q", r.Alert, s, documented[r.Alert])
		}
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s lacks summary or description", r.Alert)
		}
		if url := r.Annotations["runbook_url"]; url != alertsPage+"#"+strings.ToLower(r.Alert) {
			t.Errorf("%s leads to %q", r.Alert, url)
		}
		delete(documented, r.Alert)
	}
	for name := range documented {
		t.Errorf("docs/alerts.md has %s, which is no alert", name)
	}
}

func TestPrometheusTakesTheRules(t *testing.T) {
	folder, err := exec.Command("./fetch").Output()
	if err != nil {
		t.Fatalf("no promtool: deploy/prometheus/fetch: %v", err)
	}
	promtool := filepath.Join(strings.TrimSpace(string(folder)), "promtool")
	for _, args := range [][]string{{"check", "rules", rulesFile}, {"test", "rules", "mysqlha.rules.test.yml"}, {"check", "config", "--syntax-only", "prometheus.yml"}} {
		if out, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}
