package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/bus"
	"github.com/mysqlha/mysqlha/certs"
	"github.com/mysqlha/mysqlha/config"
	"github.com/mysqlha/mysqlha/election"
	"github.com/mysqlha/mysqlha/member"
	"github.com/mysqlha/mysqlha/orchestrator"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/probes"
	"github.com/mysqlha/mysqlha/replication"
	"github.com/mysqlha/mysqlha/replication/gtid"
)

// memberRole is the daemon's part as a member: it watches over the local
// server and leads when it is elected.
type memberRole struct {
	d       *daemon
	local   *replication.Local
	member  *member.Member
	leader  *orchestrator.Orchestrator
	remotes map[string]*replication.Remote
	account decide.Account
	started time.Time
	yield   chan struct{}
}

func newMemberRole(d *daemon) (_ *memberRole, err error) {
	cfg := d.cfg
	m := &memberRole{d: d, started: time.Now(), yield: make(chan struct{}, 1), remotes: make(map[string]*replication.Remote)}
	defer func() {
		if err != nil {
			m.close()
		}
	}()
	m.local, err = replication.OpenLocal(replication.Options{Server: cfg.Name, Socket: cfg.MySQL.Socket,
		User: cfg.MySQL.ControlUser, Password: controlPassword(cfg)})
	if err != nil {
		return nil, err
	}
	replicationPassword, err := secret(filepath.Join(cfg.DataDir, "replication.password"))
	if err != nil {
		return nil, err
	}
	if err := m.makeAccount(replicationPassword); err != nil {
		return nil, err
	}
	if m.member, err = member.New(m.memberOptions(replicationPassword)); err != nil {
		return nil, err
	}
	m.leader = orchestrator.New(m.leaderOptions())
	return m, nil
}

// makeAccount computes what others may know of this server's accounts and
// dials the probes that use them.
func (m *memberRole) makeAccount(replicationPassword string) error {
	cfg := m.d.cfg
	probePassword, err := secret(filepath.Join(cfg.DataDir, "probe.password"))
	if err != nil {
		return err
	}
	m.account.Server = cfg.Name
	if m.account.ReplicationHash, err = replication.HashPassword(replicationPassword); err != nil {
		return err
	}
	if m.account.ProbeHash, err = replication.HashPassword(probePassword); err != nil {
		return err
	}
	for _, s := range cfg.Servers {
		m.remotes[s.Name], err = replication.DialRemote(replication.RemoteOptions{Server: s.Name, Address: s.MySQL,
			User: replication.ProbeUser(cfg.Name), Password: func() (string, error) { return probePassword, nil },
			TLS: certs.ClientConfig(m.d.files, s.MySQLTLSName())})
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *memberRole) close() {
	for _, r := range m.remotes {
		if r != nil {
			r.Close() //nolint:errcheck // nothing depends on how the connection ends
		}
	}
	if m.local != nil {
		m.local.Close() //nolint:errcheck // likewise
	}
}

func (m *memberRole) memberOptions(replicationPassword string) member.Options {
	cfg := m.d.cfg
	servers := make(map[string]member.Address, len(cfg.Servers))
	for _, s := range cfg.Servers {
		host, port, _ := net.SplitHostPort(s.MySQL) // The configuration has been checked.
		n, _ := strconv.Atoi(port)
		servers[s.Name] = member.Address{Host: host, Port: n}
	}
	return member.Options{
		Server: cfg.Name, Local: m.local, RunFile: cfg.MySQL.RunFile, ProofFile: proofFile(cfg), DataDir: cfg.DataDir, Board: m.d.bus, Servers: servers,
		Executed: func(ctx context.Context, server string) (gtid.Set, error) {
			r, ok := m.remotes[server]
			if !ok {
				return gtid.Set{}, fmt.Errorf("server %q is not in the configuration", server)
			}
			return r.Executed(ctx)
		},
		Replication: member.Replication{User: replication.ReplicationUser(cfg.Name), Password: replicationPassword, CAFile: cfg.TLS.CA,
			SourceHeartbeat: cfg.Timings.SourceHeartbeat, NetTimeout: cfg.Timings.ReplicaNetTimeout},
		ProbeInterval: cfg.Timings.ProbeInterval, HeartbeatRow: cfg.Timings.HeartbeatRow, Detection: cfg.Timings.Detection,
		FenceDeadline: cfg.Timings.FenceDeadline, Logger: m.d.log, Events: m.d.metrics,
	}
}

func (m *memberRole) leaderOptions() orchestrator.Options {
	cfg := m.d.cfg
	o := orchestrator.Options{
		Self: cfg.Name, Bus: m.d.bus, Events: leaderEvents{m.d.metrics}, Logger: m.d.log, Yield: m.askToYield,
		Probes:     make(map[string]orchestrator.Probes),
		RecordSeen: m.member.RecordSeen,
		Settings: decide.Settings{ProbeInterval: cfg.Timings.ProbeInterval, Detection: cfg.Timings.Detection,
			Stall: stallTimes * cfg.Timings.Detection, FenceDeadline: cfg.Timings.FenceDeadline, Silenced: cfg.Timings.FenceDeadline + fenceBudget,
			RemovalDelay: cfg.Timings.RemovalDelay, RequiredAcks: cfg.RequiredAcks, Durability: decide.Durability(cfg.Durability),
			MaxLag: cfg.MaxLag, BootstrapPrimary: cfg.Bootstrap.Primary},
	}
	for _, s := range cfg.Servers {
		o.Servers = append(o.Servers, s.Name)
		o.Probes[s.Name] = orchestrator.Probes{SQL: probes.SQL(m.remotes[s.Name]), Daemon: func(ctx context.Context) (decide.Live, error) { return m.d.ask(ctx, s.Name) }}
		m.d.metrics.WatchServer("sql", s.Name)
		m.d.metrics.WatchServer("daemon", s.Name)
	}
	return o
}

const (
	// stallTimes is after how many detection times a pending commit counts as a
	// stalled disk: slow is not dead.
	stallTimes = 5
	// fenceBudget is what closing an old primary may take beyond its deadline,
	// the gate's grace included.
	fenceBudget = 4 * time.Second
)

// proofFile is where the daemon and the gate of a host meet.
func proofFile(cfg *config.Config) string {
	return filepath.Join(filepath.Dir(cfg.MySQL.RunFile), "proof.json")
}

func (m *memberRole) askToYield() {
	select {
	case m.yield <- struct{}{}:
	default:
	}
}

// start starts everything that a member does.
func (m *memberRole) start(ctx context.Context, group *errgroup.Group) {
	cfg := m.d.cfg
	group.Go(func() error { return m.member.Run(ctx) })
	group.Go(func() error { return m.register(ctx) })
	group.Go(func() error {
		return election.Campaign(ctx, m.d.client, election.CampaignOptions{Key: m.d.keys.Leader(), Value: []byte(cfg.Name),
			TTL: cfg.Timings.LeaderLease, Delay: m.holdBack, Yield: m.yield, Name: cfg.Name, Logger: m.d.log}, m.lead)
	})
	group.Go(func() error { return m.keepAway(ctx) })
	group.Go(func() error { return m.observe(ctx) })
}

func (m *memberRole) lead(ctx context.Context, l election.Leader) error {
	m.d.metrics.SetLeader(true)
	defer m.d.metrics.SetLeader(false)
	return m.leader.Lead(ctx, l)
}

// register keeps this member's lease, and hands each renewal with the record
// read after it to the member as a proof (S9).
func (m *memberRole) register(ctx context.Context) error {
	cfg := m.d.cfg
	api := ""
	if s, ok := cfg.Server(cfg.Name); ok {
		api = s.API
	}
	value, err := json.Marshal(decide.Member{Server: cfg.Name, API: api, Account: m.account, Version: version, Started: m.started})
	if err != nil {
		return fmt.Errorf("register %s: %w", cfg.Name, err)
	}
	var read *decide.Record // by the callbacks, which come from one goroutine
	return election.KeepRegistered(ctx, m.d.client, election.RegisterOptions{
		Key: m.d.keys.Member(cfg.Name), Value: func() []byte { return value }, TTL: cfg.Timings.MemberLease,
		ReadKey: m.d.keys.Record(),
		OnRead: func(kv election.KV, found bool) {
			read = nil
			if !found {
				return
			}
			r, err := bus.DecodeRecord(kv.Value)
			if err != nil {
				m.d.log.Error("the record proves nothing", "error", err)
				return
			}
			read = r
		},
		OnRenewed: func(sentAt time.Time) {
			m.d.metrics.LeaseRenewed(nil)
			if read != nil {
				m.member.ControlProof(*read, sentAt)
			}
		},
		OnLost: m.d.metrics.LeaseRenewed, Logger: m.d.log,
	})
}

// Evidence is what the health checks of this host judge by.
func (m *memberRole) Evidence() api.Evidence {
	s := m.d.bus.State()
	e := api.Evidence{Self: m.d.cfg.Name, Live: m.member.Live(), FreshFor: m.d.cfg.Timings.Detection, FenceDeadline: m.d.cfg.Timings.FenceDeadline}
	if s.Record != nil {
		e.Term, e.Primary = s.Record.Term, s.Record.Primary
	}
	spec, st := s.Specs[m.d.cfg.Name], s.Statuses[m.d.cfg.Name]
	e.Diverged = !spec.Errant.IsEmpty() || st.SpecRevision == spec.Revision && st.Problem == decide.CodeDiverged
	return e
}

// observe keeps the metrics of this server and of the record.
func (m *memberRole) observe(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		s := m.d.bus.State()
		m.d.metrics.SetLive(m.member.Live())
		m.d.metrics.SetRecord(s.Record)
		role := api.RoleNone
		if s.Record != nil {
			role = api.RoleReplica
			if s.Record.Primary == m.d.cfg.Name {
				role = api.RolePrimary
			}
		}
		m.d.metrics.SetRole(string(role))
		if v, leads := m.leader.Verdict(); leads {
			m.d.metrics.SetWaits(v.Decision.Waits)
		} else {
			m.d.metrics.SetWaits(nil)
		}
	}
}

// controlPassword reads the control account's password anew at each login.
func controlPassword(cfg *config.Config) func() (string, error) {
	return func() (string, error) { return config.ReadSecret(cfg.MySQL.ControlPasswordFile) }
}
