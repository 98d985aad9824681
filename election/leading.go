package election

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// tenure is one time of leadership.
type tenure struct {
	*campaign
	lease  *lease
	leader Leader
	ctx    context.Context //nolint:containedctx // the context lead runs in, made for this tenure
	cancel context.CancelCauseFunc
	alarm  *time.Timer // ends ctx at ValidUntil even while a renewal hangs
	after  keyState    // if ended: the state of the key that showed the end
	ended  bool
}

// leadWith runs lead for as long as we hold the key, and gives the key back. If it was the key that showed the end, it
// returns the state that did.
func (c *campaign) leadWith(ctx context.Context, l *lease, createRev int64, states <-chan keyState) (after keyState, ended bool) {
	t := &tenure{campaign: c, lease: l}
	t.leader = Leader{Key: c.Key, CreateRevision: createRev, Lease: l.id, validUntil: &atomic.Pointer[time.Time]{}}
	t.ctx, t.cancel = context.WithCancelCause(ctx)
	defer t.cancel(nil)
	defer c.giveBack(ctx, l, createRev)
	t.alarm = time.AfterFunc(time.Hour, t.ring)
	defer t.alarm.Stop()
	if t.extend(); !time.Now().Before(t.leader.ValidUntil()) {
		return keyState{}, false // taking the key used up the lease's time
	}
	select {
	case <-c.Yield: // asked of an earlier leader
	default:
	}
	c.log.Info("leading", "revision", createRev)
	var renewer sync.WaitGroup
	renewer.Go(func() { t.keep(states) })
	err := c.lead(t.ctx, t.leader)
	cause := context.Cause(t.ctx)
	t.cancel(nil)
	renewer.Wait()
	t.leader.validUntil.Store(&time.Time{})
	c.log.Info("no longer leading", "revision", createRev, "cause", cause, "result", err)
	if errors.Is(cause, ErrYielded) || (cause == nil && err != nil) {
		c.holdTill = time.Now().Add(c.TTL)
	}
	return t.after, t.ended
}

// extend publishes how long leadership is proven and sets the alarm to that moment. A tenth of the TTL is kept as the
// time it takes those who act in the leader's name to notice.
func (t *tenure) extend() {
	until := t.lease.deadline().Add(-t.TTL / 10)
	t.leader.validUntil.Store(&until)
	t.alarm.Reset(time.Until(until))
}

// ring ends leadership if no renewal has moved the end meanwhile.
func (t *tenure) ring() {
	if !time.Now().Before(t.leader.ValidUntil()) {
		t.cancel(fmt.Errorf("%w: %w", ErrLeadershipLost, ErrDeadline))
	}
}

// keep renews the lease and watches the key and the wish to yield until leadership ends.
func (t *tenure) keep(states <-chan keyState) {
	timer := time.NewTimer(time.Until(t.lease.renewDue()))
	defer timer.Stop()
	for {
		select {
		case <-t.ctx.Done():
			return
		case <-t.Yield:
			t.cancel(ErrYielded)
			return
		case s := <-states:
			if s.ends(t.leader.CreateRevision) {
				t.after, t.ended = s, true
				t.cancel(fmt.Errorf("%w: %w", ErrLeadershipLost, ErrTaken))
				return
			}
		case <-timer.C:
			_, err := t.lease.renew(t.ctx, t.confirm)
			switch {
			case err == nil && t.ctx.Err() == nil:
				t.extend()
				timer.Reset(time.Until(t.lease.renewDue()))
			case errors.Is(err, ErrLeaseGone), errors.Is(err, ErrTaken):
				t.cancel(fmt.Errorf("%w: %w", ErrLeadershipLost, err))
				return
			default:
				t.log.Debug("leadership not renewed", "error", err)
				timer.Reset(retryPause)
			}
		}
	}
}

// confirm reads, linearizably, that the key is still the one we created.
func (t *tenure) confirm(ctx context.Context) error {
	resp, err := t.client.Get(ctx, t.Key, clientv3.WithKeysOnly())
	switch {
	case err != nil:
		return fmt.Errorf("read leader key after renewal: %w", err)
	case len(resp.Kvs) == 0 || resp.Kvs[0].CreateRevision != t.leader.CreateRevision:
		return fmt.Errorf("%w: read after renewal", ErrTaken)
	}
	return nil
}
