package decide

import (
	"maps"
	"slices"
	"strconv"
	"time"
)

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
	case evRoster:
		s.wantServers(a, e.n%2 == 0)
	case evSwitch:
		if e.n%2 == 0 {
			a = "" // Whoever is best.
		}
		s.wantSwitch(a)
	case evHold:
		s.hold(e.n)
	case evRules:
		s.rules(a, e.n)
	case evHand:
		if e.b%3 == 0 {
			a = ""
		}
		s.wantFailover(a, e.n)
	case evSpoil:
		if r := s.record; r != nil && r.Term > 0 && a != r.Primary && (r.Plan == nil || a != r.Plan.Candidate) {
			h.unusable = true
			s.kill(a, false)
			s.note("%s: must be built anew", a)
		}
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
	s.wish(func(p *Policy) {
		p.RequiredAcks = 1 + int(e.n)%2
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
		s.note("the operator wants %s with %d", p.Durability, p.RequiredAcks)
	})
}

// wish changes what the operator wants; leaders may still look at what was wanted.
func (s *simulated) wish(change func(*Policy)) {
	p := Policy{}
	if s.policy != nil {
		p = *s.policy
	}
	change(&p)
	s.policy = &p
}

// hold pauses the automation, ends a pause, or changes the cooldown.
func (s *simulated) hold(n uint16) {
	s.wish(func(p *Policy) {
		switch n % 4 {
		case 0:
			p.Pause = &Pause{Reason: "patching", Since: s.now}
			if n%8 == 0 {
				p.Pause.Until = s.now.Add(time.Duration(n%5000) * time.Millisecond)
			}
		case 1:
			p.Cooldown = &Cooldown{Failovers: 1 + int(n)%3, Within: time.Second}
		case 2:
			p.Cooldown = &Cooldown{}
		default:
			p.Pause = nil
		}
		s.note("the operator wants pause %v, cooldown %v", p.Pause, p.Cooldown)
	})
}

// rules says who shall be primary.
func (s *simulated) rules(server string, n uint16) {
	s.wish(func(p *Policy) {
		rules := maps.Clone(p.Candidates)
		if rules == nil {
			rules = make(map[string]CandidateRule)
		}
		rules[server] = CandidateRule{Preference: Preferences()[int(n)%len(Preferences())], Priority: int(n/3) % 3, Zone: "xy"[n%2 : n%2+1]}
		p.Candidates = rules
		s.note("the operator wants %s to be %+v", server, rules[server])
	})
}

// wantFailover has the operator ask for a failover. What is said to be off is off.
func (s *simulated) wantFailover(to string, n uint16) {
	if s.record == nil {
		return
	}
	s.requests++
	q := &FailoverRequest{ID: strconv.Itoa(s.requests), To: to, At: s.now, EvenIfWell: n%2 == 0}
	if s.o.overrides && n%4 != 0 {
		q.To, q.AllowDataLoss, q.EvenIfWell = "", true, true
	}
	if p := s.hosts[s.record.Primary]; q.AllowDataLoss && !p.mysqld && !p.starting {
		q.Off = p.name
	}
	s.wish(func(p *Policy) { p.Failover = q })
	s.note("the operator wants a failover %+v", *q)
}

// wantServers has the operator want one server out, or all servers in.
func (s *simulated) wantServers(server string, out bool) {
	servers := s.servers()
	if out {
		servers = withoutServer(servers, server)
	}
	s.wish(func(p *Policy) { p.Servers = servers })
	s.note("the operator wants %v", ServerNames(servers))
}

// wantSwitch has the operator ask for another primary.
func (s *simulated) wantSwitch(to string) {
	s.requests++
	q := &SwitchoverRequest{ID: strconv.Itoa(s.requests), To: to, At: s.now}
	s.wish(func(p *Policy) { p.Switchover = q })
	s.note("the operator wants %s to be primary", to)
}

// servers are all of them, in the cluster or not.
func (s *simulated) servers() []Server {
	var all []Server
	for _, n := range s.names {
		all = append(all, Server{Name: n, MySQL: n + ":3306", API: n + ":8008"})
	}
	return all
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
