package member

import (
	"testing"
	"time"
)

// An interruption begins with the last heartbeat that is known, whoever wrote it, and
// ends when a term is opened, or with the next one where one was missed.
func TestInterruptionsAreMeasuredFromHeartbeatToHeartbeat(t *testing.T) {
	start := time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	p := pulse{period: 500 * time.Millisecond}
	if since, known := p.opened(at(0)); known {
		t.Errorf("the first term interrupted what was written since %s", since)
	}
	for _, ms := range []int{10, 510, 1010, 2010} {
		if since, missed := p.acknowledged(at(ms)); missed {
			t.Errorf("a heartbeat at %d ms was late since %s", ms, since)
		}
	}
	if since, missed := p.acknowledged(at(3011)); !missed || since != at(2010) {
		t.Errorf("a stall was %t, since %s", missed, since)
	}
	p.heard(at(5000))
	p.heard(at(4500)) // Read before, told later.
	if since, known := p.opened(at(5700)); !known || since != at(5000) {
		t.Errorf("a term that is opened after another's heartbeat: %t, since %s", known, since)
	}
	if since, missed := p.acknowledged(at(5710)); missed {
		t.Errorf("the first heartbeat of the term is late since %s", since)
	}
	p.heard(at(9000)) // Its writer's clock is ahead.
	if since, known := p.opened(at(8800)); known {
		t.Errorf("an interruption began at %s, after its end", since)
	}
}
