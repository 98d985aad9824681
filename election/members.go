package election

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// memberTimeout bounds one change of the members, healthTimeout the question to each whether it is well.
	memberTimeout = 5 * time.Second
	healthTimeout = 500 * time.Millisecond
)

// MemberSeen is one member of etcd as etcd itself lists it.
type MemberSeen struct {
	Peer    string // host:port at which the other members dial it
	Learner bool   // has no vote yet
	Started bool   // has been there at all
	Healthy bool   // answers now
}

// Members lists the members of etcd and asks each of them whether it is well.
func Members(ctx context.Context, client *clientv3.Client) ([]MemberSeen, error) {
	list, err := listMembers(ctx, client)
	if err != nil {
		return nil, err
	}
	seen := make([]MemberSeen, len(list))
	var wg sync.WaitGroup
	for i, m := range list {
		seen[i] = MemberSeen{Peer: peerOf(m), Learner: m.IsLearner, Started: len(m.ClientURLs) > 0}
		if !seen[i].Started {
			continue
		}
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, healthTimeout)
			defer cancel()
			status, err := client.Status(ctx, m.ClientURLs[0])
			seen[i].Healthy = err == nil && status.Leader != 0
		})
	}
	wg.Wait()
	return seen, nil
}

// AddMember lets a member in without a vote. One that is there already is no error.
func AddMember(ctx context.Context, client *clientv3.Client, peer string) error {
	ctx, cancel := context.WithTimeout(ctx, memberTimeout)
	defer cancel()
	_, err := client.MemberAddAsLearner(ctx, []string{"https://" + peer})
	if err != nil && !errors.Is(err, rpctypes.ErrPeerURLExist) {
		return fmt.Errorf("add the etcd member at %s: %w", peer, err)
	}
	return nil
}

// PromoteMember gives a learner its vote. It fails while the learner lacks much.
func PromoteMember(ctx context.Context, client *clientv3.Client, peer string) error {
	return changeMember(ctx, client, peer, func(ctx context.Context, id uint64) error {
		err := askRaftLeader(ctx, client, func(ctx context.Context, leader pb.ClusterClient) error {
			_, err := leader.MemberPromote(ctx, &pb.MemberPromoteRequest{ID: id})
			return rpctypes.Error(err)
		})
		if errors.Is(err, rpctypes.ErrMemberNotLearner) {
			return nil
		}
		return err
	})
}

// askRaftLeader asks the member that leads etcd itself. Another one hands a promotion on to that without saying who has
// asked, and where etcd asks who its clients are, it is refused then.
func askRaftLeader(ctx context.Context, client *clientv3.Client, ask func(context.Context, pb.ClusterClient) error) error {
	list, err := listMembers(ctx, client)
	if err != nil {
		return err
	}
	for _, m := range list {
		if len(m.ClientURLs) == 0 || m.IsLearner {
			continue
		}
		statusCtx, cancel := context.WithTimeout(ctx, healthTimeout)
		status, err := client.Status(statusCtx, m.ClientURLs[0])
		cancel()
		if err != nil || status.Leader != m.ID {
			continue
		}
		conn, err := client.Dial(m.ClientURLs[0])
		if err != nil {
			return err
		}
		defer conn.Close()
		return ask(ctx, pb.NewClusterClient(conn))
	}
	return errors.New("no member says that it leads")
}

// RemoveMember takes a member out. One that is not there is no error.
func RemoveMember(ctx context.Context, client *clientv3.Client, peer string) error {
	return changeMember(ctx, client, peer, func(ctx context.Context, id uint64) error {
		_, err := client.MemberRemove(ctx, id)
		if errors.Is(err, rpctypes.ErrMemberNotFound) {
			return nil
		}
		return err
	})
}

func changeMember(ctx context.Context, client *clientv3.Client, peer string, change func(context.Context, uint64) error) error {
	ctx, cancel := context.WithTimeout(ctx, memberTimeout)
	defer cancel()
	list, err := listMembers(ctx, client)
	if err != nil {
		return err
	}
	for _, m := range list {
		if peerOf(m) != peer {
			continue
		}
		if err := change(ctx, m.ID); err != nil {
			return fmt.Errorf("change the etcd member at %s: %w", peer, err)
		}
	}
	return nil
}

func listMembers(ctx context.Context, client *clientv3.Client) ([]*pb.Member, error) {
	ctx, cancel := context.WithTimeout(ctx, memberTimeout)
	defer cancel()
	answer, err := client.MemberList(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the members of etcd: %w", err)
	}
	return answer.Members, nil
}

// peerOf is where the others dial a member; ours have one such address each.
func peerOf(m *pb.Member) string {
	if len(m.PeerURLs) == 0 {
		return ""
	}
	u, err := url.Parse(m.PeerURLs[0])
	if err != nil {
		return m.PeerURLs[0]
	}
	return u.Host
}

// ErrNotListed means that etcd knows no member at that address, or of that id.
var ErrNotListed = errors.New("etcd has no such member")

// ErrWasThere means that etcd knows a member at that address that has been there: it must be removed before another one
// without its data takes its place.
var ErrWasThere = errors.New("etcd still lists the member whose data this host has not got any more: remove the server and add it again")

// JoinList returns what a member that was let in and has never been there begins with: the peer URL of each member by
// name, its own by the name given. Its error is ErrNotListed while nobody has let it in.
func JoinList(ctx context.Context, client *clientv3.Client, name, peer string) (map[string]string, error) {
	list, err := listMembers(ctx, client)
	if err != nil {
		return nil, err
	}
	members, found := make(map[string]string, len(list)), false
	for _, m := range list {
		at := m.Name
		if peerOf(m) == peer {
			if len(m.ClientURLs) > 0 {
				return nil, ErrWasThere
			}
			at, found = name, true
		}
		if at != "" && len(m.PeerURLs) > 0 {
			members[at] = m.PeerURLs[0]
		}
	}
	if !found {
		return nil, ErrNotListed
	}
	return members, nil
}

// IsListed returns nil if etcd has a member of that id, ErrNotListed if it has none.
func IsListed(ctx context.Context, client *clientv3.Client, id uint64) error {
	list, err := listMembers(ctx, client)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(list, func(m *pb.Member) bool { return m.ID == id }) {
		return ErrNotListed
	}
	return nil
}
