package main

import (
	"context"
	"time"
)

// handOver bounds how long is waited until another leads.
const handOver = 3 * time.Second

// retire is what a daemon does that was told to stop, while all its parts go on: its
// redirector drains, and what it leads, the cluster or etcd, it gives to others. So
// nobody waits for an election when it is gone. A second signal ends it at once.
func (d *daemon) retire(ctx context.Context) {
	begun := time.Now()
	d.retiring.Store(true)
	if d.drained != nil {
		select {
		case <-d.drained:
		case <-ctx.Done():
			return
		}
	}
	if d.elector != nil {
		d.elector.handOver(ctx)
	}
	d.log.Info("nothing is left to be done here", "took", time.Since(begun).Round(time.Millisecond))
}

// handOver gives leadership, ours and etcd's, to another member, and returns when it is
// there, or will not be soon.
func (e *elector) handOver(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, handOver)
	defer cancel()
	others := e.others()
	if len(others) == 0 {
		return
	}
	e.moveRaft(ctx, others)
	if _, leads := e.leader.Verdict(); !leads {
		return
	}
	e.d.log.Info("handing leadership over, because this daemon stops")
	e.askToYield()
	for {
		changed := e.d.bus.Changed()
		if leader := e.d.bus.State().Leader; leader != "" && leader != e.d.cfg.Name {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			e.d.log.Warn("nobody else leads yet")
			return
		}
	}
}
