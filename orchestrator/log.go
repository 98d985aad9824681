package orchestrator

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// log writes one line for a decision that differs from the one before, with its evidence.
func (l *lead) log(d *decide.Decision, record *decide.Record) {
	term, plan := belongs(d.Change, record)
	short := inShort(d, plan)
	if short == l.told {
		return
	}
	l.told = short
	level := slog.LevelInfo
	args := []any{"reason", d.Reason, "detail", d.Detail, "waits", waits(d.Waits), "term", term}
	if plan != nil {
		args = append(args, "plan", plan.ID, "phase", plan.Phase)
		begins := record == nil || record.Plan == nil || record.Plan.ID != plan.ID
		if d.Change != nil && begins && plan.Kind == decide.PlanFailover {
			level = slog.LevelWarn
		}
	}
	if d.Change != nil {
		args = append(args, "specs", goalsOf(d.Change.Specs))
	}
	if d.Yield {
		args = append(args, "yield", true)
	}
	l.o.o.Logger.Log(context.Background(), level, "decided", args...)
}

// inShort is that by which decisions are told apart. Details hold figures that change with
// every look, so they count only where something is written to etcd; a plan that etcd did
// not take gets another id with every try.
func inShort(d *decide.Decision, plan *decide.Plan) string {
	var b strings.Builder
	fmt.Fprint(&b, d.Reason, " ", d.Yield)
	for _, w := range d.Waits {
		fmt.Fprint(&b, " ", w.Code, " ", w.Server)
	}
	if plan != nil {
		fmt.Fprint(&b, " ", plan.Kind, " ", plan.Phase)
	}
	if d.Change != nil {
		fmt.Fprint(&b, " ", d.Detail, " ", goalsOf(d.Change.Specs))
	}
	return b.String()
}

// logCommitted tells what a change that is in etcd has brought about.
func (l *lead) logCommitted(c *decide.Change, before *decide.Record) {
	l.told = "" // The next one is another, even if it reads the same.
	term, plan := belongs(c, before)
	if r := c.Record; r != nil && (before == nil || r.Term > before.Term) {
		id := ""
		if plan != nil {
			id = plan.ID
		}
		l.o.o.Logger.Info("term published", "term", r.Term, "plan", id, "primary", r.Primary, "in_sync", r.InSync,
			"required_acks", r.RequiredAcks, "complete", r.Complete)
	}
	if h := c.History; h != nil {
		level := slog.LevelInfo
		if h.Result != "completed" {
			level = slog.LevelWarn
		}
		args := []any{"term", term, "plan", h.Plan.ID, "kind", h.Plan.Kind, "reason", h.Plan.Reason, "result", h.Result, "primary", h.Primary}
		if marks := h.Plan.Marks; len(marks) > 0 {
			args = append(args, "took", marks[len(marks)-1].At.Sub(marks[0].At).Round(time.Millisecond))
		}
		l.o.o.Logger.Log(context.Background(), level, "plan ended", args...)
	}
}

// belongs returns the term and the plan, nil for none, that a change belongs to, or, where
// there is none, those of the record.
func belongs(c *decide.Change, record *decide.Record) (uint64, *decide.Plan) {
	term, plan := uint64(0), (*decide.Plan)(nil)
	if c != nil && c.Record != nil {
		record = c.Record
	}
	if record != nil {
		term, plan = record.Term, record.Plan
	}
	if c != nil && c.History != nil {
		plan = &c.History.Plan
	}
	return term, plan
}

// goalsOf are the servers that are given something else to do, and what.
func goalsOf(specs map[string]decide.Spec) map[string]decide.Goal {
	goals := make(map[string]decide.Goal, len(specs))
	for name, s := range specs {
		goals[name] = s.Goal
	}
	return goals
}

// waits is what is waited for, as the log shows it.
type waits []decide.Wait

// String is what a human reads; as JSON it is the list.
func (w waits) String() string {
	all := make([]string, 0, len(w))
	for _, one := range w {
		all = append(all, string(one.Code)+": "+one.Detail)
	}
	return strings.Join(all, "; ")
}
