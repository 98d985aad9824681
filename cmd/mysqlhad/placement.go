package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/mysqlha/mysqlha/election"
)

// Leadership prefers not to sit beside the primary: losing the primary's host
// then costs no election, neither ours nor etcd's.
const (
	// primaryHoldBack is how much longer the member beside the primary waits
	// before it campaigns.
	primaryHoldBack = time.Second
	// placementInterval is how often the placement is looked at, yieldPause the
	// least time between two handovers.
	placementInterval = time.Second
	yieldPause        = 10 * time.Second
	moveTimeout       = 2 * time.Second
)

// besidePrimary tells whether this daemon sits beside the primary, and names
// those others that could lead.
func (e *elector) besidePrimary() (beside bool, others []string) {
	s := e.d.bus.State()
	if s.Record == nil || s.Record.Primary != e.d.cfg.Name {
		return false, nil
	}
	return true, e.others()
}

// others names the daemons that live and could lead as well as this one.
func (e *elector) others() (others []string) {
	for name := range e.d.bus.State().Members {
		_, server := e.d.server(name)
		_, witness := e.d.cfg.Witness(name)
		if name != e.d.cfg.Name && (server || witness) {
			others = append(others, name)
		}
	}
	slices.Sort(others)
	return others
}

// holdBack is asked before each campaign.
func (e *elector) holdBack() time.Duration {
	if beside, others := e.besidePrimary(); beside && len(others) > 0 {
		return primaryHoldBack
	}
	return 0
}

// keepAway hands our leadership and etcd's to another member while this one
// sits beside the primary.
func (e *elector) keepAway(ctx context.Context) error {
	tick := time.NewTicker(placementInterval)
	defer tick.Stop()
	var yielded time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		beside, others := e.besidePrimary()
		s := e.d.bus.State()
		if !beside || len(others) == 0 || s.Record.Plan != nil {
			continue
		}
		if _, leads := e.leader.Verdict(); leads && time.Since(yielded) > yieldPause {
			yielded = time.Now()
			e.d.log.Info("handing leadership away from the primary's host")
			e.askToYield()
		}
		e.moveRaft(ctx, others)
	}
}

// moveRaft moves etcd's leadership to the first of the hosts that has a member
// of it.
func (e *elector) moveRaft(ctx context.Context, hosts []string) {
	etcd := e.d.etcd.current()
	if etcd == nil || !etcd.IsRaftLeader() {
		return
	}
	i := slices.IndexFunc(hosts, etcd.Votes)
	if i < 0 {
		return
	}
	to := hosts[i]
	ctx, cancel := context.WithTimeout(ctx, moveTimeout)
	defer cancel()
	if err := etcd.MoveRaftLeader(ctx, to); err != nil && !errors.Is(err, election.ErrNotRaftLeader) {
		e.d.log.Warn("etcd's leadership stays beside the primary, will be tried again", "error", err)
	}
}
