package main

import (
	"context"
	"slices"
	"time"

	"github.com/mysqlha/mysqlha/certs"
	"github.com/mysqlha/mysqlha/config"
	"github.com/mysqlha/mysqlha/election"
)

const (
	// trustPoll is how often it is looked whether other authorities are to be trusted.
	trustPoll = 2 * time.Second
	// awayPatience is how long this daemon may take to ask other members of etcd.
	awayPatience = 3 * time.Second
	// readyPatience is how long the member may take to be there again.
	readyPatience = 25 * time.Second
)

// trusts are the fingerprints of the authorities that the running member of etcd trusts.
func (r *etcdRole) trusts() []string {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.trusted
}

// distrusts tells whether the member must be started anew: etcd reads whom it trusts
// once, at its start. Files that cannot be used are left alone.
func (r *etcdRole) distrusts() bool {
	now, err := certs.Fingerprints(r.d.cfg.TLS.CA)
	if err != nil {
		return false
	}
	before := slices.Sorted(slices.Values(r.trusts())) // Their order says who issues, and means nothing here.
	return !slices.Equal(slices.Sorted(slices.Values(now)), before) && r.d.files.Check() == nil
}

// renewTrust starts the member anew, in this process and while the other members are
// well, one after the other. It does nothing yet where it is not its turn.
func (r *etcdRole) renewTrust(ctx context.Context) {
	if !r.othersAreWell(ctx) {
		return
	}
	giveBack, mine, err := election.TakeTurn(ctx, r.d.client, r.d.keys.EtcdTurn(), r.d.cfg.Name)
	if err != nil || !mine {
		return // Soon.
	}
	defer func() { giveBack(context.WithoutCancel(ctx)) }()
	if !r.othersAreWell(ctx) { // The one before has just come back.
		return
	}
	r.stepAside(ctx)
	defer r.aside.Store(false)
	if !r.distrusts() { // Files are perhaps being copied this very moment.
		return
	}
	began := time.Now()
	r.close()
	r.startAgain(ctx)
	member := r.current()
	if member == nil {
		return // The daemon is being stopped.
	}
	ctx, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	select {
	case <-member.Ready():
		r.d.log.Info("this host's member of etcd trusts other authorities now", "took", time.Since(began), "trusts", r.trusts())
	case <-ctx.Done():
		r.d.log.Warn("this host's member of etcd is not ready again yet", "since", time.Since(began))
	}
}

// startAgain starts the member that has just been stopped: until it can be, or the daemon
// is stopped. The daemon itself goes on with the other members.
func (r *etcdRole) startAgain(ctx context.Context) {
	told := ""
	for {
		err := r.start(ctx, r.peers(), false)
		if err == nil || ctx.Err() != nil {
			return
		}
		if told != err.Error() {
			told = err.Error()
			r.d.log.Error("this host's member of etcd cannot be started anew yet", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(trustPoll):
		}
	}
}

// othersAreWell tells whether etcd can do without this member: all others answer, or
// there are too few for it to do without any.
func (r *etcdRole) othersAreWell(ctx context.Context) bool {
	const enough = 3
	seen, err := election.Members(ctx, r.d.client)
	if err != nil {
		return false
	}
	return len(seen) < enough || !slices.ContainsFunc(seen, func(m election.MemberSeen) bool {
		return m.Peer != r.self.Peer && (!m.Healthy || m.Learner)
	})
}

// stepAside has this daemon ask other members before its own one goes away for a moment.
func (r *etcdRole) stepAside(ctx context.Context) {
	r.aside.Store(true)
	ctx, cancel := context.WithTimeout(ctx, awayPatience)
	defer cancel()
	tick := time.NewTicker(preferInterval / 5)
	defer tick.Stop()
	own := r.own()
	for slices.Contains(r.d.client.Endpoints(), own) && len(r.d.endpoints()) > 1 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// own is the URL of this host's member for clients.
func (r *etcdRole) own() string { return "https://" + r.self.Client }

// protectInterval is how often it is looked whether this daemon has come to lead.
const protectInterval = 2 * time.Second

// users are those who may use the embedded etcd: a cluster has its own.
func (d *daemon) users() []election.User {
	return []election.User{{Name: string(certs.RoleMember), Everything: true},
		{Name: string(certs.RoleRedirector), Reads: d.keys.Root()}, {Name: string(certs.RoleReader), Reads: d.keys.Root()}}
}

// names are those of users.
func names(users []election.User) (all []string) {
	for _, u := range users {
		all = append(all, u.Name)
	}
	return all
}

// protectEtcd has the embedded etcd ask who its clients are, whenever this daemon has
// come to lead.
func (d *daemon) protectEtcd(ctx context.Context) error {
	tick := time.NewTicker(protectInterval)
	defer tick.Stop()
	done, told := false, ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		_, leads := d.elector.leader.Verdict()
		if done = done && leads; done || !leads {
			continue
		}
		err := election.Protect(ctx, d.client, d.users())
		if done = err == nil; !done && told != err.Error() {
			told = err.Error()
			d.log.Error("etcd does not ask who its clients are yet", "error", err)
		}
	}
}

// isAside tells whether the member goes away for a moment.
func (r *etcdRole) isAside() bool { return r != nil && r.aside.Load() }

// hosts are those of all members that are known, for whoever verifies them.
func (d *daemon) hosts() []string { return *d.etcdHosts.Load() }

// setHosts notes those of the members at these URLs.
func (d *daemon) setHosts(urls []string) {
	hosts := config.HostsOf(urls)
	d.etcdHosts.Store(&hosts)
}
