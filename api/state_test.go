package api

import (
	"testing"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication/gtid"
)

const source = "3e11fa47-71ca-11e1-9e33-c80aa9429562"

func TestStateOf(t *testing.T) {
	gap := gtid.MustParse(source + ":5-9")
	failover := func(phase decide.Phase) *decide.Plan {
		return &decide.Plan{Kind: decide.PlanFailover, Phase: phase, Revoking: []string{"db2", "db3"}, Candidate: "db2"}
	}
	primary := func(s *Server, _ *decide.Record) {
		s.Name, s.Role, s.InSync = "db1", RolePrimary, false
		s.Live.OpenTerm, s.Live.Receiver, s.Live.Applier, s.Live.Acks = 7, "", "", false
	}
	type change = func(*Server, *decide.Record)
	for _, c := range []struct {
		name    string
		changes []change
		want    State
	}{
		{"a replica that acknowledges is in sync", nil, StateInSync},
		{"a listed replica that does not acknowledge yet follows", []change{func(s *Server, _ *decide.Record) { s.Live.Acks = false }}, StateFollowing},
		{"a replica outside the in-sync set follows", []change{func(s *Server, _ *decide.Record) { s.InSync = false }}, StateFollowing},
		{"one with a gap catches up", []change{func(s *Server, _ *decide.Record) { s.InSync = false; s.Gap = gap }}, StateCatchingUp},
		{"a receiver that does not reach its source connects", []change{func(s *Server, _ *decide.Record) { s.Live.Receiver = decide.ReceiverConnecting }}, StateConnecting},
		{"a receiver that ended with an error is broken", []change{func(s *Server, _ *decide.Record) { s.Live.Receiver, s.Live.ReceiverErrno = decide.ReceiverOff, 13114 }}, StateBroken},
		{"an applier that ended with an error is broken", []change{func(s *Server, _ *decide.Record) { s.Live.Applier, s.Live.ApplierErrno = decide.ReceiverOff, 1062 }}, StateBroken},
		{"an applier that was stopped is stopped", []change{func(s *Server, _ *decide.Record) { s.Live.Applier = decide.ReceiverOff }}, StateStopped},
		{"a receiver of which nothing is known is unknown", []change{func(s *Server, _ *decide.Record) { s.Live.Receiver = "" }}, StateUnknown},
		{"a replica stopped by a failover is revoked", []change{func(s *Server, r *decide.Record) {
			r.Plan = failover(decide.PhaseRevoke)
			s.Live.Receiver = decide.ReceiverOff
		}}, StateRevoked},
		{"one that a failover has not stopped yet is not", []change{func(_ *Server, r *decide.Record) { r.Plan = failover(decide.PhaseRevoke) }}, StateInSync},
		{"the candidate is promoting", []change{func(s *Server, r *decide.Record) {
			r.Plan = failover(decide.PhasePromote)
			s.Live.Receiver = decide.ReceiverOff
		}}, StatePromoting},
		{"a replica that takes writes is in an old term", []change{func(s *Server, _ *decide.Record) { s.Live.OpenTerm = 6 }}, StateOldTerm},
		{"a replica told to stand stands", []change{func(s *Server, _ *decide.Record) { s.Goal = decide.GoalStand }}, StateStanding},
		{"a server that is built anew is not diverged", []change{func(s *Server, _ *decide.Record) { s.Errant = gap; s.Goal = decide.GoalClone }}, StateCloning},
		{"errant transactions make a server diverged", []change{func(s *Server, _ *decide.Record) { s.Errant = gap; s.Goal = decide.GoalStand }}, StateDiverged},
		{"its daemon's finding does so too", []change{func(s *Server, _ *decide.Record) { s.Status.Problem = decide.CodeDiverged }}, StateDiverged},
		{"a fenced server is fenced", []change{primary, func(s *Server, _ *decide.Record) { s.Status.Fenced, s.Live.Offline = true, true }}, StateFenced},
		{"a server in offline_mode is offline", []change{func(s *Server, _ *decide.Record) { s.Live.Offline = true }}, StateOffline},
		{"a server whose process is gone is down", []change{func(s *Server, _ *decide.Record) { s.Live.Process, s.Live.Answers = decide.ProcessGone, false }}, StateDown},
		{"a server whose process exits is down", []change{func(s *Server, _ *decide.Record) { s.Live.Process = decide.ProcessExiting }}, StateDown},
		{"a new mysqld that does not answer is starting", []change{func(s *Server, _ *decide.Record) { s.Live.Answers, s.Live.StartID = false, "run-2" }}, StateStarting},
		{"a known mysqld that does not answer is silent", []change{func(s *Server, _ *decide.Record) { s.Live.Answers = false }}, StateSilent},
		{"a daemon that lives and did not answer leaves the state unknown", []change{func(s *Server, _ *decide.Record) { s.Live = nil }}, StateUnknown},
		{"unless it wrote that its process is gone", []change{func(s *Server, _ *decide.Record) { s.Live, s.Status.Process = nil, decide.ProcessGone }}, StateDown},
		{"a daemon without a lease that did not answer is unreachable", []change{func(s *Server, _ *decide.Record) {
			s.Live, s.Member, s.Status.Process = nil, false, decide.ProcessGone
		}}, StateUnreachable},
		{"a primary open in the term of the record is open", []change{primary}, StateOpen},
		{"a primary open in another term is in an old term", []change{primary, func(s *Server, _ *decide.Record) { s.Live.OpenTerm = 6 }}, StateOldTerm},
		{"a primary whose commit waits lets writes wait", []change{primary, func(s *Server, _ *decide.Record) { s.Live.CommitPending = time.Second }}, StateWritesWait},
		{"a primary whose commit waits for a moment is open", []change{primary, func(s *Server, _ *decide.Record) { s.Live.CommitPending = time.Second - 1 }}, StateOpen},
		{"a primary that a plan is about to open is opening", []change{primary, func(s *Server, r *decide.Record) {
			s.Live.OpenTerm = 0
			r.Plan = failover(decide.PhaseOpen)
		}}, StateOpening},
		{"a primary that is not open without a plan is closed", []change{primary, func(s *Server, _ *decide.Record) { s.Live.OpenTerm = 0 }}, StateClosed},
	} {
		t.Run(c.name, func(t *testing.T) {
			record := decide.Record{Term: 7, Primary: "db1"}
			s := Server{Name: "db2", Role: RoleReplica, Member: true, InSync: true,
				Status: decide.Status{StartID: "run-1", Process: decide.ProcessRunning},
				Live: &decide.Live{Process: decide.ProcessRunning, StartID: "run-1", Answers: true, Acks: true,
					Receiver: decide.ReceiverOn, Applier: decide.ReceiverOn}}
			for _, change := range c.changes {
				change(&s, &record)
			}
			if got := StateOf(&record, s); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	t.Run("a server of a cluster without a record stands", func(t *testing.T) {
		s := Server{Name: "db1", Role: RoleNone, Live: &decide.Live{Process: decide.ProcessRunning, Answers: true}}
		if got := StateOf(nil, s); got != StateStanding {
			t.Errorf("got %q", got)
		}
	})
}

func TestDeriveFillsInRolesAndGaps(t *testing.T) {
	c := Cluster{
		Record: &decide.Record{Term: 2, Primary: "db1", InSync: []string{"db2"}},
		Servers: []Server{
			{Name: "db1", Live: &decide.Live{Process: decide.ProcessRunning, Answers: true, OpenTerm: 2, Executed: gtid.MustParse(source + ":1-9")}},
			{Name: "db2", Live: &decide.Live{Process: decide.ProcessRunning, Answers: true, Acks: true, Receiver: decide.ReceiverOn, Applier: decide.ReceiverOn,
				Executed: gtid.MustParse(source + ":1-5"), Received: gtid.MustParse(source + ":6-9")}},
			{Name: "db3", Live: &decide.Live{Process: decide.ProcessRunning, Answers: true, Receiver: decide.ReceiverOn, Applier: decide.ReceiverOn,
				Executed: gtid.MustParse(source + ":1-5"), Received: gtid.MustParse(source + ":7")}},
		},
	}
	c.Derive()
	for i, want := range []struct {
		role   Role
		inSync bool
		state  State
		gap    string
	}{
		{RolePrimary, false, StateOpen, ""},
		{RoleReplica, true, StateInSync, ""},
		{RoleReplica, false, StateCatchingUp, source + ":6:8-9"},
	} {
		s := c.Servers[i]
		if s.Role != want.role || s.InSync != want.inSync || s.State != want.state || s.Gap.String() != want.gap {
			t.Errorf("%s: got %s, in sync %v, %q, gap %q; want %+v", s.Name, s.Role, s.InSync, s.State, s.Gap, want)
		}
	}
	if !c.Open() {
		t.Error("the cluster has an open primary")
	}
}
