package sandbox

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/deploy/sandbox/load"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// Phase is one part of the time between a kill and the first acknowledged write.
type Phase struct {
	// Name says what happened in it.
	Name string
	// Took is how long it lasted.
	Took time.Duration
}

// The names of the phases, in their order.
const (
	// PhaseDetect ends when the leader has opened the plan.
	PhaseDetect = "detect"
	// PhaseRevoke ends when the choice of the candidate is journaled.
	PhaseRevoke = "revoke and choose"
	// PhasePromote ends when the candidate has applied, the others follow and the
	// new term is published.
	PhasePromote = "apply and follow"
	// PhaseOpen ends when the server has made its own commit and is open.
	PhaseOpen = "own commit and open"
	// PhaseFirst ends with the first acknowledged write of a client.
	PhaseFirst = "first write"
)

// Phases returns the names of the phases in their order.
func Phases() []string {
	return []string{PhaseDetect, PhaseRevoke, PhasePromote, PhaseOpen, PhaseFirst}
}

// Failover is what the loss of a primary was like.
type Failover struct {
	// Old is the server whose mysqld was killed, New the one after it.
	Old, New string
	// Killed is the moment of the kill, just before the call.
	Killed time.Time
	// Total is the time from then to First.Acked.
	Total time.Duration
	// First is the first acknowledged insert that was begun after the kill in a
	// session opened after it.
	First load.Ack
	// Phases are the parts of Total, nil if the history does not tell them.
	Phases []Phase
	// History is the plan as it ended, nil if no failover was in the history in
	// time.
	History *decide.History
}

// FailPrimary sends the primary's mysqld a signal that ends or freezes it
// (SIGKILL, SIGSTOP), waits for the first acknowledged write that was begun
// afterwards, and then for the history to tell the phases.
func (s *Sandbox) FailPrimary(ctx context.Context, g *load.Generator, fault syscall.Signal) (Failover, error) {
	old, err := s.Primary(ctx)
	if err != nil {
		return Failover{}, err
	}
	f := Failover{Old: old}
	id, err := s.Pid(ctx, old)
	if err != nil {
		return f, fmt.Errorf("killing the primary: %w", err)
	}
	f.Killed = time.Now()
	if err := id.Signal(fault); err != nil {
		return f, fmt.Errorf("killing the primary: %w", err)
	}
	if f.First, err = g.Await(ctx, load.AfterReconnect(f.Killed)); err != nil {
		return f, fmt.Errorf("after the kill of %s: %w", old, err)
	}
	f.Total = f.First.Acked.Sub(f.Killed)
	if i := int(f.First.Server) - 1; i >= 0 && i < len(s.Servers()) {
		f.New = s.Servers()[i]
	}
	if f.New == old {
		return f, fmt.Errorf("after the kill of %s: it took the first write itself, so no failover was measured", old)
	}
	f.History, err = s.awaitHistory(ctx, f.Killed)
	if err != nil {
		return f, err
	}
	f.Phases = phasesOf(f.Killed, f.History.Plan.Marks, f.First.Acked)
	return f, nil
}

// awaitHistory returns the failover that was opened after a moment.
func (s *Sandbox) awaitHistory(ctx context.Context, after time.Time) (*decide.History, error) {
	var found *decide.History
	err := poll(ctx, "waiting for the failover in the history", func(ctx context.Context) error {
		entries, err := s.client.History(ctx, 20)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(entries, func(h decide.History) bool {
			return h.Plan.Kind == decide.PlanFailover && len(h.Plan.Marks) > 0 && h.Plan.Marks[0].At.After(after)
		})
		if i < 0 {
			return fmt.Errorf("the history has %d entries and not that one", len(entries))
		}
		found = &entries[i]
		return nil
	})
	return found, err
}

// phasesOf splits the time from the kill to the first acknowledged write at the
// marks of the plan. All are of one machine's clock here. The open phase ends
// in etcd a moment after applications may write, so a write may come before it.
func phasesOf(killed time.Time, marks []decide.Mark, acked time.Time) []Phase {
	names := map[string]string{string(decide.PhaseRevoke): PhaseRevoke, string(decide.PhasePromote): PhasePromote, string(decide.PhaseOpen): PhaseOpen}
	current, since := PhaseDetect, killed.Round(0)
	var phases []Phase
	for _, m := range marks {
		if m.At.After(acked) {
			break
		}
		phases = append(phases, Phase{current, m.At.Sub(since)})
		since = m.At
		if current = names[m.Name]; current == "" {
			current = PhaseFirst
		}
	}
	if current == PhaseOpen {
		// The plan had not ended: opening and the first write cannot be told apart.
		return append(phases, Phase{PhaseOpen, acked.Round(0).Sub(since)}, Phase{PhaseFirst, 0})
	}
	return append(phases, Phase{current, acked.Round(0).Sub(since)})
}

// StartLoad starts writers through the write port.
func (s *Sandbox) StartLoad(ctx context.Context, o load.Options) (*load.Generator, error) {
	c, err := s.App(s.WriteAddr())
	if err != nil {
		return nil, err
	}
	if o.Connector, err = mysql.NewConnector(c); err != nil {
		return nil, fmt.Errorf("starting a load: %w", err)
	}
	return load.Start(ctx, o)
}

// CheckLoad compares what was acknowledged with what the primary of this moment
// has, which it asks directly. It waits for the cluster to have one.
func (s *Sandbox) CheckLoad(ctx context.Context, result load.Result) (load.Report, error) {
	var primary string
	if err := s.AwaitCluster(ctx, "a primary is open", func(c api.Cluster) bool {
		if !IsOpen(c) {
			return false
		}
		primary = c.Record.Primary
		return true
	}); err != nil {
		return load.Report{}, err
	}
	report, err := checkAt(ctx, result, func() (*sql.DB, error) { return s.OpenApp(s.layout.mysqlAddr(primary)) })
	if err != nil {
		return load.Report{}, fmt.Errorf("at %s: %w", primary, err)
	}
	return report, nil
}

func checkAt(ctx context.Context, result load.Result, open func() (*sql.DB, error)) (load.Report, error) {
	db, err := open()
	if err != nil {
		return load.Report{}, err
	}
	defer db.Close() // Nothing of it is needed any more.
	return load.Check(ctx, db, result)
}
