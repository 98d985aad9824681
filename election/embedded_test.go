package election

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

func TestOnlyOurAuthorityGetsIn(t *testing.T) {
	cluster := startCluster(t, 1)
	read := func(o ClientOptions) error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := dialTest(t, o).Get(clientv3.WithRequireLeader(ctx), "x")
		return err
	}
	own := cluster.clientOptions()
	if err := read(own); err != nil {
		t.Errorf("our own certificate: %v", err)
	}
	foreign := newAuthority(t)
	mixed := own
	mixed.TLS = clientTLS(t, cluster.tls.ca, foreign.cert, foreign.key)
	if read(mixed) == nil {
		t.Error("a client with a foreign certificate gets in")
	}
	mixed = own
	mixed.TLS = clientTLS(t, foreign.ca, cluster.tls.cert, cluster.tls.key)
	if read(mixed) == nil {
		t.Error("a member with a foreign certificate is believed")
	}
	plain := must(clientv3.New(clientv3.Config{
		Endpoints: []string{strings.Replace(own.Endpoints[0], "https", "http", 1)}, Logger: zap.NewNop(),
	}))(t)
	defer plain.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := plain.Get(ctx, "x"); err == nil {
		t.Error("a client without TLS gets in")
	}
}

func TestDialNeedsTLSButNoServer(t *testing.T) {
	files := newAuthority(t)
	good := ClientOptions{Endpoints: []string{"https://127.0.0.1:1"}, TLS: clientTLS(t, files.ca, files.cert, files.key)}
	dialTest(t, good)
	for name, spoil := range map[string]func(*ClientOptions){
		"no endpoints":              func(o *ClientOptions) { o.Endpoints = nil },
		"no TLS":                    func(o *ClientOptions) { o.TLS = nil },
		"TLS that verifies nothing": func(o *ClientOptions) { o.TLS = &tls.Config{InsecureSkipVerify: true} },
	} {
		bad := good
		spoil(&bad)
		if client, err := Dial(t.Context(), bad); err == nil {
			client.Close()
			t.Errorf("accepted with %s", name)
		}
	}
}

func TestAMemberRefuses(t *testing.T) {
	cluster := startCluster(t, 1)
	cluster.stop(0)
	good := cluster.options[0]
	unmarked := filepath.Join(t.TempDir(), "unmarked")
	if err := os.MkdirAll(filepath.Join(unmarked, "member"), 0o700); err != nil {
		t.Fatal(err)
	}
	taken := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer taken.Close()
	busy := "https://" + taken.Addr().String()
	for _, c := range []struct {
		name  string
		spoil func(*EmbeddedOptions)
		want  string
		is    error
	}{
		{"a folder of another token", func(o *EmbeddedOptions) { o.Token = "other" }, "another cluster token", ErrForeignDir},
		{"a folder of another name", func(o *EmbeddedOptions) {
			o.Name, o.Members = "m9", map[string]string{"m9": o.ListenPeerURL}
		}, `"m0"`, ErrForeignDir},
		{"a folder without a marker", func(o *EmbeddedOptions) { o.Dir = unmarked }, "holds etcd data", ErrForeignDir},
		{"a client port in use", func(o *EmbeddedOptions) { o.ListenClientURL = busy }, "client address " + taken.Addr().String(), nil},
		{"a peer port in use", func(o *EmbeddedOptions) { o.ListenPeerURL = busy }, "peer address " + taken.Addr().String(), nil},
		{"a plain address", func(o *EmbeddedOptions) { o.ListenClientURL = "http://127.0.0.1:1" }, "https://host:port", nil},
		{"an address nobody can reach", func(o *EmbeddedOptions) { o.ListenClientURL = "https://0.0.0.0:1" }, "cannot be reached", nil},
		{"a cluster it is not in", func(o *EmbeddedOptions) { o.Members = nil }, "not among", nil},
		{"no authority", func(o *EmbeddedOptions) { o.CAFile = "" }, "files are all needed", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := good
			c.spoil(&o)
			m, err := StartEmbedded(t.Context(), o)
			if err == nil {
				m.Close()
				t.Fatal("started")
			}
			if !strings.Contains(err.Error(), c.want) || (c.is != nil && !errors.Is(err, c.is)) {
				t.Errorf("refused with %q", err)
			}
		})
	}
	t.Run("nothing of its own", func(t *testing.T) {
		cluster.start(0)
		client := cluster.client()
		must(retry(t.Context(), func(ctx context.Context) (*clientv3.PutResponse, error) { return client.Put(ctx, "a", "1") }))(t)
	})
}

func TestRaftLeadershipMovesOnlyFromItsHolder(t *testing.T) {
	cluster := startCluster(t, 3)
	from := cluster.raftLeader()
	to := (from + 1) % 3
	if err := cluster.members[to].MoveRaftLeader(t.Context(), "m0"); !errors.Is(err, ErrNotRaftLeader) {
		t.Errorf("a member that does not lead gives %v", err)
	}
	if err := cluster.members[from].MoveRaftLeader(t.Context(), "nobody"); err == nil {
		t.Error("moved to an unknown member")
	}
	began := time.Now()
	if err := cluster.members[from].MoveRaftLeader(t.Context(), cluster.options[to].Name); err != nil {
		t.Fatal(err)
	}
	t.Logf("moved in %v", time.Since(began))
	eventually(t, "the new raft leader", func() bool { return cluster.members[to].IsRaftLeader() })
}
