package redirect

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// silence says when a peer that acknowledges nothing counts as dead.
//
// TCP_USER_TIMEOUT would do it in the kernel, but it also kills connections to peers that are alive and merely read
// slowly: with 2 s of it a client that pauses in the middle of a large result is gone after 2.3 s (Linux 6.18), because
// the answers to window probes do not reset it. mysqld itself waits 60 s for such a client (net_write_timeout). So it
// is left off, and the kernel is asked for the two facts that tell slow from dead: is anything unacknowledged, and
// when did the last acknowledgement come.
type silence struct {
	limit time.Duration // without acknowledgement this long, a peer is dead
	every time.Duration // how often all connections are looked at; a death is noticed at most this much later
}

// defaultSilence bounds the silence as keepAlive does for idle connections.
func defaultSilence() silence { return silence{limit: 10 * time.Second, every: 2 * time.Second} }

// quiet follows one connection from look to look. The zero value is ready.
type quiet struct {
	since time.Time // the first look since which something has been unacknowledged all the time
}

// over looks at a connection and tells whether its peer has been silent for limit.
func (q *quiet) over(conn *net.TCPConn, now time.Time, limit time.Duration) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false // closed
	}
	var info *unix.TCPInfo
	var failed error
	err = raw.Control(func(fd uintptr) {
		info, failed = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	})
	if err != nil || failed != nil {
		return false // closed
	}
	return q.look(info, now, limit)
}

// look judges what the kernel says. An acknowledgement older than the first look says nothing by itself: a connection
// may have been idle until a moment ago. A peer whose window is closed is alive by its probes' answers, and what it has
// not read is mysqld's or the application's patience.
func (q *quiet) look(info *unix.TCPInfo, now time.Time, limit time.Duration) bool {
	lastAck := time.Duration(info.Last_ack_recv) * time.Millisecond
	switch {
	case info.Unacked == 0 || info.Snd_wnd == 0:
		q.since = time.Time{}
	case q.since.IsZero() || lastAck < now.Sub(q.since):
		q.since = now
	default:
		return now.Sub(q.since) >= limit
	}
	return false
}
