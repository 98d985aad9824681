package election

import (
	"context"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestOnlyHarmlessTransactionsAreRepeated(t *testing.T) {
	mod := func(key string) clientv3.Cmp { return clientv3.Compare(clientv3.ModRevision(key), "=", 7) }
	created := func(rev int) clientv3.Cmp { return clientv3.Compare(clientv3.CreateRevision("a"), "=", rev) }
	put := func(key string) clientv3.Op { return clientv3.OpPut(key, "v") }
	for _, c := range []struct {
		name string
		cmps []clientv3.Cmp
		then []clientv3.Op
		want bool
	}{
		{"a put compared by its mod revision is repeated", []clientv3.Cmp{mod("a")}, []clientv3.Op{put("a")}, true},
		{"a put compared by another key's is not", []clientv3.Cmp{mod("b")}, []clientv3.Op{put("a")}, false},
		{"each written key needs its comparison", []clientv3.Cmp{mod("a")}, []clientv3.Op{put("a"), put("b")}, false},
		{"creation of an absent key is repeated", []clientv3.Cmp{created(0)}, []clientv3.Op{put("a")}, true},
		{"a put on a key that stays created is not", []clientv3.Cmp{created(5)}, []clientv3.Op{put("a")}, false},
		{"deletion of a certain incarnation is repeated", []clientv3.Cmp{created(5)}, []clientv3.Op{clientv3.OpDelete("a")}, true},
		{"an inequality pins nothing", []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision("a"), ">", 7)}, []clientv3.Op{put("a")}, false},
		{"reading is always repeated", nil, []clientv3.Op{clientv3.OpGet("a")}, true},
		{"deletion of a range is not repeated", []clientv3.Cmp{mod("a")}, []clientv3.Op{clientv3.OpDelete("a", clientv3.WithPrefix())}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := selfExcluding(c.cmps, c.then); got != c.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestTransactionOutcomes(t *testing.T) {
	cluster := startCluster(t, 1)
	client, wires := cluster.wiredClient()
	absent := clientv3.Compare(clientv3.ModRevision("a"), "=", 0)
	put := clientv3.OpPut("a", "1")

	first := Do(t.Context(), client, TxnRequest{If: []clientv3.Cmp{absent}, Then: []clientv3.Op{put}})
	if first.Outcome != Committed || first.Revision == 0 {
		t.Fatalf("first: %+v", first)
	}
	second := Do(t.Context(), client, TxnRequest{If: []clientv3.Cmp{absent}, Then: []clientv3.Op{put}})
	if kv := second.Current["a"]; second.Outcome != Refused || !second.GuardHeld || string(kv.Value) != "1" || kv.ModRevision != first.Revision {
		t.Errorf("a failed comparison gives the current value: %+v", second)
	}
	guard := Leader{Key: "lead", CreateRevision: 3}.Guard()
	if third := Do(t.Context(), client, TxnRequest{Guards: []clientv3.Cmp{guard}, Then: []clientv3.Op{put}}); third.Outcome != Refused || third.GuardHeld {
		t.Errorf("a failed guard is told apart: %+v", third)
	}
	noLease := clientv3.OpPut("b", "1", clientv3.WithLease(99))
	if failed := Do(t.Context(), client, TxnRequest{Then: []clientv3.Op{noLease}}); failed.Outcome != Failed || failed.Err == nil {
		t.Errorf("a rejected request has failed: %+v", failed)
	}

	freezeAll(wires, true)
	if unknown := Do(t.Context(), client, TxnRequest{Then: []clientv3.Op{put}, Timeout: time.Second}); unknown.Outcome != Unknown || unknown.Err == nil {
		t.Errorf("silence leaves the outcome unknown: %+v", unknown)
	}
	freezeAll(wires, false)
	must(retry(t.Context(), func(ctx context.Context) (*clientv3.GetResponse, error) { return client.Get(ctx, "a") }))(t)

	wires[0].deafen(true)
	hear := time.AfterFunc(tryTimeout+tryTimeout/2, func() { wires[0].deafen(false) })
	defer hear.Stop()
	// The first try is carried out unheard, so the repetition is refused, which must not be taken for "nothing written".
	late := Do(t.Context(), client, TxnRequest{
		If:   []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision("c"), "=", 0)},
		Then: []clientv3.Op{clientv3.OpPut("c", "1")}, Timeout: patience,
	})
	if late.Outcome != Unknown || string(late.Current["c"].Value) != "1" {
		t.Errorf("a refusal after a try of unknown outcome: %+v", late)
	}
}
