package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

const accountsHelp = `Every daemon makes new passwords for the accounts with which it and its mysqld reach the others: probe, replication, clone. The primary gives
them to the accounts beside the present ones, each host takes them once every server knows them, and then the former ones end.
No session ends, and no write fails.`

// rotateTimeout is how long a rotation may take where nothing else is said.
const rotateTimeout = 2 * time.Minute

func (t tool) accountsCommand() *cli.Command {
	return &cli.Command{Name: "accounts", Usage: "the accounts of the daemons and servers: since when they have their passwords, and new ones", Flags: clientFlags(), Action: t.accounts,
		Subcommands: []*cli.Command{
			{Name: "rotate", Usage: "give all of them new passwords, with everything running", Description: accountsHelp,
				Flags: append(clientFlags(), &cli.DurationFlag{Name: "wait", Value: rotateTimeout, Usage: "how long to wait until the former ones have ended"}), Action: t.rotate},
		}}
}

// accountsOf asks every daemon of a cluster that has accounts.
func accountsOf(ctx context.Context, to target, c api.Cluster) ([]api.Passwords, error) {
	var daemons []port
	for _, p := range portsOf(c, target{}) {
		if p.What == "api" {
			daemons = append(daemons, p)
		}
	}
	all, errs := make([]api.Passwords, len(daemons)), make([]error, len(daemons))
	var wg sync.WaitGroup
	for i, p := range daemons {
		wg.Go(func() {
			client, err := api.NewClient(to.endpoint(p.Address, p.name))
			if err == nil {
				defer client.Close()
				all[i], err = client.Passwords(ctx)
			}
			errs[i] = err
		})
	}
	wg.Wait()
	return all, errors.Join(errs...)
}

func (t tool) accounts(c *cli.Context) error {
	to, err := targetOf(c)
	if err != nil {
		return err
	}
	_, err = ask(t, c, func(ctx context.Context, client *api.Client, name string) ([]api.Passwords, error) {
		cluster, err := clusterOf(ctx, client, name)
		if err != nil {
			return nil, err
		}
		return accountsOf(ctx, to, cluster)
	}, func(all []api.Passwords) string {
		w := newTable("HOST", "PASSWORDS SINCE", "")
		for _, p := range all {
			pending := ""
			if p.Pending {
				pending = t.paint(yellow, "new ones are on their way")
			}
			w.AppendRow(table.Row{p.Host, moment(p.Since.Local()), pending})
		}
		return w.Render() + "\n"
	})
	return err
}

// rotated is the answer of accounts rotate.
type rotated struct {
	Request string          `json:"request"`
	Took    time.Duration   `json:"took_ns"`
	Hosts   []api.Passwords `json:"hosts"`
}

func (t tool) rotate(c *cli.Context) error {
	wait := c.Duration("wait")
	if wait <= 0 {
		return &usageError{fmt.Sprintf("--wait is %s: write a duration such as 2m", wait)}
	}
	if _, err := formatOf(c); err != nil {
		return err
	}
	to, err := targetOf(c)
	if err != nil {
		return err
	}
	client, name, err := connect(c)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(c.Context, wait)
	defer cancel()
	if _, err := clusterOf(ctx, client, name); err != nil {
		return err
	}
	begun := time.Now()
	out := rotated{Request: rand.Text()}
	if _, err := client.Rotate(ctx, decide.RotationRequest{ID: out.Request, By: whoAsks()}); err != nil {
		return err
	}
	var last error
	err = t.follow(ctx, client, func(api.Cluster) string {
		waits := slices.DeleteFunc(slices.Clone(out.Hosts), func(p api.Passwords) bool { return p.Rotation == out.Request && !p.Pending })
		if len(out.Hosts) == 0 || len(waits) == 0 {
			return ""
		}
		return fmt.Sprintf("%d of %d hosts have new passwords", len(out.Hosts)-len(waits), len(out.Hosts))
	}, func(now api.Cluster, took time.Duration) (bool, error) {
		out.Hosts, last = accountsOf(ctx, to, now)
		out.Took = took
		return last == nil && !slices.ContainsFunc(out.Hosts, func(p api.Passwords) bool { return p.Rotation != out.Request || p.Pending }), nil
	})
	if err != nil {
		return errors.Join(err, last)
	}
	return t.print(c, out, func() string {
		return fmt.Sprintf("The accounts of %d hosts have new passwords, and the former ones have ended, after %s.\n", len(out.Hosts), short(time.Since(begun)))
	})
}
