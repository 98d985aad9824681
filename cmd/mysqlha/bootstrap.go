package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

const bootstrapHelp = `Begins the cluster.

Of empty servers: mysqlha bootstrap --primary db1. Where bootstrap.primary stands in the configuration of the hosts, it
begins by itself as soon as all daemons are there.

Of servers that run already: mysqlha bootstrap --adopt. One of them takes writes, the others replicate from it by GTIDs;
on each host mysqlhad adopt has prepared the server, and mysqlhad guard --attach and mysqlhad run. The primary goes on
taking writes all the while: schema and accounts are made on it, the replicas change to accounts of their own, and as
soon as they have caught up its commits wait for them. Nothing is restarted. --dry-run shows what would be changed and
all that is in the way.`

func (t tool) bootstrapCommand() *cli.Command {
	return &cli.Command{Name: "bootstrap", Usage: "begin the cluster: of empty servers, or by adopting running ones", Description: bootstrapHelp,
		Flags: append(clientFlags(),
			&cli.StringFlag{Name: "primary", Usage: "the `SERVER` that becomes the first primary, or, with --adopt, is it"},
			&cli.BoolFlag{Name: "adopt", Usage: "the servers run already, hold data, and one of them takes writes"},
			&cli.BoolFlag{Name: "dry-run", Usage: "only show what would be changed, and what is in the way"},
			&cli.BoolFlag{Name: "yes", Usage: "do not ask before a running cluster is adopted"},
			&cli.BoolFlag{Name: "no-wait", Usage: "do not wait until it is done"}),
		Action: t.bootstrap}
}

func (t tool) bootstrap(c *cli.Context) error {
	request := decide.BootstrapRequest{ID: rand.Text(), Primary: c.String("primary"), Adopt: c.Bool("adopt"), By: whoAsks()}
	if c.Bool("dry-run") {
		b, err := ask(t, c, t.beginningOf(request), beginningText)
		if err == nil && len(b.Problems) > 0 {
			return errRefusedByLeader
		}
		return err
	}
	if request.Adopt && !c.Bool("yes") {
		if err := t.confirmAdoption(c, request); err != nil {
			return err
		}
	}
	_, err := ask(t, c, func(ctx context.Context, client *api.Client, name string) (begun, error) {
		if _, err := t.beginningOf(request)(ctx, client, name); err != nil {
			return begun{}, err
		}
		id, err := client.Bootstrap(ctx, request)
		if err != nil || c.Bool("no-wait") {
			return begun{Request: id}, err
		}
		return t.awaitBegun(c.Context, client, id)
	}, begunText)
	return err
}

// beginningOf asks how the cluster would begin, until a leader has an opinion on it.
func (t tool) beginningOf(request decide.BootstrapRequest) func(context.Context, *api.Client, string) (decide.Beginning, error) {
	return func(ctx context.Context, client *api.Client, name string) (decide.Beginning, error) {
		begun := t.now()
		for {
			cluster, err := clusterOf(ctx, client, name)
			if err != nil {
				return decide.Beginning{}, err
			}
			if r := cluster.Record; r != nil {
				return decide.Beginning{}, &api.AnswerError{Status: 409, Reason: fmt.Sprintf("the cluster has begun: %s is primary in term %d", r.Primary, r.Term)}
			}
			deadline, _ := ctx.Deadline()
			b := cluster.Decision.Beginning
			// What is in the way may pass in a moment: daemons that have just started.
			if b != nil && (len(b.Problems) == 0 || t.now().Sub(begun) > passes || time.Until(deadline) < answerReserve) {
				if b.Adopt != request.Adopt {
					return *b, &api.AnswerError{Status: 409, Reason: wrongKind(b.Adopt)}
				}
				if !b.Adopt {
					return withPrimary(*b, request.Primary)
				}
				return *b, nil
			}
			if time.Until(deadline) < answerReserve {
				return decide.Beginning{}, errors.New("nobody leads at the moment, so nothing can be said: is mysqlhad running on most hosts?")
			}
			time.Sleep(pollEvery)
		}
	}
}

// withPrimary is the beginning of empty servers with the primary that was named here.
func withPrimary(b decide.Beginning, primary string) (decide.Beginning, error) {
	unnamed := func(w decide.Wait) bool { return w.Code == decide.CodeNoBootstrapPrimary }
	switch {
	case primary != "":
		b.Primary, b.Problems = primary, slices.DeleteFunc(slices.Clone(b.Problems), unnamed)
	case slices.ContainsFunc(b.Problems, unnamed):
		return b, &usageError{"which server is to be primary first? mysqlha bootstrap --primary SERVER"}
	}
	return b, nil
}

func wrongKind(adopt bool) string {
	if adopt {
		return "the servers hold data: only mysqlha bootstrap --adopt can begin this cluster; a new one begins on empty servers"
	}
	return "the servers are empty, and there is nothing to adopt: mysqlha bootstrap without --adopt"
}

func beginningText(b decide.Beginning) string {
	var s strings.Builder
	if b.Primary != "" {
		fmt.Fprintf(&s, "Primary: %s\n", b.Primary)
	}
	if len(b.Changes) > 0 && len(b.Problems) == 0 {
		s.WriteString("What is done:\n")
	}
	for _, change := range b.Changes {
		fmt.Fprintf(&s, "  %s\n", change)
	}
	if len(b.Problems) > 0 {
		s.WriteString("In the way:\n")
	}
	for _, p := range b.Problems {
		fmt.Fprintf(&s, "  %s %s\n    %s\n", p.Code, p.Server, p.Detail)
		if p.Remedy != "" {
			fmt.Fprintf(&s, "    -> %s\n", p.Remedy)
		}
	}
	return s.String()
}

// confirmAdoption shows what would be changed and has the user agree.
func (t tool) confirmAdoption(c *cli.Context, request decide.BootstrapRequest) error {
	return t.confirm(c, "an adoption", func(ctx context.Context, client *api.Client, name string) (text, word string, err error) {
		b, err := t.beginningOf(request)(ctx, client, name)
		if err == nil && len(b.Problems) > 0 {
			fmt.Fprint(t.stderr, beginningText(b))
			err = errRefusedByLeader
		}
		return beginningText(b) + "Type yes to adopt it: ", "yes", err
	})
}

// begun is what came of a beginning.
type begun struct {
	Request string        `json:"request"`
	Primary string        `json:"primary,omitempty"`
	Term    uint64        `json:"term,omitempty"`
	InSync  []string      `json:"in_sync"`
	Took    time.Duration `json:"took_ns,omitempty"`
}

// awaitBegun waits until the promise is in force: the primary takes writes, and they
// wait for whom they shall wait for.
func (t tool) awaitBegun(ctx context.Context, client *api.Client, id string) (begun, error) {
	out := begun{Request: id, InSync: []string{}}
	err := t.follow(ctx, client, beginningProgress, func(c api.Cluster, took time.Duration) (bool, error) {
		r := c.Record
		if r == nil || r.Term == 0 || r.Plan != nil {
			return false, nil
		}
		out.Primary, out.Term, out.InSync, out.Took = r.Primary, r.Term, r.InSync, took
		open := false
		for _, s := range c.Servers {
			open = open || s.Name == r.Primary && s.State == api.StateOpen
		}
		return open && (!r.Suspended || r.Durability == decide.DurabilityAsync), nil
	})
	if err != nil {
		err = fmt.Errorf("%w: it goes on without this command, see mysqlha why", err)
	}
	return out, err
}

// beginningProgress says what is waited for.
func beginningProgress(c api.Cluster) string {
	if c.Record == nil {
		if len(c.Decision.Waits) > 0 {
			w := c.Decision.Waits[0]
			return string(w.Code) + ": " + w.Detail
		}
		return ""
	}
	if p := c.Record.Plan; p != nil {
		return fmt.Sprintf("%s, in phase %s", planWord(p.Kind), p.Phase)
	}
	for _, s := range c.Servers {
		if s.Role == api.RoleReplica && !s.InSync {
			return fmt.Sprintf("term %d of %s: %s is %s", c.Record.Term, c.Record.Primary, s.Name, s.State)
		}
	}
	return ""
}

func begunText(b begun) string {
	if b.Primary == "" {
		return "It was asked for; see mysqlha status\n"
	}
	return fmt.Sprintf("%s is primary in term %d, and %s are in sync, after %s\n", b.Primary, b.Term, strings.Join(b.InSync, ", "), short(b.Took))
}
