package redirect

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait for something that must happen.
const patience = 20 * time.Second

// eventually waits until condition holds.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !condition(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s in vain: %s", patience, what)
		}
	}
}

// switchboard is a Router set by hand.
type switchboard struct {
	mu      sync.Mutex
	route   Route
	changed chan struct{}
}

func newSwitchboard(route Route) *switchboard {
	return &switchboard{route: route, changed: make(chan struct{})}
}

func (b *switchboard) Route() Route {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.route
}

func (b *switchboard) Changed() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.changed
}

func (b *switchboard) set(route Route) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.route = route
	close(b.changed)
	b.changed = make(chan struct{})
}

// diary is an Observer that remembers.
type diary struct {
	mu        sync.Mutex
	opened    map[string]int
	closed    []Cause
	up, down  int64
	held      int
	outcomes  []HoldOutcome
	refused   int
	reasons   []RefuseReason
	fallbacks int
}

func (d *diary) SessionOpened(_ Port, server string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.opened[server]++
}

func (d *diary) SessionClosed(_ Port, _ string, up, down int64, cause Cause) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = append(d.closed, cause)
	d.up, d.down = d.up+up, d.down+down
}

func (d *diary) Held(Port) { d.mu.Lock(); d.held++; d.mu.Unlock() }

func (d *diary) HoldEnded(_ Port, _ time.Duration, outcome HoldOutcome) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.outcomes = append(d.outcomes, outcome)
}

func (d *diary) Refused(_ Port, reason RefuseReason) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refused++
	d.reasons = append(d.reasons, reason)
}

func (d *diary) ReadFellBack() { d.mu.Lock(); d.fallbacks++; d.mu.Unlock() }

// sees tells whether fact holds of the diary.
func (d *diary) sees(fact func(*diary) bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return fact(d)
}

func (d *diary) waitClosed(t testing.TB, want ...Cause) {
	t.Helper()
	eventually(t, "sessions closed", func() bool { return d.sees(func(d *diary) bool { return len(d.closed) >= len(want) }) })
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range want {
		if d.closed[i] != want[i] {
			t.Fatalf("sessions closed with %v, want %v", d.closed, want)
		}
	}
}

func (d *diary) waitOutcome(t testing.TB, want HoldOutcome) {
	t.Helper()
	eventually(t, "the hold ends", func() bool { return d.sees(func(d *diary) bool { return len(d.outcomes) > 0 }) })
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.outcomes[0] != want {
		t.Fatalf("the hold ended with %q, want %q", d.outcomes[0], want)
	}
}

func (d *diary) waitHeld(t testing.TB, n int) {
	t.Helper()
	eventually(t, "the connection is held", func() bool { return d.sees(func(d *diary) bool { return d.held >= n }) })
}

// running is a Redirector that serves until the test ends.
type running struct {
	*Redirector
	board *switchboard
	diary *diary
	stop  func()
}

func start(t testing.TB, route Route, options Options, changes ...func(*Redirector)) *running {
	t.Helper()
	board, notes := newSwitchboard(route), &diary{opened: map[string]int{}}
	options.WriteListen, options.ReadListen = "127.0.0.1:0", "127.0.0.1:0"
	options.Logger, options.Observer = slog.New(slog.DiscardHandler), notes
	r, err := New(board, options)
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range changes {
		change(r)
	}
	if err := r.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			t.Error("Run did not return")
		}
	})
	t.Cleanup(stop)
	return &running{Redirector: r, board: board, diary: notes, stop: stop}
}

// backend is a server that greets with its name and then does as told with each connection.
type backend struct {
	Target
	listener net.Listener
	wait     sync.WaitGroup
	mu       sync.Mutex
	conns    []*net.TCPConn
}

func newBackend(t testing.TB, name string, handle func(*net.TCPConn)) *backend {
	t.Helper()
	return newBackendAt(t, name, "127.0.0.1:0", handle)
}

func newBackendAt(t testing.TB, name, address string, handle func(*net.TCPConn)) *backend {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{Target: Target{Server: name, Address: listener.Addr().String()}, listener: listener}
	b.wait.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			b.mu.Lock()
			b.conns = append(b.conns, conn.(*net.TCPConn))
			b.mu.Unlock()
			b.wait.Go(func() {
				defer conn.Close()
				handle(conn.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(b.close)
	return b
}

func (b *backend) close() {
	_ = b.listener.Close()
	b.mu.Lock()
	for _, conn := range b.conns {
		_ = conn.Close()
	}
	b.mu.Unlock()
	b.wait.Wait()
}

// echo greets with the name and returns what it gets.
func echo(name string) func(*net.TCPConn) {
	return func(conn *net.TCPConn) {
		_, _ = io.WriteString(conn, name+"\n")
		_, _ = io.Copy(conn, conn)
	}
}

// client is a connection through the redirector.
type client struct {
	*net.TCPConn
	in *bufio.Reader
}

func dialTo(t testing.TB, address string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &client{TCPConn: conn.(*net.TCPConn), in: bufio.NewReader(conn)}
}

// greeting reads the name of the server that was reached.
func (c *client) greeting(t testing.TB) string {
	t.Helper()
	line, err := c.in.ReadString('\n')
	if err != nil {
		t.Fatalf("reading the greeting: %v", err)
	}
	return strings.TrimSpace(line)
}

// alive checks that what is sent comes back.
func (c *client) alive(t testing.TB) {
	t.Helper()
	if _, err := io.WriteString(c, "ping\n"); err != nil {
		t.Fatalf("sending: %v", err)
	}
	if line, err := c.in.ReadString('\n'); err != nil || line != "ping\n" {
		t.Fatalf("got back %q, %v", line, err)
	}
}

// gone waits for the end of the connection.
func (c *client) gone(t testing.TB) {
	t.Helper()
	_, err := io.Copy(io.Discard, c.in)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Fatal("the connection was not ended")
	}
}

// closedAddress returns an address where nobody listens.
func closedAddress(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func toWriter(term uint64, b *backend) Route { return Route{Term: term, Writer: &b.Target} }
