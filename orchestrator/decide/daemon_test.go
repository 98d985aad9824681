package decide

import (
	"time"

	"github.com/mysqlha/mysqlha/replication/gtid"
)

// The model's S9: how old a primary's newest proof may be.
const modelFence = 5 * time.Second

// work lets a daemon do the next small step of its newest spec, as the member
// package does.
func (w *world) work(h *host) {
	w.deliver(h)
	w.step(h)
}

// deliver brings what stands in etcd to the daemon.
func (w *world) deliver(h *host) {
	if !h.daemon || !h.etcd {
		return
	}
	h.renewed, h.control = w.now, w.now
	if r := w.record; r != nil && r.Version < h.recordSeen && !w.broken.obeysThePast() {
		return // etcd speaks of the past (S1).
	}
	if at := w.specs[h.name]; at.Revision >= h.spec.Revision || w.broken.obeysThePast() {
		h.spec = at
	}
	if r := w.record; r != nil {
		if r.Version > h.recordSeen || w.broken.obeysThePast() {
			h.recordSeen = r.Version
		}
		if r.Term > h.termSeen || w.broken.obeysThePast() {
			h.termSeen = r.Term
		}
		if h.open != 0 && r.Term > h.open && r.Primary != h.name {
			w.dethrone(h) // Superseded.
		}
	}
}

// dethrone ends a mysqld that clients may have written to (S10).
func (w *world) dethrone(h *host) {
	if w.broken.is(politeStop) {
		w.letGo(h)
	}
	w.kill(h.name, false)
}

func (w *world) step(h *host) {
	if h.daemon && h.frozen && h.openedRun == h.run && h.spec.Goal != GoalPrimary && h.spec.Goal != GoalDemote && h.spec.Revision != 0 {
		w.dethrone(h) // A kill needs nobody's answer.
		return
	}
	if h.daemon && h.mysqld && !h.frozen && h.spec.Revision != 0 && w.begun(h) {
		w.act(h)
	}
}

// current tells what a linearizable read of the record says.
func (w *world) current(h *host) bool {
	r := w.record
	return h.etcd && r.Term == h.spec.Term && r.Primary == h.name
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
	case h.spec.Goal == GoalPrimary && h.semisync == h.spec.Suspended && h.open != 0:
		h.state, h.step = SpecWorking, 0
		return true
	case h.spec.Goal == GoalFollow && (!h.receiver || h.acks != h.spec.Acks), h.spec.Goal == GoalPrimary && h.open != h.spec.Term:
		h.state, h.step = SpecWorking, 0
		return true
	}
	return false
}

func (w *world) act(h *host) {
	wasOpen := h.openedRun == h.run || !h.ro
	if wasOpen && h.spec.Goal != GoalPrimary && h.spec.Goal != GoalDemote {
		w.dethrone(h)
		return
	}
	if h.unusable && h.spec.Goal != GoalStand && h.spec.Goal != GoalClone {
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
	case GoalClone:
		w.clone(h)
	case GoalRevoke:
		if w.revoke(h) {
			if h.finish(); w.broken.is(receivedAlone) {
				h.held.Executed = gtid.Set{}
			}
			if w.broken.is(readBeforeStop) {
				h.held.Executed, h.held.Received = h.early, h.early
			}
		}
	case GoalFollow:
		w.follow(h)
	case GoalPromote:
		w.promote(h)
	case GoalPrimary:
		w.primary(h)
	case GoalDemote:
		w.demote(h)
	}
}

// demote cuts the clients, closes, and waits until nobody waits.
func (w *world) demote(h *host) {
	switch h.step++; {
	case h.step == 1:
		for i := range h.waiting {
			h.waiting[i].client = h.waiting[i].client && w.broken.is(cutNobody)
		}
		h.open, h.ro, h.sro = 0, true, true
	case len(h.waiting) > 0 && !w.broken.is(cutNobody):
	default:
		h.openedRun = 0
		h.finish()
	}
}

func (h *host) finish() {
	h.held = Held{Executed: h.executed, Received: h.received, Reported: h.executed}
	h.state = SpecDone
}

// revoke takes three steps: the switch, the receiver, the look.
func (w *world) revoke(h *host) bool {
	early := 0
	if w.broken.is(readBeforeStop) {
		early = 30 // Whoever reads too early may also be slow to stop.
	}
	switch h.step++; h.step {
	case 1:
		h.wish, h.early = false, h.all()
	case 2 + early:
		if !w.broken.is(noRevoke) {
			h.receiver, h.acks = false, false
		}
	default:
		return h.step > 2+early
	}
	return false
}

func (w *world) follow(h *host) {
	src := w.hosts[h.spec.Source]
	switch {
	case h.step == 0:
		if h.semisync && len(h.waiting) > 0 {
			w.letGo(h) // What a server does that is told not to wait.
		}
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
		h.followedTerm = max(h.followedTerm, h.spec.Term)
		h.finish()
	}
}

func (w *world) promote(h *host) {
	if h.spec.Source != "" && h.step == 0 && h.receiver && !h.all().Contains(h.spec.Target) {
		return // It has not received the last of it yet.
	}
	if !w.revoke(h) {
		return
	}
	if !h.executed.Contains(h.spec.Target) || len(h.relay) > 0 {
		return
	}
	h.semisync, h.k, h.sro = !h.spec.Suspended, h.spec.RequiredAcks, false
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
	case h.step == 0 && !isOpen && (!h.semisync || h.sro):
		h.receiver, h.acks, h.wish = false, false, false
		if len(h.relay) > 0 {
			return
		}
		if h.sro = false; !h.spec.Suspended {
			h.semisync = true
		}
		h.k, h.step = h.spec.RequiredAcks, 1
	case h.step == 0:
		if h.spec.Suspended != h.semisync {
			h.step = 1
			break
		}
		if h.spec.Suspended && !w.current(h) {
			return
		}
		if h.semisync = !h.spec.Suspended; !h.semisync {
			w.letGo(h)
		}
		h.step = 1
	case h.step == 1:
		h.k = h.spec.RequiredAcks
		w.answer(h)
		w.lock(h)
		h.step = 2
	case h.step == 2 && isOpen && !h.spec.Prove && (h.spec.Eject == "" || w.broken.is(noRemovalProof)):
		h.finish()
	case h.step == 2 && !isOpen && h.spec.Suspended:
		if w.current(h) && w.record.Suspended {
			w.openUp(h)
			h.finish()
		}
	case h.step == 2:
		if !isOpen {
			h.openedTerm, h.openedRun = h.spec.Term, h.run
		}
		h.own = w.begin(h, false)
		h.step = 3
	case h.executed.Contains(h.own):
		if !isOpen {
			w.openUp(h)
		}
		h.finish()
	}
}

func (w *world) openUp(h *host) {
	h.open, h.openedTerm, h.openedRun, h.ro, h.control = h.spec.Term, h.spec.Term, h.run, false, w.now
	w.note("%s: open in term %d, waits for replicas: %v", h.name, h.open, h.semisync)
}

// report writes the status.
func (w *world) report(h *host) {
	if h.daemon && h.etcd {
		w.put(h)
	}
}

func (w *world) put(h *host) { w.statuses[h.name] = h.status() }

func (h *host) status() Status {
	st := Status{Process: h.process(), StartID: h.startID(), OpenTerm: h.open, TermSeen: h.termSeen, ServerUUID: uuidOf(h.name), FollowedTerm: h.followedTerm,
		Empty: h.executed.IsEmpty() && h.received.IsEmpty() && h.mysqld}
	if h.followedTerm <= h.openedTerm {
		st.TailOf = h.openedTerm
	}
	if h.unusable {
		st.Unusable = CodeCloneUnfinished
	}
	if h.mysqld && h.workRun == int(h.spec.Revision)<<8|h.run&0xff {
		st.Plan = h.spec.Plan
		st.SpecRevision, st.State, st.Problem, st.Held = h.spec.Revision, h.state, h.problem, h.held
		st.Held.StartID, st.AcksOff = h.startID(), h.acksOff
	}
	if !h.mysqld && h.spec.Goal == GoalStand {
		st.SpecRevision, st.Plan, st.State = h.spec.Revision, h.spec.Plan, SpecDone
	}
	return st
}
