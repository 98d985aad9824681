package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/replication/gtid"
)

const rejoinHelp = `Servers come back by themselves: rewound, or built anew as a clone of a replica. One that holds transactions of which
somebody may have been told, and that nobody else has, waits for a human: they were written on a replica, or lost by a
failover in async. mysqlha rejoin SERVER names them; look at them with mysqlbinlog. There are two ways on:
--discard gives them up: the server becomes a clone of another, and a copy of them is kept in its daemon's folder
(replaced-...). --inject-empty leaves them where they are: the primary makes empty transactions of the same names, and the
server replicates again. It then differs from the others by whatever they wrote, for ever: say so only of what is harmless.`

func (t tool) rejoinCommand() *cli.Command {
	return &cli.Command{Name: "rejoin", Usage: "bring a server back that holds what nobody else has", ArgsUsage: "SERVER", Description: rejoinHelp,
		Flags: append(clientFlags(),
			&cli.BoolFlag{Name: "discard", Usage: "give up the transactions that only this server has"},
			&cli.BoolFlag{Name: "inject-empty", Usage: "call the transactions that only this server has harmless, and keep them there alone"},
			&cli.BoolFlag{Name: "no-wait", Usage: "do not wait until the server is in sync"}),
		Action: t.rejoin}
}

// rejoined is what came of it.
type rejoined struct {
	Server string `json:"server"`
	// Discarded are what was given up, Injected what was called harmless.
	Discarded gtid.Set `json:"discarded"`
	Injected  gtid.Set `json:"injected"`
	// State is the server's, InSync whether it is in the in-sync set, Back whether it
	// has come back: in sync, or following where nobody is.
	State  api.State `json:"state"`
	InSync bool      `json:"in_sync"`
	Back   bool      `json:"back"`
	// Took is how long it was waited for.
	Took time.Duration `json:"took_ns"`
}

func (t tool) rejoin(c *cli.Context) error {
	if c.NArg() != 1 {
		return &usageError{"name one server: mysqlha rejoin SERVER"}
	}
	if c.Bool("discard") && c.Bool("inject-empty") {
		return &usageError{"write --discard or --inject-empty, not both"}
	}
	server := c.Args().First()
	_, err := ask(t, c, func(ctx context.Context, client *api.Client, name string) (rejoined, error) {
		cluster, err := clusterOf(ctx, client, name)
		if err != nil {
			return rejoined{}, err
		}
		s, err := serverOf(cluster, server)
		if err != nil {
			return rejoined{}, err
		}
		r := rejoined{Server: server, State: s.State, InSync: s.InSync, Back: arrived(cluster, server)}
		switch {
		case s.Errant.IsEmpty():
			return r, nil
		case c.Bool("inject-empty"):
			r.Injected = s.Errant
			err = client.Rejoin(ctx, api.RejoinRequest{Server: server, Harmless: s.Errant, By: whoAsks()})
		case c.Bool("discard"):
			r.Discarded = s.Errant
			err = client.Rejoin(ctx, api.RejoinRequest{Server: server, Discard: s.Errant, By: whoAsks()})
		case s.State == api.StateCloning:
			r.Discarded = s.Errant
		default:
			err = fmt.Errorf("%s holds %d transactions that nobody else has: %s\nlook at them with mysqlbinlog on its host; mysqlha rejoin %s --discard gives them up, --inject-empty calls them harmless", server, s.Errant.Count(), s.Errant, server)
		}
		if err != nil {
			return r, err
		}
		if c.Bool("no-wait") {
			return r, nil
		}
		return t.awaitInSync(c.Context, client, r)
	}, rejoinText)
	return err
}

func serverOf(c api.Cluster, name string) (api.Server, error) {
	i := slices.IndexFunc(c.Servers, func(s api.Server) bool { return s.Name == name })
	if i < 0 {
		return api.Server{}, fmt.Errorf("%q is not a server of this cluster", name)
	}
	return c.Servers[i], nil
}

// awaitInSync waits until the server counts again.
func (t tool) awaitInSync(ctx context.Context, client *api.Client, r rejoined) (rejoined, error) {
	err := t.await(ctx, client, r.Server, func(cluster api.Cluster, took time.Duration) (bool, error) {
		s, err := serverOf(cluster, r.Server)
		r.State, r.InSync, r.Back, r.Took = s.State, s.InSync, arrived(cluster, r.Server), took
		return r.Back, err
	})
	if ctx.Err() != nil {
		err = fmt.Errorf("%w, and will go on without this command", err)
	}
	return r, err
}

func rejoinText(r rejoined) string {
	again := "in sync"
	if !r.InSync {
		again = string(r.State)
	}
	switch {
	case !r.Injected.IsEmpty() && r.Back:
		return fmt.Sprintf("%s is %s again after %s, and alone holds what %s wrote\n", r.Server, again, short(r.Took), r.Injected)
	case !r.Injected.IsEmpty():
		return fmt.Sprintf("%s is %s, and will replicate once the primary has empty transactions for %s\n", r.Server, r.State, r.Injected)
	case r.Discarded.IsEmpty() && r.InSync:
		return r.Server + " is in sync\n"
	case r.Discarded.IsEmpty():
		return fmt.Sprintf("%s is %s and holds nothing that nobody else has; it comes back by itself\n", r.Server, r.State)
	case r.Back:
		return fmt.Sprintf("%s is %s again after %s, without %s\n", r.Server, again, short(r.Took), r.Discarded)
	}
	return fmt.Sprintf("%s is %s, and will be built anew without %s\n", r.Server, r.State, r.Discarded)
}
