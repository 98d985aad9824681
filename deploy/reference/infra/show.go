package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"

	"github.com/mysqlha/mysqlha/deploy/reference"
	"github.com/mysqlha/mysqlha/deploy/reference/scan"
	"github.com/mysqlha/mysqlha/deploy/sandbox"
)

// showing are the commands that show what a site is like; docs/questions.md uses them.
func showing(where []cli.Flag) []*cli.Command {
	return []*cli.Command{
		{Name: "query", Usage: "ask the site's Prometheus, as an administrator", ArgsUsage: "EXPRESSION…", Flags: where, Action: query},
		{Name: "reach", Usage: "try every port from a host, or as a customer, and say what is reached", ArgsUsage: "HOST…", Flags: where, Action: reach},
		{Name: "capture", Usage: "capture every link while customers order, and say what can be read there", Action: eavesdrop, Flags: append(where,
			&cli.IntFlag{Name: "orders", Value: 200, Usage: "how many"},
			&cli.BoolFlag{Name: "plain", Usage: "one customer asks by HTTP instead, without TLS"})},
		{Name: "unaided", Usage: "cut the primary's host off while automation is paused, until somebody comes to help, and say what customers saw", Action: unaided, Flags: append(where,
			&cli.DurationFlag{Name: "absent", Value: 15 * time.Second, Usage: "how long nobody comes"})},
		{Name: "scan", Hidden: true, Action: func(c *cli.Context) error { return reference.Scan(os.Stdin, c.App.Writer) }},
		{Name: "plainly", Hidden: true, Flags: []cli.Flag{&cli.StringFlag{Name: "to"}, &cli.StringFlag{Name: "name"}}, Action: func(c *cli.Context) error {
			return reference.Plainly(c.Context, c.String("to"), c.String("name"))
		}},
	}
}

// withSite does something with the site that is up.
func withSite(c *cli.Context, do func(*reference.Site) error) error {
	s, err := reference.Open(c.String("dir"))
	if err != nil {
		return err
	}
	defer s.Close()
	return do(s)
}

// query prints the series of each expression, one a line: its labels and its value.
func query(c *cli.Context) error {
	if c.Args().Len() == 0 {
		return errors.New("give an expression of PromQL, such as 'tier:requests:rate1m'")
	}
	return withSite(c, func(s *reference.Site) error {
		for _, expr := range c.Args().Slice() {
			samples, err := s.Query(c.Context, expr)
			if err != nil {
				return err
			}
			if len(samples) == 0 {
				return fmt.Errorf("%s: there is no such series at the moment", expr)
			}
			lines := make([]string, 0, len(samples))
			for _, sample := range samples {
				delete(sample.Labels, "__name__")
				delete(sample.Labels, "cluster") // There is one.
				var words []string
				for _, name := range slices.Sorted(maps.Keys(sample.Labels)) {
					words = append(words, name+"="+sample.Labels[name])
				}
				lines = append(lines, fmt.Sprintf("%s  %s", cmp.Or(strings.Join(words, " "), expr), rounded(sample.Value)))
			}
			slices.Sort(lines)
			fmt.Fprintln(c.App.Writer, strings.Join(lines, "\n"))
		}
		return nil
	})
}

// rounded is a value for people: what is large in whole numbers, all else with three
// digits.
func rounded(v float64) string {
	if math.Abs(v) >= 1000 || v == math.Trunc(v) {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// reach prints what each host reaches.
func reach(c *cli.Context) error {
	if c.Args().Len() == 0 {
		return errors.New("say from where, such as web1, or customer")
	}
	return withSite(c, func(s *reference.Site) error {
		for _, from := range c.Args().Slice() {
			all, err := s.Reach(c.Context, from)
			if err != nil {
				return err
			}
			var order []string
			ports := make(map[string][]string)
			through := 0
			for _, r := range all {
				if r.What != scan.Connected && r.What != scan.Refused {
					continue
				}
				through++
				if ports[r.To] == nil {
					order = append(order, r.To)
				}
				said := strings.TrimSpace(fmt.Sprintf("%d %s", r.Port, r.Name))
				if r.What == scan.Refused {
					said += " (nobody listens)"
				}
				ports[r.To] = append(ports[r.To], said)
			}
			fmt.Fprintf(c.App.Writer, "%s reaches %d of %d ports\n", from, through, len(all))
			for _, to := range order {
				fmt.Fprintf(c.App.Writer, "  %s: %s\n", to, strings.Join(ports[to], ", "))
			}
		}
		return nil
	})
}

// eavesdrop prints what can be read on the links.
func eavesdrop(c *cli.Context) error {
	return withSite(c, func(s *reference.Site) error {
		do, what := s.OrderWithNote, fmt.Sprintf("%d orders with a note", c.Int("orders"))
		if c.Bool("plain") {
			do, what = func(ctx context.Context, _ int) error { return s.AskPlainly(ctx) }, "one question by HTTP with the note in it"
		}
		heard, err := s.Eavesdrop(c.Context, func(ctx context.Context) error { return do(ctx, c.Int("orders")) })
		if err != nil {
			return err
		}
		fmt.Fprintf(c.App.Writer, "%s, and %d packets on %d links\n\n", what, heard.Packets, heard.Links)
		t := sandbox.NewTable(c.App.Writer, "between", "packets", "connections", "TLS", "plain", "the note")
		for _, one := range heard.Between {
			read := "cannot be read"
			if one.Readable > 0 {
				read = fmt.Sprintf("can be read in %d packets", one.Readable)
			}
			t.AppendRow(table.Row{one.From + " and " + one.To, one.Packets, one.Connections, one.TLS, one.Plain, read})
		}
		t.Render()
		fmt.Fprintln(c.App.Writer)
		if heard.Balancer != "" {
			fmt.Fprintf(c.App.Writer, "a balancer sees: %s\n", heard.Balancer)
		}
		if heard.Words != "" {
			fmt.Fprintf(c.App.Writer, "whoever listens reads: %s\n", heard.Words)
		} else {
			fmt.Fprintln(c.App.Writer, "whoever listens reads nothing of the note")
		}
		return nil
	})
}

// unaided prints what customers saw.
func unaided(c *cli.Context) error {
	return withSite(c, func(s *reference.Site) error {
		u, err := s.LoseUnaided(c.Context, c.Duration("absent"))
		if err != nil {
			return err
		}
		fmt.Fprintf(c.App.Writer, "%s was cut off, automation was paused, and nobody came for %s\n%s\n%s\n", u.Lost, c.Duration("absent"), u.Customers, u.Found)
		if !u.Found.OK() {
			return errors.New("the promise was broken")
		}
		return nil
	})
}
