package election

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// copyOf is what a consumer makes of a mirror's updates.
type copyOf struct {
	mu     sync.Mutex
	state  map[string]string
	seen   []string // each change in order
	fulls  int
	rev    int64
	stale  bool
	staled int
}

func (c *copyOf) apply(t testing.TB) func(Update) {
	return func(u Update) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if u.Revision < c.rev {
			t.Errorf("revision went back from %d to %d", c.rev, u.Revision)
		}
		c.rev = u.Revision
		if u.Full {
			c.state = map[string]string{}
			c.fulls++
		}
		for _, e := range u.Events {
			if e.Deleted {
				delete(c.state, e.Key)
			} else {
				c.state[e.Key] = string(e.Value)
				c.seen = append(c.seen, string(e.Value))
			}
		}
		if c.stale = !u.StaleSince.IsZero(); c.stale {
			c.staled++
		}
	}
}

func (c *copyOf) is(want map[string]string) func() bool {
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.state != nil && maps.Equal(c.state, want)
	}
}

func (c *copyOf) isStale(want bool) func() bool {
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.stale == want
	}
}

func TestMirror(t *testing.T) {
	cluster := startCluster(t, 3)
	writer := cluster.client()
	client, wires := cluster.wiredClient()
	c := &copyOf{}
	want := map[string]string{"live/old": "0"}
	must(writer.Put(t.Context(), "live/old", "0"))(t)
	background(t, func(ctx context.Context) error {
		return Mirror(ctx, client, MirrorOptions{Prefix: "live/", CheckInterval: 200 * time.Millisecond, StaleAfter: time.Second}, c.apply(t))
	})
	eventually(t, "the first state", c.is(want))
	n := 0
	write := func(t *testing.T) {
		t.Helper()
		n++
		key, value := fmt.Sprint("live/", n%7), fmt.Sprint(n)
		must(retry(t.Context(), func(ctx context.Context) (*clientv3.PutResponse, error) {
			return writer.Put(ctx, key, value)
		}))(t)
		want[key] = value
	}

	t.Run("changes and deletions arrive", func(t *testing.T) {
		write(t)
		must(writer.Delete(t.Context(), "live/old"))(t)
		delete(want, "live/old")
		must(writer.Put(t.Context(), "history/1", "not ours"))(t)
		eventually(t, "the changes", c.is(want))
	})
	t.Run("every change arrives in order while each member restarts", func(t *testing.T) {
		for i := range cluster.members {
			var wg sync.WaitGroup
			wg.Go(func() { cluster.stop(i); cluster.start(i) })
			for range 30 {
				write(t)
			}
			wg.Wait()
		}
		eventually(t, "the last change", c.is(want))
		c.mu.Lock()
		defer c.mu.Unlock()
		last := 0
		for _, v := range c.seen[1:] { // the first is the old key's
			var now int
			fmt.Sscan(v, &now)
			if now != last && now != last+1 { // a try of unknown outcome may have been repeated
				t.Errorf("%d came after %d", now, last)
			}
			last = now
		}
		if last != n || c.fulls != 1 {
			t.Errorf("%d of %d changes with %d full states", last, n, c.fulls)
		}
	})
	t.Run("whichever member hangs, changes arrive within seconds", func(t *testing.T) {
		for i := range wires {
			wires[i].freeze(true)
			write(t)
			began := time.Now()
			eventually(t, "the change", c.is(want))
			if took := time.Since(began); took > 8*time.Second { // gRPC's own notice takes 11 s
				t.Errorf("member %d hung: arrived after %v", i, took)
			}
			wires[i].freeze(false)
		}
	})
	t.Run("compaction of what was missed gives a full state", func(t *testing.T) {
		freezeAll(wires, true)
		eventually(t, "the mirror to be stale", c.isStale(true))
		write(t)
		write(t)
		now := must(writer.Get(t.Context(), "live/"))(t)
		must(writer.Compact(t.Context(), now.Header.Revision))(t)
		freezeAll(wires, false)
		eventually(t, "the changes", c.is(want))
		eventually(t, "the mirror to be fresh", c.isStale(false))
	})
}
