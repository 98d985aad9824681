package decide

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/mysqlha/mysqlha/replication/gtid"
)

// The simulation plays schedules of single events on the model of servers,
// daemons, network and etcd, with several leaders at a time: each judges by its
// own late copy of etcd and its own late probes, with the real Decide, and what
// it decides is written later, if its guards still hold. A schedule is drawn
// from a seed, is a list that can be played again with parts left out, and so
// can be shrunk.

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
	if o.roster {
		w.s.Lonely = 300 * time.Millisecond
	}
	w.s.RequiredAcks, w.s.Durability, w.s.Silenced, w.s.MaxLag = o.acks, o.durability, modelFence+2*time.Second, 0
	for _, n := range names {
		w.hosts[n] = &host{name: n, daemon: true, etcd: true, locked: make(map[string]bool), state: SpecWorking}
		w.start(n)
	}
	s := &simulated{world: w, o: o, outbox: make(map[string]Status), polled: make(map[string]polled)}
	w.weak = o.durability != DurabilityLossless
	s.wish(func(p *Policy) { p.Cooldown = &Cooldown{} }) // Else there would be few failovers.
	s.elect(names[len(names)-1])
	if o.adopted {
		s.replicateAlready()
		s.wish(func(p *Policy) { p.Bootstrap = &BootstrapRequest{ID: "adopt", Adopt: true} })
		s.stats.Adoptions++
	}
	s.calm(4000, func() bool { return s.record != nil && s.record.Term == 1 && (s.record.Plan == nil || o.adopted) })
	if s.record == nil || s.record.Term != 1 {
		s.fail("bootstrap never ended: %+v", s.leaders[0].last)
	}
	return s
}

// replicateAlready makes of the empty servers what somebody has set up by hand: one
// takes writes and acknowledges alone, the others replicate from it.
func (s *simulated) replicateAlready() {
	p := s.hosts[s.names[0]]
	p.ro, p.sro, s.weak = false, false, true
	for range 6 {
		s.begin(p, true)
	}
	for _, name := range s.names[1:] {
		h := s.hosts[name]
		h.source, h.receiver, h.contact = p.name, true, s.now
		for range 3 + s.rng.IntN(4) {
			s.receive(h)
		}
		s.apply(h)
	}
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
	if h := s.hosts[name]; s.o.roster && h.open != 0 && len(h.waiting) > 0 {
		p.live.CommitPending = p.live.CommitAge
	}
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
			members[n] = Member{Server: n, Account: Account{Server: n, ReplicationHash: "h"}}
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
		phase = c.record.Plan.ID + string(c.record.Plan.Phase) + fmt.Sprint(c.record.Plan.NewInSync)
	}
	if phase != l.phase {
		l.phase, l.planSeen = phase, s.now
	}
	v := View{RecordSeen: s.hosts[l.name].recordSeen, PlanSeen: l.planSeen, Spared: l.spared, Self: l.name, LeadingSince: l.since, Servers: s.names, Configured: s.servers(), Record: c.record, Revision: c.recordRev, Policy: s.policy,
		Specs: c.specs, Statuses: c.statuses, Members: c.members, Absent: l.absent, Seen: l.seen}
	if c.record != nil && len(c.record.Servers) > 0 {
		v.Servers = ServerNames(c.record.Servers)
	}
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
	if d.Reason == ReasonPaused || d.Reason == ReasonCooldown {
		s.stats.Held++
	}
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

// copies: without power cuts, and while the primary always waited, whatever was
// acknowledged is on two servers at least (S2, S8).
func (s *simulated) copies() {
	if s.powerCut || s.weak || s.o.policies {
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
	if s.o.roster {
		s.wantServers("", false)
	}
	if s.o.hands {
		s.wish(func(p *Policy) { p.Pause, p.Cooldown, p.Candidates = nil, &Cooldown{}, nil })
	}
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
		return r.Plan == nil && s.hosts[r.Primary].open == r.Term && len(r.Servers) == len(s.names)
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
