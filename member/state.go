package member

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication"
	"github.com/mysqlha/mysqlha/replication/process"
)

// state is what the loop owns. Nothing else touches it.
type state struct {
	m   *Member
	ctx context.Context
	wg  sync.WaitGroup

	proc   process.State
	snap   replication.Snapshot
	snapAt time.Time
	// commitRead is when the last own commit was begun that had been acknowledged
	// before snap was read, locked that one is kept waiting by a lock.
	commitRead time.Time
	locked     bool
	// heartbeat is how old the newest heartbeat row of a replica was then.
	heartbeat      time.Duration
	heartbeatKnown bool
	answers        bool
	answeredAt     time.Time
	// checked are the findings of this run of mysqld, empty whether it is.
	checked  string
	checking bool
	findings []decide.Finding
	empty    bool
	logIndex string

	spec   decide.SpecAt
	record *decide.Record
	// job is the work on the spec, nil before the first.
	job *job
	// retryAt is when a job that failed, or whose outcome no longer holds, is
	// done again.
	retryAt time.Time
	// repeats counts how often the spec was carried out again.
	repeats int

	// openTerm is the term in which this run of mysqld takes writes.
	openTerm uint64
	heart    context.CancelFunc

	// proofs: no later term was open at these moments (S9).
	controlAt, commitAt time.Time
	pendingSince        time.Time
	fencing, fenced     bool
	fencedAt            time.Time
	// shutAt is when the server was closed for another to take over, or let clients in
	// again after a test of its fence. What was read before counts for nothing.
	shutAt time.Time
	// errand is under way, nil for none.
	errand *errand
	// pulse finds interruptions of writes.
	pulse pulse
	// weakened: the open server was found not to wait for replicas.
	weakened bool
	// proofAt is the proof that the gate was told of last.
	proofAt time.Time
	past    bool // etcd's record is of the past; said once
	foreign bool // what is remembered is of another cluster

	last decide.Status
}

func newState(ctx context.Context, m *Member) *state {
	return &state{m: m, ctx: ctx, pulse: pulse{period: m.o.HeartbeatRow}, weakened: m.terms.now().Weakened}
}

// stop ends worker and heart and waits for them.
func (s *state) stop() {
	s.cancelJob()
	s.stopHeart()
	s.wg.Wait()
}

func (s *state) loop(ctx context.Context) error {
	tick := time.NewTicker(s.m.o.ProbeInterval)
	defer tick.Stop()
	for {
		changed := s.m.o.Board.Changed()
		if err := s.takeSpec(); err != nil {
			return err
		}
		if err := s.work(); err != nil {
			return err
		}
		s.guardAgainstIsolation()
		s.tellGate()
		s.report()
		select {
		case <-ctx.Done():
			return nil
		case f := <-s.m.inbox:
			f(s)
		case <-changed:
		case <-tick.C:
			if err := s.m.terms.keep(); err != nil {
				return err
			}
		}
	}
}

// takeSpec reads what has arrived from etcd.
func (s *state) takeSpec() error {
	spec, record := s.m.o.Board.Own()
	if record != nil && record.ID != "" {
		_, member := decide.FindServer(record.Servers, s.m.o.Server)
		foreign, err := s.m.terms.belongs(record.ID, member)
		if err != nil {
			return err
		}
		if foreign && !s.foreign {
			s.m.log.Error("the daemon's folder remembers another cluster: nothing is done", "cluster", record.ID)
		}
		if s.foreign = foreign; foreign {
			return nil
		}
	}
	if record != nil && s.m.terms.sawRecord(record.Version) {
		if !s.past {
			s.past = true
			s.m.log.Error(restoredMessage, "version", record.Version, "seen", s.m.RecordSeen())
		}
		return nil
	}
	s.past = false
	if spec.Revision >= s.spec.Revision {
		s.spec = spec
	}
	s.record = record
	return nil
}

// processChanged takes the watcher's word for the mysqld process.
func (s *state) processChanged(p process.State) {
	if p.StartID != s.proc.StartID || p.Process != decide.ProcessRunning {
		s.answers = false
		s.closed()
		s.cancelJob()
		s.job = nil
		if p.StartID != s.proc.StartID {
			s.fenced = false
		}
	}
	s.proc = p
	s.m.log.Info("mysqld process", "state", p.Process, "run", p.StartID)
	select {
	case s.m.kick <- struct{}{}:
	default:
	}
}

// closed notes that the server does not take writes any more.
func (s *state) closed() {
	s.openTerm = 0 // Weakened stays until it is disproved: the death itself may lose what it names.
	s.stopHeart()
	s.commitAt, s.pendingSince = time.Time{}, time.Time{}
}

// polled takes what the poller read.
func (s *state) polled(p polled) {
	err := p.err
	if _, alive := replication.Classify(err); err != nil && alive {
		s.answeredAt = time.Now() // It refuses us, and so does not hang.
	}
	if err != nil || s.proc.Process != decide.ProcessRunning {
		if s.answers && err != nil && s.ctx.Err() == nil {
			s.m.log.Warn("mysqld does not answer", "error", err)
		}
		s.answers = false
		return
	}
	if p.at.Before(s.shutAt) {
		return
	}
	s.snap, s.snapAt, s.answers, s.answeredAt = p.snap, p.at, true, time.Now()
	s.commitRead, s.locked = p.committed, p.locked
	s.heartbeat, s.heartbeatKnown = p.heartbeat, p.heartbeatKnown
	if p.heartbeatKnown && s.spec.Goal != decide.GoalPrimary { // Else it may be its own.
		s.pulse.heard(p.at.Add(-p.heartbeat))
	}
	s.lookAtWaiting(p.at)
	if s.checked != s.proc.StartID {
		s.check()
	}
	s.adopt()
}

// check looks at the server's variables once per run of mysqld, beside the
// loop, since a server that hangs must not hold it up.
func (s *state) check() {
	if s.checking {
		return
	}
	s.checking = true
	run := s.proc.StartID
	s.wg.Go(func() {
		ctx, cancel := context.WithTimeout(s.ctx, 5*time.Second)
		defer cancel()
		// In trouble no login may succeed any more.
		warmErr := s.m.o.Local.Warm(ctx)
		findings, err := s.m.o.Local.Check(ctx)
		empty, err2 := s.m.o.Local.IsEmpty(ctx)
		logIndex, err3 := s.m.o.Local.LogIndex(ctx)
		s.m.send(s.ctx, func(s *state) {
			s.wasChecked(run, findings, empty, errors.Join(err, err2, err3, warmErr))
			s.logIndex = logIndex
		})
	})
}

func (s *state) wasChecked(run string, findings []decide.Finding, empty bool, err error) {
	s.checking = false
	if err != nil {
		s.m.log.Warn("server not checked yet", "error", err)
		return
	}
	for _, f := range findings {
		s.m.log.Error("required variable", "code", f.Code, "detail", f.Detail)
	}
	s.findings, s.empty, s.checked = findings, empty, run
}

// adopt takes over a server that an earlier run of this daemon opened.
func (s *state) adopt() {
	t := s.m.terms.now()
	if s.spec.Goal == decide.GoalDemote || s.openTerm != 0 || s.fenced || s.fencing || s.snap.ReadOnly || s.snap.OfflineMode || t.Opened.Run != s.proc.StartID {
		return
	}
	control := s.controlAt
	s.pulse.last = time.Time{} // Whether writes were interrupted meanwhile is not known.
	s.opened(t.Opened.Term)
	// What is not proven since the last daemon is not proven, but for what this one
	// has proved while it did not know of it.
	if proof, err := process.ReadProof(s.m.o.ProofFile); err == nil && proof.StartID == s.proc.StartID {
		s.controlAt, s.commitAt = time.Now().Add(-proof.Age()), time.Time{}
		if control.After(s.controlAt) {
			s.controlAt = control
		}
	}
}

// opened notes that the server takes writes, and starts the heart.
func (s *state) opened(term uint64) {
	if s.openTerm == term {
		s.beatAgain()
		return
	}
	s.openTerm, s.fenced = term, false
	now := time.Now()
	s.controlAt, s.commitAt = now, now
	if since, known := s.pulse.opened(now); known {
		s.interrupted(InterruptedByTerm, since, now)
	}
	s.startHeart(term)
	if term == s.spec.Term {
		about(s.m.log, s.spec.Spec).Info("open for writes")
	} else { // By an earlier run of this daemon.
		s.m.log.Info("open for writes", "term", term)
	}
}

// interrupted tells that nobody is known to have taken writes for a while.
func (s *state) interrupted(cause string, since, until time.Time) {
	if s.m.o.Events != nil {
		s.m.o.Events.Interrupted(cause, since, until)
	}
}

// conforms tells whether the last poll agrees with a spec that is done.
func (s *state) conforms() bool {
	if !s.answers {
		return true // Nothing can be told, and nothing can be done.
	}
	sn := s.snap
	switch s.spec.Goal {
	case decide.GoalFollow:
		return sn.SuperReadOnly && sn.Receiver != decide.ReceiverOff && s.m.serverAt(sn.SourceHost, sn.SourcePort) == s.spec.Source && sn.Applier == decide.ReceiverOn &&
			sn.SemiSync.ReplicaEnabled == s.spec.Acks && s.m.freshLogin() &&
			(sn.Receiver != decide.ReceiverOn || sn.SemiSync.ReplicaStatus == s.spec.Acks)
	case decide.GoalPrimary:
		return s.openTerm == s.spec.Term && !sn.ReadOnly && !sn.OfflineMode && !s.fenced && !s.weakened &&
			(s.spec.Suspended || sn.SemiSync.RequiredAcks == s.spec.RequiredAcks)
	case decide.GoalPromote, decide.GoalRevoke:
		return sn.ReadOnly
	case decide.GoalDemote:
		return sn.SuperReadOnly
	case decide.GoalStand:
		return sn.SuperReadOnly && sn.Receiver != decide.ReceiverOn
	default:
		return true
	}
}

// report publishes the status if it changed, and the running figures always.
func (s *state) report() {
	st := decide.Status{
		Process: s.proc.Process, StartID: s.proc.StartID, OpenTerm: s.openTerm,
		Fenced: s.fenced, Weakened: s.weakened, Findings: s.findings, TermSeen: s.m.terms.now().Term,
		ServerUUID: s.snap.ServerUUID,
		Empty:      s.empty && s.checked == s.proc.StartID && s.proc.Process == decide.ProcessRunning && s.m.terms.now().Term == 0,
	}
	if s.foreign {
		st.TermSeen = 0 // It says nothing of this one's.
	}
	known := s.m.terms.now()
	st.TailOf, st.FollowedTerm = known.tailOf(), known.FollowedTerm
	if st.TailOf > 0 && known.Opened.ServerUUID != "" {
		st.ServerUUID = known.Opened.ServerUUID // A restart may have brought a new one since.
	}
	if run := s.m.letGo.Load(); run != nil && st.TailOf > 0 && *run == known.Opened.Run {
		st.LetGo = true
	}
	if notices := s.m.notices.Load(); notices != nil {
		st.Notices = *notices
	}
	if code := s.m.unusable.Load(); code != nil {
		st.Unusable = *code
	}
	if s.checked != s.proc.StartID && st.Process == decide.ProcessRunning {
		st.StartID = "" // Not known well enough to be anybody's evidence.
	}
	if j := s.job; j != nil {
		st.SpecRevision, st.Plan, st.State = j.spec.Revision, j.spec.Plan, j.state
		st.Problem, st.Detail, st.Held, st.Steps, st.Cut = j.problem, j.detail, j.held, j.steps, j.cut
		st.AcksOff = j.acksOff
		st.Held.StartID = j.run
	}
	if s.job == nil && s.proc.Process == decide.ProcessGone && s.spec.Goal == decide.GoalStand {
		// It starts harmless (S8), and nobody here will open it.
		st.SpecRevision, st.Plan, st.State = s.spec.Revision, s.spec.Plan, decide.SpecDone
	}
	if !reflect.DeepEqual(st, s.last) {
		s.last = st
		s.m.status.set(st)
	}
	s.m.live.Store(&liveAt{Live: s.figures(), read: s.snapAt, commitBegun: s.commitAt, pendingSince: s.pendingSince, commitRead: s.commitRead})
	pending := s.pendingSince // A copy: the loop goes on changing its own.
	s.m.pending.Store(&pending)
}

func (s *state) figures() decide.Live {
	sn := s.snap
	l := decide.Live{
		Server: s.m.o.Server, At: s.snapAt, Process: s.proc.Process, StartID: s.proc.StartID, Answers: s.answers, ServerID: sn.ServerID,
		ReadOnly: sn.ReadOnly, SuperReadOnly: sn.SuperReadOnly, Offline: sn.OfflineMode,
		Executed: sn.Executed, Received: sn.Received,
		Receiver: sn.Receiver, Applier: sn.Applier, Source: s.m.serverAt(sn.SourceHost, sn.SourcePort), SourceUUID: sn.SourceUUID, Waits: sn.SemiSync.SourceEnabled,
		ReceiverErrno: sn.ReceiverErrno, ReceiverError: sn.ReceiverError, ApplierErrno: sn.ApplierErrno, ApplierError: sn.ApplierError,
		ContactAge: sn.ContactAge, Acks: sn.SemiSync.ReplicaStatus, AckEnabled: sn.SemiSync.ReplicaEnabled,
		HeartbeatAge: s.heartbeat, HeartbeatKnown: s.heartbeatKnown, Lag: sn.Lag, LagKnown: sn.LagKnown, Delay: sn.Delay, LagTransactions: sn.LagTransactions,
		Attached: sn.SemiSync.Clients, OpenTerm: s.openTerm, CommitLocked: s.locked,
	}
	if p := s.m.cloning.Load(); p != nil {
		l.Clone = *p
	}
	if d := s.m.disk.Load(); d != nil {
		l.Disk = *d
	}
	return l
}

// serverAt names the server at an address, empty for none of ours.
func (m *Member) serverAt(host string, port int) string {
	for name, a := range m.o.Servers() {
		if a.Host == host && a.Port == port {
			return name
		}
	}
	return ""
}
