package main

import (
	"fmt"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"

	"github.com/mysqlha/mysqlha/api"
)

const tokensHost = "/etc/mysqlha/tokens"

func (t tool) tokenCommand() *cli.Command {
	file := func() cli.Flag {
		return &cli.StringFlag{Name: "file", Value: tokensHost, Usage: "the file that api.tokens_file names on every host: `FILE`"}
	}
	output := &cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "table", Usage: "`FORMAT` of the output: table, json or yaml"}
	return &cli.Command{
		Name: "token", Usage: "let people and programs in by a token where they have no certificate",
		Description: "The file has hashes alone and is the same on every host: copy it there after each change. A daemon reads it anew by itself.",
		Subcommands: []*cli.Command{
			{Name: "new", Usage: "make a token, add its hash to the file and print it, this once", ArgsUsage: "NAME",
				Flags: []cli.Flag{file(), output,
					&cli.StringFlag{Name: "role", Value: "reader", Usage: "what it is for: reader, or operator for changes"},
					&cli.IntFlag{Name: "days", Value: 90, Usage: "how long it is good"}},
				Action: t.tokenNew},
			{Name: "list", Usage: "list names, roles and last days", Flags: []cli.Flag{file(), output}, Action: t.tokenList},
			{Name: "drop", Usage: "take a token out of the file", ArgsUsage: "NAME", Flags: []cli.Flag{file()}, Action: t.tokenDrop},
		},
	}
}

// madeToken is the answer of token new.
type madeToken struct {
	Name  string `json:"name"`
	Role  string `json:"role"`
	Last  string `json:"last_day"`
	Token string `json:"token"`
}

func (t tool) tokenNew(c *cli.Context) error {
	if c.NArg() != 1 {
		return &usageError{"write mysqlha token new NAME"}
	}
	valid, err := checked(c)
	if err != nil {
		return err
	}
	if _, err := formatOf(c); err != nil {
		return err
	}
	last := time.Now().Add(valid)
	secret, err := api.NewToken(c.String("file"), c.Args().First(), c.String("role"), last)
	if err != nil {
		return err
	}
	made := madeToken{Name: c.Args().First(), Role: c.String("role"), Last: last.UTC().Format(time.DateOnly), Token: secret}
	return t.print(c, made, func() string {
		return fmt.Sprintf("%s\n\nIt is not kept anywhere: %s has its hash. Copy that file to every host.\n", secret, c.String("file"))
	})
}

func (t tool) tokenList(c *cli.Context) error {
	all, err := api.ListTokens(c.String("file"))
	if err != nil {
		return err
	}
	return t.print(c, all, func() string {
		paint, w := painterFor(t.stdout), newTable("NAME", "ROLE", "LAST DAY")
		for _, one := range all {
			last := one.Last
			if one.Ended {
				last = paint(yellow, last+", ended")
			}
			w.AppendRow(table.Row{one.Name, one.Role, last})
		}
		return w.Render() + "\n"
	})
}

func (t tool) tokenDrop(c *cli.Context) error {
	if c.NArg() != 1 {
		return &usageError{"write mysqlha token drop NAME"}
	}
	if err := api.DropToken(c.String("file"), c.Args().First()); err != nil {
		return err
	}
	_, err := fmt.Fprintf(t.stdout, "dropped; copy %s to every host\n", c.String("file"))
	return err
}
