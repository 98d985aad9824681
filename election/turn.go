package election

import (
	"context"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// turnTTL is how long a turn stays with a holder that has died.
const turnTTL = time.Minute

// TakeTurn takes the turn to do what only one daemon of all may do at a time, and tells whether it got it. It passes to
// others with giveBack, or a minute after it was taken.
func TakeTurn(ctx context.Context, client *clientv3.Client, key, holder string) (giveBack func(context.Context), ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, memberTimeout)
	defer cancel()
	lease, err := client.Grant(ctx, int64(turnTTL/time.Second))
	if err != nil {
		return nil, false, fmt.Errorf("take a turn: %w", err)
	}
	giveBack = func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, memberTimeout)
		defer cancel()
		_, _ = client.Revoke(ctx, lease.ID) // Else it runs out.
	}
	answer, err := client.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
		Then(clientv3.OpPut(key, holder, clientv3.WithLease(lease.ID))).Commit()
	if err != nil || !answer.Succeeded {
		giveBack(context.WithoutCancel(ctx))
		if err != nil {
			err = fmt.Errorf("take a turn: %w", err)
		}
		return nil, false, err
	}
	return giveBack, true, nil
}
