package election

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
)

// wait passes on the first reason why the member ended or is useless.
func (e *Embedded) wait() {
	defer close(e.ended)
	defer close(e.errs)
	var err error
	select {
	case <-e.stop:
		return
	case err = <-e.fatal:
	case err = <-e.etcd.Err():
	case <-e.etcd.Server.StopNotify():
	}
	select {
	case <-e.stop:
		return
	default:
	}
	if err == nil {
		err = errors.New("stopped without being asked to")
	}
	e.errs <- fmt.Errorf("etcd member %q: %w", e.name, err)
}

// Ready is closed once the member has joined a quorum and serves clients.
func (e *Embedded) Ready() <-chan struct{} { return e.etcd.Server.ReadyNotify() }

// Err delivers at most one error, when the member has ended or become useless by itself; it is closed then and after
// Close. The member must still be closed.
func (e *Embedded) Err() <-chan error { return e.errs }

// Close stops the member, handing raft leadership to another if it had it, and waits for its end: about 1 s, 6 s if all
// members are stopped at once and nobody takes over, never more than 10 s. It can be called more than once.
func (e *Embedded) Close() { e.close(nil) }

// Leave is Close for a process that is about to end: it does not wait for the other members to close their connections,
// which takes a second, but for all of its own to be on disk.
func (e *Embedded) Leave() { e.close(e.etcd.Server.StopNotify()) }

// close stops the member and waits for its end, or for enough.
func (e *Embedded) close(enough <-chan struct{}) {
	e.once.Do(func() {
		close(e.stop)
		<-e.ended
		done := make(chan struct{})
		go func() {
			defer close(done)
			e.etcd.Close()
		}()
		timer := time.NewTimer(closeTimeout)
		defer timer.Stop()
		select {
		case <-done:
		case <-enough:
		case <-timer.C: // a fault left it in pieces; the process is about to end anyway
		}
	})
}

// IsRaftLeader says whether this member leads etcd itself, as far as it knows.
func (e *Embedded) IsRaftLeader() bool { return e.etcd.Server.Leader() == e.etcd.Server.MemberID() }

// CameIn notes that the member is of the cluster, once it is ready.
func (e *Embedded) CameIn(dir, token string) error {
	return claimDir(dir, marker{Token: token, Name: e.name})
}

// ID is what its cluster calls the member.
func (e *Embedded) ID() uint64 { return uint64(e.etcd.Server.MemberID()) }

// Serves says whether this member can serve clients: it is ready, and has a vote.
func (e *Embedded) Serves() bool {
	select {
	case <-e.Ready():
		// The server's own IsLearner panics once its cluster has removed it.
		m := e.etcd.Server.Cluster().Member(e.etcd.Server.MemberID())
		return m != nil && !m.IsLearner
	default:
		return false
	}
}

// Votes says whether a member of that name is known that has a vote.
func (e *Embedded) Votes(name string) bool {
	return slices.ContainsFunc(e.etcd.Server.Cluster().Members(), func(m *membership.Member) bool { return m.Name == name && !m.IsLearner })
}

// MoveRaftLeader moves raft leadership from this member to the named one and waits until it is there (50 to 100 ms). It
// returns ErrNotRaftLeader if it was not here. While it runs, writes wait; if the other member is dead they wait for an
// election time-out, so the caller should know it to be alive.
func (e *Embedded) MoveRaftLeader(ctx context.Context, toName string) error {
	if !e.IsRaftLeader() {
		return fmt.Errorf("move raft leadership to %q: %w", toName, ErrNotRaftLeader)
	}
	if toName == e.name {
		return nil
	}
	var to types.ID
	for _, m := range e.etcd.Server.Cluster().Members() {
		if m.Name == toName {
			to = m.ID
		}
	}
	if to == 0 {
		return fmt.Errorf("move raft leadership to %q: no such etcd member", toName)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := e.etcd.Server.MoveLeader(ctx, uint64(e.etcd.Server.MemberID()), uint64(to)); err != nil {
		return fmt.Errorf("move raft leadership to %q: %w", toName, err)
	}
	return nil
}
