package decide

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Server is one mysqld of the cluster and the daemon beside it, as others reach
// them.
type Server struct {
	// Name is the server's in the record, in messages and in metrics.
	Name string `json:"name"`
	// MySQL is the host:port of its mysqld, API that of its daemon.
	MySQL string `json:"mysql"`
	API   string `json:"api"`
	// TLSName is what the certificate of both must carry; empty for the host part
	// of the address.
	TLSName string `json:"tls_name,omitempty"`
	// Etcd is the member of the embedded etcd on its host, zero for none.
	Etcd EtcdMember `json:"etcd,omitzero"`
}

// EtcdMember is where a member of the embedded etcd is reached, as host:port.
type EtcdMember struct {
	Peer   string `json:"peer"`
	Client string `json:"client"`
}

// EtcdSeen is a member of the embedded etcd as etcd itself lists it.
type EtcdSeen struct {
	// Peer is where the others reach it, as host:port.
	Peer string
	// Learner has no vote yet; Started says that it has been there at all.
	Learner, Started bool
	// Healthy says that it answers.
	Healthy bool
}

// EtcdStep is what is done to a member of the embedded etcd.
type EtcdStep string

// The steps: a member enters as a learner and gets its vote once it has caught up.
const (
	EtcdAdd     EtcdStep = "add"
	EtcdPromote EtcdStep = "promote"
	EtcdRemove  EtcdStep = "remove"
)

// EtcdChange is a change of the members of the embedded etcd. It is not
// journaled: what is left to do is seen in etcd itself.
type EtcdChange struct {
	Step   EtcdStep
	Server string
	// Peer is where the member is reached, as host:port.
	Peer string
}

// ServerNames returns the names of servers in their order.
func ServerNames(servers []Server) []string {
	names := make([]string, len(servers))
	for i, s := range servers {
		names[i] = s.Name
	}
	return names
}

// ServersOf returns the servers a record names, or those of the configuration
// while it names none.
func ServersOf(r *Record, configured []Server) []Server {
	if r != nil && len(r.Servers) > 0 {
		return r.Servers
	}
	return configured
}

// FindServer returns the server of that name, and whether it is there.
func FindServer(servers []Server, name string) (Server, bool) {
	i := slices.IndexFunc(servers, func(s Server) bool { return s.Name == name })
	if i < 0 {
		return Server{}, false
	}
	return servers[i], true
}

func withoutServer(servers []Server, name string) []Server {
	return slices.DeleteFunc(slices.Clone(servers), func(s Server) bool { return s.Name == name })
}

func withoutAccount(accounts []Account, server string) []Account {
	return slices.DeleteFunc(slices.Clone(accounts), func(a Account) bool { return a.Server == server })
}

// CheckServers returns an error that says why the cluster of the record cannot
// have these servers instead of its own.
func (r Record) CheckServers(wanted []Server) error {
	owner := make(map[string]string)
	for _, s := range wanted {
		for _, key := range []string{s.Name, s.MySQL, s.API} {
			if first, taken := owner[key]; taken {
				return fmt.Errorf("%s and %s are both at %q", first, s.Name, key)
			}
			owner[key] = s.Name
		}
		if now, known := FindServer(r.Servers, s.Name); known && now != s {
			return fmt.Errorf("%s is at %s, not %s: to move a server, remove it and add it again", s.Name, now.MySQL, s.MySQL)
		}
	}
	var leave []string
	for _, s := range r.Servers {
		if _, stays := FindServer(wanted, s.Name); !stays {
			leave = append(leave, s.Name)
		}
	}
	stay := slices.DeleteFunc(slices.Clone(r.InSync), func(n string) bool { return slices.Contains(leave, n) })
	switch {
	case slices.Contains(leave, r.Primary):
		return fmt.Errorf("%s is the primary and cannot leave: let another be primary first, by stopping its mysqld through its gate, say", r.Primary)
	case r.Durability != DurabilityAsync && len(wanted) <= r.RequiredAcks:
		return fmt.Errorf("%d servers cannot give %d acknowledgements to a primary: lower required_acks first, or have another server join", len(wanted), r.RequiredAcks)
	case len(leave) > 0 && !r.Suspended && len(stay) < r.RequiredAcks:
		return fmt.Errorf("without %s %d replicas are in sync, and %d must acknowledge each write: bring the others in sync first", strings.Join(leave, ", "), len(stay), r.RequiredAcks)
	}
	return nil
}

// leaving tells whether a server shall leave the cluster.
func (d *decider) leaving(name string) bool {
	if d.Policy == nil || d.Policy.Servers == nil {
		return false
	}
	_, stays := FindServer(d.Policy.Servers, name)
	return !stays
}

// followServers opens the next plan that lets a server join the cluster or leave
// it, as the operator wants. Who joins comes first: the others may be needed
// until then.
func (d *decider) followServers() (Decision, bool) {
	r := d.Record
	switch {
	case len(r.Servers) == 0 && len(d.Configured) > 0:
		next := r.clone()
		next.Servers, next.ID = d.Configured, d.planID(PlanBootstrap)
		return Decision{Reason: ReasonPolicyChanged, Detail: "the servers of the configuration are those of the record from now on", Change: &Change{Record: &next}}, true
	case d.Policy == nil || d.Policy.Servers == nil || d.Statuses[r.Primary].OpenTerm != r.Term || d.moving("") != "":
		return Decision{}, false
	}
	for _, s := range d.Policy.Servers {
		if _, there := FindServer(r.Servers, s.Name); !there {
			if decision, act := d.join(s); act {
				return decision, true
			}
		}
	}
	for _, s := range r.Servers {
		if d.leaving(s.Name) {
			if decision, act := d.leave(s); act {
				return decision, true
			}
		}
	}
	return Decision{}, false
}

// join opens the plan that makes a new server's accounts and then records it.
func (d *decider) join(s Server) (Decision, bool) {
	r := d.Record
	m, lives := d.Members[s.Name]
	switch {
	case !lives || m.Account.ReplicationHash == "":
		d.wait(CodeWaitingForServers, s.Name, s.Name+" shall join, and the daemon beside it has not registered", "start mysqlhad on "+s.Name)
		return Decision{}, false
	case m.Cluster != "" && m.Cluster != r.ID:
		d.wait(CodeForeignCluster, s.Name, s.Name+" shall join, and its daemon's folder is that of another cluster's server", "empty mysqld's data directory and the daemon's data_dir on "+s.Name+", or mysqlha server remove "+s.Name)
		return Decision{}, false
	case !r.Suspended && d.countAcking(r.InSync) < r.RequiredAcks:
		d.wait(CodePolicyWaits, s.Name, s.Name+" shall join, and its accounts cannot be made while too few replicas acknowledge", "bring the other servers back")
		return Decision{}, false
	case d.pausing(PlanJoin):
		return Decision{}, false
	}
	next := r.clone()
	next.Plan = &Plan{ID: d.planID(PlanJoin), Kind: PlanJoin, Reason: ReasonPolicyChanged, Leader: d.Self, Server: s.Name,
		Joining: &s, Evidence: s.Name + " joins the cluster"}
	next.Accounts = append(withoutAccount(next.Accounts, s.Name), m.Account)
	next.Plan.advance(PhaseAccounts, d.now)
	return Decision{Reason: ReasonPolicyChanged, Detail: next.Plan.Evidence, Change: d.change(next, d.rosterSpecs(next))}, true
}

// leave takes a server out: first its member of etcd, then the server out of the
// in-sync set (S3), then its accounts.
func (d *decider) leave(s Server) (Decision, bool) {
	r := d.Record
	if s.Name == r.Primary {
		d.wait(CodePolicyWaits, s.Name, s.Name+" shall leave the cluster and is its primary", "make another server primary")
		return Decision{}, false
	}
	if s.Etcd.Peer != "" && (d.Etcd == nil || d.etcdSeen(s) != nil) {
		return Decision{}, false // See etcdChange.
	}
	for _, name := range d.Servers {
		if at := d.Specs[name]; at.Goal == GoalClone && at.Source == s.Name && !d.daemonGone(name) {
			d.wait(CodePolicyWaits, s.Name, fmt.Sprintf("%s shall leave the cluster, and %s is being cloned from it", s.Name, name), "")
			return Decision{}, false
		}
	}
	if slices.Contains(r.InSync, s.Name) {
		rest := without(r.InSync, s.Name)
		if d.countAcking(rest) < r.RequiredAcks {
			d.wait(CodePolicyWaits, s.Name, fmt.Sprintf("%s shall leave the cluster, and without it too few replicas acknowledge", s.Name), "bring the other servers in sync")
			return Decision{}, false
		}
		if d.now.Before(d.Spared[s.Name]) {
			return Decision{}, false
		}
		return d.openRemoval(s.Name, ReasonPolicyChanged, s.Name+" leaves the cluster"), true
	}
	if d.pausing(PlanLeave) || !r.Suspended && d.countAcking(r.InSync) < r.RequiredAcks {
		return Decision{}, false // Its accounts go by a commit.
	}
	next := r.clone()
	next.Accounts = withoutAccount(next.Accounts, s.Name)
	next.Plan = &Plan{ID: d.planID(PlanLeave), Kind: PlanLeave, Reason: ReasonPolicyChanged, Leader: d.Self, Server: s.Name, Evidence: s.Name + " leaves the cluster"}
	next.Plan.advance(PhaseAccounts, d.now)
	return Decision{Reason: ReasonPolicyChanged, Detail: next.Plan.Evidence, Change: d.change(next, d.rosterSpecs(next))}, true
}

// rosterSpecs are what stands while a server joins or leaves: the primary makes
// or drops its accounts.
func (d *decider) rosterSpecs(r Record) map[string]Spec {
	p := r.Plan
	specs := d.standing(r)
	primary := specs[r.Primary]
	primary.Plan = p.ID
	if p.Kind == PlanLeave {
		primary.Drop = p.Server
		primary.Attach = without(primary.Attach, p.Server)
		specs[p.Server] = Spec{Goal: GoalStand, Term: r.Term, Plan: p.ID, Why: "it leaves the cluster"}
	}
	specs[r.Primary] = primary
	return specs
}

// continueRoster waits for the accounts, then records who is there.
func (d *decider) continueRoster() Decision {
	if h := d.primaryHealth(); h.dead {
		return d.openFailover(h)
	}
	r := d.Record.clone()
	p := r.Plan
	var result, detail string
	switch _, done := d.did(r.Primary, GoalPrimary, p.ID); {
	case done && p.Kind == PlanJoin:
		r.Servers = append(slices.Clone(r.Servers), *p.Joining)
		result, detail = "completed", p.Server+" is a server of the cluster"
	case done:
		r.Servers = withoutServer(r.Servers, p.Server)
		result, detail = "completed", p.Server+" has left the cluster"
	case d.inPhase() > 2*d.settings.RemovalDelay:
		result, detail = "abandoned: the accounts were not changed", fmt.Sprintf("%s did not change the accounts of %s", r.Primary, p.Server)
		if p.Kind == PlanJoin {
			r.Accounts = withoutAccount(r.Accounts, p.Server)
		} else if m, lives := d.Members[p.Server]; lives {
			r.Accounts = append(withoutAccount(r.Accounts, p.Server), m.Account) // Some may be gone.
		}
	default:
		d.wait(CodeWaitingForAcks, r.Primary, fmt.Sprintf("the accounts of %s change on %s", p.Server, r.Primary), "")
		if specs := d.changed(d.rosterSpecs(r)); len(specs) > 0 {
			return Decision{Reason: ReasonSpecsAdjusted, Change: &Change{Specs: specs}}
		}
		return Decision{Reason: ReasonPlanWaits, Detail: p.Evidence}
	}
	left := p.Kind == PlanLeave && result == "completed"
	history := d.finish(&r, result)
	specs := d.standing(r)
	if left {
		specs[p.Server] = Spec{Goal: GoalStand, Term: r.Term, Why: "it has left the cluster"}
	}
	change := d.change(r, specs)
	change.History = history
	return Decision{Reason: ReasonPlanContinues, Detail: detail, Change: change}
}

// etcdSeen returns a server's member as etcd lists it, nil for none.
func (d *decider) etcdSeen(s Server) *EtcdSeen {
	for i := range d.Etcd {
		if d.Etcd[i].Peer == s.Etcd.Peer {
			return &d.Etcd[i]
		}
	}
	return nil
}

// etcdChange returns what to do next to the members of the embedded etcd, so that
// each server that brings one has one, and one that leaves has none; never a step
// after which too few members would be there to agree.
func (d *decider) etcdChange() *EtcdChange {
	if d.Etcd == nil || d.Record == nil {
		return nil
	}
	for _, m := range d.Etcd {
		owned := slices.ContainsFunc(d.Record.Servers, func(s Server) bool { return s.Etcd.Peer == m.Peer })
		if m.Learner && !owned { // Its server left while it was being added. It has no vote.
			return &EtcdChange{Step: EtcdRemove, Peer: m.Peer}
		}
	}
	for _, s := range d.Record.Servers {
		if s.Etcd.Peer == "" {
			continue
		}
		seen := d.etcdSeen(s)
		switch {
		case d.leaving(s.Name):
			if seen == nil || s.Name == d.Record.Primary {
				continue
			}
			if err := CheckEtcd(d.Etcd, s.Etcd); err != nil {
				d.wait(CodeEtcdMember, s.Name, fmt.Sprintf("%s shall leave the cluster: %s", s.Name, err), "bring the other members of etcd back")
				continue
			}
			d.wait(CodeEtcdMember, s.Name, "the etcd member of "+s.Name+" is removed", "")
			return &EtcdChange{Step: EtcdRemove, Server: s.Name, Peer: s.Etcd.Peer}
		case seen == nil:
			if _, lives := d.Members[s.Name]; !lives {
				continue
			}
			if slices.ContainsFunc(d.Etcd, func(m EtcdSeen) bool { return m.Learner || !m.Healthy }) {
				d.wait(CodeEtcdMember, s.Name, fmt.Sprintf("the etcd member of %s joins when all others are well and have a vote", s.Name), "bring the other members of etcd back, or remove a server that does not come back: mysqlha server remove")
				continue
			}
			d.wait(CodeEtcdMember, s.Name, "the etcd member of "+s.Name+" is added", "")
			return &EtcdChange{Step: EtcdAdd, Server: s.Name, Peer: s.Etcd.Peer}
		case seen.Learner && seen.Started:
			d.wait(CodeEtcdMember, s.Name, "the etcd member of "+s.Name+" gets its vote when it has caught up", "")
			return &EtcdChange{Step: EtcdPromote, Server: s.Name, Peer: s.Etcd.Peer}
		case seen.Learner:
			d.wait(CodeEtcdMember, s.Name, "the etcd member of "+s.Name+" has not started yet", "look at the daemon's log on "+s.Name)
		}
	}
	return nil
}

// CheckEtcd returns an error if the other members of etcd could not agree without
// the one that shall leave.
func CheckEtcd(members []EtcdSeen, leaver EtcdMember) error {
	voters, healthy := 0, 0
	for _, m := range members {
		if m.Peer == leaver.Peer && m.Learner {
			return nil
		}
		if m.Peer == leaver.Peer || m.Learner {
			continue
		}
		voters++
		if m.Healthy {
			healthy++
		}
	}
	switch need := voters/2 + 1; {
	case voters == 0:
		return errors.New("its member of etcd is the only one")
	case healthy < need:
		return fmt.Errorf("etcd would have %d members, of which %d answer and %d are needed", voters, healthy, need)
	}
	return nil
}

// sharesID returns a server that has the same server_id, empty for none. Their
// source would end one's session for the other's.
func (d *decider) sharesID(name string) string {
	id := d.Seen[name].Live.ServerID
	for _, other := range d.Servers {
		if id != 0 && other != name && d.Seen[other].Live.ServerID == id {
			return other
		}
	}
	return ""
}
