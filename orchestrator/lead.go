package orchestrator

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mysqlha/mysqlha/bus"
	"github.com/mysqlha/mysqlha/election"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// tickInterval is how often the loop judges even if nothing was heard: silence
// must be noticed too. What the probers hear is judged at once.
const tickInterval = 250 * time.Millisecond

// Probes are what a leader asks of one server.
type Probes struct {
	// SQL asks mysqld over TLS on a kept connection. A failure that proves the
	// server alive is none.
	SQL func(ctx context.Context) (failure decide.Failure, closed bool)
	// Daemon asks the daemon over HTTPS.
	Daemon func(ctx context.Context) (decide.Live, error)
}

// Events are what metrics want to know of a leader.
type Events interface {
	// Decided is told of every decision that differs from the one before.
	Decided(d decide.Decision)
	// PlanEnded is told of every plan that ended, once it is in etcd.
	PlanEnded(h decide.History)
	// Ticked is told of every tick of the loop, and by how much it was late.
	Ticked(late time.Duration)
	// Probed is told of every probe: kind sql or daemon.
	Probed(kind, server string, took time.Duration, failure string)
}

// Options are all that an orchestrator needs.
type Options struct {
	// Self is this member's name; Configured are the servers of its configuration,
	// with which a cluster begins; Witnesses are the daemons that have none.
	Self       string
	Configured []decide.Server
	Witnesses  []string
	// Settings tune the decisions.
	Settings decide.Settings
	// Bus is etcd.
	Bus *bus.Bus
	// Probes returns how a server is asked.
	Probes func(decide.Server) Probes
	// Etcd is the embedded etcd, nil where it is not embedded.
	Etcd EtcdMembers
	// RecordSeen returns the highest version of the record that the daemon of
	// this member has ever seen.
	RecordSeen func() uint64
	// Events may be nil.
	Events Events
	// Yield asks the campaign to give leadership away.
	Yield func()
	// Logger takes the log.
	Logger *slog.Logger
}

// EtcdMembers are the members of the embedded etcd.
type EtcdMembers interface {
	// Members asks each of them.
	Members(ctx context.Context) ([]decide.EtcdSeen, error)
	// Change carries one change out; doing it again is no error.
	Change(ctx context.Context, c decide.EtcdChange) error
}

// Orchestrator leads when it is told to.
type Orchestrator struct {
	o      Options
	newest atomic.Pointer[Verdict]
}

// Verdict is the newest decision of a leader.
type Verdict struct {
	// Decision is what it decided, with the time since when it waits for what.
	Decision decide.Decision
	// At is when.
	At time.Time
}

// New returns an orchestrator.
func New(o Options) *Orchestrator { return &Orchestrator{o: o} }

// Verdict returns the newest decision, and false while this member does not
// lead.
func (o *Orchestrator) Verdict() (Verdict, bool) {
	v := o.newest.Load()
	if v == nil {
		return Verdict{}, false
	}
	return *v, true
}

// Lead leads until ctx ends.
func (o *Orchestrator) Lead(ctx context.Context, leader election.Leader) error {
	defer o.newest.Store(nil)
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	l := &lead{o: o, leader: leader, since: time.Now(), inbox: make(chan func(*lead), 64), wg: &wg,
		probed: make(map[decide.Server]context.CancelFunc), etcdWork: make(chan decide.EtcdChange, 1),
		seen: make(map[string]decide.Observation), absent: make(map[string]time.Time), waiting: make(map[waitKey]time.Time),
		spared: make(map[string]time.Time), pauses: make(map[string]time.Duration)}
	if o.o.Etcd != nil {
		wg.Go(func() { l.watchEtcd(ctx) })
	}
	return l.loop(ctx)
}

// lead is what the loop of one leadership owns.
type lead struct {
	o      *Orchestrator
	leader election.Leader
	since  time.Time
	inbox  chan func(*lead)
	wg     *sync.WaitGroup
	// servers are those that are probed, probed how each of them is let go.
	servers []decide.Server
	probed  map[decide.Server]context.CancelFunc
	// etcd are the members of the embedded etcd, nil while unknown.
	etcd     []decide.EtcdSeen
	etcdWork chan decide.EtcdChange
	seen     map[string]decide.Observation
	absent   map[string]time.Time
	waiting  map[waitKey]time.Time
	late     time.Duration
	last     decide.Decision
	// told is the decision that the log had last, in short.
	told    string
	yielded time.Time
	// phase is what the open plan has come to, seen since planSeen.
	phase    string
	planSeen time.Time
	// spared says until when a replica is not removed again, pauses how long the
	// last such time was.
	spared map[string]time.Time
	pauses map[string]time.Duration
}

// The pauses after an abandoned removal, each twice the one before.
const (
	firstPause = 5 * time.Second
	mostPause  = 5 * time.Minute
)

// spare keeps a replica from being removed again at once, since the removal
// itself had locked it out, and any plan that could not be proved from being
// tried again at once, since writes wait meanwhile.
func (l *lead) spare(h *decide.History, now time.Time) {
	server := h.Plan.Server
	switch h.Plan.Kind {
	case decide.PlanRemove:
	case decide.PlanRaiseAcks, decide.PlanResume, decide.PlanRenew, decide.PlanJoin, decide.PlanLeave:
		server = decide.PausedPlan(h.Plan.Kind)
	default:
		return
	}
	if h.Result == "completed" {
		delete(l.pauses, server)
		return
	}
	l.pauses[server] = min(mostPause, max(firstPause, 2*l.pauses[server]))
	l.spared[server] = now.Add(l.pauses[server])
}

// follow notes since when the plan has been in its phase, with those followers:
// the candidate begins anew with each.
func (l *lead) follow(r *decide.Record, now time.Time) {
	phase := ""
	if r != nil && r.Plan != nil {
		phase = strings.Join(append([]string{r.Plan.ID, string(r.Plan.Phase)}, r.Plan.NewInSync...), " ")
	}
	if phase != l.phase {
		l.phase, l.planSeen = phase, now
	}
}

type waitKey struct {
	code   decide.Code
	server string
}

func (l *lead) loop(ctx context.Context) error {
	tick := time.NewTicker(tickInterval)
	defer tick.Stop()
	due := time.Now().Add(tickInterval)
	for {
		changed := l.o.o.Bus.Changed()
		l.judge(ctx)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case f := <-l.inbox:
			f(l)
			l.drain()
		case <-changed:
		case <-tick.C:
			now := time.Now()
			l.late, due = max(0, now.Sub(due)), now.Add(tickInterval)
			if l.o.o.Events != nil {
				l.o.o.Events.Ticked(l.late)
			}
		}
	}
}

// drain takes all else that was heard, so that one judgement covers it.
func (l *lead) drain() {
	for {
		select {
		case f := <-l.inbox:
			f(l)
		default:
			return
		}
	}
}

// judge decides and commits until there is nothing more to write.
func (l *lead) judge(ctx context.Context) {
	for ctx.Err() == nil {
		state := l.o.o.Bus.State()
		if !state.Loaded() {
			return
		}
		now := time.Now()
		l.probeAll(ctx, state.Record)
		d := decide.Decide(l.view(state, now), l.o.o.Settings, now)
		l.remember(&d, now)
		l.log(&d, state.Record)
		if d.Yield && now.Sub(l.yielded) > yieldPause {
			l.yielded = now
			l.o.o.Yield()
		}
		if d.Etcd != nil {
			select {
			case l.etcdWork <- *d.Etcd:
			default: // One is being done.
			}
		}
		if d.Change == nil {
			return
		}
		if _, err := l.o.o.Bus.Commit(ctx, l.leader, state, *d.Change); err != nil {
			if ctx.Err() == nil {
				l.o.o.Logger.Warn("not committed, deciding anew", "error", err)
			}
			return
		}
		l.logCommitted(d.Change, state.Record)
		if h := d.Change.History; h != nil {
			l.spare(h, now)
			l.trim(ctx)
			if l.o.o.Events != nil {
				l.o.o.Events.PlanEnded(*h)
			}
		}
	}
}

// keptHistory is how many ended plans are kept.
const keptHistory = 1000

// trim drops what is older, beside the loop.
func (l *lead) trim(ctx context.Context) {
	l.wg.Go(func() {
		if err := l.o.o.Bus.TrimHistory(ctx, keptHistory); err != nil && ctx.Err() == nil {
			l.o.o.Logger.Warn("the history is not trimmed, and will be after the next plan", "error", err)
		}
	})
}

// yieldPause is the least time between two requests to give leadership away.
const yieldPause = 10 * time.Second

// view builds what decide looks at.
func (l *lead) view(s *bus.State, now time.Time) decide.View {
	names := decide.ServerNames(l.servers)
	for _, name := range names {
		_, lives := s.Members[name]
		_, missed := l.absent[name]
		switch {
		case lives || !s.StaleSince.IsZero():
			delete(l.absent, name) // A copy that is stale says nothing about leases.
		case !missed:
			l.absent[name] = now
		}
	}
	l.follow(s.Record, now)
	return decide.View{
		RecordSeen: l.o.o.RecordSeen(), PlanSeen: l.planSeen, Spared: l.spared, Policy: s.Policy,
		Self: l.o.o.Self, LeadingSince: l.since, Servers: names, Configured: l.o.o.Configured, Witnesses: l.o.o.Witnesses, Etcd: l.etcd,
		Record: s.Record, Revision: s.RecordRevision, Specs: s.Specs, Statuses: s.Statuses, Members: s.Members,
		Absent: l.absent, Seen: l.seen, TickLate: l.late,
	}
}

// remember keeps the decision for those who ask, with the time since when each
// wait has lasted.
func (l *lead) remember(d *decide.Decision, now time.Time) {
	waiting := make(map[waitKey]time.Time, len(d.Waits))
	for i := range d.Waits {
		w := &d.Waits[i]
		k := waitKey{w.Code, w.Server}
		since, ok := l.waiting[k]
		if !ok {
			since = now
		}
		waiting[k], w.Since = since, since
	}
	l.waiting = waiting
	l.o.newest.Store(&Verdict{Decision: *d, At: now})
	if l.o.o.Events != nil && (d.Reason != l.last.Reason || !slices.EqualFunc(d.Waits, l.last.Waits, sameWait)) {
		l.o.o.Events.Decided(*d)
	}
	l.last = *d
}

func sameWait(a, b decide.Wait) bool { return a.Code == b.Code && a.Server == b.Server }
