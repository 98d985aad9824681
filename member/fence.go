package member

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication"
	"github.com/mysqlha/mysqlha/replication/process"
)

// Deadlines of the fence's stages; after each the next, harder one follows.
const (
	offlineDeadline       = 200 * time.Millisecond
	killClientsDeadline   = 200 * time.Millisecond
	superReadOnlyDeadline = 500 * time.Millisecond
	// countPatience is what a fence waits to hear whom it will cut off: metrics alone
	// want to know. countDeadline bounds the question, which goes on beside the fence.
	countPatience = 20 * time.Millisecond
	countDeadline = time.Second
)

// The causes of a fence, a closed set for metrics.
const (
	// CauseIsolated: nothing has proven for the fence deadline that the term is
	// current.
	CauseIsolated = "isolated"
	// CauseSuperseded: a later term exists.
	CauseSuperseded = "superseded"
	// CauseHung: the server does not answer its own daemon, and a commit hangs.
	CauseHung = "hung"
	// CauseGate: the gate closed it while its daemon did not.
	CauseGate = "gate"
)

// Causes returns all causes of a fence.
func Causes() []string { return []string{CauseIsolated, CauseSuperseded, CauseHung, CauseGate} }

// The causes for which clients' sessions are ended, a closed set for metrics. Those that
// end with a mysqld that is killed are not known.
const (
	// CutIdle, CutInTransaction and CutForced are those of a switchover: of clients that did
	// nothing, that had ended their transaction in time, and that had something under way.
	CutIdle          = "switchover_idle"
	CutInTransaction = "switchover_in_transaction"
	CutForced        = "switchover_forced"
	// CutFence: the server was fenced politely.
	CutFence = "fence"
	// CutFenceTest: somebody tried the fence.
	CutFenceTest = "fence_test"
	// CutInTheWay: somebody who read here may have held a lock that stood in the way of a
	// server's next role.
	CutInTheWay = "in_the_way"
)

// Cuts returns all causes for which sessions are ended.
func Cuts() []string {
	return []string{CutIdle, CutInTransaction, CutForced, CutFence, CutFenceTest, CutInTheWay}
}

// controlProof takes a record that was read linearizably after a renewal of
// the lease was sent.
func (s *state) controlProof(r decide.Record, sentAt time.Time) {
	if s.openTerm != 0 && r.Term > s.openTerm {
		s.superseded(r)
		return
	}
	// Also while it is closed: only a fresh proof lets a fenced server open again.
	if r.Primary == s.m.o.Server && (r.Term == s.openTerm || s.openTerm == 0) && sentAt.After(s.controlAt) {
		s.controlAt = sentAt
	}
}

// superseded kills an open server of an old term: a commit that waits in it
// must never be let go (S10).
func (s *state) superseded(r decide.Record) {
	s.m.log.Error("a later term exists while this server is open", "open", s.openTerm, "term", r.Term)
	s.fence(CauseSuperseded, fmt.Sprintf("term %d has %s as its primary", r.Term, r.Primary), true)
}

// newestProof returns the latest moment at which no later term was open.
func (s *state) newestProof() time.Time {
	if s.commitAt.After(s.controlAt) {
		return s.commitAt
	}
	return s.controlAt
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
	if age := time.Since(s.newestProof()); age > s.m.o.FenceDeadline {
		s.fence(CauseIsolated, fmt.Sprintf("neither etcd nor an acknowledged commit has shown for %s that term %d is current", age.Round(time.Millisecond), s.openTerm), s.spec.Suspended)
		return
	}
	hung := s.m.o.FenceDeadline
	if !s.answers && !s.pendingSince.IsZero() && time.Since(s.pendingSince) > hung && time.Since(s.answeredAt) > hung {
		// Behind a hanging CREATE USER no replica can log in to end the wait.
		s.fence(CauseHung, fmt.Sprintf("a commit has been pending for %s and the server has not answered for %s",
			time.Since(s.pendingSince).Round(time.Millisecond), time.Since(s.answeredAt).Round(time.Millisecond)), true)
	}
}

// lookAtWaiting notices that somebody has changed by hand how commits wait. The
// status says so until a later commit is on enough replicas: meanwhile a
// failover might lose what was acknowledged.
func (s *state) lookAtWaiting(readAt time.Time) {
	j := s.job
	if s.openTerm == 0 || s.weakened || s.spec.Suspended {
		return
	}
	// While it lets transactions end, it goes on waiting as it did before.
	settled := j != nil && j.state == decide.SpecDone && j.spec.Revision == s.spec.Revision && readAt.After(j.doneAt)
	if !settled && s.spec.Goal != decide.GoalDemote {
		return
	}
	if ss := s.snap.SemiSync; !waits(ss, s.spec.RequiredAcks) {
		s.m.log.Error("commits do not wait for replicas as they must: somebody changed it by hand", "term", s.openTerm, "enabled", ss.SourceEnabled,
			"status", ss.SourceStatus, "lossless", ss.Lossless, "acks", ss.RequiredAcks)
		s.setWeakened(true)
	}
}

// waits tells whether every commit waits for k replicas.
func waits(ss replication.SemiSync, k int) bool {
	return ss.SourceEnabled && ss.SourceStatus && ss.Lossless && ss.RequiredAcks >= k
}

// setWeakened also outlives the daemon: the status of a new one must not forget.
func (s *state) setWeakened(on bool) {
	s.weakened = on
	if err := s.m.terms.setWeakened(on); err != nil {
		s.m.log.Error("whether commits wait as they must is not kept", "error", err)
	}
}

// tellGate tells the gate when this server was last proven current. The gate
// closes it when that is too long ago: it may be that nobody else can any more.
func (s *state) tellGate() {
	newest := s.newestProof()
	open := s.openTerm != 0
	if !open && s.proofAt.IsZero() || open && newest.Sub(s.proofAt) < proofStep && !s.proofAt.IsZero() {
		return
	}
	proof := process.Proof{StartID: s.proc.StartID, Open: open, Alone: s.spec.Suspended, At: process.BootTime() - time.Since(newest)}
	if err := process.WriteProof(s.m.o.ProofFile, proof); err != nil {
		s.m.log.Error("the gate cannot be told that this server is current", "error", err)
		return
	}
	if s.proofAt = newest; !open {
		s.proofAt = time.Time{}
	}
}

// proofStep is how much newer a proof must be for the gate to be told.
const proofStep = 200 * time.Millisecond

// fence closes the server beside the loop. hard skips the polite stages.
func (s *state) fence(cause, why string, hard bool) {
	s.close(fenceCall{cause: cause, why: why, term: s.openTerm, proven: s.newestProof(), begun: time.Now()}, hard)
}

// fenceCall is one fence, from the decision until it is proven.
type fenceCall struct {
	cause, why string
	// term is that in which the server was open.
	term uint64
	// proven is when the server was last proven current.
	proven, begun time.Time
}

func (s *state) close(f fenceCall, hard bool) {
	s.m.log.Error("fencing", "term", f.term, "cause", f.cause, "why", f.why)
	s.cancelJob()
	s.fencing, s.fenced = true, true
	s.closed()
	proc, k := s.proc, s.spec.RequiredAcks
	s.wg.Go(func() {
		err := s.m.close(s.ctx, proc, k, hard)
		s.m.send(s.ctx, func(s *state) { s.closedByFence(err, f) })
	})
}

func (s *state) closedByFence(err error, f fenceCall) {
	s.fencing = false
	if err != nil {
		// Not proven closed: try again, the hard way.
		s.m.log.Error("fence failed", "term", f.term, "error", err)
		s.fencing = true
		s.wg.Go(func() {
			if wait(s.ctx, lockedRetry) == nil {
				s.m.send(s.ctx, func(s *state) { s.close(f, true) })
			}
		})
		return
	}
	s.fencedAt = time.Now()
	took, sinceProof := s.fencedAt.Sub(f.begun), s.fencedAt.Sub(f.proven)
	s.m.log.Warn("fenced: proven not writable", "term", f.term, "cause", f.cause, "why", f.why, "took", took, "since_proof", sinceProof)
	if s.m.o.Events != nil {
		s.m.o.Events.Fenced(f.cause, took, sinceProof)
	}
}

// close makes the server refuse clients: politely where that is proven within
// its deadline, else by SIGKILL with its death confirmed. Never by SIGTERM.
func (m *Member) close(ctx context.Context, proc process.State, k int, hard bool) error {
	if !hard {
		err := m.closePolitely(ctx, k)
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

// closePolitely ends all clients and lets none in. Commits that wait for replicas
// hold super_read_only up, and may: their clients are gone, they and all that
// could follow them wait for k replicas, and as long as the server lives they
// end well once the replicas are back in the same term. Killed, it would commit
// them on its way up and be diverged.
func (m *Member) closePolitely(ctx context.Context, k int) error {
	untold := func(_ string, do func() error) error { return do() }
	if err := m.endClients(ctx, CutFence, untold); err != nil {
		return err
	}
	err := m.refuseWrites(ctx, untold)
	if err == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, superReadOnlyDeadline)
	defer cancel()
	snap, readErr := m.o.Local.Read(ctx)
	if ss := snap.SemiSync; readErr != nil || !snap.OfflineMode || ss.WaitSessions == 0 || !waits(ss, max(1, k)) {
		return errors.Join(err, readErr)
	}
	m.log.Warn("commits wait for replicas, and their clients are gone", "waiting", snap.SemiSync.WaitSessions)
	return nil
}

// stageFunc does one stage of a fence and returns its error.
type stageFunc = func(name string, do func() error) error

// endClients lets no client in and ends those that are there; cause is for which of the
// causes they are counted.
func (m *Member) endClients(ctx context.Context, cause string, stage stageFunc) error {
	there := m.countClients(ctx) // offline_mode ends most of them by itself.
	defer there.stop()
	err := stage("offline_mode", func() error {
		ctx, cancel := context.WithTimeout(ctx, offlineDeadline)
		defer cancel()
		return m.o.Local.SetOffline(ctx, true)
	})
	if err != nil {
		return err
	}
	return stage("kill_clients", func() error {
		ctx, cancel := context.WithTimeout(ctx, killClientsDeadline)
		defer cancel()
		left, err := m.o.Local.KillClients(ctx)
		m.tellCut(cause, max(there.known(), left))
		return err
	})
}

// clientCount is a question of how many clients there are.
type clientCount struct {
	cancel context.CancelFunc
	answer chan int
}

// countClients asks how many clients there are, and waits for the answer for a moment. The
// question is not given up then: that would close its connection, and the fence might
// need the time that another login takes.
func (m *Member) countClients(ctx context.Context) *clientCount {
	ctx, cancel := context.WithTimeout(ctx, countDeadline)
	c := &clientCount{cancel: cancel, answer: make(chan int, 1)}
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		if clients, err := m.o.Local.Clients(ctx); err == nil {
			c.answer <- len(clients)
		}
		close(c.answer)
	}()
	select {
	case <-answered:
	case <-time.After(countPatience):
	}
	return c
}

// known is the answer, 0 where there is none yet.
func (c *clientCount) known() int {
	select {
	case n := <-c.answer:
		return n
	default:
		return 0
	}
}

// stop ends the question.
func (c *clientCount) stop() {
	c.cancel()
	for range c.answer { // Until it has ended.
	}
}

// tellCut tells of sessions that were ended.
func (m *Member) tellCut(cause string, n int) {
	if m.o.Events != nil && n > 0 {
		m.o.Events.SessionsCut(cause, n)
	}
}

// refuseWrites sets super_read_only, behind which commits that wait may hang.
func (m *Member) refuseWrites(ctx context.Context, stage stageFunc) error {
	return stage("super_read_only", func() error {
		ctx, cancel := context.WithTimeout(ctx, superReadOnlyDeadline)
		defer cancel()
		return m.o.Local.SetSuperReadOnly(ctx)
	})
}
