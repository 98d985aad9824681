package grafana_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// checkRules has Prometheus judge rules.
func checkRules(t *testing.T, rules string) {
	t.Helper()
	folder, err := exec.Command("../prometheus/fetch").Output()
	if err != nil {
		t.Fatalf("no promtool: deploy/prometheus/fetch: %v", err)
	}
	file := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(file, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(filepath.Join(strings.TrimSpace(string(folder)), "promtool"), "check", "rules", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
