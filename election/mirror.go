package election

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Event is one change of one key.
type Event struct {
	KV
	Deleted bool // then Value is empty
}

// Update is what a mirror tells its consumer. Updates come in the order of revisions, from one goroutine.
type Update struct {
	// Full: Events are the whole state, and keys not among them do not exist. The first update is full, and so is any
	// that follows a gap (etcd compacted what was missed, or was restored from a backup).
	Full bool
	// Revision is the cluster's revision up to which the mirror is complete.
	Revision int64
	// Events are the changes, empty if the update only tells that the mirror became stale or fresh.
	Events []Event
	// FreshAt is the latest moment for which a linearizable read has proven the mirror complete.
	FreshAt time.Time
	// StaleSince is zero while the mirror is fresh; otherwise it is FreshAt at the time it went stale.
	StaleSince time.Time
}

// MirrorOptions say what to mirror.
type MirrorOptions struct {
	Prefix string // mirror all keys that begin so
	Exact  bool   // mirror only the key named Prefix
	// CheckInterval is how often the mirror is compared with a linearizable read; 0 means 1 s. Nothing is written.
	CheckInterval time.Duration
	// CheckTimeout is how long the watched member may take to show what such a read has proven; then the watch is opened
	// again, at another member. 0 means 500 ms.
	CheckTimeout time.Duration
	// StaleAfter is the age of the last proof from which the mirror counts as stale; 0 means 2 s.
	StaleAfter time.Duration
	Logger     *slog.Logger // nil discards
}

// errReload asks for a new full state, errReopen for a new watch from where the last one ended.
var (
	errReload = errors.New("state must be read anew")
	errReopen = errors.New("watch must be opened anew")
)

// Mirror calls onChange with the state of the keys and each change until ctx ends, and then returns nil. onChange must
// not block for long: while it does, changes pile up in memory and the mirror goes stale.
func Mirror(ctx context.Context, client *clientv3.Client, o MirrorOptions, onChange func(Update)) error {
	if o.Prefix == "" {
		return errors.New("mirror etcd: no prefix")
	}
	o.CheckInterval = orDefault(o.CheckInterval, time.Second)
	o.CheckTimeout = orDefault(o.CheckTimeout, 500*time.Millisecond)
	o.StaleAfter = orDefault(o.StaleAfter, 2*time.Second)
	m := &mirror{MirrorOptions: o, client: client, onChange: onChange, log: orDiscard(o.Logger).With("prefix", o.Prefix)}
	m.freshAt = time.Now() // not proven, only the moment from which staleness is counted
	for ctx.Err() == nil {
		err := m.load(ctx)
		for err == nil || errors.Is(err, errReopen) {
			err = m.follow(ctx)
			m.judge()
			if !sleep(ctx, retryPause) {
				return nil
			}
			m.log.Debug("watch ended", "error", err)
		}
		m.judge()
		if ctx.Err() == nil {
			m.log.Debug("reading all keys anew", "error", err)
			sleep(ctx, retryPause)
		}
	}
	return nil
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}

// mirror is the state of one Mirror; only its goroutine touches it.
type mirror struct {
	MirrorOptions
	client     *clientv3.Client
	onChange   func(Update)
	log        *slog.Logger
	loaded     bool
	rev        int64     // complete up to here
	revAt      time.Time // when that was reached
	freshAt    time.Time
	staleSince time.Time
}

func (m *mirror) opts(more ...clientv3.OpOption) []clientv3.OpOption {
	if !m.Exact {
		more = append(more, clientv3.WithPrefix())
	}
	return more
}

// load reads everything and delivers it.
func (m *mirror) load(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	sentAt := time.Now()
	resp, err := m.client.Get(ctx, m.Prefix, m.opts()...)
	if err != nil {
		return fmt.Errorf("read %s from etcd: %w", m.Prefix, err)
	}
	events := make([]Event, 0, len(resp.Kvs))
	for _, kv := range resp.Kvs {
		events = append(events, Event{KV: newKV(kv)})
	}
	m.loaded, m.rev, m.revAt = true, resp.Header.Revision, time.Now()
	m.freshAt, m.staleSince = sentAt, time.Time{}
	m.deliver(true, events)
	return nil
}

func (m *mirror) deliver(full bool, events []Event) {
	m.onChange(Update{Full: full, Revision: m.rev, Events: events, FreshAt: m.freshAt, StaleSince: m.staleSince})
}

// proven notes that the mirror was complete at the given moment.
func (m *mirror) proven(at time.Time) {
	if at.After(m.freshAt) {
		m.freshAt = at
	}
	m.judge()
}

// judge tells the consumer when the mirror has become stale or fresh. Before the first full state there is nothing to be
// stale.
func (m *mirror) judge() {
	stale := time.Since(m.freshAt) > m.StaleAfter
	if !m.loaded || stale == !m.staleSince.IsZero() {
		return
	}
	m.staleSince = time.Time{}
	if stale {
		m.staleSince = m.freshAt
	}
	m.deliver(false, nil)
}

// follow watches from the next revision on and compares with linearizable reads. It returns errReload or errReopen,
// wrapped with the reason.
func (m *mirror) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	// A watcher of its own has a stream of its own: one that hangs at a member can be closed and opened elsewhere.
	watcher := clientv3.NewWatcher(m.client)
	defer watcher.Close() //nolint:errcheck // nothing depends on how the stream ends
	hung := time.AfterFunc(m.CheckTimeout, cancel)
	responses := watcher.Watch(ctx, m.Prefix, m.opts(clientv3.WithRev(m.rev+1))...)
	if !hung.Stop() {
		return fmt.Errorf("%w: member does not answer", errReopen)
	}
	f := &follower{mirror: m, ctx: ctx, watcher: watcher}
	readings := make(chan reading)
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.probe(ctx, readings)
	}()
	err := f.run(responses, readings)
	cancel()
	<-done
	return err
}

// reading is the result of one linearizable read.
type reading struct {
	sentAt   time.Time
	revision int64
	err      error
}

// probe reads the cluster's revision linearizably, once at the start and then every CheckInterval.
func (m *mirror) probe(ctx context.Context, out chan<- reading) {
	for {
		r := reading{sentAt: time.Now()}
		tctx, cancel := context.WithTimeout(ctx, tryTimeout)
		resp, err := m.client.Get(tctx, m.Prefix, clientv3.WithKeysOnly())
		cancel()
		if r.err = err; err == nil {
			r.revision = resp.Header.Revision
		}
		select {
		case out <- r:
		case <-ctx.Done():
			return
		}
		pause := m.CheckInterval
		if err != nil {
			pause = retryPause // the next try goes to another member
		}
		if !sleep(ctx, pause) {
			return
		}
	}
}

// follower is one watch with what is asked of it at the moment.
type follower struct {
	*mirror
	ctx     context.Context //nolint:containedctx // its life is that of one call of follow
	watcher clientv3.Watcher
	asked   *reading  // the read that the watch has not confirmed yet
	due     time.Time // when that has taken too long
}

// nudgeInterval is how often an unconfirmed watch is asked for its progress: a member that lags a little answers with an
// older revision, one whose watch is catching up does not answer at all.
const nudgeInterval = 100 * time.Millisecond

func (f *follower) run(responses clientv3.WatchChan, readings <-chan reading) error {
	nudge := time.NewTimer(nudgeInterval)
	defer nudge.Stop()
	for {
		select {
		case <-f.ctx.Done():
			return fmt.Errorf("%w: %w", errReopen, context.Cause(f.ctx))
		case r := <-readings:
			if err := f.compare(r); err != nil {
				return err
			}
			nudge.Reset(nudgeInterval)
		case <-nudge.C:
			if f.asked == nil {
				continue
			}
			if time.Now().After(f.due) {
				return fmt.Errorf("%w: member does not show revision %d", errReopen, f.asked.revision)
			}
			f.ask()
			nudge.Reset(nudgeInterval)
		case resp, ok := <-responses:
			if !ok {
				return fmt.Errorf("%w: closed", errReopen)
			}
			if err := f.receive(resp); err != nil {
				return err
			}
		}
	}
}

// compare starts the proof that the mirror is as complete as a linearizable read shows the cluster to be. The watch is
// asked for its progress also when nothing is missing, because only an answer shows that it does not hang.
func (f *follower) compare(r reading) error {
	switch {
	case r.err != nil:
		f.judge()
		return nil
	case r.revision < f.rev && r.sentAt.Before(f.revAt):
		return nil // Asked before the watch went on: it says nothing new.
	case r.revision < f.rev:
		f.log.Warn("etcd's revision went back: restored from a backup?", "revision", r.revision, "seen", f.rev)
		return fmt.Errorf("%w: revision went back from %d to %d", errReload, f.rev, r.revision)
	case r.revision == f.rev:
		f.proven(r.sentAt)
	}
	if f.asked == nil {
		f.asked, f.due = &r, time.Now().Add(f.CheckTimeout)
		f.ask()
	}
	f.judge()
	return nil
}

func (f *follower) ask() {
	ctx, cancel := context.WithTimeout(f.ctx, nudgeInterval)
	defer cancel()
	if err := f.watcher.RequestProgress(ctx); err != nil {
		f.log.Debug("watch takes no request", "error", err) // found hung when the answer is due
	}
}

// reached notes up to where the watch has come.
func (f *follower) reached(revision int64) {
	if revision > f.rev {
		f.rev, f.revAt = revision, time.Now()
	}
}

// receive takes one message of the watch.
func (f *follower) receive(resp clientv3.WatchResponse) error {
	if err := resp.Err(); err != nil {
		if errors.Is(err, rpctypes.ErrCompacted) || errors.Is(err, rpctypes.ErrFutureRev) {
			return fmt.Errorf("%w: %w", errReload, err)
		}
		return fmt.Errorf("%w: %w", errReopen, err)
	}
	if len(resp.Events) > 0 {
		events := make([]Event, 0, len(resp.Events))
		for _, e := range resp.Events {
			events = append(events, Event{KV: newKV(e.Kv), Deleted: e.Type == clientv3.EventTypeDelete})
		}
		// The header's revision may be ahead of a batch that is still catching up; the last event's is not.
		f.reached(events[len(events)-1].ModRevision)
		f.deliver(false, events)
	} else if resp.IsProgressNotify() {
		f.reached(resp.Header.Revision)
	}
	if f.asked != nil && f.rev >= f.asked.revision {
		f.proven(f.asked.sentAt)
		f.asked = nil
	}
	return nil
}
