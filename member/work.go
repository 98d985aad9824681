package member

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication/gtid"
)

// Set is a set of GTIDs.
type Set = gtid.Set

const (
	// retryPause is how long a step that failed, or whose outcome was undone by
	// somebody, waits before it is done again; longestPause is the most where nobody
	// waits for it.
	retryPause   = time.Second
	longestPause = 8 * time.Second
	// forgottenAfter is how long all must have been well before a repeat counts as the
	// first again.
	forgottenAfter = time.Minute
)

// job is one attempt to carry out one spec in one run of mysqld.
type job struct {
	spec   decide.SpecAt
	run    string
	cancel context.CancelFunc
	done   chan struct{} // closed when its goroutine has ended

	// What the status says of it; owned by the loop.
	state   decide.SpecState
	problem decide.Code
	detail  string
	held    decide.Held
	cut     decide.SessionsCut
	steps   map[string]float64
	acksOff bool
	doneAt  time.Time
}

// refusal is an error that ends a spec: carrying it out would break a rule.
type refusal struct {
	code   decide.Code
	detail string
}

func (r *refusal) Error() string { return r.detail }

// work starts, or starts again, the job that the newest spec asks for.
func (s *state) work() error {
	if s.spec.Revision == 0 || s.past || s.fencing || s.proc.Process != decide.ProcessRunning || s.checked != s.proc.StartID {
		return nil
	}
	if s.record != nil {
		if err := s.m.terms.saw(s.record.Term); err != nil {
			return err
		}
	}
	if s.yieldToWork() {
		return nil
	}
	now := time.Now()
	if j := s.job; j != nil && j.spec.Revision == s.spec.Revision && j.spec.Equal(s.spec.Spec) && j.run == s.proc.StartID {
		settled := j.state != decide.SpecWorking
		if !settled || j.state == decide.SpecDone && s.conforms() {
			s.retryAt = time.Time{}
			if settled && now.Sub(j.doneAt) > forgottenAfter {
				s.repeats = 0
			}
			return nil
		}
		if s.retryAt.IsZero() {
			s.retryAt = now.Add(s.pause())
			if s.weakened {
				s.retryAt = now // Each write in between is at risk.
			}
		}
		if now.Before(s.retryAt) || j.state == decide.SpecRefused && j.problem != decide.CodeDiverged {
			return nil
		}
	}
	if s.fenced && !s.controlAt.After(s.fencedAt) && s.spec.Goal == decide.GoalPrimary {
		return nil // Only a fresh proof of control opens a fenced server again.
	}
	s.retryAt = time.Time{}
	s.cancelJob()
	return s.start()
}

// pause returns how long it is waited before a spec is carried out again. For a
// server that nobody waits for it is longer each time: what somebody else must
// mend is not mended by haste, and a clone that fails has copied much.
func (s *state) pause() time.Duration {
	unhurried := s.spec.Goal == decide.GoalClone || s.spec.Goal == decide.GoalFollow && !s.spec.Acks && s.spec.Plan == ""
	if !unhurried {
		return retryPause
	}
	return min(retryPause<<min(s.repeats, 10), longestPause)
}

func (s *state) start() error {
	if err := s.m.terms.saw(s.spec.Term); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(s.ctx)
	j := &job{spec: s.spec, run: s.proc.StartID, cancel: cancel, done: make(chan struct{}), state: decide.SpecWorking}
	if old := s.job; old != nil && old.spec.Revision == j.spec.Revision && old.spec.Equal(j.spec.Spec) && old.run == j.run {
		j.acksOff = old.acksOff // Nothing has switched it on since.
		s.repeats++
	} else {
		s.repeats = 0
	}
	s.job = j
	if seen := s.m.terms.now().Term; s.spec.Term < seen {
		// S1: etcd speaks of the past.
		cancel()
		close(j.done)
		j.state, j.problem = decide.SpecRefused, decide.CodeTermWentBack
		j.detail = fmt.Sprintf("the spec is of term %d, this server has seen %d", s.spec.Term, seen)
		return nil
	}
	w := s.newWorker(j)
	if s.openTerm != 0 && s.openTerm != s.spec.Term {
		s.closed()
	}
	s.wg.Go(func() {
		defer close(j.done)
		err := w.run(ctx)
		if err != nil && ctx.Err() != nil {
			return // Cancelled for a newer spec or another run: no outcome.
		}
		s.m.send(s.ctx, func(s *state) { s.worked(w, err) })
	})
	return nil
}

// newWorker prepares what carries a job out, with what is known now.
func (s *state) newWorker(j *job) *worker {
	return &worker{m: s.m, job: j, log: about(s.m.log, j.spec.Spec), spec: j.spec.Spec, wasOpen: s.wasOpen(), weakened: s.weakened,
		isOpen: s.openTerm != 0 && s.openTerm == j.spec.Term && !(s.answers && (s.snap.ReadOnly || s.snap.OfflineMode)),
		steps:  make(map[string]float64), proc: s.proc, logIndex: s.logIndex, fit: len(s.findings) == 0}
}

// about is the log of what is done for a spec: a plan is followed through all hosts by
// its id.
func about(log *slog.Logger, spec decide.Spec) *slog.Logger {
	log = log.With("term", spec.Term)
	if spec.Plan != "" {
		log = log.With("plan", spec.Plan)
	}
	return log
}

// wasOpen tells whether clients may have written to this run of mysqld. Such a
// server is killed before it becomes anything else: no polite way is known
// that never lets a waiting commit go (S10).
func (s *state) wasOpen() bool {
	t := s.m.terms.now()
	return s.openTerm != 0 || t.Opened.Run == s.proc.StartID || s.answers && !s.snap.ReadOnly
}

// worked takes the outcome of a job, if it is still the newest.
func (s *state) worked(w *worker, err error) {
	if s.job != w.job {
		return
	}
	j := w.job
	j.held, j.steps, j.cut = w.held, w.steps, w.cut
	var refused *refusal
	switch {
	case err == nil:
		j.state, j.problem, j.detail = decide.SpecDone, "", ""
		j.doneAt = time.Now()
		if j.spec.Goal == decide.GoalFollow {
			s.m.terms.followed(j.spec.Term)
		}
		if w.weakened && (j.spec.Goal == decide.GoalPrimary || j.spec.Goal == decide.GoalFollow) {
			s.setWeakened(false) // A later commit is on enough replicas, and so is all before it.
		}
		w.log.Info("spec done", "goal", j.spec.Goal, "ms", w.steps)
	case errors.As(err, &refused):
		j.state, j.problem, j.detail = decide.SpecRefused, refused.code, refused.detail
		w.log.Error("spec refused", "goal", j.spec.Goal, "reason", refused.detail)
	default:
		j.state, j.problem, j.detail = decide.SpecFailed, decide.CodeStepFailed, err.Error()
		s.retryAt = time.Now().Add(s.pause())
		w.log.Error("spec failed, will be tried again", "goal", j.spec.Goal, "error", err)
	}
	select {
	case s.m.kick <- struct{}{}:
	default:
	}
}

// cancelJob ends the running job and waits until it has.
func (s *state) cancelJob() {
	j := s.job
	if j == nil {
		return
	}
	j.cancel()
	for {
		select {
		case <-j.done:
			return
		case f := <-s.m.inbox:
			f(s) // It may be handing something over.
		}
	}
}
