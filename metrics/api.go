package metrics

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// endpoint is what happens at the HTTPS endpoint. It is told of it as an observer of the
// api package.
type endpoint struct {
	requests *prometheus.CounterVec
	refusals *prometheus.CounterVec
}

func newEndpoint() *endpoint {
	return &endpoint{
		requests: counters("api_requests_total", "Requests that the HTTPS endpoint answered, by path, empty for one that does not exist, and by status.", "path", "code"),
		refusals: counters("api_refusals_total", "What the HTTPS endpoint refused, by reason: to whom it was not for, or in the wrong form.", "reason"),
	}
}

func (e *endpoint) all() []prometheus.Collector {
	return []prometheus.Collector{e.requests, e.refusals}
}

// Requested counts an answer.
func (e *endpoint) Requested(path string, status int) {
	e.requests.WithLabelValues(path, strconv.Itoa(status)).Inc()
}

// Refused counts a refusal.
func (e *endpoint) Refused(reason string) { e.refusals.WithLabelValues(reason).Inc() }

// WatchRefusals makes the metrics of all reasons exist before the first.
func (r *Registry) WatchRefusals(reasons []string) {
	for _, reason := range reasons {
		r.api.refusals.WithLabelValues(reason)
	}
}

// Observer is told of what happens at the HTTPS endpoint.
type Observer interface {
	Requested(path string, status int)
	Refused(reason string)
}

// API returns who counts what happens at the HTTPS endpoint.
func (r *Registry) API() Observer { return r.api }
