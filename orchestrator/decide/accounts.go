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
//
// One server at a time may connect anew for that, and no accounts change meanwhile: a
// statement about an account that waits for an acknowledgement holds the lock that every
// login needs, that of the server that is to acknowledge, too.
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
		if d.moving(a.Server) != "" || m.Account.Moving && !a.Moving && !d.accountsSettled() {
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
		case m.Account.Moving:
			what = "go over to their new passwords"
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

// moving names a server that goes over to its new passwords, other than this one. One
// whose daemon is gone is not waited for.
func (d *decider) moving(other string) string {
	for _, a := range d.Record.Accounts {
		if _, lives := d.Members[a.Server]; lives && a.Moving && a.Server != other {
			return a.Server
		}
	}
	return ""
}

// accountsSettled tells whether the primary has made the accounts as the record says, so
// that no statement about them is under way.
func (d *decider) accountsSettled() bool {
	_, done := d.did(d.Record.Primary, GoalPrimary, "")
	return done && slices.Equal(d.Specs[d.Record.Primary].Accounts, d.Record.Accounts)
}
