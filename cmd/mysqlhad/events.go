package main

import (
	"time"

	"github.com/mysqlha/mysqlha/metrics"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// leaderEvents turns what a leader tells into metrics.
type leaderEvents struct{ metrics *metrics.Registry }

func (leaderEvents) Decided(decide.Decision) {}

func (e leaderEvents) Ticked(late time.Duration) { e.metrics.LeaderTicked(late) }

func (e leaderEvents) PlanEnded(h decide.History) {
	if h.Plan.Kind == decide.PlanFailover && !h.Refused() { // Else it was only asked for.
		e.metrics.FailoverEnded(h)
	}
}

func (e leaderEvents) Probed(kind, server string, took time.Duration, failure string) {
	e.metrics.Probed(kind, server, took, decide.Failure(failure))
}
