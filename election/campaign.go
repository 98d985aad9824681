package election

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

var (
	// ErrLeadershipLost is the cause with which a leader's context ends when leadership is gone or may be.
	ErrLeadershipLost = errors.New("leadership lost")
	// ErrYielded is the cause with which a leader's context ends when it was asked to give leadership away.
	ErrYielded = errors.New("leadership given away")
)

// keyCheckInterval is how often a candidate's watch is compared with a read. A leader reads its key with each renewal, and
// a hung watch delays a candidate by no more than this, so it can be longer than a mirror's: each check costs CPU everywhere.
const keyCheckInterval = 2 * time.Second

// CampaignOptions say how to become and stay leader.
type CampaignOptions struct {
	Key   string        // the key whose holder leads, usually Keys.Leader
	Value []byte        // what the key contains while we hold it: who leads, for people and other members
	TTL   time.Duration // how long leadership outlives a leader that fell silent, at least MinTTL
	// Delay is asked each time the key is seen to be absent: how long to hold back before trying. It lets a member that
	// would rather not lead, because it sits beside the primary, come last. nil means no delay.
	Delay func() time.Duration
	// Yield asks a leader to give leadership away; it then holds back for one TTL unless another took over before. What
	// was asked while we did not lead is forgotten when we begin to. May be nil.
	Yield  <-chan struct{}
	Name   string       // of this member, for log lines
	Logger *slog.Logger // nil discards
}

// Leader proves leadership to those who act in its name.
type Leader struct {
	Key            string
	CreateRevision int64 // of the key; grows with every new leader, so it also orders leaders
	Lease          clientv3.LeaseID
	validUntil     *atomic.Pointer[time.Time]
}

// Guard is the comparison that belongs into every transaction of the leader: it fails once the key is gone or another's,
// whatever the leader itself believes.
func (l Leader) Guard() clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(l.Key), "=", l.CreateRevision)
}

// ValidUntil is the moment, on the monotonic clock, until which nobody else can lead, as far as renewals have shown by
// now. The zero time is returned for a Leader that did not come from Campaign.
func (l Leader) ValidUntil() time.Time {
	if l.validUntil == nil {
		return time.Time{}
	}
	if t := l.validUntil.Load(); t != nil {
		return *t
	}
	return time.Time{}
}

// Campaign tries to lead until ctx ends and then returns nil; it returns an error only for options that cannot work.
//
// Whenever it leads, it runs lead in the calling goroutine with a context that ends, with ErrLeadershipLost or ErrYielded
// as its cause, the moment leadership is over or can no longer be proven: the margin is the TTL counted from before the
// last good renewal was sent, less a tenth. When lead returns, for whatever reason, leadership is given back, and after
// an error of lead or a yield this member holds back for one TTL so that another can try.
//
// A paused process cannot notice that its time is over, so the context is a courtesy; what protects the cluster is
// Leader.Guard in every transaction.
func Campaign(ctx context.Context, client *clientv3.Client, o CampaignOptions, lead func(context.Context, Leader) error) error {
	if o.Key == "" || lead == nil || o.TTL < MinTTL {
		return fmt.Errorf("campaign for %q: key, function and a TTL of at least %v are needed", o.Key, MinTTL)
	}
	c := &campaign{CampaignOptions: o, client: client, lead: lead, log: orDiscard(o.Logger).With("member", o.Name)}
	mctx, stop := context.WithCancel(ctx)
	states := make(chan keyState, 1)
	done := make(chan error, 1)
	go func() {
		key := MirrorOptions{Prefix: o.Key, Exact: true, CheckInterval: keyCheckInterval, Logger: o.Logger}
		done <- Mirror(mctx, client, key, func(u Update) { publish(states, u) })
	}()
	c.run(ctx, states)
	stop()
	return <-done
}

// keyState is what the mirror last knew of the leader key.
type keyState struct {
	present bool
	kv      KV
	rev     int64 // complete up to here; a transaction of ours with a later revision is not in it
}

// ends says whether the state shows that whoever created the key at the given revision holds it no longer. States from
// before that revision say nothing about it.
func (s keyState) ends(createRev int64) bool {
	return s.rev >= createRev && (!s.present || s.kv.CreateRevision != createRev)
}

// publish leaves the newest state in the channel: a slow reader misses states in between, never the last.
func publish(states chan keyState, u Update) {
	if !u.Full && len(u.Events) == 0 {
		return
	}
	s := keyState{rev: u.Revision}
	if n := len(u.Events); n > 0 && !u.Events[n-1].Deleted {
		s.present, s.kv = true, u.Events[n-1].KV
	}
	select {
	case <-states:
	default:
	}
	states <- s // the mirror's goroutine is the only sender, so there is room now
}

type campaign struct {
	CampaignOptions
	client   *clientv3.Client
	lead     func(context.Context, Leader) error
	log      *slog.Logger
	holdTill time.Time // after a yield or a failure, unless another leads before
}

func (c *campaign) run(ctx context.Context, states <-chan keyState) {
	var now keyState
	select {
	case now = <-states:
	case <-ctx.Done():
		return
	}
	for ctx.Err() == nil {
		switch {
		case now.present:
			c.holdTill = time.Time{}
			c.next(ctx, states, &now)
		case c.holdBack(ctx, states, &now):
			now = c.tryOnce(ctx, states, now)
		}
	}
}

// next waits for another state of the key.
func (c *campaign) next(ctx context.Context, states <-chan keyState, now *keyState) {
	select {
	case *now = <-states:
	case <-ctx.Done():
	}
}

// holdBack waits as long as this member shall leave the absent key to others; false means that things changed.
func (c *campaign) holdBack(ctx context.Context, states <-chan keyState, now *keyState) bool {
	wait := time.Until(c.holdTill)
	if c.Delay != nil {
		wait = max(wait, c.Delay())
	}
	if wait <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case *now = <-states:
		return false
	case <-ctx.Done():
		return false
	}
}

// tryOnce tries to take the absent key and leads if it did. It returns the state of the key to go on from.
func (c *campaign) tryOnce(ctx context.Context, states <-chan keyState, now keyState) keyState {
	actx, cancel := context.WithTimeout(ctx, c.TTL)
	l, err := grantLease(actx, c.client, c.TTL)
	if err != nil {
		cancel()
		c.log.Debug("no lease for leadership", "error", err)
		sleep(ctx, retryPause)
		return now
	}
	createRev, seen, err := c.take(actx, l)
	cancel()
	switch {
	case err != nil:
		// Revoking makes sure that a try which still hangs somewhere cannot create the key any more.
		c.log.Warn("could not find out whether leadership was taken", "error", err)
		c.giveBack(ctx, l, 0)
		sleep(ctx, retryPause)
		return now
	case createRev == 0:
		c.giveBack(ctx, l, 0)
		return seen
	}
	if after, ended := c.leadWith(ctx, l, createRev, states); ended {
		return after
	}
	return c.await(ctx, states, createRev)
}

// await returns the first state of the key that is younger than our own time as its holder, so that the key's absence
// before that is not taken for news. If none comes, the key counts as absent: trying to take it finds out.
func (c *campaign) await(ctx context.Context, states <-chan keyState, createRev int64) keyState {
	actx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	for {
		var s keyState
		select {
		case s = <-states:
		case <-actx.Done():
			return keyState{}
		}
		if s.ends(createRev) {
			return s
		}
	}
}

// take creates the key under the lease if nobody holds it. It returns the key's create revision, or 0 and the holder.
func (c *campaign) take(ctx context.Context, l *lease) (createRev int64, seen keyState, err error) {
	result := Do(ctx, c.client, TxnRequest{
		If:   []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(c.Key), "=", 0)},
		Then: []clientv3.Op{clientv3.OpPut(c.Key, string(c.Value), clientv3.WithLease(l.id))},
	})
	switch result.Outcome {
	case Committed:
		return result.Revision, keyState{}, nil
	case Failed:
		return 0, keyState{}, result.Err
	}
	kv, found := result.Current[c.Key]
	if result.Outcome == Unknown {
		// Our own try may have succeeded without our hearing of it: whose lease is under the key tells.
		if kv, found, err = Get(ctx, c.client, c.Key); err != nil {
			return 0, keyState{}, err
		}
		if !found {
			return 0, keyState{}, result.Err
		}
	}
	if found && kv.Lease == l.id {
		return kv.CreateRevision, keyState{}, nil
	}
	return 0, keyState{present: found, kv: kv, rev: result.Revision}, nil
}

// giveBack removes the key, if we created it, and revokes the lease, at most 500 ms each.
func (c *campaign) giveBack(ctx context.Context, l *lease, createRev int64) {
	ctx = context.WithoutCancel(ctx)
	if createRev != 0 {
		result := Do(ctx, c.client, TxnRequest{
			If:      []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(c.Key), "=", createRev)},
			Then:    []clientv3.Op{clientv3.OpDelete(c.Key)},
			Timeout: releaseTimeout,
		})
		if result.Err != nil {
			c.log.Debug("leader key is left to its lease", "error", result.Err)
		}
	}
	if err := l.revoke(ctx); err != nil {
		c.log.Debug("leadership's lease is left to expire", "error", err)
	}
}
