package metrics

import (
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// The bounds of GET /metrics.
const (
	scrapes       = 4
	scrapeTimeout = 10 * time.Second
)

// Registry holds the metrics of one daemon.
type Registry struct {
	prometheus *prometheus.Registry
	cluster    *cluster
	server     *server
	watch      *watch
	redirect   *redirect
	api        *endpoint
	mysqld     *mysqld
	host       *hostMetrics
}

// New returns the metrics of a daemon of that version. What has closed sets of
// labels begins at zero, so that the first failover shows as an increase.
func New(version string) *Registry {
	r := &Registry{prometheus: prometheus.NewRegistry()}
	build := gauges("build_info", "Always 1; the labels say which build of the daemon runs.", "version", "goversion")
	build.WithLabelValues(version, runtime.Version()).Set(1)
	r.prometheus.MustRegister(build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	r.cluster, r.server, r.watch, r.redirect = newCluster(), newServer(), newWatch(), newRedirect()
	r.api, r.mysqld, r.host = newEndpoint(), newMysqld(), newHost()
	for _, group := range [][]prometheus.Collector{r.cluster.all(), {r.server.role}, r.watch.all(), r.redirect.all(), r.api.all(), {r.mysqld, r.host}} {
		r.prometheus.MustRegister(group...)
	}
	return r
}

// Handler serves the metrics in the formats that Prometheus asks for.
func (r *Registry) Handler() http.Handler {
	return promhttp.HandlerFor(r.prometheus, promhttp.HandlerOpts{
		MaxRequestsInFlight: scrapes, Timeout: scrapeTimeout, EnableOpenMetrics: true,
	})
}

// Gatherer returns the metrics for tests and for those that embed a daemon.
func (r *Registry) Gatherer() prometheus.Gatherer { return r.prometheus }

const namespace = "mysqlha"

func gauge(name, help string) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help})
}

func gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help})
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

func histograms(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets}, labels)
}
