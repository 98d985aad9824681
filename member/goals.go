package member

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication"
	"github.com/mysqlha/mysqlha/replication/process"
)

// Deadlines of single statements. They bound how long a hung server holds a
// step up; the step then fails by name and is tried again.
const (
	stopReceiverDeadline = 1500 * time.Millisecond
	accountsDeadline     = 10 * time.Second
	killDeadline         = 10 * time.Second
	lockedRetry          = 20 * time.Millisecond
	recordDeadline       = 2 * time.Second
	rotateDeadline       = time.Second
	// A candidate's steps take milliseconds, unless a client's lock is in the
	// way; an applier may have more to do.
	lockPatience  = time.Second
	applyPatience = 3 * time.Second
	// attachPoll is how often a receiver is looked at that is to connect, growing to
	// attachPollMost where no plan waits for it.
	attachPoll     = 2 * time.Millisecond
	attachPollMost = 250 * time.Millisecond
)

// worker carries out one spec. Every step may be done again without harm.
type worker struct {
	m   *Member
	job *job
	// log says which term and plan it is about.
	log     *slog.Logger
	spec    decide.Spec
	proc    process.State
	wasOpen bool
	isOpen  bool
	// weakened: it was found not to wait for replicas.
	weakened bool
	// logIndex is the file that lists the binary logs, fit whether all required
	// variables are right.
	logIndex string
	fit      bool
	// offline: offline_mode was on when it was revoked.
	offline bool
	held    decide.Held
	cut     decide.SessionsCut
	steps   map[string]float64
}

func (w *worker) run(ctx context.Context) error {
	if w.wasOpen && w.spec.Goal != decide.GoalPrimary && w.spec.Goal != decide.GoalDemote {
		return w.kill(ctx, string(w.spec.Goal))
	}
	if w.spec.Goal != decide.GoalStand && w.spec.Goal != decide.GoalClone {
		if err := w.awaitVerified(ctx); err != nil {
			return err
		}
	}
	switch w.spec.Goal {
	case decide.GoalStand:
		return w.stand(ctx)
	case decide.GoalInitialise:
		return w.initialise(ctx)
	case decide.GoalFollow:
		return w.follow(ctx)
	case decide.GoalClone:
		return w.clone(ctx)
	case decide.GoalRevoke:
		return w.revoke(ctx)
	case decide.GoalPromote:
		return w.promote(ctx)
	case decide.GoalPrimary:
		return w.primary(ctx)
	case decide.GoalDemote:
		return w.demote(ctx)
	default:
		return &refusal{decide.CodeStepFailed, fmt.Sprintf("this daemon does not know the goal %q: it is older than the leader", w.spec.Goal)}
	}
}

// step times one part of the work.
func (w *worker) step(name string, do func() error) error {
	begun := time.Now()
	err := do()
	w.steps[name] = float64(time.Since(begun).Microseconds()) / 1000
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// kill ends a mysqld that clients may have written to. Its gate's supervisor
// starts it again, harmless.
func (w *worker) kill(ctx context.Context, why string) error {
	w.log.Warn("mysqld was open and must not be any more: killing it", "goal", why, "run", w.proc.StartID)
	ctx, cancel := context.WithTimeout(ctx, killDeadline)
	defer cancel()
	if err := w.m.killRun(ctx, w.proc); err != nil {
		return err
	}
	return errors.New("mysqld was killed because clients may have written to it; waiting for its supervisor")
}

func (w *worker) local() *replication.Local { return w.m.o.Local }

// harmless makes sure that nothing here can be acknowledged or written to.
func (w *worker) harmless(ctx context.Context) error {
	snap, err := w.local().Read(ctx)
	if err != nil {
		return err
	}
	if snap.SemiSync.SourceEnabled {
		if snap.SemiSync.WaitSessions > 0 {
			return w.kill(ctx, "a commit waits for an acknowledgement")
		}
		// It never opened in this run, so no client can be waiting (S10).
		if err := w.local().CeaseSource(ctx); err != nil {
			return err
		}
	}
	if !snap.SuperReadOnly {
		return w.local().SetSuperReadOnly(ctx)
	}
	return nil
}

func (w *worker) stand(ctx context.Context) error {
	if err := w.harmless(ctx); err != nil {
		return err
	}
	if err := w.local().SetReplicaAcks(ctx, false); err != nil {
		return err
	}
	return w.stopReceiver(ctx)
}

func (w *worker) initialise(ctx context.Context) error {
	if err := w.step("accounts", func() error { return w.local().Initialise(ctx, w.spec.Accounts) }); err != nil {
		return err
	}
	return w.readHeld(ctx)
}

func (w *worker) readHeld(ctx context.Context) (err error) {
	w.held, err = w.local().Held(ctx)
	return err
}

// stopReceiver stops the receiver. One that is still connecting counts as
// stopped where it cannot acknowledge any more: on reaching its source with the
// switch off it ends by itself.
func (w *worker) stopReceiver(ctx context.Context) error {
	stopCtx, cancel := context.WithTimeout(ctx, stopReceiverDeadline)
	defer cancel()
	err := w.local().StopReceiver(stopCtx)
	if err == nil {
		return nil
	}
	if state, err2 := w.local().ReceiverState(ctx); err2 == nil && state != decide.ReceiverOn {
		return nil
	}
	return err
}

// revoke makes sure that this server acknowledges nothing more and reads what
// it has after that (S4).
func (w *worker) revoke(ctx context.Context) error {
	if err := w.ceaseAcknowledging(ctx); err != nil {
		return err
	}
	return w.step("read_sets", func() error { return w.readHeld(ctx) })
}

// ceaseAcknowledging has this server receive and acknowledge nothing more.
func (w *worker) ceaseAcknowledging(ctx context.Context) error {
	return w.step("revoke", func() error {
		if err := w.local().SetReplicaAcks(ctx, false); err != nil {
			return err
		}
		if err := w.stopReceiver(ctx); err != nil {
			return err
		}
		return w.revoked(ctx)
	})
}

// revoked reads back that nothing more can be acknowledged.
func (w *worker) revoked(ctx context.Context) error {
	snap, err := w.local().Read(ctx)
	if err != nil {
		return err
	}
	w.offline = snap.OfflineMode
	if snap.SemiSync.ReplicaEnabled || snap.Receiver == decide.ReceiverOn {
		return fmt.Errorf("%s is not revoked: receiver %s, acknowledging %t", w.m.o.Server, snap.Receiver, snap.SemiSync.ReplicaEnabled)
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func cloneSteps(steps map[string]float64) map[string]float64 {
	out := make(map[string]float64, len(steps))
	for k, v := range steps {
		out[k] = v
	}
	return out
}
