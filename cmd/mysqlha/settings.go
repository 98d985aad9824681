package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

const settingsHelp = `Settings that all daemons share stand in etcd:

  durability     lossless   an acknowledged write is on required_acks replicas; with too few of them, writes wait
                 available  the same, but with too few replicas the primary acknowledges alone, which is recorded
                            first; until enough are back, its loss is no reason for a failover
                 async      the primary never waits; a failover loses what no replica had received
  required_acks  how many replicas must have a write
  max_lag        in async: how far the best replica may be behind to be promoted
  auto_rejoin    what is done by itself with a server that holds transactions which the primary does not, and which nobody
                 was told of: clone (rewind it, or else clone it), rewind, or off

mysqlha settings shows them, mysqlha settings set durability=available required_acks=2 changes them.
Whatever promises less is recorded before the primary does it, whatever promises more after it was proved.`

func (t tool) settingsCommand() *cli.Command {
	return &cli.Command{
		Name: "settings", Usage: "show or change what the cluster promises", Description: settingsHelp, Flags: clientFlags(), Action: t.settings,
		Subcommands: []*cli.Command{
			{Name: "set", Usage: "change settings", ArgsUsage: "NAME=VALUE...", Flags: clientFlags(), Action: t.setSettings},
		},
	}
}

func (t tool) settings(c *cli.Context) error {
	_, err := ask(t, c, func(ctx context.Context, client *api.Client, _ string) (decide.Policy, error) {
		return client.Policy(ctx)
	}, settingsText)
	return err
}

func (t tool) setSettings(c *cli.Context) error {
	want, err := parseSettings(c.Args().Slice())
	if err != nil {
		return err
	}
	_, err = ask(t, c, func(ctx context.Context, client *api.Client, _ string) (decide.Policy, error) {
		return client.SetPolicy(ctx, want)
	}, settingsText)
	return err
}

func parseSettings(args []string) (decide.Policy, error) {
	var p decide.Policy
	if len(args) == 0 {
		return p, &usageError{"nothing to set: write NAME=VALUE, such as durability=available; see mysqlha settings --help"}
	}
	for _, arg := range args {
		name, value, _ := strings.Cut(arg, "=")
		var err error
		switch name {
		case "durability":
			p.Durability = decide.Durability(value)
		case "required_acks":
			p.RequiredAcks, err = strconv.Atoi(value)
		case "max_lag":
			p.MaxLag, err = time.ParseDuration(value)
		case "auto_rejoin":
			p.AutoRejoin = decide.AutoRejoin(value)
		default:
			return p, &usageError{fmt.Sprintf("%q is not a setting: use durability, required_acks, max_lag, auto_rejoin", name)}
		}
		if err != nil || value == "" {
			return p, &usageError{fmt.Sprintf("%s: %q is not a value of it; see mysqlha settings --help", name, value)}
		}
	}
	return p, nil
}

func settingsText(p decide.Policy) string {
	lag := "as configured"
	if p.MaxLag > 0 {
		lag = p.MaxLag.String()
	}
	rejoin := p.AutoRejoin
	if rejoin == "" {
		rejoin = decide.AutoRejoinClone
	}
	return fmt.Sprintf("durability     %s\nrequired_acks  %d\nmax_lag        %s\nauto_rejoin    %s\n", p.Durability, p.RequiredAcks, lag, rejoin)
}
