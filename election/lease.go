package election

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// MinTTL is the shortest lease: etcd counts in whole seconds, looks for expired leases twice a second, and rounds up to
// its own minimum of one and a half election time-outs.
const MinTTL = 2 * time.Second

var (
	// ErrLeaseGone means that etcd no longer knows the lease.
	ErrLeaseGone = errors.New("lease is gone")
	// ErrDeadline means that no renewal succeeded for the whole TTL, counted from before the last good one was sent.
	ErrDeadline = errors.New("lease not renewed in time")
)

// lease is a lease with its own idea, on the safe side, of how long it lives. One goroutine uses it at a time.
type lease struct {
	client    *clientv3.Client
	id        clientv3.LeaseID
	ttl       time.Duration
	renewedAt time.Time // taken, with its monotonic reading, before the last successful renewal was sent
}

// grantLease asks for a lease, trying again until ctx ends. A try whose answer got lost leaves a lease behind that
// nothing hangs on and that runs out by itself.
func grantLease(ctx context.Context, client *clientv3.Client, ttl time.Duration) (*lease, error) {
	var sentAt time.Time
	resp, err := retry(ctx, func(ctx context.Context) (*clientv3.LeaseGrantResponse, error) {
		sentAt = time.Now()
		return client.Grant(ctx, int64((ttl+time.Second-1)/time.Second))
	})
	if err != nil {
		return nil, fmt.Errorf("ask etcd for a lease: %w", err)
	}
	return &lease{client: client, id: resp.ID, ttl: ttl, renewedAt: sentAt}, nil
}

// deadline is the moment from which the lease may be gone.
func (l *lease) deadline() time.Time { return l.renewedAt.Add(l.ttl) }

// renewDue is the moment of the next renewal: a third of the TTL leaves room for two failures.
func (l *lease) renewDue() time.Time { return l.renewedAt.Add(l.ttl / 3) }

// renew makes one try. It succeeds only if, after the renewal, confirm made a linearizable read that shows what hangs on
// the lease to be in place: a renewal alone proves neither a quorum nor that nobody removed the key. The error wraps
// ErrLeaseGone when that is certain; any other means "not renewed".
func (l *lease) renew(ctx context.Context, confirm func(context.Context) error) (sentAt time.Time, err error) {
	sentAt = time.Now()
	limit := min(tryTimeout, l.ttl/3, time.Until(l.deadline()))
	if limit <= 0 {
		return sentAt, ErrDeadline
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	resp, err := l.client.KeepAliveOnce(ctx, l.id)
	switch {
	case errors.Is(err, rpctypes.ErrLeaseNotFound), err == nil && resp.TTL <= 0:
		return sentAt, ErrLeaseGone
	case err != nil:
		return sentAt, fmt.Errorf("renew lease: %w", err)
	}
	if err := confirm(ctx); err != nil {
		return sentAt, err
	}
	l.renewedAt = sentAt
	return sentAt, nil
}

// revoke gives the lease back with all that hangs on it. It works after the end of ctx, for at most releaseTimeout.
func (l *lease) revoke(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	_, err := retry(ctx, func(ctx context.Context) (*clientv3.LeaseRevokeResponse, error) {
		return l.client.Revoke(ctx, l.id)
	})
	if err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return fmt.Errorf("revoke lease: %w", err)
	}
	return nil
}
