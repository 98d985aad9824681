package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/bus"
	"github.com/mysqlha/mysqlha/certs"
	"github.com/mysqlha/mysqlha/config"
	"github.com/mysqlha/mysqlha/election"
	"github.com/mysqlha/mysqlha/orchestrator"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/probes"
	"github.com/mysqlha/mysqlha/replication"
	"github.com/mysqlha/mysqlha/replication/gtid"
)

// elector is a daemon's part in the leadership, with or without a server beside
// it: it registers, campaigns, and leads when it is elected.
type elector struct {
	d         *daemon
	leader    *orchestrator.Orchestrator
	remotes   *dialled[*replication.Remote]
	passwords *passwords
	started   time.Time
	yield     chan struct{}
	// couriers tell the hooks of what this host has led; they end with the daemon.
	couriers sync.WaitGroup
}

// newElector dials the probes of all servers with this host's own account.
func newElector(d *daemon) (_ *elector, err error) {
	e := &elector{d: d, started: time.Now(), yield: make(chan struct{}, 1)}
	if e.passwords, err = openPasswords(d); err != nil {
		return nil, err
	}
	e.remotes = &dialled[*replication.Remote]{dial: func(p place) (*replication.Remote, error) {
		return replication.DialRemote(replication.RemoteOptions{Server: p.server, Address: p.address,
			User: replication.ProbeUser(d.cfg.Name), Password: e.passwords.probing,
			TLS: certs.ClientConfig(d.files, p.tlsName)})
	}}
	return e, nil
}

func (e *elector) close() {
	e.couriers.Wait()
	e.remotes.each(func(r *replication.Remote) {
		r.Close() //nolint:errcheck // nothing depends on how the connection ends
	})
}

// prepare makes the orchestrator; recordSeen returns the highest version of the
// record that this daemon has ever seen (S1).
func (e *elector) prepare(recordSeen func() uint64) {
	cfg := e.d.cfg
	e.d.metrics.WatchElection()
	o := orchestrator.Options{
		Self: cfg.Name, Bus: e.d.bus, Events: leaderEvents{e.d.metrics}, Logger: e.d.log, Yield: e.askToYield,
		Configured: e.d.configured, Probes: e.probes, RecordSeen: recordSeen,
		Settings: settingsFrom(cfg),
	}
	if len(cfg.Etcd.Endpoints) == 0 {
		o.Etcd = etcdMembers{e.d}
	}
	for _, w := range cfg.Witnesses {
		o.Witnesses = append(o.Witnesses, w.Name)
	}
	e.leader = orchestrator.New(o)
}

// settingsFrom returns what the configuration tunes the decisions by.
func settingsFrom(cfg *config.Config) decide.Settings {
	return decide.Settings{ProbeInterval: cfg.Timings.ProbeInterval, Detection: cfg.Timings.Detection,
		Stall: stallTimes * cfg.Timings.Detection, FenceDeadline: cfg.Timings.FenceDeadline, Silenced: cfg.Timings.FenceDeadline + fenceBudget,
		RemovalDelay: cfg.Timings.RemovalDelay, Lonely: lonelyTimes * cfg.Timings.RemovalDelay, RequiredAcks: cfg.RequiredAcks, Durability: decide.Durability(cfg.Durability),
		MaxLag: cfg.MaxLag, BootstrapPrimary: cfg.Bootstrap.Primary}
}

// probes returns how the leader asks a server.
func (e *elector) probes(s decide.Server) orchestrator.Probes {
	e.d.metrics.WatchServer("sql", s.Name)
	e.d.metrics.WatchServer("daemon", s.Name)
	p := orchestrator.Probes{Daemon: func(ctx context.Context) (decide.Live, error) { return e.d.ask(ctx, s.Name) }}
	remote, err := e.remotes.to(place{s.Name, s.MySQL, s.TLSName})
	if err != nil {
		e.d.log.Error("mysqld cannot be probed", "server", s.Name, "error", err)
		p.SQL = func(context.Context) (decide.Failure, bool) { return decide.FailureBroken, false }
		return p
	}
	p.SQL = probes.SQL(remote)
	return p
}

// executed reads the gtid_executed of another server.
func (e *elector) executed(ctx context.Context, server string) (gtid.Set, error) {
	s, ok := e.d.server(server)
	if !ok {
		return gtid.Set{}, fmt.Errorf("%q is not a server of this cluster", server)
	}
	r, err := e.remotes.to(place{s.Name, s.MySQL, s.TLSName})
	if err != nil {
		return gtid.Set{}, err
	}
	return r.Executed(ctx)
}

const (
	// stallTimes is after how many detection times a pending commit counts as a
	// stalled disk: slow is not dead.
	stallTimes = 5
	// lonelyTimes is after how many removal delays without an acknowledgement a
	// primary is closed so that a new replica can be cloned from it: one that only
	// restarts is back before.
	lonelyTimes = 10
	// fenceBudget is what closing an old primary may take beyond its deadline,
	// the gate's grace included.
	fenceBudget = 4 * time.Second
)

func (e *elector) askToYield() {
	select {
	case e.yield <- struct{}{}:
	default:
	}
}

// start registers and campaigns; proven, if not nil, is handed each renewal of
// the lease with the record read after it (S9).
func (e *elector) start(ctx context.Context, group *errgroup.Group, proven func(r decide.Record, sentAt time.Time)) {
	group.Go(func() error { return e.register(ctx, proven) })
	group.Go(func() error { return e.campaign(ctx) })
	group.Go(func() error { return e.keepAway(ctx) })
	group.Go(func() error { return e.passwords.run(ctx) })
}

// campaign does so for as long as this daemon is one of the cluster's.
func (e *elector) campaign(ctx context.Context) error {
	cfg := e.d.cfg
	for e.d.awaitBelonging(ctx, true) {
		term, end := context.WithCancel(ctx)
		go func() {
			defer end()
			e.d.awaitBelonging(term, false)
		}()
		err := election.Campaign(term, e.d.client, election.CampaignOptions{Key: e.d.keys.Leader(), Value: []byte(cfg.Name),
			TTL: cfg.Timings.LeaderLease, Delay: e.holdBack, Yield: e.yield, Name: cfg.Name, Logger: e.d.log},
			func(leading context.Context, l election.Leader) error { return e.lead(ctx, leading, l) })
		end()
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// lead does so until leading ends; ctx is the daemon's.
func (e *elector) lead(ctx, leading context.Context, l election.Leader) error {
	e.d.metrics.SetLeader(true)
	defer e.d.metrics.SetLeader(false)
	e.couriers.Go(func() { e.d.courier.Lead(ctx, leading, journal{e.d, l}) }) // Nothing waits for a hook.
	return e.leader.Lead(leading, l)
}

// register keeps this daemon's lease.
func (e *elector) register(ctx context.Context, proven func(r decide.Record, sentAt time.Time)) error {
	cfg := e.d.cfg
	server, _ := cfg.Server(cfg.Name)
	witness, _ := cfg.Witness(cfg.Name)
	address := server.API
	if e.witness() {
		address = witness.API
	}
	account, err := e.passwords.account()
	if err != nil {
		return err
	}
	registered := decide.Member{Server: cfg.Name, API: address, Account: account, Version: version, Started: e.started}
	if self, ok := decide.FindServer(e.d.configured, cfg.Name); ok && !e.witness() {
		if !cfg.HasRole(config.RoleEtcd) {
			self.Etcd = decide.EtcdMember{}
		}
		registered.Self = &self
	}
	if m := e.d.member; m != nil {
		registered.Cluster = m.member.Cluster()
	}
	value := func() []byte {
		now := registered
		if a, err := e.passwords.account(); err == nil {
			now.Account = a
		}
		text, _ := json.Marshal(now) // Nothing in it can fail.
		return text
	}
	var read *decide.Record // by the callbacks, which come from one goroutine
	return election.KeepRegistered(ctx, e.d.client, election.RegisterOptions{
		Key: e.d.keys.Member(cfg.Name), Value: value, Changed: e.passwords.changed, TTL: cfg.Timings.MemberLease,
		ReadKey: e.d.keys.Record(),
		OnRead: func(kv election.KV, found bool) {
			read = nil
			if !found {
				return
			}
			r, err := bus.DecodeRecord(kv.Value)
			if err != nil {
				e.d.log.Error("the record proves nothing", "error", err)
				return
			}
			read = r
		},
		OnRenewed: func(sentAt time.Time) {
			e.d.metrics.LeaseRenewed(sentAt, cfg.Timings.MemberLease)
			if read != nil && proven != nil {
				proven(*read, sentAt)
			}
		},
		OnLost: e.d.metrics.LeaseLost, Logger: e.d.log,
	})
}

func (e *elector) witness() bool { return e.d.cfg.HasRole(config.RoleWitness) }

// role is that of the server of this host.
func (e *elector) role(r *decide.Record) api.Role {
	switch {
	case r == nil, e.witness():
		return api.RoleNone
	case r.Primary == e.d.cfg.Name:
		return api.RolePrimary
	}
	return api.RoleReplica
}
