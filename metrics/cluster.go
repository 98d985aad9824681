package metrics

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// The results of a failover, as a closed set; the history has the details.
const (
	resultCompleted = "completed"
	resultAbandoned = "abandoned"
)

// cluster is what a daemon sees of the cluster as a whole.
type cluster struct {
	failovers     *prometheus.CounterVec
	phases        *prometheus.HistogramVec
	term          prometheus.Gauge
	leader        prometheus.Gauge
	ticks         prometheus.Histogram
	servers       prometheus.Gauge
	inSync        prometheus.Gauge
	requiredAcks  prometheus.Gauge
	paused        prometheus.Gauge
	openPlan      *prometheus.GaugeVec
	waits         *prometheus.GaugeVec
	durability    *prometheus.GaugeVec
	suspended     prometheus.Gauge
	leaseRenewals *prometheus.CounterVec
	leaseTook     prometheus.Histogram
	leaseMargin   prometheus.GaugeFunc
	leaseUntil    atomic.Pointer[time.Time]
	waitsMu       sync.Mutex
	waitsKnown    map[decide.Code]bool
}

func newCluster() *cluster {
	c := &cluster{
		failovers: counters("failovers_total", "Failovers that ended while this daemon led, by the reason they were opened for and by result.", "reason", "result"),
		phases: histograms("failover_phase_seconds", "Duration of the phases of completed failovers, each from its mark in the plan to the next one; total is from the first mark to the last.",
			[]float64{.005, .01, .025, .05, .1, .2, .3, .5, .75, 1, 2, 5, 10, 30, 60}, "phase"),
		term:   gauge("term", "The term of the record, by this daemon's copy; 0 while the cluster has not begun."),
		leader: gauge("leader", "1 if this daemon leads, else 0."),
		ticks: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: namespace, Name: "leader_tick_late_seconds",
			Help:    "By how much the ticks of the leader's loop were late. While one is late by more than 0.1 seconds, silence is not believed.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5}}),
		servers:       gauge("servers", "How many servers the record lists, whether they answer or not."),
		inSync:        gauge("in_sync_replicas", "How many replicas the record lists as in sync."),
		requiredAcks:  gauge("required_acks", "How many replicas must have a transaction before its commit is acknowledged."),
		paused:        gauge("paused", "1 while automation is paused, by this daemon's copy of the settings, else 0."),
		openPlan:      gauges("open_plan", "1 for the kind of the plan that is open, else 0.", "kind"),
		waits:         gauges("waits", "How many things the latest decision waits for or finds wrong, by code; 0 everywhere but at the leader.", "code"),
		durability:    gauges("durability", "1 for what the record promises of a commit, else 0; see suspended for what is in force.", "promise"),
		suspended:     gauge("suspended", "1 while the primary acknowledges commits that no replica has, because the settings let it, else 0."),
		leaseRenewals: counters("lease_renewals_total", "Renewals of this daemon's leases in etcd, by result.", "result"),
		waitsKnown:    map[decide.Code]bool{},
	}
	c.leaseTook = prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: namespace, Name: "lease_renewal_seconds",
		Help:    "How long a renewal of this daemon's lease took, the linearizable read of the record included: etcd's latency as the daemon feels it.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5}})
	c.leaseMargin = prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: "lease_margin_seconds",
		Help: "For how long this daemon's lease is good without another renewal; negative when it has run out, NaN before the first."}, c.margin)
	for _, reason := range decide.FailoverReasons() {
		c.failovers.WithLabelValues(string(reason), resultCompleted)
		c.failovers.WithLabelValues(string(reason), resultAbandoned)
	}
	for _, phase := range []string{string(decide.PhaseRevoke), string(decide.PhasePromote), string(decide.PhaseOpen), "total"} {
		c.phases.WithLabelValues(phase)
	}
	c.leaseRenewals.WithLabelValues("ok")
	c.leaseRenewals.WithLabelValues("failed")
	c.setPlan(nil)
	return c
}

func (c *cluster) all() []prometheus.Collector {
	return []prometheus.Collector{c.failovers, c.phases, c.term, c.ticks, c.servers, c.inSync, c.requiredAcks, c.paused, c.openPlan, c.waits, c.durability, c.suspended, c.leaseRenewals, c.leaseTook}
}

// election are those of a daemon that stands for election: that others lead nobody is no
// news.
func (c *cluster) election() []prometheus.Collector {
	return []prometheus.Collector{c.leader, c.leaseMargin}
}

func (c *cluster) setPlan(p *decide.Plan) {
	for _, kind := range decide.PlanKinds() {
		c.openPlan.WithLabelValues(string(kind)).Set(bit(p != nil && p.Kind == kind))
	}
}

// SetRecord reports the record as this daemon knows it, nil for none. Servers that the
// record does not have lose their series; it is to be reported again and again, since an
// answer of one that has left may come late.
func (r *Registry) SetRecord(record *decide.Record) {
	if record == nil {
		record = &decide.Record{}
	}
	r.cluster.term.Set(float64(record.Term))
	r.cluster.servers.Set(float64(len(record.Servers)))
	r.cluster.inSync.Set(float64(len(record.InSync)))
	r.cluster.requiredAcks.Set(float64(record.RequiredAcks))
	r.cluster.setPlan(record.Plan)
	for _, d := range decide.Durabilities() {
		r.cluster.durability.WithLabelValues(string(d)).Set(bit(record.Durability == d))
	}
	r.cluster.suspended.Set(bit(record.Suspended))
	if len(record.Servers) == 0 {
		return // They stand in the configuration yet.
	}
	servers := map[string]bool{}
	for _, s := range record.Servers {
		servers[s.Name] = true
	}
	r.watch.forget(servers)
	r.redirect.forget(servers)
}

// SetPaused reports whether automation is paused.
func (r *Registry) SetPaused(paused bool) { r.cluster.paused.Set(bit(paused)) }

// WatchElection has the metrics of who leads exist. It is called once, by a daemon that
// may lead.
func (r *Registry) WatchElection() { r.prometheus.MustRegister(r.cluster.election()...) }

// SetLeader reports whether this daemon leads.
func (r *Registry) SetLeader(leads bool) { r.cluster.leader.Set(bit(leads)) }

// LeaderTicked reports a tick of the leader's loop, and by how much it was late.
func (r *Registry) LeaderTicked(late time.Duration) { r.cluster.ticks.Observe(late.Seconds()) }

// SetWaits reports what the latest decision waits for; a daemon that stops
// leading reports none.
func (r *Registry) SetWaits(waits []decide.Wait) {
	c := r.cluster
	c.waitsMu.Lock()
	defer c.waitsMu.Unlock()
	counts := map[decide.Code]int{}
	for _, w := range waits {
		counts[w.Code]++
		c.waitsKnown[w.Code] = true
	}
	// One that is over goes to 0 and stays: a series that vanishes looks to an
	// alert as if the daemon had gone.
	for code := range c.waitsKnown {
		c.waits.WithLabelValues(string(code)).Set(float64(counts[code]))
	}
}

// FailoverEnded counts an entry of the history, if it is a failover, and the
// times that its phases took, if it was completed. The leader that wrote the
// entry reports it, once.
func (r *Registry) FailoverEnded(h decide.History) {
	if h.Plan.Kind != decide.PlanFailover {
		return
	}
	if h.Result != resultCompleted {
		r.cluster.failovers.WithLabelValues(string(h.Plan.Reason), resultAbandoned).Inc()
		return
	}
	r.cluster.failovers.WithLabelValues(string(h.Plan.Reason), resultCompleted).Inc()
	marks := h.Plan.Marks
	for i := range max(0, len(marks)-1) {
		r.cluster.phases.WithLabelValues(marks[i].Name).Observe(marks[i+1].At.Sub(marks[i].At).Seconds())
	}
	if len(marks) > 1 {
		r.cluster.phases.WithLabelValues("total").Observe(marks[len(marks)-1].At.Sub(marks[0].At).Seconds())
	}
}

// LeaseRenewed reports a renewal of the daemon's lease, when it was sent, and for how long
// from then on the lease is good.
func (r *Registry) LeaseRenewed(sentAt time.Time, good time.Duration) {
	until := sentAt.Add(good)
	r.cluster.leaseUntil.Store(&until)
	r.cluster.leaseRenewals.WithLabelValues("ok").Inc()
	r.cluster.leaseTook.Observe(time.Since(sentAt).Seconds())
}

// LeaseLost counts a lease that could not be renewed.
func (r *Registry) LeaseLost(error) { r.cluster.leaseRenewals.WithLabelValues("failed").Inc() }

// margin is for how long the lease is good yet, in seconds.
func (c *cluster) margin() float64 {
	until := c.leaseUntil.Load()
	if until == nil {
		return math.NaN()
	}
	return time.Until(*until).Seconds()
}

func bit(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
