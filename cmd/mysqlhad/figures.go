package main

import (
	"context"
	"path/filepath"
	"sync"
)

// watchFigures has the figures of the host and of its mysqld be read when somebody scrapes.
// Where the binary logs are is known when mysqld has said so.
func (d *daemon) watchFigures() {
	volumes := map[string]string{}
	if d.member == nil {
		d.metrics.WatchHost(map[string]string{"data": d.cfg.DataDir})
		return
	}
	volumes["data"] = d.cfg.MySQL.DataDir
	d.metrics.WatchHost(volumes)
	var once sync.Once
	d.metrics.ReadMysqld(func(ctx context.Context, status, variables []string) (map[string]float64, error) {
		values, err := d.member.local.Figures(ctx, status, variables)
		if err != nil {
			return nil, err
		}
		if index, err := d.member.local.LogIndex(ctx); err == nil && filepath.IsAbs(index) {
			once.Do(func() {
				volumes["binlog"] = filepath.Dir(index)
				d.metrics.WatchHost(volumes)
			})
		}
		return values, nil
	})
}
