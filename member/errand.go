package member

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// errandDeadline bounds what is done to a server for its own account's sake.
const errandDeadline = 5 * time.Second

// errWanted ends an errand.
var errWanted = errors.New("the leader wants something of this server")

// errand is what is done to the server beside the loop while it is as the leader wants
// it to be; the loop owns it. Whatever the leader wants next ends it first.
type errand struct {
	name   string
	spec   int64 // the revision under which it was begun
	cancel context.CancelCauseFunc
}

// goOnErrand starts one. At its end the loop does what do returned, and whoever waits is
// told by ended, also where the loop has ended before.
func (s *state) goOnErrand(name string, do func(context.Context) (after func(*state), ended func())) error {
	if s.errand != nil {
		return &Refusal{Reason: fmt.Sprintf("%s is under way", s.errand.name)}
	}
	ctx, cancel := context.WithCancelCause(s.ctx)
	s.errand = &errand{name: name, spec: s.spec.Revision, cancel: cancel}
	s.wg.Go(func() {
		defer cancel(nil)
		after, ended := do(ctx)
		s.m.send(s.ctx, func(s *state) {
			s.errand = nil
			after(s)
		})
		ended()
	})
	return nil
}

// yieldToWork ends an errand for whatever the leader wants, and tells whether the work
// on it must wait a moment.
func (s *state) yieldToWork() bool {
	if s.errand == nil {
		return false
	}
	if s.spec.Revision != s.errand.spec {
		s.errand.cancel(errWanted)
	}
	return true
}

// following tells whether the server is a closed replica, as the leader wants it to be.
func (s *state) following() bool {
	return s.spec.Goal == decide.GoalFollow && s.settled() && s.snap.SuperReadOnly && s.openTerm == 0 && !s.fencing && !s.fenced
}

// writing tells whether the server takes writes, as the leader wants it to.
func (s *state) writing() bool {
	return s.spec.Goal == decide.GoalPrimary && s.settled() && s.openTerm == s.spec.Term && !s.fencing && !s.fenced
}

// settled tells whether what the leader wanted is done.
func (s *state) settled() bool {
	j := s.job
	return s.answers && s.proc.Process == decide.ProcessRunning && j != nil && j.state == decide.SpecDone && j.spec.Revision == s.spec.Revision
}

// GiveControlPassword lets another password, told by its hash, open the account that this
// daemon controls its server with, besides the present one, and DropFormerControlPassword
// has the newer one alone open it. On a replica super_read_only goes off for that moment, read_only
// stays on. Both are a *Refusal while the server is not what the leader wants it to be.
func (m *Member) GiveControlPassword(ctx context.Context, hash string) error {
	return m.changeControl(ctx, func(ctx context.Context, unlock bool) error { return m.o.Local.GivePassword(ctx, hash, unlock) })
}

// DropFormerControlPassword is described at GiveControlPassword.
func (m *Member) DropFormerControlPassword(ctx context.Context) error {
	return m.changeControl(ctx, m.o.Local.DropFormerPassword)
}

func (m *Member) changeControl(ctx context.Context, change func(ctx context.Context, unlock bool) error) error {
	ended := make(chan error, 1)
	m.send(ctx, func(s *state) {
		replica := s.following()
		if !replica && !s.writing() {
			ended <- &Refusal{Reason: m.o.Server + " is not as the leader wants it to be: see mysqlha status"}
			return
		}
		err := s.goOnErrand("a change of the daemon's account", func(ctx context.Context) (func(*state), func()) {
			ctx, cancel := context.WithTimeout(ctx, errandDeadline)
			defer cancel()
			err := change(ctx, replica)
			at := time.Now()
			return func(s *state) {
				if replica {
					s.shutAt = at // What was read meanwhile says nothing any more.
				}
			}, func() { ended <- err }
		})
		if err != nil {
			ended <- err
		}
	})
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
