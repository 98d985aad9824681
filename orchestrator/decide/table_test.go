package decide

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mysqlha/mysqlha/replication/gtid"
)

var letter = regexp.MustCompile(`\b([a-f]):`)

// gs writes a GTID set with the letter of a server in place of its UUID:
// "a:1-5,b:1".
func gs(text string) gtid.Set {
	return gtid.MustParse(letter.ReplaceAllStringFunc(text, func(l string) string {
		c := l[:1]
		return strings.Join([]string{strings.Repeat(c, 8), strings.Repeat(c, 4), strings.Repeat(c, 4), strings.Repeat(c, 4), strings.Repeat(c, 12)}, "-") + ":"
	}))
}

// uuidOf returns the UUID that stands for a server's letter.
func uuidOf(server string) string {
	uuid, _, _ := strings.Cut(gs(server+":1").String(), ":")
	return uuid
}

func testSettings() Settings {
	return Settings{ProbeInterval: 200 * time.Millisecond, Detection: time.Second, RemovalDelay: 2 * time.Second, Lonely: 20 * time.Second,
		RequiredAcks: 1, BootstrapPrimary: "a", FenceDeadline: 5 * time.Second, Stall: 5 * time.Second, Silenced: 7 * time.Second}
}

// table is a view laid out by hand. What is not said is well: every server
// answers, and a follows nobody.
type table struct {
	t *testing.T
	View
	s   Settings
	now time.Time
	rev int64
	// deaf are the servers whose daemon and mysqld do not answer the leader.
	deaf map[string]bool
	// unwatched switches the invariants off, for views that break them.
	unwatched bool
}

// healthy lays out a cluster in term 1: the first server is the primary and
// has executed a:1-10, the others are in sync.
func healthy(t *testing.T, servers ...string) *table {
	t.Helper()
	c := &table{t: t, s: testSettings(), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), rev: 10, deaf: make(map[string]bool)}
	c.View = View{Self: servers[len(servers)-1], LeadingSince: c.now.Add(-time.Hour), Servers: servers, Revision: c.rev,
		Specs: make(map[string]SpecAt), Statuses: make(map[string]Status), Members: make(map[string]Member),
		Absent: make(map[string]time.Time), Seen: make(map[string]Observation)}
	p := servers[0]
	c.Record = &Record{Term: 1, Primary: p, RequiredAcks: 1, Durability: DurabilityLossless, Complete: true, Runs: make(map[string]string)}
	for _, name := range servers {
		c.Statuses[name] = Status{Process: ProcessRunning, StartID: name + "1", TermSeen: 1, State: SpecDone}
		c.Members[name] = Member{Server: name}
		live := Live{Server: name, Process: ProcessRunning, StartID: name + "1", Answers: true, Executed: gs("a:1-10")}
		if name != p {
			c.Record.InSync = append(c.Record.InSync, name)
			c.Record.Runs[name] = name + "1"
			live.ReadOnly, live.SuperReadOnly, live.Source = true, true, p
			live.Receiver, live.Applier, live.Acks = ReceiverOn, ReceiverOn, true
			live.Received = gs("a:1-10")
		} else {
			live.OpenTerm, live.CommitKnown = 1, true
		}
		c.Seen[name] = Observation{Live: live, DaemonAt: c.now.Add(-time.Second), RunSince: c.now.Add(-time.Hour), ReceivingAt: c.now}
	}
	st := c.Statuses[p]
	st.OpenTerm = 1
	c.Statuses[p] = st
	c.look()
	c.specs((&decider{View: c.View, settings: c.s, now: c.now}).standing(*c.Record))
	for _, name := range servers {
		c.status(name, func(s *Status) { s.SpecRevision = c.Specs[name].Revision })
	}
	return c
}

func (c *table) specs(specs map[string]Spec) {
	c.rev++
	for name, s := range specs {
		c.Specs[name] = SpecAt{Spec: s, Revision: c.rev}
	}
}

// look lets the leader probe all servers that are not deaf.
func (c *table) look() {
	for _, name := range c.Servers {
		if !c.deaf[name] {
			seen := c.Seen[name].Heard(c.Seen[name].Live, c.now, c.now)
			seen.SQLAt, seen.SQLFailures, seen.SQLFailure = c.now, 0, FailureNone
			c.Seen[name] = seen
		}
	}
}

func (c *table) live(name string, change func(*Live)) {
	seen := c.Seen[name]
	change(&seen.Live)
	c.Seen[name] = seen
}

func (c *table) status(name string, change func(*Status)) {
	st := c.Statuses[name]
	change(&st)
	c.Statuses[name] = st
}

// pass lets time go by, with the leader's probes going on.
func (c *table) pass(d time.Duration) *table {
	c.now = c.now.Add(d)
	c.look()
	return c
}

// dies ends the server's mysqld, as its daemon sees it.
func (c *table) dies(name string) *table {
	c.status(name, func(s *Status) { s.Process, s.OpenTerm = ProcessGone, 0 })
	seen := c.Seen[name]
	seen.Live.Answers, seen.SQLAt, seen.SQLFailures, seen.SQLFailure = false, c.now.Add(-2*time.Second), 3, FailureRefused
	c.Seen[name], c.deaf[name] = seen, true
	return c
}

// vanishes takes the whole host away, its lease included.
func (c *table) vanishes(name string) *table {
	delete(c.Members, name)
	c.Absent[name] = c.now
	c.deaf[name] = true
	seen := c.Seen[name]
	seen.SQLFailures, seen.SQLFailure = 5, FailureSilent
	c.Seen[name] = seen
	return c
}

// returns brings a server back in a new run of mysqld, closed, with that data.
func (c *table) returns(name, run string, executed gtid.Set) *table {
	delete(c.deaf, name)
	delete(c.Absent, name)
	c.Members[name] = Member{Server: name}
	c.Statuses[name] = Status{Process: ProcessRunning, StartID: run, TermSeen: c.Statuses[name].TermSeen, AcksOff: true}
	c.Seen[name] = Observation{Live: Live{Server: name, Process: ProcessRunning, StartID: run, Answers: true, ReadOnly: true, SuperReadOnly: true, Executed: executed, Receiver: ReceiverOff, Applier: ReceiverOff}}
	c.look()
	return c
}

// did has the server report its newest spec as carried out, holding that.
func (c *table) did(name string, executed, received gtid.Set) *table {
	c.status(name, func(s *Status) {
		s.SpecRevision, s.Plan, s.State = c.Specs[name].Revision, c.Specs[name].Plan, SpecDone
		s.Held = Held{Executed: executed, Received: received, StartID: s.StartID, Reported: gs("a:1-9")}
	})
	return c
}

// decide judges once and writes what comes of it.
func (c *table) decide() Decision {
	c.t.Helper()
	c.now = c.now.Add(time.Millisecond)
	c.look()
	d := Decide(c.View, c.s, c.now)
	if d.Change == nil {
		return d
	}
	if !c.unwatched {
		for _, fault := range faults(c.View, d.Change, c.s, c.now) {
			c.t.Errorf("%s: %s", d.Reason, fault)
		}
	}
	c.specs(d.Change.Specs)
	if d.Change.Record != nil {
		r := d.Change.Record.clone()
		c.Record, c.Revision = &r, c.rev
	}
	return d
}

// settle judges until there is nothing more to write in three looks, since
// some evidence needs a look before, and returns the last decision.
func (c *table) settle() Decision {
	c.t.Helper()
	quiet := 0
	for range 30 {
		d := c.decide()
		if quiet++; d.Change != nil {
			quiet = 0
		}
		if quiet == 3 {
			return d
		}
	}
	c.t.Fatal("the judgement writes something new for ever")
	return Decision{}
}

func (c *table) phase() Phase {
	if c.Record.Plan == nil {
		return ""
	}
	return c.Record.Plan.Phase
}

func waitsFor(d Decision, code Code) bool {
	return slices.ContainsFunc(d.Waits, func(w Wait) bool { return w.Code == code })
}

func (c *table) mustWait(d Decision, code Code) {
	c.t.Helper()
	if !waitsFor(d, code) {
		c.t.Errorf("%s (%s) is not waited for by name, only %v", code, d.Reason, d.Waits)
	}
}
