package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

const fenceHelp = `mysqlha fence --test SERVER closes a replica in the way in which a primary that is cut off from the cluster closes
itself, proves that it is closed, lets clients in again, and says how long each stage took. Clients that read there are cut off
for that moment. With --kill its mysqld is killed in the end, as one that does not close politely would be; its supervisor
starts it again. A primary, and a replica without which writes would stop, are refused.`

func (t tool) fenceCommand() *cli.Command {
	return &cli.Command{Name: "fence", Usage: "test on a replica how a cut-off primary is closed", ArgsUsage: "SERVER", Description: fenceHelp,
		Flags: append(clientFlags(),
			&cli.BoolFlag{Name: "test", Usage: "fence the replica for a test (required: there is nothing else to fence by hand)"},
			&cli.BoolFlag{Name: "kill", Usage: "kill its mysqld in the end"}),
		Action: t.fence}
}

// errFence makes the exit code of a test that was done and failed.
var errFence = errors.New("the fence did not hold its deadlines; see the stages")

func (t tool) fence(c *cli.Context) error {
	switch {
	case c.NArg() != 1:
		return &usageError{"name one replica: mysqlha fence --test SERVER"}
	case !c.Bool("test"):
		return &usageError{"only a test can be asked for: mysqlha fence --test " + c.Args().First()}
	}
	report, err := ask(t, c, func(ctx context.Context, client *api.Client, name string) (decide.FenceTest, error) {
		if _, err := clusterOf(ctx, client, name); err != nil {
			return decide.FenceTest{}, err
		}
		return client.TestFence(ctx, api.FenceRequest{Server: c.Args().First(), Kill: c.Bool("kill")})
	}, fenceText)
	if err == nil && report.Failed() {
		return errFence
	}
	return err
}

func fenceText(f decide.FenceTest) string {
	var b strings.Builder
	for _, s := range f.Stages {
		line := fmt.Sprintf("%-16s %9s", s.Name, short(s.Took))
		if s.Error != "" {
			line += "  FAILED: " + s.Error
		}
		b.WriteString(line + "\n")
	}
	switch {
	case f.Closed == 0:
		fmt.Fprintf(&b, "%s was not proven closed\n", f.Server)
	case f.Killed:
		fmt.Fprintf(&b, "%s was closed after %s and killed; its supervisor starts it again\n", f.Server, short(f.Closed))
	default:
		fmt.Fprintf(&b, "%s was closed after %s and lets clients in again\n", f.Server, short(f.Closed))
	}
	return b.String()
}
