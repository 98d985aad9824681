package decide

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mysqlha/mysqlha/replication/gtid"
)

// gate is the start gate of a server whose mysqld died. It tells whether mysqld
// may start, after having taken back what must be.
func (w *world) gate(h *host) bool {
	openRun := h.openedRun == h.run || w.broken.is(rewindAfterRun)
	if h.openedRun == 0 || !openRun { // No client has written to the last run.
		w.recover(h)
		return true
	}
	if !h.daemon || !h.etcd || w.record == nil || w.record.Version < h.recordSeen && !w.broken.obeysThePast() {
		return false // Nobody says what became of its term.
	}
	if h.gateSince.IsZero() {
		h.gateSince = w.now
	}
	waited := w.now.Sub(h.gateSince)
	if w.broken.is(rewindAfterRun) {
		waited = time.Hour // Such a run is rare otherwise.
	}
	answer := AdviseStart(*w.record, h.name, h.openedTerm, waited, w.policy.Paused(w.now) != nil)
	switch answer.Advice {
	case StartWait:
		return false
	case StartCompare:
		w.rewind(h, answer)
	}
	w.recover(h)
	return true
}

// recover is crash recovery: what stands in the binary log is committed.
func (w *world) recover(h *host) {
	for _, tx := range h.tail {
		h.executed = h.executed.Union(tx)
	}
	h.tail = nil
}

// rewind cuts off what the new primary lacks, if it may.
func (w *world) rewind(h *host, answer StartAnswer) {
	first := slices.IndexFunc(h.binlog, func(tx gtid.Set) bool { return !answer.Holds.Contains(tx) })
	if first < 0 {
		return
	}
	cut := h.binlog[first:]
	refuse := !answer.Complete && !w.broken.is(rewindIncomplete) || first < h.fileStart && !w.broken.is(rewindAfterRun)
	own := uuidOf(h.name)
	for _, tx := range cut {
		refuse = refuse || answer.Holds.Contains(tx) || !strings.HasPrefix(tx.String(), own)
	}
	if refuse {
		w.rewindsRefused++
		w.note("%s: not rewound", h.name)
		return
	}
	for _, tx := range cut {
		if h.executed.Contains(tx) {
			w.fail("S7: %s is rewound although the engine of %s had committed it", tx, h.name)
		}
		h.logged = h.logged.Subtract(tx)
	}
	h.tail = slices.DeleteFunc(h.tail, func(tx gtid.Set) bool { return !answer.Holds.Contains(tx) })
	h.binlog = slices.Clone(h.binlog[:first])
	if w.broken.is(reuseNumbers) {
		h.number -= int64(len(cut))
	}
	w.rewinds++
	w.note("%s: %d transactions are rewound against term %d of %s", h.name, len(cut), answer.Term, answer.Primary)
}

// clone makes a server a copy of its donor, and restarts it. Whatever was
// acknowledged must be elsewhere.
func (w *world) clone(h *host) {
	if h.cloned == h.spec.Plan {
		h.finish()
		return
	}
	donor := w.hosts[h.spec.Source]
	if !donor.mysqld || donor.frozen || !w.linked(h.name, donor.name) || len(donor.waiting) > 0 {
		return
	}
	var elsewhere gtid.Set
	for _, n := range w.names {
		if n != h.name {
			elsewhere = elsewhere.Union(w.hosts[n].all()).Union(w.hosts[n].logged)
		}
	}
	if lost := w.acked.Subtract(elsewhere); !lost.IsEmpty() {
		w.fail("S7: %s is cloned over although nobody else has %s", h.name, lost)
	}
	w.note("%s: built anew as a clone of %s", h.name, donor.name)
	w.kill(h.name, false)
	h.copyOf(donor)
	h.cloned, h.unusable = h.spec.Plan, false
	w.clones++
	w.start(h.name)
}

// copyOf takes over the data of another.
func (h *host) copyOf(donor *host) {
	h.executed, h.received, h.relay, h.source, h.tail = donor.executed, gtid.Set{}, nil, "", nil
	h.logged = donor.executed
	h.binlog = slices.DeleteFunc(slices.Clone(donor.binlog), func(tx gtid.Set) bool { return !donor.executed.Contains(tx) })
	h.locked = maps.Clone(donor.locked)
}
