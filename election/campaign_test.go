package election

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// candidate is one campaign under test.
type candidate struct {
	name  string
	began chan Leader
	ended chan error // the cause
	yield chan struct{}
	delay atomic.Int64 // a duration
	stop  func()
}

// rivals notices when two candidates lead at the same time.
type rivals struct {
	t       testing.TB
	leading atomic.Int32
}

func (r *rivals) join(client *clientv3.Client, name string) *candidate {
	c := &candidate{name: name, began: make(chan Leader, 10), ended: make(chan error, 10), yield: make(chan struct{})}
	o := CampaignOptions{Key: "live/leader", Value: []byte(name), TTL: MinTTL, Yield: c.yield, Name: name}
	o.Delay = func() time.Duration { return time.Duration(c.delay.Load()) }
	c.stop = background(r.t, func(ctx context.Context) error {
		return Campaign(ctx, client, o, func(ctx context.Context, l Leader) error {
			if n := r.leading.Add(1); n != 1 {
				r.t.Errorf("%d leaders when %s began", n, name)
			}
			c.began <- l
			<-ctx.Done()
			r.leading.Add(-1)
			c.ended <- context.Cause(ctx)
			return nil
		})
	})
	return c
}

func TestOneOfTwoLeadsAndHandsOverWhenAsked(t *testing.T) {
	cluster := startCluster(t, 3)
	client := cluster.client()
	r := &rivals{t: t}
	leading, other := r.join(client, "a"), r.join(client, "b")
	var first Leader
	select {
	case first = <-leading.began:
	case first = <-other.began:
		leading, other = other, leading
	case <-time.After(patience):
		t.Fatal("nobody leads")
	}
	mine := TxnRequest{Guards: []clientv3.Cmp{first.Guard()}, Then: []clientv3.Op{clientv3.OpPut("x", leading.name)}}
	if result := Do(t.Context(), client, mine); result.Outcome != Committed {
		t.Fatalf("the leader cannot write: %+v", result)
	}
	if left := time.Until(first.ValidUntil()); left <= 0 || left > MinTTL {
		t.Errorf("valid for %v", left)
	}
	until := first.ValidUntil()
	eventually(t, "a renewal", func() bool { return first.ValidUntil().After(until) })

	other.delay.Store(int64(500 * time.Millisecond)) // whoever yields leaves it that time
	leading.yield <- struct{}{}
	if cause := receive(t, "the end", leading.ended); !errors.Is(cause, ErrYielded) {
		t.Errorf("ended with %v", cause)
	}
	second := receive(t, "the other", other.began)
	if second.CreateRevision <= first.CreateRevision {
		t.Errorf("create revision %d follows %d", second.CreateRevision, first.CreateRevision)
	}
	if result := Do(t.Context(), client, mine); result.Outcome != Refused || result.GuardHeld {
		t.Errorf("the former leader can still write: %+v", result)
	}
	if !first.ValidUntil().IsZero() {
		t.Errorf("the former leader is valid until %v", first.ValidUntil())
	}

	must(client.Delete(t.Context(), "live/leader"))(t)
	if cause := receive(t, "the end", other.ended); !errors.Is(cause, ErrLeadershipLost) {
		t.Errorf("ended with %v after the key was removed", cause)
	}
	select {
	case <-leading.began:
	case <-other.began:
	case <-time.After(patience):
		t.Error("nobody leads after the key was removed")
	}
}

func TestLeadershipOutlivesTheRaftLeader(t *testing.T) {
	cluster := startCluster(t, 3)
	client := cluster.client()
	r := &rivals{t: t}
	a, b := r.join(client, "a"), r.join(client, "b")
	select {
	case <-a.began:
	case <-b.began:
	case <-time.After(patience):
		t.Fatal("nobody leads")
	}
	gone := cluster.raftLeader()
	cluster.stop(gone)
	if now := cluster.raftLeader(); now == gone {
		t.Fatalf("member %d leads raft after its end", now)
	}
	// Whoever leads can be found, and can write, although one member is gone.
	eventually(t, "a leader that can write", func() bool {
		kv, found, err := Get(t.Context(), client, "live/leader")
		if err != nil || !found {
			return false
		}
		guard := Leader{Key: kv.Key, CreateRevision: kv.CreateRevision}.Guard()
		put := TxnRequest{Guards: []clientv3.Cmp{guard}, Then: []clientv3.Op{clientv3.OpPut("x", "y")}}
		return Do(t.Context(), client, put).Outcome == Committed && r.leading.Load() == 1
	})
}

func TestACutOffLeaderEndsBeforeAnotherBegins(t *testing.T) {
	cluster := startCluster(t, 3)
	client, wires := cluster.wiredClient()
	r := &rivals{t: t} // fails the test if both lead
	a := r.join(client, "a")
	receive(t, "the first leader", a.began)
	b := r.join(cluster.client(), "b")
	freezeAll(wires, true)
	cut := time.Now()
	cause := receive(t, "the end", a.ended)
	if !errors.Is(cause, ErrLeadershipLost) || !errors.Is(cause, ErrDeadline) {
		t.Errorf("ended with %v", cause)
	}
	t.Logf("context ended %v after the cut", time.Since(cut))
	receive(t, "the other", b.began)
	t.Logf("the other began %v after the cut", time.Since(cut))
	freezeAll(wires, false)
	b.stop()
	receive(t, "the first again", a.began)
}

func TestTheUnwillingHoldBackAndTheFailedMakeRoom(t *testing.T) {
	cluster := startCluster(t, 1)
	client := cluster.client()
	began, asked := make(chan string, 10), make(chan struct{}, 10)
	run := func(name string, delay func() time.Duration, lead func(context.Context, Leader) error) {
		background(t, func(ctx context.Context) error {
			o := CampaignOptions{Key: "live/leader", TTL: MinTTL, Value: []byte(name), Delay: delay}
			return Campaign(ctx, client, o, func(ctx context.Context, l Leader) error {
				began <- name
				return lead(ctx, l)
			})
		})
	}
	unwilling := func() time.Duration { asked <- struct{}{}; return time.Second }
	run("unwilling", unwilling, func(ctx context.Context, _ Leader) error { <-ctx.Done(); return nil })
	receive(t, "the question for a delay", asked)
	run("willing", nil, func(context.Context, Leader) error { return errors.New("cannot lead") })
	for _, want := range []string{"willing", "unwilling"} {
		if got := receive(t, "a leader", began); got != want {
			t.Fatalf("%s leads, want %s", got, want)
		}
	}
}

func TestALeaderKeyUnderOurLeaseIsOurs(t *testing.T) {
	cluster := startCluster(t, 1)
	client := cluster.client()
	c := &campaign{CampaignOptions: CampaignOptions{Key: "live/leader", TTL: MinTTL}, client: client, log: orDiscard(nil)}
	l := must(grantLease(t.Context(), client, MinTTL))(t)
	var revisions []int64
	for range 2 { // the second time stands for a repetition whose first try had succeeded unheard
		rev, _, err := c.take(t.Context(), l)
		if err != nil || rev == 0 {
			t.Fatalf("not ours: %d, %v", rev, err)
		}
		revisions = append(revisions, rev)
	}
	if revisions[0] != revisions[1] {
		t.Errorf("create revisions %v", revisions)
	}
	other := must(grantLease(t.Context(), client, MinTTL))(t)
	if rev, seen, err := c.take(t.Context(), other); rev != 0 || !seen.present || err != nil {
		t.Errorf("took what another holds: %d, %+v, %v", rev, seen, err)
	}
}

func TestImpossibleOptionsAreRefused(t *testing.T) {
	lead := func(context.Context, Leader) error { return nil }
	for name, err := range map[string]error{
		"a campaign with too short a TTL":     Campaign(t.Context(), nil, CampaignOptions{Key: "k", TTL: time.Second}, lead),
		"a registration with too short a TTL": KeepRegistered(t.Context(), nil, RegisterOptions{Key: "k", Value: func() []byte { return nil }, TTL: time.Second}),
		"a mirror of everything":              Mirror(t.Context(), nil, MirrorOptions{}, nil),
	} {
		if err == nil {
			t.Error(fmt.Sprint(name, " is accepted"))
		}
	}
}
