package redirect

import (
	"net"
	"slices"
	"testing"
	"time"
)

// While a redirector drains its sessions go on, under the routes that come meanwhile,
// and its successor has the port already.
func TestADrainingRedirectorKeepsItsSessionsAndLetsItsSuccessorIn(t *testing.T) {
	db1 := newBackend(t, "db1", echo("db1"))
	r := start(t, Route{Term: 1, Writer: &db1.Target, Readers: []Target{db1.Target}}, Options{Drain: 10 * patience})
	reader, writer := dialTo(t, r.Addresses().Read), dialTo(t, r.Addresses().Write)
	reader.greeting(t)
	writer.greeting(t)
	stopped := make(chan struct{})
	go func() { defer close(stopped); r.stop() }()
	eventually(t, "the port is closed", func() bool {
		conn, err := net.Dial("tcp", r.Addresses().Read)
		if err == nil {
			_ = conn.Close() // It got into the queue before the end.
		}
		return err != nil
	})
	successor, err := listen(r.Addresses().Read)
	if err != nil {
		t.Fatalf("the successor cannot have the port: %v", err)
	}
	defer successor.Close()
	reader.alive(t)
	writer.alive(t)
	r.board.set(Route{Term: 2})
	writer.gone(t) // A new term cuts it as always.
	reader.alive(t)
	select {
	case <-stopped:
		t.Fatal("it did not wait for its last session")
	default:
	}
	_ = reader.Close()
	select {
	case <-stopped:
	case <-time.After(patience):
		t.Fatal("it waits although nobody is left")
	}
	if !r.diary.sees(func(d *diary) bool {
		return slices.Contains(d.closed, CauseNewTerm) && !slices.Contains(d.closed, CauseShutdown)
	}) {
		t.Errorf("sessions ended with %v", r.diary.closed)
	}
}

func TestWhatIsLeftAfterTheDrainIsCut(t *testing.T) {
	db1 := newBackend(t, "db1", echo("db1"))
	r := start(t, Route{Term: 1, Readers: []Target{db1.Target}}, Options{Drain: 100 * time.Millisecond})
	reader := dialTo(t, r.Addresses().Read)
	reader.greeting(t)
	r.stop()
	reader.gone(t)
	if !r.diary.sees(func(d *diary) bool { return slices.Equal(d.closed, []Cause{CauseShutdown}) }) {
		t.Errorf("sessions ended with %v", r.diary.closed)
	}
}

// Two redirectors may have one port at a time.
func TestASuccessorMayListenBeforeItsPredecessorStops(t *testing.T) {
	first, err := listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	second, err := listen(first.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = second.Close()
}
