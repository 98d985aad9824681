package redirect

import (
	"context"
	"maps"
	"net"
	"slices"
	"sync"
	"time"
)

// avoidFor is how long a reader that could not be reached is asked last. Its session count is low just because it is
// dead, so without this every new session would pay for the dial to it first.
const avoidFor = time.Second

// table is the state that the goroutines of a Redirector share: the route in force and the sessions. Opening a session
// and applying a route exclude each other, so no session can slip in between a dial and the change that forbids it.
// Nothing that can block is done under its mutex; setting deadlines and socket options cannot.
type table struct {
	mu       sync.Mutex
	route    Route
	changed  chan struct{} // closed when route is replaced
	sessions map[*session]struct{}
	load     map[string]int       // sessions of each server, open or being dialled
	avoid    map[string]time.Time // readers that could not be reached, and until when they are asked last
	turn     int                  // where the search among equally loaded readers begins
}

func newTable() *table {
	return &table{
		changed:  make(chan struct{}),
		sessions: map[*session]struct{}{},
		load:     map[string]int{},
		avoid:    map[string]time.Time{},
	}
}

// add registers an accepted connection; false means that there are limit of them already (0: no limit).
func (t *table) add(s *session, limit int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if limit > 0 && len(t.sessions) >= limit {
		return false
	}
	t.sessions[s] = struct{}{}
	return true
}

// count returns how many sessions there are, held ones included.
func (t *table) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.sessions)
}

// remove forgets a session.
func (t *table) remove(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clearAim(s)
	delete(t.sessions, s)
}

// apply puts a route in force, gives up dials that it forbids, cuts sessions that it forbids and returns how many.
func (t *table) apply(route Route) (cut int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.route = route
	close(t.changed)
	t.changed = make(chan struct{})
	for s := range t.sessions {
		switch {
		case s.aim == nil:
		case s.server == nil && !s.aim.mayOpen(route):
			s.giveUp()
		case s.server != nil && !s.wasCut && !s.aim.mayStay(route):
			s.cut(errNewTerm)
			cut++
		}
	}
	return cut
}

// cutAll cuts every open session.
func (t *table) cutAll(cause error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for s := range t.sessions {
		if s.server != nil {
			s.cut(cause)
		}
	}
}

// cutSilent cuts the sessions with a peer that has acknowledged nothing for limit. Only the follower calls it.
func (t *table) cutSilent(now time.Time, limit time.Duration) {
	t.mu.Lock()
	open := make(map[*session]*net.TCPConn, len(t.sessions))
	for s := range t.sessions {
		if s.server != nil {
			open[s] = s.server
		}
	}
	t.mu.Unlock()
	// Thousands of system calls; new sessions must not wait for them.
	for s, server := range open {
		if s.clientQuiet.over(s.client, now, limit) || s.serverQuiet.over(server, now, limit) {
			t.mu.Lock()
			s.cut(errSilent)
			t.mu.Unlock()
		}
	}
}

// current returns the term in force and a channel that is closed when the route is replaced.
func (t *table) current() (term uint64, changed <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.route.Term, t.changed
}

// offers tells whether there is a server to dial for a port.
func (t *table) offers(port Port, fallback bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.route.Writer != nil && (port == WritePort || fallback) || port == ReadPort && len(t.route.Readers) > 0
}

// reserve chooses the next server for s, other than those tried, and counts s as its session. The context it returns
// ends when a route forbids that server. False means that there is none.
func (t *table) reserve(ctx context.Context, s *session, tried []aim, fallback bool) (context.Context, aim, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	chosen, ok := t.choose(s.port, tried, fallback)
	if !ok {
		return nil, aim{}, false
	}
	ctx, cancel := context.WithCancelCause(ctx)
	s.aim, s.giveUp = &chosen, func() { cancel(errRouteChanged) }
	t.load[chosen.target.Server]++
	return ctx, chosen, true
}

// choose picks the writer or a reader, under the lock.
func (t *table) choose(port Port, tried []aim, fallback bool) (aim, bool) {
	if port == ReadPort {
		if reader, ok := t.chooseReader(tried); ok {
			return reader, true
		}
		if !fallback {
			return aim{}, false
		}
	}
	if t.route.Writer == nil {
		return aim{}, false
	}
	writer := aim{target: *t.route.Writer, term: t.route.Term, writer: true}
	return writer, !slices.Contains(tried, writer)
}

// chooseReader picks the reader with the fewest sessions, taking turns among equals.
func (t *table) chooseReader(tried []aim) (aim, bool) {
	var (
		now    = time.Now()
		best   aim
		at     = -1
		avoids bool
	)
	for i := range t.route.Readers {
		i = (t.turn + i) % len(t.route.Readers)
		reader := aim{target: t.route.Readers[i]}
		if slices.Contains(tried, reader) {
			continue
		}
		avoid := now.Before(t.avoid[reader.target.Server])
		better := at < 0 || (avoids && !avoid) ||
			(avoids == avoid && t.load[reader.target.Server] < t.load[best.target.Server])
		if better {
			best, at, avoids = reader, i, avoid
		}
	}
	if at < 0 {
		return aim{}, false
	}
	t.turn = at + 1
	return best, true
}

// release takes back a reservation whose dial came to nothing; failed tells that the server is to blame.
func (t *table) release(s *session, failed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if failed && s.aim != nil && !s.aim.writer {
		t.avoid[s.aim.target.Server] = time.Now().Add(avoidFor)
	}
	t.clearAim(s)
}

// open makes s an open session with the server that was reserved and dialled. False means that the route has changed
// its mind meanwhile, or that s has been ended: then the connection is the caller's to close.
func (t *table) open(s *session, server *net.TCPConn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.ctx.Err() != nil || s.aim == nil || !s.aim.mayOpen(t.route) {
		return false
	}
	s.server, s.held = server, false
	delete(t.avoid, s.aim.target.Server)
	return true
}

// clearAim ends the count of s as a session of a server, under the lock.
func (t *table) clearAim(s *session) {
	if s.aim == nil {
		return
	}
	server := s.aim.target.Server
	if t.load[server]--; t.load[server] == 0 {
		delete(t.load, server)
	}
	s.giveUp() // frees the context of the dial
	s.aim, s.giveUp, s.server = nil, nil, nil
}

// hold marks s as held or no longer held.
func (t *table) hold(s *session, held bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.held = held
}

// linger bounds what is left of a session whose server has said its last word, unless it was cut meanwhile: a later
// deadline would undo the cut.
func (t *table) linger(s *session, until time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !s.wasCut {
		s.setDeadline(until)
	}
}

// expect bounds the wait for a client's next words; false means that the session's end is under way, whose deadline
// stands.
func (t *table) expect(s *session, until time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.ctx.Err() != nil {
		return false
	}
	_ = s.client.SetReadDeadline(until) // fails only on a connection that is closed, which needs no deadline
	return true
}

// stats counts.
func (t *table) stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	stats := Stats{Term: t.route.Term, Servers: maps.Clone(t.load)}
	for s := range t.sessions {
		switch {
		case s.held:
			stats.Held++
		case s.server != nil && s.port == WritePort:
			stats.WriteSessions++
		case s.server != nil:
			stats.ReadSessions++
		}
	}
	return stats
}
