package redirect

import (
	"database/sql"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
)

func TestHeldConnectionGoesToTheNewWriterAtOnce(t *testing.T) {
	db1 := newBackend(t, "db1", echo("db1"))
	r := start(t, Route{Term: 4}, Options{})
	held := dialTo(t, r.Addresses().Write)
	r.diary.waitHeld(t, 1)
	eventually(t, "the hold is counted", func() bool { return r.Stats().Held == 1 })

	changed := time.Now()
	r.board.set(toWriter(5, db1))
	if got := held.greeting(t); got != "db1" {
		t.Errorf("reached %q", got)
	}
	took := time.Since(changed)
	t.Logf("released %s after the change", took)
	if took > time.Second {
		t.Errorf("released %s after the change", took)
	}
	held.alive(t)
	r.diary.waitOutcome(t, HoldConnected)
	if stats := r.Stats(); stats.Held != 0 || stats.WriteSessions != 1 || stats.Term != 5 {
		t.Errorf("stats %+v", stats)
	}
}

func TestHeldConnectionReachesAWriterThatRefusedAtFirst(t *testing.T) {
	address := closedAddress(t)
	r := start(t, Route{Term: 1, Writer: &Target{"db1", address}}, Options{})
	held := dialTo(t, r.Addresses().Write)
	r.diary.waitHeld(t, 1)
	newBackendAt(t, "db1", address, echo("db1"))
	if got := held.greeting(t); got != "db1" {
		t.Errorf("reached %q", got)
	}
}

func TestADialToASilentWriterIsGivenUpWhenTheRouteChanges(t *testing.T) {
	silent := fullListener(t)
	db2 := newBackend(t, "db2", echo("db2"))
	r := start(t, Route{Term: 1, Writer: &Target{"db1", silent}}, Options{DialTimeout: patience, Hold: patience})
	c := dialTo(t, r.Addresses().Write)
	eventually(t, "db1 is being dialled", func() bool { return r.Stats().Servers["db1"] == 1 })
	changed := time.Now()
	r.board.set(toWriter(2, db2))
	if got := c.greeting(t); got != "db2" {
		t.Errorf("reached %q", got)
	}
	if took := time.Since(changed); took > patience/2 {
		t.Errorf("took %s", took)
	}
}

func TestExpiredHoldTellsTheClientWhy(t *testing.T) {
	tests := []struct {
		name  string
		route Route
		read  bool
		want  string
	}{
		{"no writer is known", Route{Term: 7}, false, "mysqlha: no server of the cluster accepts writes (term 7); held for 50ms"},
		{"the writer refuses", Route{Term: 7, Writer: &Target{"db1", closedAddress(t)}}, false, "mysqlha: no server of the cluster accepts writes (term 7); held for 50ms"},
		{"no replica is fresh", Route{Term: 7}, true, "mysqlha: no server of the cluster is fresh enough for reads (term 7); held for 50ms"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := start(t, test.route, Options{Hold: 50 * time.Millisecond})
			address := r.Addresses().Write
			if test.read {
				address = r.Addresses().Read
			}
			wantMySQLError(t, address, 1053, test.want)
			r.diary.waitOutcome(t, HoldExpired)
		})
	}
}

func TestErrorPacketIsThatOfAServerBeforeItsGreeting(t *testing.T) {
	got := string(errorPacket(errTooManyConnections, "Too many connections"))
	// As mysqld itself sends it: length 23, sequence 0, 0xff, 1040, no SQLSTATE.
	if want := "\x17\x00\x00\x00\xff\x10\x04Too many connections"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if long := errorPacket(1, strings.Repeat("x", 100_000)); len(long) != 4+3+maxMessage {
		t.Errorf("a long message makes %d bytes", len(long))
	}
}

func TestClientThatLeavesWhileHeldIsNoticed(t *testing.T) {
	leave := map[string]func(*client) error{
		"it closes":                     func(c *client) error { return c.Close() },
		"it closes with bytes sent":     func(c *client) error { _, err := io.WriteString(c, "early"); return errors.Join(err, c.Close()) },
		"it resets":                     func(c *client) error { return errors.Join(c.SetLinger(0), c.Close()) },
		"it closes its direction alone": func(c *client) error { return c.CloseWrite() },
	}
	for name, leave := range leave {
		t.Run(name, func(t *testing.T) {
			r := start(t, Route{Term: 1}, Options{Hold: 10 * patience, MaxSessions: 1})
			c := dialTo(t, r.Addresses().Write)
			r.diary.waitHeld(t, 1)
			if err := leave(c); err != nil {
				t.Fatal(err)
			}
			r.diary.waitOutcome(t, HoldClientGone)
			// Its place is free again.
			eventually(t, "its place is free", func() bool { return r.Stats().Held == 0 })
			dialTo(t, r.Addresses().Write)
			r.diary.waitHeld(t, 2)
		})
	}
}

func TestBytesSentWhileHeldReachTheServer(t *testing.T) {
	db1 := newBackend(t, "db1", echo("db1"))
	r := start(t, Route{Term: 1}, Options{})
	c := dialTo(t, r.Addresses().Write)
	if _, err := io.WriteString(c, "early\n"); err != nil {
		t.Fatal(err)
	}
	r.diary.waitHeld(t, 1)
	r.board.set(toWriter(1, db1))
	if got := c.greeting(t); got != "db1" {
		t.Errorf("reached %q", got)
	}
	if got := c.greeting(t); got != "early" {
		t.Errorf("got back %q", got)
	}
}

func TestAboveTheMaximumOfSessionsClientsAreRefused(t *testing.T) {
	db1 := newBackend(t, "db1", echo("db1"))
	r := start(t, toWriter(1, db1), Options{MaxSessions: 2})
	first, second := dialTo(t, r.Addresses().Write), dialTo(t, r.Addresses().Write)
	first.greeting(t)
	second.greeting(t)
	wantMySQLError(t, r.Addresses().Write, 1040, "Too many connections: mysqlha's redirector serves 2 already")
	wantMySQLError(t, r.Addresses().Read, 1040, "Too many connections: mysqlha's redirector serves 2 already")
	if !r.diary.sees(func(d *diary) bool { return d.refused == 2 }) {
		t.Error("the refusals were not reported")
	}
	first.alive(t)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	r.diary.waitClosed(t, CauseClient)
	eventually(t, "the place is free", func() bool { return r.Stats().WriteSessions == 1 })
	dialTo(t, r.Addresses().Write).greeting(t)
}

// wantMySQLError connects with a real driver and checks the error that it makes of the packet.
func wantMySQLError(t *testing.T, address string, number uint16, message string) {
	t.Helper()
	db, err := sql.Open("mysql", "app:secret@tcp("+address+")/")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.Ping()
	var got *mysql.MySQLError
	if !errors.As(err, &got) {
		t.Fatalf("the driver says %v", err)
	}
	if got.Number != number || got.Message != message {
		t.Errorf("got error %d %q, want %d %q", got.Number, got.Message, number, message)
	}
}

// fullListener returns an address where a dial hangs: its queue is full and nobody accepts.
func fullListener(t *testing.T) string {
	t.Helper()
	listener := smallListener(t)
	dialer := net.Dialer{Timeout: 100 * time.Millisecond}
	for range 16 {
		conn, err := dialer.Dial("tcp", listener)
		if err != nil {
			return listener
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	t.Fatal("the queue of the listener does not fill")
	return ""
}
