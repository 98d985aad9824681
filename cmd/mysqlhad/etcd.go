package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/mysqlha/mysqlha/certs"
	"github.com/mysqlha/mysqlha/config"
	"github.com/mysqlha/mysqlha/election"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// etcdRole is the member of the embedded etcd on this host. It may not be of the
// cluster yet, and it may leave it and be let in anew while the daemon runs.
type etcdRole struct {
	d    *daemon
	dir  string
	self config.EtcdMember

	// coming: it was let in, and has not been seen to have come in. Only run's.
	coming bool

	// aside: the member goes away for a moment, and this daemon asks others meanwhile.
	aside atomic.Bool

	mu      sync.Mutex
	running *election.Embedded // nil while it is not of the cluster
	trusted []string           // the fingerprints of the authorities that it trusts
}

// newEtcdRole starts the member, unless it has to be let in first.
func newEtcdRole(ctx context.Context, d *daemon) (*etcdRole, error) {
	r := &etcdRole{d: d, dir: filepath.Join(d.cfg.DataDir, "etcd")}
	for _, m := range d.cfg.Etcd.Embedded.Members {
		if m.Name == d.cfg.Name {
			r.self = m
		}
	}
	joining, err := election.IsJoining(r.dir)
	if err != nil {
		return nil, err
	}
	if joining || d.cfg.Join && !election.HasData(r.dir) {
		d.log.Info("this host's member of etcd waits until it is let in")
		return r, nil
	}
	return r, r.start(ctx, r.peers(), false)
}

// peers are the peer URLs of the configured members by name.
func (r *etcdRole) peers() map[string]string {
	members := make(map[string]string)
	for _, m := range r.d.cfg.Etcd.Embedded.Members {
		members[m.Name] = "https://" + m.Peer
	}
	return members
}

func (r *etcdRole) start(ctx context.Context, members map[string]string, join bool) error {
	cfg, e := r.d.cfg, r.d.cfg.Etcd.Embedded
	trusted, err := certs.Fingerprints(cfg.TLS.CA) // Before etcd reads them: what is newer is seen as such.
	if err != nil {
		return err
	}
	started, err := election.StartEmbedded(ctx, election.EmbeddedOptions{
		Name: cfg.Name, Dir: r.dir, JoinExisting: join,
		ListenClientURL: "https://" + e.ListenClient, ListenPeerURL: "https://" + e.ListenPeer, AdvertiseClient: r.own(),
		Members: members, Token: e.Token, CAFile: cfg.TLS.CA, CertFile: cfg.TLS.Cert, KeyFile: cfg.TLS.Key, PeerName: string(certs.RoleMember), ClientNames: names(r.d.users()),
		HeartbeatInterval: e.Heartbeat, ElectionTimeout: e.Election, Logger: r.d.log,
	})
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running, r.trusted = started, trusted
	return nil
}

// current returns the member, nil while it is not of the cluster.
func (r *etcdRole) current() *election.Embedded {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.running
}

// close stops the member.
func (r *etcdRole) close() {
	if running := r.take(); running != nil {
		running.Close()
	}
}

// leave stops the member at the end of the process.
func (r *etcdRole) leave() {
	if running := r.take(); running != nil {
		running.Leave()
	}
}

// take is the running member, which is nobody else's from then on.
func (r *etcdRole) take() *election.Embedded {
	r.mu.Lock()
	defer r.mu.Unlock()
	running := r.running
	r.running = nil
	return running
}

const (
	// joinPoll is how often it is looked whether this host's member was let in.
	joinPoll = time.Second
	// removedPatience is how long the others may take to say whether it was removed.
	removedPatience = 15 * time.Second
)

// run keeps the member until ctx ends. An error says that it has ended by itself.
func (r *etcdRole) run(ctx context.Context) error {
	trust := time.NewTicker(trustPoll)
	defer trust.Stop()
	for {
		member := r.current()
		if member == nil {
			if err := r.join(ctx); err != nil || ctx.Err() != nil {
				return err
			}
			continue
		}
		var ready <-chan struct{}
		if r.coming {
			ready = member.Ready()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ready:
			r.coming = false
			if err := member.CameIn(r.dir, r.d.cfg.Etcd.Embedded.Token); err != nil {
				return err
			}
		case <-trust.C:
			if !r.coming && member.Serves() && r.distrusts() {
				r.renewTrust(ctx)
			}
		case err := <-member.Err():
			if ctx.Err() != nil {
				return nil
			}
			id := member.ID()
			r.close()
			if !r.removed(ctx, id) {
				return fmt.Errorf("embedded etcd ended: %w", err)
			}
			aside, err := r.setAside()
			if err != nil {
				return err
			}
			r.d.log.Warn("this host's member has been removed from etcd; the daemon goes on with the others", "data", aside)
		}
	}
}

func (r *etcdRole) setAside() (string, error) {
	return election.SetAside(r.dir, r.d.cfg.Etcd.Embedded.Token, r.d.cfg.Name, time.Now())
}

// removed tells whether the others say that etcd has no member of that id.
func (r *etcdRole) removed(ctx context.Context, id uint64) bool {
	ctx, cancel := context.WithTimeout(ctx, removedPatience)
	defer cancel()
	for {
		err := election.IsListed(ctx, r.d.client, id)
		if err == nil || errors.Is(err, election.ErrNotListed) {
			return err != nil
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(joinPoll):
		}
	}
}

// join waits until the others have let the member in, and starts it then. One that
// may have come in already, before this daemon was ended, is looked at first.
func (r *etcdRole) join(ctx context.Context) error {
	tick := time.NewTicker(joinPoll)
	defer tick.Stop()
	told := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		members, err := election.JoinList(ctx, r.d.client, r.d.cfg.Name, r.self.Peer)
		switch {
		case errors.Is(err, election.ErrWasThere) && election.HasData(r.dir):
			members = map[string]string{r.d.cfg.Name: "https://" + r.self.Peer} // What counts is in its data.
		case errors.Is(err, election.ErrWasThere) && told != err.Error():
			told = err.Error()
			r.d.log.Error("this host's member of etcd cannot come in", "reason", err)
			continue
		case err != nil:
			continue // Not yet, or etcd is out of reach.
		case election.HasData(r.dir):
			if err := election.DropData(r.dir); err != nil { // Of an attempt that never came in.
				return err
			}
		}
		r.d.log.Info("this host's member was let into etcd and starts", "members", len(members))
		r.coming = true
		return r.start(ctx, members, true)
	}
}

// endpoints are the URLs of all members of etcd that are known: those of the
// configuration and those that have joined since.
func (d *daemon) endpoints() []string {
	all := d.cfg.EtcdEndpoints()
	if len(d.cfg.Etcd.Endpoints) > 0 {
		return all
	}
	for _, s := range d.servers() {
		if url := "https://" + s.Etcd.Client; s.Etcd.Client != "" && !slices.Contains(all, url) {
			all = append(all, url)
		}
	}
	return all
}

// localEtcd returns the endpoint of this host's own member of etcd, empty where
// there is none that serves, or none beside it.
func (d *daemon) localEtcd() string {
	if e := d.etcd.current(); e == nil || d.etcd.isAside() || !e.Serves() || len(d.endpoints()) < 2 {
		return ""
	}
	return d.etcd.own()
}

const (
	// preferInterval is how often it is looked whether etcd answers, and
	// preferAgain for how long it must have, before this host's own member is
	// preferred again.
	preferInterval = 250 * time.Millisecond
	preferAgain    = 10 * time.Second
)

// preferEtcd has the client ask this host's own member of etcd, and the others
// only while that one does not answer. Among all of them a client would hang on
// a member whose host is cut off: a partition of the primary's host then held
// up a failover for up to two seconds.
func (d *daemon) preferEtcd(ctx context.Context) error {
	tick := time.NewTicker(preferInterval)
	defer tick.Stop()
	asked, trouble := d.client.Endpoints(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		s := d.bus.State()
		fresh := s.Loaded() && s.StaleSince.IsZero()
		if !fresh {
			trouble = time.Now()
		}
		calm := fresh && (time.Since(trouble) > preferAgain || trouble.Before(d.started.Add(preferAgain)))
		local, want := d.localEtcd(), d.endpoints()
		d.setHosts(want)
		if d.etcd.isAside() && len(want) > 1 {
			want = slices.DeleteFunc(want, func(url string) bool { return url == d.etcd.own() })
		}
		alone := len(asked) == 1 && asked[0] == local
		if local != "" && (calm || alone && fresh) {
			want = []string{local}
		}
		if slices.Equal(asked, want) {
			continue
		}
		if alone && local != "" {
			d.log.Warn("this host's own member of etcd does not answer, the others are asked too")
		}
		d.client.SetEndpoints(want...)
		asked = want
	}
}

// etcdMembers are the members of the embedded etcd, for the leader.
type etcdMembers struct{ d *daemon }

// Members asks each of them.
func (e etcdMembers) Members(ctx context.Context) ([]decide.EtcdSeen, error) {
	list, err := election.Members(ctx, e.d.client)
	seen := make([]decide.EtcdSeen, len(list))
	for i, m := range list {
		seen[i] = decide.EtcdSeen{Peer: m.Peer, Learner: m.Learner, Started: m.Started, Healthy: m.Healthy}
	}
	return seen, err
}

// Change carries one change out.
func (e etcdMembers) Change(ctx context.Context, c decide.EtcdChange) error {
	do := map[decide.EtcdStep]func(context.Context, *clientv3.Client, string) error{
		decide.EtcdAdd: election.AddMember, decide.EtcdPromote: election.PromoteMember, decide.EtcdRemove: election.RemoveMember,
	}[c.Step]
	if do == nil {
		return fmt.Errorf("%q is not a step", c.Step)
	}
	return do(ctx, e.d.client, c.Peer)
}
