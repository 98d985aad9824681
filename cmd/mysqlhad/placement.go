package main

import (
	"context"
	"errors"
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

// besidePrimary tells whether this member sits beside the primary, and names
// another one that is there.
func (m *memberRole) besidePrimary() (beside bool, other string) {
	s := m.d.bus.State()
	if s.Record == nil || s.Record.Primary != m.d.cfg.Name {
		return false, ""
	}
	for _, server := range m.d.cfg.Servers {
		if _, lives := s.Members[server.Name]; lives && server.Name != m.d.cfg.Name {
			return true, server.Name
		}
	}
	return true, ""
}

// holdBack is asked before each campaign.
func (m *memberRole) holdBack() time.Duration {
	if beside, other := m.besidePrimary(); beside && other != "" {
		return primaryHoldBack
	}
	return 0
}

// keepAway hands our leadership and etcd's to another member while this one
// sits beside the primary.
func (m *memberRole) keepAway(ctx context.Context) error {
	tick := time.NewTicker(placementInterval)
	defer tick.Stop()
	var yielded time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		beside, other := m.besidePrimary()
		s := m.d.bus.State()
		if !beside || other == "" || s.Record.Plan != nil {
			continue
		}
		if _, leads := m.leader.Verdict(); leads && time.Since(yielded) > yieldPause {
			yielded = time.Now()
			m.d.log.Info("handing leadership away from the primary's host")
			m.askToYield()
		}
		m.moveRaft(ctx, other)
	}
}

func (m *memberRole) moveRaft(ctx context.Context, to string) {
	if m.d.etcd == nil || !m.d.etcd.IsRaftLeader() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, moveTimeout)
	defer cancel()
	if err := m.d.etcd.MoveRaftLeader(ctx, to); err != nil && !errors.Is(err, election.ErrNotRaftLeader) {
		m.d.log.Warn("etcd's leadership stays beside the primary, will be tried again", "error", err)
	}
}
