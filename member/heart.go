package member

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication"
)

// startHeart begins to commit the heartbeat row. Each commit that is
// acknowledged while semi-sync is on and no unlisted replica is attached
// proves that no later term was open when it began (S9).
func (s *state) startHeart(term uint64) {
	s.stopHeart()
	ctx, cancel := context.WithCancel(s.ctx)
	s.heart = cancel
	h := &heart{m: s.m, term: term, run: s.proc.StartID}
	s.wg.Go(func() { h.beat(ctx) })
}

func (s *state) stopHeart() {
	if s.heart != nil {
		s.heart()
		s.heart = nil
	}
}

type heart struct {
	m    *Member
	term uint64
	run  string
}

func (h *heart) beat(ctx context.Context) {
	tick := time.NewTicker(h.m.o.HeartbeatRow)
	defer tick.Stop()
	told := ""
	for {
		sent := time.Now()
		h.tell(ctx, func(s *state) { s.pendingSince = sent })
		begun, err := h.m.o.Local.OwnCommit(ctx, replication.Heartbeat{Term: h.term, Server: h.m.o.Server})
		if ctx.Err() != nil {
			return
		}
		acked, answered := err == nil, time.Now()
		if acked {
			err = h.proves(ctx)
		}
		h.tell(ctx, func(s *state) {
			s.pendingSince = time.Time{}
			if err == nil {
				s.commitAt = begun
			}
			if acked {
				s.m.committed.Store(&begun)
				if since, missed := s.pulse.acknowledged(answered); missed {
					s.interrupted(InterruptedByStall, since, answered)
				}
			}
		})
		switch {
		case err == nil:
			told = ""
		case !errors.Is(err, errAlone) && ctx.Err() == nil && err.Error() != told:
			told = err.Error()
			h.m.log.Warn("heartbeat is no proof", "term", h.term, "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// tell hands something to the loop if it still speaks of this run and term.
func (h *heart) tell(ctx context.Context, f func(*state)) {
	h.m.send(ctx, func(s *state) {
		if s.openTerm == h.term && s.proc.StartID == h.run {
			f(s)
		}
	})
}

// errAlone: a commit that waits for nobody proves nothing.
var errAlone = errors.New("the primary acknowledges alone")

// proves returns nil if an acknowledged commit is a proof: semi-sync is on, and
// only listed servers can have acknowledged. Others are ended.
func (h *heart) proves(ctx context.Context) error {
	spec, _ := h.m.o.Board.Own()
	if spec.Suspended {
		return errAlone
	}
	snap, err := h.m.o.Local.Read(ctx)
	if err != nil {
		return err
	}
	if !snap.SemiSync.SourceEnabled || !snap.SemiSync.SourceStatus {
		return fmt.Errorf("semi-sync is not on at %s although it must be", h.m.o.Server)
	}
	sessions, err := h.m.o.Local.SemiSyncSessions(ctx)
	if err != nil {
		return err
	}
	for _, session := range sessions {
		if !session.SemiSync || slices.Contains(spec.InSync, session.Server) || spec.Goal != decide.GoalPrimary && spec.Goal != decide.GoalDemote {
			continue
		}
		if err := h.m.o.Local.EndDump(ctx, session.ID); err != nil {
			return err
		}
		return fmt.Errorf("%s: session %d of %q acknowledged without being in the in-sync set and is ended", decide.CodeUnlistedAcknowledger, session.ID, session.Server)
	}
	return nil
}
