package election

import (
	"slices"
	"testing"
)

func TestKeys(t *testing.T) {
	k := NewKeys("shop")
	for _, c := range []struct {
		name, key, want string
		kind            Kind
		owner           string
	}{
		{"the record has no owner", k.Record(), "/mysqlha/shop/live/record", KindRecord, ""},
		{"the leader key has no owner", k.Leader(), "/mysqlha/shop/live/leader", KindLeader, ""},
		{"a spec is a server's", k.Spec("db1"), "/mysqlha/shop/live/spec/db1", KindSpec, "db1"},
		{"a status is a server's", k.Status("db1"), "/mysqlha/shop/live/status/db1", KindStatus, "db1"},
		{"a member key is a daemon's", k.Member("db1"), "/mysqlha/shop/live/member/db1", KindMember, "db1"},
		{"a slash in a name stays inside it", k.Spec("a/b"), "/mysqlha/shop/live/spec/a%2Fb", KindSpec, "a/b"},
		{"an unknown key is passed over", k.Live() + "newer/thing", "/mysqlha/shop/live/newer/thing", KindUnknown, ""},
		{"a deeper key is passed over", k.Spec("a") + "/b", "/mysqlha/shop/live/spec/a/b", KindUnknown, ""},
		{"a kind without a name is passed over", k.SpecPrefix(), "/mysqlha/shop/live/spec/", KindUnknown, ""},
		{"another cluster's key is passed over", NewKeys("x").Spec("a"), "/mysqlha/x/live/spec/a", KindUnknown, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.key != c.want {
				t.Errorf("key %q, want %q", c.key, c.want)
			}
			if kind, owner := k.Split(c.key); kind != c.kind || owner != c.owner {
				t.Errorf("Split gives %v %q, want %v %q", kind, owner, c.kind, c.owner)
			}
		})
	}
}

func TestHistoryKeysSortByTerm(t *testing.T) {
	k := NewKeys("shop")
	terms := []uint64{0, 9, 10, 99, 100, 1<<64 - 1}
	var keys []string
	for _, term := range terms {
		key := k.History(term)
		keys = append(keys, key)
		if got, ok := k.HistoryTerm(key); !ok || got != term {
			t.Errorf("term of %q is %d, %v", key, got, ok)
		}
	}
	if !slices.IsSorted(keys) {
		t.Errorf("not in order: %q", keys)
	}
	if _, ok := k.HistoryTerm(k.Record()); ok {
		t.Error("the record counts as history")
	}
}
