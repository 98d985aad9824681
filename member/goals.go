package member

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
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

// errLocked is MySQL's ER_ACCOUNT_HAS_BEEN_LOCKED, which a receiver meets
// until the source has unlocked this server's account.
const errLocked = 3118

// errFatalReading is MySQL's ER_SERVER_SOURCE_FATAL_ERROR_READING_BINLOG, with
// the source's own words: among others that it has purged what is asked for.
const errFatalReading = 13114

// worker carries out one spec. Every step may be done again without harm.
type worker struct {
	m       *Member
	job     *job
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
	w.m.log.Warn("mysqld was open and must not be any more: killing it", "goal", why, "run", w.proc.StartID)
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

// follow replicates from the source. The switch for acknowledgements is set
// only once the receiver is known to point at that source (S3).
func (w *worker) follow(ctx context.Context) error {
	if w.spec.Rotate {
		if err := w.rotate(ctx); err != nil {
			w.m.log.Warn("no new binary log was begun", "error", err) // It only takes longer then.
		}
	}
	a, err := w.m.address(w.spec.Source)
	if err != nil {
		return err
	}
	snap, err := w.local().Read(ctx)
	if err != nil {
		return err
	}
	// MySQL takes a second to switch source-side semi-sync off. One that has just
	// closed itself for another applies nothing before that, but it can receive and
	// acknowledge, which that other may be waiting for.
	late := w.spec.Plan != "" && snap.SemiSync.SourceEnabled && snap.SemiSync.WaitSessions == 0 && snap.SuperReadOnly
	if !late {
		if err := w.harmless(ctx); err != nil {
			return err
		}
	}
	already := w.m.serverAt(snap.SourceHost, snap.SourcePort) == w.spec.Source
	if !already || snap.SourceUser != w.m.o.Replication.User || snap.Receiver == decide.ReceiverOff {
		if err := w.step("repoint", func() error { return w.repoint(ctx, a, already) }); err != nil {
			return err
		}
	}
	if err := w.local().SetReplicaAcks(ctx, w.spec.Acks); err != nil {
		return err
	}
	// The switch has no effect on a running receiver.
	if snap.Receiver != decide.ReceiverOff && snap.SemiSync.ReplicaStatus != w.spec.Acks {
		if err := w.stopReceiver(ctx); err != nil {
			return err
		}
	}
	if !w.spec.Acks {
		w.confirmAcksOff(ctx)
	}
	if !late {
		if err := w.local().StartApplier(ctx); err != nil {
			return err
		}
	}
	if err := w.local().StartReceiver(ctx); err != nil {
		return err
	}
	return w.step("receive", func() error { return w.awaitReceiving(ctx) })
}

func (w *worker) rotate(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, rotateDeadline)
	defer cancel()
	return w.step("rotate", func() error { return w.local().RotateBinaryLog(ctx) })
}

// confirmAcksOff reports, for this spec and no other, that the switch is off
// and that no receiver runs that was started with it on. Only then may the
// source let an unlisted server attach (S3).
func (w *worker) confirmAcksOff(ctx context.Context) {
	w.m.send(ctx, func(s *state) { w.job.acksOff = true })
}

// repoint points a stopped receiver at the source, after making sure that this
// server has nothing that the source lacks (S7). What it received from that
// very source is there, even if it waits there for its acknowledgement and so
// is not in gtid_executed yet.
func (w *worker) repoint(ctx context.Context, a Address, already bool) error {
	if err := w.local().SetReplicaAcks(ctx, false); err != nil {
		return err
	}
	if err := w.stopReceiver(ctx); err != nil {
		return err
	}
	held, err := w.local().Sets(ctx)
	if err != nil {
		return err
	}
	have := held.All()
	if already {
		have = held.Executed.Subtract(held.Received)
	}
	beyond, err := w.beyond(ctx, have)
	if err != nil {
		return err
	}
	if !beyond.IsEmpty() {
		return &refusal{decide.CodeDiverged, fmt.Sprintf("%s has transactions that %s does not have: %s", w.m.o.Server, w.spec.Source, beyond)}
	}
	r := w.m.o.Replication
	return w.local().Follow(ctx, replication.Source{Host: a.Host, Port: a.Port, User: r.User, Password: r.Password,
		CAFile: r.CAFile, HeartbeatPeriod: r.SourceHeartbeat, NetTimeout: r.NetTimeout})
}

const (
	// overtakenTries is how often a source is asked again whether it lacks something,
	// overtakenPause how long is waited before.
	overtakenTries = 3
	overtakenPause = 100 * time.Millisecond
)

// beyond returns what this server has and its source has not. A source sends a
// transaction before it has committed it, so it is asked more than once.
func (w *worker) beyond(ctx context.Context, have Set) (Set, error) {
	if !w.spec.Target.IsEmpty() {
		return have.Subtract(w.spec.Target), nil
	}
	for try := 1; ; try++ {
		there, err := w.m.o.Executed(ctx, w.spec.Source)
		if err != nil {
			return Set{}, err
		}
		if beyond := have.Subtract(there); beyond.IsEmpty() || try == overtakenTries {
			return beyond, nil
		}
		if err := wait(ctx, overtakenPause); err != nil {
			return Set{}, err
		}
	}
}

// awaitReceiving waits until the receiver is connected, acknowledges as asked,
// and has received the target.
func (w *worker) awaitReceiving(ctx context.Context) error {
	pause := attachPoll
	for {
		snap, err := w.local().Read(ctx)
		if err != nil {
			return err
		}
		if snap.Receiver == decide.ReceiverOn && snap.SemiSync.ReplicaStatus == w.spec.Acks {
			if err := w.readHeld(ctx); err != nil {
				return err
			}
			if w.held.All().Contains(w.spec.Target) {
				return nil
			}
		}
		if snap.ReceiverErrno != 0 && snap.Receiver != decide.ReceiverOn {
			if snap.Receiver == decide.ReceiverOff && snap.ReceiverErrno == errFatalReading && strings.Contains(snap.ReceiverError, "purged") {
				return &refusal{decide.CodeSourcePurged, fmt.Sprintf("%s has purged binary logs that %s needs", w.spec.Source, w.m.o.Server)}
			}
			if snap.Receiver == decide.ReceiverOff {
				return fmt.Errorf("the receiver stopped with error %d: %s", snap.ReceiverErrno, snap.ReceiverError)
			}
			if snap.ReceiverErrno == errLocked {
				// It would try again in a second; the account is unlocked in
				// milliseconds.
				if err := wait(ctx, lockedRetry); err != nil {
					return err
				}
				if err := w.local().RestartReceiver(ctx); err != nil {
					return err
				}
			}
		}
		if err := wait(ctx, pause); err != nil {
			return err
		}
		most := attachPollMost
		if w.spec.Plan != "" {
			most = 2 * attachPoll // Writes may wait for it.
		}
		pause = min(pause*3/2, most)
	}
}

// promote applies everything and prepares the server to be primary. It stays
// closed: read_only is on until the term is published (S5).
func (w *worker) promote(ctx context.Context) error {
	if err := w.step("receive", func() error { return w.awaitTarget(ctx) }); err != nil {
		return err
	}
	if err := w.ceaseAcknowledging(ctx); err != nil {
		return err
	}
	err := w.insist(ctx, applyPatience, func(ctx context.Context) error {
		return w.step("apply", func() error { return w.local().ApplyWait(ctx, w.spec.Target) })
	})
	if err != nil {
		return err
	}
	if w.offline {
		// Else no follower could attach, and without them no term is published. It
		// stays closed for writes.
		if err := w.local().SetOffline(ctx, false); err != nil {
			return err
		}
	}
	if err := w.step("become_source", func() error { return w.becomeSource(ctx) }); err != nil {
		return err
	}
	if err := w.lock(ctx); err != nil {
		return err
	}
	return w.readHeld(ctx)
}

// lock locks all replication accounts but those that may attach and ends their
// sessions (S3).
func (w *worker) lock(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, accountsDeadline)
	defer cancel()
	once := func(ctx context.Context) error {
		return w.step("lock_accounts", func() error { return w.local().LockAccounts(ctx, w.spec.Attach) })
	}
	err := error(nil)
	if w.isOpen || w.spec.Adopt {
		err = once(ctx)
	} else {
		err = w.insist(ctx, lockPatience, once)
	}
	if err == nil {
		w.m.locked.Store(&lockedAs{w.proc.StartID, slices.Clone(w.spec.Attach), time.Now()})
	}
	if errors.Is(err, replication.ErrNotPrepared) {
		w.m.log.Warn("a server cannot attach", "error", err)
		return nil // The others can, and nobody else.
	}
	return err
}

// lockedAs is how the accounts were locked last: in which run, for whom, and when.
type lockedAs struct {
	run    string
	attach []string
	at     time.Time
}

// lockedLately is how long it is not looked again whether the accounts are locked as
// they were: between a candidate's preparation and its opening.
const lockedLately = 2 * time.Second

// isLocked tells whether the accounts were locked likewise a moment ago.
func (w *worker) isLocked() bool {
	l := w.m.locked.Load()
	return l != nil && l.run == w.proc.StartID && slices.Equal(l.attach, w.spec.Attach) && time.Since(l.at) < lockedLately
}

// insist does a step of a server that is closed for writes. If it is not done
// in time, the clients that read here are ended, since one of them may hold a
// lock that is in the way (a backup's, or a table's), and it is done again.
func (w *worker) insist(ctx context.Context, patience time.Duration, do func(context.Context) error) error {
	short, cancel := context.WithTimeout(ctx, patience)
	err := do(short)
	cancel()
	if err == nil || ctx.Err() != nil || short.Err() == nil {
		return err
	}
	ended, killErr := w.local().KillClients(ctx)
	w.m.log.Warn("a step took too long; the clients that might be in its way were ended", "after", patience, "clients", ended, "error", err)
	if killErr != nil {
		return killErr
	}
	return do(ctx)
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
