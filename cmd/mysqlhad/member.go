package main

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/config"
	"github.com/mysqlha/mysqlha/member"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication"
)

// memberRole is the daemon's part as a member: it watches over the local
// server.
type memberRole struct {
	d      *daemon
	local  *replication.Local
	member *member.Member
}

// newMemberRole gives the elector the local server's account as well.
func newMemberRole(d *daemon, e *elector) (_ *memberRole, err error) {
	cfg := d.cfg
	m := &memberRole{d: d}
	d.metrics.WatchLocal()
	d.metrics.WatchFences(member.Causes())
	d.metrics.WatchRejoins(member.Ways())
	d.metrics.WatchInterruptions(member.InterruptionCauses())
	d.metrics.WatchCuts(member.Cuts())
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
	m.member, err = member.New(m.memberOptions(e))
	return m, err
}

func (m *memberRole) close() {
	if m.local != nil {
		m.local.Close() //nolint:errcheck // nothing depends on how the connection ends
	}
}

func (m *memberRole) memberOptions(e *elector) member.Options {
	cfg := m.d.cfg
	return member.Options{
		Server: cfg.Name, Local: m.local, RunFile: cfg.MySQL.RunFile, ProofFile: proofFile(cfg), ClosedFile: closedFile(cfg), RewindFile: rewindFile(cfg), CloneFile: cloneFile(cfg), LetGoFile: letGoFile(cfg), ServerDataDir: cfg.MySQL.DataDir, DataDir: cfg.DataDir, Board: m.d.bus, Servers: m.d.sources,
		Executed: e.executed,
		Replication: member.Replication{User: replication.ReplicationUser(cfg.Name), Password: e.passwords.replicating, Certificate: m.d.tls.client, CAFile: cfg.TLS.CA,
			SourceHeartbeat: cfg.Timings.SourceHeartbeat, NetTimeout: cfg.Timings.ReplicaNetTimeout},
		ProbeInterval: cfg.Timings.ProbeInterval, HeartbeatRow: cfg.Timings.HeartbeatRow, Detection: cfg.Timings.Detection,
		FenceDeadline: cfg.Timings.FenceDeadline, Logger: m.d.log, Events: memberEvents{m.d.metrics, m.d},
	}
}

// proofFile is where the daemon of a host tells its gate that the server is
// current, closedFile where the gate tells the daemon that it closed it.
func proofFile(cfg *config.Config) string { return besideRunFile(cfg, "proof.json") }

func closedFile(cfg *config.Config) string { return besideRunFile(cfg, "closed.json") }

// rewindFile is where the gate notes what it cut off the binary log.
func rewindFile(cfg *config.Config) string { return filepath.Join(cfg.DataDir, "rewind.json") }

// cloneFile is where the daemon notes that the server is being cloned.
func cloneFile(cfg *config.Config) string { return filepath.Join(cfg.DataDir, "clone.json") }

// letGoFile is where the gate notes that mysqld was stopped past it.
func letGoFile(cfg *config.Config) string { return filepath.Join(cfg.DataDir, "let-go.json") }

// AdviseStart answers the gate by the record as it stands in etcd now.
func (m *memberRole) AdviseStart(ctx context.Context, term uint64, waited time.Duration) (decide.StartAnswer, error) {
	r, err := m.d.bus.ReadRecord(ctx)
	switch {
	case err != nil:
		return decide.StartAnswer{}, err
	case r.Version < m.member.RecordSeen() || r.Term < term:
		return decide.StartAnswer{}, errors.New("etcd was restored from an old backup: nothing is taken from it")
	}
	s := m.d.bus.State()
	if !s.Loaded() || !s.StaleSince.IsZero() {
		return decide.StartAnswer{}, errors.New("the settings have not been read from etcd yet")
	}
	answer := decide.AdviseStart(*r, m.d.cfg.Name, term, waited, s.Policy.Paused(time.Now()) != nil)
	if p := s.Policy; p != nil && p.AutoRejoin == decide.AutoRejoinOff {
		answer.Forbidden = "auto_rejoin is off"
	}
	return answer, nil
}

func besideRunFile(cfg *config.Config, name string) string {
	return filepath.Join(filepath.Dir(cfg.MySQL.RunFile), name)
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

// controlPassword reads the control account's password anew at each login.
func controlPassword(cfg *config.Config) func() (string, error) {
	return func() (string, error) { return config.ReadSecret(cfg.MySQL.ControlPasswordFile) }
}
