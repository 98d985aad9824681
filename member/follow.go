package member

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication"
)

// errLocked is MySQL's ER_ACCOUNT_HAS_BEEN_LOCKED, which a receiver meets
// until the source has unlocked this server's account.
const errLocked = 3118

// errFatalReading is MySQL's ER_SERVER_SOURCE_FATAL_ERROR_READING_BINLOG, with
// the source's own words: among others that it has purged what is asked for.
const errFatalReading = 13114

// follow replicates from the source. The switch for acknowledgements is set
// only once the receiver is known to point at that source (S3).
func (w *worker) follow(ctx context.Context) error {
	if w.spec.Rotate {
		if err := w.rotate(ctx); err != nil {
			w.log.Warn("no new binary log was begun", "error", err) // It only takes longer then.
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
	stale, err := w.staleLogin(ctx)
	if err != nil {
		return err
	}
	if !already || stale || snap.SourceUser != w.m.o.Replication.User || snap.Receiver == decide.ReceiverOff {
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
	if err := w.step("receive", func() error { return w.awaitReceiving(ctx) }); err != nil {
		return err
	}
	w.m.receivedWith.Store(w.m.attachedWith.Load())
	return nil
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
	with, err := w.m.login(ctx)
	if err != nil {
		return err
	}
	if err := w.local().Follow(ctx, replication.Source{Host: a.Host, Port: a.Port, User: r.User, Password: with.password,
		CAFile: r.CAFile, CertFile: with.cert, KeyFile: with.key, HeartbeatPeriod: r.SourceHeartbeat, NetTimeout: r.NetTimeout}); err != nil {
		return err
	}
	w.m.attachedWith.Store(&with)
	return nil
}

// login is how this server logs in at others, besides its account's name.
type login struct{ password, cert, key string }

const (
	// certificatePatience is how long it is waited until it is known what certificate
	// this server has, certificatePoll how often that is looked for.
	certificatePatience = 3 * time.Second
	certificatePoll     = 10 * time.Millisecond
)

// login is that of the moment.
func (m *Member) login(ctx context.Context) (with login, err error) {
	patience, cancel := context.WithTimeout(ctx, certificatePatience)
	defer cancel()
	for {
		c, known := m.o.Replication.Certificate()
		if known {
			return login{m.o.Replication.Password(), c.Cert, c.Key}, nil
		}
		if wait(patience, certificatePoll) != nil {
			return with, errors.New("it is not known yet which certificate mysqld has")
		}
	}
}

// staleLogin tells whether the receiver logs in otherwise than it should. MySQL is asked
// once, when this daemon does not know yet.
func (w *worker) staleLogin(ctx context.Context) (bool, error) {
	now, err := w.m.login(ctx)
	if err != nil {
		return false, err
	}
	if known := w.m.attachedWith.Load(); known != nil {
		return *known != now, nil
	}
	same, err := w.local().FollowsWith(ctx, now.password, now.cert)
	if err == nil && same {
		w.m.attachedWith.Store(&now)
	}
	return !same, err
}

// freshLogin tells whether the receiver logs in as it should, as far as is known.
func (m *Member) freshLogin() bool {
	was := m.attachedWith.Load()
	c, known := m.o.Replication.Certificate()
	return was == nil || !known || *was == login{m.o.Replication.Password(), c.Cert, c.Key}
}

// ReceivesAnew tells whether the receiver has connected to its source with the password
// and the certificate of the moment.
func (m *Member) ReceivesAnew() bool {
	with := m.receivedWith.Load()
	c, known := m.o.Replication.Certificate()
	return with != nil && known && *with == login{m.o.Replication.Password(), c.Cert, c.Key}
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
		if !w.m.freshLogin() {
			return errors.New("this server's account has another password or certificate since")
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
