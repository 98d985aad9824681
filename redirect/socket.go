package redirect

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// keepAlive finds a peer that vanished while nothing is under way: probes after 10 s of quiet, three of them, 3 s apart.
func keepAlive() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 3 * time.Second, Count: 3}
}

// listen binds one port, also where another redirector of the same user has it: one that is to be stopped drains while
// its successor serves already.
func listen(address string) (*net.TCPListener, error) {
	config := net.ListenConfig{KeepAliveConfig: keepAlive(), Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) }), err)
	}}
	config.SetMultipathTCP(false) // Go's default for listeners; such connections cannot be spliced
	listener, err := config.Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, err
	}
	return listener.(*net.TCPListener), nil
}

// dial connects to a server within timeout.
func dial(ctx context.Context, address string, timeout time.Duration) (*net.TCPConn, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	dialer := net.Dialer{KeepAliveConfig: keepAlive()}
	dialer.SetMultipathTCP(false)
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	server := conn.(*net.TCPConn)
	if err := tune(server); err != nil {
		_ = server.Close() // the error to report is the one above
		return nil, err
	}
	return server, nil
}

// tune prepares a connection for relaying: what one side sends small goes out at once, as the other side sent it.
func tune(conn *net.TCPConn) error {
	if err := conn.SetNoDelay(true); err != nil {
		return fmt.Errorf("set TCP_NODELAY for %s: %w", conn.RemoteAddr(), err)
	}
	return nil
}

// watchGone calls gone once when the peer of conn closes or its connection breaks. It reads nothing, and bytes that a
// peer has sent before closing do not hide the close from it. The function it returns ends the watch; it may be called
// after gone was, and returns after the watching goroutine has ended. Until then conn must not be read.
func watchGone(conn *net.TCPConn, gone func()) (stop func()) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		raw, err := conn.SyscallConn()
		if err == nil {
			err = raw.Read(func(fd uintptr) bool { return hungUp(int32(fd)) })
		}
		if err == nil {
			gone()
		}
	}()
	return func() {
		_ = conn.SetReadDeadline(time.Unix(1, 0)) // fails only on a closed connection, where the watch has ended
		<-ended
		_ = conn.SetReadDeadline(time.Time{})
	}
}

// hungUp asks, without waiting, whether the peer has closed its direction.
func hungUp(fd int32) bool {
	polled := []unix.PollFd{{Fd: fd, Events: unix.POLLRDHUP}}
	n, err := unix.Poll(polled, 0)
	for err == unix.EINTR { // the hang-up is announced once, so this answer must not be missed
		n, err = unix.Poll(polled, 0)
	}
	return err == nil && n > 0 && polled[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
}
