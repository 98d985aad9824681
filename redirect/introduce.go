package redirect

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"
)

const (
	// DefaultHandshakes is how many greeted clients of one address may owe an answer, unless Options says otherwise: far
	// below what a mysqld takes, and far above what answers at once.
	DefaultHandshakes = 64
	// DefaultHandshakeTimeout is how long a greeted client may owe its answer, as mysqld's own connect_timeout.
	DefaultHandshakeTimeout = 10 * time.Second
	// crowdedTimeout is how long it may while others of its address wait.
	crowdedTimeout = time.Second
	// mostWaiting is how many clients of one address may wait for their turn.
	mostWaiting = 1024
)

// What a client did wrong with its first words.
var (
	errPlaintext = errors.New("the client did not ask for TLS")
	errMalformed = errors.New("the client does not speak MySQL")
	errMute      = errors.New("the client did not answer the greeting")
)

// introduction is the length of a client's first packet: it asks for TLS and says nothing else yet.
const introduction = 4 + 32

// askForTLS is the flag by which it does.
const askForTLS = 0x800

// offends tells whether an error is what a client did wrong with its first words.
func offends(err error) bool { return err == errPlaintext || err == errMalformed || err == errMute }

// judge looks at what has come of a client's first packet: nil once all of it is right, io.ErrUnexpectedEOF while more
// must come, or what is wrong with it.
func judge(words []byte) error {
	if len(words) >= 4 {
		length, number := int(words[0])|int(words[1])<<8|int(words[2])<<16, words[3]
		switch {
		case number != 1 || length < introduction-4:
			return errMalformed
		case length > introduction-4: // It goes on with a user's name and the answer to the challenge.
			return errPlaintext
		}
	}
	if len(words) < introduction {
		return io.ErrUnexpectedEOF
	}
	if binary.LittleEndian.Uint32(words[4:])&askForTLS == 0 {
		return errPlaintext
	}
	return nil
}

// The types of TLS records that a client sends.
const (
	tlsFirstType   = 20
	tlsApplication = 23
	tlsHeader      = 5
)

// records follows a client's TLS from outside: sealed once it has sent a record that only who has come through the
// handshake can send.
type records struct {
	head   [tlsHeader]byte
	have   int // bytes of head
	left   int // bytes of the record that are still to come
	sealed bool
}

// feed takes what the client has sent next; it fails for what is not TLS.
func (r *records) feed(words []byte) error {
	for len(words) > 0 {
		if r.left > 0 {
			n := min(r.left, len(words))
			r.left, words = r.left-n, words[n:]
			continue
		}
		n := copy(r.head[r.have:], words)
		r.have, words = r.have+n, words[n:]
		if r.have < tlsHeader {
			return nil
		}
		if r.head[0] < tlsFirstType || r.head[0] > tlsApplication || r.head[1] != 3 {
			return errMalformed
		}
		r.have, r.left = 0, int(r.head[3])<<8|int(r.head[4])
		if r.head[0] == tlsApplication {
			r.sealed = true
			return nil // What follows is the client's and the server's affair.
		}
	}
	return nil
}

// introduce takes a greeted client's first words and passes them on if they ask for TLS and then are TLS, until the
// client has come through the handshake. Whoever sends anything else has no business here, and whoever falls silent
// keeps one of mysqld's places.
func (r *Redirector) introduce(s *session, server *net.TCPConn) (passed int64, err error) {
	var (
		begun  = time.Now()
		buffer = make([]byte, 4096)
		asked  = make([]byte, 0, introduction)
		tls    records
	)
	for !tls.sealed {
		if !r.table.expect(s, time.Now().Add(min(crowdedTimeout, r.opts.HandshakeTimeout))) {
			return passed, nil // Its end is under way, in its own time.
		}
		n, err := s.client.Read(buffer)
		sealed := buffer[:n] // What is TLS of it.
		pass := sealed
		if len(asked) < introduction {
			n := min(n, introduction-len(asked))
			asked, sealed, pass = append(asked, sealed[:n]...), sealed[n:], nil
			switch verdict := judge(asked); {
			case verdict == nil:
				pass = slices.Concat(asked, sealed)
			case offends(verdict):
				return 0, verdict
			}
		}
		if len(pass) > 0 {
			wrote, broken := server.Write(pass)
			passed += int64(wrote)
			if broken != nil {
				return passed, broken
			}
		}
		if wrong := tls.feed(sealed); wrong != nil {
			return passed, wrong
		}
		waited := time.Since(begun)
		switch {
		case err == nil, errors.Is(err, os.ErrDeadlineExceeded) && s.ctx.Err() == nil:
			if waited >= r.opts.HandshakeTimeout || waited >= crowdedTimeout && r.lines.crowded(s.address()) {
				return passed, errMute
			}
		default:
			return passed, err
		}
	}
	r.table.expect(s, time.Time{})
	return passed, nil
}

// dismiss ends a session whose client did something wrong with its first words.
func (r *Redirector) dismiss(s *session, cause error) {
	reason := map[error]RefuseReason{errPlaintext: RefusedPlaintext, errMalformed: RefusedMalformed, errMute: RefusedMute}[cause]
	r.opts.Observer.Refused(s.port, reason)
	s.cancel(cause)
	if cause == errPlaintext {
		answer := errorPacket(errInsecureTransport, "#HY000Connections without TLS are refused by mysqlha's redirector: use TLS, such as --ssl-mode=VERIFY_IDENTITY")
		answer[3] = 2 // It follows the greeting and the client's first packet.
		if s.client.SetWriteDeadline(time.Now().Add(refuseTimeout)) == nil {
			_, _ = s.client.Write(answer) // One that cannot be told has gone.
		}
	}
}

// address is where a session comes from.
func (s *session) address() netip.Addr {
	from, ok := s.client.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	address := from.AddrPort().Addr().Unmap().WithZone("")
	if address.Is6() { // One host has a whole network of them.
		if network, err := address.Prefix(64); err == nil {
			return network.Addr()
		}
	}
	return address
}

// lines are the clients that are being greeted, each address with a line of its own: whoever sends thousands that never
// answer stands in the way of nobody else. It is safe for concurrent use.
type lines struct {
	mu    sync.Mutex
	limit int
	at    map[netip.Addr]*line
}

// line is that of one address: how many are greeted, and who waits.
type line struct {
	greeted int
	waiting []chan struct{}
}

func newLines(limit int) *lines { return &lines{limit: limit, at: make(map[netip.Addr]*line)} }

// enter takes a place. While there is none it returns a channel that is closed when the place is the caller's; full says
// that too many wait already.
func (l *lines) enter(from netip.Addr) (turn chan struct{}, full bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	one := l.at[from]
	if one == nil {
		one = &line{}
		l.at[from] = one
	}
	switch {
	case one.greeted < l.limit:
		one.greeted++
		return nil, false
	case len(one.waiting) >= mostWaiting:
		return nil, true
	}
	turn = make(chan struct{})
	one.waiting = append(one.waiting, turn)
	return turn, false
}

// leave gives a place to who waits longest.
func (l *lines) leave(from netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	one := l.at[from]
	if len(one.waiting) > 0 {
		close(one.waiting[0])
		one.waiting = one.waiting[1:]
		return
	}
	if one.greeted--; one.greeted == 0 {
		delete(l.at, from)
	}
}

// giveUp leaves the line, or gives the place on if it has come meanwhile.
func (l *lines) giveUp(from netip.Addr, turn chan struct{}) {
	l.mu.Lock()
	one := l.at[from]
	for i, other := range one.waiting {
		if other == turn {
			one.waiting = append(one.waiting[:i], one.waiting[i+1:]...)
			l.mu.Unlock()
			return
		}
	}
	l.mu.Unlock()
	l.leave(from)
}

// crowded tells whether somebody of an address waits.
func (l *lines) crowded(from netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	one := l.at[from]
	return one != nil && len(one.waiting) > 0
}

// queue takes a place for a session to be greeted in, waiting for its turn, as one that is held, where all are taken. Its
// error is the cause of the session's end.
func (r *Redirector) queue(ctx context.Context, s *session, held *hold) (leave func(), _ *hold, err error) {
	from := s.address()
	turn, full := r.lines.enter(from)
	if full {
		return nil, held, errCrowd
	}
	leave = sync.OnceFunc(func() { r.lines.leave(from) })
	if turn == nil {
		return leave, held, nil
	}
	if held == nil {
		held = r.hold(s)
	}
	held.watch()
	select {
	case <-turn:
		return leave, held, nil
	case <-ctx.Done():
	}
	r.lines.giveUp(from, turn)
	if err = context.Cause(ctx); errors.Is(err, errHoldExpired) {
		err = errCrowd
	}
	return nil, held, err
}

// errCrowd: too many of the same address were before it.
var errCrowd = errors.New("too many clients of this address have been greeted and do not answer")
