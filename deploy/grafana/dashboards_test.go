package grafana_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// write has the dashboards be written instead of compared.
var write = flag.Bool("write", false, "write the dashboards")

// panel is one picture; of are its queries with the names of their lines.
type panel struct {
	title, help, unit string
	of                [][2]string
	kind              string // timeseries unless given
	signed            bool   // it may be below zero
}

type row struct {
	title  string
	panels []panel
}

type dashboard struct {
	file, title string
	// variables are what one chooses above, each with the query for its values; of
	// redirectors any number, and all of them at first.
	variables [][2]string
	rows      []row
}

func line(expr, name string) [][2]string { return [][2]string{{expr, name}} }

func dashboards() []dashboard {
	c, s := `cluster="$cluster"`, `cluster="$cluster", instance="$instance"`
	clusters := [2]string{"cluster", "label_values(mysqlha_term, cluster)"}
	// All redirectors at once, or some of them.
	r := `cluster="$cluster", instance=~"$redirector"`
	redirectors := [2]string{"redirector", `label_values(mysqlha_redirect_held_connections{cluster="$cluster"}, instance)`}
	cut := `cause=~"new_term|peer_silent|shutdown"`
	instances := [2]string{"instance", `label_values(mysqlha_term{cluster="$cluster"}, instance)`}
	return []dashboard{
		{file: "fleet.json", title: "mysqlha: fleet", rows: []row{{"All clusters", []panel{
			{title: "Clusters that take writes", help: "1 for each cluster with an open server.", kind: "stat", of: line(`max by (cluster) (mysqlha_open_term > bool 0)`, "{{cluster}}")},
			{title: "Replicas in sync beyond those that must acknowledge", help: "0: the next loss stops writes.", kind: "stat", of: line(`max by (cluster) (mysqlha_in_sync_replicas) - max by (cluster) (mysqlha_required_acks)`, "{{cluster}}")},
			{title: "Failovers", help: "Within a day.", kind: "stat", of: line(`sum by (cluster) (increase(mysqlha_failovers_total{result="completed"}[1d]))`, "{{cluster}}")},
			{title: "QPS", unit: "reqps", of: line(`cluster:mysqlha_questions:rate1m`, "{{cluster}}")},
			{title: "Lag", help: "Of the slowest replica.", unit: "s", of: line(`max by (cluster) (mysqlha_replica_lag_seconds)`, "{{cluster}}")},
			{title: "Certificates", help: "Until the first one ends.", unit: "s", kind: "stat", of: line(`min by (cluster) (mysqlha_certificate_expiry_timestamp_seconds) - time()`, "{{cluster}}")},
		}}}},
		{file: "cluster.json", title: "mysqlha: cluster", variables: [][2]string{clusters}, rows: []row{
			{"Now", []panel{
				{title: "Term", kind: "stat", of: line(`max(mysqlha_term{`+c+`})`, "term")},
				{title: "Primary", help: "Which server takes writes.", kind: "stat", of: line(`mysqlha_open_term{`+c+`} > 0`, "{{instance}}")},
				{title: "Leader", kind: "stat", of: line(`mysqlha_leader{`+c+`} == 1`, "{{instance}}")},
				{title: "In sync", help: "And how many of them must acknowledge.", kind: "stat", of: [][2]string{{`max(mysqlha_in_sync_replicas{` + c + `})`, "in sync"}, {`max(mysqlha_required_acks{` + c + `})`, "must acknowledge"}}},
				{title: "Acknowledges alone", help: "1 while commits are lost with the primary.", kind: "stat", of: line(`max(mysqlha_suspended{`+c+`})`, "suspended")},
				{title: "What is waited for", help: "By code; mysqlha explain CODE.", of: line(`sum by (code) (mysqlha_waits{`+c+`}) > 0`, "{{code}}")},
			}},
			{"Writes and reads", []panel{
				{title: "QPS", unit: "reqps", of: line(`server:mysqlha_questions:rate1m{`+c+`}`, "{{instance}}")},
				{title: "Reads and writes", unit: "reqps", of: [][2]string{{`cluster:mysqlha_reads:rate1m{` + c + `}`, "reads"}, {`cluster:mysqlha_writes:rate1m{` + c + `}`, "writes"}}},
				{title: "Oldest waiting commit", help: "The daemon's own on the open primary.", unit: "s", of: line(`mysqlha_commit_pending_seconds{`+c+`}`, "{{instance}}")},
				{title: "Wait for acknowledgements", help: "Of one commit, in the mean.", unit: "s", of: line(`server:mysqlha_semisync_wait_seconds:mean1m{`+c+`}`, "{{instance}}")},
			}},
			{"Replicas", []panel{
				{title: "Lag", unit: "s", of: line(`mysqlha_replica_lag_seconds{`+c+`}`, "{{instance}}")},
				{title: "Transactions to apply", of: line(`mysqlha_replica_lag_transactions{`+c+`}`, "{{instance}}")},
				{title: "Attached", help: "Replicas that can acknowledge, at the primary.", of: line(`mysqlha_semisync_attached_replicas{`+c+`}`, "{{instance}}")},
				{title: "Errant transactions", of: line(`mysqlha_errant_transactions{`+c+`}`, "{{instance}}")},
			}},
			{"Control", []panel{
				{title: "Probes", help: "How long they take, 99 of 100.", unit: "s", of: line(`histogram_quantile(0.99, sum by (probe, server, le) (rate(mysqlha_probe_duration_seconds_bucket{`+c+`}[1m])))`, "{{probe}} {{server}}")},
				{title: "Failed probes", unit: "reqps", of: line(`sum by (probe, server, kind) (rate(mysqlha_probe_failures_total{`+c+`}[1m])) > 0`, "{{probe}} {{server}} {{kind}}")},
				{title: "Renewals of leases", help: "etcd's latency, 99 of 100.", unit: "s", of: line(`histogram_quantile(0.99, sum by (instance, le) (rate(mysqlha_lease_renewal_seconds_bucket{`+c+`}[1m])))`, "{{instance}}")},
				{title: "Margin of leases", unit: "s", signed: true, of: line(`mysqlha_lease_margin_seconds{`+c+`}`, "{{instance}}")},
				{title: "Refused requests", unit: "reqps", of: line(`sum by (reason) (rate(mysqlha_api_refusals_total{`+c+`}[5m])) > 0`, "{{reason}}")},
			}},
		}},
		{file: "failovers.json", title: "mysqlha: failovers", variables: [][2]string{clusters}, rows: []row{{"What happened", []panel{
			{title: "Term", help: "Each step is a new primary.", of: line(`max(mysqlha_term{`+c+`})`, "term")},
			{title: "Who was open", help: "In which term.", of: line(`mysqlha_open_term{`+c+`}`, "{{instance}}")},
			{title: "Failovers", of: line(`sum by (reason, result) (increase(mysqlha_failovers_total{`+c+`}[5m])) > 0`, "{{reason}}: {{result}}")},
			{title: "Phases", help: "In the mean of those in range.", unit: "s", kind: "bargauge", of: line(`sum by (phase) (increase(mysqlha_failover_phase_seconds_sum{`+c+`}[$__range])) / sum by (phase) (increase(mysqlha_failover_phase_seconds_count{`+c+`}[$__range]))`, "{{phase}}")},
			{title: "Fences", of: line(`sum by (instance, cause) (increase(mysqlha_fences_total{`+c+`}[5m])) > 0`, "{{instance}}: {{cause}}")},
			{title: "Time to fence", help: "95 of 100.", unit: "s", of: line(`histogram_quantile(0.95, sum by (cause, le) (increase(mysqlha_fence_seconds_bucket{`+c+`}[1h])))`, "{{cause}}")},
			{title: "Ways back", of: line(`sum by (instance, way) (increase(mysqlha_rejoins_total{`+c+`}[5m])) > 0`, "{{instance}}: {{way}}")},
			{title: "Sessions that waited at redirectors", of: line(`sum by (port) (mysqlha_redirect_held_connections{`+c+`})`, "{{port}}")},
			{title: "How long they waited", help: "95 of 100.", unit: "s", of: line(`histogram_quantile(0.95, sum by (outcome, le) (increase(mysqlha_redirect_hold_seconds_bucket{`+c+`}[5m])))`, "{{outcome}}")},
			{title: "Late ticks of the leader", unit: "s", of: line(`histogram_quantile(0.99, sum by (le) (rate(mysqlha_leader_tick_late_seconds_bucket{`+c+`}[1m])))`, "99 of 100")},
		}}, {"What it cost the clients", []panel{
			{title: "Without writes", help: "At most, by the heartbeat: from the last that was acknowledged.", unit: "s", of: line(`sum by (instance, cause) (increase(mysqlha_write_unavailability_seconds_sum{`+c+`}[5m])) > 0`, "{{instance}}: {{cause}}")},
			{title: "Sessions ended at servers", help: "By the daemon beside them. Those that end with a mysqld that is killed are not among them.", of: line(`sum by (instance, cause) (increase(mysqlha_sessions_cut_total{`+c+`}[5m])) > 0`, "{{instance}}: {{cause}}")},
			{title: "Sessions cut by redirectors", of: line(`sum by (instance, port, cause) (increase(mysqlha_redirect_sessions_closed_total{`+c+`, `+cut+`}[5m])) > 0`, "{{instance}} {{port}}: {{cause}}")},
			{title: "Connections that waited in vain", help: "They got an error, or gave up.", of: line(`sum by (instance, port, outcome) (increase(mysqlha_redirect_hold_seconds_count{`+c+`, outcome!="connected"}[5m])) > 0`, "{{instance}} {{port}}: {{outcome}}")},
		}}}},
		{file: "redirectors.json", title: "mysqlha: redirectors", variables: [][2]string{clusters, redirectors}, rows: []row{
			{"What applications ask for", []panel{
				{title: "QPS", help: "Of the whole cluster, by server: redirectors do not see statements.", unit: "reqps", of: line(`server:mysqlha_questions:rate1m{`+c+`}`, "{{instance}}")},
				{title: "Reads and writes", unit: "reqps", of: [][2]string{{`cluster:mysqlha_reads:rate1m{` + c + `}`, "reads"}, {`cluster:mysqlha_writes:rate1m{` + c + `}`, "writes"}}},
				{title: "New sessions", help: "Many for the QPS: applications do not keep theirs.", unit: "reqps", of: line(`sum by (instance, port) (rate(mysqlha_redirect_sessions_opened_total{`+r+`}[1m]))`, "{{instance}} {{port}}")},
			}},
			{"Sessions", []panel{
				{title: "Open, by redirector", of: line(`sum by (instance, port) (mysqlha_redirect_sessions{`+r+`})`, "{{instance}} {{port}}")},
				{title: "Open, by server", of: line(`sum by (server, port) (mysqlha_redirect_sessions{`+r+`})`, "{{server}} {{port}}")},
				{title: "Reads at the primary", help: "New sessions of the read port that no replica was fresh enough for.", unit: "reqps", of: line(`rate(mysqlha_redirect_read_fallbacks_total{`+r+`}[1m])`, "{{instance}}")},
				{title: "Ended", unit: "reqps", of: line(`sum by (port, cause) (rate(mysqlha_redirect_sessions_closed_total{`+r+`}[1m])) > 0`, "{{port}}: {{cause}}")},
				{title: "Cut", help: "By redirectors.", of: line(`sum by (instance, port, cause) (increase(mysqlha_redirect_sessions_closed_total{`+r+`, `+cut+`}[5m])) > 0`, "{{instance}} {{port}}: {{cause}}")},
				{title: "Refused", of: line(`sum by (instance, port, reason) (increase(mysqlha_redirect_refused_total{`+r+`}[5m])) > 0`, "{{instance}} {{port}}: {{reason}}")},
			}},
			{"In a failover", []panel{
				{title: "Held", help: "Connections that wait for a server now.", of: line(`mysqlha_redirect_held_connections{`+r+`}`, "{{instance}} {{port}}")},
				{title: "How long they were held", help: "95 of 100.", unit: "s", of: line(`histogram_quantile(0.95, sum by (instance, port, le) (increase(mysqlha_redirect_hold_seconds_bucket{`+r+`, outcome="connected"}[5m])))`, "{{instance}} {{port}}")},
				{title: "Held in vain", help: "They got an error, or gave up.", of: line(`sum by (instance, port, outcome) (increase(mysqlha_redirect_hold_seconds_count{`+r+`, outcome!="connected"}[5m])) > 0`, "{{instance}} {{port}}: {{outcome}}")},
			}},
			{"Hosts", []panel{
				{title: "Bytes of sessions", help: "They are counted when a session ends; see the network for what goes on.", unit: "Bps", of: line(`sum by (instance, direction) (rate(mysqlha_redirect_bytes_total{`+r+`}[5m]))`, "{{instance}} {{direction}}")},
				{title: "Network", unit: "Bps", of: line(`rate(mysqlha_host_network_bytes_total{`+r+`}[1m])`, "{{instance}} {{interface}} {{direction}}")},
				{title: "Processor", unit: "percentunit", of: line(`server:mysqlha_cpu:busy1m{`+r+`}`, "{{instance}}")},
				{title: "Memory", help: "What programs could still get.", unit: "bytes", of: line(`mysqlha_host_memory_bytes{`+r+`, state="available"}`, "{{instance}}")},
				{title: "Pressure", help: "Share of the time in which somebody waited for a processor.", unit: "percentunit", of: line(`rate(mysqlha_host_pressure_seconds_total{`+r+`, resource="cpu", stalled="some"}[1m])`, "{{instance}}")},
				{title: "File descriptors", help: "Of those that the daemon may have; a session takes up to six.", unit: "percentunit", of: line(`process_open_fds{`+r+`} / process_max_fds{`+r+`}`, "{{instance}}")},
			}},
		}},
		{file: "server.json", title: "mysqlha: server", variables: [][2]string{clusters, instances}, rows: []row{
			{"mysqld", []panel{
				{title: "Up", kind: "stat", of: line(`mysqlha_mysqld_up{`+s+`}`, "up")},
				{title: "Statements", unit: "reqps", of: line(`rate(mysqlha_mysqld_statements_total{`+s+`}[1m])`, "{{kind}}")},
				{title: "Slow queries", unit: "reqps", of: line(`rate(mysqlha_mysqld_slow_queries_total{`+s+`}[1m])`, "slow")},
				{title: "Sessions", of: [][2]string{{`mysqlha_mysqld_threads{` + s + `}`, "{{state}}"}, {`mysqlha_mysqld_connections_limit{` + s + `}`, "limit"}}},
				{title: "Failed connections", unit: "reqps", of: [][2]string{{`rate(mysqlha_mysqld_connections_failed_total{` + s + `}[1m])`, "{{reason}}"}, {`rate(mysqlha_mysqld_sessions_aborted_total{` + s + `}[1m])`, "went away"}}},
				{title: "Buffer pool", unit: "bytes", of: line(`mysqlha_mysqld_buffer_pool_bytes{`+s+`}`, "{{state}}")},
				{title: "Pages that had to be read", help: "Of those that were asked for.", unit: "percentunit", of: line(`rate(mysqlha_mysqld_buffer_pool_reads_total{`+s+`, from="disk"}[1m]) / ignoring (from) rate(mysqlha_mysqld_buffer_pool_reads_total{`+s+`, from="pool"}[1m])`, "from disk")},
				{title: "Row locks", help: "Seconds that were waited in each.", unit: "s", of: line(`rate(mysqlha_mysqld_row_lock_wait_seconds_total{`+s+`}[1m])`, "waited")},
				{title: "Rows", unit: "reqps", of: line(`rate(mysqlha_mysqld_rows_total{`+s+`}[1m])`, "{{done}}")},
				{title: "Clients' traffic", unit: "Bps", of: line(`rate(mysqlha_mysqld_network_bytes_total{`+s+`}[1m])`, "{{direction}}")},
				{title: "Data and logs", unit: "bytes", of: line(`mysqlha_data_directory_bytes{`+s+`}`, "{{kind}}")},
			}},
			{"Host", []panel{
				{title: "Processor", unit: "percentunit", of: line(`server:mysqlha_cpu:busy1m{`+s+`}`, "busy")},
				{title: "Memory", unit: "bytes", of: line(`mysqlha_host_memory_bytes{`+s+`}`, "{{state}}")},
				{title: "Volumes", help: "How full they are.", unit: "percentunit", of: line(`1 - mysqlha_host_volume_bytes{`+s+`, state="free"} / ignoring (state) mysqlha_host_volume_bytes{`+s+`, state="size"}`, "{{volume}}")},
				{title: "Latency of disks", unit: "s", of: line(`rate(mysqlha_host_disk_seconds_total{`+s+`}[1m]) / rate(mysqlha_host_disk_operations_total{`+s+`}[1m])`, "{{volume}} {{direction}}")},
				{title: "Traffic of disks", unit: "Bps", of: line(`rate(mysqlha_host_disk_bytes_total{`+s+`}[1m])`, "{{volume}} {{direction}}")},
				{title: "Network", unit: "Bps", of: line(`rate(mysqlha_host_network_bytes_total{`+s+`}[1m])`, "{{interface}} {{direction}}")},
				{title: "Pressure", help: "Share of the time in which somebody waited.", unit: "percentunit", of: line(`rate(mysqlha_host_pressure_seconds_total{`+s+`}[1m])`, "{{resource}} {{stalled}}")},
				{title: "Clock", unit: "s", signed: true, of: line(`mysqlha_host_clock_offset_seconds{`+s+`}`, "off by")},
			}},
		}},
	}
}

// source is the data source that one chooses.
var source = map[string]string{"type": "prometheus", "uid": "${source}"}

// render makes what Grafana imports.
func (d dashboard) render() ([]byte, error) {
	variables := []any{map[string]any{"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}}
	for _, v := range d.variables {
		variable := map[string]any{"name": v[0], "type": "query", "datasource": source, "query": v[1], "refresh": 2, "sort": 1}
		if v[0] == "redirector" {
			variable["multi"], variable["includeAll"], variable["current"] = true, true, map[string]any{"text": []string{"All"}, "value": []string{"$__all"}}
		}
		variables = append(variables, variable)
	}
	var panels []any
	y, id := 0, 0
	for _, r := range d.rows {
		id++
		panels = append(panels, map[string]any{"id": id, "type": "row", "title": r.title, "gridPos": map[string]int{"x": 0, "y": y, "w": 24, "h": 1}})
		y++
		for i, p := range r.panels {
			id++
			panels = append(panels, p.render(id, i%3*8, y+i/3*7))
		}
		y += (len(r.panels) + 2) / 3 * 7
	}
	return json.MarshalIndent(map[string]any{"title": d.title, "uid": strings.NewReplacer(": ", "-").Replace(d.title), "tags": []string{"mysqlha"}, "schemaVersion": 38, "refresh": "5s",
		"time": map[string]string{"from": "now-1h", "to": "now"}, "templating": map[string]any{"list": variables}, "panels": panels}, "", "  ")
}

func (p panel) render(id, x, y int) map[string]any {
	kind := p.kind
	if kind == "" {
		kind = "timeseries"
	}
	var targets []any
	for i, q := range p.of {
		targets = append(targets, map[string]any{"refId": string(rune('A' + i)), "expr": q[0], "legendFormat": q[1], "datasource": source, "instant": kind != "timeseries"})
	}
	defaults := map[string]any{"unit": p.unit}
	if !p.signed {
		defaults["min"] = 0
	}
	return map[string]any{"id": id, "type": kind, "title": p.title, "description": p.help, "datasource": source, "targets": targets,
		"gridPos": map[string]int{"x": x, "y": y, "w": 8, "h": 7}, "fieldConfig": map[string]any{"defaults": defaults, "overrides": []any{}}}
}

func TestTheDashboardsAreWhatIsWritten(t *testing.T) {
	for _, d := range dashboards() {
		text, err := d.render()
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, '\n')
		if *write {
			if err := os.WriteFile(d.file, text, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if have, err := os.ReadFile(d.file); err != nil || string(have) != string(text) {
			t.Errorf("%s is not what is written here: go test ./deploy/grafana -write (%v)", d.file, err)
		}
	}
}

// Prometheus itself judges the queries: as rules, with what Grafana would put in.
func TestEveryQueryIsOne(t *testing.T) {
	known, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	recorded, err := os.ReadFile("../prometheus/mysqlha.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	var rules strings.Builder
	rules.WriteString("groups:\n  - name: queries\n    rules:\n")
	queries := 0
	for _, d := range dashboards() {
		for _, r := range d.rows {
			for _, p := range r.panels {
				for _, q := range p.of {
					queries++
					fmt.Fprintf(&rules, "      - record: q%d\n        expr: %q\n", queries, strings.ReplaceAll(q[0], "$__range", "1h"))
					for _, name := range regexp.MustCompile(`(\w+:)?mysqlha_\w+(:\w+)?`).FindAllString(q[0], -1) {
						bare := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")
						if !strings.Contains(string(known), "| `"+bare+"` |") && !strings.Contains(string(recorded), "record: "+name+"\n") {
							t.Errorf("%s, %s: nobody exports %s", d.title, p.title, name)
						}
					}
				}
			}
		}
	}
	if queries < 40 {
		t.Fatalf("only %d queries", queries)
	}
	checkRules(t, rules.String())
}

// A label or a variable that is not there makes an empty picture, which looks like peace.
func TestQueriesNameOnlyLabelsAndVariablesThatAreThere(t *testing.T) {
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| \\w+ \\| ([\\w, ]*) \\|").FindAllStringSubmatch(string(text), -1) {
		labels[m[1]] = m[2]
	}
	checked := 0
	for _, d := range dashboards() {
		known := []string{"$__range"}
		for _, v := range d.variables {
			known = append(known, "$"+v[0])
		}
		for _, r := range d.rows {
			for _, p := range r.panels {
				for _, q := range p.of {
					for _, variable := range regexp.MustCompile(`\$\w+`).FindAllString(q[0], -1) {
						if !slices.Contains(known, variable) {
							t.Errorf("%s, %s: there is no variable %s", d.title, p.title, variable)
						}
					}
					for _, m := range regexp.MustCompile(`\b(mysqlha_\w+?)(_bucket|_sum|_count)?\{([^}]*)\}`).FindAllStringSubmatch(q[0], -1) {
						for _, matcher := range regexp.MustCompile(`(\w+)[=!]`).FindAllStringSubmatch(m[3], -1) {
							checked++
							if of := append(strings.Split(labels[m[1]], ", "), "cluster", "instance"); !slices.Contains(of, matcher[1]) {
								t.Errorf("%s, %s: %s has no label %s", d.title, p.title, m[1], matcher[1])
							}
						}
					}
				}
			}
		}
	}
	if checked < 100 {
		t.Errorf("only %d labels were looked at", checked)
	}
}
