package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/mysqlha/mysqlha/election"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// State is what stands in etcd as far as it has arrived here. It is read-only.
type State struct {
	// Revision is etcd's revision up to which the state is complete; 0 before
	// anything has arrived.
	Revision int64
	// FreshAt is the latest moment at which the state is proven complete,
	// StaleSince is zero unless that was too long ago.
	FreshAt, StaleSince time.Time
	// Record is nil while there is none; RecordRevision is its revision.
	Record         *decide.Record
	RecordRevision int64
	// Policy is nil while nobody has asked for anything.
	Policy *decide.Policy
	// Specs, Statuses and Members are by server.
	Specs    map[string]decide.SpecAt
	Statuses map[string]decide.Status
	Members  map[string]decide.Member
	// Leader is the name of the leading member, empty for none.
	Leader string
}

// Loaded tells whether etcd has been read at all.
func (s *State) Loaded() bool { return s.Revision > 0 }

// Bus is the cluster's keys.
type Bus struct {
	client *clientv3.Client
	keys   election.Keys
	self   string
	log    *slog.Logger

	mu      sync.Mutex
	state   *State
	changed chan struct{}

	statusMu  sync.Mutex
	statusRev int64 // mod revision of our own status, -1 before it was read
}

// New returns the bus of a cluster for the member of that name; Run feeds it.
func New(client *clientv3.Client, keys election.Keys, self string, log *slog.Logger) *Bus {
	return &Bus{client: client, keys: keys, self: self, log: log, changed: make(chan struct{}), statusRev: -1,
		state: &State{Specs: map[string]decide.SpecAt{}, Statuses: map[string]decide.Status{}, Members: map[string]decide.Member{}}}
}

// Run mirrors the keys until ctx ends.
func (b *Bus) Run(ctx context.Context) error {
	return election.Mirror(ctx, b.client, election.MirrorOptions{Prefix: b.keys.Live(), Logger: b.log}, b.update)
}

// State returns the newest state.
func (b *Bus) State() *State {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state
}

// Changed is closed at the next change. Take it before State.
func (b *Bus) Changed() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.changed
}

// Own returns this server's newest spec and the record.
func (b *Bus) Own() (decide.SpecAt, *decide.Record) {
	s := b.State()
	return s.Specs[b.self], s.Record
}

// update takes what the mirror delivers. Only the mirror's goroutine calls it.
func (b *Bus) update(u election.Update) {
	next := *b.State()
	next.Revision, next.FreshAt, next.StaleSince = u.Revision, u.FreshAt, u.StaleSince
	if u.Full {
		next = State{Revision: u.Revision, FreshAt: u.FreshAt, StaleSince: u.StaleSince}
	}
	next.Specs, next.Statuses, next.Members = own(next.Specs), own(next.Statuses), own(next.Members)
	for _, e := range u.Events {
		if err := b.apply(&next, e); err != nil {
			// A key that cannot be read is as good as absent; what depends on
			// it waits, by name.
			b.log.Error("key in etcd cannot be read", "key", e.Key, "error", err)
		}
	}
	b.mu.Lock()
	b.state = &next
	close(b.changed)
	b.changed = make(chan struct{})
	b.mu.Unlock()
}

func own[V any](m map[string]V) map[string]V {
	if m == nil {
		return make(map[string]V)
	}
	return maps.Clone(m)
}

func (b *Bus) apply(s *State, e election.Event) error {
	kind, name := b.keys.Split(e.Key)
	switch kind {
	case election.KindRecord:
		return b.applyRecord(s, e)
	case election.KindPolicy:
		s.Policy = nil
		if e.Deleted {
			return nil
		}
		s.Policy = new(decide.Policy)
		return json.Unmarshal(e.Value, s.Policy)
	case election.KindLeader:
		s.Leader = string(e.Value)
		return nil
	case election.KindSpec:
		return put(s.Specs, name, e, func(v *decide.SpecAt) error {
			v.Revision = e.ModRevision
			return json.Unmarshal(e.Value, &v.Spec)
		})
	case election.KindStatus:
		return put(s.Statuses, name, e, func(v *decide.Status) error { return json.Unmarshal(e.Value, v) })
	case election.KindMember:
		return put(s.Members, name, e, func(v *decide.Member) error { return json.Unmarshal(e.Value, v) })
	default:
		return nil // A newer version's key.
	}
}

func (b *Bus) applyRecord(s *State, e election.Event) error {
	s.Record, s.RecordRevision = nil, e.ModRevision
	if e.Deleted {
		s.RecordRevision = 0
		return nil
	}
	r, err := DecodeRecord(e.Value)
	if err != nil {
		return err
	}
	s.Record = r
	return nil
}

// DecodeRecord reads a record as it stands in etcd.
func DecodeRecord(value []byte) (*decide.Record, error) {
	r := new(decide.Record)
	if err := json.Unmarshal(value, r); err != nil {
		return nil, fmt.Errorf("read the record: %w", err)
	}
	return r, nil
}

func put[V any](m map[string]V, name string, e election.Event, decode func(*V) error) error {
	delete(m, name)
	if e.Deleted {
		return nil
	}
	var v V
	if err := decode(&v); err != nil {
		return err
	}
	m[name] = v
	return nil
}

// PutStatus writes this server's status over the one before it, and never over
// a newer one: a try that hung somewhere must not come back later.
func (b *Bus) PutStatus(ctx context.Context, st decide.Status) error {
	b.statusMu.Lock()
	defer b.statusMu.Unlock()
	key := b.keys.Status(b.self)
	value, err := json.Marshal(st)
	if err != nil {
		return fmt.Errorf("write the status of %s: %w", b.self, err)
	}
	for try := 0; ; try++ {
		if b.statusRev < 0 {
			kv, _, err := election.Get(ctx, b.client, key)
			if err != nil {
				return fmt.Errorf("read the status of %s: %w", b.self, err)
			}
			b.statusRev = kv.ModRevision
		}
		res := election.Do(ctx, b.client, election.TxnRequest{
			If:      []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(key), "=", b.statusRev)},
			Then:    []clientv3.Op{clientv3.OpPut(key, string(value))},
			Timeout: 2 * time.Second,
		})
		if res.Outcome == election.Committed {
			b.statusRev = res.Revision
			return nil
		}
		b.statusRev = -1
		if res.Outcome != election.Refused || try > 0 {
			return fmt.Errorf("write the status of %s: %s: %w", b.self, res.Outcome, orUnknown(res.Err))
		}
	}
}

// ReadRecord reads the record linearizably.
func (b *Bus) ReadRecord(ctx context.Context) (*decide.Record, error) {
	kv, found, err := election.Get(ctx, b.client, b.keys.Record())
	if err != nil {
		return nil, fmt.Errorf("read the record: %w", err)
	}
	if !found {
		return nil, errors.New("read the record: there is none")
	}
	return DecodeRecord(kv.Value)
}

// policyTries is how often a change of the policy is made anew because somebody
// else's came first.
const policyTries = 5

// policyVersions is how many versions of the policy are kept.
const policyVersions = 200

// ChangePolicy changes what the operator wants, and returns all of it. The change
// is made to what stands in etcd now, perhaps several times; its error ends it. What
// lasts is kept as a version, with who made it.
func (b *Bus) ChangePolicy(ctx context.Context, by string, change func(decide.Policy) (decide.Policy, error)) (decide.Policy, error) {
	key := b.keys.Policy()
	for try := 1; ; try++ {
		kv, found, err := election.Get(ctx, b.client, key)
		if err != nil {
			return decide.Policy{}, fmt.Errorf("read the policy: %w", err)
		}
		var now decide.Policy
		if found {
			if err := json.Unmarshal(kv.Value, &now); err != nil {
				return now, fmt.Errorf("read the policy: %w", err)
			}
		}
		next, err := change(now)
		if err != nil {
			return now, err
		}
		then, err := b.policyOperations(now, &next, by)
		if err != nil {
			return now, fmt.Errorf("write the policy: %w", err)
		}
		res := election.Do(ctx, b.client, election.TxnRequest{
			If:   []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(key), "=", kv.ModRevision)},
			Then: then, Timeout: 2 * time.Second})
		if res.Outcome == election.Committed {
			return next, nil
		}
		if res.Outcome != election.Refused || try == policyTries {
			return now, fmt.Errorf("write the policy: %s: %w", res.Outcome, orUnknown(res.Err))
		}
	}
}

// policyOperations writes the next policy, and a version of it if anything is
// different that lasts.
func (b *Bus) policyOperations(now decide.Policy, next *decide.Policy, by string) ([]clientv3.Op, error) {
	values := next.Values()
	changes := decide.Changes(now.Values(), values)
	if len(changes) > 0 {
		next.Version, next.By, next.At = now.Version+1, by, time.Now()
	}
	value, err := json.Marshal(next)
	then := []clientv3.Op{clientv3.OpPut(b.keys.Policy(), string(value))}
	if err != nil || len(changes) == 0 {
		return then, err
	}
	version, err := json.Marshal(decide.PolicyVersion{Version: next.Version, By: by, At: next.At, Changes: changes, Values: values})
	then = append(then, clientv3.OpPut(b.keys.PolicyVersion(next.Version), string(version)))
	if next.Version > policyVersions {
		then = append(then, clientv3.OpDelete(b.keys.PolicyVersion(next.Version-policyVersions)))
	}
	return then, err
}

// PolicyVersions returns the newest versions of what the operator wanted, the
// newest first.
func (b *Bus) PolicyVersions(ctx context.Context, limit int) ([]decide.PolicyVersion, error) {
	return newest[decide.PolicyVersion](ctx, b.client, b.keys.PolicyVersionPrefix(), limit)
}

var errRefused = errors.New("somebody else wrote it")

func orUnknown(err error) error {
	if err == nil {
		return errRefused
	}
	return err
}

// Commit writes a change decided on the base state, if leader still leads and
// nothing has changed the record or those specs since. It returns
// the state that shows the outcome; the caller decides anew on it, whatever
// the error says.
func (b *Bus) Commit(ctx context.Context, leader election.Leader, base *State, c decide.Change) (*State, error) {
	then, err := b.operations(base.RecordRevision, c)
	if err != nil {
		return b.State(), err
	}
	// Every key that is written is compared: a try that hung somewhere must not
	// come back later over what was written since.
	cmps := []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(b.keys.Record()), "=", base.RecordRevision)}
	for name := range c.Specs {
		cmps = append(cmps, clientv3.Compare(clientv3.ModRevision(b.keys.Spec(name)), "=", base.Specs[name].Revision))
	}
	if c.History != nil {
		cmps = append(cmps, clientv3.Compare(clientv3.CreateRevision(b.keys.History(uint64(base.RecordRevision))), "=", 0))
	}
	res := election.Do(ctx, b.client, election.TxnRequest{Guards: []clientv3.Cmp{leader.Guard()}, If: cmps, Then: then})
	if res.Outcome != election.Committed {
		return b.State(), fmt.Errorf("change of the record: %s: %w", res.Outcome, orUnknown(res.Err))
	}
	return b.await(ctx, res.Revision)
}

func (b *Bus) operations(base int64, c decide.Change) ([]clientv3.Op, error) {
	var then []clientv3.Op
	add := func(key string, v any) error {
		raw, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("write %s: %w", key, err)
		}
		then = append(then, clientv3.OpPut(key, string(raw)))
		return nil
	}
	var errs []error
	if c.Record != nil {
		errs = append(errs, add(b.keys.Record(), c.Record))
	}
	for name, spec := range c.Specs {
		errs = append(errs, add(b.keys.Spec(name), spec))
	}
	if c.History != nil {
		// By the revision it was decided on: unique, and in the order of time.
		errs = append(errs, add(b.keys.History(uint64(base)), c.History))
	}
	return then, errors.Join(errs...)
}

// await returns the first state that is complete up to the revision.
func (b *Bus) await(ctx context.Context, revision int64) (*State, error) {
	for {
		changed := b.Changed()
		if s := b.State(); s.Revision >= revision {
			return s, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return b.State(), ctx.Err()
		}
	}
}

// History returns the newest entries, newest first.
func (b *Bus) History(ctx context.Context, limit int) ([]decide.History, error) {
	return newest[decide.History](ctx, b.client, b.keys.HistoryPrefix(), limit)
}

// TrimHistory drops all but the newest entries.
func (b *Bus) TrimHistory(ctx context.Context, keep int) error {
	ctx, cancel := context.WithTimeout(ctx, historyTimeout)
	defer cancel()
	resp, err := b.client.Get(ctx, b.keys.HistoryPrefix(), clientv3.WithPrefix(), clientv3.WithKeysOnly(),
		clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend), clientv3.WithLimit(int64(keep)))
	if err == nil && resp.More {
		_, err = b.client.Delete(ctx, b.keys.HistoryPrefix(), clientv3.WithRange(string(resp.Kvs[len(resp.Kvs)-1].Key)))
	}
	if err != nil {
		return fmt.Errorf("trim the history: %w", err)
	}
	return nil
}

// historyTimeout bounds reading what nobody needs pushed.
const historyTimeout = 2 * time.Second

// newest reads the last keys under a prefix, the last first.
func newest[T any](ctx context.Context, client *clientv3.Client, prefix string, limit int) ([]T, error) {
	ctx, cancel := context.WithTimeout(ctx, historyTimeout)
	defer cancel()
	resp, err := client.Get(ctx, prefix, clientv3.WithPrefix(),
		clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend), clientv3.WithLimit(int64(limit)))
	if err != nil {
		return nil, fmt.Errorf("read the history: %w", err)
	}
	out := make([]T, 0, len(resp.Kvs))
	for _, kv := range resp.Kvs {
		var one T
		if err := json.Unmarshal(kv.Value, &one); err != nil {
			return nil, fmt.Errorf("read the history: %s: %w", kv.Key, err)
		}
		out = append(out, one)
	}
	return out, nil
}
