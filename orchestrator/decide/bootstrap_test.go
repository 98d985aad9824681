package decide

import (
	"slices"
	"testing"
	"time"
)

// beginning is a view of empty servers that are ready for the first term.
func beginning(now time.Time, servers, witnesses []string) View {
	v := View{Self: servers[0], Servers: servers, Witnesses: witnesses, Specs: map[string]SpecAt{}, Statuses: map[string]Status{},
		Members: map[string]Member{}, Absent: map[string]time.Time{}, Seen: map[string]Observation{}}
	for _, name := range servers {
		v.Statuses[name] = Status{Process: ProcessRunning, StartID: name + "1", Empty: true}
		v.Members[name] = Member{Server: name, Account: Account{Server: name}}
		v.Seen[name] = Observation{DaemonAt: now}
	}
	return v
}

func TestTheFirstTermWaitsForTheWitness(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	v := beginning(now, []string{"a", "b"}, []string{"w"})
	d := Decide(v, testSettings(), now)
	named := slices.ContainsFunc(d.Waits, func(w Wait) bool { return w.Code == CodeWaitingForServers && w.Server == "w" })
	if d.Change != nil || !named {
		t.Fatalf("began without the witness's account, or does not say what it waits for: %+v", d)
	}
	v.Members["w"] = Member{Server: "w", Account: Account{Server: "w", Witness: true}}
	d = Decide(v, testSettings(), now)
	if d.Change == nil {
		t.Fatalf("did not begin: %+v", d)
	}
	var made []string
	for _, a := range d.Change.Specs["a"].Accounts {
		made = append(made, a.Server)
	}
	if want := []string{"a", "b", "w"}; !slices.Equal(made, want) {
		t.Errorf("accounts for %v, want %v", made, want)
	}
}

func TestTooFewInSyncSaysWhatTheNextLossMeans(t *testing.T) {
	for name, c := range map[string]struct {
		servers, inSync []string
		durability      Durability
		want            string
	}{
		"two servers, lossless":                 {[]string{"a", "b"}, []string{"b"}, DurabilityLossless, "1 in sync, 1 must acknowledge: the loss of one more stops writes"},
		"two servers, available":                {[]string{"a", "b"}, []string{"b"}, DurabilityAvailable, ""},
		"three servers, available, one missing": {[]string{"a", "b", "c"}, []string{"b"}, DurabilityAvailable, "1 in sync, 1 must acknowledge: the loss of one more makes a acknowledge alone"},
		"three servers, all there":              {[]string{"a", "b", "c"}, []string{"b", "c"}, DurabilityLossless, ""},
	} {
		t.Run(name, func(t *testing.T) {
			v := healthy(t, c.servers...)
			v.Record.InSync, v.Record.Durability = c.inSync, c.durability
			got := ""
			for _, w := range Decide(v.View, v.s, v.now).Waits {
				if w.Code == CodeTooFewInSync {
					got = w.Detail
				}
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
