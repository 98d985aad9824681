package election

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestEtcdAsksWhoItsClientsAre(t *testing.T) {
	cluster := startCluster(t, 1)
	as := func(name string) *clientv3.Client {
		o := cluster.clientOptions()
		cert, key := cluster.tls.issue(t, name)
		o.TLS = clientTLS(t, cluster.tls.ca, cert, key)
		return dialTest(t, o)
	}
	member, reader, stranger, other := as("member"), as("reader"), as("stranger"), as("other")
	put := func(c *clientv3.Client, key string) error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := c.Put(ctx, key, "x")
		return err
	}
	get := func(c *clientv3.Client, key string) error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := c.Get(ctx, key)
		return err
	}
	if err := put(stranger, "/a/1"); err != nil {
		t.Fatalf("before, anybody may: %v", err)
	}
	if on := must(Protected(t.Context(), member))(t); on {
		t.Fatal("it is protected before it was")
	}
	watching := reader.Watch(t.Context(), "/a/", clientv3.WithPrefix())
	users := []User{{Name: "member", Everything: true}, {Name: "reader", Reads: "/a/"}, {Name: "other", Reads: "/b/"}}
	for range 2 { // The second time changes nothing.
		if err := Protect(t.Context(), member, users); err != nil {
			t.Fatal(err)
		}
	}
	if on := must(Protected(t.Context(), stranger))(t); !on {
		t.Fatal("it is not protected")
	}
	refused := func(what string, err error) {
		t.Helper()
		if err == nil || !errors.Is(err, rpctypes.ErrPermissionDenied) && !errors.Is(err, rpctypes.ErrUserNotFound) && !errors.Is(err, rpctypes.ErrUserEmpty) {
			t.Errorf("%s: %v", what, err)
		}
	}
	allowed := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	allowed("the member writes", put(member, "/a/2"))
	allowed("the member reads", get(member, "/b/1"))
	_, err := Members(t.Context(), member)
	allowed("the member asks for the members", err)
	allowed("the reader reads", get(reader, "/a/1"))
	refused("the reader writes", put(reader, "/a/1"))
	refused("the reader reads what is another's", get(reader, "/b/1"))
	refused("another reads what is the reader's", get(other, "/a/1"))
	refused("a stranger reads", get(stranger, "/a/1"))
	refused("a stranger writes", put(stranger, "/a/1"))
	_, err = stranger.AuthDisable(t.Context())
	refused("a stranger ends it", err)
	_, err = reader.MemberRemove(t.Context(), uint64(cluster.members[0].etcd.Server.MemberID()))
	refused("a reader removes a member", err)
	select {
	case answer := <-watching: // One that was open before goes on.
		if answer.Err() != nil || len(answer.Events) == 0 {
			t.Errorf("the watch says %v, %v", answer.Events, answer.Err())
		}
	case <-time.After(patience):
		t.Error("the watch is silent")
	}
}

func TestPeersAreMembersAlone(t *testing.T) {
	cluster := startCluster(t, 1)
	cluster.stop(0)
	cluster.options[0].PeerName = "test"
	cluster.start(0)
	if t.Failed() {
		t.FailNow()
	}
	hear := func(name string) error {
		cert, key := cluster.tls.issue(t, name)
		return hearPeer(t, cluster.options[0].ListenPeerURL, clientTLS(t, cluster.tls.ca, cert, key))
	}
	if err := hear("test"); err != nil {
		t.Errorf("a member is not heard: %v", err)
	}
	if err := hear("stranger"); err == nil {
		t.Error("a certificate of the authority that is no member's is heard")
	}
}
