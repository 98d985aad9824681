package redirect

import (
	"errors"
	"io"
	"net"
	"time"
)

// lastWords is how long a client may still send after its server has closed. MySQL's protocol has nothing to say
// then, but a client that is idle in a pool would keep a dead session alive until it is used again.
const lastWords = time.Second

// relay copies in both directions until the session ends, and returns the bytes that went from client to server (up)
// and back (down). Greeted is called when the client has said its first words. Both connections must be plain TCP connections: with anything wrapped around them ReadFrom cannot
// splice, and every byte would pass through this process.
func (r *Redirector) relay(s *session, server *net.TCPConn, greeted func()) (up, down int64) {
	done := make(chan int64, 1)
	go func() { // waited for by the receive below
		n, err := r.upwards(s, server, greeted)
		if err == nil {
			s.cancel(errClientClosed)
			err = server.CloseWrite()
		}
		r.broke(s, err)
		done <- n
	}()
	down, err := s.client.ReadFrom(server)
	if err == nil {
		s.cancel(errServerClosed)
		if err = s.client.CloseWrite(); err == nil {
			r.table.linger(s, time.Now().Add(lastWords))
		}
	}
	r.broke(s, err)
	return <-done, down
}

// upwards copies from client to server, after a look at the client's first words.
func (r *Redirector) upwards(s *session, server *net.TCPConn, greeted func()) (n int64, err error) {
	if r.opts.TLSOnly {
		n, err = r.introduce(s, server)
		greeted()
		switch {
		case errors.Is(err, io.EOF):
			return n, nil // It left without a word.
		case offends(err):
			r.dismiss(s, err)
			return n, err
		case err != nil:
			return n, err
		}
	}
	more, err := server.ReadFrom(s.client)
	return n + more, err
}

// broke ends both directions when one has failed. The orderly end of one has been passed on as a half-close, and the
// other goes on: a client that has said its last word may wait for its answer.
func (r *Redirector) broke(s *session, err error) {
	if err != nil {
		s.cancel(errLost)
		r.table.linger(s, time.Unix(1, 0))
	}
}
