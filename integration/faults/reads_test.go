package faults

import (
	"testing"
	"time"
)

func TestAReadIsAsStaleAsTheFirstNewerAcknowledgement(t *testing.T) {
	begun := time.Now()
	at := func(s int) time.Time { return begun.Add(time.Duration(s) * time.Second) }
	acked := []counted{{1, at(1)}, {2, at(2)}, {5, at(5)}} // 3 and 4 were answered by nobody.
	for _, c := range []struct {
		n, at, want int
	}{{2, 3, 0}, {5, 9, 0}, {1, 4, 2}, {0, 4, 3}, {2, 9, 4}, {3, 9, 4}, {9, 9, 0}, {1, 1, 0}} {
		if got := staleBy(acked, counted{int64(c.n), at(c.at)}); got != time.Duration(c.want)*time.Second {
			t.Errorf("%d read at %d s is stale by %s, not %d s", c.n, c.at, got, c.want)
		}
	}
}
