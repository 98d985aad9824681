package metrics

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// watch is what a daemon does to watch over servers: probes and fences.
type watch struct {
	probes   *prometheus.HistogramVec
	failures *prometheus.CounterVec
	fences   *prometheus.CounterVec
	fencing  *prometheus.HistogramVec
	unproven *prometheus.HistogramVec
	cuts     *prometheus.CounterVec
	rejoins  *prometheus.CounterVec
	unserved *prometheus.HistogramVec
	cloning  prometheus.Histogram
	hooks    *prometheus.CounterVec
	ends     *prometheus.GaugeVec

	mu      sync.Mutex
	servers map[string]bool // those that have series
}

func newWatch() *watch {
	return &watch{
		servers: map[string]bool{},
		probes: histograms("probe_duration_seconds", "Duration of the probes that were answered, by kind of probe and by server.",
			[]float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5}, "probe", "server"),
		failures: counters("probe_failures_total", "Probes that were not answered, by kind of probe, by server and by kind of failure.", "probe", "server", "kind"),
		fences:   counters("fences_total", "How often the local server was fenced, by its daemon or its gate, by cause.", "cause"),
		fencing: histograms("fence_seconds", "How long fencing the local server took, from the decision until it was proven not writable, by cause.",
			[]float64{.005, .01, .025, .05, .1, .2, .4, .8, 1.6, 3.2}, "cause"),
		unproven: histograms("fence_since_proof_seconds", "The time from the last proof that the local server was the primary of the newest term until it was fenced and proven not writable, by cause.",
			[]float64{.25, .5, 1, 2, 3, 4, 5, 6, 7, 8, 10, 15, 30}, "cause"),
		unserved: histograms("write_unavailability_seconds", "For how long nobody is known to have taken writes, by cause: from the last acknowledged heartbeat, one of which is committed every half second, until the local server opened a new term, or acknowledged the next where one was missed. The clocks of two hosts are compared for a new term.",
			[]float64{.1, .2, .3, .4, .5, .6, .7, .8, 1, 1.5, 2, 3, 5, 10, 30, 60, 300}, "cause"),
		cuts:    counters("sessions_cut_total", "Clients' sessions that the local server's daemon ended, by cause. Those that end with a mysqld that is killed are not counted.", "cause"),
		rejoins: counters("rejoins_total", "What was done to let the local server come back with the primary's data, by way: what it had beyond that was rewound, could not be, or was replaced by a clone.", "way"),
		ends:    gauges("certificate_expiry_timestamp_seconds", "When the certificates of this host end, as seconds since 1970, by whose: that of the daemon, host, or mysqld.", "certificate"),
		hooks:   counters("hook_events_total", "Events that this daemon told a hook of, by hook and by result: delivered, or given up after all tries.", "hook", "result"),
		cloning: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: namespace, Name: "clone_seconds",
			Help: "How long building the local server anew as a clone took, mysqld's restart included.", Buckets: []float64{1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600}}),
	}
}

func (w *watch) all() []prometheus.Collector {
	return []prometheus.Collector{w.probes, w.failures, w.fences, w.fencing, w.unproven, w.unserved, w.cuts, w.rejoins, w.cloning, w.hooks, w.ends}
}

// WatchServer makes the metrics of a kind of probe of a server exist before its
// first failure.
func (r *Registry) WatchServer(probe, server string) {
	r.watch.mu.Lock()
	defer r.watch.mu.Unlock()
	r.watch.servers[server] = true
	r.watch.probes.WithLabelValues(probe, server)
	for _, kind := range []decide.Failure{decide.FailureRefused, decide.FailureSilent, decide.FailureBroken} {
		r.watch.failures.WithLabelValues(probe, server, string(kind))
	}
}

// Probed reports a probe: how long it took, and how it failed, FailureNone for
// an answer. The kinds of probe are a closed set of the caller's.
func (r *Registry) Probed(probe, server string, took time.Duration, failure decide.Failure) {
	r.watch.mu.Lock()
	defer r.watch.mu.Unlock()
	r.watch.servers[server] = true
	if failure == decide.FailureNone {
		r.watch.probes.WithLabelValues(probe, server).Observe(took.Seconds())
		return
	}
	r.watch.failures.WithLabelValues(probe, server, string(failure)).Inc()
}

// forget drops the series of all servers but those named.
func (w *watch) forget(but map[string]bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for server := range w.servers {
		if but[server] {
			continue
		}
		w.probes.DeletePartialMatch(prometheus.Labels{"server": server})
		w.failures.DeletePartialMatch(prometheus.Labels{"server": server})
		delete(w.servers, server)
	}
}

// WatchFences makes the metrics of all causes of a fence exist before the first.
func (r *Registry) WatchFences(causes []string) {
	for _, cause := range causes {
		r.watch.fences.WithLabelValues(cause)
		r.watch.fencing.WithLabelValues(cause)
		r.watch.unproven.WithLabelValues(cause)
	}
}

// Fenced reports that the local server was fenced: why, as a closed set of the
// caller's, how long it took, and how long before its end the server was last
// proven to be the primary of the newest term.
func (r *Registry) Fenced(cause string, took, sinceProof time.Duration) {
	r.watch.fences.WithLabelValues(cause).Inc()
	r.watch.fencing.WithLabelValues(cause).Observe(took.Seconds())
	r.watch.unproven.WithLabelValues(cause).Observe(sinceProof.Seconds())
}

// WatchInterruptions makes the metrics of all causes of an interruption of writes exist
// before the first.
func (r *Registry) WatchInterruptions(causes []string) {
	for _, cause := range causes {
		r.watch.unserved.WithLabelValues(cause)
	}
}

// Interrupted reports that nobody is known to have taken writes for a while, and why, as a
// closed set of the caller's.
func (r *Registry) Interrupted(cause string, since, until time.Time) {
	r.watch.unserved.WithLabelValues(cause).Observe(until.Sub(since).Seconds())
}

// WatchCuts makes the metrics of all causes for which sessions are ended exist before the
// first.
func (r *Registry) WatchCuts(causes []string) {
	for _, cause := range causes {
		r.watch.cuts.WithLabelValues(cause)
	}
}

// SessionsCut reports that so many sessions of clients were ended: why, as a closed set of
// the caller's.
func (r *Registry) SessionsCut(cause string, sessions int) {
	r.watch.cuts.WithLabelValues(cause).Add(float64(sessions))
}

// CertificateEnds reports until when a certificate of this host is valid: host or mysqld.
func (r *Registry) CertificateEnds(certificate string, until time.Time) {
	r.watch.ends.WithLabelValues(certificate).Set(float64(until.Unix()))
}

// WatchHook makes the metrics of a hook exist before it is told of anything.
func (r *Registry) WatchHook(hook string) {
	for _, result := range []string{resultDelivered, resultGivenUp} {
		r.watch.hooks.WithLabelValues(hook, result)
	}
}

// Hooked reports that a hook was told of an event, or that this was given up.
func (r *Registry) Hooked(hook string, delivered bool) {
	result := resultGivenUp
	if delivered {
		result = resultDelivered
	}
	r.watch.hooks.WithLabelValues(hook, result).Inc()
}

// The results of telling a hook.
const (
	resultDelivered = "delivered"
	resultGivenUp   = "given up"
)

// WatchRejoins makes the metrics of all ways back exist before the first.
func (r *Registry) WatchRejoins(ways []string) {
	for _, way := range ways {
		r.watch.rejoins.WithLabelValues(way)
	}
}

// Rejoined reports what was done to let the local server come back, as a closed
// set of the caller's.
func (r *Registry) Rejoined(way string) { r.watch.rejoins.WithLabelValues(way).Inc() }

// Cloned reports how long a clone took.
func (r *Registry) Cloned(took time.Duration) { r.watch.cloning.Observe(took.Seconds()) }
