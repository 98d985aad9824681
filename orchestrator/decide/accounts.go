package decide

import (
	"fmt"
	"slices"
	"time"
)

// RotationRequest asks for new passwords of all accounts with which daemons and
// servers reach others.
type RotationRequest struct {
	// ID names the request; each daemon carries it out once.
	ID string `json:"id"`
	// By is who asks, in words, At when.
	By string    `json:"by,omitempty"`
	At time.Time `json:"at,omitzero"`
}

// followAccounts has the record take what a daemon has registered of its accounts,
// one at a time, so that the primary gives them those passwords. The former ones stay
// good for as long as the daemon says: it uses them until the new ones are everywhere.
func (d *decider) followAccounts() (Decision, bool) {
	r := d.Record
	if d.Statuses[r.Primary].OpenTerm != r.Term {
		return Decision{}, false
	}
	for i, a := range r.Accounts {
		m, lives := d.Members[a.Server]
		if !lives || m.Account == a || m.Account.Server != a.Server || m.Account.ProbeHash == "" || m.Cluster != "" && m.Cluster != r.ID || d.leaving(a.Server) {
			continue
		}
		if !r.Suspended && r.Durability != DurabilityAsync && d.countAcking(r.InSync) < r.RequiredAcks {
			d.wait(CodePolicyWaits, a.Server, fmt.Sprintf("the accounts of %s shall be changed, and cannot be while too few replicas acknowledge", a.Server), "bring the other servers back")
			return Decision{}, false
		}
		next := r.clone()
		next.Accounts = slices.Clone(r.Accounts)
		next.Accounts[i] = m.Account
		what := "have one password each"
		switch {
		case m.Account.Former:
			what = "get other passwords"
		case m.Account.Certified && !a.Certified:
			what = "ask for a certificate besides"
		case a.Certified && !m.Account.Certified:
			what = "ask for no certificate: that of its mysqld cannot be shown to others"
		}
		detail := fmt.Sprintf("the accounts of %s %s", a.Server, what)
		return Decision{Reason: ReasonPolicyChanged, Detail: detail, Change: d.change(next, d.standing(next))}, true
	}
	return Decision{}, false
}
