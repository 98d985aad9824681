package redirect

import (
	"context"
	"errors"
	"net"
	"time"
)

const (
	// retryMin and retryMax bound the pause before servers that could not be reached are dialled again. A primary that
	// has just been opened is found within retryMax even if no route says so.
	retryMin = 10 * time.Millisecond
	retryMax = 100 * time.Millisecond
)

// connect finds s a server, holding it as long as there is none, and takes a place for it to be greeted in once there is;
// leave gives that back. The session it returns is open. Its error is the cause: errHoldExpired, errClientClosed,
// errCrowd, or whatever ended the context of s.
func (r *Redirector) connect(s *session) (_ *net.TCPConn, _ aim, leave func(), _ error) {
	ctx, cancel := context.WithDeadlineCause(s.ctx, s.accepted.Add(r.opts.Hold), errHoldExpired)
	defer cancel()
	var (
		pause time.Duration
		held  *hold
	)
	for {
		_, changed := r.table.current()
		if r.opts.TLSOnly && r.table.offers(s.port, r.opts.ReadFallback) {
			var err error
			if leave, held, err = r.queue(ctx, s, held); err != nil {
				held.unwatch()
				held.end(err)
				return nil, aim{}, nil, err
			}
		}
		server, to, dialled := r.attempt(ctx, s)
		if server != nil {
			held.unwatch() // it sets deadlines, which from the opening on are for cuts only
			if r.table.open(s, server) {
				held.end(nil)
				if leave == nil {
					leave = func() {}
				}
				return server, to, leave, nil
			}
			closeConn(server, r.opts.Logger, s.port)
			r.table.release(s, false)
		}
		if leave != nil { // While there is no server the place is another's.
			leave()
			leave = nil
		}
		if held == nil {
			held = r.hold(s)
		}
		held.watch()
		pause = min(max(2*pause, retryMin), retryMax)
		if await(ctx, changed, pause, dialled) {
			pause = 0
		}
		if ctx.Err() != nil {
			held.unwatch()
			held.end(context.Cause(ctx))
			return nil, aim{}, nil, context.Cause(ctx)
		}
	}
}

// await returns at the next route, when ctx ends, or, if there was a server to dial, after the pause. It tells whether
// there is a new route.
func await(ctx context.Context, changed <-chan struct{}, pause time.Duration, dialled bool) bool {
	var again <-chan time.Time // without a server to dial only a route can help
	if dialled {
		again = time.After(pause)
	}
	select {
	case <-ctx.Done():
	case <-changed:
		return true
	case <-again:
	}
	return false
}

// attempt dials each server that the route allows once, until one answers. The reservation of that one stands; the
// caller opens the session. Without a server, dialled tells whether there was any to dial.
func (r *Redirector) attempt(ctx context.Context, s *session) (server *net.TCPConn, to aim, dialled bool) {
	var tried []aim
	for ctx.Err() == nil {
		dialCtx, to, ok := r.table.reserve(ctx, s, tried, r.opts.ReadFallback)
		if !ok {
			break
		}
		server, err := dial(dialCtx, to.target.Address, r.opts.DialTimeout)
		if err == nil {
			return server, to, true
		}
		r.opts.Logger.Debug("dialling a server failed", "port", s.port, "server", to.target.Server,
			"address", to.target.Address, "error", err)
		r.table.release(s, dialCtx.Err() == nil) // an ended context says nothing about the server
		tried = append(tried, to)
	}
	return nil, aim{}, len(tried) > 0
}

// hold is the waiting of one connection. A nil hold is that of a connection that never had to wait.
type hold struct {
	r     *Redirector
	s     *session
	begun time.Time
	stop  func() // ends the watch on the client; nil while there is none
}

// hold begins a hold and reports it.
func (r *Redirector) hold(s *session) *hold {
	r.opts.Observer.Held(s.port)
	r.table.hold(s, true)
	return &hold{r: r, s: s, begun: time.Now()}
}

// watch ends the session when the client goes away; nothing else is expected of it before it has been greeted.
func (h *hold) watch() {
	if h.stop == nil {
		h.stop = watchGone(h.s.client, func() { h.s.cancel(errClientClosed) })
	}
}

// unwatch leaves the client alone; it returns after the watching goroutine has ended.
func (h *hold) unwatch() {
	if h != nil && h.stop != nil {
		h.stop()
		h.stop = nil
	}
}

// end reports the end of the hold, given its cause; nil for a server that answered.
func (h *hold) end(cause error) {
	if h == nil {
		return
	}
	h.r.table.hold(h.s, false)
	h.r.opts.Observer.HoldEnded(h.s.port, time.Since(h.begun), holdOutcome(cause))
}

// holdOutcome puts the cause of a hold's end in the words of the Observer.
func holdOutcome(cause error) HoldOutcome {
	switch {
	case cause == nil:
		return HoldConnected
	case errors.Is(cause, errHoldExpired):
		return HoldExpired
	case errors.Is(cause, errClientClosed):
		return HoldClientGone
	default:
		return HoldShutdown
	}
}
