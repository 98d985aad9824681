package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
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
		Record: s.Record, Revision: s.RecordRevision, Servers: make([]api.Server, len(servers)), Applicants: decide.ServerNames(d.applicants())}
	if c.Stale = !s.StaleSince.IsZero() || !s.Loaded(); c.Stale && s.Loaded() {
		c.StaleFor = time.Since(s.FreshAt)
	}
	var wg sync.WaitGroup
	for i, server := range servers {
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
	peer, err := b.d.peer(leader)
	if err != nil || leader == b.d.cfg.Name {
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
		return decide.Policy{}, errNoRecord
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
	r := b.d.bus.State().Record
	if r == nil {
		return decide.Policy{}, errNoRecord
	}
	return b.d.bus.ChangePolicy(ctx, func(now decide.Policy) (decide.Policy, error) { return b.changed(now.Over(*r), want) })
}

// changed returns a policy with what is wanted in it.
func (b *backend) changed(now, want decide.Policy) (decide.Policy, error) {
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
		if _, known := b.d.server(server); !known {
			return now, &api.RefusedError{Reason: fmt.Sprintf("%q is not a server of this cluster", server)}
		}
	}
	// The last word on a server counts.
	now.Discard, now.Harmless = merged(lessThose(now.Discard, want.Harmless), want.Discard), merged(lessThose(now.Harmless, want.Discard), want.Harmless)
	servers := b.d.servers()
	if now.Servers != nil {
		servers = now.Servers
	}
	if err := now.Check(len(servers)); err != nil {
		return now, &api.RefusedError{Reason: err.Error()}
	}
	return now, nil
}

var errNoRecord = errors.New("the cluster has no record yet")

// ChangeServers lets a server join the cluster, or leave it.
func (b *backend) ChangeServers(ctx context.Context, want api.ServersRequest) ([]decide.Server, error) {
	r := b.d.bus.State().Record
	if r == nil || len(r.Servers) == 0 {
		return nil, errNoRecord
	}
	if want.Add != "" {
		if err := b.mayJoin(ctx, want.Add); err != nil {
			return nil, err
		}
	}
	if leaver, ok := decide.FindServer(r.Servers, want.Remove); ok && leaver.Etcd.Peer != "" {
		members, err := etcdMembers{b.d}.Members(ctx)
		if err == nil {
			err = decide.CheckEtcd(members, leaver.Etcd)
		}
		if err != nil {
			return nil, &api.RefusedError{Reason: fmt.Sprintf("%s cannot leave: %v", want.Remove, err)}
		}
	}
	now, err := b.d.bus.ChangePolicy(ctx, func(p decide.Policy) (decide.Policy, error) {
		servers, err := b.changedServers(*r, p.Servers, want)
		if err != nil {
			return p, &api.RefusedError{Reason: err.Error()}
		}
		p.Servers = servers
		return p, nil
	})
	return now.Servers, err
}

// changedServers returns the servers that are wanted with one more or one less.
func (b *backend) changedServers(r decide.Record, wanted []decide.Server, want api.ServersRequest) ([]decide.Server, error) {
	if wanted == nil {
		wanted = r.Servers
	}
	next := slices.DeleteFunc(slices.Clone(wanted), func(s decide.Server) bool { return s.Name == want.Remove })
	_, leaves := decide.FindServer(r.Servers, want.Remove)
	_, left := decide.FindServer(b.d.applicants(), want.Remove)
	if want.Remove != "" && len(next) == len(wanted) && !leaves && !left {
		return nil, fmt.Errorf("%q is not a server of this cluster", want.Remove)
	}
	if _, already := decide.FindServer(next, want.Add); want.Add != "" && !already {
		joining := b.d.bus.State().Members[want.Add].Self
		if there, ok := decide.FindServer(r.Servers, want.Add); ok {
			joining = &there // It was to leave, and stays.
		}
		if joining == nil {
			return nil, fmt.Errorf("the daemon beside %s has not registered: start mysqlhad there, with join: true in its configuration", want.Add)
		}
		next = append(next, *joining)
	}
	return next, r.CheckServers(next)
}

// Switchover asks the leader for another primary.
func (b *backend) Switchover(ctx context.Context, want decide.SwitchoverRequest) (string, error) {
	switch r := b.d.bus.State().Record; {
	case r == nil || r.Term == 0:
		return "", errNoRecord
	case want.ID == "" || len(want.ID) > 64:
		return "", &api.RefusedError{Reason: "the request has no id"}
	case want.Drain < 0 || want.Drain > time.Hour:
		return "", &api.RefusedError{Reason: fmt.Sprintf("open transactions may go on for 0s to 1h, not %s", want.Drain)}
	}
	if want.At.IsZero() {
		want.At = time.Now()
	}
	answered := b.d.bus.State().Record.Answered
	_, err := b.d.bus.ChangePolicy(ctx, func(p decide.Policy) (decide.Policy, error) {
		if q := p.Switchover; q != nil && q.ID != want.ID && !slices.Contains(answered, q.ID) && time.Since(q.At) < decide.RequestLives {
			return p, &api.RefusedError{Reason: fmt.Sprintf("another switchover was asked for %s ago, and has not been answered yet", time.Since(q.At).Round(time.Second))}
		}
		if slices.Contains(answered, want.ID) {
			return p, nil
		}
		if p.Switchover == nil || p.Switchover.ID != want.ID {
			p.Switchover = &want
		}
		return p, nil
	})
	return want.ID, err
}

// mayJoin refuses a server that would disturb others as soon as it replicates.
func (b *backend) mayJoin(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if _, already := b.d.server(name); already {
		return nil
	}
	if m, r := b.d.bus.State().Members[name], b.d.bus.State().Record; m.Cluster != "" && m.Cluster != r.ID {
		return &api.RefusedError{Reason: fmt.Sprintf("%s was a server of another cluster: empty mysqld's data directory and the daemon's data_dir there, and start it anew", name)}
	}
	live, err := b.d.ask(ctx, name)
	switch {
	case err != nil:
		return &api.RefusedError{Reason: fmt.Sprintf("the daemon beside %s does not answer: %v; start mysqlhad there, with join: true in its configuration", name, err)}
	case !live.Answers || live.ServerID == 0:
		return &api.RefusedError{Reason: fmt.Sprintf("mysqld of %s does not answer its daemon: start it through mysqlhad guard", name)}
	}
	for _, s := range b.d.servers() {
		other, err := b.d.ask(ctx, s.Name)
		if err == nil && other.ServerID == live.ServerID {
			return &api.RefusedError{Reason: fmt.Sprintf("%s and %s both have server_id %d: give %s one of its own in its my.cnf and restart it", name, s.Name, live.ServerID, name)}
		}
	}
	return nil
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
	case !s.Loaded():
		return errors.New("etcd has not been reached yet")
	case !s.StaleSince.IsZero():
		return errors.New("etcd has been out of reach since " + s.StaleSince.Format(time.RFC3339))
	}
	return nil
}
