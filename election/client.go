package election

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// tryTimeout bounds one try of one call. A healthy cluster answers in a few milliseconds; around the death of a
	// member a call hangs to its deadline, and the next try goes to another member.
	tryTimeout = 300 * time.Millisecond
	// retryPause keeps a try that fails at once (no leader, connection refused) from turning into a busy loop.
	retryPause = 30 * time.Millisecond
	// releaseTimeout bounds the polite goodbye: what it fails to remove goes with its lease.
	releaseTimeout = 500 * time.Millisecond
	// keepaliveTime is the least that gRPC lets a client ask for. It finds a connection that hangs at the far end;
	// until it does, deadlines and the mirror's own checks go round that member.
	keepaliveTime = 10 * time.Second
	// keepaliveTimeout is how long a ping may go unanswered. gRPC also makes it the connection's TCP_USER_TIMEOUT, so
	// a host that vanished is noticed this long after anything was sent to it.
	keepaliveTimeout = time.Second
)

// ClientOptions say how to reach etcd.
type ClientOptions struct {
	Endpoints []string     // https URLs of the members' client ports
	TLS       *tls.Config  // verifies the members and shows them a certificate: there is no way in without mutual TLS
	Logger    *slog.Logger // nil discards
}

// Dial returns a client of the given etcd. It checks the options but connects to nothing, so it succeeds while
// etcd is down. The client lives until it is closed; the end of ctx does not end it, because leases are given back after
// that.
func Dial(ctx context.Context, o ClientOptions) (*clientv3.Client, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("dial etcd: %w", context.Cause(ctx))
	}
	if len(o.Endpoints) == 0 {
		return nil, errors.New("dial etcd: no endpoints")
	}
	if o.TLS == nil || o.TLS.InsecureSkipVerify && o.TLS.VerifyConnection == nil {
		return nil, errors.New("dial etcd: TLS settings that verify the members are needed")
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints:            o.Endpoints,
		TLS:                  o.TLS,
		DialKeepAliveTime:    keepaliveTime,
		DialKeepAliveTimeout: keepaliveTimeout,
		Logger:               newZapLogger(orDiscard(o.Logger), false),
		Context:              context.WithoutCancel(ctx),
	})
	if err != nil {
		return nil, fmt.Errorf("dial etcd %v: %w", o.Endpoints, err)
	}
	return client, nil
}

// retry calls f, each time with a deadline of tryTimeout, until it succeeds, ctx ends or the error proves that trying
// again cannot help. Only for calls that may be done twice.
func retry[T any](ctx context.Context, f func(context.Context) (T, error)) (T, error) {
	for {
		tctx, cancel := context.WithTimeout(ctx, tryTimeout)
		v, err := f(tctx)
		cancel()
		if err == nil || definite(err) {
			return v, err
		}
		if !sleep(ctx, retryPause) {
			return v, fmt.Errorf("%w (last error: %w)", context.Cause(ctx), err)
		}
	}
}

// definite says whether the server refused the call itself: nothing was written and asking again gives the same answer.
// Everything else, above all an expired deadline, leaves the outcome open. That includes "no space": etcd carries out the
// write that goes over the quota and still answers with this error.
func definite(err error) bool {
	for _, known := range []error{
		rpctypes.ErrLeaseNotFound, rpctypes.ErrCompacted, rpctypes.ErrFutureRev,
		rpctypes.ErrRequestTooLarge, rpctypes.ErrTooManyOps, rpctypes.ErrDuplicateKey, rpctypes.ErrEmptyKey,
		rpctypes.ErrPermissionDenied, rpctypes.ErrLeaseTTLTooLarge,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// sleep waits for d and says whether it did: false means that ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

func orDiscard(log *slog.Logger) *slog.Logger {
	if log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return log
}
