package metrics_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/member"
	"github.com/mysqlha/mysqlha/metrics"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/redirect"
)

const (
	// seriesOfServer is what one more server may add: two kinds of probe, each with a
	// histogram (12 buckets, +Inf, sum and count) and three kinds of failure, and two
	// ports, each with the sessions that are open and those that were opened.
	seriesOfServer = 2*(12+3+3) + 2*2
	// seriesOfDaemon is what a daemon may have whatever the size of its cluster. It is a
	// quarter more than there are, for what comes yet; closed sets of labels alone make it up.
	seriesOfDaemon = 1400
	// mostBytes is how large a scrape may be, before compression.
	mostBytes = 300_000
	// manyServers is a large cluster, longestName as long as a server's may be.
	manyServers = 50
	longestName = 22
)

// The formats that Prometheus asks for.
var formats = map[string]string{
	"OpenMetrics": "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
	"text":        "text/plain;version=0.0.4",
}

// paths are as many as the endpoint answers, and as long.
var paths = func() (all []string) {
	for i := range 45 {
		all = append(all, fmt.Sprintf("/v1/certificates/number-%02d", i))
	}
	return all
}()

func names(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("%0*d", longestName, i))
	}
	return all
}

func cluster(names []string) *decide.Record {
	r := &decide.Record{Term: math.MaxUint32, Durability: decide.DurabilityLossless, RequiredAcks: 2, InSync: names}
	for _, name := range names {
		r.Servers = append(r.Servers, decide.Server{Name: name})
	}
	return r
}

// strain reports all that a leader beside a primary and a redirector of a cluster with n
// servers has to report, with every value of each label.
func strain(r *metrics.Registry, n int) {
	all := names(n)
	r.WatchLocal()
	r.WatchElection()
	r.SetRecord(cluster(all))
	r.SetLeader(true)
	r.WatchRefusals(api.Refusals())
	r.WatchPaths(paths)
	r.WatchFences(member.Causes())
	r.WatchRejoins(member.Ways())
	r.WatchCuts(member.Cuts())
	r.WatchInterruptions(member.InterruptionCauses())
	var waits []decide.Wait
	for _, entry := range decide.Catalogue() {
		waits = append(waits, decide.Wait{Code: entry.Code})
	}
	r.SetWaits(waits)
	for _, path := range append(paths, "") {
		for _, status := range []int{200, 202, 400, 401, 403, 404, 405, 409, 413, 503} {
			r.API().Requested(path, status)
		}
	}
	for i := range 8 {
		r.WatchHook(fmt.Sprintf("hook-%0*d", longestName-5, i))
	}
	r.CertificateEnds("host", time.Now())
	r.CertificateEnds("mysqld", time.Now())
	r.LeaseRenewed(time.Now(), time.Hour)
	r.LeaseLost(errors.New("timed out"))
	r.SetLive(decide.Live{Answers: true, Disk: decide.Disk{Free: 1 << 40, Data: 1 << 40, Logs: 1 << 40}, Clone: decide.CloneProgress{Done: 1 << 40, Total: 1 << 40}})
	o := metrics.NewRedirectObserver[redirect.Port, redirect.Cause, redirect.HoldOutcome, redirect.RefuseReason](r)
	for _, port := range []redirect.Port{redirect.WritePort, redirect.ReadPort} {
		o.Watch(port, redirect.Causes(), redirect.HoldOutcomes(), redirect.RefuseReasons())
		for _, name := range all {
			o.SessionOpened(port, name)
		}
	}
	for _, name := range all {
		for _, kind := range []string{"sql", "daemon"} {
			r.WatchServer(kind, name)
			for i := range 1000 { // Counts have several digits.
				r.Probed(kind, name, time.Duration(i)*time.Microsecond, decide.FailureNone)
			}
			r.Probed(kind, name, time.Second, decide.FailureSilent)
		}
	}
	r.ReadMysqld(func(_ context.Context, status, variables []string) (map[string]float64, error) {
		figures := map[string]float64{}
		for _, name := range status {
			figures[name] = 1 << 50
		}
		for _, name := range variables {
			figures["@"+name] = 1 << 50
		}
		return figures, nil
	})
}

// series counts those of a registry. The host's are left out: how many interfaces and
// disks a host has is not the cluster's doing, and they are bounded by themselves.
func series(t *testing.T, r *metrics.Registry) int {
	t.Helper()
	n := 0
	for line := range strings.Lines(scrape(t, r)) {
		if !strings.HasPrefix(line, "#") {
			n++
		}
	}
	return n
}

func TestALargeClusterHasSmallScrapes(t *testing.T) {
	r := metrics.New("v1.2.3")
	strain(r, manyServers)
	r.WatchHost(map[string]string{"data": "/", "binlog": "/"})
	for name, accept := range formats {
		request := httptest.NewRequest("GET", "/metrics", nil)
		request.Header.Set("Accept", accept)
		w := httptest.NewRecorder()
		r.Handler().ServeHTTP(w, request)
		if kind, open := w.Header().Get("Content-Type"), name == "OpenMetrics"; w.Code != 200 || strings.Contains(kind, "openmetrics") != open {
			t.Errorf("%s: got %d, %s", name, w.Code, kind)
		}
		t.Logf("%s: %d bytes", name, w.Body.Len())
		if w.Body.Len() > mostBytes {
			t.Errorf("%s: a scrape has %d bytes", name, w.Body.Len())
		}
	}
}

func TestSeriesGrowWithTheServersAndWithNothingElse(t *testing.T) {
	count := func(n int) int {
		r := metrics.New("v1.2.3")
		strain(r, n)
		return series(t, r)
	}
	one, two, many := count(1), count(2), count(manyServers)
	t.Logf("1 server: %d series, 2: %d, %d: %d", one, two, manyServers, many)
	if of := two - one; of > seriesOfServer || many-one != of*(manyServers-1) {
		t.Errorf("a second server adds %d series, %d more add %d", of, manyServers-1, many-one)
	}
	if one > seriesOfDaemon+seriesOfServer {
		t.Errorf("a cluster of one server has %d series", one)
	}
}

func TestAServerThatHasLeftHasNoSeries(t *testing.T) {
	r := metrics.New("v1.2.3")
	strain(r, 3)
	o := metrics.NewRedirectObserver[redirect.Port, redirect.Cause, redirect.HoldOutcome, redirect.RefuseReason](r)
	all := names(3)
	left := all[2]
	r.SetRecord(cluster(all[:2]))
	if text := scrape(t, r); strings.Contains(text, `mysqlha_probe_failures_total{kind="silent",probe="sql",server="`+left) || strings.Contains(text, `mysqlha_probe_duration_seconds_count{probe="daemon",server="`+left) {
		t.Error("its probes are still there")
	} else if !strings.Contains(text, `mysqlha_redirect_sessions{port="write",server="`+left+`"} 1`) {
		t.Error("a session that is still open is not told")
	}
	r.Probed("sql", left, time.Second, decide.FailureSilent) // An answer that comes late.
	for _, port := range []redirect.Port{redirect.WritePort, redirect.ReadPort} {
		o.SessionClosed(port, left, 1, 2, redirect.CauseNewTerm)
	}
	r.SetRecord(cluster(all[:2]))
	for line := range strings.Lines(scrape(t, r)) {
		if strings.Contains(line, left) {
			t.Errorf("there is still %s", line)
		}
	}
	for _, stays := range all[:2] {
		if n := strings.Count(scrape(t, r), `server="`+stays+`"`); n != seriesOfServer {
			t.Errorf("%s, which has stayed, has %d series", stays, n)
		}
	}
	r.SetRecord(nil) // Etcd was not read yet: that says of nobody that it has left.
	if n := strings.Count(scrape(t, r), `server="`+all[0]+`"`); n != seriesOfServer {
		t.Errorf("without a record %s has %d series", all[0], n)
	}
}

func TestWhoAsksMakesNoSeries(t *testing.T) {
	r := metrics.New("v1.2.3")
	strain(r, 3)
	r.API().Refused("something new")
	before := series(t, r)
	for i := range 1000 {
		r.API().Requested(fmt.Sprintf("/v1/%d", i), 404)
		r.API().Refused(fmt.Sprintf("reason %d", i))
	}
	if after := series(t, r); after != before {
		t.Errorf("%d series have become %d", before, after)
	}
	text := scrape(t, r)
	for _, line := range []string{`mysqlha_api_requests_total{code="404",path=""} 1001`, `mysqlha_api_refusals_total{reason="other"} 1001`} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("there is no line %s", line)
		}
	}
}

// What bounds the values of each label: a set in the code, unless it says otherwise.
var bounds = map[string]string{
	"server": "the record's servers", "hook": "the configuration", "volume": "two", "interface": "mostInterfaces", "path": "the endpoint's paths", "code": "statuses and the catalogue",
	"reason": "", "result": "", "phase": "", "kind": "", "promise": "", "role": "", "probe": "", "cause": "", "way": "", "certificate": "", "port": "", "direction": "", "outcome": "",
	"mode": "", "state": "", "resource": "", "stalled": "", "where": "", "from": "", "done": "", "acknowledged": "", "version": "", "goversion": "",
}

// A label for addresses, users, GTIDs or statements would be one without a bound.
func TestEveryLabelIsBounded(t *testing.T) {
	seen := map[string]bool{}
	for _, e := range entries(t) {
		for _, label := range strings.Split(e.labels, ", ") {
			seen[label] = true
			if _, known := bounds[label]; label != "" && !known {
				t.Errorf("%s has the label %q: what bounds its values?", e.name, label)
			}
		}
	}
	for label := range bounds {
		if !seen[label] {
			t.Errorf("no metric has the label %q", label)
		}
	}
}
