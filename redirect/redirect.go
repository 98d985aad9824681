package redirect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// acceptPauseMin and acceptPauseMax bound the pause after a failed accept: long enough that a process out of file
	// descriptors does not spin, short enough that clients hardly notice once there are some again.
	acceptPauseMin = 5 * time.Millisecond
	acceptPauseMax = time.Second
)

// Redirector is the two ports. Make it with New, bind it with Listen, serve with Run.
type Redirector struct {
	router    Router
	opts      Options
	listeners map[Port]*net.TCPListener // set by Listen, only read afterwards
	table     *table
	silence   silence
	lines     *lines
	running   atomic.Bool
	wait      sync.WaitGroup // all goroutines of Run
}

// New returns a Redirector that has bound nothing yet. It fails if options contradict themselves or lack something.
func New(router Router, options Options) (*Redirector, error) {
	options, err := options.complete()
	if err != nil {
		return nil, fmt.Errorf("redirect: options: %w", err)
	}
	return &Redirector{router: router, opts: options, table: newTable(), silence: defaultSilence(), lines: newLines(options.Handshakes)}, nil
}

// Listen binds the ports; connections are accepted once Run is called, and until then wait in the kernel's queue. Its
// error names the port that could not be bound, and then none is. It must be followed by Run, which closes the ports.
func (r *Redirector) Listen() error {
	if r.listeners != nil {
		return errors.New("redirect: listening already")
	}
	listeners := map[Port]*net.TCPListener{}
	for port, address := range map[Port]string{WritePort: r.opts.WriteListen, ReadPort: r.opts.ReadListen} {
		if address == "" {
			continue
		}
		listener, err := listen(address)
		if err != nil {
			for _, bound := range listeners {
				_ = bound.Close() // the error to report is the one above
			}
			if errors.Is(err, syscall.EADDRINUSE) {
				return fmt.Errorf("redirect: the %s port %s is in use by another program: %w", port, address, err)
			}
			return fmt.Errorf("redirect: listen on the %s port %s: %w", port, address, err)
		}
		listeners[port] = listener
	}
	r.listeners = listeners
	return nil
}

// Run serves until ctx ends. Then it closes the ports, lets sessions go on for as long as Options.Drain says, under the
// routes that come meanwhile, cuts what is left, and returns after all of its goroutines have ended: nil, since being
// stopped is no error. It fails if Listen did not succeed before or if it was called before.
func (r *Redirector) Run(ctx context.Context) error {
	if r.listeners == nil {
		return errors.New("redirect: run without listen")
	}
	if !r.running.CompareAndSwap(false, true) {
		return errors.New("redirect: run a second time")
	}
	// The first route stands before the first connection is accepted.
	changed := r.router.Changed()
	r.table.apply(r.router.Route())
	serving, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	r.wait.Go(func() { r.follow(serving, changed) })
	var accepting sync.WaitGroup
	for port, listener := range r.listeners {
		accepting.Go(func() { r.accept(ctx, serving, port, listener) })
	}
	<-ctx.Done()
	for port, listener := range r.listeners {
		// Who has been let into the queue already is served.
		if err := listener.SetDeadline(time.Now().Add(lastAccepts)); err != nil {
			r.opts.Logger.Warn("closing a port failed", "port", port, "error", err)
		}
	}
	accepting.Wait()
	for port, listener := range r.listeners {
		if err := listener.Close(); err != nil {
			r.opts.Logger.Warn("closing a port failed", "port", port, "error", err)
		}
	}
	r.drain()
	// Sessions are children of serving, so one that opens after this finds its context ended (see table.open).
	end()
	r.table.cutAll(errShutdown)
	r.wait.Wait()
	return nil
}

const (
	// lastAccepts is for how long connections are still accepted that the kernel has let in before the end.
	lastAccepts = 20 * time.Millisecond
	// drainPoll is how often it is looked whether the last session has ended.
	drainPoll = 20 * time.Millisecond
)

// drain returns when no session is left, or when their time is over.
func (r *Redirector) drain() {
	begun, left := time.Now(), r.table.count()
	if r.opts.Drain == 0 || left == 0 {
		return
	}
	r.opts.Logger.Info("draining", "sessions", left, "for", r.opts.Drain)
	for left > 0 && time.Since(begun) < r.opts.Drain {
		time.Sleep(drainPoll)
		left = r.table.count()
	}
	r.opts.Logger.Info("drained", "left", left, "took", time.Since(begun).Round(time.Millisecond))
}

// follow hands each new route to the table, which cuts what the route forbids, and looks for silent peers.
func (r *Redirector) follow(ctx context.Context, changed <-chan struct{}) {
	tick := time.NewTicker(r.silence.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
			changed = r.router.Changed()
			route := r.router.Route()
			if cut := r.table.apply(route); cut > 0 {
				r.opts.Logger.Info("sessions cut", "term", route.Term, "sessions", cut)
			}
		case now := <-tick.C:
			r.table.cutSilent(now, r.silence.limit)
		}
	}
}

// acceptor is the part of a listener that accept needs.
type acceptor interface {
	AcceptTCP() (*net.TCPConn, error)
}

// accept starts a session, which goes on while serving does, for each connection of one port until ctx has ended and
// nobody is left in the queue.
func (r *Redirector) accept(ctx, serving context.Context, port Port, listener acceptor) {
	pause := time.Duration(0)
	for {
		client, err := listener.AcceptTCP()
		if err == nil {
			pause = 0
			r.admit(serving, port, client)
			continue
		}
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return
		}
		if pause == 0 { // only the first of a row: out of file descriptors they would fill the log
			r.opts.Logger.Error("accepting connections failed", "port", port, "error", err)
		}
		pause = min(max(2*pause, acceptPauseMin), acceptPauseMax)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// admit gives an accepted connection a session and a goroutine, or refuses it.
func (r *Redirector) admit(ctx context.Context, port Port, client *net.TCPConn) {
	s := newSession(ctx, port, client)
	if !r.table.add(s, r.opts.MaxSessions) {
		s.cancel(nil)
		r.opts.Observer.Refused(port, RefusedMaxSessions)
		refuse(client, errTooManyConnections, "Too many connections: mysqlha's redirector serves %d already", r.opts.MaxSessions)
		closeConn(client, r.opts.Logger, port)
		return
	}
	r.wait.Go(func() { r.serve(s) })
}

// Addresses are the addresses that the ports are bound to, with the port number the system chose where 0 was asked
// for; empty where a port is off.
type Addresses struct {
	Write, Read string
}

// Addresses returns what Listen has bound.
func (r *Redirector) Addresses() Addresses {
	var addresses Addresses
	if listener, ok := r.listeners[WritePort]; ok {
		addresses.Write = listener.Addr().String()
	}
	if listener, ok := r.listeners[ReadPort]; ok {
		addresses.Read = listener.Addr().String()
	}
	return addresses
}

// Stats are counts at one moment.
type Stats struct {
	// Term is that of the route in force.
	Term uint64
	// WriteSessions and ReadSessions count the open sessions of each port.
	WriteSessions, ReadSessions int
	// Held counts the connections that wait for a server.
	Held int
	// Servers counts the sessions with each server, those being dialled included.
	Servers map[string]int
}

// Stats returns the current counts.
func (r *Redirector) Stats() Stats { return r.table.stats() }

// closeConn closes a connection of which nothing more is expected.
func closeConn(conn *net.TCPConn, logger *slog.Logger, port Port) {
	if err := conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		logger.Debug("closing a connection failed", "port", port, "peer", conn.RemoteAddr(), "error", err)
	}
}
