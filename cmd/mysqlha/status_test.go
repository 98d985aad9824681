package main

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication/gtid"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

const (
	first  = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
	second = "99999999-71ca-11e1-9e33-c80aa9429562"
)

var night = time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)

// healthy is a cluster of three after one failover.
func healthy() api.Cluster {
	return api.Cluster{
		Name: "shop", Self: "db2", At: night, Leader: "db2", DecisionFrom: "db2", DecisionAt: night.Add(-200 * time.Millisecond),
		Record:   &decide.Record{Term: 7, Primary: "db1", InSync: []string{"db2", "db3"}, RequiredAcks: 1, Durability: decide.DurabilityLossless, Complete: true},
		Decision: decide.Decision{Reason: decide.ReasonHealthy, Detail: "db1 is open in term 7"},
		Servers: []api.Server{
			{Name: "db1", Address: "10.0.0.1:3306", Member: true, Live: &decide.Live{Process: decide.ProcessRunning, Answers: true, OpenTerm: 7, Executed: gtid.MustParse(first + ":1-5000")}},
			following("db2", "10.0.0.2:3306"), following("db3", "10.0.0.3:3306"),
		},
		LastFailover: &decide.History{Term: 7, Primary: "db1", Complete: true, Result: completed, Plan: decide.Plan{
			Kind: decide.PlanFailover, From: "db3", Candidate: "db1", Reason: decide.ReasonProcessDied,
			Marks: marks(-48*time.Minute, "revoke", "promote", "open", "done")}},
	}
}

func following(name, address string) api.Server {
	return api.Server{Name: name, Address: address, Member: true, Live: &decide.Live{
		Process: decide.ProcessRunning, Answers: true, Acks: true, Receiver: decide.ReceiverOn, Applier: decide.ReceiverOn,
		Lag: 120 * time.Millisecond, LagKnown: true, LagTransactions: 3, Executed: gtid.MustParse(first + ":1-4997"), Received: gtid.MustParse(first + ":4998-5000")}}
}

func marks(from time.Duration, names ...string) []decide.Mark {
	var all []decide.Mark
	for i, n := range names {
		all = append(all, decide.Mark{Name: n, At: night.Add(from + time.Duration(i)*47*time.Millisecond)})
	}
	return all
}

// failingOver has lost db1 and is revoking.
func failingOver() api.Cluster {
	c := healthy()
	c.Record.Plan = &decide.Plan{Kind: decide.PlanFailover, Phase: decide.PhaseRevoke, Reason: decide.ReasonSilent, From: "db1",
		Revoking: []string{"db2", "db3"}, Marks: marks(-80*time.Millisecond, "revoke")}
	c.Servers[0].Live, c.Servers[0].Member, c.Servers[0].LiveError = nil, false, "dial tcp 10.0.0.1:8008: i/o timeout"
	c.Servers[1].Live.Receiver, c.Servers[1].Live.Acks = decide.ReceiverOff, false
	c.Servers[2].Live.LagKnown = false
	c.Decision = decide.Decision{Reason: decide.ReasonPlanWaits, Detail: "db3 has not stopped receiving yet"}
	return c
}

// waiting has chosen a candidate that nobody follows.
func waiting() api.Cluster {
	c := failingOver()
	c.Record.Plan.Phase, c.Record.Plan.Candidate = decide.PhasePromote, "db2"
	c.Record.Plan.Marks = marks(-12*time.Minute, "revoke", "promote")
	c.Servers[2].Live.Process, c.Servers[2].Live.Answers = decide.ProcessGone, false
	c.Decision = decide.Decision{Reason: decide.ReasonPlanWaits, Detail: "0 of 1 followers", Waits: []decide.Wait{{
		Code: decide.CodeWaitingForFollowers, Detail: "db2 is chosen and holds everything; 1 more server must receive what it has before it may open",
		Remedy: "start mysqld on db1 or db3: systemctl start mysqld", Since: night.Add(-12 * time.Minute)}, {
		Code: decide.CodeServerDown, Server: "db3", Detail: "its mysqld does not run", Since: night.Add(-15 * time.Minute)}}}
	return c
}

// diverged has a former primary that came back with more than the new one has.
func diverged() api.Cluster {
	c := healthy()
	c.Record.InSync = []string{"db2"}
	c.Servers[2].Goal, c.Servers[2].Errant = decide.GoalStand, gtid.MustParse(second+":801-812")
	c.Servers[2].Live.Receiver, c.Servers[2].Live.Applier, c.Servers[2].Live.LagKnown = decide.ReceiverOff, decide.ReceiverOff, false
	c.Servers[2].Live.Executed = gtid.MustParse(first + ":1-4000," + second + ":801-812")
	c.Servers[2].Live.Received = gtid.Set{}
	c.Servers[1].Status.Findings = []decide.Finding{{Code: decide.CodeBadVariable, Detail: "sync_binlog is 0 and must be 1"}}
	return c
}

func stale() api.Cluster {
	c := healthy()
	c.Stale, c.StaleFor, c.Leader, c.DecisionFrom, c.LastFailover = true, 40*time.Second, "", "", nil
	c.Servers[0].Live.CommitPending = 3 * time.Second
	c.Servers[2].Live, c.Servers[2].LiveError = nil, "context deadline exceeded"
	return c
}

func TestStatusTable(t *testing.T) {
	for _, c := range []struct {
		name, file string
		cluster    api.Cluster
	}{
		{"a healthy cluster", "healthy", healthy()},
		{"a cluster that is failing over", "failing_over", failingOver()},
		{"a plan that waits for followers", "waiting", waiting()},
		{"a server that diverged", "diverged", diverged()},
		{"a daemon cut off from etcd, and writes that wait", "stale", stale()},
		{"a cluster that has not begun", "not_begun", api.Cluster{Name: "shop", Self: "db1", At: night, Leader: "db1", DecisionFrom: "db1", DecisionAt: night,
			Decision: decide.Decision{Reason: decide.ReasonNoRecord, Waits: []decide.Wait{{Code: decide.CodeWaitingForServers, Server: "db2", Detail: "its daemon has not registered"}}},
			Servers:  []api.Server{{Name: "db1", Address: "10.0.0.1:3306", Member: true, Live: &decide.Live{Process: decide.ProcessRunning, Answers: true}}, {Name: "db2", Address: "10.0.0.2:3306"}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.cluster.Derive()
			golden(t, filepath.Join("testdata", "status", c.file+".golden"), statusText(c.cluster, colourless, time.UTC))
		})
	}
}

func TestHistoryTable(t *testing.T) {
	last := *healthy().LastFailover
	golden(t, filepath.Join("testdata", "history.golden"), historyText([]decide.History{
		last,
		{Term: 6, Primary: "db3", Complete: true, Result: "abandoned: db3 answers again", Plan: decide.Plan{Kind: decide.PlanFailover, From: "db3", Reason: decide.ReasonSilent, Marks: marks(-time.Hour, "revoke", "done")}},
		{Term: 6, Primary: "db3", Complete: true, Result: completed, Plan: decide.Plan{Kind: decide.PlanRemove, Server: "db2", Reason: decide.ReasonReplicaAbsent, Marks: marks(-2*time.Hour, "eject", "done")}},
		{Term: 1, Primary: "db1", Complete: false, Result: completed, Plan: decide.Plan{Kind: decide.PlanBootstrap, Reason: decide.ReasonBootstrap}},
	}, time.UTC))
	if got := historyText(nil, time.UTC); got != "Nothing has happened yet.\n" {
		t.Errorf("got %q", got)
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("the text differs (-want +got):\n%s", diff)
	}
}
