package api

import (
	"strings"
	"testing"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

func openPrimary() Evidence {
	return Evidence{
		Self: "db1", Primary: "db1", Term: 7, FreshFor: time.Second, FenceDeadline: 5 * time.Second,
		Live: decide.Live{
			Server: "db1", Process: decide.ProcessRunning, Answers: true, OpenTerm: 7,
			Age: 100 * time.Millisecond, CommitAge: 400 * time.Millisecond,
		},
	}
}

func replica() Evidence {
	e := openPrimary()
	e.Self, e.Live.Server = "db2", "db2"
	e.Live.OpenTerm, e.Live.CommitAge = 0, 0
	e.Live.ReadOnly, e.Live.SuperReadOnly = true, true
	e.Live.Receiver, e.Live.Applier = decide.ReceiverOn, decide.ReceiverOn
	e.Live.LagKnown, e.Live.Lag, e.Live.LagTransactions = true, 2*time.Second, 30
	e.Live.ContactAge = 150 * time.Millisecond
	e.Live.HeartbeatAge, e.Live.HeartbeatKnown = 400*time.Millisecond, true
	return e
}

func TestPrimaryOK(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Evidence)
		ok     bool
		reason string
	}{
		{"an open primary with a fresh proof is one", func(*Evidence) {}, true, "open in term 7"},
		{"a proof just younger than the fence deadline counts", func(e *Evidence) { e.Live.CommitAge = 4899 * time.Millisecond }, true, ""},
		{"a proof as old as the fence deadline does not count", func(e *Evidence) { e.Live.CommitAge = 4900 * time.Millisecond }, false, "began 5s ago"},
		{"a primary without any acknowledged commit is none", func(e *Evidence) { e.Live.CommitAge = 0 }, false, "no commit of its own"},
		{"without a published term there is no primary", func(e *Evidence) { e.Term = 0; e.Live.OpenTerm = 0 }, false, "no term"},
		{"another server is the primary", func(e *Evidence) { e.Primary = "db3"; e.Term = 8 }, false, "the primary of term 8 is db3"},
		{"a primary that is not open yet is none", func(e *Evidence) { e.Live.OpenTerm = 0 }, false, "not open"},
		{"a primary open in a former term is none", func(e *Evidence) { e.Term = 8 }, false, "open in term 7, and the term is 8"},
		{"a primary open in a later term than the record known is none", func(e *Evidence) { e.Live.OpenTerm = 9 }, false, "open in term 9, and the term is 7"},
		{"a read-only server is no primary", func(e *Evidence) { e.Live.ReadOnly = true }, false, "read-only"},
		{"a super-read-only server is no primary", func(e *Evidence) { e.Live.SuperReadOnly = true }, false, "read-only"},
		{"an offline server is no primary", func(e *Evidence) { e.Live.Offline = true }, false, "offline_mode"},
		{"a diverged server is no primary", func(e *Evidence) { e.Diverged = true }, false, "transactions"},
		{"a server that does not answer is no primary", func(e *Evidence) { e.Live.Answers = false }, false, "does not answer"},
		{"a server whose process is being torn down is no primary", func(e *Evidence) { e.Live.Process = decide.ProcessExiting }, false, "not running"},
		{"figures that are too old prove nothing", func(e *Evidence) { e.Live.Age = 1001 * time.Millisecond }, false, "old"},
		{"a daemon that knows no bounds says no", func(e *Evidence) { e.FreshFor, e.FenceDeadline = 0, 0 }, false, "only 0s counts"},
		{"the zero value says no", func(e *Evidence) { *e = Evidence{} }, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := openPrimary()
			c.change(&e)
			expect(t, c.ok, c.reason)(PrimaryOK(e))
		})
	}
}

func TestReplicaOK(t *testing.T) {
	within := func(lag time.Duration) Limits { return Limits{Lag: &lag} }
	count := func(n uint64) Limits { return Limits{Transactions: &n} }
	same := func(*Evidence) {}
	for _, c := range []struct {
		name   string
		change func(*Evidence)
		limits Limits
		ok     bool
		reason string
	}{
		{"a replica with any known lag is one when nothing is asked", same, Limits{}, true, "lag 2s, 30 transactions"},
		{"a lag as large as the limit is within", same, within(2 * time.Second), true, ""},
		{"a lag above the limit is not", same, within(1999 * time.Millisecond), false, "its lag is 2s"},
		{"as many transactions as the limit are within", same, count(30), true, ""},
		{"more transactions than the limit are not", same, count(29), false, "30 received transactions"},
		{"an unknown lag is not small", func(e *Evidence) { e.Live.LagKnown, e.Live.Lag = false, 0 }, Limits{}, false, "not known"},
		{"a stopped receiver is refused", func(e *Evidence) { e.Live.Receiver = decide.ReceiverOff }, Limits{}, false, "receiver is OFF"},
		{"a connecting receiver is refused", func(e *Evidence) { e.Live.Receiver = decide.ReceiverConnecting }, Limits{}, false, "receiver is CONNECTING"},
		{"an unknown receiver is refused", func(e *Evidence) { e.Live.Receiver = decide.ReceiverUnknown }, Limits{}, false, "unknown state"},
		{"a stopped applier is refused", func(e *Evidence) { e.Live.Applier = decide.ReceiverOff }, Limits{}, false, "applier is OFF"},
		{"a diverged replica is refused", func(e *Evidence) { e.Diverged = true }, Limits{}, false, "transactions"},
		{"an offline replica is refused", func(e *Evidence) { e.Live.Offline = true }, Limits{}, false, "offline_mode"},
		{"the primary is no replica", func(e *Evidence) { e.Primary = "db2" }, Limits{}, false, "it is the primary"},
		{"a server that is open is no replica", func(e *Evidence) { e.Live.OpenTerm = 6 }, Limits{}, false, "it is the primary"},
		{"a replica that has just connected again may miss what it does not know of", func(e *Evidence) { e.Live.HeartbeatAge = 9 * time.Second }, within(5 * time.Second), false, "heartbeat row is 9.1s old"},
		{"nor is it known without a heartbeat row", func(e *Evidence) { e.Live.HeartbeatKnown = false }, within(5 * time.Second), false, "not known"},
		{"a source silent for longer than the lag allowed counts as lag", func(e *Evidence) { e.Live.ContactAge = 4 * time.Second }, within(3 * time.Second), false, "last heard from its source"},
		{"a source silent for less than that does not", func(e *Evidence) { e.Live.ContactAge = 2 * time.Second }, within(3 * time.Second), true, ""},
		{"the usual pause between two heartbeats is no lag", func(e *Evidence) { e.Live.Lag = 0 }, within(0), true, ""},
		{"the zero value says no", func(e *Evidence) { *e = Evidence{} }, Limits{}, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := replica()
			c.change(&e)
			expect(t, c.ok, c.reason)(ReplicaOK(e, c.limits))
		})
	}
}

func TestReadOnlyOK(t *testing.T) {
	second := time.Second
	closed := openPrimary()
	closed.Live.OpenTerm = 0
	for _, c := range []struct {
		name   string
		e      Evidence
		limits Limits
		ok     bool
		reason string
	}{
		{"the primary serves reads", openPrimary(), Limits{Lag: &second}, true, "open in term 7"},
		{"a replica serves reads", replica(), Limits{}, true, "replicating"},
		{"a replica beyond the limit does not", replica(), Limits{Lag: &second}, false, "its lag is 2s"},
		{"a primary that is not open says so", closed, Limits{}, false, "not open"},
	} {
		t.Run(c.name, func(t *testing.T) { expect(t, c.ok, c.reason)(ReadOnlyOK(c.e, c.limits)) })
	}
}

func TestHealthOK(t *testing.T) {
	offline := openPrimary()
	offline.Live.Offline = true
	expect(t, true, "answers")(HealthOK(offline))
	expect(t, false, "")(HealthOK(Evidence{}))
}

func expect(t *testing.T, ok bool, reason string) func(bool, string) {
	return func(gotOK bool, got string) {
		t.Helper()
		if gotOK != ok || !strings.Contains(got, reason) || got == "" {
			t.Errorf("got %v because %q, want %v because of %q", gotOK, got, ok, reason)
		}
	}
}
