package election

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// A member comes in as a learner, gets its vote, and leaves; another takes its place only after it was let in anew, and
// never with what the first one was called.
func TestAMemberComesInAndLeaves(t *testing.T) {
	c := startCluster(t, 3)
	client := c.client()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	// As in production: etcd asks who its clients are, and the member that is asked does not lead.
	if err := Protect(ctx, client, []User{{Name: "test", Everything: true}}); err != nil {
		t.Fatal(err)
	}
	leads := c.raftLeader()
	client.SetEndpoints(c.options[(leads+1)%3].ListenClientURL, c.options[(leads+2)%3].ListenClientURL)
	addresses := freeAddresses(t, 2)
	peer := addresses[1]
	o := c.options[0]
	o.Name, o.Dir, o.JoinExisting = "new", t.TempDir()+"/new", true
	o.ListenClientURL, o.ListenPeerURL = "https://"+addresses[0], "https://"+peer
	seen := func() (MemberSeen, int) {
		t.Helper()
		all := must(Members(ctx, client))(t)
		i := slices.IndexFunc(all, func(m MemberSeen) bool { return m.Peer == peer })
		if i < 0 {
			return MemberSeen{}, len(all)
		}
		return all[i], len(all)
	}

	if _, err := JoinList(ctx, client, o.Name, peer); !errors.Is(err, ErrNotListed) {
		t.Fatalf("before it was let in: %v", err)
	}
	letIn := func() { // Etcd refuses it until all members have known each other for a while.
		t.Helper()
		eventually(t, "it is let in", func() bool { return AddMember(ctx, client, peer) == nil })
	}
	letIn()
	letIn() // Which changes nothing.
	if m, n := seen(); n != 4 || !m.Learner || m.Started {
		t.Fatalf("let in: %+v of %d", m, n)
	}
	o.Members = must(JoinList(ctx, client, o.Name, peer))(t)
	if len(o.Members) != 4 || o.Members["new"] != "https://"+peer {
		t.Fatalf("it begins with %v", o.Members)
	}
	m := must(StartEmbedded(t.Context(), o))(t)
	defer m.Close()
	receive(t, "the learner is ready", m.Ready())
	if joining, err := IsJoining(o.Dir); err != nil || !joining {
		t.Errorf("before it is noted that it came in: %t, %v", joining, err)
	}
	if err := m.CameIn(o.Dir, o.Token); err != nil {
		t.Fatal(err)
	}
	if joining, err := IsJoining(o.Dir); err != nil || joining || !HasData(o.Dir) {
		t.Errorf("after that: %t, %v", joining, err)
	}
	eventually(t, "it gets its vote", func() bool { return PromoteMember(ctx, client, peer) == nil })
	if m, _ := seen(); m.Learner || !m.Healthy {
		t.Errorf("with its vote: %+v", m)
	}
	if _, err := JoinList(ctx, client, o.Name, peer); !errors.Is(err, ErrWasThere) {
		t.Errorf("one without data would take its place: %v", err)
	}

	id := m.ID()
	if err := IsListed(ctx, client, id); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := RemoveMember(ctx, client, peer); err != nil {
			t.Fatal(err)
		}
	}
	if err := receive(t, "the removed member ends", m.Err()); err == nil {
		t.Error("it ends without a reason")
	}
	m.Close()
	// Somebody is let in at the same address meanwhile.
	letIn()
	if err := IsListed(ctx, client, id); !errors.Is(err, ErrNotListed) {
		t.Errorf("the removed one: %v", err)
	}
	aside := must(SetAside(o.Dir, o.Token, o.Name, time.Now()))(t)
	if joining, err := IsJoining(o.Dir); err != nil || !joining || HasData(o.Dir) || !HasData(aside) || !strings.HasPrefix(aside, o.Dir) {
		t.Errorf("the new folder: %t, %v, the old one %s", joining, err, aside)
	}
	o.Members = must(JoinList(ctx, client, o.Name, peer))(t)
	again := must(StartEmbedded(t.Context(), o))(t)
	defer again.Close()
	receive(t, "the next one is ready", again.Ready())
	if again.ID() == id {
		t.Error("it is called what the first one was called")
	}
}
