package redirect

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
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

// introduce takes a greeted client's first words and passes them on if they ask for TLS. Whoever sends anything else has
// no business here, and whoever says nothing keeps one of mysqld's places.
func (r *Redirector) introduce(s *session, server *net.TCPConn) (passed int64, err error) {
	words, begun := make([]byte, 0, 4096), time.Now()
	for {
		if !r.table.expect(s, time.Now().Add(min(crowdedTimeout, r.opts.HandshakeTimeout))) {
			return 0, nil // Its end is under way, in its own time.
		}
		n, err := s.client.Read(words[len(words):cap(words)])
		words = words[:len(words)+n]
		switch verdict := judge(words); {
		case verdict == nil:
			r.table.expect(s, time.Time{})
			wrote, err := server.Write(words)
			return int64(wrote), err
		case verdict != io.ErrUnexpectedEOF:
			return 0, verdict
		}
		waited := time.Since(begun)
		switch {
		case err == nil, errors.Is(err, os.ErrDeadlineExceeded) && s.ctx.Err() == nil:
			if waited >= r.opts.HandshakeTimeout || waited >= crowdedTimeout && r.lines.crowded(s.address()) {
				return 0, errMute
			}
		default:
			return 0, err
		}
	}
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
	return from.AddrPort().Addr().Unmap()
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

// queue waits for a session's turn to be greeted and returns what ends it. Its error is the cause of the session's end.
func (r *Redirector) queue(s *session) (leave func(), err error) {
	if !r.opts.TLSOnly {
		return func() {}, nil
	}
	from := s.address()
	turn, full := r.lines.enter(from)
	if full {
		return nil, errCrowd
	}
	leave = sync.OnceFunc(func() { r.lines.leave(from) })
	if turn == nil {
		return leave, nil
	}
	expired := time.NewTimer(time.Until(s.accepted.Add(r.opts.Hold)))
	defer expired.Stop()
	stop := watchGone(s.client, func() { s.cancel(errClientClosed) })
	defer stop()
	select {
	case <-turn:
		return leave, nil
	case <-expired.C:
		err = errCrowd
	case <-s.ctx.Done():
		err = errClientClosed
		if cause := s.ctx.Err(); cause != nil && s.cause() != CauseClient {
			err = errShutdown
		}
	}
	r.lines.giveUp(from, turn)
	return nil, err
}

// errCrowd: too many of the same address were before it.
var errCrowd = errors.New("too many clients of this address have been greeted and do not answer")
