package decide

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// named returns servers of those names, each at its own addresses.
func named(names ...string) []Server {
	var all []Server
	for _, n := range names {
		all = append(all, Server{Name: n, MySQL: n + ":3306", API: n + ":8008"})
	}
	return all
}

// wants has the operator want those servers, and a, b and c be those of the record.
func wants(t *testing.T, names ...string) *table {
	c := healthy(t, "a", "b", "c")
	c.Record.Servers = named("a", "b", "c")
	c.Policy = &Policy{Servers: named(names...)}
	return c
}

// registers has a server's daemon register that is not of the cluster.
func (c *table) registers(name string) *table {
	c.Members[name] = Member{Server: name, Account: Account{Server: name, ReplicationHash: "r", ProbeHash: "p"}}
	return c
}

// says has the primary report its newest spec as carried out.
func (c *table) says(name string) *table {
	c.status(name, func(s *Status) {
		s.SpecRevision, s.Plan, s.State = c.Specs[name].Revision, c.Specs[name].Plan, SpecDone
	})
	return c
}

func TestTheConfiguredServersAreRecordedOnce(t *testing.T) {
	c := healthy(t, "a", "b", "c")
	c.Configured = named("a", "b", "c")
	if c.settle(); !slices.Equal(c.Record.Servers, c.Configured) {
		t.Fatalf("the record has %v", c.Record.Servers)
	}
	c.Configured = named("a", "b")
	if d := c.settle(); d.Change != nil || len(c.Record.Servers) != 3 {
		t.Errorf("another leader's configuration changed the record: %v", c.Record.Servers)
	}
}

func TestS3_AServerJoinsOnceItsAccountsAreMade(t *testing.T) {
	c := wants(t, "a", "b", "c", "d")
	c.mustWait(c.settle(), CodeWaitingForServers)
	if c.Record.Plan != nil {
		t.Fatalf("a plan is open for a server whose daemon nobody knows: %+v", c.Record.Plan)
	}
	c.registers("d").settle()
	spec := c.Specs["a"]
	if c.Record.Plan == nil || c.Record.Plan.Kind != PlanJoin || len(spec.Accounts) != 1 || spec.Accounts[0].Server != "d" || len(c.Record.Accounts) != 1 || slices.Contains(spec.Attach, "d") {
		t.Fatalf("the plan %+v, the primary's spec %+v", c.Record.Plan, spec)
	}
	if len(c.Record.Servers) != 3 {
		t.Fatal("it is recorded before its accounts are made")
	}
	c.says("a").settle()
	if c.Record.Plan != nil || !slices.Equal(ServerNames(c.Record.Servers), []string{"a", "b", "c", "d"}) || slices.Contains(c.Record.InSync, "d") {
		t.Errorf("the plan %+v, the servers %v, in sync %v", c.Record.Plan, ServerNames(c.Record.Servers), c.Record.InSync)
	}
	if len(c.Specs["a"].Accounts) != 1 {
		t.Error("the primary does not keep the accounts")
	}
}

func TestNoAccountsAreMadeWhileTooFewAcknowledge(t *testing.T) {
	c := wants(t, "a", "b", "c", "d").registers("d")
	for _, name := range []string{"b", "c"} {
		c.live(name, func(l *Live) { l.Acks = false })
	}
	d := c.settle()
	if c.Record.Plan != nil {
		t.Errorf("a CREATE USER may hang: %+v", c.Record.Plan)
	}
	c.mustWait(d, CodePolicyWaits)
}

func TestAChangeOfTheServersThatComesToNothingIsGivenUp(t *testing.T) {
	c := wants(t, "a", "b", "c", "d").registers("d")
	c.settle()
	c.pass(5 * time.Second)
	d := c.decide()
	if d.Change == nil || d.Change.History == nil || !strings.HasPrefix(d.Change.History.Result, "abandoned") || len(c.Record.Servers) != 3 {
		t.Errorf("after 5 s: %+v", d)
	}
}

func TestS3_AServerLeavesTheInSyncSetFirstAndTheClusterThen(t *testing.T) {
	c := wants(t, "a", "b")
	c.settle()
	if p := c.Record.Plan; p == nil || p.Kind != PlanRemove || p.Server != "c" || c.Specs["a"].Eject != "c" {
		t.Fatalf("the plan %+v", p)
	}
	c.says("a").settle()
	if p := c.Record.Plan; p == nil || p.Kind != PlanLeave || c.Specs["a"].Drop != "c" || c.Specs["c"].Goal != GoalStand || len(c.Record.Servers) != 3 {
		t.Fatalf("the plan %+v, the primary drops %q", p, c.Specs["a"].Drop)
	}
	c.says("a").settle()
	if !slices.Equal(ServerNames(c.Record.Servers), []string{"a", "b"}) || c.Record.Plan != nil || c.Specs["c"].Goal != GoalStand || c.Specs["a"].Drop != "" {
		t.Errorf("the servers %v, the plan %+v, c is asked to %s", ServerNames(c.Record.Servers), c.Record.Plan, c.Specs["c"].Goal)
	}
}

func TestADeadServerLeavesAsWell(t *testing.T) {
	c := wants(t, "a", "b").vanishes("c")
	for range 4 {
		c.pass(time.Second).says("a").settle()
	}
	if !slices.Equal(ServerNames(c.Record.Servers), []string{"a", "b"}) {
		t.Errorf("the servers are %v, the plan %+v", ServerNames(c.Record.Servers), c.Record.Plan)
	}
}

func TestAServerThatIsNeededDoesNotLeave(t *testing.T) {
	c := wants(t, "a", "b")
	c.live("b", func(l *Live) { l.Acks = false })
	c.mustWait(c.settle(), CodePolicyWaits)
	c = wants(t, "b", "c")
	c.mustWait(c.settle(), CodePolicyWaits)
	if c.Record.Plan != nil || c.Record.Primary != "a" {
		t.Errorf("the primary leaves: %+v", c.Record.Plan)
	}
}

func TestAServerThatLeavesIsNotLetInAgain(t *testing.T) {
	c := wants(t, "a", "b")
	c.Record.InSync, c.Record.Runs = []string{"b"}, map[string]string{"b": "b1"}
	c.Spared = map[string]time.Time{PausedPlan(PlanLeave): c.now.Add(time.Hour)}
	if c.settle(); slices.Contains(c.Record.InSync, "c") {
		t.Error("c is in sync")
	}
}

func TestAFailoverComesBeforeAChangeOfTheServers(t *testing.T) {
	c := wants(t, "a", "b", "c", "d").registers("d")
	c.settle()
	d := c.dies("a").decide()
	if d.Change == nil || d.Change.Record.Plan.Kind != PlanFailover || d.Change.History == nil {
		t.Errorf("decided %s", d.Reason)
	}
}

func TestAServerWithATakenServerIDStands(t *testing.T) {
	c := wants(t, "a", "b", "c", "d").registers("d")
	c.settle()
	c.says("a").settle()
	c.Servers = append(c.Servers, "d")
	c.live("b", func(l *Live) { l.ServerID = 7 })
	c.returns("d", "d1", none)
	c.live("d", func(l *Live) { l.ServerID = 7 })
	c.mustWait(c.settle(), CodeDuplicateServerID)
	if c.Specs["d"].Goal != GoalStand {
		t.Errorf("d is asked to %s", c.Specs["d"].Goal)
	}
	c.live("d", func(l *Live) { l.ServerID = 8 })
	if c.settle(); c.Specs["d"].Goal != GoalFollow {
		t.Errorf("with an id of its own d is asked to %s", c.Specs["d"].Goal)
	}
}

// etcdOf gives each server a member of etcd, and says how they are: v votes, l
// learns, n has not started, x does not answer, - is not there.
func (c *table) etcdOf(states string) *table {
	c.Etcd = []EtcdSeen{}
	for i := range c.Record.Servers {
		s := &c.Record.Servers[i]
		s.Etcd = EtcdMember{Peer: s.Name + ":2380", Client: s.Name + ":2379"}
		if state := states[i]; state != '-' {
			c.Etcd = append(c.Etcd, EtcdSeen{Peer: s.Etcd.Peer, Learner: state == 'l' || state == 'n', Started: state != 'n', Healthy: state == 'v' || state == 'l'})
		}
	}
	return c
}

func TestMembersOfEtcdComeAndGoWithTheirServers(t *testing.T) {
	for _, tc := range []struct {
		wanted, states string
		step           EtcdStep
		server         string
		waits          bool
	}{
		{"abc", "vvv", "", "", false},
		{"abc", "vv-", EtcdAdd, "c", true},
		{"abc", "vx-", "", "", true},
		{"abc", "vvl", EtcdPromote, "c", true},
		{"abc", "vvn", "", "", true},
		{"ab", "vvv", EtcdRemove, "c", true},
		{"ab", "vvx", EtcdRemove, "c", true},
		{"ab", "vxv", "", "", true},
		{"ab", "vvl", EtcdRemove, "c", true},
		{"bc", "vvv", "", "", false}, // The primary stays.
	} {
		c := wants(t, strings.Split(tc.wanted, "")...).etcdOf(tc.states)
		for _, s := range c.Record.Servers {
			if i := slices.IndexFunc(c.Policy.Servers, func(w Server) bool { return w.Name == s.Name }); i >= 0 {
				c.Policy.Servers[i] = s
			}
		}
		d := c.settle()
		got := EtcdChange{}
		if d.Etcd != nil {
			got = *d.Etcd
		}
		if got.Step != tc.step || got.Server != tc.server || waitsFor(d, CodeEtcdMember) != tc.waits {
			t.Errorf("%s wanted, etcd %s: %+v, waits %v", tc.wanted, tc.states, got, d.Waits)
		}
		if c.Record.Plan != nil {
			t.Errorf("%s wanted, etcd %s: a plan is open before etcd is as wanted", tc.wanted, tc.states)
		}
	}
	// Gone from etcd, it leaves the rest.
	c := wants(t, "a", "b").etcdOf("vv-")
	c.Policy.Servers[0], c.Policy.Servers[1] = c.Record.Servers[0], c.Record.Servers[1]
	if c.settle(); c.Record.Plan == nil || c.Record.Plan.Server != "c" {
		t.Errorf("the plan %+v", c.Record.Plan)
	}
}

func TestServersThatCannotBeAreRefused(t *testing.T) {
	r := Record{Primary: "a", InSync: []string{"b", "c"}, RequiredAcks: 1, Durability: DurabilityLossless, Servers: named("a", "b", "c")}
	same := func(n string) []Server {
		s := named("a", "b", "c", "d")
		s[3].API = n
		return s
	}
	moved := named("a", "b", "c")
	moved[1].MySQL = "elsewhere:3306"
	two := r
	two.InSync = []string{"c"}
	async := r
	async.Durability, async.Suspended, async.InSync = DurabilityAsync, true, nil
	for _, tc := range []struct {
		r      Record
		wanted []Server
		why    string
	}{
		{r, named("a", "b", "c", "d"), ""},
		{r, named("a", "b"), ""},
		{async, named("a"), ""},
		{r, named("b", "c"), "is the primary"},
		{r, named("a"), "cannot give"},
		{two, named("a", "b"), "are in sync"},
		{r, same("b:8008"), "are both at"},
		{r, moved, "to move a server"},
	} {
		err := tc.r.CheckServers(tc.wanted)
		if (err == nil) != (tc.why == "") || err != nil && !strings.Contains(err.Error(), tc.why) {
			t.Errorf("%v: %v, want %q", ServerNames(tc.wanted), err, tc.why)
		}
	}
}

func TestAServerOfAnotherClusterIsNotLetIn(t *testing.T) {
	c := wants(t, "a", "b", "c", "d").registers("d")
	c.Record.ID = "this"
	m := c.Members["d"]
	m.Cluster = "that"
	c.Members["d"] = m
	c.mustWait(c.settle(), CodeForeignCluster)
	if c.Record.Plan != nil {
		t.Fatalf("the plan %+v", c.Record.Plan)
	}
	m.Cluster = "this"
	c.Members["d"] = m
	if c.settle(); c.Record.Plan == nil {
		t.Error("one that was of this cluster before is refused")
	}
}

func TestS3_AServerThatLeavesFollowsNobodyInAFailover(t *testing.T) {
	c := chosen(t).did("b", gs("a:1-12"), none).dies("c")
	c.Policy = &Policy{Servers: named("b", "c")}
	c.returns("a", "a2", gs("a:1-9"))
	for range 2 {
		c.status("a", func(s *Status) { s.State, s.SpecRevision, s.Plan = SpecDone, c.Specs["a"].Revision, c.Specs["a"].Plan })
		c.settle()
	}
	if c.Specs["a"].Goal != GoalStand {
		t.Errorf("a is asked to %s, and its accounts may be gone", c.Specs["a"].Goal)
	}
}

func TestTheDonorOfACloneDoesNotLeaveMeanwhile(t *testing.T) {
	c := wants(t, "a", "c", "d")
	c.Record.Servers = named("a", "b", "c", "d")
	c.Servers = append(c.Servers, "d")
	c.returns("d", "d1", none)
	c.specs(map[string]Spec{"d": {Goal: GoalClone, Term: 1, Plan: "x", Source: "b"}})
	c.mustWait(c.settle(), CodePolicyWaits)
	if c.Record.Plan != nil {
		t.Errorf("the plan %+v", c.Record.Plan)
	}
}

func TestALearnerOfNobodyIsRemoved(t *testing.T) {
	c := wants(t, "a", "b", "c").etcdOf("vvv")
	c.Policy = nil
	c.Etcd = append(c.Etcd, EtcdSeen{Peer: "d:2380", Learner: true})
	if d := c.settle(); d.Etcd == nil || d.Etcd.Step != EtcdRemove || d.Etcd.Peer != "d:2380" {
		t.Errorf("decided %+v", d.Etcd)
	}
	c.Etcd[3].Learner = false
	if d := c.settle(); d.Etcd != nil {
		t.Errorf("a member with a vote that nobody here knows is changed: %+v", d.Etcd)
	}
}
