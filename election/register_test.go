package election

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"
)

func TestRegistration(t *testing.T) {
	cluster := startCluster(t, 3)
	plain := cluster.client()
	client, wires := cluster.wiredClient()
	var value atomic.Pointer[string]
	set := func(v string) { value.Store(&v) }
	set("one")
	changed, renewed, lost := make(chan struct{}), make(chan time.Time, 100), make(chan error, 100)
	var read atomic.Int64
	var sent atomic.Pointer[time.Time] // the last renewal
	stop := background(t, func(ctx context.Context) error {
		return KeepRegistered(ctx, client, RegisterOptions{
			Key: "live/member/a", TTL: MinTTL, Changed: changed, ReadKey: "record",
			Value:     func() []byte { return []byte(*value.Load()) },
			OnRead:    func(kv KV, _ bool) { read.Store(kv.ModRevision) },
			OnRenewed: func(at time.Time) { sent.Store(&at); renewed <- at },
			OnLost:    func(err error) { lost <- err },
		})
	})
	content := func() string {
		kv, _, err := Get(t.Context(), plain, "live/member/a")
		if err != nil {
			t.Fatal(err)
		}
		return string(kv.Value)
	}
	first := receive(t, "registration", renewed)
	if content() != "one" {
		t.Errorf("registered %q", content())
	}
	if second := receive(t, "renewal", renewed); second.Sub(first) > MinTTL || !second.After(first) {
		t.Errorf("renewed at %v after %v", second, first)
	}

	t.Run("a changed value is written at once", func(t *testing.T) {
		set("two")
		select {
		case changed <- struct{}{}:
		case <-time.After(patience):
			t.Fatal("nobody listens for changes")
		}
		eventually(t, "the new value", func() bool { return content() == "two" })
	})
	t.Run("the further key is read with each renewal", func(t *testing.T) {
		put := must(plain.Put(t.Context(), "record", "r"))(t)
		eventually(t, "the record", func() bool { return read.Load() == put.Header.Revision })
	})
	t.Run("a removed key is reported and put anew", func(t *testing.T) {
		must(plain.Delete(t.Context(), "live/member/a"))(t)
		receive(t, "the loss", lost)
		eventually(t, "the key", func() bool { return content() == "two" })
	})
	t.Run("one hung member loses nothing", func(t *testing.T) {
		wires[0].freeze(true)
		for range 6 {
			receive(t, "a renewal", renewed)
		}
		wires[0].freeze(false)
		if len(lost) != 0 {
			t.Errorf("lost: %v", <-lost)
		}
	})
	t.Run("silence for a TTL is a loss, and its end brings the key back", func(t *testing.T) {
		freezeAll(wires, true)
		err := receive(t, "the loss", lost)
		if age := time.Since(*sent.Load()); age < MinTTL-10*time.Millisecond || age > MinTTL+patience/4 {
			t.Errorf("lost %v after the last renewal was sent", age)
		}
		if !errors.Is(err, ErrDeadline) {
			t.Errorf("lost with %v", err)
		}
		for len(renewed) > 0 {
			<-renewed
		}
		eventually(t, "etcd to let it expire", func() bool { return content() == "" })
		freezeAll(wires, false)
		receive(t, "registration", renewed)
		eventually(t, "the key", func() bool { return content() == "two" })
	})
	t.Run("the end gives the key back", func(t *testing.T) {
		began := time.Now()
		stop()
		if took := time.Since(began); took > 5*time.Second || content() != "" {
			t.Errorf("after %v the key contains %q", took, content())
		}
	})
}
