package decide

import (
	"fmt"
	"strings"
)

type stats struct {
	Steps, Events                                      int
	Failovers, Removals, Restarts, AcksRaised, Acks    int
	Suspended, Resumed, Alone, AsyncFailovers          int
	Rewinds, RewindsRefused, Joins, Leaves, Renewals   int
	Switched, SwitchedBack                             int
	Elections, Refused, Orphans, Clones, Restores      int
	Abandoned, Superseded, ChosenAgain, EndOpen, Waits int
}

// count keeps the figures of the report, and what an async cluster may lose.
func (s *simulated) count(before *Record, c Change) {
	if c.Record == nil || before == nil {
		return
	}
	after := c.Record
	if after.Suspended && !before.Suspended {
		s.weak = true
		s.stats.Suspended++
		if after.Term > before.Term && after.Durability == DurabilityAvailable {
			s.stats.Alone++
		}
	}
	if after.RequiredAcks != before.RequiredAcks {
		s.stats.Acks++
	}
	if p := after.Plan; p != nil && p.Kind == PlanFailover && p.Phase == PhasePromote {
		if b := before.Plan; b != nil && b.Phase == PhasePromote && b.Candidate != p.Candidate {
			s.stats.ChosenAgain++
		}
		if before.Suspended && before.Durability == DurabilityAsync {
			s.acked = s.acked.Subtract(s.acked.Subtract(p.Target)) // What async allows to lose.
		}
	}
	h := c.History
	if h == nil {
		return
	}
	switch {
	case strings.HasPrefix(h.Result, "abandoned"):
		s.stats.Abandoned++
	case strings.HasPrefix(h.Result, "superseded"):
		s.stats.Superseded++
	case h.Plan.Kind == PlanFailover:
		s.stats.Failovers++
		if after.Durability == DurabilityAsync {
			s.stats.AsyncFailovers++
		}
	case h.Plan.Kind == PlanRemove:
		s.stats.Removals++
	case h.Plan.Kind == PlanRaiseAcks:
		s.stats.AcksRaised++
	case h.Plan.Kind == PlanResume:
		s.stats.Resumed++
	case h.Plan.Kind == PlanJoin:
		s.stats.Joins++
	case h.Plan.Kind == PlanSwitchover && after.Primary != h.Plan.From:
		s.stats.Switched++
	case h.Plan.Kind == PlanSwitchover:
		s.stats.SwitchedBack++
	case h.Plan.Kind == PlanRenew:
		s.stats.Renewals++
	case h.Plan.Kind == PlanLeave:
		s.stats.Leaves++
	}
}

func (s *stats) add(o stats) {
	s.Steps, s.Events = s.Steps+o.Steps, s.Events+o.Events
	s.Failovers, s.Removals, s.Restarts = s.Failovers+o.Failovers, s.Removals+o.Removals, s.Restarts+o.Restarts
	s.AcksRaised, s.Acks, s.Suspended, s.Resumed = s.AcksRaised+o.AcksRaised, s.Acks+o.Acks, s.Suspended+o.Suspended, s.Resumed+o.Resumed
	s.Alone, s.AsyncFailovers, s.Elections, s.Refused = s.Alone+o.Alone, s.AsyncFailovers+o.AsyncFailovers, s.Elections+o.Elections, s.Refused+o.Refused
	s.Orphans, s.Clones, s.Restores, s.Abandoned = s.Orphans+o.Orphans, s.Clones+o.Clones, s.Restores+o.Restores, s.Abandoned+o.Abandoned
	s.Switched, s.SwitchedBack = s.Switched+o.Switched, s.SwitchedBack+o.SwitchedBack
	s.Joins, s.Leaves, s.Renewals = s.Joins+o.Joins, s.Leaves+o.Leaves, s.Renewals+o.Renewals
	s.Rewinds, s.RewindsRefused = s.Rewinds+o.Rewinds, s.RewindsRefused+o.RewindsRefused
	s.Superseded, s.ChosenAgain, s.EndOpen, s.Waits = s.Superseded+o.Superseded, s.ChosenAgain+o.ChosenAgain, s.EndOpen+o.EndOpen, s.Waits+o.Waits
}

func (s stats) String() string {
	return fmt.Sprintf(`%d steps (events handled by the real judgement) of %d events
  failovers completed %d (of them async %d), chosen again %d, superseded %d, abandoned %d
  removals %d, restarts of mysqld %d, changes of k %d (raised by proof %d)
  suspensions %d (opened alone %d), resumptions %d, rewinds %d (refused %d), servers built anew %d, joined %d, left %d, new terms of a lone primary %d
  switchovers %d (others came to nothing %d)
  elections %d, transactions refused by their guards %d, late ones %d, etcd restored %d
  in the end %d clusters were open, %d waited by name`,
		s.Steps, s.Events, s.Failovers, s.AsyncFailovers, s.ChosenAgain, s.Superseded, s.Abandoned,
		s.Removals, s.Restarts, s.Acks, s.AcksRaised, s.Suspended, s.Alone, s.Resumed, s.Rewinds, s.RewindsRefused, s.Clones, s.Joins, s.Leaves, s.Renewals, s.Switched, s.SwitchedBack,
		s.Elections, s.Refused, s.Orphans, s.Restores, s.EndOpen, s.Waits)
}
