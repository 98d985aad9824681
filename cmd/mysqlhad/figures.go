package main

import (
	"context"
	"path/filepath"
)

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
