package decide

import (
	"fmt"
	"time"
)

// lateTick is how late the leader's own tick may be for silence to count: a
// leader that was itself held up sees everybody silent.
const lateTick = 100 * time.Millisecond

// health is the judgement on the primary.
type health struct {
	// dead and alive are both false while nothing is certain.
	dead, alive bool
	reason      Reason
	detail      string
	// yield: others see the primary and this leader does not.
	yield bool
}

// primaryHealth judges the primary. Death needs either the word of the daemon
// beside it, who watches the process, or the failure of the leader's own
// probes together with replicas that no longer receive.
func (d *decider) primaryHealth() health {
	p := d.Record.Primary
	st, seen := d.Statuses[p], d.Seen[p]
	refused := seen.SQLFailure == FailureRefused && seen.SQLFailures >= 2
	answers := !refused && d.fresh(seen.SQLAt, d.settings.Detection)

	if st.Process == ProcessExiting || st.Process == ProcessGone {
		if _, lives := d.Members[p]; lives || !answers {
			return health{dead: true, reason: ReasonProcessDied,
				detail: fmt.Sprintf("the daemon beside %s sees its mysqld %s (run %s)", p, st.Process, st.StartID)}
		}
	}
	if answers {
		return d.answering(p, st)
	}
	since := d.now.Sub(later(seen.SQLAt, d.LeadingSince))
	if seen.SQLFailures == 0 || !refused && since < d.settings.Fresh() {
		return d.uncertain(p, "no probe has been answered yet")
	}
	receiving, witness := d.anyReceiving(refused)
	switch {
	case receiving:
		h := d.uncertain(p, fmt.Sprintf("%s does not answer this leader for %s, but %s", p, round(since), witness))
		// A frozen primary is silent to its replicas a little later than to us.
		h.yield = since > 2*d.settings.Detection
		return h
	case refused && !d.commitsFlow(seen):
		return health{dead: true, reason: ReasonRefused,
			detail: fmt.Sprintf("%s refuses connections (%d times), %s", p, seen.SQLFailures, witness)}
	case since < d.settings.Detection:
		return d.uncertain(p, fmt.Sprintf("no answer for %s", round(since)))
	case d.TickLate >= lateTick:
		return d.uncertain(p, fmt.Sprintf("no answer for %s, but this leader's own clock tick was %s late", round(since), round(d.TickLate)))
	case d.commitsFlow(seen):
		return d.uncertain(p, fmt.Sprintf("no answer for %s, but its daemon reports acknowledged commits", round(since)))
	}
	return health{dead: true, reason: ReasonSilent,
		detail: fmt.Sprintf("no answer from %s for %s, %s", p, round(since), witness)}
}

// answering judges a primary whose mysqld answers.
func (d *decider) answering(p string, st Status) health {
	if st.OpenTerm != d.Record.Term {
		d.wait(CodePrimaryNotOpen, p, fmt.Sprintf("%s answers but is not open in term %d yet; its own commit must be acknowledged by %d in-sync replicas first",
			p, d.Record.Term, d.Record.RequiredAcks), "start the in-sync replicas and their daemons: mysqlha status")
		return health{alive: true, reason: ReasonNotOpen, detail: p + " answers and is not open"}
	}
	return health{alive: true, reason: ReasonHealthy, detail: fmt.Sprintf("%s is open in term %d", p, d.Record.Term)}
}

func (d *decider) uncertain(p, detail string) health {
	d.wait(CodePrimaryUncertain, p, detail, "")
	return health{reason: ReasonUncertain, detail: detail}
}

// anyReceiving tells whether any replica still hears the primary. Where the
// connection was refused, a receiver that is not connected is proof enough;
// else it must have been silent for the detection time. No witness at all
// counts as receiving: unknown is not dead.
func (d *decider) anyReceiving(refused bool) (bool, string) {
	witnesses := 0
	for _, r := range d.Record.InSync {
		seen := d.Seen[r]
		if !d.fresh(seen.DaemonAt, d.settings.Fresh()) || !seen.Live.Answers {
			continue
		}
		witnesses++
		if seen.Live.Receiver != ReceiverOn {
			continue
		}
		age := seen.Live.ContactAge + seen.Live.Age + d.now.Sub(seen.DaemonAt)
		if refused || age < d.settings.Detection {
			return true, fmt.Sprintf("%s still receives from it (%s ago)", r, round(age))
		}
	}
	if witnesses == 0 {
		return true, "no replica can be asked whether it still receives"
	}
	return false, fmt.Sprintf("and none of %d replicas receives from it", witnesses)
}

// commitsFlow tells whether the primary's daemon reports commits that were
// acknowledged a moment ago: slow is not dead.
func (d *decider) commitsFlow(seen Observation) bool {
	return d.fresh(seen.DaemonAt, d.settings.Fresh()) && seen.Live.OpenTerm == d.Record.Term &&
		seen.Live.CommitAge+d.now.Sub(seen.DaemonAt) < d.settings.Detection
}

// fresh tells whether something seen at t is younger than limit.
func (d *decider) fresh(t time.Time, limit time.Duration) bool {
	return !t.IsZero() && d.now.Sub(t) < limit
}

// reachable tells whether the leader can have something done on the server
// right now: its daemon's lease lives, and both daemon and mysqld answered the
// leader's own probes a moment ago.
func (d *decider) reachable(server string) bool {
	_, lives := d.Members[server]
	seen := d.Seen[server]
	return lives && d.fresh(seen.DaemonAt, d.settings.Fresh()) && seen.Live.Answers &&
		d.fresh(seen.SQLAt, d.settings.Fresh()) && d.Statuses[server].Process == ProcessRunning
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func round(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
