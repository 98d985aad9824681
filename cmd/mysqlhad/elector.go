package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
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
)

// elector is a daemon's part in the leadership, with or without a server beside
// it: it registers, campaigns, and leads when it is elected.
type elector struct {
	d       *daemon
	leader  *orchestrator.Orchestrator
	remotes map[string]*replication.Remote
	account decide.Account
	started time.Time
	yield   chan struct{}
}

// newElector dials the probes of all servers with this host's own account.
func newElector(d *daemon) (_ *elector, err error) {
	e := &elector{d: d, started: time.Now(), yield: make(chan struct{}, 1), remotes: make(map[string]*replication.Remote)}
	defer func() {
		if err != nil {
			e.close()
		}
	}()
	password, err := secret(filepath.Join(d.cfg.DataDir, "probe.password"))
	if err != nil {
		return nil, err
	}
	e.account = decide.Account{Server: d.cfg.Name, Witness: d.cfg.HasRole(config.RoleWitness)}
	if e.account.ProbeHash, err = replication.HashPassword(password); err != nil {
		return nil, err
	}
	for _, s := range d.cfg.Servers {
		e.remotes[s.Name], err = replication.DialRemote(replication.RemoteOptions{Server: s.Name, Address: s.MySQL,
			User: replication.ProbeUser(d.cfg.Name), Password: func() (string, error) { return password, nil },
			TLS: certs.ClientConfig(d.files, s.MySQLTLSName())})
		if err != nil {
			return nil, err
		}
	}
	return e, nil
}

func (e *elector) close() {
	for _, r := range e.remotes {
		if r != nil {
			r.Close() //nolint:errcheck // nothing depends on how the connection ends
		}
	}
}

// prepare makes the orchestrator; recordSeen returns the highest version of the
// record that this daemon has ever seen (S1).
func (e *elector) prepare(recordSeen func() uint64) {
	cfg := e.d.cfg
	o := orchestrator.Options{
		Self: cfg.Name, Bus: e.d.bus, Events: leaderEvents{e.d.metrics}, Logger: e.d.log, Yield: e.askToYield,
		Probes: make(map[string]orchestrator.Probes), RecordSeen: recordSeen,
		Settings: decide.Settings{ProbeInterval: cfg.Timings.ProbeInterval, Detection: cfg.Timings.Detection,
			Stall: stallTimes * cfg.Timings.Detection, FenceDeadline: cfg.Timings.FenceDeadline, Silenced: cfg.Timings.FenceDeadline + fenceBudget,
			RemovalDelay: cfg.Timings.RemovalDelay, RequiredAcks: cfg.RequiredAcks, Durability: decide.Durability(cfg.Durability),
			MaxLag: cfg.MaxLag, BootstrapPrimary: cfg.Bootstrap.Primary},
	}
	for _, s := range cfg.Servers {
		o.Servers = append(o.Servers, s.Name)
		o.Probes[s.Name] = orchestrator.Probes{SQL: probes.SQL(e.remotes[s.Name]), Daemon: func(ctx context.Context) (decide.Live, error) { return e.d.ask(ctx, s.Name) }}
		e.d.metrics.WatchServer("sql", s.Name)
		e.d.metrics.WatchServer("daemon", s.Name)
	}
	for _, w := range cfg.Witnesses {
		o.Witnesses = append(o.Witnesses, w.Name)
	}
	e.leader = orchestrator.New(o)
}

const (
	// stallTimes is after how many detection times a pending commit counts as a
	// stalled disk: slow is not dead.
	stallTimes = 5
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
	cfg := e.d.cfg
	group.Go(func() error { return e.register(ctx, proven) })
	group.Go(func() error {
		return election.Campaign(ctx, e.d.client, election.CampaignOptions{Key: e.d.keys.Leader(), Value: []byte(cfg.Name),
			TTL: cfg.Timings.LeaderLease, Delay: e.holdBack, Yield: e.yield, Name: cfg.Name, Logger: e.d.log}, e.lead)
	})
	group.Go(func() error { return e.keepAway(ctx) })
	group.Go(func() error { return e.observe(ctx) })
}

func (e *elector) lead(ctx context.Context, l election.Leader) error {
	e.d.metrics.SetLeader(true)
	defer e.d.metrics.SetLeader(false)
	return e.leader.Lead(ctx, l)
}

// register keeps this daemon's lease.
func (e *elector) register(ctx context.Context, proven func(r decide.Record, sentAt time.Time)) error {
	cfg := e.d.cfg
	server, _ := cfg.Server(cfg.Name)
	witness, _ := cfg.Witness(cfg.Name)
	address := server.API
	if e.account.Witness {
		address = witness.API
	}
	value, err := json.Marshal(decide.Member{Server: cfg.Name, API: address, Account: e.account, Version: version, Started: e.started})
	if err != nil {
		return fmt.Errorf("register %s: %w", cfg.Name, err)
	}
	var read *decide.Record // by the callbacks, which come from one goroutine
	return election.KeepRegistered(ctx, e.d.client, election.RegisterOptions{
		Key: e.d.keys.Member(cfg.Name), Value: func() []byte { return value }, TTL: cfg.Timings.MemberLease,
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
			e.d.metrics.LeaseRenewed(nil)
			if read != nil && proven != nil {
				proven(*read, sentAt)
			}
		},
		OnLost: e.d.metrics.LeaseRenewed, Logger: e.d.log,
	})
}

// observe keeps the metrics of the record, and of this host's part in it.
func (e *elector) observe(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		s := e.d.bus.State()
		e.d.metrics.SetRecord(s.Record)
		e.d.metrics.SetRole(string(e.role(s.Record)))
		if e.d.member != nil {
			e.d.metrics.SetLive(e.d.member.member.Live())
		}
		var waits []decide.Wait
		if v, leads := e.leader.Verdict(); leads {
			waits = v.Decision.Waits
		}
		e.d.metrics.SetWaits(waits)
	}
}

// role is that of the server of this host.
func (e *elector) role(r *decide.Record) api.Role {
	switch {
	case r == nil, e.account.Witness:
		return api.RoleNone
	case r.Primary == e.d.cfg.Name:
		return api.RolePrimary
	}
	return api.RoleReplica
}
