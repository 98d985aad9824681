package metrics_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"

	"github.com/mysqlha/mysqlha/member"
	"github.com/mysqlha/mysqlha/metrics"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/redirect"
)

type observer = metrics.RedirectObserver[redirect.Port, redirect.Cause, redirect.HoldOutcome, redirect.RefuseReason]

var _ redirect.Observer = observer{}

// busy is a registry in which everything has been reported once.
func busy() *metrics.Registry {
	r := metrics.New("v1.2.3")
	r.WatchLocal()
	r.WatchElection()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r.SetRecord(&decide.Record{Term: 7, Servers: []decide.Server{{Name: "db1"}, {Name: "db2"}, {Name: "db3"}}, InSync: []string{"db2", "db3"}, RequiredAcks: 1, Durability: decide.DurabilityAvailable, Suspended: true, Plan: &decide.Plan{Kind: decide.PlanRemove}})
	r.SetPaused(true)
	r.SetLeader(true)
	r.SetRole("primary")
	r.SetErrant(2)
	r.SetWaits([]decide.Wait{{Code: decide.CodeServerDown, Server: "db2"}, {Code: decide.CodeServerDown, Server: "db3"}})
	r.FailoverEnded(decide.History{Result: "completed", Plan: decide.Plan{Kind: decide.PlanFailover, Reason: decide.ReasonSilent, Marks: []decide.Mark{
		{Name: "revoke", At: at}, {Name: "promote", At: at.Add(40 * time.Millisecond)},
		{Name: "open", At: at.Add(140 * time.Millisecond)}, {Name: "done", At: at.Add(240 * time.Millisecond)},
	}}})
	r.FailoverEnded(decide.History{Result: "abandoned: db1 is back", Plan: decide.Plan{Kind: decide.PlanFailover, Reason: decide.ReasonSilent}})
	r.FailoverEnded(decide.History{Result: "completed", Plan: decide.Plan{Kind: decide.PlanRemove, Reason: decide.ReasonReplicaAbsent}})
	r.LeaseRenewed(time.Now().Add(-time.Second), time.Hour)
	r.LeaseLost(errors.New("timed out"))
	r.SetLive(decide.Live{Answers: true, OpenTerm: 7, CommitAge: 250 * time.Millisecond, LagTransactions: 3, Attached: 2, Disk: decide.Disk{Free: 3000, Data: 2000, Logs: 1000}})
	r.WatchServer("sql", "db2")
	r.Probed("sql", "db2", time.Millisecond, decide.FailureNone)
	r.Probed("sql", "db2", time.Second, decide.FailureSilent)
	r.LeaderTicked(30 * time.Millisecond)
	r.WatchFences([]string{"hung"})
	r.WatchRejoins([]string{"cloned"})
	r.Rejoined("rewound")
	r.WatchCuts(member.Cuts())
	r.SessionsCut(member.CutIdle, 12)
	r.SessionsCut(member.CutIdle, 30)
	r.Cloned(9 * time.Second)
	r.WatchHook("pager")
	r.Hooked("pager", true)
	r.CertificateEnds("host", at.Add(90*24*time.Hour))
	r.WatchRefusals([]string{"not-found"})
	r.WatchPaths([]string{"/cluster"})
	r.API().Requested("/cluster", 200)
	r.API().Refused("not-found")
	r.Fenced("no proof", 20*time.Millisecond, 5*time.Second)
	r.WatchInterruptions([]string{"new-term"})
	r.Interrupted("new-term", time.Unix(100, 0), time.Unix(100, 400e6))
	o := metrics.NewRedirectObserver[redirect.Port, redirect.Cause, redirect.HoldOutcome, redirect.RefuseReason](r)
	o.SessionOpened(redirect.WritePort, "db1")
	o.SessionOpened(redirect.WritePort, "db1")
	o.SessionClosed(redirect.WritePort, "db1", 10, 20, redirect.CauseNewTerm)
	o.Held(redirect.WritePort)
	o.Held(redirect.WritePort)
	o.HoldEnded(redirect.WritePort, time.Second, redirect.HoldConnected)
	o.Refused(redirect.ReadPort, redirect.RefusedMaxSessions)
	o.ReadFellBack()
	r.ReadMysqld(func(_ context.Context, status, variables []string) (map[string]float64, error) {
		figures := map[string]float64{}
		for i, name := range status {
			figures[name] = float64(i)
		}
		for i, name := range variables {
			figures["@"+name] = float64(i)
		}
		return figures, nil
	})
	r.WatchHost(map[string]string{"data": os.TempDir()})
	return r
}

func TestMetricsPassTheLint(t *testing.T) {
	families, err := busy().Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	for _, f := range families {
		told[f.GetName()] = true
		if len(f.GetHelp()) < 10 {
			t.Errorf("%s has the help %q", f.GetName(), f.GetHelp())
		}
	}
	for _, e := range entries(t) {
		if told[e.name] {
			continue
		}
		if !strings.HasPrefix(e.name, "mysqlha_host_") {
			t.Errorf("%s is not looked at: busy does not report it", e.name)
		}
		families = append(families, asDescribed(e)) // This machine's kernel does not tell it.
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// asDescribed is a metric as it would be told.
func asDescribed(e entry) *dto.MetricFamily {
	kind := dto.MetricType(dto.MetricType_value[strings.ToUpper(e.kind)])
	one := &dto.Metric{Gauge: &dto.Gauge{Value: new(float64)}}
	if kind == dto.MetricType_COUNTER {
		one = &dto.Metric{Counter: &dto.Counter{Value: new(float64)}}
	}
	for label := range strings.SplitSeq(e.labels, ", ") {
		if label != "" {
			one.Label = append(one.Label, &dto.LabelPair{Name: &label, Value: new(string)})
		}
	}
	return &dto.MetricFamily{Name: &e.name, Help: &e.help, Type: &kind, Metric: []*dto.Metric{one}}
}

func TestFailoversExistBeforeTheFirst(t *testing.T) {
	want := "# HELP mysqlha_failovers_total Failovers that ended while this daemon led, by the reason they were opened for and by result.\n# TYPE mysqlha_failovers_total counter\n"
	for _, reason := range decide.FailoverReasons() {
		for _, result := range []string{"completed", "abandoned"} {
			want += `mysqlha_failovers_total{reason="` + string(reason) + `",result="` + result + "\"} 0\n"
		}
	}
	if err := testutil.GatherAndCompare(metrics.New("x").Gatherer(), strings.NewReader(want), "mysqlha_failovers_total"); err != nil {
		t.Error(err)
	}
}

func TestAPortOfARedirectorIsThereBeforeTheFirstSession(t *testing.T) {
	r := metrics.New("x")
	if strings.Contains(scrape(t, r), `port="`) {
		t.Error("a host without a redirector has a port")
	}
	metrics.NewRedirectObserver[redirect.Port, redirect.Cause, redirect.HoldOutcome, redirect.RefuseReason](r).
		Watch(redirect.WritePort, redirect.Causes(), redirect.HoldOutcomes(), redirect.RefuseReasons())
	text := scrape(t, r)
	for _, line := range []string{`mysqlha_redirect_sessions_closed_total{cause="new_term",port="write"}`, `mysqlha_redirect_hold_seconds_count{outcome="expired",port="write"}`,
		`mysqlha_redirect_refused_total{port="write",reason="crowd"}`, `mysqlha_redirect_held_connections{port="write"}`, `mysqlha_redirect_bytes_total{direction="up",port="write"}`} {
		if !strings.Contains(text, "\n"+line+" 0\n") {
			t.Errorf("there is no line %s 0", line)
		}
	}
	if strings.Contains(text, `port="read"`) {
		t.Error("a port that is not there has series")
	}
}

func TestAHostWithoutAServerHasNoMetricsOfOne(t *testing.T) {
	r := metrics.New("x")
	r.SetRole("none")
	for _, without := range []string{"mysqlha_mysqld_up ", "mysqlha_open_term ", "mysqlha_leader ", "mysqlha_lease_margin_seconds "} {
		if text := scrape(t, r); strings.Contains(text, without) {
			t.Errorf("there is %s, by which the server that is not there would be down", without)
		}
	}
	r.WatchLocal()
	r.WatchElection()
	for _, with := range []string{"mysqlha_mysqld_up 0", "mysqlha_open_term 0", "mysqlha_leader 0", "mysqlha_lease_margin_seconds NaN"} {
		if !strings.Contains(scrape(t, r), "\n"+with+"\n") {
			t.Errorf("there is no line %s before the first report", with)
		}
	}
}

func TestEachReportIsShown(t *testing.T) {
	r := busy()
	text := scrape(t, r)
	for _, line := range []string{
		`mysqlha_term 7`, `mysqlha_paused 1`, `mysqlha_leader 1`, `mysqlha_in_sync_replicas 2`, `mysqlha_servers 3`, `mysqlha_required_acks 1`,
		`mysqlha_open_plan{kind="remove"} 1`, `mysqlha_open_plan{kind="failover"} 0`,
		`mysqlha_role{role="primary"} 1`, `mysqlha_role{role="none"} 0`,
		`mysqlha_waits{code="server-down"} 2`,
		`mysqlha_failovers_total{reason="silent",result="completed"} 1`, `mysqlha_failovers_total{reason="silent",result="abandoned"} 1`,
		`mysqlha_failover_phase_seconds_count{phase="revoke"} 1`, `mysqlha_failover_phase_seconds_sum{phase="total"} 0.24`,
		`mysqlha_lease_renewals_total{result="failed"} 1`, `mysqlha_lease_renewal_seconds_bucket{le="2.5"} 1`, `mysqlha_lease_renewal_seconds_bucket{le="0.5"} 0`, `mysqlha_lease_margin_seconds 359`,
		`mysqlha_durability{promise="available"} 1`, `mysqlha_durability{promise="async"} 0`, `mysqlha_suspended 1`, `mysqlha_errant_transactions 2`,
		`mysqlha_replica_lag_seconds NaN`, `mysqlha_replica_lag_transactions 3`, `mysqlha_commit_age_seconds 0.25`,
		`mysqlha_probe_duration_seconds_count{probe="sql",server="db2"} 1`,
		`mysqlha_probe_failures_total{kind="silent",probe="sql",server="db2"} 1`, `mysqlha_probe_failures_total{kind="refused",probe="sql",server="db2"} 0`,
		`mysqlha_fences_total{cause="no proof"} 1`, `mysqlha_fence_seconds_count{cause="no proof"} 1`, `mysqlha_fence_since_proof_seconds_sum{cause="no proof"} 5`, `mysqlha_fences_total{cause="hung"} 0`, `mysqlha_rejoins_total{way="rewound"} 1`, `mysqlha_rejoins_total{way="cloned"} 0`, `mysqlha_clone_seconds_sum 9`, `mysqlha_leader_tick_late_seconds_bucket{le="0.05"} 1`,
		`mysqlha_sessions_cut_total{cause="switchover_idle"} 42`, `mysqlha_sessions_cut_total{cause="fence"} 0`,
		`mysqlha_redirect_sessions{port="write",server="db1"} 1`, `mysqlha_redirect_sessions_opened_total{port="write",server="db1"} 2`,
		`mysqlha_redirect_sessions_closed_total{cause="new_term",port="write"} 1`, `mysqlha_redirect_bytes_total{direction="down",port="write"} 20`,
		`mysqlha_redirect_held_connections{port="write"} 1`, `mysqlha_redirect_hold_seconds_count{outcome="connected",port="write"} 1`,
		`mysqlha_redirect_refused_total{port="read",reason="max_sessions"} 1`, `mysqlha_redirect_read_fallbacks_total 1`,
		`mysqlha_disk_free_bytes 3000`, `mysqlha_data_directory_bytes{kind="logs"} 1000`, `mysqlha_hook_events_total{hook="pager",result="delivered"} 1`, `mysqlha_hook_events_total{hook="pager",result="given up"} 0`,
		`mysqlha_api_requests_total{code="200",path="/cluster"} 1`, `mysqlha_api_refusals_total{reason="not-found"} 1`, `mysqlha_certificate_expiry_timestamp_seconds{certificate="host"} 1.77`,
		`mysqlha_build_info{goversion=`, `go_goroutines `, `process_open_fds `,
	} {
		if !strings.Contains(text, "\n"+line) {
			t.Errorf("there is no line %s", line)
		}
	}
	if strings.Contains(text, "replica absent") {
		t.Error("a removal counts as a failover")
	}
}

func TestWhatIsOverGoesToZero(t *testing.T) {
	r := busy()
	r.SetRecord(nil)
	r.SetWaits(nil)
	r.SetLive(decide.Live{LagKnown: true, Lag: 2 * time.Second})
	text := scrape(t, r)
	for _, line := range []string{`mysqlha_term 0`, `mysqlha_open_plan{kind="remove"} 0`, `mysqlha_waits{code="server-down"} 0`,
		`mysqlha_replica_lag_seconds 2`, `mysqlha_commit_age_seconds NaN`, `mysqlha_mysqld_up 0`} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("there is no line %s", line)
		}
	}
}

func scrape(t *testing.T, r *metrics.Registry) string {
	t.Helper()
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("got %d", w.Code)
	}
	return w.Body.String()
}
