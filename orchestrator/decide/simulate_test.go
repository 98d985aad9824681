package decide

import (
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"
)

// The environment variables of the simulation: how many steps, and the first
// seed; see `make simulate`.
const (
	stepsVariable = "SIMULATE_STEPS"
	seedVariable  = "SIMULATE_SEED"
)

const (
	// eventsPerRun is the length of one schedule.
	eventsPerRun = 12000
	// defaultSteps are simulated where nobody asks for more.
	defaultSteps = 60_000
	// brokenRuns is after how many schedules a broken rule must have been caught.
	brokenRuns = 400
)

func number(t *testing.T, variable string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

// TestNoScheduleBreaksTheContract plays random schedules until enough steps
// were simulated.
func TestNoScheduleBreaksTheContract(t *testing.T) {
	steps := int(number(t, stepsVariable, defaultSteps))
	first := number(t, seedVariable, uint64(time.Now().UnixNano()))
	t.Logf("seed %d; replay with %s=%d", first, seedVariable, first)
	begun := time.Now()
	var mu sync.Mutex
	var total stats
	next, failed := first, false
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for {
				mu.Lock()
				seed, enough := next, total.Steps >= steps || failed
				next++
				mu.Unlock()
				if enough {
					return
				}
				o := optionsOf(seed, nil)
				schedule := draw(seed, o, eventsPerRun)
				s, broke, at := play(o, schedule, true)
				mu.Lock()
				if broke != "" && !failed {
					failed = true
					tell(t, o, seed, schedule, broke, at)
				}
				total.add(s.stats)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	t.Logf("%s\n  took %s", total, time.Since(begun).Round(time.Millisecond))
	if failed {
		return
	}
	for what, n := range map[string]int{"failovers": total.Failovers, "removals": total.Removals, "restarts": total.Restarts, "changes of k": total.Acks} {
		if n == 0 && steps >= 1_000_000 {
			t.Errorf("no %s happened: the schedules prove nothing", what)
		}
	}
}

// TestEveryBrokenRuleIsCaught plays schedules against each rule that is broken
// on purpose. The structural checks of the judgement's changes are off: only
// what the model's clients and servers suffer counts.
func TestEveryBrokenRuleIsCaught(t *testing.T) {
	for _, b := range brokenRules() {
		t.Run(b.rule+" "+b.name, func(t *testing.T) {
			t.Parallel()
			first, steps := b.seed, 0 // Not the seed asked for: some take millions of steps from another.
			for seed := first; seed < first+brokenRuns; seed++ {
				o := optionsOf(seed, b)
				s, broke, at := play(o, draw(seed, o, eventsPerRun), true)
				steps += s.stats.Steps
				if broke != "" {
					t.Logf("%s, broken: %s: caught at seed %d, event %d, after %d steps: %s", b.rule, b.name, seed, at, steps, ruleOf(broke))
					return
				}
			}
			t.Errorf("not caught in %d schedules of %d events, %d steps", brokenRuns, eventsPerRun, steps)
		})
	}
}
