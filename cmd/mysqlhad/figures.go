package main

import (
	"context"
	"path/filepath"
	"time"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// observe keeps the metrics of the record, and of this host's part in it. A host that only
// redirects has no part in it, and forgets servers that have left all the same.
func (d *daemon) observe(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		s := d.bus.State()
		d.metrics.SetRecord(s.Record)
		d.metrics.SetPaused(s.Policy.Paused(time.Now()) != nil)
		d.metrics.SetErrant(s.Specs[d.cfg.Name].Errant.Count())
		role := api.RoleNone
		var waits []decide.Wait
		if d.elector != nil {
			role = d.elector.role(s.Record)
			if v, leads := d.elector.leader.Verdict(); leads {
				waits = v.Decision.Waits
			}
		}
		d.metrics.SetRole(string(role))
		d.metrics.SetWaits(waits)
		if d.member != nil {
			d.metrics.SetLive(d.member.member.Live())
		}
	}
}

// watchFigures has the figures of the host and of its mysqld be read when somebody scrapes.
// Where the binary logs are is known when mysqld has said so.
func (d *daemon) watchFigures() {
	if d.member == nil {
		d.metrics.WatchHost(map[string]string{"data": d.cfg.DataDir})
		return
	}
	volumes := map[string]string{"data": d.cfg.MySQL.DataDir}
	d.metrics.WatchHost(volumes)
	d.metrics.ReadMysqld(func(ctx context.Context, status, variables []string) (map[string]float64, error) {
		if volumes["binlog"] == "" { // It is asked once at a time.
			if index, err := d.member.local.LogIndex(ctx); err == nil && filepath.IsAbs(index) {
				volumes["binlog"] = filepath.Dir(index)
				d.metrics.WatchHost(volumes)
			}
		}
		return d.member.local.Figures(ctx, status, variables)
	})
}
