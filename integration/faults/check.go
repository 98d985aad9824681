package faults

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/deploy/sandbox"
	"github.com/mysqlha/mysqlha/deploy/sandbox/load"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// Splits returns the acknowledgements that two terms gave at the same time: a
// write begun after the first acknowledgement of a newer term, and acknowledged
// in an older one. Terms are the failovers of the history in their order.
func Splits(acks []load.Ack, history []decide.History, id func(server string) int64) []string {
	terms := slices.DeleteFunc(slices.Clone(history), func(h decide.History) bool {
		return h.Plan.Kind != decide.PlanFailover || h.Result != "completed"
	})
	slices.SortFunc(terms, func(a, b decide.History) int { return int(a.Term) - int(b.Term) })
	var out []string
	for i, h := range terms {
		published := markOf(h.Plan, string(decide.PhaseOpen))
		newer, older := id(h.Primary), id(h.Plan.From)
		var first time.Time
		for _, a := range acks {
			if a.Server == newer && a.Begun.After(published) && (first.IsZero() || a.Acked.Before(first)) {
				first = a.Acked
			}
		}
		if first.IsZero() {
			continue
		}
		// Until the old primary is primary again, if ever.
		until := time.Now()
		for _, later := range terms[i+1:] {
			if later.Primary == h.Plan.From {
				until = markOf(later.Plan, string(decide.PhaseOpen))
				break
			}
		}
		for _, a := range acks {
			if a.Server == older && a.Begun.After(first) && a.Acked.Before(until) {
				out = append(out, fmt.Sprintf("term %d: %s acknowledged %d/%d begun %s after the first acknowledgement of %s",
					h.Term, h.Plan.From, a.Client, a.Seq, a.Begun.Sub(first), h.Primary))
			}
		}
	}
	return out
}

func markOf(p decide.Plan, name string) time.Time {
	for _, m := range p.Marks {
		if m.Name == name {
			return m.At
		}
	}
	return time.Time{}
}

// LongestGap returns the longest time without an acknowledgement in a span.
func LongestGap(acks []load.Ack, from, to time.Time) time.Duration {
	longest, last := time.Duration(0), from
	for _, a := range acks {
		if a.Acked.Before(from) {
			continue
		}
		if a.Acked.After(to) {
			break
		}
		longest, last = max(longest, a.Acked.Sub(last)), a.Acked
	}
	return max(longest, to.Sub(last))
}

// SameEverywhere waits until all servers have the same GTIDs, and compares what
// they hold.
func (c *Cluster) SameEverywhere(ctx context.Context, tables ...string) error {
	var state api.Cluster
	err := c.AwaitCluster(ctx, "all servers have the same transactions", func(now api.Cluster) bool {
		state = now
		if !sandbox.Settled(now) {
			return false
		}
		var first *decide.Live
		for _, s := range now.Servers {
			if s.Live == nil {
				return false
			}
			if first == nil {
				first = s.Live
			}
			// The heartbeat goes on: a server may be one commit behind.
			if s.Live.Executed.Subtract(first.Executed).Count() > 3 || first.Executed.Subtract(s.Live.Executed).Count() > 3 {
				return false
			}
		}
		return true
	})
	if err != nil {
		return fmt.Errorf("%w; %s", err, describe(state, nil))
	}
	sums := make(map[string][]string)
	for _, server := range c.Servers() {
		sum, err := c.checksum(ctx, server, tables)
		if err != nil {
			return err
		}
		sums[sum] = append(sums[sum], server)
	}
	if len(sums) > 1 {
		return fmt.Errorf("the servers' data differs: %v", sums)
	}
	return nil
}

func (c *Cluster) checksum(ctx context.Context, server string, tables []string) (string, error) {
	db, err := c.OpenAdmin(server)
	if err != nil {
		return "", err
	}
	defer db.Close() // Nothing is under way on it.
	var all []string
	for _, table := range tables {
		var name string
		var sum sql.NullInt64
		if err := db.QueryRowContext(ctx, "CHECKSUM TABLE "+sandbox.AppSchema+"."+table).Scan(&name, &sum); err != nil {
			return "", fmt.Errorf("the checksum of %s at %s: %w", table, server, err)
		}
		all = append(all, fmt.Sprintf("%s=%d", table, sum.Int64))
	}
	return strings.Join(all, " "), nil
}
