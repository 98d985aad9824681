package decide

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mysqlha/mysqlha/replication/gtid"
)

// # The adoption of a running cluster
//
// Servers that hold data and replicate begin no cluster by themselves: somebody asks
// for it. The primary goes on taking writes all the while. The record begins with
// term 1 of that primary, which acknowledges alone: so far nothing was promised, and
// nothing is taken from anybody. Its daemon makes schema and accounts beside the
// writes, then the replicas change from whatever account they had to their own, and
// when they have caught up the suspension ends as any other does: listed first,
// enabled, and proved by a commit (S2, S3). Until then there is no failover.
//
// What the servers did before is not known to be complete, so that nothing is ever
// rewound against the first term (S6).

// BootstrapRequest asks for the beginning of a cluster. It is made once; what comes of
// it the record and its history say.
type BootstrapRequest struct {
	// ID is the request's own.
	ID string `json:"id"`
	// Primary is the first primary of empty servers, empty for the configured one. Of
	// servers that run already it is the one that takes writes, and may be empty.
	Primary string `json:"primary,omitempty"`
	// Adopt says that the servers hold data, and that one of them takes writes.
	Adopt bool `json:"adopt,omitempty"`
	// By is who asks, in words, At when.
	By string    `json:"by,omitempty"`
	At time.Time `json:"at,omitzero"`
}

// Beginning is how a cluster without a record would begin.
type Beginning struct {
	// Adopt says that servers hold data, so that only an adoption can begin it.
	Adopt bool `json:"adopt"`
	// Primary is the server that becomes, or is, the first primary; empty while that
	// is not known.
	Primary string `json:"primary,omitempty"`
	// Changes are what would be done, in words, in their order.
	Changes []string `json:"changes,omitempty"`
	// Problems are what is in the way.
	Problems []Wait `json:"problems,omitempty"`
}

// beginning says how the cluster would begin.
func (d *decider) beginning() *Beginning {
	if d.Record != nil {
		return nil
	}
	b := &Beginning{Primary: d.firstPrimary(), Adopt: d.holdsData()}
	if !b.Adopt {
		b.Problems = slices.Clone(d.waits)
		if b.Primary == "" {
			return b
		}
		b.Changes = []string{
			fmt.Sprintf("%s: the schema mysqlha and the accounts of %s are made", b.Primary, strings.Join(d.Servers, ", ")),
			fmt.Sprintf("%s: replicate from it, in sync", strings.Join(without(d.Servers, b.Primary), ", ")),
			fmt.Sprintf("%s: takes writes in term 1", b.Primary),
		}
		return b
	}
	a := d.lookAtRunning()
	b.Primary, b.Problems, b.Changes = a.primary, a.problems, a.changes
	return b
}

// holdsData tells whether a server is known to hold data.
func (d *decider) holdsData() bool {
	return slices.ContainsFunc(d.Servers, func(name string) bool {
		st := d.Statuses[name]
		return st.Process == ProcessRunning && st.StartID != "" && !st.Empty
	})
}

// firstPrimary is the first primary of empty servers, as asked for or configured.
func (d *decider) firstPrimary() string {
	if req := d.bootstrapRequest(); req != nil && req.Primary != "" {
		return req.Primary
	}
	return d.settings.BootstrapPrimary
}

func (d *decider) bootstrapRequest() *BootstrapRequest {
	if d.Policy == nil {
		return nil
	}
	return d.Policy.Bootstrap
}

// adoption is one look at servers that shall be adopted.
type adoption struct {
	d        *decider
	primary  string
	problems []Wait
	changes  []string
}

// lookAtRunning looks at them, once a judgement.
func (d *decider) lookAtRunning() *adoption {
	if d.running == nil {
		d.running = &adoption{d: d}
		d.running.primary = d.running.look()
	}
	return d.running
}

func (a *adoption) problem(code Code, server, detail, remedy string) {
	a.problems = append(a.problems, Wait{Code: code, Server: server, Detail: detail, Remedy: remedy})
}

// look finds the primary and what is in the way, and says what would be done.
func (a *adoption) look() (primary string) {
	d := a.d
	if !a.known() {
		return ""
	}
	primary = a.writer()
	if primary == "" {
		return ""
	}
	if d.Seen[primary].Live.Waits {
		a.problem(CodeSemiSyncOn, primary, primary+" waits for replicas already: its commits would hang while accounts are made",
			"SET GLOBAL rpl_semi_sync_source_enabled = OFF on "+primary+"; the adoption switches its own on")
	}
	a.changes = append(a.changes, fmt.Sprintf("%s: the schema mysqlha and the accounts of %s are made; it goes on taking writes", primary, strings.Join(d.Servers, ", ")))
	for _, name := range without(d.Servers, primary) {
		a.replica(name, primary)
	}
	if acks := d.settings.RequiredAcks; len(d.Servers)-1 < acks && d.settings.Durability != DurabilityAsync {
		a.problem(CodeTooFewInSync, "", fmt.Sprintf("%d acknowledgements are required, and there are %d replicas", acks, len(d.Servers)-1), "add servers, or set required_acks in the configuration")
	}
	if d.settings.Durability != DurabilityAsync {
		a.changes = append(a.changes, fmt.Sprintf("%s: its commits wait for %d of the replicas as soon as these have caught up; from then on a failover is possible", primary, d.settings.RequiredAcks))
	}
	return primary
}

// known tells whether every server can be judged; where not, it says of whom.
func (a *adoption) known() bool {
	d, before := a.d, len(a.problems)
	for _, name := range d.Servers {
		st := d.Statuses[name]
		_, lives := d.Members[name]
		switch {
		case !lives:
			a.problem(CodeWaitingForServers, name, "the daemon beside "+name+" has not registered", "start mysqlhad on "+name)
		case st.Process != ProcessRunning || st.StartID == "":
			a.problem(CodeWaitingForServers, name, "the daemon beside "+name+" does not know its mysqld", "on "+name+": mysqlhad adopt, then mysqlhad guard --attach")
		case !d.fresh(d.Seen[name].DaemonAt, d.settings.Fresh()) || !d.Seen[name].Live.Answers:
			a.problem(CodeWaitingForServers, name, "the leader has not heard from the daemon beside "+name+" yet", "")
		case d.Seen[name].SQLFailure != FailureNone && d.Seen[name].SQLFailure != FailureBroken:
			a.problem(CodeMysqldUnreachable, name, fmt.Sprintf("the leader cannot reach mysqld of %s over the network (%s)", name, d.Seen[name].SQLFailure), "look at its address in the configuration, its bind_address and the firewall")
		case st.TermSeen > 0:
			a.problem(CodeServerNotEmpty, name, fmt.Sprintf("%s has seen term %d: this cluster had a record that is gone", name, st.TermSeen), "restore etcd; nothing is begun anew over data")
		}
		for _, f := range st.Findings {
			a.problem(f.Code, name, f.Detail, "mysqlhad adopt on "+name+" says what can be set right while it runs")
		}
		if other := d.sharesID(name); other != "" && other < name {
			a.problem(CodeDuplicateServerID, name, fmt.Sprintf("%s and %s have the same server_id", other, name), "give each one of its own")
		}
	}
	return len(a.problems) == before
}

// writer returns the one server that takes writes.
func (a *adoption) writer() string {
	d := a.d
	var open []string
	for _, name := range d.Servers {
		if live := d.Seen[name].Live; !live.ReadOnly {
			open = append(open, name)
		}
	}
	asked := ""
	if req := d.bootstrapRequest(); req != nil {
		asked = req.Primary
	}
	switch {
	case len(open) == 0:
		a.problem(CodeAdoptionWaits, "", "no server takes writes, so that it is not known which one is the primary", "SET GLOBAL read_only = OFF on it")
		return ""
	case len(open) > 1:
		a.problem(CodeAdoptionWaits, "", fmt.Sprintf("%s all take writes: an open replica would be killed and not asked", strings.Join(open, " and ")),
			"SET GLOBAL super_read_only = ON on every replica")
		return ""
	case asked != "" && asked != open[0]:
		a.problem(CodeAdoptionWaits, asked, fmt.Sprintf("%s was named, and %s takes writes", asked, open[0]), "name "+open[0]+", and switch over afterwards")
		return ""
	case d.Seen[open[0]].Live.SourceUUID != "" || d.Seen[open[0]].Live.Source != "":
		a.problem(CodeForeignReplication, open[0], open[0]+" takes writes and is itself a replica", "STOP REPLICA; RESET REPLICA ALL on it, if it has all that its source has")
		return ""
	}
	return open[0]
}

// replica judges one of the others.
func (a *adoption) replica(name, primary string) {
	d := a.d
	live := d.Seen[name].Live
	where := d.serverOfUUID(live.SourceUUID)
	switch {
	case live.SourceUUID == "" && live.Source == "":
		a.problem(CodeAdoptionWaits, name, name+" replicates from nobody", "have it replicate from "+primary+" with SOURCE_AUTO_POSITION = 1, or leave it out and let it join later: mysqlha server add")
		return
	case where == "" && live.Source == "":
		a.problem(CodeForeignReplication, name, name+" replicates from a server that is none of the cluster", "have it replicate from "+primary)
		return
	case live.Receiver != ReceiverOn || live.Applier != ReceiverOn:
		a.problem(CodeReplicationBroken, name, fmt.Sprintf("replication of %s does not run: receiver %s %s, applier %s %s", name, live.Receiver, live.ReceiverError, live.Applier, live.ApplierError), "mend it first")
		return
	}
	switch errant, known := d.overtakes(name, primary); {
	case !known:
		a.problem(CodeWaitingForServers, name, name+" has not been seen for long enough to compare it with "+primary, "wait a moment")
	case !errant.IsEmpty():
		a.problem(CodeErrant, name, fmt.Sprintf("%s has transactions that %s does not have: %s", name, primary, errant),
			"look at them with mysqlbinlog; empty ones of the same names on "+primary+" call them harmless, or build "+name+" anew")
	}
	from := ""
	if where != primary && live.Source != primary {
		from = " instead of from " + cmp.Or(where, live.Source)
	}
	a.changes = append(a.changes, fmt.Sprintf("%s: replicates from %s%s as mysqlha_r_%s over TLS, super_read_only; its receiver is restarted", name, primary, from, name))
}

// serverOfUUID names the server with that server_uuid, empty for none.
func (d *decider) serverOfUUID(uuid string) string {
	for _, name := range d.Servers {
		if uuid != "" && d.Statuses[name].ServerUUID == uuid {
			return name
		}
	}
	return ""
}

// overtakes returns what a replica had executed and its source, asked later, had not.
func (d *decider) overtakes(name, source string) (gtid.Set, bool) {
	replica, primary := d.Seen[name], d.Seen[source]
	if replica.BeforeAt.IsZero() || !replica.BeforeAt.Before(primary.DaemonAt.Add(-primary.Live.Age)) {
		return gtid.Set{}, false
	}
	return replica.ExecutedBefore.Subtract(primary.Live.Executed), true
}

// adopt begins the adoption that somebody has asked for, once nothing is in the way.
func (d *decider) adopt(req BootstrapRequest) Decision {
	a := d.lookAtRunning()
	primary := a.primary
	if len(a.problems) > 0 {
		d.waits = append(d.waits, a.problems...)
		return Decision{Reason: ReasonNoRecord, Detail: "the running cluster cannot be adopted yet"}
	}
	id := d.planID(PlanAdopt)
	r := Record{ID: id, Servers: d.Configured, Accounts: d.allAccounts(), Primary: primary, Term: 1, RequiredAcks: d.settings.RequiredAcks, Durability: d.settings.Durability,
		Suspended: true, CompleteSince: 1, Published: d.now, Base: d.Seen[primary].Live.Executed,
		Plan: &Plan{ID: id, Kind: PlanAdopt, Reason: ReasonRequested, Leader: d.Self, Request: req.ID,
			Evidence: fmt.Sprintf("%s takes writes, and %s replicate from it", primary, strings.Join(without(d.Servers, primary), ", "))}}
	if r.Durability == "" {
		r.Durability = DurabilityLossless
	}
	r.Plan.advance(PhaseAccounts, d.now)
	return Decision{Reason: ReasonRequested, Detail: r.Plan.Evidence, Change: d.change(r, d.adoptionSpecs(r))}
}

// allAccounts are those of all servers and witnesses that have registered.
func (d *decider) allAccounts() (accounts []Account) {
	for _, name := range append(slices.Clone(d.Servers), d.Witnesses...) {
		if m, lives := d.Members[name]; lives {
			accounts = append(accounts, m.Account)
		}
	}
	return accounts
}

// adoptionSpecs have the primary make the accounts. The replicas go on as they are.
func (d *decider) adoptionSpecs(r Record) map[string]Spec {
	return map[string]Spec{r.Primary: {Goal: GoalPrimary, Term: r.Term, Plan: r.Plan.ID, Adopt: true, RequiredAcks: r.RequiredAcks, Suspended: true, Accounts: r.Accounts}}
}

// continueAdoption waits for the accounts, then has the replicas use theirs.
func (d *decider) continueAdoption() Decision {
	r := d.Record.clone()
	if _, done := d.did(r.Primary, GoalPrimary, r.Plan.ID); !done {
		if h := d.primaryHealth(); h.dead {
			d.wait(CodeSuspendedAndDead, r.Primary, fmt.Sprintf("%s died while it was adopted (%s): nobody knows yet what its replicas lack", r.Primary, h.detail), "start it again through mysqlhad guard")
		}
		d.wait(CodeWaitingForServers, r.Primary, "schema and accounts are being made on "+r.Primary, "")
		if specs := d.changed(d.adoptionSpecs(r)); len(specs) > 0 {
			return Decision{Reason: ReasonSpecsAdjusted, Change: &Change{Specs: specs}}
		}
		return Decision{Reason: ReasonPlanWaits, Detail: "accounts"}
	}
	history := d.finish(&r, "completed")
	specs := d.standing(r)
	for _, name := range without(d.Servers, r.Primary) {
		// They replicate already: what they have more than an older look at the primary
		// is no reason to stop them.
		if errant, known := d.overtakes(name, r.Primary); known && errant.IsEmpty() && d.Specs[name].Goal == "" && d.closed(name) {
			specs[name] = Spec{Goal: GoalFollow, Term: r.Term, Source: r.Primary}
		}
	}
	change := d.change(r, specs)
	change.History = history
	return Decision{Reason: ReasonPlanContinues, Detail: r.Primary + " is primary in term 1; its replicas change to their own accounts", Change: change}
}
