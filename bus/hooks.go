package bus

import (
	"context"
	"encoding/json"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/mysqlha/mysqlha/election"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// HistoryAt is an entry of the history with its key, by which entries are ordered.
type HistoryAt struct {
	Key uint64
	decide.History
}

// HistoryAfter returns the entries behind a key, the oldest first.
func (b *Bus) HistoryAfter(ctx context.Context, key uint64) ([]HistoryAt, error) {
	ctx, cancel := context.WithTimeout(ctx, historyTimeout)
	defer cancel()
	prefix := b.keys.HistoryPrefix()
	resp, err := b.client.Get(ctx, b.keys.History(key+1), clientv3.WithRange(clientv3.GetPrefixRangeEnd(prefix)))
	if err != nil {
		return nil, fmt.Errorf("read the history: %w", err)
	}
	entries := make([]HistoryAt, 0, len(resp.Kvs))
	for _, kv := range resp.Kvs {
		at, ok := b.keys.HistoryTerm(string(kv.Key))
		if !ok {
			continue // A newer version's key.
		}
		one := HistoryAt{Key: at}
		if err := json.Unmarshal(kv.Value, &one.History); err != nil {
			return nil, fmt.Errorf("read the history: %s: %w", kv.Key, err)
		}
		entries = append(entries, one)
	}
	return entries, nil
}

// LastHistory returns the key of the newest entry, 0 for none.
func (b *Bus) LastHistory(ctx context.Context) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, historyTimeout)
	defer cancel()
	resp, err := b.client.Get(ctx, b.keys.HistoryPrefix(), clientv3.WithPrefix(), clientv3.WithKeysOnly(),
		clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend), clientv3.WithLimit(1))
	if err != nil {
		return 0, fmt.Errorf("read the history: %w", err)
	}
	if len(resp.Kvs) == 0 {
		return 0, nil
	}
	key, _ := b.keys.HistoryTerm(string(resp.Kvs[0].Key)) // 0 for a newer version's.
	return key, nil
}

// HookCursor reads how far the events of the cluster were delivered to a hook, and
// whether that is known.
func (b *Bus) HookCursor(ctx context.Context, hook string, into any) (bool, error) {
	kv, found, err := election.Get(ctx, b.client, b.keys.Hook(hook))
	if err == nil && found {
		err = json.Unmarshal(kv.Value, into)
	}
	if err != nil {
		return false, fmt.Errorf("read the cursor of the hook %s: %w", hook, err)
	}
	return found, nil
}

// SaveHookCursor writes it, if leader still leads.
func (b *Bus) SaveHookCursor(ctx context.Context, leader election.Leader, hook string, cursor any) error {
	value, err := json.Marshal(cursor)
	if err != nil {
		return fmt.Errorf("write the cursor of the hook %s: %w", hook, err)
	}
	res := election.Do(ctx, b.client, election.TxnRequest{Guards: []clientv3.Cmp{leader.Guard()}, Then: []clientv3.Op{clientv3.OpPut(b.keys.Hook(hook), string(value))}, Timeout: historyTimeout})
	if res.Outcome != election.Committed {
		return fmt.Errorf("write the cursor of the hook %s: %s: %w", hook, res.Outcome, orUnknown(res.Err))
	}
	return nil
}
