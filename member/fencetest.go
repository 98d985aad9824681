package member

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication/process"
)

// undoDeadline bounds how long a tested fence is tried to be lifted.
const undoDeadline = 5 * time.Second

// Refusal is why nothing was done to a server.
type Refusal struct{ Reason string }

func (r *Refusal) Error() string { return r.Reason }

// TestFence closes this server in the way in which a cut-off primary is closed,
// proves that it is, and lets clients in again. Clients that read here are cut
// off for that moment. With kill mysqld is killed in the end, and its supervisor
// starts it again. Only a replica that is well is fenced, and only while its loss
// would stop nothing: anything else is a *Refusal. Should the leader want
// something of the server meanwhile, the test is ended at once. What failed is in
// the report.
func (m *Member) TestFence(ctx context.Context, kill bool) (decide.FenceTest, error) {
	record, err := m.o.Board.ReadRecord(ctx)
	if err != nil {
		return decide.FenceTest{}, fmt.Errorf("test the fence of %s: the record cannot be read: %w", m.o.Server, err)
	}
	if reason := untestable(record, m.o.Server, kill); reason != "" {
		return decide.FenceTest{}, &Refusal{Reason: reason}
	}
	type outcome struct {
		report decide.FenceTest
		err    error
	}
	ended := make(chan outcome, 1)
	m.send(ctx, func(s *state) {
		if err := s.testFence(kill, func(r decide.FenceTest, err error) { ended <- outcome{r, err} }); err != nil {
			ended <- outcome{err: err}
		}
	})
	select {
	case o := <-ended:
		return o.report, o.err
	case <-ctx.Done():
		return decide.FenceTest{}, fmt.Errorf("test the fence of %s: %w", m.o.Server, context.Cause(ctx))
	}
}

// untestable returns why the record does not let a server be fenced for a test,
// empty where it does.
func untestable(r *decide.Record, server string, kill bool) string {
	switch {
	case r == nil || r.Term == 0:
		return "the cluster has not begun"
	case r.Primary == server:
		return server + " is the primary, and writes would stop: name a replica"
	case r.Plan != nil:
		return fmt.Sprintf("a plan is under way (%s, in phase %s): wait until it has ended", r.Plan.Kind, r.Plan.Phase)
	case kill && slices.Contains(r.InSync, server) && len(r.InSync) <= r.RequiredAcks:
		return fmt.Sprintf("only %d replicas are in sync and %d must acknowledge: without %s writes would stop", len(r.InSync), r.RequiredAcks, server)
	}
	return ""
}

// testFence starts a test beside the loop; done is told how it ended.
func (s *state) testFence(kill bool, done func(decide.FenceTest, error)) error {
	switch {
	case s.openTerm != 0 || s.fencing || s.fenced || s.wasOpen():
		return &Refusal{Reason: s.m.o.Server + " takes writes, or may have in this run of mysqld: name a replica"}
	case !s.following():
		return &Refusal{Reason: s.m.o.Server + " is no replica that is well: see mysqlha status"}
	case s.snap.OfflineMode:
		return &Refusal{Reason: s.m.o.Server + " has offline_mode on already: somebody has taken it out of service"}
	}
	proc := s.proc
	return s.goOnErrand("a test of the fence", func(ctx context.Context) (func(*state), func()) {
		report := s.m.runFenceTest(ctx, proc, kill)
		ended := time.Now()
		return func(s *state) {
			if !report.Killed && !report.Failed() {
				s.shutAt, s.snap.OfflineMode = ended, false // What was read during it says nothing any more.
			}
		}, func() { done(report, nil) }
	})
}

// runFenceTest does to a replica what a fence does to a primary, and undoes it,
// also where a stage was given up: it may have taken effect all the same.
func (m *Member) runFenceTest(ctx context.Context, proc process.State, kill bool) decide.FenceTest {
	report := decide.FenceTest{Server: m.o.Server}
	stage := noted(&report)
	m.log.Warn("the fence is tested: clients are refused for a moment", "kill", kill)
	err := m.fenceInStages(ctx, &report, stage, proc, kill)
	if ctx.Err() != nil {
		_ = stage("ended", func() error { return context.Cause(ctx) }) // It is in the report.
	}
	if !report.Killed { // The next run starts without it.
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoDeadline)
		defer cancel()
		err = errors.Join(err, stage("undo", func() error { return m.o.Local.SetOffline(undo, false) }))
	}
	m.log.Warn("the test of the fence has ended", "closed_after", report.Closed, "error", err)
	return report
}

func (m *Member) fenceInStages(ctx context.Context, report *decide.FenceTest, stage stageFunc, proc process.State, kill bool) error {
	begun := time.Now()
	if err := m.endClients(ctx, CutFenceTest, stage); err != nil {
		return err
	}
	if err := m.refuseWrites(ctx, stage); err != nil {
		return err
	}
	err := stage("prove", func() error {
		snap, err := m.o.Local.Read(ctx)
		if err == nil && !(snap.OfflineMode && snap.SuperReadOnly) {
			err = fmt.Errorf("offline_mode is %t and super_read_only %t", snap.OfflineMode, snap.SuperReadOnly)
		}
		return err
	})
	if err != nil {
		return err
	}
	report.Closed = time.Since(begun)
	if !kill {
		return nil
	}
	return stage("kill", func() error {
		ctx, cancel := context.WithTimeout(ctx, killDeadline)
		defer cancel()
		err := m.killRun(ctx, proc)
		report.Killed = err == nil
		return err
	})
}

// noted does each stage and notes it in the report.
func noted(report *decide.FenceTest) stageFunc {
	return func(name string, do func() error) error {
		begun := time.Now()
		err := do()
		s := decide.FenceStage{Name: name, Took: time.Since(begun)}
		if err != nil {
			s.Error = err.Error()
			err = fmt.Errorf("%s: %w", name, err)
		}
		report.Stages = append(report.Stages, s)
		return err
	}
}
