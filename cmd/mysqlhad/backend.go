package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/bus"
	"github.com/mysqlha/mysqlha/member"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// askTimeout bounds what another daemon may take to answer a question that
// this one was asked.
const askTimeout = 700 * time.Millisecond

// failoverLookback is how many entries of the history are searched for the
// last failover.
const failoverLookback = 50

// backend answers the API's questions for a daemon.
type backend struct{ d *daemon }

// ask returns the running figures of a server, its own without the network.
func (d *daemon) ask(ctx context.Context, server string) (decide.Live, error) {
	if d.member != nil && server == d.cfg.Name {
		return d.member.member.Live(), nil
	}
	peer, err := d.peer(server)
	if err != nil {
		return decide.Live{}, err
	}
	return peer.Member(ctx)
}

// Cluster returns what this daemon knows of the cluster, with the figures it
// asks of the others.
func (b *backend) Cluster(ctx context.Context) (api.Cluster, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*askTimeout)
	defer cancel()
	d, s := b.d, b.d.bus.State()
	servers := d.servers()
	c := api.Cluster{Name: d.cfg.Cluster, Self: d.cfg.Name, Version: version, At: time.Now(), Leader: s.Leader,
		Record: withoutSecrets(s.Record), Revision: s.RecordRevision, Servers: make([]api.Server, len(servers)), Applicants: decide.ServerNames(d.applicants())}
	if c.Stale = !s.StaleSince.IsZero() || !s.Loaded(); c.Stale && s.Loaded() {
		c.StaleFor = time.Since(s.FreshAt)
	}
	var wg sync.WaitGroup
	for i, server := range servers {
		one := &c.Servers[i]
		m, lives := s.Members[server.Name]
		spec := s.Specs[server.Name]
		*one = api.Server{Name: server.Name, Address: server.MySQL, API: server.API, Member: lives, Version: m.Version, Started: m.Started,
			Goal: spec.Goal, Status: s.Statuses[server.Name], Errant: spec.Errant}
		wg.Go(func() {
			askCtx, cancel := context.WithTimeout(ctx, askTimeout)
			defer cancel()
			live, err := d.ask(askCtx, server.Name)
			if err != nil {
				one.LiveError = err.Error()
				return
			}
			one.Live = &live
		})
	}
	for _, w := range d.cfg.Witnesses {
		_, lives := s.Members[w.Name]
		c.Witnesses = append(c.Witnesses, api.Witness{Name: w.Name, API: w.API, Member: lives})
	}
	wg.Go(func() {
		if why, err := b.Why(ctx); err == nil {
			c.Decision, c.DecisionFrom, c.DecisionAt = why.Decision, why.Leader, why.At
		}
	})
	if !c.Stale { // Else etcd would only be waited for.
		wg.Go(func() { c.LastFailover = b.lastFailover(ctx) })
	}
	wg.Wait()
	c.Pause = s.Policy.Paused(c.At)
	c.Derive()
	return c, nil
}

// withoutSecrets returns a record without the hashes of its accounts' passwords.
func withoutSecrets(r *decide.Record) *decide.Record {
	if r == nil {
		return nil
	}
	shown := *r
	shown.Accounts = nil
	return &shown
}

func (b *backend) lastFailover(ctx context.Context) *decide.History {
	entries, err := b.d.bus.History(ctx, failoverLookback)
	if err != nil {
		return nil // The rest of the answer says that etcd is out of reach.
	}
	for i := range entries {
		if entries[i].Plan.Kind == decide.PlanFailover && !entries[i].Refused() {
			return &entries[i]
		}
	}
	return nil
}

var errNoLeader = errors.New("nobody leads at the moment; ask again in a second, and look at etcd if that lasts")

// Why returns the leader's latest decision: its own, or asked of the leader.
func (b *backend) Why(ctx context.Context) (api.Why, error) {
	leader := b.d.bus.State().Leader
	if e := b.d.elector; e != nil {
		if v, leads := e.leader.Verdict(); leads {
			return api.Why{Decision: v.Decision, Leader: b.d.cfg.Name, At: v.At}, nil
		}
	}
	peer, err := b.d.peer(leader)
	if err != nil || leader == b.d.cfg.Name {
		return api.Why{}, errNoLeader
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return peer.Why(ctx)
}

// Passwords tells how far the accounts of this host have come with new ones.
func (b *backend) Passwords(context.Context) (api.Passwords, error) {
	if b.d.elector == nil {
		return api.Passwords{}, &api.RefusedError{Reason: "this host has no accounts: its daemon only redirects"}
	}
	return b.d.elector.passwords.state(), nil
}

// Certificates are those of this host.
func (b *backend) Certificates(context.Context) (api.Certificates, error) {
	return b.d.tls.state(), nil
}

// TestFence has this host's server fenced for a test, or asks its own daemon.
func (b *backend) TestFence(ctx context.Context, want api.FenceRequest) (decide.FenceTest, error) {
	var refused *member.Refusal
	own, peer, err := b.beside(want.Server)
	if err != nil {
		return decide.FenceTest{}, err
	}
	if !own {
		report, err := peer.TestFence(ctx, want)
		return report, asRefusal(err)
	}
	report, err := b.d.member.member.TestFence(ctx, want.Kill)
	if errors.As(err, &refused) {
		err = &api.RefusedError{Reason: refused.Reason}
	}
	return report, err
}

// Kept lists what a server gave up, asked of its own daemon.
func (b *backend) Kept(ctx context.Context, server string) ([]decide.Kept, error) {
	own, peer, err := b.beside(server)
	if err != nil {
		return nil, err
	}
	if own {
		return b.d.member.member.Kept()
	}
	kept, err := peer.Kept(ctx, server)
	return kept, asRefusal(err)
}

// OpenKept opens a file of it, by way of its own daemon.
func (b *backend) OpenKept(ctx context.Context, server, name string) (io.ReadCloser, error) {
	own, peer, err := b.beside(server)
	if err != nil {
		return nil, err
	}
	if !own {
		file, err := peer.OpenKept(ctx, server, name)
		return file, asRefusal(err)
	}
	file, err := b.d.member.member.OpenKept(name)
	if errors.Is(err, member.ErrNotKept) {
		return nil, &api.RefusedError{Reason: err.Error()}
	}
	return file, err
}

// beside tells whether a server is this host's own, or else returns a client of
// its daemon.
func (b *backend) beside(server string) (own bool, peer *api.Client, err error) {
	if _, known := b.d.server(server); !known {
		return false, nil, &api.RefusedError{Reason: fmt.Sprintf("%q is not a server of this cluster", server)}
	}
	peer, err = b.d.peer(server)
	return b.d.member != nil && server == b.d.cfg.Name, peer, err
}

// asRefusal hands a refusal of another daemon on as one.
func asRefusal(err error) error {
	var answer *api.AnswerError
	if errors.As(err, &answer) && answer.Status == http.StatusConflict {
		return &api.RefusedError{Reason: answer.Reason}
	}
	return err
}

// History returns the ended plans, newest first.
func (b *backend) History(ctx context.Context, limit int) ([]decide.History, error) {
	return b.d.bus.History(ctx, limit)
}

// Ready returns nil once etcd answers and its first copy is loaded.
func (b *backend) Ready(context.Context) error {
	s := b.d.bus.State()
	switch {
	case b.d.retiring.Load():
		return errors.New("this daemon is being stopped")
	case !s.Loaded():
		return errors.New("etcd has not been reached yet")
	case !s.StaleSince.IsZero():
		return errors.New("etcd has been out of reach since " + s.StaleSince.Format(time.RFC3339))
	}
	return nil
}

// Watch tells of each change of what stands in etcd, beginning with what stands.
func (b *backend) Watch(ctx context.Context, tell func(api.Event)) {
	var last api.Event
	expires := time.NewTicker(time.Second) // A pause ends without a change in etcd.
	defer expires.Stop()
	for {
		changed := b.d.bus.Changed()
		next := eventOf(b.d.bus.State(), time.Now())
		same := last
		same.At, same.Revision = next.At, next.Revision
		if !reflect.DeepEqual(next, same) {
			last = next
			tell(next)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-expires.C:
		}
	}
}

// eventOf says what an outsider notices of the state.
func eventOf(s *bus.State, now time.Time) api.Event {
	e := api.Event{At: now, Revision: s.Revision, Leader: s.Leader, InSync: []string{}, Members: slices.Sorted(maps.Keys(s.Members)), Stale: !s.Loaded() || !s.StaleSince.IsZero()}
	if p := s.Policy.Paused(now); p != nil {
		e.Paused = p.String()
	}
	if r := s.Record; r != nil {
		e.Term, e.Primary, e.InSync, e.Suspended = r.Term, r.Primary, r.InSync, r.Suspended
		e.Open = r.Term > 0 && s.Statuses[r.Primary].OpenTerm == r.Term
		if p := r.Plan; p != nil {
			e.Plan, e.Phase, e.Candidate = p.Kind, p.Phase, p.Candidate
		}
	}
	return e
}
