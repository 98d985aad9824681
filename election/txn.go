package election

import (
	"context"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// defaultTxnTimeout bounds a transaction with all its tries when the caller does not: long enough for the embedded
// cluster to replace a raft leader that died.
const defaultTxnTimeout = 3 * time.Second

// Outcome says what became of a transaction.
type Outcome int

// The outcomes of a transaction. The zero value is the one that promises nothing.
const (
	// Unknown: it may have been carried out, may not have been, and may even be carried out later, when a member that
	// hung wakes up. The caller must read the keys again before it draws any conclusion, and must not repeat a write that
	// no comparison makes harmless.
	Unknown Outcome = iota
	// Committed: all comparisons held and all operations were carried out, once.
	Committed
	// Refused: a comparison failed and nothing was written; TxnResult.Current holds what the compared keys contain.
	Refused
	// Failed: etcd rejected the request itself (too large, not allowed, lease gone); nothing was written.
	Failed
)

// String returns the outcome's name.
func (o Outcome) String() string {
	switch o {
	case Committed:
		return "committed"
	case Refused:
		return "refused"
	case Failed:
		return "failed"
	default:
		return "unknown"
	}
}

// KV is a key with its value and revisions.
type KV struct {
	Key            string
	Value          []byte
	CreateRevision int64            // revision at which the key last came into being
	ModRevision    int64            // revision of its last change; the one to compare with
	Lease          clientv3.LeaseID // 0 without one
}

func newKV(kv *mvccpb.KeyValue) KV {
	return KV{
		Key: string(kv.Key), Value: kv.Value, CreateRevision: kv.CreateRevision, ModRevision: kv.ModRevision,
		Lease: clientv3.LeaseID(kv.Lease),
	}
}

// TxnRequest is a transaction.
//
// It is tried again after a try of unknown outcome only if that can do no harm: each key it writes has a comparison for
// equality with its create revision, mod revision or version in If. Its own success makes such a comparison fail, so it
// cannot happen twice, nor can a late first try undo what was written since. Without that there is one try.
type TxnRequest struct {
	Guards  []clientv3.Cmp // usually Leader.Guard(); compared like If
	If      []clientv3.Cmp
	Then    []clientv3.Op
	Timeout time.Duration // for all tries together; 0 means 3 s
}

// TxnResult tells what became of a transaction.
type TxnResult struct {
	Outcome Outcome
	// Revision is the cluster's revision at the answer: for Committed with writes the mod revision of what was written.
	Revision int64
	// Responses are the answers to the operations of Then, if Committed.
	Responses []*etcdserverpb.ResponseOp
	// Current holds, if Refused, what the compared keys contain now; an absent key is missing here.
	Current map[string]KV
	// GuardHeld is false if Refused and a guard was among the comparisons that failed: leadership is lost.
	GuardHeld bool
	// Err is set for Unknown and Failed.
	Err error
}

// Do carries out a transaction, each try with a deadline of 300 ms, the next one at another member.
func Do(ctx context.Context, client *clientv3.Client, req TxnRequest) TxnResult {
	timeout := req.Timeout
	if timeout <= 0 {
		timeout = defaultTxnTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cmps := append(append([]clientv3.Cmp(nil), req.Guards...), req.If...)
	repeatable := selfExcluding(cmps, req.Then)
	var unclear error // of an earlier try whose outcome is unknown
	for {
		resp, err := tryTxn(ctx, client, cmps, req.Then)
		switch {
		case err == nil && resp.Succeeded:
			return TxnResult{Outcome: Committed, Revision: resp.Header.Revision, Responses: resp.Responses, GuardHeld: true}
		case err == nil:
			return refused(resp, req, unclear)
		case definite(err) && unclear == nil:
			return TxnResult{Outcome: Failed, Err: fmt.Errorf("etcd transaction: %w", err)}
		}
		unclear = err
		if !repeatable || definite(err) || !sleep(ctx, retryPause) {
			return TxnResult{Err: fmt.Errorf("etcd transaction, outcome unknown: %w", unclear)}
		}
	}
}

func tryTxn(ctx context.Context, client *clientv3.Client, cmps []clientv3.Cmp, then []clientv3.Op) (*clientv3.TxnResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	var otherwise []clientv3.Op
	seen := map[string]bool{}
	for _, c := range cmps {
		key := string(c.KeyBytes())
		if !seen[key] {
			seen[key] = true
			otherwise = append(otherwise, clientv3.OpGet(key))
		}
	}
	return client.Txn(ctx).If(cmps...).Then(then...).Else(otherwise...).Commit()
}

// refused makes the result of a transaction whose comparisons failed. After a try of unknown outcome they may have failed
// because that try had succeeded, so then the outcome stays unknown; the current values let the caller find out.
func refused(resp *clientv3.TxnResponse, req TxnRequest, unclear error) TxnResult {
	result := TxnResult{Outcome: Refused, Revision: resp.Header.Revision, Current: map[string]KV{}, GuardHeld: true}
	for _, r := range resp.Responses {
		for _, kv := range r.GetResponseRange().GetKvs() {
			result.Current[string(kv.Key)] = newKV(kv)
		}
	}
	for _, g := range req.Guards {
		if !createRevisionHolds(g, result.Current[string(g.KeyBytes())].CreateRevision) {
			result.GuardHeld = false
		}
	}
	if unclear != nil {
		result.Outcome = Unknown
		result.Err = fmt.Errorf("etcd transaction refused after a try of unknown outcome: %w", unclear)
	}
	return result
}

// createRevisionHolds evaluates a guard; a guard that is not about the create revision counts as held, because
// only Current can tell its caller.
func createRevisionHolds(guard clientv3.Cmp, actual int64) bool {
	c := guard.GetCompare()
	if c.Target != etcdserverpb.Compare_CREATE || c.Result != etcdserverpb.Compare_EQUAL {
		return true
	}
	return c.GetCreateRevision() == actual
}

// selfExcluding says whether the transaction's own success would make it fail the next time.
func selfExcluding(cmps []clientv3.Cmp, then []clientv3.Op) bool {
	pinned := map[string]bool{}
	for _, cmp := range cmps {
		c := cmp.GetCompare()
		if c.Result != etcdserverpb.Compare_EQUAL || len(c.RangeEnd) > 0 {
			continue
		}
		switch c.Target {
		case etcdserverpb.Compare_MOD, etcdserverpb.Compare_VERSION:
			pinned[string(c.Key)] = true
		case etcdserverpb.Compare_CREATE:
			// A put changes the create revision only of a key that did not exist, a delete that of one that did.
			for _, op := range then {
				if string(op.KeyBytes()) == string(c.Key) && op.IsPut() == (c.GetCreateRevision() == 0) {
					pinned[string(c.Key)] = true
				}
			}
		}
	}
	for _, op := range then {
		switch {
		case op.IsGet():
		case op.IsTxn(), len(op.RangeBytes()) > 0, !pinned[string(op.KeyBytes())]:
			return false
		}
	}
	return true
}

// Get reads one key linearizably and says whether it is there, trying again until ctx ends.
func Get(ctx context.Context, client *clientv3.Client, key string) (kv KV, found bool, err error) {
	resp, err := retry(ctx, func(ctx context.Context) (*clientv3.GetResponse, error) { return client.Get(ctx, key) })
	if err != nil {
		return KV{}, false, fmt.Errorf("read %s from etcd: %w", key, err)
	}
	if len(resp.Kvs) == 0 {
		return KV{}, false, nil
	}
	return newKV(resp.Kvs[0]), true, nil
}
