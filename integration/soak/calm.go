package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/mysqlha/mysqlha/deploy/sandbox/load"
	"github.com/mysqlha/mysqlha/integration/faults"
)

// The series of the leader's clock, and the lateness from which on silence is
// not believed.
const (
	tickCount  = "mysqlha_leader_tick_late_seconds_count"
	tickInTime = `mysqlha_leader_tick_late_seconds_bucket{le="0.1"}`
)

// calm writes as fast as it can, without any fault, and fails if anything was
// moved: slow is not dead.
func calm(ctx context.Context, s settings, c *faults.Cluster, out io.Writer) error {
	before, err := c.Cluster(ctx)
	if err != nil {
		return err
	}
	l, err := c.StartLoad(ctx, load.Options{Writers: s.writers})
	if err != nil {
		return err
	}
	begun := time.Now()
	end := begun.Add(time.Duration(s.minutes * float64(time.Minute)))
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for time.Now().Before(end) && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
		case <-time.After(time.Until(end)):
		}
		fmt.Fprintf(out, "%5s  %8d writes acknowledged  pressure %s\n", time.Since(begun).Round(time.Second), l.Acknowledged(), pressure())
	}
	took := time.Since(begun)
	result := l.Stop()
	report, err := c.CheckLoad(context.WithoutCancel(ctx), result)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\n%s; %.0f writes a second, the longest gap between two of them %s\n", report, float64(len(result.Acks))/took.Seconds(),
		faults.LongestGap(result.Acks, begun, begun.Add(took)).Round(time.Millisecond))
	var ticks, inTime float64
	for _, server := range c.Servers() {
		samples, err := c.Metrics(ctx, server)
		if err != nil {
			return err
		}
		ticks, inTime = ticks+samples[tickCount], inTime+samples[tickInTime]
	}
	after, err := c.Cluster(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%.0f of the leaders' %.0f ticks were late by more than 0.1 s; term %d before, %d after\n", ticks-inTime, ticks, before.Record.Term, after.Record.Term)
	switch {
	case !report.OK():
		return errors.New("acknowledged writes were lost or doubled")
	case after.Record.Term != before.Record.Term:
		return errors.New("there was a failover although nothing had failed")
	case ticks == 0:
		return errors.New("no leader has counted a tick")
	}
	return context.Cause(ctx)
}

// pressure returns the machine's pressure of the last minute: the share of time
// in which somebody waited for processors and for the disk.
func pressure() string {
	var words []string
	for _, what := range []string{"cpu", "io"} {
		text, err := os.ReadFile("/proc/pressure/" + what)
		if err != nil {
			words = append(words, what+" not known")
			continue
		}
		for field := range strings.FieldsSeq(string(text)) {
			if value, found := strings.CutPrefix(field, "avg60="); found {
				words = append(words, what+" "+value+" %")
				break
			}
		}
	}
	return strings.Join(words, ", ")
}
