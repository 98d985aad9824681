package election

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// ErrTaken means that a key held under our lease was removed or overwritten by somebody else.
var ErrTaken = errors.New("key is no longer ours")

// registerTimeout bounds one attempt to put the key in place, and with it how late a change of the value may be.
const registerTimeout = 3 * time.Second

// RegisterOptions say what to keep in etcd for as long as we live.
type RegisterOptions struct {
	// Key is the key to hold, usually Keys.Member.
	Key string
	// Value returns what the key shall contain. It is called again after each message on Changed.
	Value func() []byte
	// Changed tells that Value returns something new. May be nil.
	Changed <-chan struct{}
	// TTL is how long the key outlives us, at least MinTTL.
	TTL time.Duration
	// ReadKey, if set, is read in the same linearizable transaction that confirms each renewal, hence begun after the
	// renewal was sent; OnRead gets it just before OnRenewed is called. found is false when it does not exist.
	ReadKey string
	OnRead  func(kv KV, found bool)
	// OnRenewed is told of each success with the moment, on the monotonic clock, *before* the renewal (or the first
	// grant) was sent: until that moment plus TTL nobody else can have seen the key go. May be nil.
	OnRenewed func(sentAt time.Time)
	// OnLost is told, once for each loss, why the lease or key counts as lost; OnRenewed ends the loss. May be nil.
	OnLost func(error)
	Logger *slog.Logger // nil discards
}

// KeepRegistered keeps a key under a lease until ctx ends, then gives both back (at most 500 ms) and returns nil. It
// returns an error only for options that cannot work. All callbacks come from the calling goroutine and must not block.
//
// Whatever does not prove a renewal is none: when the TTL, counted from before the last good renewal was sent, is over,
// the key counts as lost although etcd may still show it, and is put anew under a new lease.
func KeepRegistered(ctx context.Context, client *clientv3.Client, o RegisterOptions) error {
	if o.Key == "" || o.Value == nil || o.TTL < MinTTL {
		return fmt.Errorf("register %q: key, value and a TTL of at least %v are needed", o.Key, MinTTL)
	}
	r := &registration{client: client, RegisterOptions: o, log: orDiscard(o.Logger).With("key", o.Key)}
	pause := retryPause
	for ctx.Err() == nil {
		err := r.establish(ctx)
		if err == nil {
			pause = retryPause
			err = r.hold(ctx)
			if ctx.Err() == nil {
				r.log.Warn("lost a registration, putting it anew", "error", err)
				if r.OnLost != nil {
					r.OnLost(err)
				}
			}
		} else if ctx.Err() == nil {
			r.log.Debug("could not register yet", "error", err)
		}
		r.giveBack(ctx)
		sleep(ctx, pause)
		pause = min(2*pause, time.Second)
	}
	return nil
}

// registration is the state of one KeepRegistered.
type registration struct {
	RegisterOptions
	client *clientv3.Client
	log    *slog.Logger
	lease  *lease
	value  []byte // what the key contains under our lease
}

// establish gets a lease and puts the key under it.
func (r *registration) establish(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, registerTimeout)
	defer cancel()
	var err error
	if r.lease, err = grantLease(ctx, r.client, r.TTL); err != nil {
		return err
	}
	if err := r.put(ctx); err != nil {
		return err
	}
	tctx, cancelTry := context.WithTimeout(ctx, tryTimeout)
	defer cancelTry()
	if err := r.confirm(tctx); err != nil {
		return fmt.Errorf("confirm %s: %w", r.Key, err)
	}
	if r.OnRenewed != nil {
		r.OnRenewed(r.lease.renewedAt)
	}
	return nil
}

// put writes the current value, whatever stood there before. It goes by the key's revision, so that a try that hung
// somewhere cannot come back later with an old value.
func (r *registration) put(ctx context.Context) error {
	value := r.Value()
	for {
		kv, _, err := Get(ctx, r.client, r.Key)
		if err != nil {
			return err
		}
		if kv.Lease == r.lease.id && bytes.Equal(kv.Value, value) {
			r.value = value
			return nil
		}
		result := Do(ctx, r.client, TxnRequest{
			If:   []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(r.Key), "=", kv.ModRevision)},
			Then: []clientv3.Op{clientv3.OpPut(r.Key, string(value), clientv3.WithLease(r.lease.id))},
		})
		switch result.Outcome {
		case Committed:
			r.value = value
			return nil
		case Failed:
			return fmt.Errorf("put %s: %w", r.Key, result.Err)
		}
		// Refused or unknown: read what is there now, and decide again.
		if !sleep(ctx, retryPause) {
			return fmt.Errorf("put %s: %w", r.Key, context.Cause(ctx))
		}
	}
}

// hold renews until the lease is lost or ctx ends.
func (r *registration) hold(ctx context.Context) error {
	timer := time.NewTimer(time.Until(r.lease.renewDue()))
	defer timer.Stop()
	var last error
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-r.Changed:
			if err := r.update(ctx); err != nil {
				return err
			}
			continue
		case <-timer.C:
		}
		sentAt, err := r.lease.renew(ctx, r.confirm)
		switch {
		case err == nil:
			last = nil
			if r.OnRenewed != nil {
				r.OnRenewed(sentAt)
			}
			timer.Reset(time.Until(r.lease.renewDue()))
		case errors.Is(err, ErrLeaseGone), errors.Is(err, ErrTaken):
			return err
		case time.Now().Before(r.lease.deadline()):
			last = err
			timer.Reset(min(retryPause, time.Until(r.lease.deadline())))
		default:
			return errors.Join(ErrDeadline, last)
		}
	}
}

// update writes a changed value. It must not outlast the next renewal; what it does not manage is tried again after
// that, because confirm finds the difference.
func (r *registration) update(ctx context.Context) error {
	if bytes.Equal(r.Value(), r.value) {
		return nil
	}
	ctx, cancel := context.WithDeadline(ctx, r.lease.renewDue())
	defer cancel()
	if err := r.put(ctx); err != nil && definite(err) {
		return err
	}
	return nil
}

// confirm reads, linearizably, that the key still stands under our lease.
func (r *registration) confirm(ctx context.Context) error {
	ops := []clientv3.Op{clientv3.OpGet(r.Key)}
	if r.ReadKey != "" {
		ops = append(ops, clientv3.OpGet(r.ReadKey))
	}
	resp, err := r.client.Txn(ctx).Then(ops...).Commit()
	if err != nil {
		return fmt.Errorf("read after renewal: %w", err)
	}
	kvs := resp.Responses[0].GetResponseRange().GetKvs()
	if len(kvs) == 0 {
		return fmt.Errorf("%w: removed", ErrTaken)
	}
	kv := newKV(kvs[0])
	if kv.Lease != r.lease.id {
		return fmt.Errorf("%w: now under lease %x", ErrTaken, int64(kv.Lease))
	}
	if value := r.Value(); !bytes.Equal(kv.Value, value) {
		if err := r.put(ctx); err != nil {
			r.log.Debug("value not written yet", "error", err)
		}
	}
	if r.ReadKey != "" && r.OnRead != nil {
		read := resp.Responses[1].GetResponseRange().GetKvs()
		if len(read) == 0 {
			r.OnRead(KV{}, false)
		} else {
			r.OnRead(newKV(read[0]), true)
		}
	}
	return nil
}

// giveBack revokes what we hold, so that the key disappears now and not after its TTL.
func (r *registration) giveBack(ctx context.Context) {
	if r.lease == nil {
		return
	}
	if err := r.lease.revoke(ctx); err != nil {
		r.log.Debug("registration is left to expire", "error", err)
	}
	r.lease = nil
}
