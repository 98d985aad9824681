package redirect

import (
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func hasty(r *Redirector) {
	r.silence = silence{limit: 500 * time.Millisecond, every: 50 * time.Millisecond}
}

func TestDeadPeersAreNoticedWhileDataIsUnderWay(t *testing.T) {
	t.Run("a client that vanished", func(t *testing.T) {
		db1 := newBackend(t, "db1", func(conn *net.TCPConn) { _, _ = io.Copy(conn, zeros{}) })
		r := start(t, toWriter(1, db1), Options{}, hasty)
		c := dialTo(t, r.Addresses().Write)
		if _, err := io.ReadFull(c, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		// With room in its window, as a host has that loses power in the middle of a result.
		begun := drain(c)
		<-begun
		deafen(t, c.TCPConn)
		r.diary.waitClosed(t, CauseSilent)
	})
	t.Run("a server that vanished", func(t *testing.T) {
		conns := make(chan *net.TCPConn, 1)
		db1 := newBackend(t, "db1", func(conn *net.TCPConn) {
			_, _ = io.WriteString(conn, "db1\n")
			conns <- conn
			_, _ = io.Copy(io.Discard, conn)
		})
		r := start(t, toWriter(1, db1), Options{}, hasty)
		c := dialTo(t, r.Addresses().Write)
		c.greeting(t)
		deafen(t, <-conns)
		if _, err := io.WriteString(c, "a statement"); err != nil {
			t.Fatal(err)
		}
		r.diary.waitClosed(t, CauseSilent)
		c.gone(t)
	})
}

// drain reads for as long as the connection lives; the channel is closed when it has begun.
func drain(c *client) <-chan struct{} {
	begun := make(chan struct{})
	go func() {
		buffer := make([]byte, 1<<16)
		for i := 0; ; i++ {
			if _, err := c.Read(buffer); err != nil {
				return
			}
			if i == 10 {
				close(begun)
			}
		}
	}()
	return begun
}

func TestClientThatReadsSlowlyIsLeftAlone(t *testing.T) {
	const size = 64 << 20
	db1 := newBackend(t, "db1", func(conn *net.TCPConn) { _, _ = io.CopyN(conn, zeros{}, size) })
	r := start(t, toWriter(1, db1), Options{}, hasty)
	c := dialTo(t, r.Addresses().Write)
	// The pause is the matter of this test: four times the limit without a byte read.
	pause := time.NewTimer(4 * r.silence.limit)
	<-pause.C
	if n, err := io.Copy(io.Discard, c); n != size || err != nil {
		t.Errorf("got %d of %d bytes, %v", n, size, err)
	}
}

func TestWhenAPeerCountsAsSilent(t *testing.T) {
	begun := time.Unix(1000, 0)
	type look struct {
		after   time.Duration
		unacked uint32
		lastAck time.Duration
		window  uint32
	}
	open := uint32(1000)
	tests := []struct {
		name  string
		looks []look
		want  bool // at the last look
	}{
		{"nothing is under way", []look{{0, 0, time.Hour, open}, {10 * time.Second, 0, time.Hour, open}}, false},
		{"idle for long, and something was just sent", []look{{0, 1, time.Hour, open}}, false},
		{"unacknowledged for less than the limit", []look{{0, 1, time.Second, open}, {9 * time.Second, 1, 10 * time.Second, open}}, false},
		{"unacknowledged for the limit", []look{{0, 1, time.Second, open}, {10 * time.Second, 1, 11 * time.Second, open}}, true},
		{"acknowledged in between", []look{{0, 1, 0, open}, {5 * time.Second, 1, time.Second, open}, {10 * time.Second, 1, 6 * time.Second, open}}, false},
		{"acknowledged in between, then silent", []look{{0, 1, 0, open}, {5 * time.Second, 1, time.Second, open}, {15 * time.Second, 1, 11 * time.Second, open}}, true},
		{"the window is closed", []look{{0, 1, time.Second, 0}, {20 * time.Second, 1, 21 * time.Second, 0}}, false},
		{"all acknowledged in between", []look{{0, 1, time.Second, open}, {5 * time.Second, 0, 0, open}, {10 * time.Second, 1, 6 * time.Second, open}}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var q quiet
			var got bool
			for _, l := range test.looks {
				info := &unix.TCPInfo{Unacked: l.unacked, Last_ack_recv: uint32(l.lastAck.Milliseconds()), Snd_wnd: l.window}
				got = q.look(info, begun.Add(l.after), 10*time.Second)
			}
			if got != test.want {
				t.Errorf("silent: %t", got)
			}
		})
	}
}
