package decide

import (
	"slices"
	"testing"
)

// account is a host's.
func account(server, hash string, former bool) Account {
	return Account{Server: server, ReplicationHash: hash, ProbeHash: hash, Former: former}
}

// withAccounts is a healthy cluster in which each of a, b and c has its accounts.
func withAccounts(t *testing.T) *table {
	c := healthy(t, "a", "b", "c")
	for _, name := range c.Servers {
		c.Record.Accounts = append(c.Record.Accounts, account(name, "old", false))
		c.register(name, account(name, "old", false))
	}
	return c.standing()
}

// standing has every server do what the record asks.
func (c *table) standing() *table {
	c.specs((&decider{View: c.View, settings: c.s, now: c.now}).standing(*c.Record))
	for _, name := range c.Servers {
		c.says(name)
	}
	return c
}

// register has a host register its accounts.
func (c *table) register(name string, a Account) {
	m := c.Members[name]
	m.Account = a
	c.Members[name] = m
}

// What a daemon has registered of its accounts is what the record and the primary's
// spec say then, one host at a time, and nothing else changes.
func TestTheRecordFollowsTheAccountsThatDaemonsRegister(t *testing.T) {
	c := withAccounts(t)
	if d := c.decide(); d.Change != nil {
		t.Fatalf("something changes although nothing has: %+v", d)
	}
	c.register("b", account("b", "new", true))
	c.register("c", account("c", "new", true))
	d := c.decide()
	if d.Change == nil || d.Change.Record == nil || d.Change.Record.Plan != nil {
		t.Fatalf("the record does not follow: %+v", d)
	}
	want := []Account{account("a", "old", false), account("b", "new", true), account("c", "old", false)}
	if got := d.Change.Record.Accounts; !slices.Equal(got, want) {
		t.Errorf("the record says %+v", got)
	}
	if spec, ok := d.Change.Specs["a"]; !ok || len(d.Change.Specs) != 1 || spec.Goal != GoalPrimary || !slices.Equal(spec.Accounts, want) {
		t.Errorf("the specs are %+v", d.Change.Specs)
	}
	// The former passwords end when their daemon says so, and not before.
	c.Record.Accounts = slices.Clone(want)
	c.Record.Accounts[2] = account("c", "new", true)
	c.register("b", account("b", "new", false))
	if d := c.decide(); d.Change == nil || d.Change.Record == nil || d.Change.Record.Accounts[1].Former || !d.Change.Record.Accounts[2].Former {
		t.Errorf("then: %+v", d)
	}
	// Nobody registers for another, and nothing is changed that could not be committed.
	c.register("b", account("a", "evil", false))
	if d := c.decide(); d.Change != nil && d.Change.Record != nil {
		t.Errorf("somebody registered the accounts of another: %+v", d.Change.Record.Accounts)
	}
	c.register("b", account("b", "new", false))
	for _, name := range []string{"b", "c"} {
		c.deaf[name] = true
		delete(c.Members, name)
		seen := c.Seen[name]
		seen.Live.Receiver, seen.Live.Acks = ReceiverConnecting, false
		c.Seen[name] = seen
	}
	c.register("b", account("b", "new", false))
	if d := c.decide(); d.Change != nil && d.Change.Record != nil && !slices.Equal(d.Change.Record.Accounts, c.Record.Accounts) {
		t.Errorf("accounts change while nobody acknowledges: %+v", d)
	}
}

// A host goes over to new passwords, for which its receiver connects anew, when the
// leader lets it: one at a time, with no statement about an account under way, and none
// begins before it is done. A host that is gone is not waited for.
func TestNoAccountsChangeWhileAServerGoesOverToNewPasswords(t *testing.T) {
	moving := account("b", "new", true)
	moving.Moving = true
	let := func(c *table) bool {
		d := c.decide()
		return d.Change != nil && d.Change.Record != nil && slices.Contains(d.Change.Record.Accounts, moving)
	}
	setUp := func(t *testing.T) *table {
		c := withAccounts(t)
		c.Record.Accounts[1] = account("b", "new", true)
		c.standing()
		c.register("b", moving)
		return c
	}
	c := setUp(t)
	if !let(c) {
		t.Fatalf("it is not let: %+v", c.decide())
	}
	c = setUp(t)
	c.Specs["a"] = SpecAt{Spec: c.Specs["a"].Spec, Revision: c.Specs["a"].Revision + 1}
	if let(c) {
		t.Error("it is let while the primary has not done what it was told of the accounts")
	}
	c = setUp(t)
	stale := c.Specs["a"]
	stale.Accounts = slices.Clone(stale.Accounts)
	stale.Accounts[1].ReplicationHash = "older"
	c.Specs["a"] = stale
	if let(c) {
		t.Error("it is let before the primary was told of the accounts")
	}

	going := func(t *testing.T) *table {
		c := setUp(t)
		c.Record.Accounts[1] = moving
		c.standing()
		c.register("c", account("c", "new", true))
		return c
	}
	c = going(t)
	if d := c.decide(); d.Change != nil {
		t.Errorf("other accounts change meanwhile: %+v", d.Change)
	}
	c.Record.Servers, c.Policy = named("a", "b", "c"), &Policy{Servers: named("a", "b", "c", "d")}
	c.registers("d")
	if d := c.decide(); d.Change != nil {
		t.Errorf("a server joins meanwhile: %+v", d.Change)
	}
	c = going(t)
	c.register("b", account("b", "new", false))
	if d := c.decide(); d.Change == nil || d.Change.Record == nil || d.Change.Record.Accounts[1] != account("b", "new", false) || d.Change.Record.Accounts[2].Former {
		t.Errorf("its former passwords stay when it has gone over: %+v", d)
	}
	c = going(t)
	delete(c.Members, "b")
	if d := c.decide(); d.Change == nil || d.Change.Record == nil || !d.Change.Record.Accounts[2].Former {
		t.Errorf("a host that is gone is waited for: %+v", d)
	}
}
