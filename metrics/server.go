package metrics

import (
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// server is what a daemon knows of the mysqld beside it.
type server struct {
	up              prometheus.Gauge
	role            *prometheus.GaugeVec
	lag             prometheus.Gauge
	lagTransactions prometheus.Gauge
	attached        prometheus.Gauge
	openTerm        prometheus.Gauge
	commitAge       prometheus.Gauge
	commitPending   prometheus.Gauge
	diskFree        prometheus.Gauge
	dataSize        *prometheus.GaugeVec
	cloneSize       *prometheus.GaugeVec
	errant          prometheus.Gauge
}

func newServer() *server {
	s := &server{
		up:              gauge("mysqld_up", "1 if the local mysqld answered the last local probe, else 0."),
		role:            gauges("role", "1 for the role of this host's server, else 0; none is a host without a server or a cluster that has not begun.", "role"),
		lag:             gauge("replica_lag_seconds", "How far the applier of the local server is behind; NaN where that is not known."),
		lagTransactions: gauge("replica_lag_transactions", "Transactions that the local server has received and not yet executed."),
		attached:        gauge("semisync_attached_replicas", "Semi-synchronous replicas attached to the local server."),
		openTerm:        gauge("open_term", "The term in which the local server takes writes, 0 while it is closed."),
		commitAge:       gauge("commit_age_seconds", "How long ago the last acknowledged heartbeat commit of the local server was begun; NaN where there is none."),
		commitPending:   gauge("commit_pending_seconds", "How long a heartbeat commit of the local server has been waiting for its acknowledgement; 0 for none."),
		diskFree:        gauge("disk_free_bytes", "Bytes that may still be written to the file system of the local server's data; NaN where that is not known."),
		dataSize:        gauges("data_directory_bytes", "What the files in the local server's data directory take on the disk: data, or binary and relay logs.", "kind"),
		cloneSize:       gauges("clone_bytes", "Bytes of the clone under way that replaces the local server's data: done, and in total as estimated; 0 for none.", "state"),
		errant:          gauge("errant_transactions", "Transactions that the local server has and its primary has not, as far as the leader has judged: somebody wrote on a replica, or a former primary came back with more."),
	}
	s.lag.Set(math.NaN())
	s.commitAge.Set(math.NaN())
	s.diskFree.Set(math.NaN())
	s.setRole("none")
	return s
}

// local are those of which a host without a server has none: as zeros they would say that
// its server is down.
func (s *server) local() []prometheus.Collector {
	return []prometheus.Collector{s.up, s.lag, s.lagTransactions, s.attached, s.openTerm, s.commitAge, s.commitPending, s.diskFree, s.dataSize, s.cloneSize, s.errant}
}

func (s *server) setRole(role string) {
	for _, r := range []string{"primary", "replica", "none"} {
		s.role.WithLabelValues(r).Set(bit(r == role))
	}
}

// WatchLocal has the metrics of this host's server exist. It is called once, where there
// is one.
func (r *Registry) WatchLocal() { r.prometheus.MustRegister(r.server.local()...) }

// SetRole reports the role of this host's server: primary, replica or none.
func (r *Registry) SetRole(role string) { r.server.setRole(role) }

// SetErrant reports how many transactions the local server has that its primary has not.
func (r *Registry) SetErrant(n uint64) { r.server.errant.Set(float64(n)) }

// SetLive reports the figures of this host's server.
func (r *Registry) SetLive(l decide.Live) {
	s := r.server
	s.up.Set(bit(l.Answers))
	s.lag.Set(knownSeconds(l.Lag, l.LagKnown))
	s.lagTransactions.Set(float64(l.LagTransactions))
	s.attached.Set(float64(l.Attached))
	s.openTerm.Set(float64(l.OpenTerm))
	s.commitAge.Set(knownSeconds(l.CommitAge, l.CommitAge > 0))
	s.commitPending.Set(l.CommitPending.Seconds())
	if l.Disk != (decide.Disk{}) {
		s.diskFree.Set(float64(l.Disk.Free))
		s.dataSize.WithLabelValues("data").Set(float64(l.Disk.Data))
		s.dataSize.WithLabelValues("logs").Set(float64(l.Disk.Logs))
	}
	s.cloneSize.WithLabelValues("done").Set(float64(l.Clone.Done))
	s.cloneSize.WithLabelValues("total").Set(float64(l.Clone.Total))
}

// knownSeconds keeps what is not known from looking like a small value, also
// for the moment between two settings of a gauge.
func knownSeconds(d time.Duration, known bool) float64 {
	if !known {
		return math.NaN()
	}
	return d.Seconds()
}
