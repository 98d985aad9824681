// Command infra brings up the reference site on this machine, shows it, has customers
// order there, and takes it down: what `make infra` and its like run. It needs root.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mysqlha/mysqlha/deploy/reference"
	"github.com/mysqlha/mysqlha/deploy/reference/customer"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := app(os.Stdout).RunContext(ctx, os.Args); err != nil {
		fmt.Fprintf(os.Stderr, "infra: %v\n", err)
		os.Exit(1)
	}
}

func app(out io.Writer) *cli.App {
	where := []cli.Flag{
		&cli.StringFlag{Name: "dir", Usage: "the site's `FOLDER` (default: /var/lib/mysqlha-reference)"},
		&cli.StringFlag{Name: "network", Usage: "what its namespaces and its bridge are named after, a `NAME` (default: mharef)"},
	}
	return &cli.App{
		Name: "infra", Usage: "a whole site on this machine, as a reference: docs/reference.md; or on hosts of their own: docs/site.md", HideVersion: true, Writer: out,
		Commands: append(append(showing(where), hostCommands()...), []*cli.Command{
			{Name: "up", Usage: "make the site", Action: up, Flags: append(where,
				&cli.StringFlag{Name: "site", Usage: "its description, a `FILE` (default: deploy/reference/site.yaml)"},
				&cli.StringFlag{Name: "programs", Required: true, Usage: "the `FOLDER` that deploy/reference/fetch prints"},
				&cli.StringFlag{Name: "mysqld", Usage: "the mysqld `PROGRAM` (default: $MYSQLD, the one on PATH, or a fetched one)"})},
			{Name: "status", Usage: "each host, its programs, and what the monitoring says of it", Flags: where, Action: status},
			{Name: "orders", Usage: "have customers order, and check that every acknowledged order is there once", Action: orders, Flags: append(where,
				&cli.IntFlag{Name: "orders", Value: 1000, Usage: "how many; 0 goes on until Ctrl-C"},
				&cli.IntFlag{Name: "customers", Value: 8, Usage: "how many order at a time"})},
			{Name: "drills", Usage: "break the site in one way after the other under orders, and say what customers saw and which alerts there were", ArgsUsage: "[DRILL…]",
				Action: drills, Flags: append(where, &cli.DurationFlag{Name: "hold", Usage: "have each harm last for this `TIME` at least; what lasts longer than two minutes may raise more alerts"},
					&cli.StringFlag{Name: "output", Value: "text", Usage: "text, or json: a line for each drill"})},
			{Name: "down", Usage: "stop and remove the site, or whatever is left of one", Flags: where, Action: func(c *cli.Context) error {
				if err := reference.Remove(c.Context, options(c)); err != nil {
					return err
				}
				fmt.Fprintln(c.App.Writer, "nothing of the site is left")
				return nil
			}},
			{Name: "supervise", Hidden: true, Flags: where, Action: func(c *cli.Context) error {
				return reference.Supervise(c.Context, c.String("dir"), slog.New(slog.NewTextHandler(os.Stderr, nil)))
			}},
			{Name: "customer", Hidden: true, Action: visit, Flags: []cli.Flag{&cli.StringFlag{Name: "name"}, &cli.StringFlag{Name: "address"}, &cli.StringFlag{Name: "ca"},
				&cli.IntFlag{Name: "customers"}, &cli.IntFlag{Name: "orders"}, &cli.StringFlag{Name: "note"}}},
		}...),
	}
}

func options(c *cli.Context) reference.Options {
	begin := time.Now()
	return reference.Options{Dir: c.String("dir"), Name: c.String("network"), Description: c.String("site"), Programs: c.String("programs"), MySQLD: c.String("mysqld"),
		Progress: func(line string) { fmt.Fprintf(c.App.Writer, "%6.1fs  %s\n", time.Since(begin).Seconds(), line) }}
}

// ownFolder is where our own programs are.
func ownFolder() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("finding our own programs: %w", err)
	}
	return filepath.Dir(self), nil
}

func up(c *cli.Context) error {
	o := options(c)
	var err error
	if o.Own, err = ownFolder(); err != nil {
		return err
	}
	s, err := reference.Up(c.Context, o)
	if err != nil {
		return err
	}
	defer s.Close()
	s.WriteGuide(c.App.Writer)
	return nil
}

func status(c *cli.Context) error {
	return withSite(c, func(s *reference.Site) error { return s.WriteStatus(c.Context, c.App.Writer) })
}

// orders is interrupted by letting the customers finish, and then still checks.
func orders(c *cli.Context) error {
	s, err := reference.Open(c.String("dir"))
	if err != nil {
		return err
	}
	defer s.Close()
	ctx := context.WithoutCancel(c.Context)
	crowd, err := s.Order(ctx, reference.Crowd{Orders: c.Int("orders"), Customers: c.Int("customers")})
	if err != nil {
		return err
	}
	finished := make(chan struct{})
	defer close(finished)
	go func() {
		select {
		case <-c.Context.Done():
			_, _ = crowd.Stop() // What it returns is waited for below.
		case <-finished:
		}
	}()
	report, err := crowd.Wait()
	if err != nil {
		return err
	}
	fmt.Fprintln(c.App.Writer, report)
	if report.LastFailure != "" {
		fmt.Fprintln(c.App.Writer, "the last failure:", report.LastFailure)
	}
	check, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	found, err := s.Check(check, report.Acks)
	if err != nil {
		return err
	}
	fmt.Fprintln(c.App.Writer, found)
	if !found.OK() {
		return fmt.Errorf("the promise was broken")
	}
	return nil
}

// visit is a crowd of customers, in a network of theirs. It says what they saw in lines of
// JSON, and lets them go when its input ends.
func visit(c *cli.Context) error {
	stop := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // Its end is what counts.
		close(stop)
	}()
	out := json.NewEncoder(c.App.Writer)
	report, err := customer.Run(c.Context, customer.Options{Name: c.String("name"), Address: c.String("address"), CA: c.String("ca"), Customers: c.Int("customers"),
		Orders: c.Int("orders"), Note: c.String("note"), Stop: stop, Told: func(a customer.Ack) { _ = out.Encode(reference.Said{Ack: &a}) }}) // Who reads it may be gone.
	if err != nil {
		return err
	}
	report.Acks = nil
	return out.Encode(reference.Said{Report: &report})
}
