package alertmanager_test

import (
	"bytes"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

const routingFile = "alertmanager.yml"

// alert is one of the rules.
type alert struct {
	Alert, Expr string
	Labels      map[string]string
}

// perCluster are the expressions that leave no label of a server.
var perCluster = regexp.MustCompile(`^\(?(max|sum) by \(cluster(, (reason|tier))?\)`)

// labels are those with which it reaches Alertmanager.
func (a alert) labels(cluster, instance string) map[string]string {
	all := map[string]string{"alertname": a.Alert, "cluster": cluster}
	maps.Copy(all, a.Labels)
	if !perCluster.MatchString(a.Expr) {
		all["instance"], all["host"] = instance, instance
	}
	if !strings.HasPrefix(a.Alert, "Mysqlha") || a.Alert == "MysqlhaDaemonDown" { // What is made of up has it.
		all["tier"] = "app"
	}
	if strings.Contains(a.Expr, "certificate") {
		all["certificate"] = "host"
	}
	return all
}

func alerts(t *testing.T) (all []alert) {
	t.Helper()
	for _, rules := range []string{"../prometheus/mysqlha.rules.yml", "../reference/templates/site.rules.yml"} {
		var file struct{ Groups []struct{ Rules []alert } }
		read(t, rules, &file)
		for _, g := range file.Groups {
			all = append(all, slices.DeleteFunc(g.Rules, func(a alert) bool { return a.Alert == "" })...)
		}
	}
	if len(all) < 27 {
		t.Fatalf("only %d alerts were read", len(all))
	}
	return all
}

func read(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err == nil {
		err = yaml.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// programs is the folder with Alertmanager's.
func programs(t *testing.T) string {
	t.Helper()
	folder, err := exec.Command("../prometheus/fetch", "alertmanager").Output()
	if err != nil {
		t.Fatalf("no amtool: deploy/prometheus/fetch alertmanager: %v", err)
	}
	return strings.TrimSpace(string(folder))
}

func TestAlertmanagerTakesTheFileAndWhatItSuggests(t *testing.T) {
	text, err := os.ReadFile(routingFile)
	if err != nil {
		t.Fatal(err)
	}
	suggested := regexp.MustCompile(`(?m)^( *)# (\w+_configs?: )`)
	if n := len(suggested.FindAll(text, -1)); n < 3 {
		t.Fatalf("%d receivers are suggested", n)
	}
	amtool := filepath.Join(programs(t), "amtool")
	for name, file := range map[string][]byte{"as it is": text, "with all that it suggests": suggested.ReplaceAll(text, []byte("$1$2"))} {
		cmd := exec.Command(amtool, "check-config", "/dev/stdin")
		cmd.Stdin = bytes.NewReader(file)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

func TestEveryAlertHasItsReceiver(t *testing.T) {
	amtool := filepath.Join(programs(t), "amtool")
	routed := func(name, want string, labels map[string]string) {
		args := []string{"config", "routes", "test", "--config.file", routingFile, "--verify.receivers", want}
		for k, v := range labels {
			args = append(args, k+"="+v)
		}
		if out, err := exec.Command(amtool, args...).CombinedOutput(); err != nil {
			t.Errorf("%s does not go to %s: %s", name, want, out)
		}
	}
	bySeverity := map[string]string{"critical": "page", "warning": "ticket", "info": "note"}
	for _, a := range alerts(t) {
		want, known := bySeverity[a.Labels["severity"]]
		if !known {
			t.Errorf("nobody is meant for the severity %s of %s", a.Labels["severity"], a.Alert)
		}
		routed(a.Alert, want, a.labels("shop", "db1:8008"))
	}
	for _, c := range []struct {
		name, want string
		labels     map[string]string
	}{
		{"an outage", "page", map[string]string{"alertname": "MysqlhaNoPrimary", "severity": "critical", "cluster": "shop"}},
		{"a site that is down", "page", map[string]string{"alertname": "SiteTierDown", "severity": "critical", "cluster": "shop", "tier": "web"}},
		{"a failover", "ticket", map[string]string{"alertname": "MysqlhaFailover", "severity": "warning", "cluster": "shop", "reason": "process died"}},
		{"a clock", "note", map[string]string{"alertname": "MysqlhaClockOff", "severity": "info", "cluster": "shop", "instance": "db1:8008"}},
		{"an alert of ours with a severity that nobody has thought of", "ticket", map[string]string{"alertname": "MysqlhaNew", "severity": "odd", "cluster": "shop"}},
		{"one without a severity", "ticket", map[string]string{"alertname": "MysqlhaNew", "cluster": "shop"}},
		{"a critical one of somebody else", "ticket", map[string]string{"alertname": "Other", "severity": "critical"}},
	} {
		routed(c.name, c.want, c.labels)
	}
}

// What the file names exists: a rule that is given another name would leave its
// routing and its inhibitions without effect, and nobody would be told.
func TestEveryNameInTheFileIsInTheRules(t *testing.T) {
	names, values := map[string]bool{}, map[string]bool{}
	labels := map[string]bool{}
	for _, a := range alerts(t) {
		names[a.Alert], values[a.Labels["severity"]] = true, true
		for label := range a.labels("shop", "db1") {
			labels[label] = true
		}
	}
	text, err := os.ReadFile(routingFile)
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`(Mysqlha|Site)\w+`).FindAllString(string(text), -1)
	if len(named) < 10 {
		t.Fatalf("the file names %v", named)
	}
	for _, name := range named {
		if !names[name] {
			t.Errorf("there is no alert %s", name)
		}
	}
	routed := map[string]bool{}
	for _, m := range regexp.MustCompile(`(\w+)(=~|=)"([^"]*)"`).FindAllStringSubmatch(string(text), -1) {
		if !labels[m[1]] {
			t.Errorf("no alert has the label %s", m[1])
		}
		if m[1] == "severity" {
			routed[m[3]] = true
		}
	}
	for _, list := range regexp.MustCompile(`(?:group_by|equal): \[([^\]]*)\]`).FindAllStringSubmatch(string(text), -1) {
		for _, label := range strings.Split(list[1], ", ") {
			if !labels[label] {
				t.Errorf("no alert has the label %s", label)
			}
		}
	}
	if !maps.Equal(routed, values) {
		t.Errorf("there are routes for %v, and the rules have %v", slices.Sorted(maps.Keys(routed)), slices.Sorted(maps.Keys(values)))
	}
}

func TestSecretsStandInFilesOfTheirOwn(t *testing.T) {
	secret := regexp.MustCompile(`\b(\w*(password|secret|token|key|credentials|api_url)):`)
	for _, file := range []string{routingFile, "web.yml", "cluster.yml"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range secret.FindAllStringSubmatch(string(text), -1) {
			t.Errorf("%s has a secret itself: %s", file, m[1])
		}
	}
}
