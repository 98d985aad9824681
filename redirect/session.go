package redirect

import (
	"context"
	"errors"
	"net"
	"slices"
	"time"
)

// Why a session's context ends. The first to say so wins, and that becomes the reported cause.
var (
	errClientClosed = errors.New("the client closed")
	errServerClosed = errors.New("the server closed")
	errLost         = errors.New("a connection broke")
	errSilent       = errors.New("a peer acknowledges nothing")
	errNewTerm      = errors.New("the session belongs to a former primary or term, or to a server that has left the cluster")
	errShutdown     = errors.New("the redirector stops")
	errHoldExpired  = errors.New("the hold ran out")
	errRouteChanged = errors.New("the route changed") // ends a dial, never a session
)

// session is one connection of a client, from its acceptance to its end. The goroutine that serves it owns it; the
// fields marked so are the table's.
type session struct {
	port     Port
	client   *net.TCPConn
	accepted time.Time
	ctx      context.Context // ends, with the cause, when the first reason to end the session is known
	cancel   context.CancelCauseFunc

	// Under the table's mutex.
	aim    *aim         // the server it has or dials; nil while there is none
	giveUp func()       // ends the dial to aim
	server *net.TCPConn // set once open
	held   bool
	wasCut bool

	// The follower's.
	clientQuiet, serverQuiet quiet
}

func newSession(ctx context.Context, port Port, client *net.TCPConn) *session {
	s := &session{port: port, client: client, accepted: time.Now()}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	return s
}

// cut ends an open session at once, under the table's mutex and while s.server is set. It wakes both copiers, wherever
// they wait, and they close: were it to close here, it would have to wait for each session's copiers in turn. The
// former primary gets a reset, and nothing that still stands in our send buffer.
func (s *session) cut(cause error) {
	s.cancel(cause)
	if s.server == nil {
		return
	}
	s.wasCut = true
	_ = s.server.SetLinger(0) // fails only on a connection that is closed, which is what is wanted
	s.setDeadline(time.Unix(1, 0))
}

// setDeadline bounds whatever the copiers wait for.
func (s *session) setDeadline(t time.Time) {
	_ = s.client.SetDeadline(t) // fails only on a connection that is closed, which needs no deadline
	if s.server != nil {
		_ = s.server.SetDeadline(t)
	}
}

// cause is the reason for the session's end, as reported.
func (s *session) cause() Cause {
	switch context.Cause(s.ctx) {
	case errClientClosed:
		return CauseClient
	case errServerClosed:
		return CauseServer
	case errLost:
		return CauseLost
	case errSilent:
		return CauseSilent
	case errPlaintext, errMalformed, errMute:
		return CauseRefused
	case errNewTerm:
		return CauseNewTerm
	default: // errShutdown, or the end of the context that Run was given
		return CauseShutdown
	}
}

// aim is a server as one session means it.
type aim struct {
	target Target
	term   uint64 // 0 for readers
	writer bool   // as the writer of term; else as a reader
}

// mayOpen tells whether a session with it may begin under route.
func (a aim) mayOpen(route Route) bool {
	if a.writer {
		return route.Writer != nil && *route.Writer == a.target && route.Term == a.term
	}
	for _, reader := range route.Readers {
		if reader == a.target {
			return true
		}
	}
	return false
}

// mayStay tells whether an open session with it may go on under route. A writer that is not open at the moment is one
// whose plan is under way: its sessions are that plan's business as long as the term stands.
func (a aim) mayStay(route Route) bool {
	if !a.writer {
		return len(route.Servers) == 0 || slices.Contains(route.Servers, a.target.Server)
	}
	return route.Term <= a.term && (route.Writer == nil || *route.Writer == a.target)
}

// serve takes a session from its acceptance to its end.
func (r *Redirector) serve(s *session) {
	defer closeConn(s.client, r.opts.Logger, s.port)
	defer r.table.remove(s)
	defer s.cancel(nil)
	if err := tune(s.client); err != nil {
		r.opts.Logger.Debug("a client left while it was accepted", "port", s.port, "error", err)
		return
	}
	server, to, greeted, err := r.connect(s)
	if err != nil {
		r.turnAway(s, err)
		return
	}
	defer greeted()
	defer closeConn(server, r.opts.Logger, s.port)
	r.opts.Observer.SessionOpened(s.port, to.target.Server)
	if s.port == ReadPort && to.writer {
		r.opts.Observer.ReadFellBack()
	}
	up, down := r.relay(s, server, greeted)
	r.opts.Observer.SessionClosed(s.port, to.target.Server, up, down, s.cause())
}

// turnAway tells a client that was not given a server why. One that has gone is told nothing.
func (r *Redirector) turnAway(s *session, err error) {
	term, _ := r.table.current()
	switch {
	case errors.Is(err, errClientClosed):
	case errors.Is(err, errCrowd):
		r.opts.Observer.Refused(s.port, RefusedCrowd)
		refuse(s.client, errTooManyConnections, "Too many connections: mysqlha's redirector waits for answers from %d of your address already", r.opts.Handshakes)
	case errors.Is(err, errHoldExpired) && s.port == WritePort:
		refuse(s.client, errServerShutdown, "mysqlha: no server of the cluster accepts writes (term %d); held for %s", term, r.opts.Hold)
	case errors.Is(err, errHoldExpired):
		refuse(s.client, errServerShutdown, "mysqlha: no server of the cluster is fresh enough for reads (term %d); held for %s", term, r.opts.Hold)
	default:
		refuse(s.client, errServerShutdown, "mysqlha: this redirector is being stopped")
	}
}
