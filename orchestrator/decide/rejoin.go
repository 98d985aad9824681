package decide

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/mysqlha/mysqlha/replication/gtid"
)

// A server that cannot come back as it is comes back as a clone of another: one
// whose unacknowledged transactions could not be rewound, one whose rewind has
// failed, and one whose clone was interrupted. It is outside the in-sync set
// before and after (S3), so its clone is a spec and no plan.

// cloneSpec returns the spec that makes a server a copy of another, if it may be
// one and somebody can give the data now. Its plan's name tells one attempt from
// the next.
func (d *decider) cloneSpec(r Record, name string, errant gtid.Set) (Spec, bool) {
	donor := ""
	if (r.Plan == nil || r.promoting()) && d.mustBeCloned(r, name, errant) && d.cloneElsewhere(name) == "" {
		donor = d.donor(r, name)
	}
	if donor == "" || d.noRoom(name, donor) != "" {
		return Spec{}, false
	}
	d.clone = name
	return Spec{Goal: GoalClone, Term: r.Term, Plan: fmt.Sprintf("clone-%s-%d-%s", name, d.Revision, strconv.FormatInt(d.now.UnixMilli(), 36)), Source: donor, Errant: errant}, true
}

// givenUp tells whether a human has given the transactions up.
func (d *decider) givenUp(name string, errant gtid.Set) bool {
	return d.Policy != nil && !errant.IsEmpty() && d.Policy.Discard[name].Contains(errant)
}

// injected returns what the primary shall make as empty transactions: what stands
// between servers and the primary and a human has called harmless, by name.
func (d *decider) injected(r Record) (all gtid.Set) {
	if d.Policy == nil || r.Plan != nil {
		return all
	}
	for name, harmless := range d.Policy.Harmless {
		// Only what the server really has: another name would be one that somebody
		// may still give to a transaction.
		if name != r.Primary && d.calledHarmless(r, name) && d.Seen[name].Live.All().Contains(harmless) {
			all = all.Union(harmless)
		}
	}
	return all
}

// calledHarmless tells whether a human has called harmless all that keeps a
// server away.
func (d *decider) calledHarmless(r Record, name string) bool {
	at := d.Specs[name]
	return d.Policy != nil && at.Goal == GoalStand && at.Term == r.Term && !at.Errant.IsEmpty() && d.Policy.Harmless[name].Contains(at.Errant)
}

// mayClone tells whether servers are cloned without a human's word.
func (d *decider) mayClone() bool {
	return d.Policy == nil || d.Policy.AutoRejoin == "" || d.Policy.AutoRejoin == AutoRejoinClone
}

// mustBeCloned tells whether a server can only come back as a clone, and may, on
// looks that are new enough to act on.
func (d *decider) mustBeCloned(r Record, name string, errant gtid.Set) bool {
	return d.mayBeClone(r, name, errant) && (errant.IsEmpty() || d.stillErrant(r, name, errant))
}

// mayBeClone tells the same of a single look.
func (d *decider) mayBeClone(r Record, name string, errant gtid.Set) bool {
	if (!d.mayClone() || d.Policy.Paused(d.now) != nil) && !d.givenUp(name, errant) && d.Statuses[name].Unusable != CodeCloneUnfinished {
		return false // What was begun is finished: the data is gone already.
	}
	if !errant.IsEmpty() {
		return d.discardable(r, name, errant)
	}
	return d.needsClone(name)
}

// needsClone tells whether a server has nothing too much and yet cannot replicate:
// its data is nobody's, or its source has no more what it lacks.
func (d *decider) needsClone(name string) bool {
	st := d.Statuses[name]
	return d.unusable(name) || st.Problem == CodeSourcePurged && st.SpecRevision == d.Specs[name].Revision
}

// unusable tells whether a server's data is not what its GTIDs say.
func (d *decider) unusable(name string) bool { return d.Statuses[name].Unusable != "" }

// stillErrant tells whether a server had the same transactions too much already
// before the last look at the primary, which is open: else they may be what that
// one has and had not when it was asked.
func (d *decider) stillErrant(r Record, name string, errant gtid.Set) bool {
	if r.promoting() {
		return true // The journaled target does not grow.
	}
	seen, primary := d.Seen[name], d.Seen[r.Primary]
	return primary.Live.OpenTerm == r.Term && !seen.BeforeAt.IsZero() && primary.DaemonAt.Add(-primary.Live.Age).After(seen.BeforeAt) &&
		seen.AllBefore.Subtract(primary.Live.Executed).Equal(errant)
}

// discardable tells whether transactions that the primary lacks are known never
// to have been acknowledged: the server wrote them as the primary of a term after
// which every one was opened complete, and has followed nobody since; or they are
// others' and it received them in such a term. What somebody wrote on a replica
// is for a human to judge, who may have done so (S7).
func (d *decider) discardable(r Record, name string, errant gtid.Set) bool {
	if d.givenUp(name, errant) {
		return true
	}
	st := d.Statuses[name]
	newest := r.Term
	if r.promoting() && d.completes(r) {
		newest++ // Of the choice that is journaled.
	}
	complete := func(term uint64) bool { return term > 0 && term < newest && term >= r.CompleteSince }
	if st.ServerUUID == "" || st.Weakened || st.LetGo {
		return false
	}
	own, others := false, false
	for part := range strings.SplitSeq(errant.String(), ",") {
		if strings.HasPrefix(part, st.ServerUUID+":") {
			own = true
		} else {
			others = true
		}
	}
	return (!own || complete(st.TailOf)) && (!others || complete(st.FollowedTerm))
}

// cloneElsewhere returns another server that is being cloned: one at a time,
// since each costs its donor's disk and network.
func (d *decider) cloneElsewhere(name string) string {
	for _, other := range d.Servers {
		if other != name && (d.Specs[other].Goal == GoalClone && !d.daemonGone(other) || d.clone == other) {
			return other
		}
	}
	return ""
}

// donor returns a replica in sync, or else the primary where its commits do not
// wait: a clone ends only when those of the donor do. In a failover it is the
// candidate, once it has all that the new term will begin with.
func (d *decider) donor(r Record, name string) string {
	if r.promoting() {
		if _, prepared := d.prepared(r.Plan); prepared && d.reachable(r.Plan.Candidate) {
			return r.Plan.Candidate
		}
		return ""
	}
	for _, other := range r.InSync {
		if other != name && d.acking(other) {
			return other
		}
	}
	if d.reachable(r.Primary) && d.Statuses[r.Primary].OpenTerm == r.Term && (r.Suspended || d.countAcking(r.InSync) >= r.RequiredAcks) {
		return r.Primary
	}
	return ""
}

// furnish returns the specs that have servers built anew from the candidate of a
// failover, where too few live that can follow it: else the term would not open
// before a human has done that.
func (d *decider) furnish(r Record) map[string]Spec {
	p := r.Plan
	specs := make(map[string]Spec)
	fit := slices.DeleteFunc(slices.Clone(p.NewInSync), d.needsClone)
	if d.countNotLost(fit) >= r.RequiredAcks {
		return specs
	}
	for _, name := range d.Servers {
		if name == p.Candidate || slices.Contains(fit, name) || !d.reachable(name) || len(d.Statuses[name].Findings) > 0 || d.leaving(name) {
			continue
		}
		if slices.Contains(p.NewInSync, name) {
			// Its source has purged what it lacks. It has acknowledged nothing of the new
			// term, which has not begun.
			if spec, ok := d.cloneSpec(r, name, gtid.Set{}); ok {
				specs[name] = spec
			}
			continue
		}
		at := d.Specs[name]
		if spec, goesOn := d.cloning(r, name); goesOn && spec.Source == p.Candidate {
			continue
		}
		if _, cloned := d.did(name, GoalClone, at.Plan); at.Goal == GoalClone && !cloned {
			specs[name] = Spec{Goal: GoalStand, Term: r.Term, Plan: p.ID, Why: "its clone could not go on"}
			continue
		}
		if !d.stands(name) {
			continue
		}
		errant := d.Seen[name].Live.All().Subtract(p.Target)
		if spec, ok := d.cloneSpec(r, name, errant); ok {
			specs[name] = spec
		} else if !errant.IsEmpty() {
			specs[name] = Spec{Goal: GoalStand, Term: r.Term, Plan: p.ID, Why: "diverged", Errant: errant}
		}
	}
	return d.changed(specs)
}

// reference returns the server whose transactions the others are compared with.
func (d *decider) reference() string {
	if d.Record.promoting() {
		return d.Record.Plan.Candidate
	}
	return d.Record.Primary
}

// noRoom tells why a donor's data does not fit on a server's disk, as far as that
// is known; empty where it does.
func (d *decider) noRoom(name, donor string) string {
	here, there := d.Seen[name].Live.Disk, d.Seen[donor].Live.Disk
	// What is written meanwhile needs room as well.
	if need := there.Data + there.Data/10; here.known() && there.known() && here.room() < need {
		return fmt.Sprintf("the data of %s needs %s, and the disk of %s has room for %s", donor, bytesText(need), name, bytesText(here.room()))
	}
	return ""
}

// whyNoRoom tells why nobody's data fits there.
func (d *decider) whyNoRoom(name string) string {
	if donor := d.donor(*d.Record, name); donor != "" {
		return d.noRoom(name, donor)
	}
	return ""
}

// nearlyFull is how little room a disk has on which a server will soon wait for
// more, in bytes.
const nearlyFull = 64 << 20

// noteDisk names a disk that is full, or will be in a moment.
func (d *decider) noteDisk(name string) {
	if disk := d.Seen[name].Live.Disk; disk.known() && disk.Free < nearlyFull && d.reachable(name) {
		d.wait(CodeDiskFull, name, fmt.Sprintf("the disk of %s is full: %s are left; mysqld waits for room and tries again every minute", name, bytesText(disk.Free)),
			"make room on the file system of its data directory")
	}
}

// cloning returns the standing spec of a clone that goes on. Where its donor is
// gone, another may be better: at once if the daemon has noticed, and after a
// while if mysqld waits for the donor's host.
func (d *decider) cloning(r Record, name string) (Spec, bool) {
	at, st := d.Specs[name], d.Statuses[name]
	if at.Goal != GoalClone || at.Term != r.Term {
		return Spec{}, false
	}
	mine := st.SpecRevision == at.Revision
	silent := d.now.Sub(later(d.Seen[at.Source].SQLAt, d.LeadingSince))
	if mine && (st.State == SpecDone || st.State == SpecRefused || st.State == SpecFailed && !d.reachable(at.Source)) || silent > behind*d.settings.RemovalDelay {
		return Spec{}, false
	}
	return at.Spec, true
}

// noteStanding names a server that stays out, or is being built anew, and why.
func (d *decider) noteStanding(name string, spec Spec) {
	live := d.Seen[name].Live
	switch {
	case spec.Goal == GoalClone:
		detail := fmt.Sprintf("%s is being built anew as a clone of %s", name, spec.Source)
		if progress := live.Clone.String(); progress != "" {
			detail += ": " + progress
		}
		d.wait(CodeCloning, name, detail, "")
	case spec.Goal == GoalStand && !spec.Errant.IsEmpty():
		out := fmt.Sprintf("%s has %d transactions that %s does not have: %s; it neither replicates nor serves", name, spec.Errant.Count(), d.reference(), spec.Errant)
		switch {
		case d.calledHarmless(*d.Record, name):
			d.wait(CodeDiverged, name, out+fmt.Sprintf("; they were called harmless, and %s makes empty ones of the same names", d.Record.Primary), "")
		case !d.mayClone() && !d.givenUp(name, spec.Errant):
			d.wait(CodeDiverged, name, out+fmt.Sprintf("; auto_rejoin is %s, so it is not built anew by itself", d.Policy.AutoRejoin), "mysqlha rejoin "+name+" --discard, or mysqlha settings set auto_rejoin=clone")
		case d.Statuses[name].LetGo && !d.givenUp(name, spec.Errant):
			d.wait(CodeDiverged, name, out+"; its mysqld was stopped past its gate, so clients may have been told OK", "look at them with mysqlbinlog, and decide: mysqlha rejoin "+name)
		case !d.discardable(*d.Record, name, spec.Errant):
			d.wait(CodeDiverged, name, out, "look at them with mysqlbinlog; somebody may have been told of them, so a human must decide: mysqlha rejoin "+name)
		case d.whyNoRoom(name) != "":
			d.wait(CodeNoDonor, name, out+"; it cannot be built anew: "+d.whyNoRoom(name), "make room on the file system of its data directory")
		case d.cloneElsewhere(name) != "":
			d.wait(CodeDiverged, name, out+fmt.Sprintf("; it is built anew after %s", d.cloneElsewhere(name)), "")
		default:
			d.wait(CodeDiverged, name, out+"; it is built anew as soon as a server can give its data", "bring the other servers back")
		}
	case d.needsClone(name) && !d.mayClone():
		d.wait(CodeNoDonor, name, fmt.Sprintf("%s must be built anew, and auto_rejoin is %s", name, d.Policy.AutoRejoin), "mysqlha settings set auto_rejoin=clone")
	case d.needsClone(name) && d.whyNoRoom(name) != "":
		d.wait(CodeNoDonor, name, name+" must be built anew: "+d.whyNoRoom(name), "make room on the file system of its data directory")
	case d.needsClone(name) && d.cloneElsewhere(name) == "":
		d.wait(CodeNoDonor, name, name+" must be built anew, and no server can give its data now", "bring the other servers back")
	}
}
