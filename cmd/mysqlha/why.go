package main

import (
	"context"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/mysqlha/mysqlha/api"
)

func (t tool) why(c *cli.Context) error {
	question := func(ctx context.Context, client *api.Client, _ string) (api.Why, error) { return client.Why(ctx) }
	_, err := ask(t, c, question, func(w api.Why) string { return strings.TrimRight(w.Text, "\n") + "\n" })
	return err
}
