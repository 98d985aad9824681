// Package scan tries ports: whoever wants to know what a host can reach runs it there. It
// imports nothing of ours, so that it judges firewalls from outside.
package scan

import (
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// What became of an attempt to connect. Whoever is refused was let through: the host
// itself says that nobody listens there. What a firewall drops is silent.
const (
	Connected = "connected"
	Refused   = "refused"
	Silent    = "silence"
)

// Task is what to try, all at once, from an address of its own if one is given, and how
// long silence is listened to.
type Task struct {
	From      string        `json:"from,omitempty"`
	Addresses []string      `json:"addresses"`
	Patience  time.Duration `json:"patience"`
}

// Run tells of each address what became of the attempt.
func Run(task Task) map[string]string {
	found := make(map[string]string)
	dialer := net.Dialer{Timeout: task.Patience}
	if task.From != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(task.From)}
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, at := range task.Addresses {
		wg.Go(func() {
			c, err := dialer.Dial("tcp", at)
			if err == nil {
				_ = c.Close() // That it was opened is all that counts.
			}
			mu.Lock()
			defer mu.Unlock()
			found[at] = Outcome(err)
		})
	}
	wg.Wait()
	return found
}

// Outcome says what became of an attempt; what is none of the three is told as it is.
func Outcome(err error) string {
	var timeout net.Error
	switch {
	case err == nil:
		return Connected
	case errors.Is(err, syscall.ECONNREFUSED):
		return Refused
	case errors.As(err, &timeout) && timeout.Timeout():
		return Silent
	}
	return err.Error()
}
