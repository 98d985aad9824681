package decide

import (
	"fmt"
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
	if r.Plan == nil && d.mustBeCloned(r, name, errant) && d.cloneElsewhere(name) == "" {
		donor = d.donor(r, name)
	}
	if donor == "" {
		return Spec{}, false
	}
	return Spec{Goal: GoalClone, Term: r.Term, Plan: fmt.Sprintf("clone-%s-%d", name, d.Revision), Source: donor, Errant: errant}, true
}

// givenUp tells whether a human has given the transactions up.
func (d *decider) givenUp(name string, errant gtid.Set) bool {
	return d.Policy != nil && !errant.IsEmpty() && d.Policy.Discard[name].Contains(errant)
}

// mayClone tells whether servers are cloned without a human's word.
func (d *decider) mayClone() bool {
	return d.Policy == nil || d.Policy.AutoRejoin == "" || d.Policy.AutoRejoin == AutoRejoinClone
}

// mustBeCloned tells whether a server can only come back as a clone, and may.
func (d *decider) mustBeCloned(r Record, name string, errant gtid.Set) bool {
	if !d.mayClone() && !d.givenUp(name, errant) {
		return false
	}
	if !errant.IsEmpty() {
		return d.discardable(r, name, errant)
	}
	st := d.Statuses[name]
	return st.SpecRevision == d.Specs[name].Revision && unusable(st.Problem)
}

// unusable are the problems of a server whose data is not what its GTIDs say.
func unusable(problem Code) bool {
	return problem == CodeRewindFailed || problem == CodeCloneUnfinished
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
	complete := func(term uint64) bool { return term > 0 && term < r.Term && term >= r.CompleteSince }
	if st.ServerUUID == "" || st.Weakened {
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
		if other != name && d.Specs[other].Goal == GoalClone {
			return other
		}
	}
	return ""
}

// donor returns a replica in sync, or else the primary where its commits do not
// wait: a clone ends only when those of the donor do.
func (d *decider) donor(r Record, name string) string {
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

// cloning returns the standing spec of a clone that goes on. Where the daemon
// has failed and its donor is gone, another may be better.
func (d *decider) cloning(r Record, name string) (Spec, bool) {
	at, st := d.Specs[name], d.Statuses[name]
	if at.Goal != GoalClone || at.Term != r.Term {
		return Spec{}, false
	}
	if st.SpecRevision == at.Revision && (st.State == SpecDone || st.State == SpecFailed && !d.reachable(at.Source)) {
		return Spec{}, false
	}
	return at.Spec, true
}

// noteStanding names a server that stays out, or is being built anew, and why.
func (d *decider) noteStanding(name string, spec Spec) {
	live, st := d.Seen[name].Live, d.Statuses[name]
	switch {
	case spec.Goal == GoalClone:
		detail := fmt.Sprintf("%s is being built anew as a clone of %s", name, spec.Source)
		if live.CloneTotal > 0 {
			detail += fmt.Sprintf(", %d %% of %.1f GB", 100*live.CloneDone/live.CloneTotal, float64(live.CloneTotal)/1e9)
		}
		d.wait(CodeCloning, name, detail, "")
	case spec.Goal == GoalStand && !spec.Errant.IsEmpty():
		out := fmt.Sprintf("%s has %d transactions that %s does not have: %s; it neither replicates nor serves", name, spec.Errant.Count(), d.Record.Primary, spec.Errant)
		switch {
		case !d.mayClone() && !d.givenUp(name, spec.Errant):
			d.wait(CodeDiverged, name, out+fmt.Sprintf("; auto_rejoin is %s, so it is not built anew by itself", d.Policy.AutoRejoin), "mysqlha rejoin "+name+" --discard, or mysqlha settings set auto_rejoin=clone")
		case !d.discardable(*d.Record, name, spec.Errant):
			d.wait(CodeDiverged, name, out, "look at them with mysqlbinlog; somebody may have been told of them, so a human must decide: mysqlha rejoin "+name+" --discard")
		case d.cloneElsewhere(name) != "":
			d.wait(CodeDiverged, name, out+fmt.Sprintf("; it is built anew after %s", d.cloneElsewhere(name)), "")
		default:
			d.wait(CodeDiverged, name, out+"; it is built anew as soon as a server can give its data", "bring the other servers back")
		}
	case unusable(st.Problem) && !d.mayClone():
		d.wait(CodeNoDonor, name, fmt.Sprintf("%s must be built anew, and auto_rejoin is %s", name, d.Policy.AutoRejoin), "mysqlha settings set auto_rejoin=clone")
	case unusable(st.Problem) && d.cloneElsewhere(name) == "":
		d.wait(CodeNoDonor, name, name+" must be built anew, and no server can give its data now", "bring the other servers back")
	}
}
