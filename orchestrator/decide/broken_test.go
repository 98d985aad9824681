package decide

import "slices"

// brokenRule is one rule that is broken on purpose, to see that the simulation
// notices. It lives in tests alone: in the model of servers and etcd, or before
// and after the judgement.
type brokenRule struct {
	name, rule string
	// view changes what the judgement sees, decision what it says.
	view     func(*View)
	decision func(View, *Decision)
	// restores and noPower say which misfortunes the run needs or must not have;
	// faults, if set, are all the faults that are drawn, with their weights: some
	// rules matter in rare company only.
	restores, noPower bool
	faults            map[eventKind]int
	// overrides: the operator allows data to be lost.
	overrides bool
	// durability is the one that the rule matters in, empty for lossless.
	durability Durability
	// seed is one that is known to catch it; others follow.
	seed uint64
}

// The names of the rules that are broken inside the model.
const (
	noRevoke         = "promote without revoking"
	readBeforeStop   = "read the sets before the stop"
	receivedAlone    = "count received without executed"
	noRemovalProof   = "drop a replica without the later proof"
	recoverRelayLogs = "relay_log_recovery on"
	politeStop       = "a polite stop of a revoked primary"
	noGuards         = "a paused old leader writes"
	oldEtcdObeyed    = "a restored old etcd is obeyed"
	rewindIncomplete = "rewind against a term that was opened incomplete"
	rewindAfterRun   = "rewind what a later run has committed"
	cutNobody        = "a switchover that cuts nobody and does not wait"
	reuseNumbers     = "give the numbers of rewound transactions to others"
)

func (b *brokenRule) is(name string) bool { return b != nil && b.name == name }

// obeysThePast: a leader that writes without its guards is stopped by whoever
// has seen a newer record, too; so that is broken along with it.
func (b *brokenRule) obeysThePast() bool { return b.is(oldEtcdObeyed) || b.is(noGuards) }

// brokenRules are all of them.
func brokenRules() []*brokenRule {
	return []*brokenRule{
		{seed: 163, name: noRevoke, rule: "S4", faults: map[eventKind]int{evFreeze: 3, evThaw: 4, evStart: 2, evSlow: 1}},
		{seed: 163, name: readBeforeStop, rule: "S4", faults: map[eventKind]int{evFreeze: 3, evThaw: 5, evStart: 2}},
		{seed: 39, name: receivedAlone, rule: "S4"},
		{seed: 182, name: "count a restarted replica", rule: "S4", view: countRestarted, faults: map[eventKind]int{evSlow: 3, evPower: 4, evThaw: 1, evBoot: 6, evKill: 2}},
		{seed: 136, name: noRemovalProof, rule: "S3", faults: map[eventKind]int{evSlow: 4, evFreeze: 3, evKill: 2, evStart: 1}},
		{seed: 59, name: "publish the term before k of the new set have everything", rule: "S5", view: followersHaveAll, faults: map[eventKind]int{evSlow: 4, evKill: 4, evThaw: 1, evStart: 2}},
		{seed: 19, name: "enable during a removal", rule: "S3", decision: enableLeaver},
		{seed: 19, name: "admit without etcd first", rule: "S3", decision: enableOutsiders},
		{seed: 16, name: recoverRelayLogs, rule: "S8", noPower: true},
		{seed: 298, name: politeStop, rule: "S10"},
		{seed: 259, name: noGuards, rule: "S1", faults: map[eventKind]int{evElect: 5, evForget: 1, evGiveUp: 6, evKill: 3, evFreeze: 2, evThaw: 3, evStart: 3}},
		{seed: 73, name: oldEtcdObeyed, rule: "S1", restores: true, faults: map[eventKind]int{evBackup: 4, evRestore: 2, evKill: 4, evStart: 2, evElect: 1}},
		{seed: 1, name: rewindIncomplete, rule: "S6", durability: DurabilityAsync, faults: map[eventKind]int{evSlow: 3, evKill: 4, evThaw: 2, evStart: 4, evDaemon: 1, evBoot: 2}},
		{seed: 7, name: rewindAfterRun, rule: "S7", faults: map[eventKind]int{evSlow: 4, evKill: 4, evThaw: 3, evStart: 6}},
		{seed: 10147, name: reuseNumbers, rule: "S7", faults: map[eventKind]int{evKill: 2, evSlow: 3, evStart: 4}},
		{seed: 1, name: cutNobody, rule: "S10", faults: map[eventKind]int{evSwitch: 6, evSlow: 3, evThaw: 2, evKill: 2, evStart: 4}},
		{seed: 334, name: "allow a loss while the old primary may go on", rule: "S6", overrides: true, view: sayItIsOff, faults: map[eventKind]int{evHand: 8, evIsolate: 3, evEtcdBack: 1, evFreeze: 3, evThaw: 3, evKill: 2, evStart: 3}},
		{seed: 20, name: "suspend without recording it", rule: "S2", durability: DurabilityAvailable, decision: suspendUnrecorded},
	}
}

func countRestarted(v *View) {
	if v.Record == nil {
		return
	}
	r := v.Record.clone()
	for name := range r.Runs {
		r.Runs[name] = v.Statuses[name].StartID
	}
	v.Record = &r
}

func sayItIsOff(v *View) {
	if v.Record == nil || v.Record.Plan == nil || v.Record.Plan.Override == nil {
		return
	}
	r := v.Record.clone()
	r.Plan.Override = &Override{Off: true}
	v.Record = &r
}

func followersHaveAll(v *View) {
	if v.Record == nil || v.Record.Plan == nil || v.Record.Plan.Phase != PhasePromote {
		return
	}
	p := v.Record.Plan
	candidate := v.Statuses[p.Candidate]
	statuses := make(map[string]Status)
	for name, st := range v.Statuses {
		if slices.Contains(p.NewInSync, name) {
			st.SpecRevision, st.Plan, st.State, st.Held = v.Specs[name].Revision, p.ID, SpecDone, Held{Executed: candidate.Held.Executed, StartID: st.StartID}
		}
		statuses[name] = st
	}
	v.Statuses = statuses
}

func enableLeaver(v View, d *Decision) {
	if d.Change == nil || d.Change.Record == nil || d.Change.Record.Plan == nil || d.Change.Record.Plan.Kind != PlanRemove {
		return
	}
	r := d.Change.Record
	leaver := r.Plan.Server
	follow := d.Change.Specs[leaver]
	follow.Goal, follow.Term, follow.Source, follow.Acks = GoalFollow, r.Term, r.Primary, true
	d.Change.Specs[leaver] = follow
	if primary, ok := d.Change.Specs[r.Primary]; ok {
		primary.Attach = sorted(append(primary.Attach, leaver))
		d.Change.Specs[r.Primary] = primary
	}
}

func enableOutsiders(v View, d *Decision) {
	if d.Change == nil || v.Record == nil {
		return
	}
	for name, spec := range d.Change.Specs {
		if spec.Goal == GoalFollow && !spec.Acks {
			spec.Acks = true
			d.Change.Specs[name] = spec
		}
		if spec.Goal == GoalPrimary {
			spec.Attach = sorted(append(slices.Clone(spec.Attach), without(v.Servers, name)...))
			d.Change.Specs[name] = spec
		}
	}
}

func suspendUnrecorded(_ View, d *Decision) {
	if d.Change == nil || d.Change.Record == nil || !d.Change.Record.Suspended || d.Change.Record.Durability != DurabilityAvailable {
		return
	}
	d.Change.Record.Suspended = false
}
