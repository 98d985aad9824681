package metrics

import (
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// endpoint is what happens at the HTTPS endpoint. It is told of it as an observer of the
// api package.
type endpoint struct {
	requests *prometheus.CounterVec
	refusals *prometheus.CounterVec
	// paths and reasons are those that have series of their own. Whoever asks chooses the
	// words, so no other makes one.
	paths, reasons closedSet
}

// closedSet is which values a label may have.
type closedSet struct {
	mu     sync.RWMutex
	values map[string]bool
}

func (c *closedSet) add(values []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.values == nil {
		c.values = map[string]bool{}
	}
	for _, v := range values {
		c.values[v] = true
	}
}

// or returns a value of the set, and for another one what stands for all others.
func (c *closedSet) or(value, other string) string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.values[value] {
		return value
	}
	return other
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
	e.requests.WithLabelValues(e.paths.or(path, ""), strconv.Itoa(status)).Inc()
}

// Refused counts a refusal.
func (e *endpoint) Refused(reason string) {
	e.refusals.WithLabelValues(e.reasons.or(reason, otherReason)).Inc()
}

// otherReason stands for refusals for which nobody watches.
const otherReason = "other"

// WatchPaths names the paths whose requests are counted by themselves; all others count
// as the empty one.
func (r *Registry) WatchPaths(paths []string) { r.api.paths.add(paths) }

// WatchRefusals makes the metrics of all reasons exist before the first.
func (r *Registry) WatchRefusals(reasons []string) {
	r.api.reasons.add(reasons)
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
