package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// watch is what a daemon does to watch over servers: probes and fences.
type watch struct {
	probes   *prometheus.HistogramVec
	failures *prometheus.CounterVec
	fences   *prometheus.CounterVec
	fencing  prometheus.Histogram
}

func newWatch() *watch {
	return &watch{
		probes: histograms("probe_duration_seconds", "Duration of the probes that were answered, by kind of probe and by server.",
			[]float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5}, "probe", "server"),
		failures: counters("probe_failures_total", "Probes that were not answered, by kind of probe, by server and by kind of failure.", "probe", "server", "kind"),
		fences:   counters("fences_total", "How often the daemon fenced the local server, by cause.", "cause"),
		fencing: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: namespace, Name: "fence_seconds",
			Help:    "How long fencing the local server took, until it refused clients or was dead.",
			Buckets: []float64{.005, .01, .025, .05, .1, .2, .4, .8, 1.6, 3.2}}),
	}
}

func (w *watch) all() []prometheus.Collector {
	return []prometheus.Collector{w.probes, w.failures, w.fences, w.fencing}
}

// WatchServer makes the metrics of a kind of probe of a server exist before its
// first failure.
func (r *Registry) WatchServer(probe, server string) {
	r.watch.probes.WithLabelValues(probe, server)
	for _, kind := range []decide.Failure{decide.FailureRefused, decide.FailureSilent, decide.FailureBroken} {
		r.watch.failures.WithLabelValues(probe, server, string(kind))
	}
}

// Probed reports a probe: how long it took, and how it failed, FailureNone for
// an answer. The kinds of probe are a closed set of the caller's.
func (r *Registry) Probed(probe, server string, took time.Duration, failure decide.Failure) {
	if failure == decide.FailureNone {
		r.watch.probes.WithLabelValues(probe, server).Observe(took.Seconds())
		return
	}
	r.watch.failures.WithLabelValues(probe, server, string(failure)).Inc()
}

// Fenced reports that the local server was fenced: why, as a closed set of the
// caller's, and how long it took.
func (r *Registry) Fenced(cause string, took time.Duration) {
	r.watch.fences.WithLabelValues(cause).Inc()
	r.watch.fencing.Observe(took.Seconds())
}
