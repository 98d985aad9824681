package decide

import (
	"cmp"
	"fmt"
	"slices"
)

// Preference says whether a server shall be primary.
type Preference string

// The preferences.
const (
	PreferenceNormal Preference = "normal"
	// PreferencePrefer is taken before others that are as good.
	PreferencePrefer Preference = "prefer"
	// PreferenceNever is never made primary, and acknowledges only where too few
	// others do: what it alone had could be in no other new primary.
	PreferenceNever Preference = "never"
)

// Preferences returns all of them.
func Preferences() []Preference {
	return []Preference{PreferenceNormal, PreferencePrefer, PreferenceNever}
}

// CandidateRule is what the operator wants of one server as a candidate.
type CandidateRule struct {
	// Preference is empty for PreferenceNormal.
	Preference Preference `json:"preference,omitempty"`
	// Priority decides among servers of the same preference: the highest first.
	Priority int `json:"priority,omitempty"`
	// Zone is where the server stands; servers in that of the old primary come
	// before others. Empty is unknown.
	Zone string `json:"zone,omitempty"`
}

func (d *decider) rule(server string) CandidateRule {
	if d.Policy == nil {
		return CandidateRule{}
	}
	return d.Policy.Candidates[server]
}

// barred says why a server must not be primary, empty for nothing.
func (d *decider) barred(server string) string {
	if d.rule(server).Preference == PreferenceNever {
		return fmt.Sprintf("%s shall never be primary", server)
	}
	if delay := d.Seen[server].Live.Delay; delay > 0 {
		return fmt.Sprintf("%s applies everything %s late on purpose (SOURCE_DELAY)", server, delay)
	}
	return ""
}

// contender is a server that could be chosen, as compared with others.
type contender struct {
	name    string
	reached bool
	// left is what it has to apply, in transactions.
	left uint64
}

// prefers orders candidates, the best first: whoever can be reached; whoever is not
// much behind the one with the least to apply; then as the operator wants it.
func (d *decider) prefers(from, asked string, all []contender) []contender {
	least := uint64(0)
	for i, c := range all {
		if i == 0 || c.left < least {
			least = c.left
		}
	}
	rank := func(c contender) []int {
		rule := d.rule(c.name)
		zone := d.rule(from).Zone
		return []int{yes(!c.reached), yes(c.left > least+closeBehind), yes(c.name != asked), yes(rule.Preference != PreferencePrefer), -rule.Priority,
			yes(zone == "" || rule.Zone != zone)}
	}
	slices.SortStableFunc(all, func(a, b contender) int {
		return cmp.Or(slices.Compare(rank(a), rank(b)), cmp.Compare(a.left, b.left))
	})
	return all
}

func yes(b bool) int {
	if b {
		return 1
	}
	return 0
}

// spare tells whether a server that must not be primary is not needed for
// acknowledgements, because enough others give them.
func (d *decider) spare(server string) bool {
	if d.barred(server) == "" {
		return false
	}
	others := slices.DeleteFunc(without(d.Record.InSync, server), func(n string) bool { return d.barred(n) != "" })
	return d.countAcking(others) >= d.Record.RequiredAcks
}

// spareLeaver returns a server of the in-sync set that acknowledged only while too
// few others did, once those have done so again for the removal delay.
func (d *decider) spareLeaver() (string, string) {
	for _, name := range d.Record.InSync {
		steady := 0
		for _, other := range without(d.Record.InSync, name) {
			since := d.Seen[other].AckingSince
			if d.barred(other) == "" && d.acking(other) && !since.IsZero() && d.now.Sub(since) > d.settings.RemovalDelay {
				steady++
			}
		}
		if why := d.barred(name); why != "" && steady >= d.Record.RequiredAcks && !d.now.Before(d.Spared[name]) {
			return name, why + ", and enough others acknowledge"
		}
	}
	return "", ""
}

// noteBarred names a primary that must not be one.
func (d *decider) noteBarred() {
	r := d.Record
	if d.rule(r.Primary).Preference == PreferenceNever && r.Term > 0 && r.Plan == nil {
		d.wait(CodeUnwantedPrimary, r.Primary, r.Primary+" is the primary and shall never be", "mysqlha switchover")
	}
}

// inReserve counts the servers that could acknowledge and need not, because they
// shall not be primary.
func (d *decider) inReserve() int {
	n := 0
	for _, name := range d.Servers {
		if !slices.Contains(d.Record.InSync, name) && d.spare(name) && d.admissible(name) {
			n++
		}
	}
	return n
}
