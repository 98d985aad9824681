package election

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// Kind says what a key under the live prefix holds.
type Kind int

// The kinds of keys that Keys.Split tells apart.
const (
	KindUnknown Kind = iota // not one of ours, or written by a newer version
	KindRecord              // the one record of the cluster
	KindLeader              // who leads, under the leader's lease
	KindSpec                // what one server shall do
	KindStatus              // what one server reports
	KindMember              // that one daemon lives, under its lease
	KindPolicy              // what the operator wants of the cluster
)

// String returns the word used for the kind in keys and log lines.
func (k Kind) String() string {
	switch k {
	case KindRecord:
		return "record"
	case KindLeader:
		return "leader"
	case KindSpec:
		return "spec"
	case KindStatus:
		return "status"
	case KindMember:
		return "member"
	case KindPolicy:
		return "policy"
	default:
		return "unknown"
	}
}

// Keys names the keys of one cluster. All that changes while the cluster runs stands under one prefix, so that a single
// watch mirrors it; the history stands beside it, because nobody needs it pushed.
type Keys struct {
	root string
}

// NewKeys returns the keys of the named cluster. Names are escaped, so a slash in one cannot reach into another's keys.
func NewKeys(cluster string) Keys {
	return Keys{root: "/mysqlha/" + url.PathEscape(cluster) + "/"}
}

// Root is the prefix of everything that belongs to the cluster.
func (k Keys) Root() string { return k.root }

// Live is the prefix of all keys that a daemon mirrors.
func (k Keys) Live() string { return k.root + "live/" }

// Record is the key of the cluster's record.
func (k Keys) Record() string { return k.Live() + "record" }

// Policy is the key of what the operator wants of the cluster.
func (k Keys) Policy() string { return k.Live() + "policy" }

// Leader is the key whose holder leads.
func (k Keys) Leader() string { return k.Live() + "leader" }

// SpecPrefix is the prefix of all specs.
func (k Keys) SpecPrefix() string { return k.Live() + "spec/" }

// Spec is the key of the named server's spec.
func (k Keys) Spec(server string) string { return k.SpecPrefix() + url.PathEscape(server) }

// StatusPrefix is the prefix of all statuses.
func (k Keys) StatusPrefix() string { return k.Live() + "status/" }

// Status is the key of the named server's status.
func (k Keys) Status(server string) string { return k.StatusPrefix() + url.PathEscape(server) }

// MemberPrefix is the prefix of all member keys.
func (k Keys) MemberPrefix() string { return k.Live() + "member/" }

// Member is the key of the daemon with the given name.
func (k Keys) Member(name string) string { return k.MemberPrefix() + url.PathEscape(name) }

// PolicyVersionPrefix is the prefix of the versions of what the operator wanted.
func (k Keys) PolicyVersionPrefix() string { return k.root + "policy-versions/" }

// PolicyVersion is the key of one of them; their order is that of their numbers.
func (k Keys) PolicyVersion(version uint64) string {
	return fmt.Sprintf("%s%020d", k.PolicyVersionPrefix(), version)
}

// Hook is the key of how far the events of the cluster were delivered to a hook.
func (k Keys) Hook(name string) string { return k.root + "hooks/" + url.PathEscape(name) }

// EtcdTurn is the key of who restarts a member of etcd.
func (k Keys) EtcdTurn() string { return k.root + "turns/etcd" }

// HistoryPrefix is the prefix of the history.
func (k Keys) HistoryPrefix() string { return k.root + "history/" }

// History is the key of one term's history. The number is padded to the width of the largest uint64, so that etcd's
// order of keys is the order of terms.
func (k Keys) History(term uint64) string { return fmt.Sprintf("%s%020d", k.HistoryPrefix(), term) }

// HistoryTerm returns the term that a history key stands for; ok is false for any other key.
func (k Keys) HistoryTerm(key string) (term uint64, ok bool) {
	number, found := strings.CutPrefix(key, k.HistoryPrefix())
	if !found || len(number) != 20 {
		return 0, false
	}
	term, err := strconv.ParseUint(number, 10, 64)
	return term, err == nil
}

// Split says what a key under the live prefix holds and, for kinds of which each server or daemon has its own, whose it
// is. Keys it does not know give KindUnknown and an empty name, so that an older daemon can pass over what a newer one
// writes.
func (k Keys) Split(key string) (kind Kind, name string) {
	switch key {
	case k.Record():
		return KindRecord, ""
	case k.Leader():
		return KindLeader, ""
	case k.Policy():
		return KindPolicy, ""
	}
	for _, p := range []struct {
		prefix string
		kind   Kind
	}{{k.SpecPrefix(), KindSpec}, {k.StatusPrefix(), KindStatus}, {k.MemberPrefix(), KindMember}} {
		escaped, found := strings.CutPrefix(key, p.prefix)
		if !found || escaped == "" || strings.Contains(escaped, "/") {
			continue
		}
		name, err := url.PathUnescape(escaped)
		if err != nil {
			break
		}
		return p.kind, name
	}
	return KindUnknown, ""
}
