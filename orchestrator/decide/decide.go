package decide

import (
	"fmt"
	"slices"
	"strconv"
	"time"
)

// Decide judges the view as it is at now and says what to do next. It is pure:
// the same arguments give the same decision.
func Decide(v View, s Settings, now time.Time) Decision {
	d := &decider{View: v, settings: s.under(v.Policy), now: now}
	out := d.judge()
	if c := out.Change; c != nil && c.Record != nil {
		c.Record.Version = 1
		if v.Record != nil {
			c.Record.Version = v.Record.Version + 1
		}
	}
	out.Outlook = d.foresee()
	out.Beginning = d.beginning()
	out.Waits = append(out.Waits, d.waits...)
	return out
}

// decider is one look at the view; it collects what is waited for on the way.
type decider struct {
	View
	settings Settings
	now      time.Time
	waits    []Wait
	// running is the look at servers that shall be adopted, nil before it.
	running *adoption
	// clone is the server that this very judgement has cloned, empty for none.
	clone string
}

func (d *decider) judge() Decision {
	if server, seen, version := d.newestRecordSeen(); seen > version {
		d.wait(CodeTermWentBack, server,
			fmt.Sprintf("the daemon beside %s has seen version %d of the record, etcd has %d: etcd was restored from an old backup", server, seen, version),
			"nothing is done until a human has compared the servers")
		return Decision{Reason: ReasonTermWentBack}
	}
	if d.Record == nil {
		return d.beginBootstrap()
	}
	if server, seen := d.highestTermSeen(); seen > d.Record.Term {
		d.wait(CodeTermWentBack, server,
			fmt.Sprintf("%s has seen term %d, the record says %d: etcd was restored from an old backup", server, seen, d.Record.Term),
			"nothing is done until a human has compared the servers")
		return Decision{Reason: ReasonTermWentBack}
	}
	d.noteServers()
	if decision, act := d.failover(); act {
		return decision
	}
	p := d.Record.Plan
	switch {
	case p == nil:
		return d.steady()
	case p.Kind == PlanBootstrap:
		return d.continueBootstrap()
	case p.Kind == PlanAdopt:
		return d.continueAdoption()
	case p.Kind == PlanRemove:
		return d.continueRemoval()
	case p.Kind == PlanJoin || p.Kind == PlanLeave:
		return d.continueRoster()
	case p.Kind == PlanRaiseAcks || p.Kind == PlanResume:
		return d.continueProof()
	default:
		return d.continueFailover()
	}
}

// steady is the judgement while no plan is open.
func (d *decider) steady() Decision {
	h := d.primaryHealth()
	if h.dead {
		return d.openFailover(h)
	}
	if h.alive {
		for _, look := range []func() (Decision, bool){d.suspend, d.switchover, d.removal, d.followPolicy, d.resume, d.admit, d.renew, d.followServers, d.followAccounts} {
			if decision, act := look(); act {
				return decision
			}
		}
	}
	if specs := d.changed(d.standing(*d.Record)); len(specs) > 0 {
		return Decision{Reason: ReasonSpecsAdjusted, Detail: h.detail, Change: &Change{Specs: specs}}
	}
	return Decision{Reason: h.reason, Detail: h.detail, Yield: h.yield, Etcd: d.etcdChange(), Candidates: d.candidates()}
}

// highestTermSeen returns the highest term that any daemon reports, and whose.
func (d *decider) highestTermSeen() (server string, term uint64) {
	for _, name := range d.Servers {
		if t := d.Statuses[name].TermSeen; t > term {
			server, term = name, t
		}
	}
	return server, term
}

// newestRecordSeen returns the highest version of the record that any daemon is
// known to have seen, whose, and the version that stands in etcd.
func (d *decider) newestRecordSeen() (server string, seen, version uint64) {
	server, seen = d.Self, d.RecordSeen
	for _, name := range d.Servers {
		if v := d.Seen[name].Live.RecordSeen; v > seen {
			server, seen = name, v
		}
	}
	if d.Record != nil {
		version = d.Record.Version
	}
	return server, seen, version
}

func (d *decider) wait(code Code, server, detail, remedy string) {
	d.waits = append(d.waits, Wait{Code: code, Server: server, Detail: detail, Remedy: remedy})
}

// changed returns those of the wanted specs that differ from what stands.
func (d *decider) changed(wanted map[string]Spec) map[string]Spec {
	out := make(map[string]Spec)
	for name, spec := range wanted {
		if at, ok := d.Specs[name]; !ok || !at.Spec.Equal(spec) {
			out[name] = spec
		}
	}
	return out
}

// change builds a change of the record with the specs that differ.
func (d *decider) change(r Record, wanted map[string]Spec) *Change {
	return &Change{Record: &r, Specs: d.changed(wanted)}
}

// advance journals that the plan has reached a phase.
func (p *Plan) advance(phase Phase, now time.Time) {
	p.Phase = phase
	p.Marks = append(p.Marks, Mark{Name: string(phase), At: now})
}

// inPhase returns for how long the plan has been in its phase, as this leader
// has seen it.
func (d *decider) inPhase() time.Duration {
	if d.PlanSeen.IsZero() {
		return d.now.Sub(d.Record.Plan.PhaseSince())
	}
	return d.now.Sub(d.PlanSeen)
}

// finish closes the plan and returns what the history keeps of it.
func (d *decider) finish(r *Record, result string) *History {
	p := *r.Plan
	p.Marks = append(p.Marks, Mark{Name: "done", At: d.now})
	r.Plan = nil
	return &History{
		Term: r.Term, Plan: p, Primary: r.Primary, InSync: slices.Clone(r.InSync),
		Complete: r.Complete, Result: result, Steps: d.Statuses[r.Primary].Steps,
	}
}

// ended closes the plan of a record and goes back to what stands.
func (d *decider) ended(r Record, result string) *Change {
	history := d.finish(&r, result)
	change := d.change(r, d.standing(r))
	change.History = history
	return change
}

// planID names a plan by what no two plans share: the revision of the record
// it was decided on, and, since revisions come again where etcd is restored from
// a backup, the time.
func (d *decider) planID(kind PlanKind) string {
	term := uint64(0)
	if d.Record != nil {
		term = d.Record.Term
	}
	return fmt.Sprintf("%s-t%d-r%d-%s", kind, term, d.Revision, strconv.FormatInt(d.now.UnixMilli(), 36))
}

// did returns the server's status if it says that the newest spec was carried
// out, that spec has the goal, and it belongs to the plan (S4: a status counts
// only if it echoes the plan's id and revision).
func (d *decider) did(server string, goal Goal, plan string) (Status, bool) {
	spec, ok := d.Specs[server]
	if !ok || spec.Goal != goal || spec.Plan != plan {
		return Status{}, false
	}
	st, ok := d.Statuses[server]
	if !ok || st.SpecRevision != spec.Revision || st.Plan != plan || st.State != SpecDone {
		return Status{}, false
	}
	return st, true
}

func without(names []string, leaver string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == leaver })
}

func sorted(names []string) []string {
	out := slices.Clone(names)
	slices.Sort(out)
	return slices.Compact(out)
}
