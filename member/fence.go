package member

import (
	"context"
	"fmt"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication/process"
)

// Deadlines of the fence's stages; after each the next, harder one follows.
const (
	offlineDeadline       = 200 * time.Millisecond
	killClientsDeadline   = 200 * time.Millisecond
	superReadOnlyDeadline = 500 * time.Millisecond
)

// The causes of a fence, a closed set for metrics.
const (
	// CauseIsolated: nothing has proven for the fence deadline that the term is
	// current.
	CauseIsolated = "isolated"
	// CauseSuperseded: a later term exists.
	CauseSuperseded = "superseded"
)

// controlProof takes a record that was read linearizably after a renewal of
// the lease was sent.
func (s *state) controlProof(r decide.Record, sentAt time.Time) {
	if s.openTerm != 0 && r.Term > s.openTerm {
		s.superseded(r)
		return
	}
	if r.Term == s.openTerm && r.Primary == s.m.o.Server && sentAt.After(s.controlAt) {
		s.controlAt = sentAt
	}
}

// superseded kills an open server of an old term: a commit that waits in it
// must never be let go (S10).
func (s *state) superseded(r decide.Record) {
	s.m.log.Error("a later term exists while this server is open", "open", s.openTerm, "term", r.Term)
	s.fence(CauseSuperseded, fmt.Sprintf("term %d has %s as its primary", r.Term, r.Primary), true)
}

// guardAgainstIsolation closes an open primary that has had no proof of being
// current for the fence deadline (S9).
func (s *state) guardAgainstIsolation() {
	if s.openTerm == 0 || s.fencing {
		return
	}
	if s.record != nil && s.record.Term > s.openTerm && s.record.Primary != s.m.o.Server {
		s.superseded(*s.record)
		return
	}
	newest := s.controlAt
	if s.commitAt.After(newest) {
		newest = s.commitAt
	}
	if age := time.Since(newest); age > s.m.o.FenceDeadline {
		s.fence(CauseIsolated, fmt.Sprintf("neither etcd nor an acknowledged commit has shown for %s that term %d is current", age.Round(time.Millisecond), s.openTerm), false)
	}
}

// fence closes the server beside the loop. hard skips the polite stages.
func (s *state) fence(cause, why string, hard bool) {
	s.m.log.Error("fencing", "why", why)
	s.cancelJob()
	s.fencing, s.fenced = true, true
	s.closed()
	proc, begun := s.proc, time.Now()
	s.wg.Go(func() {
		err := s.m.close(s.ctx, proc, hard)
		s.m.send(s.ctx, func(s *state) { s.closedByFence(err, cause, why, begun) })
	})
}

func (s *state) closedByFence(err error, cause, why string, begun time.Time) {
	s.fencing = false
	if err != nil {
		// Not proven closed: try again at once, the hard way.
		s.m.log.Error("fence failed", "error", err)
		s.fence(cause, why, true)
		return
	}
	s.fencedAt = time.Now()
	took := s.fencedAt.Sub(begun)
	s.m.log.Warn("fenced: proven not writable", "why", why, "took", took)
	if s.m.o.Events != nil {
		s.m.o.Events.Fenced(cause, took)
	}
}

// close makes the server refuse clients: politely where that is proven within
// its deadline, else by SIGKILL with its death confirmed. Never by SIGTERM.
func (m *Member) close(ctx context.Context, proc process.State, hard bool) error {
	if !hard {
		err := m.closePolitely(ctx)
		if err == nil {
			return nil
		}
		m.log.Warn("the server does not close politely", "error", err)
	}
	killCtx, cancel := context.WithTimeout(ctx, killDeadline)
	defer cancel()
	return m.killRun(killCtx, proc)
}

// killRun kills that run of mysqld and no other, and returns once it is dead.
func (m *Member) killRun(ctx context.Context, proc process.State) error {
	run, err := process.ReadRunFile(m.o.RunFile)
	if err != nil {
		return fmt.Errorf("kill mysqld of %s: %w", m.o.Server, err)
	}
	if run.StartID != proc.StartID {
		return nil // Its gate has already started another run.
	}
	if err := process.Kill(ctx, run); err != nil {
		return fmt.Errorf("kill mysqld of %s: %w", m.o.Server, err)
	}
	return nil
}

func (m *Member) closePolitely(ctx context.Context) error {
	stages := []struct {
		deadline time.Duration
		do       func(context.Context) error
	}{
		{offlineDeadline, func(ctx context.Context) error { return m.o.Local.SetOffline(ctx, true) }},
		{killClientsDeadline, func(ctx context.Context) error { _, err := m.o.Local.KillClients(ctx); return err }},
		{superReadOnlyDeadline, m.o.Local.SetSuperReadOnly},
	}
	for _, stage := range stages {
		stageCtx, cancel := context.WithTimeout(ctx, stage.deadline)
		err := stage.do(stageCtx)
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}
