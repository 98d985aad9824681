package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

const rewoundHelp = `A primary that died may hold transactions that nobody was told of and no other server has. So that it can come back they
are cut off its binary log, or replaced by a clone, and kept on its host. mysqlha rewound SERVER lists what was kept;
mysqlha rewound SERVER NAME shows it as SQL with the mysqlbinlog on this host's PATH; --save FILE fetches it as it is.`

func (t tool) rewoundCommand() *cli.Command {
	return &cli.Command{Name: "rewound", Usage: "show what a server gave up to come back", ArgsUsage: "SERVER [NAME]", Description: rewoundHelp,
		Flags:  append(clientFlags(), &cli.StringFlag{Name: "save", Usage: "write the binary log to `FILE`, which must not exist"}),
		Action: t.rewound}
}

func (t tool) rewound(c *cli.Context) error {
	server, name := c.Args().Get(0), c.Args().Get(1)
	switch {
	case c.NArg() < 1 || c.NArg() > 2:
		return &usageError{"name a server, and one of what it has kept to see it: mysqlha rewound SERVER [NAME]"}
	case c.NArg() == 2:
		return t.showKept(c, server, name)
	case c.String("save") != "":
		return &usageError{"name what to save: mysqlha rewound " + server + " NAME --save FILE; mysqlha rewound " + server + " lists the names"}
	}
	_, err := ask(t, c, func(ctx context.Context, client *api.Client, name string) ([]decide.Kept, error) {
		if _, err := clusterOf(ctx, client, name); err != nil {
			return nil, err
		}
		return client.Kept(ctx, server)
	}, func(kept []decide.Kept) string { return keptText(server, kept) })
	return err
}

func keptText(server string, kept []decide.Kept) string {
	if len(kept) == 0 {
		return server + " has given nothing up.\n"
	}
	var b strings.Builder
	for _, k := range kept {
		term := ""
		if k.Term > 0 {
			term = fmt.Sprintf(" of term %d", k.Term)
		}
		fmt.Fprintf(&b, "%s  %-8s %d transactions%s, %d bytes\n  %s\n  %s\n", k.At.Local().Format(time.DateTime), k.Way, k.GTIDs.Count(), term, k.Bytes, k.Name, k.GTIDs)
	}
	return b.String()
}

// showKept fetches one file and saves it or shows it as SQL.
func (t tool) showKept(c *cli.Context, server, name string) error {
	client, _, err := connect(c)
	if err != nil {
		return err
	}
	defer client.Close()
	file, err := client.OpenKept(c.Context, server, name)
	if err != nil {
		return err
	}
	defer file.Close()
	if path := c.String("save"); path != "" {
		return saveNew(path, file)
	}
	program, err := exec.LookPath("mysqlbinlog")
	if err != nil {
		return fmt.Errorf("mysqlbinlog is not on the PATH of this host: install MySQL's client programs, or use --save FILE")
	}
	cmd := exec.CommandContext(c.Context, program, "--verbose", "-")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = file, t.stdout, t.stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("mysqlbinlog: %w", err)
	}
	return nil
}

func saveNew(path string, from io.Reader) (err error) {
	to, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("saving what was kept: %w", err)
	}
	_, err = io.Copy(to, from)
	if err = errors.Join(err, to.Sync(), to.Close()); err != nil {
		return fmt.Errorf("saving what was kept: %w", errors.Join(err, os.Remove(path)))
	}
	return nil
}
