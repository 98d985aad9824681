package redirect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestWhichRoutesCutASession(t *testing.T) {
	db1, db2 := newBackend(t, "db1", echo("db1")), newBackend(t, "db2", echo("db2"))
	tests := []struct {
		name     string
		read     bool
		readers  []Target
		next     Route
		wantStay bool
	}{
		{name: "another writer cuts", next: toWriter(5, db2)},
		{name: "another writer in the same term cuts", next: toWriter(4, db2)},
		{name: "a greater term with the same writer cuts", next: toWriter(5, db1)},
		{name: "a greater term without a writer cuts", next: Route{Term: 5}},
		{name: "no writer in the same term stays", next: Route{Term: 4}, wantStay: true},
		{name: "other readers stay", next: Route{Term: 4, Writer: &db1.Target, Readers: []Target{db2.Target}}, wantStay: true},
		{name: "a read with a server that has left the cluster is cut", read: true, readers: []Target{db2.Target}, next: of(toWriter(4, db1), "db1", "db3")},
		{name: "a read with one that is there stays", read: true, readers: []Target{db2.Target}, next: of(toWriter(4, db1), "db1", "db2"), wantStay: true},
		{name: "a read that fell back to the writer is cut with it", read: true, next: toWriter(5, db2)},
		{name: "a read with a replica stays when the term changes", read: true, readers: []Target{db2.Target}, next: toWriter(5, db1), wantStay: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			route := toWriter(4, db1)
			route.Readers = test.readers
			r := start(t, route, Options{ReadFallback: true, Hold: 10 * patience})
			address := r.Addresses().Write
			if test.read {
				address = r.Addresses().Read
			}
			c := dialTo(t, address)
			c.greeting(t)
			r.board.set(test.next)
			if test.wantStay {
				eventually(t, "the route is in force", func() bool { return r.inForce(test.next) })
				c.alive(t)
				return
			}
			c.gone(t)
			r.diary.waitClosed(t, CauseNewTerm)
		})
	}
}

// of returns the route in a cluster of those servers.
func of(route Route, servers ...string) Route {
	route.Servers = servers
	return route
}

// inForce tells whether the follower has applied the route.
func (r *running) inForce(route Route) bool {
	r.table.mu.Lock()
	defer r.table.mu.Unlock()
	return fmt.Sprint(r.table.route) == fmt.Sprint(route)
}

func TestNoWriterInTheSameTermHoldsNewConnections(t *testing.T) {
	db1 := newBackend(t, "db1", echo("db1"))
	r := start(t, toWriter(4, db1), Options{})
	old := dialTo(t, r.Addresses().Write)
	old.greeting(t)
	r.board.set(Route{Term: 4})
	eventually(t, "the route is in force", func() bool { return r.inForce(Route{Term: 4}) })
	fresh := dialTo(t, r.Addresses().Write)
	r.diary.waitHeld(t, 1)
	old.alive(t)
	r.board.set(toWriter(4, db1))
	fresh.greeting(t)
	fresh.alive(t)
	old.alive(t)
}

func TestCutIsPromptWithFullBuffers(t *testing.T) {
	ends := make(chan error, 1)
	var flood sync.WaitGroup
	db1 := newBackend(t, "db1", func(conn *net.TCPConn) {
		_, err := io.Copy(conn, zeros{}) // never reads, writes until it is cut
		ends <- err
	})
	db2 := newBackend(t, "db2", echo("db2"))
	r := start(t, toWriter(1, db1), Options{})
	c := dialTo(t, r.Addresses().Write)
	flood.Go(func() { _, _ = io.Copy(c.TCPConn, zeros{}) }) // never reads, writes until it is cut
	defer flood.Wait()
	stuck(t, r)

	changed := time.Now()
	r.board.set(toWriter(2, db2))
	select {
	case err := <-ends:
		if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
			t.Errorf("the former primary saw %v, want a reset", err)
		}
	case <-time.After(patience):
		t.Fatal("the former primary was not cut")
	}
	r.diary.waitClosed(t, CauseNewTerm)
	took := time.Since(changed)
	t.Logf("cut %s after the change", took)
	if took > time.Second {
		t.Errorf("cut %s after the change", took)
	}
	c.gone(t)
}

func TestWhatWasNotYetSentToAFormerPrimaryIsThrownAway(t *testing.T) {
	read, end := make(chan struct{}), make(chan error, 1)
	db1 := newBackend(t, "db1", func(conn *net.TCPConn) {
		_, _ = conn.Write(make([]byte, 1000))
		<-read
		_, err := io.Copy(io.Discard, conn)
		end <- err
	})
	r := start(t, toWriter(1, db1), Options{})
	c := dialTo(t, r.Addresses().Write)
	if _, err := io.ReadFull(c, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	var flood sync.WaitGroup
	flood.Go(func() { _, _ = io.Copy(c.TCPConn, zeros{}) })
	defer flood.Wait()
	stuck(t, r)
	r.board.set(Route{Term: 2})
	r.diary.waitClosed(t, CauseNewTerm)
	close(read)
	if err := <-end; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the former primary read all that was under way, then saw %v, want a reset", err)
	}
}

// stuck waits until neither direction of the only session moves: whoever sends then waits for a full buffer.
func stuck(t *testing.T, r *running) {
	t.Helper()
	var before [2]uint64
	since := time.Now()
	eventually(t, "both directions are stuck", func() bool {
		now := r.sent(t)
		if now != before {
			before, since = now, time.Now()
		}
		return now[0] > 0 && now[1] > 0 && time.Since(since) > 200*time.Millisecond
	})
}

// sent returns the bytes acknowledged by client and server of the only session.
func (r *running) sent(t *testing.T) (bytes [2]uint64) {
	t.Helper()
	r.table.mu.Lock()
	defer r.table.mu.Unlock()
	for s := range r.table.sessions {
		if s.server != nil {
			bytes = [2]uint64{tcpInfo(t, s.client).Bytes_acked, tcpInfo(t, s.server).Bytes_acked}
		}
	}
	return bytes
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestADialThatARouteOvertookIsNeverOpened(t *testing.T) {
	db1, db2 := newBackend(t, "db1", echo("db1")), newBackend(t, "db2", echo("db2"))
	overtaken := map[string]Route{
		"by another writer":                    toWriter(2, db2),
		"by a greater term of the same writer": toWriter(2, db1),
		"by no writer":                         {Term: 1},
	}
	for name, next := range overtaken {
		t.Run(name, func(t *testing.T) {
			table := newTable()
			table.apply(toWriter(1, db1))
			conn := dialTo(t, db1.Address).TCPConn
			s := newSession(context.Background(), WritePort, conn)
			table.add(s, 0)
			dialCtx, to, ok := table.reserve(s.ctx, s, nil, false)
			if !ok || to.target != db1.Target {
				t.Fatalf("reserved %+v, %t", to, ok)
			}
			table.apply(next)
			if !errors.Is(context.Cause(dialCtx), errRouteChanged) {
				t.Errorf("the dial goes on: %v", context.Cause(dialCtx))
			}
			if table.open(s, conn) {
				t.Error("the session was opened with a former primary")
			}
		})
	}
}

func TestASessionThatHasEndedIsNeverOpened(t *testing.T) {
	db1 := newBackend(t, "db1", echo("db1"))
	table := newTable()
	table.apply(toWriter(1, db1))
	conn := dialTo(t, db1.Address).TCPConn
	s := newSession(context.Background(), WritePort, conn)
	table.add(s, 0)
	if _, _, ok := table.reserve(s.ctx, s, nil, false); !ok {
		t.Fatal("no server")
	}
	s.cancel(errShutdown)
	if table.open(s, conn) {
		t.Error("it was opened, and nobody would cut it")
	}
}

func TestNoSessionSurvivesOnAFormerPrimaryHoweverDialsAndChangesFall(t *testing.T) {
	backends := []*backend{newBackend(t, "db1", echo("db1")), newBackend(t, "db2", echo("db2"))}
	r := start(t, toWriter(1, backends[1]), Options{})
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				conn, err := net.Dial("tcp", r.Addresses().Write)
				if err != nil {
					continue
				}
				_, _ = conn.Read(make([]byte, 4))
				_ = conn.Close()
			}
		})
	}
	for term := uint64(2); term < 300; term++ {
		to := backends[term%2]
		r.board.set(toWriter(term, to))
		eventually(t, "the route is in force", func() bool { return r.Stats().Term == term })
		r.table.mu.Lock()
		for s := range r.table.sessions {
			if s.server != nil && !s.wasCut && s.aim.target != to.Target {
				t.Errorf("term %d: a session with %s goes on", term, s.aim.target.Server)
			}
		}
		r.table.mu.Unlock()
	}
	close(stop)
	clients.Wait()
	eventually(t, "all sessions have ended", func() bool { return len(r.Stats().Servers) == 0 })
}
