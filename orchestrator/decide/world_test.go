package decide

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mysqlha/mysqlha/replication/gtid"
)

// leaseTime is how long a member's lease outlives its last renewal.
const leaseTime = 3 * time.Second

// world is a small cluster that obeys specs: an etcd, servers with binary and
// relay logs, daemons that carry out one small step at a time, and a leader
// that judges. It knows which transactions clients were told are safe.
type world struct {
	t   testing.TB
	rng *rand.Rand
	s   Settings
	now time.Time

	// What stands in etcd.
	rev, recordRev int64
	record         *Record
	specs          map[string]SpecAt
	statuses       map[string]Status

	names []string
	hosts map[string]*host

	// The leader.
	self   string
	since  time.Time
	seen   map[string]Observation
	absent map[string]time.Time
	last   Decision

	// acked is what clients were told is safe.
	acked gtid.Set
	// dropped are links that are cut, by pair or by one name with the leader.
	dropped map[string]bool
	trace   []string
	// policy is what the operator wants.
	policy   *Policy
	requests int
	// newest is the record of the highest version there ever was.
	newest *Record
	// broken is what is broken on purpose, nil for nothing.
	broken *brokenRule
	// violated ends the run; nil fails the test.
	violated func(what string)
	// powerCuts, weak and copies say whether a host has lost power, whether the
	// primary was ever allowed to acknowledge alone, and how often processes
	// began.
	powerCut, weak bool
	// quiet keeps no trace.
	quiet    bool
	restarts int
	// rewinds counts what the gates did.
	rewinds, rewindsRefused, clones int
}

// commit is a transaction in a primary's binary log that waits to be acknowledged.
type commit struct {
	tx     gtid.Set
	at     time.Time
	by     map[string]bool
	client bool
}

type ack struct {
	from  string
	holds gtid.Set
}

// host is one server with its daemon.
type host struct {
	name string
	// The machine: mysqld and daemon run, the daemon reaches etcd.
	mysqld, daemon, etcd bool
	// frozen: mysqld was stopped (SIGSTOP) and its connections stay; slow: its
	// receiver is connected and receives nothing.
	frozen, slow bool
	renewed      time.Time

	// On disk.
	run                int
	number             int64
	executed, received gtid.Set
	binlog, relay      []gtid.Set
	logged             gtid.Set
	locked             map[string]bool
	openedRun          int
	openedTerm         uint64
	// tail waited for acknowledgements when mysqld died: it stands in the binary
	// log and is only prepared in the engine. fileStart is where the last run began
	// to write.
	tail []gtid.Set
	// followedTerm is the newest in which it followed; cloned is the plan of its
	// last clone.
	followedTerm uint64
	cloned       string
	fileStart    int
	unusable     bool // Its data is nobody's.
	starting     bool // The gate holds mysqld since gateSince.
	gateSince    time.Time
	termSeen     uint64

	// In memory of mysqld.
	waiting []commit
	flying  []ack
	// control is when the daemon last had a proof from etcd.
	control              time.Time
	source               string
	receiver, acks, wish bool // wish is rpl_semi_sync_replica_enabled
	semisync             bool
	k                    int
	sro, ro              bool
	contact, committed   time.Time
	proved               time.Time // When the last acknowledged commit was begun.
	recordSeen           uint64

	// The daemon's work.
	spec    SpecAt
	workRun int
	step    int
	state   SpecState
	problem Code
	held    Held
	own     gtid.Set
	early   gtid.Set // What it had before a revoke.
	open    uint64
	acksOff bool
}

func newWorld(t testing.TB, seed uint64, names ...string) *world {
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 1)), s: testSettings(), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		specs: make(map[string]SpecAt), statuses: make(map[string]Status), names: names, hosts: make(map[string]*host), dropped: make(map[string]bool)}
	for _, n := range names {
		w.hosts[n] = &host{name: n, daemon: true, etcd: true, locked: make(map[string]bool), state: SpecWorking}
		w.start(n)
	}
	w.lead(names[len(names)-1])
	return w
}

func (w *world) note(format string, args ...any) {
	if w.quiet {
		return
	}
	w.trace = append(w.trace, fmt.Sprintf("%7d ms  ", w.now.Sub(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)).Milliseconds())+fmt.Sprintf(format, args...))
}

func (w *world) fail(format string, args ...any) {
	w.helper()
	if w.violated != nil {
		w.violated(fmt.Sprintf(format, args...))
	}
	w.t.Fatalf("%s\n%s", fmt.Sprintf(format, args...), strings.Join(w.trace[max(0, len(w.trace)-60):], "\n"))
}

func (h *host) startID() string { return fmt.Sprintf("%s%d", h.name, h.run) }

func (h *host) all() gtid.Set { return h.executed.Union(h.received) }

// --- what can happen to machines ---

func (w *world) start(name string) {
	h := w.hosts[name]
	if h.mysqld {
		return
	}
	if h.starting = !w.gate(h); h.starting {
		return
	}
	h.gateSince, h.fileStart = time.Time{}, len(h.binlog)
	h.mysqld, h.ro, h.sro, h.run = true, true, true, h.run+1
	w.restarts++
	w.note("%s: mysqld runs (%s)", name, h.startID())
}

// kill ends mysqld. What it had flushed it will have committed when it comes
// back, unless its gate takes that back before; a power cut takes the end of the relay log along.
func (w *world) kill(name string, power bool) {
	keep := len(w.hosts[name].relay)
	if power {
		keep = w.rng.IntN(keep + 1)
	}
	w.end(name, keep)
}

// end ends mysqld; so many transactions of the relay log outlive it.
func (w *world) end(name string, keep int) {
	h := w.hosts[name]
	if !h.mysqld {
		return
	}
	if w.broken.is(recoverRelayLogs) {
		keep = 0
	}
	power := keep < len(h.relay)
	for _, c := range h.waiting {
		h.tail = append(h.tail, c.tx)
	}
	h.frozen, h.slow = false, false
	h.mysqld, h.waiting, h.flying, h.receiver, h.acks, h.wish, h.semisync = false, nil, nil, false, false, false, false
	h.ro, h.sro, h.open, h.own, h.proved = true, true, 0, gtid.Set{}, time.Time{}
	if power {
		for _, tx := range h.relay[keep:] {
			h.received = h.received.Subtract(tx)
		}
		h.relay = h.relay[:keep]
	}
	w.note("%s: mysqld is gone (power cut: %v)", name, power)
}

func (w *world) crash(name string) {
	w.kill(name, true)
	w.hosts[name].daemon = false
	w.note("%s: host down", name)
}

func (w *world) boot(name string) {
	w.hosts[name].daemon, w.hosts[name].etcd = true, true
	w.start(name)
}

func (w *world) linked(a, b string) bool { return !w.dropped[a+b] && !w.dropped[b+a] }

// --- replication ---

func (w *world) attached(h *host) *host {
	src := w.hosts[h.source]
	if src == nil || !h.mysqld || !h.receiver || !src.mysqld || src.locked[h.name] || !w.linked(h.name, src.name) {
		return nil
	}
	return src
}

// receive brings the next transaction of its source to h, which acknowledges.
func (w *world) receive(h *host) {
	src := w.attached(h)
	if src == nil || src.frozen || h.frozen || h.slow {
		return
	}
	h.contact = w.now
	if !src.logged.Subtract(h.all()).IsEmpty() {
		for _, tx := range src.binlog {
			if !h.all().Contains(tx) {
				h.received = h.received.Union(tx)
				h.relay = append(h.relay, tx)
				break
			}
		}
	}
	if h.acks && len(src.waiting) > 0 {
		src.flying = append(src.flying, ack{h.name, h.all()})
	}
}

func (w *world) apply(h *host) {
	if h.mysqld && !h.frozen && len(h.relay) > 0 && !h.semisync {
		h.write(h.relay[0])
		h.executed = h.executed.Union(h.relay[0])
		h.relay = h.relay[1:]
	}
}

func (h *host) write(tx gtid.Set) {
	h.binlog, h.logged = append(h.binlog, tx), h.logged.Union(tx)
}

// begin puts a transaction into the binary log; it is answered once k replicas
// have acknowledged it.
func (w *world) begin(h *host, client bool) gtid.Set {
	h.number++
	tx := gs(fmt.Sprintf("%s:%d", h.name, h.number))
	for _, n := range w.names {
		if o := w.hosts[n]; o.all().Union(o.logged).Contains(tx) {
			w.fail("S7: %s gives the number of %s, which %s has, to another transaction", h.name, tx, n)
		}
	}
	h.write(tx)
	h.waiting = append(h.waiting, commit{tx, w.now, make(map[string]bool), client})
	if !h.semisync {
		w.letGo(h)
	}
	return tx
}

// hear lets the oldest acknowledgement on its way arrive at h.
func (w *world) hear(h *host) {
	if !h.mysqld || h.frozen || len(h.flying) == 0 {
		return
	}
	a := h.flying[0]
	h.flying = h.flying[1:]
	for _, c := range h.waiting {
		if a.holds.Contains(c.tx) {
			c.by[a.from] = true
		}
	}
	w.answer(h)
}

// answer acknowledges the commits that enough replicas have.
func (w *world) answer(h *host) {
	for len(h.waiting) > 0 && len(h.waiting[0].by) >= h.k {
		w.acknowledge(h)
	}
}

// letGo acknowledges all that waits, whoever has it: semi-sync is off.
func (w *world) letGo(h *host) {
	for len(h.waiting) > 0 {
		w.acknowledge(h)
	}
}

func (w *world) acknowledge(h *host) {
	c := h.waiting[0]
	h.waiting = h.waiting[1:]
	h.executed, h.committed, h.proved = h.executed.Union(c.tx), w.now, c.at
	if c.client {
		w.acked = w.acked.Union(c.tx)
	}
}

// --- the leader ---

func (w *world) lead(name string) {
	w.self, w.since = name, w.now
	w.seen, w.absent = make(map[string]Observation), make(map[string]time.Time)
	w.note("%s leads", name)
}

func (w *world) probe(h *host) {
	seen := w.seen[h.name]
	reached := w.linked(w.self, h.name) && !w.dropped[h.name]
	if h.daemon && reached {
		seen = seen.Heard(w.figures(h), w.now, w.now)
	}
	switch {
	case h.mysqld && reached:
		seen.SQLAt, seen.SQLFailures, seen.SQLFailure, seen.Closed = w.now, 0, FailureNone, h.ro
	case reached && h.daemon:
		seen.SQLFailures, seen.SQLFailure = seen.SQLFailures+1, FailureRefused
	default:
		seen.SQLFailures, seen.SQLFailure = seen.SQLFailures+1, FailureSilent
	}
	w.seen[h.name] = seen
}

func (w *world) figures(h *host) Live {
	l := Live{Server: h.name, Process: h.process(), StartID: h.startID(), Answers: h.mysqld && !h.frozen, ReadOnly: h.ro, SuperReadOnly: h.sro,
		Executed: h.executed, Received: h.received, Source: h.source, Receiver: ReceiverOff, Applier: ReceiverOn,
		Acks: h.acks, AckEnabled: h.wish, Waits: h.semisync, LagKnown: true, ContactAge: w.now.Sub(h.contact), OpenTerm: h.open, CommitAge: w.now.Sub(h.committed),
		CommitKnown: !h.proved.IsZero() && h.open != 0, CommitReadAge: w.now.Sub(h.proved), RecordSeen: h.recordSeen}
	if h.receiver {
		l.Receiver = ReceiverConnecting
		if w.attached(h) != nil {
			l.Receiver = ReceiverOn
		}
	}
	return l
}

func (h *host) process() Process {
	if h.mysqld {
		return ProcessRunning
	}
	return ProcessGone
}

func (w *world) view() View {
	members := make(map[string]Member)
	for _, n := range w.names {
		h := w.hosts[n]
		if w.now.Sub(h.renewed) < leaseTime {
			members[n] = Member{Server: n, Account: Account{Server: n}}
			delete(w.absent, n)
		} else if _, missed := w.absent[n]; !missed {
			w.absent[n] = w.now
		}
	}
	return View{Self: w.self, LeadingSince: w.since, Servers: w.names, Record: w.record, Revision: w.recordRev,
		RecordSeen: w.hosts[w.self].recordSeen,
		Specs:      w.specs, Statuses: w.statuses, Members: members, Absent: w.absent, Seen: w.seen}
}

// judge decides and commits until there is nothing more to write, and checks
// every change against the rules.
func (w *world) judge() {
	w.helper()
	for range 40 {
		v := w.view()
		d := Decide(v, w.s, w.now)
		w.last = d
		if d.Change == nil {
			return
		}
		for _, fault := range faults(v, d.Change, w.s, w.now) {
			w.fail("%s breaks %s", d.Reason, fault)
		}
		w.write(d)
	}
	w.fail("the judgement writes something new for ever: %s: %s", w.last.Reason, w.last.Detail)
}

func (w *world) write(d Decision) {
	w.rev++
	if d.Change.Record != nil {
		r := d.Change.Record.clone()
		w.record, w.recordRev = &r, w.rev
		if w.newest == nil || r.Version >= w.newest.Version {
			w.newest = &r
		}
	}
	var told []string
	for n, s := range d.Change.Specs {
		w.specs[n] = SpecAt{Spec: s, Revision: w.rev}
		told = append(told, fmt.Sprintf("%s:%s<%s acks=%v attach=%v", n, s.Goal, s.Source, s.Acks, s.Attach))
	}
	slices.Sort(told)
	plan := ""
	if p := w.record.Plan; p != nil {
		plan = p.ID + " " + string(p.Phase)
	}
	w.note("leader %s: %s (%s) term %d of %s, in sync %v, plan %s; %s", w.self, d.Reason, d.Detail, w.record.Term, w.record.Primary, w.record.InSync, plan, strings.Join(told, ", "))
}

// --- the promises ---

func (w *world) check() {
	w.helper()
	var writers []string
	for _, n := range w.names {
		if h := w.hosts[n]; h.mysqld && !h.frozen && !h.ro && (!h.semisync || len(w.ackers(h)) >= h.k) {
			writers = append(writers, n)
		}
	}
	if len(writers) > 1 {
		w.fail("two servers can acknowledge writes: %v", writers)
	}
	r := w.newest // Whatever etcd was restored to.
	if r == nil || r.Term == 0 {
		return
	}
	// In a suspension nobody's word counts.
	if p := w.hosts[r.Primary]; p.mysqld && !p.ro && p.open == r.Term && !r.Suspended {
		for _, n := range w.ackers(p) {
			if !slices.Contains(r.InSync, n) {
				w.fail("%s acknowledges to %s without being listed", n, p.name)
			}
		}
	}
	holds, who := w.hosts[r.Primary].executed.Union(w.hosts[r.Primary].logged), r.Primary
	if p := r.Plan; p != nil && p.Phase == PhasePromote {
		holds, who = p.Target, "the target of "+p.ID
	}
	if lost := w.acked.Subtract(holds); !lost.IsEmpty() {
		w.fail("acknowledged writes are lost: %s lacks %s", who, lost)
	}
}

// ackers are those whose acknowledgement would reach the server now.
func (w *world) ackers(h *host) []string {
	var out []string
	for _, n := range w.names {
		if f := w.hosts[n]; f.acks && f.source == h.name && w.attached(f) != nil {
			out = append(out, n)
		}
	}
	return out
}

// --- time ---

// tick lets 20 ms pass in which everything happens that can.
func (w *world) tick() {
	w.helper()
	w.now = w.now.Add(20 * time.Millisecond)
	for _, n := range w.names {
		h := w.hosts[n]
		if h.starting {
			w.start(n)
		}
		if h.mysqld && !h.ro && len(h.waiting) < 3 && w.rng.IntN(4) == 0 {
			w.begin(h, true)
		}
		w.work(h)
		w.report(h)
		w.receive(h)
		w.apply(h)
		w.hear(h)
		w.probe(h)
		w.check()
	}
	w.judge()
	w.check()
}

// until ticks until the condition holds, for at most two minutes.
func (w *world) until(what string, done func() bool) {
	w.helper()
	for range 6000 {
		if done() {
			return
		}
		w.tick()
	}
	w.fail("never came: %s; the leader says %s (%s), waits %v", what, w.last.Reason, w.last.Detail, w.last.Waits)
}

// isOpen tells whether the server takes writes in the record's term and the
// leader has nothing left to do.
func (w *world) isOpen(name string) bool {
	r := w.record
	return r != nil && r.Primary == name && r.Plan == nil && w.hosts[name].open == r.Term && r.Term > 0
}

func (w *world) openAnywhere() bool { return w.record != nil && w.isOpen(w.record.Primary) }

// writes tells whether clients can write: something new was acknowledged.
func (w *world) writes(within string) {
	w.helper()
	before := w.acked
	w.until("a write is acknowledged "+within, func() bool { return !w.acked.Equal(before) })
}

// heal brings everything back.
func (w *world) heal() {
	w.dropped = make(map[string]bool)
	for _, n := range w.names {
		w.boot(n)
	}
	for _, h := range w.hosts {
		h.frozen, h.slow = false, false
	}
	w.note("all is well")
}

// helper marks the caller as a helper of the test, where there is one.
func (w *world) helper() {
	if w.t != nil {
		w.t.Helper()
	}
}
