package metrics_test

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// write has the page be written instead of compared.
var write = flag.Bool("write", false, "write docs/metrics.md")

const page = "../docs/metrics.md"

// described is one metric, as its collector describes it.
var described = regexp.MustCompile(`^Desc\{fqName: "(mysqlha_\w+)", help: (".*"), constLabels: \{\}, variableLabels: \{([\w,]*)\}\}$`)

type entry struct{ name, kind, labels, help string }

// entries are all metrics that a daemon may export, sorted, without those of the Go
// runtime and of the process.
func entries(t *testing.T) (all []entry) {
	t.Helper()
	r := busy()
	families, err := r.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]string{}
	for _, f := range families {
		kinds[f.GetName()] = strings.ToLower(dto.MetricType_name[int32(f.GetType())])
	}
	descs := make(chan *prometheus.Desc, 1000)
	r.Gatherer().(*prometheus.Registry).Describe(descs)
	close(descs)
	for d := range descs {
		m := described.FindStringSubmatch(d.String())
		if m == nil {
			continue
		}
		e := entry{name: m[1], kind: kinds[m[1]], labels: strings.ReplaceAll(m[3], ",", ", ")}
		if _, err := fmt.Sscanf(m[2], "%q", &e.help); err != nil {
			t.Fatal(err)
		}
		if e.kind == "" { // This machine's kernel does not tell it.
			e.kind = "gauge"
			if strings.HasSuffix(e.name, "_total") {
				e.kind = "counter"
			}
		}
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b entry) int { return cmp.Compare(a.name, b.name) })
	return slices.Compact(all)
}

func TestEveryMetricIsOnThePage(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Metrics\n\n<!-- Written by `go test ./metrics -write`; the texts stand in the code. -->\n\n" +
		"What a daemon exports at `/metrics`, over HTTPS, besides `go_…` and `process_…`. What is not known is NaN or not there, never 0: figures of a\n" +
		"mysqld that does not answer, and of a host whose kernel does not tell them, or does not tell the daemon. Under the units of `deploy/systemd` that is\n" +
		"the clock: `ProtectClock=yes` keeps even its reading from the daemon, and nothing is decided by it. Who wants it from there, and not from node_exporter,\n" +
		"says `ProtectClock=no` and `SystemCallFilter=adjtimex` in a drop-in; to set the clock takes a capability that the units do not have.\n" +
		"A witness and a redirector have none of what is said of the local server, and a redirector nothing of who leads.\n\n" +
		"| metric | type | labels | |\n| --- | --- | --- | --- |\n")
	all := entries(t)
	for _, e := range all {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", e.name, e.kind, e.labels, e.help)
	}
	if len(all) < 50 {
		t.Fatalf("only %d metrics were found", len(all))
	}
	if *write {
		if err := os.WriteFile(page, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != b.String() {
		t.Error("docs/metrics.md is not what the code says: go test ./metrics -write")
	}
}
