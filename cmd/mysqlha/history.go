package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// completed is the result of a plan that reached its end.
const completed = "completed"

func limitFlag() cli.Flag {
	return &cli.IntFlag{Name: "limit", Value: 20, Usage: "show the latest `N` entries"}
}

func limitOf(c *cli.Context) (int, error) {
	limit := c.Int("limit")
	if limit < 1 || limit > 1000 {
		return 0, &usageError{fmt.Sprintf("--limit is %d: write a number from 1 to 1000", limit)}
	}
	return limit, nil
}

func (t tool) history(c *cli.Context) error {
	limit, err := limitOf(c)
	if err != nil {
		return err
	}
	question := func(ctx context.Context, client *api.Client, _ string) ([]decide.History, error) {
		return client.History(ctx, limit)
	}
	if format, err := formatOf(c, jsonLines); err != nil || format == jsonLines {
		if err == nil {
			err = t.historyLines(c, limit)
		}
		return err
	}
	_, err = ask(t, c, question, func(h []decide.History) string { return historyText(h, time.Local) })
	return err
}

// jsonLines is a format of the history alone: one entry a line, the oldest first, as
// a log has it.
const jsonLines = "jsonl"

func (t tool) historyLines(c *cli.Context, limit int) error {
	client, _, err := connect(c)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(c.Context, given(c, "timeout").Duration("timeout"))
	defer cancel()
	entries, err := client.History(ctx, limit)
	if err != nil {
		return err
	}
	out := json.NewEncoder(t.stdout)
	for _, h := range slices.Backward(entries) {
		if err := out.Encode(h); err != nil {
			return fmt.Errorf("writing the history: %w", err)
		}
	}
	return nil
}

func historyText(entries []decide.History, zone *time.Location) string {
	if len(entries) == 0 {
		return "Nothing has happened yet.\n"
	}
	w := newTable("TERM", "WHEN", "WHAT", "FROM -> TO", "REASON", "RESULT", "TOTAL", "PHASES")
	for _, h := range entries {
		began, took := span(h)
		when := "?"
		if !began.IsZero() {
			when = moment(began.In(zone))
		}
		result := h.Result
		if !h.Complete && h.Result == completed {
			result += ", NOT complete"
		}
		w.AppendRow(table.Row{h.Term, when, string(h.Plan.Kind), path(h), string(h.Plan.Reason), wrap(result, 60), millis(took), phases(h.Plan.Marks)})
	}
	return w.Render() + "\n"
}

// path says which server left what, and which took over.
func path(h decide.History) string {
	switch h.Plan.Kind {
	case decide.PlanFailover, decide.PlanSwitchover, decide.PlanRenew:
		return h.Plan.From + " -> " + destination(h)
	case decide.PlanRemove:
		return h.Plan.Server + " -> out"
	case decide.PlanJoin:
		return h.Plan.Server + " joins"
	case decide.PlanLeave:
		return h.Plan.Server + " leaves"
	}
	return "-> " + h.Primary
}

// destination is the server to which a failover led, a dash for one that led
// nowhere.
func destination(h decide.History) string {
	if h.Result != completed {
		return "-"
	}
	return h.Primary
}

// span is when a plan began and how long it took.
func span(h decide.History) (began time.Time, took time.Duration) {
	marks := h.Plan.Marks
	if len(marks) == 0 {
		return time.Time{}, 0
	}
	return marks[0].At, marks[len(marks)-1].At.Sub(marks[0].At)
}

func phases(marks []decide.Mark) string {
	var parts []string
	for i := range max(0, len(marks)-1) {
		parts = append(parts, marks[i].Name+" "+millis(marks[i+1].At.Sub(marks[i].At)))
	}
	return strings.Join(parts, ", ")
}

// millis keeps milliseconds, by which failovers are compared.
func millis(d time.Duration) string {
	return fmt.Sprintf("%d ms", d.Round(time.Millisecond).Milliseconds())
}
