package decide

import (
	"fmt"
	"reflect"
	"strings"
)

type stats struct {
	Steps, Events                                      int
	Failovers, Removals, Restarts, AcksRaised, Acks    int
	Suspended, Resumed, Alone, AsyncFailovers          int
	Rewinds, RewindsRefused, Joins, Leaves, Renewals   int
	Switched, SwitchedBack                             int
	ByHand, RefusedRequests, Overrides, Held           int
	Adoptions                                          int
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
		if p.Override != nil && before.Plan != nil && before.Plan.Phase != PhasePromote {
			s.stats.Overrides++
		}
		if before.Suspended && before.Durability == DurabilityAsync || p.Override != nil {
			s.acked = s.acked.Subtract(s.acked.Subtract(p.Target)) // What async allows to lose, or a human.
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
	case strings.HasPrefix(h.Result, "refused"):
		s.stats.RefusedRequests++
	case h.Plan.Kind == PlanFailover:
		s.stats.Failovers++
		if h.Plan.Reason == ReasonRequested {
			s.stats.ByHand++
		}
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
	to, from := reflect.ValueOf(s).Elem(), reflect.ValueOf(o)
	for i := range to.NumField() {
		to.Field(i).SetInt(to.Field(i).Int() + from.Field(i).Int())
	}
}

func (s stats) String() string {
	return fmt.Sprintf(`%d steps (events handled by the real judgement) of %d events
  failovers completed %d (of them async %d), chosen again %d, superseded %d, abandoned %d
  removals %d, restarts of mysqld %d, changes of k %d (raised by proof %d)
  suspensions %d (opened alone %d), resumptions %d, rewinds %d (refused %d), servers built anew %d, joined %d, left %d, new terms of a lone primary %d
  switchovers %d (others came to nothing %d), failovers by hand %d (with loss allowed %d), requests refused %d, judgements that held a failover back %d
  adoptions %d, elections %d, transactions refused by their guards %d, late ones %d, etcd restored %d
  in the end %d clusters were open, %d waited by name`,
		s.Steps, s.Events, s.Failovers, s.AsyncFailovers, s.ChosenAgain, s.Superseded, s.Abandoned,
		s.Removals, s.Restarts, s.Acks, s.AcksRaised, s.Suspended, s.Alone, s.Resumed, s.Rewinds, s.RewindsRefused, s.Clones, s.Joins, s.Leaves, s.Renewals, s.Switched, s.SwitchedBack, s.ByHand, s.Overrides, s.RefusedRequests, s.Held,
		s.Adoptions, s.Elections, s.Refused, s.Orphans, s.Restores, s.EndOpen, s.Waits)
}
