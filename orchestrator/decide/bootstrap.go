package decide

import (
	"fmt"
	"slices"
)

// beginBootstrap opens the plan for the first term once every server of the
// configuration is there and empty. A server that holds data or has seen a
// term stops it: then a record once existed, or the data is somebody's.
func (d *decider) beginBootstrap() Decision {
	if req := d.bootstrapRequest(); req != nil && req.Adopt {
		return d.adopt(*req)
	}
	first := d.firstPrimary()
	if !slices.Contains(d.Servers, first) {
		d.wait(CodeNoBootstrapPrimary, "", "the cluster has no record and no first primary is named",
			"name it: mysqlha bootstrap --primary SERVER, or bootstrap.primary in the configuration of every host")
		return Decision{Reason: ReasonNoRecord}
	}
	ready := true
	for _, name := range d.Servers {
		_, lives := d.Members[name]
		st := d.Statuses[name]
		switch {
		case !lives:
			d.wait(CodeWaitingForServers, name, "the daemon beside "+name+" has not registered", "start mysqlhad on "+name)
		case st.Process != ProcessRunning || st.StartID == "":
			d.wait(CodeWaitingForServers, name, "mysqld of "+name+" does not answer yet", "start mysqld (through mysqlhad guard) on "+name)
		case !d.fresh(d.Seen[name].DaemonAt, d.settings.Fresh()):
			d.wait(CodeWaitingForServers, name, "the leader has not heard from the daemon beside "+name+" yet", "")
		case st.TermSeen > 0:
			d.wait(CodeServerNotEmpty, name, fmt.Sprintf("%s has seen term %d: this cluster had a record that is gone", name, st.TermSeen), "restore etcd; nothing is begun anew over data")
		case !st.Empty:
			d.wait(CodeServerNotEmpty, name, name+" holds data", "a new cluster begins on empty servers; adopt one that runs: mysqlha bootstrap --adopt --dry-run")
		case len(st.Findings) > 0:
			for _, f := range st.Findings {
				d.wait(f.Code, name, f.Detail, "mend the server's my.cnf and restart it")
			}
		default:
			continue
		}
		ready = false
	}
	for _, name := range d.Witnesses {
		if _, lives := d.Members[name]; !lives {
			d.wait(CodeWaitingForServers, name, "the witness "+name+" has not registered", "start mysqlhad on "+name)
			ready = false
		}
	}
	if d.noteDuplicateIDs() || !ready {
		return Decision{Reason: ReasonNoRecord, Detail: "not every server is ready for the first term"}
	}
	accounts := d.allAccounts()
	r := Record{ID: d.planID(PlanBootstrap), Servers: d.Configured, Accounts: accounts, Primary: first, RequiredAcks: d.settings.RequiredAcks, Durability: d.settings.Durability,
		Plan: &Plan{ID: d.planID(PlanBootstrap), Kind: PlanBootstrap, Reason: ReasonBootstrap, Leader: d.Self}}
	if r.Durability == "" {
		r.Durability = DurabilityLossless
	}
	r.Suspended = r.Durability == DurabilityAsync
	r.Plan.advance(PhaseAccounts, d.now)
	specs := map[string]Spec{first: {Goal: GoalInitialise, Plan: r.Plan.ID, Accounts: accounts}}
	for _, name := range without(d.Servers, first) {
		specs[name] = Spec{Goal: GoalStand, Plan: r.Plan.ID, Why: "the first primary is being prepared"}
	}
	return Decision{Reason: ReasonBootstrap, Detail: first + " becomes the first primary", Change: d.change(r, specs)}
}

func (d *decider) continueBootstrap() Decision {
	switch d.Record.Plan.Phase {
	case PhaseAccounts:
		return d.awaitAccounts()
	case PhaseAttach:
		return d.awaitAttached()
	default:
		return d.awaitOpen()
	}
}

func (d *decider) awaitAccounts() Decision {
	r := d.Record.clone()
	st, done := d.did(r.Primary, GoalInitialise, r.Plan.ID)
	if !done {
		d.wait(CodeWaitingForServers, r.Primary, "schema and accounts are being made on "+r.Primary, "")
		return Decision{Reason: ReasonPlanWaits, Detail: "accounts"}
	}
	r.Plan.Target = st.Held.Executed
	r.Plan.advance(PhaseAttach, d.now)
	specs := make(map[string]Spec)
	for _, name := range without(d.Servers, r.Primary) {
		specs[name] = Spec{Goal: GoalFollow, Plan: r.Plan.ID, Source: r.Primary, Target: r.Plan.Target}
	}
	return Decision{Reason: ReasonPlanContinues, Detail: "replicas attach", Change: d.change(r, specs)}
}

// awaitAttached publishes term 1 once all replicas have what the first primary
// has; the in-sync set is written before any of them is enabled (S3).
func (d *decider) awaitAttached() Decision {
	r := d.Record.clone()
	var in []string
	for _, name := range without(d.Servers, r.Primary) {
		if st, done := d.did(name, GoalFollow, r.Plan.ID); done && st.Held.All().Contains(r.Plan.Target) {
			in = append(in, name)
			r.Runs = setRun(r.Runs, name, st.Held.StartID)
		} else {
			d.wait(CodeCatchingUp, name, name+" attaches to "+r.Primary, "")
		}
	}
	if len(in) < len(d.Servers)-1 || len(in) < r.RequiredAcks && !r.Suspended {
		return Decision{Reason: ReasonPlanWaits, Detail: fmt.Sprintf("%d of %d replicas attached", len(in), len(d.Servers)-1)}
	}
	if r.Suspended {
		in, r.Runs = nil, nil // Nobody acknowledges in async.
	}
	r.Term, r.InSync, r.Complete, r.Published = 1, sorted(in), true, d.now
	r.Base = r.Plan.Target
	r.Plan.advance(PhaseOpen, d.now)
	return Decision{Reason: ReasonPlanContinues, Detail: "term 1: " + r.Primary, Change: d.change(r, d.standing(r))}
}
