package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/member"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication/gtid"
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
	return d.peers[server].Member(ctx)
}

// Cluster returns what this daemon knows of the cluster, with the figures it
// asks of the others.
func (b *backend) Cluster(ctx context.Context) (api.Cluster, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*askTimeout)
	defer cancel()
	d, s := b.d, b.d.bus.State()
	c := api.Cluster{Name: d.cfg.Cluster, Self: d.cfg.Name, Version: version, At: time.Now(), Leader: s.Leader,
		Record: s.Record, Revision: s.RecordRevision, Servers: make([]api.Server, len(d.cfg.Servers))}
	if c.Stale = !s.StaleSince.IsZero() || !s.Loaded(); c.Stale && s.Loaded() {
		c.StaleFor = time.Since(s.FreshAt)
	}
	var wg sync.WaitGroup
	for i, server := range d.cfg.Servers {
		one := &c.Servers[i]
		_, lives := s.Members[server.Name]
		spec := s.Specs[server.Name]
		*one = api.Server{Name: server.Name, Address: server.MySQL, API: server.API, Member: lives,
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
	c.Derive()
	return c, nil
}

func (b *backend) lastFailover(ctx context.Context) *decide.History {
	entries, err := b.d.bus.History(ctx, failoverLookback)
	if err != nil {
		return nil // The rest of the answer says that etcd is out of reach.
	}
	for i := range entries {
		if entries[i].Plan.Kind == decide.PlanFailover {
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
	peer, known := b.d.peers[leader]
	if !known || leader == b.d.cfg.Name {
		return api.Why{}, errNoLeader
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return peer.Why(ctx)
}

// Policy returns what the operator wants: what was asked for, and else what the
// record says.
func (b *backend) Policy(context.Context) (decide.Policy, error) {
	s := b.d.bus.State()
	if s.Record == nil {
		return decide.Policy{}, errors.New("the cluster has no record yet")
	}
	p := decide.Policy{}
	if s.Policy != nil {
		p = *s.Policy
	}
	return p.Over(*s.Record), nil
}

// merged returns both maps as one; where both speak of a server, b counts.
func merged(a, b map[string]gtid.Set) map[string]gtid.Set {
	both := make(map[string]gtid.Set, len(a)+len(b))
	maps.Copy(both, a)
	maps.Copy(both, b)
	return both
}

// lessThose returns a map without the servers that are in another.
func lessThose(all, those map[string]gtid.Set) map[string]gtid.Set {
	left := maps.Clone(all)
	maps.DeleteFunc(left, func(server string, _ gtid.Set) bool { _, gone := those[server]; return gone })
	return left
}

// SetPolicy changes what the operator wants.
func (b *backend) SetPolicy(ctx context.Context, want decide.Policy) (decide.Policy, error) {
	now, err := b.Policy(ctx)
	if err != nil {
		return now, err
	}
	if want.Durability != "" {
		now.Durability = want.Durability
	}
	if want.RequiredAcks != 0 {
		now.RequiredAcks = want.RequiredAcks
	}
	if want.MaxLag != 0 {
		now.MaxLag = want.MaxLag
	}
	if want.AutoRejoin != "" {
		now.AutoRejoin = want.AutoRejoin
	}
	for server := range merged(want.Discard, want.Harmless) {
		if _, known := b.d.cfg.Server(server); !known {
			return now, &api.RefusedError{Reason: fmt.Sprintf("%q is not a server of this cluster", server)}
		}
	}
	// The last word on a server counts.
	now.Discard, now.Harmless = merged(lessThose(now.Discard, want.Harmless), want.Discard), merged(lessThose(now.Harmless, want.Discard), want.Harmless)
	if err := now.Check(len(b.d.cfg.Servers)); err != nil {
		return now, &api.RefusedError{Reason: err.Error()}
	}
	return now, b.d.bus.PutPolicy(ctx, now)
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
	if _, known := b.d.cfg.Server(server); !known {
		return false, nil, &api.RefusedError{Reason: fmt.Sprintf("%q is not a server of this cluster", server)}
	}
	return b.d.member != nil && server == b.d.cfg.Name, b.d.peers[server], nil
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
	case !s.Loaded():
		return errors.New("etcd has not been reached yet")
	case !s.StaleSince.IsZero():
		return errors.New("etcd has been out of reach since " + s.StaleSince.Format(time.RFC3339))
	}
	return nil
}
