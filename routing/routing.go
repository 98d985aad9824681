// Package routing tells the redirector where the primary and the fresh replicas
// are: the primary from the record and its status in etcd, the replicas from
// what their daemons say over HTTPS.
//
// One goroutine, [Router.Run], owns the replicas' figures; [Router.Route] may be
// called by anybody. cmd wires it; it imports bus, redirect and
// orchestrator/decide.
package routing

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/mysqlha/mysqlha/bus"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/redirect"
)

// askInterval is how often replicas are asked for their lag, askTimeout how
// long one may take, and misses how many answers in a row may fail before a
// replica counts as not fresh.
const (
	askInterval = time.Second
	askTimeout  = 800 * time.Millisecond
	misses      = 2
)

// Options are all that a router needs.
type Options struct {
	// Bus is etcd.
	Bus *bus.Bus
	// Servers returns the addresses (host:port) of all mysqlds by server.
	Servers func() map[string]string
	// MaxLag is the lag beyond which a replica serves no reads.
	MaxLag time.Duration
	// Ask returns the running figures of a server.
	Ask func(ctx context.Context, server string) (decide.Live, error)
}

// Router is a [redirect.Router].
type Router struct {
	o Options

	mu      sync.Mutex
	changed chan struct{}
	term    uint64 // the highest seen
	writer  *redirect.Target
	fresh   map[string]bool
	missed  map[string]int
	known   int // servers of the cluster
}

// New returns a router; Run feeds it.
func New(o Options) *Router {
	return &Router{o: o, changed: make(chan struct{}), fresh: make(map[string]bool), missed: make(map[string]int)}
}

// Route returns where to send sessions now.
func (r *Router) Route() redirect.Route {
	r.mu.Lock()
	defer r.mu.Unlock()
	route := redirect.Route{Term: r.term, Writer: r.writer}
	addresses := r.o.Servers()
	route.Servers = slices.Sorted(maps.Keys(addresses))
	names := make([]string, 0, len(r.fresh))
	for name := range r.fresh {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if address := addresses[name]; address != "" {
			route.Readers = append(route.Readers, redirect.Target{Server: name, Address: address})
		}
	}
	return route
}

// Changed is closed at the next change. Take it before Route.
func (r *Router) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

// Run follows etcd and the replicas until ctx ends.
func (r *Router) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { r.askAll(ctx) })
	for {
		changed := r.o.Bus.Changed()
		r.follow(r.o.Bus.State())
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// follow takes the record and the primary's status. A record of a term below
// the highest seen is etcd speaking of the past and is not followed (S1).
func (r *Router) follow(s *bus.State) {
	if s.Record == nil {
		return
	}
	var writer *redirect.Target
	if name := s.Record.Primary; open(s) {
		writer = &redirect.Target{Server: name, Address: r.o.Servers()[name]}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.Record.Term < r.term {
		return
	}
	same := s.Record.Term == r.term && (writer == nil) == (r.writer == nil) && (writer == nil || *writer == *r.writer)
	if same {
		return
	}
	r.term, r.writer = s.Record.Term, writer
	if writer != nil {
		delete(r.fresh, writer.Server)
	}
	r.tell()
}

// open tells whether the primary takes writes in the record's term and no plan
// is about to take it away.
func open(s *bus.State) bool {
	rec := s.Record
	st := s.Statuses[rec.Primary]
	if rec.Term == 0 || st.OpenTerm != rec.Term || st.Process != decide.ProcessRunning || st.Fenced {
		return false
	}
	return rec.Plan == nil || !rec.Plan.Holds()
}

func (r *Router) tell() {
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *Router) askAll(ctx context.Context) {
	tick := time.NewTicker(askInterval)
	defer tick.Stop()
	for {
		var wg sync.WaitGroup
		servers := r.o.Servers()
		for name := range servers {
			wg.Go(func() { r.ask(ctx, name) })
		}
		wg.Wait()
		r.forget(servers)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// forget drops the replicas that have left the cluster, and tells.
func (r *Router) forget(servers map[string]string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := len(r.fresh)
	left := r.known
	r.known = len(servers)
	maps.DeleteFunc(r.fresh, func(name string, _ bool) bool { return servers[name] == "" })
	maps.DeleteFunc(r.missed, func(name string, _ int) bool { return servers[name] == "" })
	if len(r.fresh) != before || left > r.known {
		r.tell()
	}
}

func (r *Router) ask(ctx context.Context, server string) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	live, err := r.o.Ask(ctx, server)
	r.mu.Lock()
	defer r.mu.Unlock()
	fresh := err == nil && r.reads(server, live)
	if err != nil {
		if r.missed[server]++; r.missed[server] < misses {
			return
		}
	} else {
		r.missed[server] = 0
	}
	if fresh == r.fresh[server] {
		return
	}
	if fresh {
		r.fresh[server] = true
	} else {
		delete(r.fresh, server)
	}
	r.tell()
}

// reads tells whether a server may serve reads as a replica: it follows the
// primary and has heard from it lately, both threads run, its lag is known and
// small enough, and it has applied a heartbeat row that is as young. Without that
// one a replica that connects again after a partition seems to miss nothing.
func (r *Router) reads(server string, l decide.Live) bool {
	isWriter := r.writer != nil && r.writer.Server == server
	follows := r.writer == nil || l.Source == r.writer.Server
	return !isWriter && follows && l.Answers && l.OpenTerm == 0 && l.Receiver == decide.ReceiverOn &&
		l.Applier == decide.ReceiverOn && l.LagKnown && l.Lag <= r.o.MaxLag && l.ContactAge+l.Age <= r.o.MaxLag+time.Second &&
		l.HeartbeatKnown && l.HeartbeatAge+l.Age <= r.o.MaxLag
}
