package decide

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"
)

// The environment variables that replay one random run, or make more of them.
const (
	seedVariable = "DECIDE_SEED"
	runsVariable = "DECIDE_RUNS"
)

// TestNoAcknowledgedWriteIsLostWhateverDiesWhenever lets random things happen
// to random clusters: machines lose power, mysqld and daemons die, daemons lose
// etcd, links break, statuses, probes, acknowledgements and appliers are late,
// and the leader changes. After every step all rules and promises are checked.
func TestNoAcknowledgedWriteIsLostWhateverDiesWhenever(t *testing.T) {
	first, runs := uint64(time.Now().UnixNano()), uint64(60)
	if n, err := strconv.ParseUint(os.Getenv(runsVariable), 10, 64); err == nil {
		runs = n
	}
	if text := os.Getenv(seedVariable); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		first, runs = seed, 1
	}
	t.Logf("first seed %d", first)
	var terms, opens, named int
	for seed := first; seed < first+runs; seed++ {
		ok := t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			w := runRandomly(t, seed, 1200)
			terms += int(w.record.Term) - 1
			w.heal()
			for range 1500 {
				for _, n := range w.names {
					w.start(n) // The supervisor.
				}
				if w.tick(); w.openAnywhere() {
					opens++
					return
				}
			}
			named++
			t.Logf("waits in the end: %s (%s): %v", w.last.Reason, w.last.Detail, w.last.Waits)
			if len(w.last.Waits) == 0 {
				w.fail("with everything back the cluster neither opens nor says what it waits for: %+v", w.last)
			}
		})
		if !ok {
			t.Fatalf("replay with %s=%d", seedVariable, seed)
		}
	}
	t.Logf("%d failovers; in the end %d clusters were open, %d waited by name", terms, opens, named)
	if terms == 0 && runs > 1 {
		t.Error("no failover happened: the faults prove nothing")
	}
}

func runRandomly(t *testing.T, seed uint64, steps int) *world {
	t.Helper()
	names := []string{"a", "b", "c", "d"}[:3+seed%2]
	w := newWorld(t, seed, names...)
	w.s.RequiredAcks = 1 + int(seed/2%2)
	if len(names) == 3 {
		w.s.RequiredAcks = 1
	}
	w.until("bootstrap", func() bool { return w.isOpen("a") })
	for range steps {
		w.randomStep()
	}
	return w
}

// randomStep lets 10 to 60 ms pass, in which each server gets a random share of
// what it could do.
func (w *world) randomStep() {
	w.t.Helper()
	w.now = w.now.Add(time.Duration(10+w.rng.IntN(50)) * time.Millisecond)
	if w.rng.IntN(25) == 0 {
		w.misfortune()
	}
	for range 4 * len(w.names) {
		h := w.hosts[w.names[w.rng.IntN(len(w.names))]]
		switch w.rng.IntN(8) {
		case 0:
			if h.mysqld && !h.ro && len(h.waiting) < 4 {
				w.begin(h, true)
			}
		case 1, 2:
			w.work(h)
		case 3:
			w.report(h)
		case 4, 5:
			w.receive(h)
		case 6:
			if w.rng.IntN(3) > 0 {
				w.apply(h)
			}
		case 7:
			w.hear(h)
		}
		w.check()
	}
	for _, n := range w.names {
		if h := w.hosts[n]; h.daemon && h.etcd {
			h.renewed = w.now
		}
		if w.rng.IntN(4) > 0 {
			w.probe(w.hosts[n])
		}
	}
	w.elect()
	if w.rng.IntN(3) > 0 {
		w.judge()
	}
	w.check()
}

// elect puts a daemon that reaches etcd in charge where the leader does not.
func (w *world) elect() {
	if l := w.hosts[w.self]; l.daemon && l.etcd {
		return
	}
	for _, i := range w.rng.Perm(len(w.names)) {
		if h := w.hosts[w.names[i]]; h.daemon && h.etcd {
			w.lead(h.name)
			return
		}
	}
}

// misfortune breaks something, or mends it; it mends a little more often.
func (w *world) misfortune() {
	name := w.names[w.rng.IntN(len(w.names))]
	other := w.names[w.rng.IntN(len(w.names))]
	h := w.hosts[name]
	switch w.rng.IntN(16) {
	case 0:
		w.kill(name, false)
	case 1:
		w.crash(name)
	case 2:
		h.daemon = false
		w.note("%s: daemon dies", name)
	case 3:
		h.etcd = false
		w.note("%s: daemon loses etcd", name)
	case 4, 5:
		w.dropped[name+other] = name != other
		w.note("%s and %s lose each other", name, other)
	case 6:
		w.lead(name)
	case 7, 8, 9:
		w.boot(name)
	case 10, 11:
		w.dropped = make(map[string]bool)
		w.note("the network is whole")
	case 12, 13:
		h.etcd, h.daemon = true, true
		w.note("%s: daemon is back", name)
	case 14:
		if r := w.record; r != nil {
			w.crash(r.Primary)
		}
	case 15:
		w.heal()
	}
}

// heal brings everything back.
func (w *world) heal() {
	w.dropped = make(map[string]bool)
	for _, n := range w.names {
		w.boot(n)
	}
	w.note("all is well")
}
