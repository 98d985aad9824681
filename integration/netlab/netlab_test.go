package netlab

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"
)

// ping tells whether a packet comes back within a moment.
func ping(t *testing.T, l *Lab, from, to string) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
	defer cancel()
	// A refused connection is an answer as well.
	cmd := exec.CommandContext(ctx, "ip", "netns", "exec", l.Namespace(from), os.Args[0], "-test.run=^TestDial$")
	cmd.Env = append(os.Environ(), "NETLAB_DIAL="+net.JoinHostPort(l.IP(to), "9"))
	return cmd.Run() == nil
}

// TestDial is the program that ping runs in a host's namespace.
func TestDial(t *testing.T) {
	to := os.Getenv("NETLAB_DIAL")
	if to == "" {
		return
	}
	var d net.Dialer
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := d.DialContext(ctx, "tcp", to)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Fatal("no answer")
	}
}

func TestHostsAreCutAndJoined(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("network namespaces need root")
	}
	l, err := New(t.Context(), []string{"a", "b", "c"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	expect := func(what, from, to string, passes bool) {
		t.Helper()
		if got := ping(t, l, from, to); got != passes {
			t.Errorf("%s: from %s to %s: passes %v, want %v", what, from, to, got, passes)
		}
	}
	expect("at first", "a", "b", true)
	expect("at first", "a", Client, true)
	if err := l.Cut(t.Context(), "a", "b"); err != nil {
		t.Fatal(err)
	}
	expect("a and b are cut", "a", "b", false)
	expect("a and b are cut", "a", "c", true)
	if err := l.Isolate(t.Context(), "c"); err != nil {
		t.Fatal(err)
	}
	expect("c is alone", "a", "c", false)
	expect("c is alone", "c", Client, false)
	if err := l.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect("healed", "a", "b", true)
	expect("healed", "c", Client, true)
}
