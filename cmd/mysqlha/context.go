package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"

	"github.com/mysqlha/mysqlha/config"
)

const contextHelp = `A context says how one cluster is reached: its daemons, the CA and a client certificate. Those that are kept have names,
so that --context NAME (or MYSQLHA_CONTEXT) means a cluster; one of them may be the current one, which is meant where nothing
else is said.

  mysqlha context add shop ./mysqlha-context.yaml    # keeps a copy under that name, with absolute paths
  mysqlha context use shop
  mysqlha context                                    # lists them`

func (t tool) contextCommand() *cli.Command {
	output := clientFlags()[2:3]
	return &cli.Command{Name: "context", Usage: "list, keep and choose the clusters that are reached from here", Description: contextHelp, Flags: output, Action: t.contexts,
		Subcommands: []*cli.Command{
			{Name: "add", Usage: "keep a context file under a name", ArgsUsage: "NAME FILE", Action: t.addContext},
			{Name: "use", Usage: "make one the current one", ArgsUsage: "NAME", Action: t.useContext},
			{Name: "remove", Usage: "forget one", ArgsUsage: "NAME", Action: t.removeContext},
		}}
}

// contextName is what a context may be called: what cannot be a path to a file.
var contextName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`)

// contextDir is where contexts are kept.
func contextDir() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("contexts are kept under the user's configuration: %w", err)
	}
	return filepath.Join(dir, "mysqlha"), nil
}

// contextFile returns the file that a --context means: a name or a path.
func contextFile(given string) (string, error) {
	if !contextName.MatchString(given) {
		return given, nil
	}
	dir, err := contextDir()
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "contexts", given+".yaml")
	if !exists(file) {
		return "", &usageError{fmt.Sprintf("there is no context %q; mysqlha context lists them, and a file is meant by its path: ./%s", given, given)}
	}
	return file, nil
}

// currentContext returns the name of the current one, empty for none.
func currentContext() string {
	dir, err := contextDir()
	if err != nil {
		return ""
	}
	text, err := os.ReadFile(filepath.Join(dir, "current"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// kept is one context that is kept.
type kept struct {
	Name      string   `json:"name"`
	Current   bool     `json:"current"`
	Cluster   string   `json:"cluster,omitempty"`
	Endpoints []string `json:"endpoints,omitempty"`
	// Error says why it cannot be used.
	Error string `json:"error,omitempty"`
}

func (t tool) contexts(c *cli.Context) error {
	dir, err := contextDir()
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(dir, "contexts"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	all, current := []kept{}, currentContext()
	for _, e := range entries {
		name, isContext := strings.CutSuffix(e.Name(), ".yaml")
		if !isContext {
			continue
		}
		one := kept{Name: name, Current: name == current}
		loaded, err := config.LoadContext(filepath.Join(dir, "contexts", e.Name()))
		if err != nil {
			one.Error = err.Error()
		} else {
			one.Cluster = loaded.Cluster
			for _, at := range loaded.Endpoints {
				one.Endpoints = append(one.Endpoints, at.Address)
			}
		}
		all = append(all, one)
	}
	return t.print(c, all, func() string { return contextsText(all) })
}

func contextsText(all []kept) string {
	if len(all) == 0 {
		return "No context is kept: mysqlha context add NAME FILE\n"
	}
	w := newTable("", "CONTEXT", "CLUSTER", "DAEMONS")
	for _, k := range all {
		mark, cluster := "", k.Cluster
		if k.Current {
			mark = "*"
		}
		if k.Error != "" {
			cluster = "cannot be used: " + k.Error
		}
		w.AppendRow(table.Row{mark, k.Name, cluster, strings.Join(k.Endpoints, ", ")})
	}
	return w.Render() + "\n"
}

func (t tool) addContext(c *cli.Context) error {
	name, file := c.Args().Get(0), c.Args().Get(1)
	if c.NArg() != 2 || !contextName.MatchString(name) {
		return &usageError{"write mysqlha context add NAME FILE; a name has letters, digits, - and _"}
	}
	loaded, err := config.LoadContext(file)
	if err != nil {
		return fmt.Errorf("the context cannot be used:\n%w", err)
	}
	dir, err := contextDir()
	if err != nil {
		return err
	}
	dir = filepath.Join(dir, "contexts")
	to := filepath.Join(dir, name+".yaml")
	if exists(to) {
		return fmt.Errorf("there is a context %q already: mysqlha context remove %s takes it away", name, name)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := renameio.WriteFile(to, loaded.YAML(), 0o600); err != nil {
		return err
	}
	fmt.Fprintf(t.stdout, "%s means the cluster %s: mysqlha --context %s status, or mysqlha context use %s\n", name, loaded.Cluster, name, name)
	return nil
}

func (t tool) useContext(c *cli.Context) error {
	if c.NArg() != 1 || !contextName.MatchString(c.Args().First()) {
		return &usageError{"name one: mysqlha context use NAME; mysqlha context lists them"}
	}
	name := c.Args().First()
	if _, err := contextFile(name); err != nil {
		return err
	}
	dir, err := contextDir()
	if err != nil {
		return err
	}
	return renameio.WriteFile(filepath.Join(dir, "current"), []byte(name+"\n"), 0o600)
}

func (t tool) removeContext(c *cli.Context) error {
	if c.NArg() != 1 || !contextName.MatchString(c.Args().First()) {
		return &usageError{"name one: mysqlha context remove NAME"}
	}
	name := c.Args().First()
	file, err := contextFile(name)
	if err != nil {
		return err
	}
	dir, err := contextDir()
	if err != nil {
		return err
	}
	if name == currentContext() {
		err = os.Remove(filepath.Join(dir, "current"))
	}
	return errors.Join(err, os.Remove(file))
}

// print writes an answer in the format that was asked for.
func (t tool) print(c *cli.Context, v any, show func() string) error {
	format, err := formatOf(c)
	if err != nil {
		return err
	}
	if format == "table" {
		_, err = t.stdout.Write([]byte(show()))
	} else {
		err = encode(t.stdout, format, v)
	}
	if err != nil {
		return fmt.Errorf("writing the answer: %w", err)
	}
	return nil
}

// formatOf returns the format that was asked for, checked.
func formatOf(c *cli.Context, more ...string) (string, error) {
	format := given(c, "output").String("output")
	formats := append([]string{"table", "json", "yaml"}, more...)
	if !slices.Contains(formats, format) {
		return "", &usageError{fmt.Sprintf("--output is %q: write %s or %s", format, strings.Join(formats[:len(formats)-1], ", "), formats[len(formats)-1])}
	}
	return format, nil
}
