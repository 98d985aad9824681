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

	// A word that is late says nothing of the run after it.
	restarted := d.fresh(seen.DaemonAt, d.settings.Fresh()) && seen.Live.Process == ProcessRunning && seen.Live.StartID != st.StartID
	if (st.Process == ProcessExiting || st.Process == ProcessGone) && !restarted {
		if _, lives := d.Members[p]; lives || !answers {
			return health{dead: true, reason: ReasonProcessDied,
				detail: fmt.Sprintf("the daemon beside %s sees its mysqld %s (run %s)", p, st.Process, st.StartID)}
		}
	}
	if answers {
		return d.answering(p, st, seen)
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

// answering judges a primary whose mysqld answers. It is dead all the same where
// it is closed and nobody is left who could open it, or where its commits stall
// although replicas are there: revoking them first makes either safe (S4).
func (d *decider) answering(p string, st Status, seen Observation) health {
	if since, absent := d.Absent[p]; absent && seen.Closed && d.now.Sub(since) > d.settings.FenceDeadline {
		return health{dead: true, reason: ReasonClosed,
			detail: fmt.Sprintf("%s answers and is read_only, and the daemon beside it, which alone could open it, has had no lease for %s", p, round(d.now.Sub(since)))}
	}
	if stalled, why := d.stalled(p, seen); stalled {
		return health{dead: true, reason: ReasonStalled, detail: why}
	}
	if st.OpenTerm != d.Record.Term && d.Record.Suspended {
		d.wait(CodePrimaryNotOpen, p, fmt.Sprintf("%s answers but is not open in term %d yet", p, d.Record.Term), "")
		return health{alive: true, reason: ReasonNotOpen, detail: p + " answers and is not open"}
	}
	if st.OpenTerm != d.Record.Term {
		d.wait(CodePrimaryNotOpen, p, fmt.Sprintf("%s answers but is not open in term %d yet; its own commit must be acknowledged by %d in-sync replicas first",
			p, d.Record.Term, d.Record.RequiredAcks), "start the in-sync replicas and their daemons: mysqlha status")
		return health{alive: true, reason: ReasonNotOpen, detail: p + " answers and is not open"}
	}
	return health{alive: true, reason: ReasonHealthy, detail: fmt.Sprintf("%s is open in term %d", p, d.Record.Term)}
}

// stalled tells whether the primary's own commit has been pending for too long
// although enough replicas are attached to acknowledge it: its disk hangs or is
// full. Only its living daemon can say so, and a commit that waits for
// somebody's lock is that somebody's business.
func (d *decider) stalled(p string, seen Observation) (bool, string) {
	_, lives := d.Members[p]
	pending := seen.Live.CommitPending
	if !lives || d.settings.Stall <= 0 || pending <= d.settings.Stall || seen.Live.OpenTerm != d.Record.Term || !d.fresh(seen.DaemonAt, d.settings.Fresh()) {
		return false, ""
	}
	if seen.Live.CommitLocked {
		d.wait(CodeCommitsLocked, p, fmt.Sprintf("the daemon's own commit on %s has been waiting for somebody's lock for %s", p, round(pending)),
			"look for FLUSH TABLES WITH READ LOCK or LOCK TABLES: SELECT * FROM performance_schema.metadata_locks")
		return false, ""
	}
	n := 0
	for _, name := range d.Record.InSync {
		// One that has just come back may be about to end the wait.
		if since := d.Seen[name].AckingSince; d.acking(name) && !since.IsZero() && d.now.Sub(since) > d.settings.Stall {
			n++
		}
	}
	if n < d.Record.RequiredAcks {
		d.wait(CodeWaitingForAcks, p, fmt.Sprintf("commits on %s wait: %d of %d acknowledging replicas are attached", p, n, d.Record.RequiredAcks), "bring the other servers back")
		return false, ""
	}
	d.wait(CodeCommitsStalled, p, fmt.Sprintf("the daemon's own commit on %s has been pending for %s although the replicas are attached", p, round(pending)), "look at its disk")
	return true, fmt.Sprintf("commits on %s have been stalled for %s although %d replicas are attached", p, round(pending), len(d.Record.InSync))
}

// acking tells whether a replica is attached to the primary and acknowledges in
// the run in which it is known.
func (d *decider) acking(name string) bool {
	live := d.Seen[name].Live
	return d.reachable(name) && live.Source == d.Record.Primary && live.Receiver == ReceiverOn && live.Acks &&
		live.StartID == d.Record.Runs[name]
}

func (d *decider) countAcking(names []string) int {
	n := 0
	for _, name := range names {
		if d.acking(name) {
			n++
		}
	}
	return n
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
	for _, r := range d.Servers {
		seen := d.Seen[r]
		if !d.fresh(seen.DaemonAt, d.settings.Fresh()) || !seen.Live.Answers || seen.Live.Source != d.Record.Primary {
			continue
		}
		witnesses++
		if seen.Live.Receiver != ReceiverOn {
			continue
		}
		age := d.contactAge(r)
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
