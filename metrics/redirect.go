package metrics

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// redirect is what goes through the redirector.
type redirect struct {
	sessions  *prometheus.GaugeVec
	opened    *prometheus.CounterVec
	closed    *prometheus.CounterVec
	bytes     *prometheus.CounterVec
	held      *prometheus.GaugeVec
	holds     *prometheus.HistogramVec
	refused   *prometheus.CounterVec
	fallbacks prometheus.Counter

	mu   sync.Mutex
	open map[string]int // sessions of each server that has series
}

func newRedirect() *redirect {
	r := &redirect{
		open:     map[string]int{},
		sessions: gauges("redirect_sessions", "Sessions that are open, by port and by server.", "port", "server"),
		opened:   counters("redirect_sessions_opened_total", "Sessions that were opened, by port and by server.", "port", "server"),
		closed:   counters("redirect_sessions_closed_total", "Sessions that ended, by port and by cause.", "port", "cause"),
		bytes:    counters("redirect_bytes_total", "Bytes of sessions that have ended, by port and direction; up is from client to server.", "port", "direction"),
		held:     gauges("redirect_held_connections", "Connections that wait for a server, by port.", "port"),
		holds: histograms("redirect_hold_seconds", "How long connections waited for a server, by port and by how the wait ended.",
			[]float64{.005, .01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}, "port", "outcome"),
		refused:   counters("redirect_refused_total", "Connections that were turned away at once, by port and by reason.", "port", "reason"),
		fallbacks: counter("redirect_read_fallbacks_total", "Sessions of the read port that were opened with the primary."),
	}
	return r
}

func (r *redirect) all() []prometheus.Collector {
	return []prometheus.Collector{r.sessions, r.opened, r.closed, r.bytes, r.held, r.holds, r.refused, r.fallbacks}
}

// forget drops the series of all servers but those named, and those with which a session
// is open yet: what it counts at its end must be there.
func (r *redirect) forget(but map[string]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for server, open := range r.open {
		if but[server] || open > 0 {
			continue
		}
		r.sessions.DeletePartialMatch(prometheus.Labels{"server": server})
		r.opened.DeletePartialMatch(prometheus.Labels{"server": server})
		delete(r.open, server)
	}
}

// RedirectObserver counts for a redirector. Its type parameters are the
// redirector's own words for port, cause of an end, outcome of a hold and
// reason of a refusal, so that it fulfils the redirector's interface without
// this package importing it.
type RedirectObserver[Port, Cause, Outcome, Reason ~string] struct{ metrics *redirect }

// NewRedirectObserver returns an observer that counts into the registry.
func NewRedirectObserver[Port, Cause, Outcome, Reason ~string](r *Registry) RedirectObserver[Port, Cause, Outcome, Reason] {
	return RedirectObserver[Port, Cause, Outcome, Reason]{r.redirect}
}

// Watch makes the metrics of a port exist before the first: of each way in which a session
// may end, a wait may end, and a connection may be refused.
func (o RedirectObserver[Port, Cause, Outcome, Reason]) Watch(port Port, causes []Cause, outcomes []Outcome, reasons []Reason) {
	r, p := o.metrics, string(port)
	r.held.WithLabelValues(p)
	r.bytes.WithLabelValues(p, "up")
	r.bytes.WithLabelValues(p, "down")
	for _, cause := range causes {
		r.closed.WithLabelValues(p, string(cause))
	}
	for _, outcome := range outcomes {
		r.holds.WithLabelValues(p, string(outcome))
	}
	for _, reason := range reasons {
		r.refused.WithLabelValues(p, string(reason))
	}
}

// SessionOpened counts a session with a server that began.
func (o RedirectObserver[Port, Cause, Outcome, Reason]) SessionOpened(port Port, server string) {
	o.metrics.mu.Lock()
	defer o.metrics.mu.Unlock()
	o.metrics.open[server]++
	o.metrics.opened.WithLabelValues(string(port), server).Inc()
	o.metrics.sessions.WithLabelValues(string(port), server).Inc()
}

// SessionClosed counts its end and its bytes.
func (o RedirectObserver[Port, Cause, Outcome, Reason]) SessionClosed(port Port, server string, bytesUp, bytesDown int64, cause Cause) {
	o.metrics.mu.Lock()
	o.metrics.open[server]--
	o.metrics.sessions.WithLabelValues(string(port), server).Dec()
	o.metrics.mu.Unlock()
	o.metrics.closed.WithLabelValues(string(port), string(cause)).Inc()
	o.metrics.bytes.WithLabelValues(string(port), "up").Add(float64(bytesUp))
	o.metrics.bytes.WithLabelValues(string(port), "down").Add(float64(bytesDown))
}

// Held counts a connection that has to wait.
func (o RedirectObserver[Port, Cause, Outcome, Reason]) Held(port Port) {
	o.metrics.held.WithLabelValues(string(port)).Inc()
}

// HoldEnded counts how long it waited and what came of it.
func (o RedirectObserver[Port, Cause, Outcome, Reason]) HoldEnded(port Port, held time.Duration, outcome Outcome) {
	o.metrics.held.WithLabelValues(string(port)).Dec()
	o.metrics.holds.WithLabelValues(string(port), string(outcome)).Observe(held.Seconds())
}

// Refused counts a connection that was turned away at once.
func (o RedirectObserver[Port, Cause, Outcome, Reason]) Refused(port Port, reason Reason) {
	o.metrics.refused.WithLabelValues(string(port), string(reason)).Inc()
}

// ReadFellBack counts a session of the read port that was opened with the
// primary.
func (o RedirectObserver[Port, Cause, Outcome, Reason]) ReadFellBack() { o.metrics.fallbacks.Inc() }
