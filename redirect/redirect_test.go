package redirect

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestOptionsThatContradictThemselvesAreRefused(t *testing.T) {
	logger := slog.New(slog.DiscardHandler)
	tests := []struct {
		name    string
		options Options
		want    []string
	}{
		{"no port", Options{Logger: logger}, []string{"neither a write nor a read port"}},
		{"no logger", Options{WriteListen: ":0"}, []string{"no logger"}},
		{"all numbers negative", Options{ReadListen: ":0", Hold: -1, DialTimeout: -1, MaxSessions: -1, Logger: logger},
			[]string{"hold is -1ns", "dial timeout is -1ns", "maximum of sessions is -1"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := New(newSwitchboard(Route{}), test.options)
			if err == nil {
				t.Fatal("accepted")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q lacks %q", err, want)
				}
			}
		})
	}
}

func TestListenNamesThePortThatIsInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	r, err := New(newSwitchboard(Route{}), Options{WriteListen: "127.0.0.1:0", ReadListen: taken.Addr().String(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	err = r.Listen()
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "read port "+taken.Addr().String()) {
		t.Errorf("got %v", err)
	}
	if r.Addresses() != (Addresses{}) {
		t.Errorf("bound %+v", r.Addresses())
	}
	if err := r.Run(context.Background()); err == nil {
		t.Error("Run served without ports")
	}
}

func TestAPortThatIsOffIsNotBound(t *testing.T) {
	r, err := New(newSwitchboard(Route{}), Options{WriteListen: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Listen(); err != nil {
		t.Fatal(err)
	}
	if got := r.Addresses(); got.Write == "" || got.Read != "" {
		t.Errorf("bound %+v", got)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.Run(ctx); err != nil {
		t.Error(err)
	}
	if err := r.Run(ctx); err == nil {
		t.Error("Run served a second time")
	}
}

func TestStoppingEndsOpenAndHeldSessions(t *testing.T) {
	db1 := newBackend(t, "db1", echo("db1"))
	r := start(t, Route{Term: 1, Readers: []Target{db1.Target}}, Options{Hold: 10 * patience})
	open, held := dialTo(t, r.Addresses().Read), dialTo(t, r.Addresses().Write)
	open.greeting(t)
	r.diary.waitHeld(t, 1)
	r.stop()
	// Run has returned, so all has been reported already.
	if !r.diary.sees(func(d *diary) bool {
		return slices.Equal(d.closed, []Cause{CauseShutdown}) && slices.Equal(d.outcomes, []HoldOutcome{HoldShutdown})
	}) {
		t.Errorf("sessions ended with %v, holds with %v", r.diary.closed, r.diary.outcomes)
	}
	open.gone(t)
	if got, err := io.ReadAll(held); err != nil || !strings.HasSuffix(string(got), "mysqlha: this redirector is being stopped") {
		t.Errorf("the held client got %q, %v", got, err)
	}
	if _, err := net.Dial("tcp", r.Addresses().Write); err == nil {
		t.Error("the port is still open")
	}
}

// exhausted is a listener of a process that is out of file descriptors.
type exhausted struct{ accepts int }

func (e *exhausted) AcceptTCP() (*net.TCPConn, error) {
	e.accepts++
	return nil, syscall.EMFILE
}

func TestFailingAcceptsDoNotSpin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := New(newSwitchboard(Route{}), Options{WriteListen: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		listener := &exhausted{}
		r.accept(ctx, ctx, WritePort, listener)
		// 5, 10, 20 … 640 ms make 1.3 s, then one each second.
		if listener.accepts < 10 || listener.accepts > 20 {
			t.Errorf("%d accepts in 10 s", listener.accepts)
		}
	})
}
