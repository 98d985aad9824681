package decide

import (
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
	answer := AdviseStart(*w.record, h.name, h.openedTerm, waited)
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
	own, _, _ := strings.Cut(gs(h.name+":1").String(), ":")
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
	w.rewinds++
	w.note("%s: %d transactions are rewound against term %d of %s", h.name, len(cut), answer.Term, answer.Primary)
}
