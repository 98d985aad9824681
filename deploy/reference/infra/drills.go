package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"

	"github.com/mysqlha/mysqlha/deploy/reference"
	"github.com/mysqlha/mysqlha/deploy/sandbox"
)

// drills carries out those named, or all, and fails if one of them has shown something to
// be broken.
func drills(c *cli.Context) error {
	chosen, err := choose(c.Args().Slice())
	if err != nil {
		return err
	}
	asJSON := c.String("output") == "json"
	if !asJSON && c.String("output") != "text" {
		return fmt.Errorf("--output is %q: say text or json", c.String("output"))
	}
	s, err := reference.Open(c.String("dir"))
	if err != nil {
		return err
	}
	defer s.Close()
	var results []reference.DrillResult
	var broken []error
	for _, d := range chosen {
		if !asJSON {
			fmt.Fprintf(c.App.Writer, "%s: %s\n", d.Name, d.What)
		}
		r, err := s.Run(c.Context, d, c.Duration("hold"))
		if err != nil {
			return fmt.Errorf("the drill %s: %w", d.Name, err)
		}
		if err := r.Err(); err != nil {
			broken = append(broken, fmt.Errorf("the drill %s: %w", d.Name, err))
		}
		results = append(results, r)
		if asJSON {
			if err := json.NewEncoder(c.App.Writer).Encode(inJSON(r)); err != nil {
				return err
			}
			continue
		}
		writeDrill(c.App.Writer, r)
	}
	if !asJSON && len(results) > 1 {
		fmt.Fprintln(c.App.Writer)
		writeDrills(c.App.Writer, results)
	}
	return errors.Join(broken...)
}

// choose returns the drills of these names in their order, all for none.
func choose(names []string) ([]reference.Drill, error) {
	all := reference.Drills()
	known := make([]string, len(all))
	for i, d := range all {
		known[i] = d.Name
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("there is no drill %q: they are %s", name, strings.Join(known, ", "))
		}
	}
	if len(names) == 0 {
		return all, nil
	}
	return slices.DeleteFunc(all, func(d reference.Drill) bool { return !slices.Contains(names, d.Name) }), nil
}

func writeDrill(w io.Writer, r reference.DrillResult) {
	if r.MovedTo != "" {
		fmt.Fprintf(w, "  the public address was at %s after %d ms\n", r.MovedTo, r.Moved.Milliseconds())
	}
	fmt.Fprintf(w, "  %s\n  %s\n  alerts: %s\n", r.Customers, r.Found, alerts(r, true))
	if r.Customers.LastFailure != "" {
		fmt.Fprintf(w, "  the last request that failed: %s\n", r.Customers.LastFailure)
	}
	if err := r.Err(); err != nil {
		fmt.Fprintf(w, "  BROKEN: %v\n", err)
	}
}

// alerts are those of a drill in a line, with or without when they came up.
func alerts(r reference.DrillResult, when bool) string {
	if len(r.Alerts) == 0 {
		return "none"
	}
	var all []string
	for _, a := range r.Alerts {
		one := a.String()
		if when {
			one += fmt.Sprintf(" after %.0f s", a.After.Seconds())
		}
		all = append(all, one)
	}
	return strings.Join(all, ", ")
}

// drillJSON is a line of --output json.
type drillJSON struct {
	Drill          string      `json:"drill"`
	Orders         int         `json:"orders"`
	Requests       int         `json:"requests"`
	FailedRequests int         `json:"failed_requests"`
	LastFailure    string      `json:"last_failure,omitempty"`
	LongestGap     float64     `json:"longest_gap_seconds"`
	SlowestOrder   float64     `json:"slowest_order_seconds"`
	Lost           []string    `json:"lost"`
	Doubled        []string    `json:"doubled"`
	MovedTo        string      `json:"moved_to,omitempty"`
	MovedAfter     float64     `json:"moved_after_seconds,omitempty"`
	Alerts         []alertJSON `json:"alerts"`
	Broken         string      `json:"broken,omitempty"`
}

type alertJSON struct {
	Name  string  `json:"name"`
	Of    string  `json:"of,omitempty"`
	After float64 `json:"after_seconds"`
}

func inJSON(r reference.DrillResult) drillJSON {
	gap, _ := r.Customers.LongestGap()
	d := drillJSON{Drill: r.Name, Orders: len(r.Customers.Acks), Requests: r.Customers.Requests, FailedRequests: r.Customers.Failed, LastFailure: r.Customers.LastFailure,
		LongestGap: gap.Seconds(), SlowestOrder: r.Customers.Slowest().Seconds(), Lost: append([]string{}, r.Found.Lost...), Doubled: append([]string{}, r.Found.Doubled...),
		MovedTo: r.MovedTo, MovedAfter: r.Moved.Seconds(), Alerts: []alertJSON{}}
	for _, a := range r.Alerts {
		d.Alerts = append(d.Alerts, alertJSON{a.Name, a.Of, a.After.Seconds()})
	}
	if err := r.Err(); err != nil {
		d.Broken = err.Error()
	}
	return d
}

// writeDrills writes what all of them have shown, a line each.
func writeDrills(w io.Writer, results []reference.DrillResult) {
	t := sandbox.NewTable(w, "drill", "orders", "failed requests", "longest gap", "lost", "doubled", "alerts")
	for _, r := range results {
		gap, _ := r.Customers.LongestGap()
		t.AppendRow(table.Row{r.Name, len(r.Customers.Acks), r.Customers.Failed, gap.Round(time.Millisecond), len(r.Found.Lost), len(r.Found.Doubled), alerts(r, false)})
	}
	t.Render()
}
