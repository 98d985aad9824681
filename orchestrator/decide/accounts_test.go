package decide

import (
	"slices"
	"testing"
)

// What a daemon has registered of its accounts is what the record and the primary's
// spec say then, one host at a time, and nothing else changes.
func TestTheRecordFollowsTheAccountsThatDaemonsRegister(t *testing.T) {
	c := healthy(t, "a", "b", "c")
	account := func(server, hash string, former bool) Account {
		return Account{Server: server, ReplicationHash: hash, ProbeHash: hash, Former: former}
	}
	for _, name := range c.Servers {
		c.Record.Accounts = append(c.Record.Accounts, account(name, "old", false))
		m := c.Members[name]
		m.Account = account(name, "old", false)
		c.Members[name] = m
	}
	c.specs((&decider{View: c.View, settings: c.s, now: c.now}).standing(*c.Record))
	for _, name := range c.Servers {
		c.status(name, func(s *Status) { s.SpecRevision = c.Specs[name].Revision })
	}
	if d := c.decide(); d.Change != nil {
		t.Fatalf("something changes although nothing has: %+v", d)
	}
	register := func(name string, a Account) {
		m := c.Members[name]
		m.Account = a
		c.Members[name] = m
	}
	register("b", account("b", "new", true))
	register("c", account("c", "new", true))
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
	register("b", account("b", "new", false))
	if d := c.decide(); d.Change == nil || d.Change.Record == nil || d.Change.Record.Accounts[1].Former || !d.Change.Record.Accounts[2].Former {
		t.Errorf("then: %+v", d)
	}
	// Nobody registers for another, and nothing is changed that could not be committed.
	register("b", account("a", "evil", false))
	if d := c.decide(); d.Change != nil && d.Change.Record != nil {
		t.Errorf("somebody registered the accounts of another: %+v", d.Change.Record.Accounts)
	}
	register("b", account("b", "new", false))
	for _, name := range []string{"b", "c"} {
		c.deaf[name] = true
		delete(c.Members, name)
		seen := c.Seen[name]
		seen.Live.Receiver, seen.Live.Acks = ReceiverConnecting, false
		c.Seen[name] = seen
	}
	register("b", account("b", "new", false))
	if d := c.decide(); d.Change != nil && d.Change.Record != nil && !slices.Equal(d.Change.Record.Accounts, c.Record.Accounts) {
		t.Errorf("accounts change while nobody acknowledges: %+v", d)
	}
}
