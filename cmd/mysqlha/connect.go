package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/certs"
	"github.com/mysqlha/mysqlha/config"
)

// The files that are looked for when none is named.
const (
	contextHere = "mysqlha-context.yaml"
	configHost  = "/etc/mysqlha/mysqlha.yaml"
)

// clientFlags are taken before a command and after it.
func clientFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "config", Usage: "a host's configuration, the one of mysqlhad: `FILE`"},
		&cli.StringFlag{Name: "context", Usage: "a cluster by the name of its context, or a context's file: `NAME|FILE`"},
		&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "table", Usage: "`FORMAT` of the output: table, json or yaml"},
		&cli.DurationFlag{Name: "timeout", Value: 10 * time.Second, Usage: "how long to wait for an answer"},
	}
}

// given returns the context in which a flag was given, the nearest first; the
// library would take the default of the nearest.
func given(c *cli.Context, name string) *cli.Context {
	for _, one := range c.Lineage() {
		if one.Command != nil && one.IsSet(name) {
			return one
		}
	}
	return c
}

// target is a cluster to ask.
type target struct {
	cluster   string
	files     config.TLS
	token     string
	endpoints []api.Endpoint
}

// connect returns a client of the cluster that the flags, the environment or
// the default files name, and the cluster's name.
func connect(c *cli.Context) (*api.Client, string, error) {
	t, err := targetOf(c)
	if err != nil {
		return nil, "", err
	}
	client, err := api.NewClient(t.endpoints...)
	return client, t.cluster, err
}

func targetOf(c *cli.Context) (target, error) {
	kind, file, err := place(given(c, "config").String("config"), given(c, "context").String("context"), os.Getenv)
	switch {
	case err != nil:
		return target{}, err
	case kind == "context":
		return fromContext(file)
	}
	return fromConfig(file)
}

// place decides which file to read and what kind it is of.
func place(configFlag, contextFlag string, getenv func(string) string) (kind, file string, err error) {
	for _, source := range []struct{ config, context, names string }{
		{configFlag, contextFlag, "--config and --context"},
		{getenv("MYSQLHA_CONFIG"), getenv("MYSQLHA_CONTEXT"), "MYSQLHA_CONFIG and MYSQLHA_CONTEXT"},
	} {
		switch {
		case source.config != "" && source.context != "":
			return "", "", &usageError{source.names + " are both given: keep one of them"}
		case source.context != "":
			file, err := contextFile(source.context)
			return "context", file, err
		case source.config != "":
			return "config", source.config, nil
		}
	}
	if exists(contextHere) {
		return "context", contextHere, nil
	}
	if name := currentContext(); name != "" {
		file, err := contextFile(name)
		return "context", file, err
	}
	if exists(configHost) {
		return "config", configHost, nil
	}
	return "", "", &usageError{fmt.Sprintf("which cluster? neither ./%s nor %s exists, and no context is current: give --context NAME|FILE or --config FILE", contextHere, configHost)}
}

// exists is true also for a file that cannot be looked at: reading it will say
// why, where silence would lead to another cluster.
func exists(file string) bool {
	_, err := os.Stat(file)
	return !errors.Is(err, fs.ErrNotExist)
}

func fromContext(file string) (target, error) {
	c, err := config.LoadContext(file)
	if err != nil {
		return target{}, fmt.Errorf("the context cannot be used:\n%w", err)
	}
	token := ""
	if c.TokenFile != "" {
		if token, err = config.ReadSecret(c.TokenFile); err != nil {
			return target{}, fmt.Errorf("the context cannot be used: %w", err)
		}
	}
	t := target{cluster: c.Cluster, files: c.TLS, token: token}
	for _, e := range c.Endpoints {
		t.endpoints = append(t.endpoints, t.endpoint(e.Address, e.VerifyName()))
	}
	return t, nil
}

func fromConfig(file string) (target, error) {
	c, err := config.Load(file, os.Environ())
	if err != nil {
		return target{}, fmt.Errorf("the configuration cannot be used:\n%w", err)
	}
	t := target{cluster: c.Cluster, files: c.TLS}
	for _, s := range c.Servers {
		t.endpoints = append(t.endpoints, t.endpoint(s.API, s.APITLSName()))
	}
	for _, w := range c.Witnesses {
		t.endpoints = append(t.endpoints, t.endpoint(w.API, w.APITLSName()))
	}
	return t, nil
}

// endpoint is one daemon of the cluster, asked as this target is.
func (t target) endpoint(address, name string) api.Endpoint {
	return api.Endpoint{Address: address, Token: t.token, TLS: certs.ClientConfig(certs.Files{CA: t.files.CA, Cert: t.files.Cert, Key: t.files.Key}, name, certs.Daemons()...)}
}

// ask runs one question to the cluster within the time-out and prints the
// answer in the format that was asked for; as a table it is what show writes.
func ask[T any](t tool, c *cli.Context, question func(context.Context, *api.Client, string) (T, error), show func(T) string) (T, error) {
	var none T
	if _, err := formatOf(c); err != nil {
		return none, err
	}
	wait := given(c, "timeout").Duration("timeout")
	if wait <= 0 {
		return none, &usageError{fmt.Sprintf("--timeout is %v: write a duration such as 10s", wait)}
	}
	client, cluster, err := connect(c)
	if err != nil {
		return none, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(c.Context, wait)
	defer cancel()
	answer, err := question(ctx, client, cluster)
	if err != nil {
		return none, err
	}
	return answer, t.print(c, answer, func() string { return show(answer) })
}
