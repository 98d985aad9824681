package routing

import (
	"testing"
	"time"

	"github.com/mysqlha/mysqlha/bus"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

func state(term uint64, primary string, st decide.Status, plan *decide.Plan) *bus.State {
	return &bus.State{Revision: 1, Record: &decide.Record{Term: term, Primary: primary, Plan: plan},
		Statuses: map[string]decide.Status{primary: st}}
}

func TestTheWriterIsWhoeverIsOpenInTheRecordsTerm(t *testing.T) {
	open := decide.Status{Process: decide.ProcessRunning, OpenTerm: 2}
	for name, tc := range map[string]struct {
		state *bus.State
		want  string
	}{
		"open in the term":                {state(2, "db1", open, nil), "db1"},
		"open in another term":            {state(3, "db1", open, nil), ""},
		"not open yet":                    {state(2, "db1", decide.Status{Process: decide.ProcessRunning}, nil), ""},
		"its process is exiting":          {state(2, "db1", decide.Status{Process: decide.ProcessExiting, OpenTerm: 2}, nil), ""},
		"fenced":                          {state(2, "db1", decide.Status{Process: decide.ProcessRunning, OpenTerm: 2, Fenced: true}, nil), ""},
		"a failover from it is under way": {state(2, "db1", open, &decide.Plan{Kind: decide.PlanFailover, Phase: decide.PhaseRevoke}), ""},
		"a failover to it has opened":     {state(2, "db1", open, &decide.Plan{Kind: decide.PlanFailover, Phase: decide.PhaseOpen}), "db1"},
		"a replica is being removed":      {state(2, "db1", open, &decide.Plan{Kind: decide.PlanRemove, Phase: decide.PhaseEject}), "db1"},
		"no record":                       {&bus.State{Revision: 1}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := New(Options{Servers: at(map[string]string{"db1": "127.0.0.1:1"})})
			r.follow(tc.state)
			got := ""
			if w := r.Route().Writer; w != nil {
				got = w.Server
			}
			if got != tc.want {
				t.Errorf("writes go to %q, want %q", got, tc.want)
			}
		})
	}
}

func TestS1_ARouterDoesNotFollowARecordOfThePast(t *testing.T) {
	r := New(Options{Servers: at(map[string]string{"db1": "127.0.0.1:1", "db2": "127.0.0.1:2"})})
	r.follow(state(3, "db2", decide.Status{Process: decide.ProcessRunning, OpenTerm: 3}, nil))
	changed := r.Changed()
	r.follow(state(2, "db1", decide.Status{Process: decide.ProcessRunning, OpenTerm: 2}, nil))
	if route := r.Route(); route.Term != 3 || route.Writer == nil || route.Writer.Server != "db2" {
		t.Errorf("routes to %+v in term %d", route.Writer, route.Term)
	}
	select {
	case <-changed:
		t.Error("the redirector was told of a change that there was not")
	default:
	}
}

func TestAReplicaServesReadsOnlyWhileItIsKnownToBeFresh(t *testing.T) {
	fresh := decide.Live{Answers: true, Source: "db1", Receiver: decide.ReceiverOn, Applier: decide.ReceiverOn, LagKnown: true, Lag: time.Second, HeartbeatKnown: true, HeartbeatAge: time.Second}
	for name, tc := range map[string]struct {
		change func(*decide.Live)
		want   bool
	}{
		"it follows with little lag":      {func(*decide.Live) {}, true},
		"its lag is too large":            {func(l *decide.Live) { l.Lag = time.Minute }, false},
		"its newest heartbeat row is old": {func(l *decide.Live) { l.HeartbeatAge = 20 * time.Second }, false},
		"its heartbeat row is not known":  {func(l *decide.Live) { l.HeartbeatKnown = false }, false},
		"its lag is unknown":              {func(l *decide.Live) { l.LagKnown = false }, false},
		"its receiver is not connected":   {func(l *decide.Live) { l.Receiver = decide.ReceiverConnecting }, false},
		"its applier has stopped":         {func(l *decide.Live) { l.Applier = decide.ReceiverOff }, false},
		"it follows somebody else":        {func(l *decide.Live) { l.Source = "db3" }, false},
		"it is open itself":               {func(l *decide.Live) { l.OpenTerm = 1 }, false},
		"its mysqld does not answer":      {func(l *decide.Live) { l.Answers = false }, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := New(Options{Servers: at(map[string]string{"db1": "a:1", "db2": "b:1"}), MaxLag: 10 * time.Second})
			r.follow(state(1, "db1", decide.Status{Process: decide.ProcessRunning, OpenTerm: 1}, nil))
			live := fresh
			tc.change(&live)
			if got := r.reads("db2", live); got != tc.want {
				t.Errorf("serves reads: %t, want %t", got, tc.want)
			}
		})
	}
}

func at(servers map[string]string) func() map[string]string {
	return func() map[string]string { return servers }
}
