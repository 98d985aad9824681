package decide

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mysqlha/mysqlha/replication/gtid"
)

// The simulation plays schedules of single events on the model of servers,
// daemons, network and etcd, with several leaders at a time: each judges by its
// own late copy of etcd and its own late probes, with the real Decide, and what
// it decides is written later, if its guards still hold. A schedule is drawn
// from a seed, is a list that can be played again with parts left out, and so
// can be shrunk.

// event is one thing that happens. It means something whatever happened before,
// or nothing, so that any part of a schedule can be left out.
type event struct {
	kind eventKind
	a, b uint8
	n    uint16
}

type eventKind uint8

// The events; the faults come last.
const (
	evWrite   eventKind = iota // a client writes at server a
	evDeliver                  // etcd's state arrives at daemon a
	evStep                     // daemon a does one small step of its spec
	evReport                   // daemon a makes up its status
	evPublish                  // that status arrives in etcd
	evReceive                  // replica a receives one transaction, and acknowledges
	evApply                    // replica a applies one transaction
	evHear                     // the oldest acknowledgement arrives at source a
	evPoll                     // daemon a reads its server's figures
	evAsk                      // leader b asks daemon a for them
	evAnswer                   // the answer arrives at leader b, which judges
	evPing                     // leader b asks mysqld a, and judges
	evSync                     // etcd's state arrives at leader b, which judges
	evCommit                   // what leader b decided arrives in etcd
	evOrphan                   // a transaction that was given up arrives in etcd
	evPass                     // n ms pass

	evKill     // mysqld a dies
	evPower    // host a loses power, and n per mille of its relay log
	evDaemon   // daemon a dies
	evIsolate  // daemon a loses etcd
	evCut      // a and b lose each other
	evFreeze   // mysqld a stands still
	evSlow     // the receiver of a receives nothing more
	evThaw     // mysqld a goes on
	evStart    // mysqld a is started by its supervisor
	evBoot     // host a starts
	evEtcdBack // daemon a reaches etcd again
	evJoin     // the network is whole again
	evElect    // daemon a is elected; the old leader does not know
	evForget   // the oldest of several leaders learns that it leads no more
	evGiveUp   // leader b will give its next transaction up, which goes on its way alone
	evHeal     // everything is well
	evClone    // a diverged server is built anew from the primary
	evPolicy   // the operator asks for another k or durability
	evBackup   // etcd is backed up
	evRestore  // etcd is restored from that backup
	evKinds
)

// weights are how often each event is drawn. Faults are drawn less often, and
// more of them mend than break.
func weights(o simOptions) [evKinds]int {
	w := [evKinds]int{evWrite: 60, evDeliver: 60, evStep: 170, evReport: 60, evPublish: 60, evReceive: 140, evApply: 90, evHear: 80,
		evPoll: 60, evAsk: 60, evAnswer: 60, evPing: 50, evSync: 70, evCommit: 60, evOrphan: 2, evPass: 25,
		evKill: 2, evPower: 2, evDaemon: 1, evIsolate: 1, evCut: 2, evFreeze: 3, evSlow: 3, evThaw: 5, evStart: 8, evBoot: 4, evEtcdBack: 3, evJoin: 3,
		evElect: 2, evForget: 2, evGiveUp: 3, evHeal: 2, evClone: 4, evPolicy: 1}
	if o.noPower {
		w[evPower] = 0
	}
	if !o.policies {
		w[evPolicy] = 0
	}
	if o.restores {
		w[evBackup], w[evRestore] = 2, 1
	}
	if o.broken != nil && o.broken.faults != nil {
		clear(w[evKill:])
		for kind, weight := range o.broken.faults {
			w[kind] = weight
		}
	}
	return w
}

// simOptions are what a run is like, all drawn from its seed.
type simOptions struct {
	servers, acks               int
	durability                  Durability
	noPower, policies, restores bool
	broken                      *brokenRule
}

func optionsOf(seed uint64, broken *brokenRule) simOptions {
	rng := rand.New(rand.NewPCG(seed, 7))
	o := simOptions{servers: 3 + rng.IntN(3), acks: 1 + rng.IntN(2), durability: DurabilityLossless,
		noPower: rng.IntN(3) == 0, policies: rng.IntN(2) == 0, restores: rng.IntN(8) == 0, broken: broken}
	if broken != nil && broken.faults != nil {
		o.servers = 3
	}
	if o.servers == 3 {
		o.acks = 1
	}
	switch rng.IntN(6) {
	case 0:
		o.durability = DurabilityAvailable
	case 1:
		o.durability = DurabilityAsync
	}
	if broken != nil {
		o.noPower, o.restores = broken.noPower, broken.restores
		if broken.faults != nil {
			o.durability, o.policies = DurabilityLossless, false
		}
		if broken.durability != "" {
			o.durability = broken.durability
		}
	}
	return o
}

// simulated is one run.
type simulated struct {
	*world
	o       simOptions
	epoch   int // of the leader whose key stands in etcd
	leaders []*simLeader
	orphans []*transaction
	outbox  map[string]Status
	polled  map[string]polled
	backup  *etcdCopy
	paused  bool // etcd was restored; the cluster may stand still by name
	stats   stats
	reasons map[Reason]int
}

type stats struct {
	Steps, Events                                      int
	Failovers, Removals, Restarts, AcksRaised, Acks    int
	Suspended, Resumed, Alone, AsyncFailovers          int
	Rewinds, RewindsRefused                            int
	Elections, Refused, Orphans, Clones, Restores      int
	Abandoned, Superseded, ChosenAgain, EndOpen, Waits int
}

type polled struct {
	live Live
	at   time.Time
}

// etcdCopy is etcd's state as somebody has it.
type etcdCopy struct {
	rev, recordRev int64
	record         *Record
	specs          map[string]SpecAt
	statuses       map[string]Status
	members        map[string]Member
}

// simLeader is one daemon that believes that it leads.
type simLeader struct {
	name   string
	epoch  int
	since  time.Time
	etcd   etcdCopy
	seen   map[string]Observation
	absent map[string]time.Time
	asked  map[string]polled
	spared map[string]time.Time
	// phase is what the open plan has come to, seen since planSeen.
	phase    string
	planSeen time.Time
	pending  *transaction
	// givesUp: the next one goes on its way alone.
	givesUp bool
	last    Decision
}

// transaction is a change on its way to etcd with its guards.
type transaction struct {
	epoch   int
	base    int64
	specs   map[string]int64
	change  Change
	decided Decision
}

type violation struct{ what string }

// play plays a schedule and returns what it broke, "" for nothing.
func play(o simOptions, schedule []event, quiet bool) (s *simulated, broke string, at int) {
	s = newSimulated(o, quiet)
	at = -1
	defer func() {
		if v := recover(); v != nil {
			found, ours := v.(violation)
			if !ours {
				panic(v)
			}
			broke = found.what
		}
	}()
	for i, e := range schedule {
		at = i
		s.do(e)
		s.check()
	}
	at = len(schedule)
	s.settle()
	return s, "", at
}

func newSimulated(o simOptions, quiet bool) *simulated {
	names := []string{"a", "b", "c", "d", "e"}[:o.servers]
	w := &world{rng: rand.New(rand.NewPCG(1, 1)), s: testSettings(), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		specs: make(map[string]SpecAt), statuses: make(map[string]Status), names: names, hosts: make(map[string]*host),
		dropped: make(map[string]bool), broken: o.broken, quiet: quiet, violated: func(what string) { panic(violation{what}) }}
	w.s.RequiredAcks, w.s.Durability, w.s.Silenced, w.s.MaxLag = o.acks, o.durability, modelFence+2*time.Second, 0
	for _, n := range names {
		w.hosts[n] = &host{name: n, daemon: true, etcd: true, locked: make(map[string]bool), state: SpecWorking}
		w.start(n)
	}
	s := &simulated{world: w, o: o, outbox: make(map[string]Status), polled: make(map[string]polled)}
	w.weak = o.durability != DurabilityLossless
	s.elect(names[len(names)-1])
	s.calm(4000, func() bool { return s.record != nil && s.record.Term == 1 && s.record.Plan == nil })
	if s.record == nil || s.record.Term != 1 {
		s.fail("bootstrap never ended: %+v", s.leaders[0].last)
	}
	return s
}

func (s *simulated) elect(name string) {
	s.epoch++
	s.stats.Elections++
	l := &simLeader{name: name, epoch: s.epoch, since: s.now, seen: make(map[string]Observation), absent: make(map[string]time.Time), asked: make(map[string]polled), spared: make(map[string]time.Time)}
	s.sync(l)
	s.leaders = append(s.leaders, l)
	if len(s.leaders) > 3 {
		s.leaders = s.leaders[1:]
	}
	s.note("%s leads (epoch %d)", name, s.epoch)
}

func (s *simulated) do(e event) {
	s.stats.Events++
	s.now = s.now.Add(400 * time.Microsecond)
	a, b := s.names[int(e.a)%len(s.names)], s.names[int(e.b)%len(s.names)]
	h := s.hosts[a]
	l := s.leaders[len(s.leaders)-1]
	if e.b%4 == 0 {
		l = s.leaders[int(e.n)%len(s.leaders)] // Perhaps one that leads no more.
	}
	if e.kind >= evKill {
		s.misfortunes(e, a, b, l)
		return
	}
	switch e.kind {
	case evWrite:
		if h.mysqld && !h.frozen && !h.ro && len(h.waiting) < 4 {
			s.begin(h, true)
		}
	case evDeliver:
		s.deliver(h)
	case evStep:
		if h.starting {
			s.start(a)
		}
		s.step(h)
	case evReport:
		if _, under := s.outbox[a]; h.daemon && !under {
			s.outbox[a] = h.status()
		}
	case evPublish:
		s.publishStatus(h)
	case evReceive:
		s.receive(h)
	case evApply:
		s.apply(h)
	case evHear:
		s.hear(h)
	case evPoll:
		if h.daemon {
			if p, known := s.polled[a]; known && h.frozen {
				p.live.Answers = false
				s.polled[a] = p
			} else {
				s.polled[a] = polled{s.figures(h), s.now}
			}
		}
	case evAsk:
		s.ask(l, h)
	case evAnswer:
		s.answered(l, a)
	case evPing:
		s.ping(l, h)
	case evSync:
		if newest := s.hosts[s.leaders[len(s.leaders)-1].name]; !(newest.daemon && newest.etcd) && h.daemon && h.etcd && e.n%8 == 0 {
			s.elect(a) // Its lease has run out.
		}
		if s.hosts[l.name].daemon && s.hosts[l.name].etcd {
			s.sync(l)
			s.judgeBy(l)
		}
	case evCommit:
		s.commit(l)
	case evOrphan:
		if len(s.orphans) > 0 {
			t := s.orphans[int(e.n)%len(s.orphans)]
			s.orphans = slices.DeleteFunc(s.orphans, func(o *transaction) bool { return o == t })
			s.stats.Orphans++
			s.arrive(t)
		}
	case evPass:
		s.pass(time.Duration(e.n%40) * time.Millisecond)
	}
}

// pass lets time pass; primaries that nothing proves current any more close.
func (s *simulated) pass(d time.Duration) {
	s.now = s.now.Add(d)
	for _, n := range s.names {
		if h := s.hosts[n]; h.mysqld && h.open != 0 && !h.semisync && s.now.Sub(h.control) > modelFence {
			s.note("%s: fenced", n)
			s.kill(n, false)
		}
	}
}

func (s *simulated) publishStatus(h *host) {
	st, under := s.outbox[h.name]
	if !under || !h.daemon || !h.etcd {
		return
	}
	s.statuses[h.name] = st
	s.rev++
	delete(s.outbox, h.name)
}

func (s *simulated) ask(l *simLeader, h *host) {
	p, ok := s.polled[h.name]
	if ok && h.daemon && s.hosts[l.name].daemon && s.linked(l.name, h.name) {
		p.live.Age = s.now.Sub(p.at)
		l.asked[h.name] = polled{p.live, s.now}
	}
}

func (s *simulated) answered(l *simLeader, name string) {
	p, ok := l.asked[name]
	if !ok || !s.hosts[l.name].daemon {
		return
	}
	delete(l.asked, name)
	// What the daemon says of commits is read when it answers.
	p.live.CommitAge = s.now.Sub(s.hosts[name].committed)
	l.seen[name] = l.seen[name].Heard(p.live, p.at, s.now)
	s.judgeBy(l)
}

func (s *simulated) ping(l *simLeader, h *host) {
	if !s.hosts[l.name].daemon {
		return
	}
	seen := l.seen[h.name]
	switch reached := s.linked(l.name, h.name); {
	case h.mysqld && !h.frozen && reached:
		seen.SQLAt, seen.SQLFailures, seen.SQLFailure, seen.Closed = s.now, 0, FailureNone, h.ro
	case reached && h.daemon && !h.frozen:
		seen.SQLFailures, seen.SQLFailure = seen.SQLFailures+1, FailureRefused
	default:
		seen.SQLFailures, seen.SQLFailure = seen.SQLFailures+1, FailureSilent
	}
	l.seen[h.name] = seen
	s.judgeBy(l)
}

func (s *simulated) copyEtcd() etcdCopy {
	members := make(map[string]Member)
	for _, n := range s.names {
		if s.now.Sub(s.hosts[n].renewed) < leaseTime {
			members[n] = Member{Server: n, Account: Account{Server: n}}
		}
	}
	return etcdCopy{s.rev, s.recordRev, s.record, maps.Clone(s.specs), maps.Clone(s.statuses), members}
}

func (s *simulated) sync(l *simLeader) {
	l.etcd = s.copyEtcd()
	for _, n := range s.names {
		if _, lives := l.etcd.members[n]; lives {
			delete(l.absent, n)
		} else if _, missed := l.absent[n]; !missed {
			l.absent[n] = s.now
		}
	}
}

func (s *simulated) viewOf(l *simLeader) View {
	c := l.etcd
	phase := ""
	if c.record != nil && c.record.Plan != nil {
		phase = c.record.Plan.ID + string(c.record.Plan.Phase)
	}
	if phase != l.phase {
		l.phase, l.planSeen = phase, s.now
	}
	v := View{RecordSeen: s.hosts[l.name].recordSeen, PlanSeen: l.planSeen, Spared: l.spared, Self: l.name, LeadingSince: l.since, Servers: s.names, Record: c.record, Revision: c.recordRev, Policy: s.policy,
		Specs: c.specs, Statuses: c.statuses, Members: c.members, Absent: l.absent, Seen: l.seen}
	if b := s.o.broken; b != nil && b.view != nil {
		b.view(&v)
	}
	return v
}

// judgeBy lets a leader decide, unless it waits for what it decided before.
func (s *simulated) judgeBy(l *simLeader) {
	if l.pending != nil {
		return
	}
	v := s.viewOf(l)
	d := Decide(v, s.s, s.now)
	s.stats.Steps++
	if s.reasons != nil {
		s.reasons[d.Reason]++
	}
	l.last = d
	if d.Change == nil {
		return
	}
	if s.o.broken == nil {
		for _, fault := range faults(v, d.Change, s.s, s.now) {
			s.fail("%s breaks %s", d.Reason, fault)
		}
	} else if s.o.broken.decision != nil {
		s.o.broken.decision(v, &d)
	}
	t := &transaction{epoch: l.epoch, base: l.etcd.recordRev, specs: make(map[string]int64), change: *d.Change, decided: d}
	for name := range d.Change.Specs {
		t.specs[name] = l.etcd.specs[name].Revision
	}
	if l.givesUp {
		l.givesUp, s.orphans = false, append(s.orphans, t)
		return
	}
	l.pending = t
}

func (s *simulated) commit(l *simLeader) {
	if l.pending == nil || !s.hosts[l.name].daemon || !s.hosts[l.name].etcd {
		return
	}
	t := l.pending
	l.pending = nil
	s.arrive(t)
	if h := t.change.History; h != nil && h.Result != "completed" {
		l.spared[h.Plan.Server] = s.now.Add(5 * time.Second)
		l.spared[PausedPlan(h.Plan.Kind)] = s.now.Add(5 * time.Second)
	}
	s.sync(l)
}

// arrive writes a transaction if its guards hold.
func (s *simulated) arrive(t *transaction) {
	holds := t.epoch == s.epoch && t.base == s.recordRev
	for name, rev := range t.specs {
		holds = holds && s.specs[name].Revision == rev
	}
	if !holds && !s.broken.is(noGuards) {
		s.stats.Refused++
		return
	}
	before := s.record
	s.world.write(t.decided)
	s.count(before, t.change)
}

// count keeps the figures of the report, and what an async cluster may lose.
func (s *simulated) count(before *Record, c Change) {
	if c.Record == nil || before == nil {
		return
	}
	after := c.Record
	if after.Suspended && !before.Suspended {
		s.weak = true
		s.stats.Suspended++
		if after.Term > before.Term && after.Durability == DurabilityAvailable {
			s.stats.Alone++
		}
	}
	if after.RequiredAcks != before.RequiredAcks {
		s.stats.Acks++
	}
	if p := after.Plan; p != nil && p.Kind == PlanFailover && p.Phase == PhasePromote {
		if b := before.Plan; b != nil && b.Phase == PhasePromote && b.Candidate != p.Candidate {
			s.stats.ChosenAgain++
		}
		if before.Suspended && before.Durability == DurabilityAsync {
			s.acked = s.acked.Subtract(s.acked.Subtract(p.Target)) // What async allows to lose.
		}
	}
	h := c.History
	if h == nil {
		return
	}
	switch {
	case strings.HasPrefix(h.Result, "abandoned"):
		s.stats.Abandoned++
	case strings.HasPrefix(h.Result, "superseded"):
		s.stats.Superseded++
	case h.Plan.Kind == PlanFailover:
		s.stats.Failovers++
		if after.Durability == DurabilityAsync {
			s.stats.AsyncFailovers++
		}
	case h.Plan.Kind == PlanRemove:
		s.stats.Removals++
	case h.Plan.Kind == PlanRaiseAcks:
		s.stats.AcksRaised++
	case h.Plan.Kind == PlanResume:
		s.stats.Resumed++
	}
}

func (s *simulated) misfortunes(e event, a, b string, l *simLeader) {
	h := s.hosts[a]
	switch e.kind {
	case evKill:
		s.kill(a, false)
		s.copies()
	case evPower:
		if h.mysqld {
			s.powerCut = true
			s.end(a, len(h.relay)*int(e.n%1000)/1000)
		}
		s.lose(a)
	case evDaemon:
		s.lose(a)
	case evIsolate:
		h.etcd = false
	case evCut:
		s.dropped[a+b] = a != b
	case evFreeze:
		h.frozen = h.mysqld
	case evSlow:
		h.slow = h.mysqld
	case evThaw:
		h.frozen, h.slow = false, false
	case evStart:
		s.start(a)
	case evBoot:
		s.boot(a)
	case evEtcdBack:
		h.etcd, h.daemon = true, true
	case evJoin:
		s.dropped = make(map[string]bool)
	case evElect:
		if h.daemon && h.etcd {
			s.elect(a)
		}
	case evForget:
		if len(s.leaders) > 1 {
			s.leaders = s.leaders[1:]
		}
	case evGiveUp:
		l.givesUp = true
	case evHeal:
		s.heal()
	case evClone:
		s.rebuild(h)
	case evPolicy:
		s.want(e)
	case evBackup:
		c := s.copyEtcd()
		s.backup = &c
	case evRestore:
		s.restore()
	}
}

// lose ends a daemon; what it knew and had not written is gone.
func (s *simulated) lose(name string) {
	h := s.hosts[name]
	h.daemon = false
	delete(s.outbox, name)
	delete(s.polled, name)
	h.spec, h.workRun, h.state, h.problem, h.held, h.acksOff = SpecAt{}, 0, SpecWorking, "", Held{}, false
}

// want changes what the operator wants.
func (s *simulated) want(e event) {
	p := Policy{RequiredAcks: 1 + int(e.n)%2}
	if len(s.names) == 3 {
		p.RequiredAcks = 1
	}
	switch e.n / 2 % 5 {
	case 0:
		p.Durability = DurabilityAvailable
	case 1:
		p.Durability = DurabilityAsync
	default:
		p.Durability = DurabilityLossless
	}
	s.policy = &p
	s.note("the operator wants %+v", p)
}

// rebuild makes a diverged server a copy of the primary, as a human would who has
// looked at what it has.
func (s *simulated) rebuild(h *host) {
	r := s.record
	if r == nil || s.specs[h.name].Errant.IsEmpty() || h.name == r.Primary || slices.Contains(r.InSync, h.name) || r.Plan != nil || !h.mysqld {
		return
	}
	p := s.hosts[r.Primary]
	if !p.mysqld || p.open != r.Term {
		return
	}
	s.kill(h.name, false)
	h.copyOf(p)
	s.stats.Clones++
	s.note("%s: built anew from %s", h.name, p.name)
	s.start(h.name)
}

// restore puts etcd back to its backup: revisions and all.
func (s *simulated) restore() {
	if s.backup == nil || s.backup.record == nil || s.paused {
		return
	}
	b := s.backup
	r := b.record.clone()
	s.rev, s.recordRev, s.record, s.specs, s.statuses = b.rev, b.recordRev, &r, maps.Clone(b.specs), maps.Clone(b.statuses)
	s.paused = true
	s.stats.Restores++
	known := uint64(0)
	for _, h := range s.hosts {
		known = max(known, h.recordSeen)
	}
	if known <= r.Version {
		s.newest = s.record // What came after it is as good as never written.
	}
	s.leaders, s.orphans = nil, nil
	for _, n := range s.names {
		// A status is written when it changes, and etcd's copy of it is not looked at.
		delete(s.outbox, n)
	}
	s.note("etcd is restored: term %d of %s", r.Term, r.Primary)
	s.elect(s.names[0])
}

// copies: without power cuts, and while the primary always waited, whatever was
// acknowledged is on two servers at least (S2, S8).
func (s *simulated) copies() {
	if s.powerCut || s.weak || s.policy != nil {
		return
	}
	var once, twice gtid.Set
	for _, n := range s.names {
		h := s.hosts[n]
		has := h.all().Union(h.logged)
		for _, c := range h.waiting {
			has = has.Union(c.tx)
		}
		twice = twice.Union(once.Subtract(once.Subtract(has)))
		once = once.Union(has)
	}
	if few := s.acked.Subtract(twice); !few.IsEmpty() {
		s.fail("S8: acknowledged writes are on one server alone although no host lost power: %s", few)
	}
}

// calm lets everything happen in turn, without faults, until done.
func (s *simulated) calm(rounds int, done func() bool) bool {
	for i := range rounds {
		if done() {
			return true
		}
		for _, k := range []eventKind{evDeliver, evStep, evReport, evPublish, evReceive, evApply, evHear, evPoll, evAsk, evAnswer, evPing} {
			for a := range s.names {
				s.do(event{kind: k, a: uint8(a), b: 1})
				s.check()
			}
		}
		if i%3 == 0 {
			s.do(event{kind: evWrite, a: uint8(i / 3), b: 1})
		}
		s.do(event{kind: evSync, b: 1})
		s.do(event{kind: evCommit, b: 1})
		s.do(event{kind: evPass, b: 1, n: 20})
		s.check()
	}
	return done()
}

// settle: with everything back the cluster opens, or says what it waits for.
func (s *simulated) settle() {
	s.heal()
	s.leaders = s.leaders[len(s.leaders)-1:]
	if l := s.hosts[s.leaders[0].name]; !l.daemon || !l.etcd {
		s.elect(s.names[0])
		s.leaders = s.leaders[1:]
	}
	open := s.calm(500, func() bool {
		for _, n := range s.names {
			s.start(n)
		}
		r := s.record
		return r.Plan == nil && s.hosts[r.Primary].open == r.Term
	})
	s.stats.Clones += s.clones
	s.stats.Restarts, s.stats.Rewinds, s.stats.RewindsRefused = s.stats.Restarts+s.restarts, s.rewinds, s.rewindsRefused
	last := s.leaders[len(s.leaders)-1].last
	switch {
	case open:
		s.stats.EndOpen++
	case len(last.Waits) > 0:
		s.stats.Waits++
	default:
		s.fail("with everything back the cluster neither opens nor says what it waits for: %+v", last)
	}
}

// draw draws a schedule: a few faults close together, then a stretch in which
// the cluster may get on with what they set off, and so on.
func draw(seed uint64, o simOptions, events int) []event {
	rng := rand.New(rand.NewPCG(seed, 11))
	weights := weights(o)
	one := func(from, to eventKind) event {
		total := 0
		for _, w := range weights[from:to] {
			total += w
		}
		at, kind := rng.IntN(total), from
		for ; at >= weights[kind]; kind++ {
			at -= weights[kind]
		}
		return event{kind: kind, a: uint8(rng.IntN(60)), b: uint8(rng.IntN(60)), n: uint16(rng.IntN(1 << 16))}
	}
	schedule := make([]event, 0, events)
	for len(schedule) < events {
		from, to := evKill, evThaw
		if rng.IntN(3) == 0 || o.broken != nil && o.broken.faults != nil {
			to = evKinds
		}
		for range rng.IntN(3) {
			schedule = append(schedule, one(from, to))
			for range rng.IntN(30) {
				schedule = append(schedule, one(0, evKill))
			}
		}
		for range 20 + rng.IntN(20<<rng.IntN(8)) {
			schedule = append(schedule, one(0, evKill))
			if rng.IntN(300) == 0 {
				schedule = append(schedule, one(evThaw, evElect+1)) // Supervisors, and time, mend things.
			}
		}
	}
	return schedule[:events]
}

// shrink leaves out what the violation does not need.
func shrink(o simOptions, schedule []event, broke string, budget int) []event {
	rule := ruleOf(broke)
	for size := len(schedule) / 2; size > 0 && budget > 0; size /= 2 {
		for at := 0; at < len(schedule) && budget > 0; {
			budget--
			shorter := slices.Delete(slices.Clone(schedule), at, min(at+size, len(schedule)))
			if _, again, until := play(o, shorter, true); again != "" && ruleOf(again) == rule {
				schedule = shorter[:min(until+1, len(shorter))]
				continue
			}
			at += size
		}
	}
	return schedule
}

// ruleOf is what two violations of the same kind share.
func ruleOf(broke string) string {
	head, _, _ := strings.Cut(broke, "\n")
	return strings.Join(strings.Fields(head)[:min(4, len(strings.Fields(head)))], " ")
}

func (s *stats) add(o stats) {
	s.Steps, s.Events = s.Steps+o.Steps, s.Events+o.Events
	s.Failovers, s.Removals, s.Restarts = s.Failovers+o.Failovers, s.Removals+o.Removals, s.Restarts+o.Restarts
	s.AcksRaised, s.Acks, s.Suspended, s.Resumed = s.AcksRaised+o.AcksRaised, s.Acks+o.Acks, s.Suspended+o.Suspended, s.Resumed+o.Resumed
	s.Alone, s.AsyncFailovers, s.Elections, s.Refused = s.Alone+o.Alone, s.AsyncFailovers+o.AsyncFailovers, s.Elections+o.Elections, s.Refused+o.Refused
	s.Orphans, s.Clones, s.Restores, s.Abandoned = s.Orphans+o.Orphans, s.Clones+o.Clones, s.Restores+o.Restores, s.Abandoned+o.Abandoned
	s.Rewinds, s.RewindsRefused = s.Rewinds+o.Rewinds, s.RewindsRefused+o.RewindsRefused
	s.Superseded, s.ChosenAgain, s.EndOpen, s.Waits = s.Superseded+o.Superseded, s.ChosenAgain+o.ChosenAgain, s.EndOpen+o.EndOpen, s.Waits+o.Waits
}

func (s stats) String() string {
	return fmt.Sprintf(`%d steps (events handled by the real judgement) of %d events
  failovers completed %d (of them async %d), chosen again %d, superseded %d, abandoned %d
  removals %d, restarts of mysqld %d, changes of k %d (raised by proof %d)
  suspensions %d (opened alone %d), resumptions %d, rewinds %d (refused %d), servers built anew %d
  elections %d, transactions refused by their guards %d, late ones %d, etcd restored %d
  in the end %d clusters were open, %d waited by name`,
		s.Steps, s.Events, s.Failovers, s.AsyncFailovers, s.ChosenAgain, s.Superseded, s.Abandoned,
		s.Removals, s.Restarts, s.Acks, s.AcksRaised, s.Suspended, s.Alone, s.Resumed, s.Rewinds, s.RewindsRefused, s.Clones,
		s.Elections, s.Refused, s.Orphans, s.Restores, s.EndOpen, s.Waits)
}

// tell fails the test with the seed and a shrunk schedule.
func tell(t *testing.T, o simOptions, seed uint64, schedule []event, broke string, at int) {
	t.Helper()
	short := shrink(o, schedule[:min(at+1, len(schedule))], broke, 400)
	s, again, _ := play(o, short, false)
	head, _, _ := strings.Cut(cmp.Or(again, broke), "\n")
	t.Errorf("seed %d (%+v): %s\nthe schedule, shrunk from %d to %d events, plays:\n%s", seed, o, head, at+1, len(short), strings.Join(s.trace[max(0, len(s.trace)-80):], "\n"))
}
