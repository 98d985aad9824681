package decide

import "github.com/mysqlha/mysqlha/replication/gtid"

// work lets a daemon do the next small step of its newest spec, as the member
// package does.
func (w *world) work(h *host) {
	if !h.daemon {
		return
	}
	if h.etcd {
		h.renewed = w.now
		if at := w.specs[h.name]; at.Revision >= h.spec.Revision {
			h.spec = at
		}
		if r := w.record; r != nil {
			h.termSeen = max(h.termSeen, r.Term)
			if h.open != 0 && r.Term > h.open && r.Primary != h.name {
				w.kill(h.name, false) // Superseded.
			}
		}
	}
	if !h.mysqld || h.spec.Revision == 0 {
		return
	}
	if w.begun(h) {
		w.act(h)
	}
}

// begun starts the work anew for a new spec, a new run of mysqld, or where what
// was done does not hold any more, and tells whether there is work.
func (w *world) begun(h *host) bool {
	if key := int(h.spec.Revision)<<8 | h.run&0xff; key != h.workRun {
		h.workRun, h.step, h.state, h.problem, h.held, h.own, h.acksOff = key, 0, SpecWorking, "", Held{}, gtid.Set{}, false
	}
	if h.spec.Term < h.termSeen {
		h.state, h.problem = SpecRefused, CodeTermWentBack
	}
	switch {
	case h.state == SpecRefused && h.problem == CodeDiverged:
		h.state, h.problem, h.step = SpecWorking, "", 0
		return true
	case h.state == SpecRefused:
		return false
	case h.state != SpecDone:
		return true
	case h.spec.Goal == GoalFollow && (!h.receiver || h.acks != h.spec.Acks), h.spec.Goal == GoalPrimary && h.open != h.spec.Term:
		h.state, h.step = SpecWorking, 0
		return true
	}
	return false
}

func (w *world) act(h *host) {
	wasOpen := h.openedRun == h.run || !h.ro
	if wasOpen && h.spec.Goal != GoalPrimary {
		w.kill(h.name, false)
		return
	}
	switch h.spec.Goal {
	case GoalInitialise:
		for range 2 {
			h.number++
			tx := gs(h.name + ":" + string(rune('0'+h.number)))
			h.write(tx)
			h.executed = h.executed.Union(tx)
		}
		h.finish()
	case GoalStand:
		h.wish, h.semisync, h.sro, h.receiver, h.acks = false, false, true, false, false
		h.finish()
	case GoalRevoke:
		if w.revoke(h) {
			h.finish()
		}
	case GoalFollow:
		w.follow(h)
	case GoalPromote:
		w.promote(h)
	case GoalPrimary:
		w.primary(h)
	}
}

func (h *host) finish() {
	h.held = Held{Executed: h.executed, Received: h.received, Reported: h.executed}
	h.state = SpecDone
}

// revoke takes three steps: the switch, the receiver, the look.
func (w *world) revoke(h *host) bool {
	switch h.step++; h.step {
	case 1:
		h.wish = false
	case 2:
		h.receiver, h.acks = false, false
	default:
		return true
	}
	return false
}

func (w *world) follow(h *host) {
	src := w.hosts[h.spec.Source]
	switch {
	case h.step == 0:
		h.semisync, h.sro = false, true
		if h.source != h.spec.Source || !h.receiver {
			there := h.spec.Target
			if there.IsEmpty() {
				if !src.mysqld || !w.linked(h.name, src.name) {
					return // It cannot be asked; tried again.
				}
				there = src.executed
			}
			h.wish, h.receiver, h.acks = false, false, false
			have := h.all()
			if h.source == h.spec.Source {
				have = h.executed.Subtract(h.received)
			}
			if !there.Contains(have) {
				h.state, h.problem = SpecRefused, CodeDiverged
				return
			}
			if h.source != src.name {
				h.received = gtid.Set{} // Changing the source empties it; the relay log stays.
				for _, tx := range h.relay {
					h.received = h.received.Union(tx)
				}
			}
			h.source = src.name
		}
		h.step = 1
	case h.step == 1:
		h.wish = h.spec.Acks
		h.step = 2
	case h.step == 2:
		h.receiver, h.acks, h.acksOff = true, h.wish, !h.wish
		h.step = 3
	case w.attached(h) != nil && h.all().Contains(h.spec.Target):
		h.finish()
	}
}

func (w *world) promote(h *host) {
	if h.step < 3 && !w.revoke(h) {
		return
	}
	if !h.executed.Contains(h.spec.Target) || len(h.relay) > 0 {
		return
	}
	h.semisync, h.k, h.sro = true, h.spec.RequiredAcks, false
	w.lock(h)
	h.finish()
}

func (w *world) lock(h *host) {
	for _, n := range w.names {
		h.locked[n] = true
	}
	for _, n := range h.spec.Attach {
		h.locked[n] = false
	}
	kept := h.flying[:0]
	for _, a := range h.flying {
		if !h.locked[a.from] {
			kept = append(kept, a)
		}
	}
	h.flying = kept
}

func (w *world) primary(h *host) {
	isOpen := h.open == h.spec.Term && h.open != 0
	switch {
	case h.step == 0 && !isOpen && !h.semisync:
		h.receiver, h.acks, h.wish = false, false, false
		if len(h.relay) > 0 {
			return
		}
		h.semisync, h.sro = true, false
		h.k = h.spec.RequiredAcks
	case h.step == 0:
		w.lock(h)
		h.step = 1
	case h.step == 1 && isOpen && h.spec.Eject == "":
		h.finish()
	case h.step == 1:
		h.own = w.begin(h, false)
		h.step = 2
	case h.executed.Contains(h.own):
		if !isOpen {
			h.open, h.openedRun, h.ro = h.spec.Term, h.run, false
			w.note("%s: open in term %d", h.name, h.open)
		}
		h.finish()
	}
}

// report writes the status.
func (w *world) report(h *host) {
	if h.daemon && h.etcd {
		w.put(h)
	}
}

func (w *world) put(h *host) {
	st := Status{Process: h.process(), StartID: h.startID(), OpenTerm: h.open, TermSeen: h.termSeen,
		Empty: h.executed.IsEmpty() && h.received.IsEmpty() && h.mysqld}
	if h.mysqld && h.workRun == int(h.spec.Revision)<<8|h.run&0xff {
		st.SpecRevision, st.State, st.Problem, st.Held = h.spec.Revision, h.state, h.problem, h.held
		st.Held.StartID, st.AcksOff = h.startID(), h.acksOff
	}
	w.statuses[h.name] = st
}
