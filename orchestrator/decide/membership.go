package decide

import (
	"fmt"
	"slices"
	"time"

	"github.com/mysqlha/mysqlha/replication/gtid"
)

// leaver returns an in-sync replica that has been away for the removal delay
// and that the set can spare, and why. Whoever cannot be revoked must not be
// able to acknowledge: else one dead replica would forbid every failover.
func (d *decider) leaver() (string, string) {
	r := d.Record
	if len(r.InSync)-1 < r.RequiredAcks || d.Statuses[r.Primary].OpenTerm != r.Term {
		return "", ""
	}
	if name, why := d.spareLeaver(); name != "" {
		return name, why
	}
	for _, name := range r.InSync {
		away, why := d.away(name)
		if errant := d.whyErrant(name); errant != "" {
			away, why = true, errant
		}
		// The others must be there: the removal needs their acknowledgement.
		if away && !d.now.Before(d.Spared[name]) && d.countAcking(without(r.InSync, name)) >= r.RequiredAcks {
			return name, why
		}
	}
	return "", ""
}

// behind is how many removal delays a replica has that restarted and catches up,
// or whose receiver gets nothing: it may be in the middle of a large transaction.
const behind = 3

// contactAge returns how long ago a replica got anything from its source.
func (d *decider) contactAge(server string) time.Duration {
	seen := d.Seen[server]
	return seen.Live.ContactAge + seen.Live.Age + d.now.Sub(seen.DaemonAt)
}

// someoneHears tells whether one of the replicas gets what the primary sends.
func (d *decider) someoneHears(names []string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return d.acking(n) && d.contactAge(n) < d.settings.Detection })
}

// away tells whether a replica has been out of reach for the removal delay.
func (d *decider) away(server string) (bool, string) {
	limit := d.settings.RemovalDelay
	if d.now.Sub(d.LeadingSince) < limit {
		return false, ""
	}
	if since, absent := d.Absent[server]; absent && d.now.Sub(since) > limit {
		return true, fmt.Sprintf("the lease of the daemon beside %s has been gone for %s", server, round(d.now.Sub(since)))
	}
	seen := d.Seen[server]
	if gone := d.now.Sub(later(seen.SQLAt, d.LeadingSince)); gone > limit {
		return true, fmt.Sprintf("mysqld of %s has not answered for %s", server, round(gone))
	}
	// What a daemon does not say that is being restarted, or has not read its mysqld yet, says nothing; its lease does.
	unheard := !seen.DaemonAt.After(seen.ReceivingAt) || !seen.Live.Answers
	if gone := d.now.Sub(later(later(seen.ReceivingAt, d.LeadingSince), d.Record.Published)); gone > limit && !unheard || gone > behind*limit {
		return true, fmt.Sprintf("the receiver of %s has not been connected for %s", server, round(gone))
	}
	if silent := d.contactAge(server); d.reachable(server) && silent > behind*limit && d.someoneHears(without(d.Record.InSync, server)) {
		// One that hangs (on a full disk, say) stays connected, and could not be revoked.
		return true, fmt.Sprintf("the receiver of %s has got nothing for %s, and others have", server, round(silent))
	}
	restarted := seen.Live.StartID != "" && seen.Live.StartID != d.Record.Runs[server]
	if gone := d.now.Sub(later(seen.RunSince, d.LeadingSince)); restarted && gone > behind*limit {
		return true, fmt.Sprintf("%s restarted %s ago and has not caught up since", server, round(gone))
	}
	return false, ""
}

func (d *decider) countReachable(names []string) int {
	n := 0
	for _, name := range names {
		if d.reachable(name) {
			n++
		}
	}
	return n
}

// removal opens the plan that takes the next leaver out of the in-sync set.
func (d *decider) removal() (Decision, bool) {
	leaver, why := d.leaver()
	if leaver == "" {
		return Decision{}, false
	}
	return d.openRemoval(leaver, ReasonReplicaAbsent, why), true
}

// openRemoval journals that a replica leaves the in-sync set. It stays listed
// until the primary has locked it out and proved by a later commit that the
// others suffice (S3).
func (d *decider) openRemoval(server string, reason Reason, why string) Decision {
	r := d.Record.clone()
	r.Plan = &Plan{ID: d.planID(PlanRemove), Kind: PlanRemove, Reason: reason,
		Evidence: why, Leader: d.Self, Server: server}
	r.Plan.advance(PhaseEject, d.now)
	return Decision{Reason: reason, Detail: why, Change: d.change(r, d.ejectSpecs(r))}
}

func (d *decider) ejectSpecs(r Record) map[string]Spec {
	p := r.Plan
	specs := d.standing(r)
	primary := specs[r.Primary]
	primary.Plan, primary.Eject = p.ID, p.Server
	primary.Attach = without(primary.Attach, p.Server)
	primary.InSync = without(primary.InSync, p.Server)
	specs[r.Primary] = primary
	specs[p.Server] = Spec{Goal: GoalFollow, Term: r.Term, Plan: p.ID, Source: r.Primary}
	return specs
}

func (d *decider) continueRemoval() Decision {
	if h := d.primaryHealth(); h.dead {
		return d.openFailover(h)
	}
	r := d.Record.clone()
	p := r.Plan
	if _, proved := d.did(r.Primary, GoalPrimary, p.ID); proved {
		r.InSync = without(r.InSync, p.Server)
		delete(r.Runs, p.Server)
		return Decision{Reason: ReasonPlanContinues, Detail: p.Server + " has left the in-sync set", Change: d.ended(r, "completed")}
	}
	if d.inPhase() > 2*d.settings.RemovalDelay {
		// The leaver never ceased to be listed, so letting it acknowledge again
		// breaks nothing, and others may be admitted meanwhile.
		why := "no commit was acknowledged without " + p.Server
		return Decision{Reason: ReasonPlanAbandoned, Detail: why, Change: d.ended(r, "abandoned: "+why)}
	}
	d.wait(CodeWaitingForAcks, r.Primary, fmt.Sprintf("%s leaves the in-sync set once a commit is acknowledged without it", p.Server), "")
	return Decision{Reason: ReasonPlanWaits, Detail: "removing " + p.Server}
}

// admit lets one replica into the in-sync set that has received all the
// primary had executed at one moment, or notes the same of a member that had
// restarted. Etcd first, then enable (S3). In a suspension several are listed
// at once, by resume.
func (d *decider) admit() (Decision, bool) {
	r := d.Record
	if r.Suspended {
		return Decision{}, false
	}
	for _, name := range d.Servers {
		if run, known := r.Runs[name]; known && run == d.Seen[name].Live.StartID || !d.admissible(name) {
			continue
		}
		if !slices.Contains(r.InSync, name) && d.spare(name) {
			continue
		}
		next := r.clone()
		d.list(&next, name)
		return Decision{Reason: ReasonReplicaCaught, Detail: name + " holds all that " + r.Primary + " had executed",
			Change: d.change(next, d.standing(next))}, true
	}
	return Decision{}, false
}

// list puts a server into the in-sync set, known in its present run.
func (d *decider) list(r *Record, name string) {
	r.InSync = sorted(append(r.InSync, name))
	r.Runs = setRun(r.Runs, name, d.Seen[name].Live.StartID)
}

// admissible tells whether a server follows the primary and is proven to have
// received all that it had executed at one moment of the server's present run.
func (d *decider) admissible(name string) bool {
	r, live := d.Record, d.Seen[name].Live
	if name == r.Primary || d.leaving(name) || !d.reachable(name) || live.StartID == "" || live.StartID != d.Statuses[name].StartID {
		return false
	}
	listed := slices.Contains(r.InSync, name)
	if live.Source != r.Primary || live.Receiver != ReceiverOn || live.Applier != ReceiverOn || !d.caughtUp(name, listed) {
		if !listed {
			d.noteCatchingUp(name, live)
		}
		return false
	}
	if !listed && len(d.Statuses[name].Findings) > 0 {
		return false // It is named, and may not keep what it acknowledges.
	}
	spec := d.Specs[name]
	errant, known := d.errantNow(name)
	return spec.Goal == GoalFollow && spec.Source == r.Primary && known && errant.IsEmpty()
}

// caughtUp tells whether the replica holds all that the primary had executed
// at a moment the leader knows: one probe ago, since the two are not asked at
// the same instant. The moment must be later than the replica's restart, or
// what it acknowledged before and lost then would not be missed (S4).
//
// What it acknowledged before may also still wait at the primary for others, and
// is then not in gtid_executed. So one that was listed when it restarted must
// hold an acknowledged commit that was begun after the restart: the binary log
// is sent in order, and holds whatever waited before that commit.
func (d *decider) caughtUp(name string, listed bool) bool {
	replica, primary := d.Seen[name], d.Seen[d.Record.Primary]
	if listed && !primary.CommitBefore.After(replica.RunSince) {
		return false
	}
	return d.primaryKnown(*d.Record) && !primary.ExecutedBefore.IsEmpty() &&
		primary.BeforeAt.After(replica.RunSince) && replica.Live.All().Contains(primary.ExecutedBefore)
}

// whyErrant says what errantNow found, empty for nothing.
func (d *decider) whyErrant(name string) string {
	errant, _ := d.errantNow(name)
	if errant.IsEmpty() {
		return ""
	}
	return fmt.Sprintf("%s has transactions that never came from %s: %s", name, d.Record.Primary, errant)
}

// errantNow returns what a replica has executed that it received from nobody
// and that the primary does not have either, and whether that can be told (S7).
func (d *decider) errantNow(name string) (errant gtid.Set, known bool) {
	seen, primary := d.Seen[name], d.Seen[d.Record.Primary]
	if seen.ExecutedBefore.IsEmpty() || !d.primaryKnown(*d.Record) || seen.Live.Source != d.Record.Primary ||
		!primary.DaemonAt.Add(-primary.Live.Age).After(seen.BeforeAt) {
		return gtid.Set{}, false
	}
	return seen.ExecutedBefore.Subtract(seen.Live.Received).Subtract(primary.Live.Executed).Subtract(d.Record.Base), true
}

// primaryKnown tells whether the leader knows what the primary has executed in
// its present run, be it open or about to open again.
func (d *decider) primaryKnown(r Record) bool {
	primary := d.Seen[r.Primary]
	return d.fresh(primary.DaemonAt, d.settings.Fresh()) && primary.Live.Answers &&
		primary.Live.StartID != "" && primary.Live.StartID == d.Statuses[r.Primary].StartID &&
		(primary.Live.OpenTerm == r.Term || primary.Live.OpenTerm == 0)
}

func (d *decider) noteCatchingUp(name string, live Live) {
	if d.Specs[name].Goal != GoalFollow {
		return
	}
	left := d.Seen[d.Record.Primary].Live.Executed.Subtract(live.All()).Count()
	d.wait(CodeCatchingUp, name, fmt.Sprintf("%s is not in sync yet: %d transactions to receive, receiver %s, applier %s", name, left, live.Receiver, live.Applier), "")
}

// standing returns what every server should be doing under the record while no
// step of a plan asks for something else.
func (d *decider) standing(r Record) map[string]Spec {
	specs := make(map[string]Spec, len(d.Servers))
	attach := slices.Clone(r.InSync)
	for _, name := range d.Servers {
		switch {
		case name == r.Primary:
		case slices.Contains(r.InSync, name):
			specs[name] = Spec{Goal: GoalFollow, Term: r.Term, Source: r.Primary, Acks: true}
		default:
			specs[name] = d.outside(r, name)
			if d.confirmedAsync(name, specs[name]) {
				attach = append(attach, name)
			}
		}
	}
	specs[r.Primary] = Spec{Goal: GoalPrimary, Term: r.Term, Attach: sorted(attach),
		InSync: sorted(r.InSync), RequiredAcks: r.RequiredAcks, Suspended: r.Suspended, Inject: d.injected(r), Accounts: r.Accounts}
	return specs
}

// confirmedAsync tells whether a server outside the in-sync set has confirmed,
// under the very spec that stands, that it does not acknowledge. An older
// confirmation proves nothing: it may have been in the set since (S3).
func (d *decider) confirmedAsync(name string, wanted Spec) bool {
	at, st := d.Specs[name], d.Statuses[name]
	return wanted.Goal == GoalFollow && at.Spec.Equal(wanted) && st.SpecRevision == at.Revision && st.AcksOff
}

// outside returns the spec of a server outside the in-sync set: it follows
// without acknowledging once its data is known to be contained in the
// primary's, and stands until then (S7).
func (d *decider) outside(r Record, name string) Spec {
	now := d.Specs[name].Spec
	if spec, goesOn := d.cloning(r, name); goesOn {
		return spec
	}
	stand := Spec{Goal: GoalStand, Term: r.Term, Why: "waiting until its transactions can be compared with the primary's"}
	if now.Goal == GoalStand && now.Term == r.Term && now.Plan == "" {
		stand = now
	}
	following := now.Goal == GoalFollow && now.Source == r.Primary && now.Term == r.Term
	if st := d.Statuses[name]; following && !(st.SpecRevision == d.Specs[name].Revision && st.Problem == CodeDiverged || d.needsClone(name)) {
		if errant, _ := d.errantNow(name); !errant.IsEmpty() {
			return Spec{Goal: GoalStand, Term: r.Term, Why: "diverged", Errant: errant}
		}
		return Spec{Goal: GoalFollow, Term: r.Term, Source: r.Primary}
	}
	live, primary := d.Seen[name].Live, d.Seen[r.Primary]
	if !d.reachable(name) || !d.closed(name) {
		return stand
	}
	if !d.primaryKnown(r) || d.sharesID(name) != "" || d.leaving(name) {
		return stand
	}
	errant := live.All().Subtract(primary.Live.Executed)
	if spec, ok := d.cloneSpec(r, name, errant); ok {
		return spec
	}
	if !errant.IsEmpty() {
		return Spec{Goal: GoalStand, Term: r.Term, Why: "diverged", Errant: errant}
	}
	if d.unusable(name) {
		return Spec{Goal: GoalStand, Term: r.Term, Why: string(d.Statuses[name].Unusable)}
	}
	return Spec{Goal: GoalFollow, Term: r.Term, Source: r.Primary}
}

// noteServers names what is wrong with each server, apart from any plan.
func (d *decider) noteServers() {
	for _, name := range d.Servers {
		st, spec := d.Statuses[name], d.Specs[name]
		if since, absent := d.Absent[name]; absent {
			d.wait(CodeDaemonDown, name, fmt.Sprintf("the daemon beside %s has no lease for %s", name, d.now.Sub(since).Round(1e9)),
				"systemctl status mysqlhad on "+name)
		}
		if st.Process == ProcessGone || st.Process == ProcessExiting {
			d.wait(CodeServerDown, name, "mysqld of "+name+" is down", "systemctl status mysql on "+name)
		}
		if quiet := d.now.Sub(later(d.Seen[name].SQLAt, d.LeadingSince)); st.Process == ProcessRunning && quiet > d.settings.RemovalDelay {
			d.wait(CodeMysqldUnreachable, name, fmt.Sprintf("mysqld of %s runs and has not answered the leader's probes for %s", name, quiet.Round(1e9)),
				"look at its error log and its load; mysql --host from the leader's host")
		}
		d.noteDisk(name)
		d.noteStanding(name, spec.Spec)
		if why := d.whyErrant(name); why != "" {
			d.wait(CodeErrant, name, why, "somebody wrote on the replica; look at them with mysqlbinlog")
		}
		if st.SpecRevision == spec.Revision && st.Problem != "" {
			d.wait(st.Problem, name, st.Detail, "")
		}
		for _, f := range st.Findings {
			d.wait(f.Code, name, f.Detail, "mend the server's my.cnf and restart it")
		}
	}
	for _, n := range d.Statuses[d.Record.Primary].Notices { // The others have the same accounts.
		d.wait(n.Code, d.Record.Primary, n.Detail, "REVOKE SHUTDOWN ON *.* FROM them, and stop servers through their gate: systemctl stop")
	}
	d.noteDuplicateIDs()
	d.noteHeld()
	d.noteBarred()
	d.noteSuspended()
	d.noteWeakened()
	d.noteTooFew()
}

// noteTooFew names what the loss of one more replica would mean, unless that is
// what a cluster of this size was made for.
func (d *decider) noteTooFew() {
	r := d.Record
	if r.Term == 0 || r.Plan != nil || r.Suspended || len(r.InSync)+d.inReserve() > r.RequiredAcks {
		return
	}
	loss := "stops writes"
	if r.Durability == DurabilityAvailable {
		if len(r.InSync) == len(d.Servers)-1 {
			return
		}
		loss = "makes " + r.Primary + " acknowledge alone"
	}
	d.wait(CodeTooFewInSync, "", fmt.Sprintf("%d in sync, %d must acknowledge: the loss of one more %s", len(r.InSync), r.RequiredAcks, loss),
		"bring the other servers back")
}

// noteDuplicateIDs names servers that share a server_id and tells whether there
// are any.
func (d *decider) noteDuplicateIDs() (found bool) {
	for i, name := range d.Servers {
		if other := d.sharesID(name); slices.Contains(d.Servers[:i], other) {
			d.wait(CodeDuplicateServerID, name, fmt.Sprintf("%s and %s both have server_id %d", other, name, d.Seen[name].Live.ServerID), "give each server an id of its own in its my.cnf and restart it")
			found = true
		}
	}
	return found
}
