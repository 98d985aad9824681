package reference

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheRulesOfTheSite(t *testing.T) {
	folder, err := exec.Command("../prometheus/fetch").Output()
	if err != nil {
		t.Fatalf("no promtool: deploy/prometheus/fetch: %v", err)
	}
	for _, args := range [][]string{{"check", "rules", "templates/site.rules.yml"}, {"test", "rules", "testdata/site.rules.test.yml"}} {
		if out, err := exec.Command(filepath.Join(strings.TrimSpace(string(folder)), "promtool"), args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}
