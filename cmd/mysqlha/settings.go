package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"
	"go.yaml.in/yaml/v4"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

const settingsHelp = `What all daemons must agree on stands in etcd. Changes are checked against each other and the running cluster, are all
made or none, count at once without a restart, and are kept with who made them.

  mysqlha settings set durability=available required_acks=2
  mysqlha settings set candidate.db3=never zone.db1=a
  mysqlha settings unset detection             # back to its default
  mysqlha settings edit                        # in $VISUAL or $EDITOR
  mysqlha settings history
  mysqlha settings diff                        # what is not as it is by default
  mysqlha settings diff 4 7                    # what changed from version 4 to 7

Whatever promises less is recorded before the primary does it, whatever promises more after it was proved.`

func (t tool) settingsCommand() *cli.Command {
	sub := func(name, usage, args string, action cli.ActionFunc, flags ...cli.Flag) *cli.Command {
		return &cli.Command{Name: name, Usage: usage, ArgsUsage: args, Flags: append(clientFlags(), flags...), Action: action}
	}
	return &cli.Command{
		Name: "settings", Usage: "show or change what the whole cluster agrees on", Description: settingsHelp, Flags: clientFlags(), Action: t.settings,
		Subcommands: []*cli.Command{
			sub("show", "show all settings", "", t.settings),
			sub("set", "change settings", "NAME=VALUE...", t.setSettings),
			sub("unset", "take settings back to their defaults", "NAME...", t.unsetSettings),
			sub("edit", "change settings in an editor", "", t.editSettings),
			sub("diff", "show what is not as it is by default, or what changed between two versions", "[FROM [TO]]", t.diffSettings),
			sub("history", "list the versions of the settings", "", t.settingsHistory, limitFlag()),
		},
	}
}

func settingsOf(ctx context.Context, client *api.Client, _ string) (api.Settings, error) {
	return client.Settings(ctx)
}

func (t tool) settings(c *cli.Context) error {
	_, err := ask(t, c, settingsOf, func(s api.Settings) string { return settingsText(s, t.paint) })
	return err
}

func (t tool) setSettings(c *cli.Context) error {
	want := make(map[string]string)
	for _, arg := range c.Args().Slice() {
		name, value, ok := strings.Cut(arg, "=")
		if _, twice := want[name]; !ok || value == "" || twice {
			return &usageError{fmt.Sprintf("%q: write NAME=VALUE, each name once, such as durability=available; mysqlha settings unset NAME takes one back", arg)}
		}
		want[name] = value
	}
	return t.changeSettings(c, want)
}

func (t tool) unsetSettings(c *cli.Context) error {
	want := make(map[string]string)
	for _, name := range c.Args().Slice() {
		want[name] = ""
	}
	return t.changeSettings(c, want)
}

func (t tool) changeSettings(c *cli.Context, set map[string]string) error {
	if len(set) == 0 {
		return &usageError{"nothing to change; the settings are " + strings.Join(decide.SettingNames(), ", ")}
	}
	_, err := ask(t, c, func(ctx context.Context, client *api.Client, _ string) (api.Settings, error) {
		return client.ChangeSettings(ctx, api.SettingsChange{Set: set, By: whoAsks()})
	}, func(s api.Settings) string { return settingsText(s, t.paint) })
	return err
}

func settingsText(s api.Settings, paint painter) string {
	w := newTable("SETTING", "VALUE", "DEFAULT", "WHAT IT IS")
	told := ""
	for _, one := range s.Settings {
		value, help := orDash(one.Value), one.Help
		if one.Set {
			value = paint(bold, value)
		}
		if help == told {
			help = "" // The same of another server.
		}
		told = one.Help
		w.AppendRow(table.Row{one.Name, value, orDash(one.Default), wrap(help, 78)})
	}
	return w.Render() + "\n\n" + versionText(s) + pauseText(s.Pause, paint)
}

func versionText(s api.Settings) string {
	if s.Version == 0 {
		return "Nothing has been set.\n"
	}
	return fmt.Sprintf("Version %d%s, %s\n", s.Version, bySomebody(s.By), moment(s.At.Local()))
}

func bySomebody(by string) string {
	if by == "" {
		return ""
	}
	return " by " + by
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// wrap breaks a text into lines of at most so many letters.
func wrap(text string, width int) string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimSpace(line + " " + word)
	}
	return strings.Join(append(lines, line), "\n")
}

// compared is what differs between two versions.
type compared struct {
	From    string           `json:"from"`
	To      string           `json:"to"`
	Changes []decide.Changed `json:"changes"`
}

func (t tool) diffSettings(c *cli.Context) error {
	if c.NArg() > 2 {
		return &usageError{"at most two versions: mysqlha settings diff [FROM [TO]]"}
	}
	_, err := ask(t, c, func(ctx context.Context, client *api.Client, _ string) (compared, error) {
		if c.NArg() == 0 {
			now, err := client.Settings(ctx)
			d := compared{From: "defaults", To: fmt.Sprintf("version %d", now.Version), Changes: []decide.Changed{}}
			for _, s := range now.Settings {
				if s.Set && s.Value != s.Default {
					d.Changes = append(d.Changes, decide.Changed{Name: s.Name, From: s.Default, To: s.Value})
				}
			}
			return d, err
		}
		const all = 1000
		versions, err := client.SettingsHistory(ctx, all)
		if err != nil {
			return compared{}, err
		}
		from, err := versionOf(versions, c.Args().Get(0))
		if err != nil {
			return compared{}, err
		}
		to, err := versionOf(versions, c.Args().Get(1))
		if err != nil {
			return compared{}, err
		}
		return compared{From: fmt.Sprintf("version %d", from.Version), To: fmt.Sprintf("version %d", to.Version), Changes: append([]decide.Changed{}, decide.Changes(from.Values, to.Values)...)}, nil
	}, comparedText)
	return err
}

// versionOf finds a version by its number, the newest for none.
func versionOf(versions []decide.PolicyVersion, number string) (decide.PolicyVersion, error) {
	if number == "" && len(versions) > 0 {
		return versions[0], nil
	}
	if number == "0" {
		return decide.PolicyVersion{}, nil // Before anything was set.
	}
	i := slices.IndexFunc(versions, func(v decide.PolicyVersion) bool { return fmt.Sprint(v.Version) == number })
	if i < 0 {
		return decide.PolicyVersion{}, fmt.Errorf("there is no version %q of the settings; mysqlha settings history lists them", number)
	}
	return versions[i], nil
}

func comparedText(d compared) string {
	if len(d.Changes) == 0 {
		return fmt.Sprintf("%s and %s are the same.\n", d.From, d.To)
	}
	return fmt.Sprintf("from %s to %s:\n", d.From, d.To) + changesText(d.Changes, "  ")
}

func changesText(changes []decide.Changed, indent string) string {
	var b strings.Builder
	for _, c := range changes {
		fmt.Fprintf(&b, "%s%s: %s -> %s\n", indent, c.Name, orDash(c.From), orDash(c.To))
	}
	return b.String()
}

func (t tool) settingsHistory(c *cli.Context) error {
	limit, err := limitOf(c)
	if err != nil {
		return err
	}
	_, err = ask(t, c, func(ctx context.Context, client *api.Client, _ string) ([]decide.PolicyVersion, error) {
		return client.SettingsHistory(ctx, limit)
	}, func(versions []decide.PolicyVersion) string {
		if len(versions) == 0 {
			return "Nothing has been set.\n"
		}
		var b strings.Builder
		for _, v := range versions {
			fmt.Fprintf(&b, "version %d, %s%s\n%s", v.Version, moment(v.At.Local()), bySomebody(v.By), changesText(v.Changes, "  "))
		}
		return b.String()
	})
	return err
}

const editHelp = `# The settings of the whole cluster. A line that is taken out, or empty, goes back to its default.
# An unchanged file changes nothing. Lines that begin with # do not count; those below show what else there is.
`

// editSettings has the settings edited as YAML, until they are accepted or left as
// they are.
func (t tool) editSettings(c *cli.Context) error {
	client, _, err := connect(c)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(c.Context, given(c, "timeout").Duration("timeout"))
	before, err := client.Settings(ctx)
	cancel()
	if err != nil {
		return err
	}
	text, err := edited(c.Context, t, editText(before))
	if err != nil {
		return err
	}
	set, err := editedChanges(before, text)
	if err != nil || len(set) == 0 {
		if err == nil {
			fmt.Fprintln(t.stdout, "Nothing was changed.")
		}
		return err
	}
	ctx, cancel = context.WithTimeout(c.Context, given(c, "timeout").Duration("timeout"))
	defer cancel()
	now, err := client.ChangeSettings(ctx, api.SettingsChange{Set: set, By: whoAsks(), Version: before.Version})
	if err != nil {
		return err
	}
	_, err = t.stdout.Write([]byte(settingsText(now, t.paint)))
	return err
}

// editText is the file that is edited.
func editText(s api.Settings) string {
	var set, rest strings.Builder
	for _, one := range s.Settings {
		line, err := yaml.Marshal(map[string]string{one.Name: one.Value})
		if err != nil {
			continue // A map of two texts is always written.
		}
		if one.Set {
			set.Write(line)
			continue
		}
		fmt.Fprintf(&rest, "\n# %s\n#%s", strings.ReplaceAll(wrap(one.Help, 100), "\n", "\n# "), line)
	}
	return editHelp + set.String() + rest.String()
}

// editedChanges returns what an edited file changes.
func editedChanges(before api.Settings, text []byte) (map[string]string, error) {
	wanted := make(map[string]any)
	if err := yaml.Unmarshal(text, &wanted); err != nil {
		return nil, fmt.Errorf("the edited settings cannot be read, and nothing was changed: %w", err)
	}
	set := make(map[string]string)
	for _, one := range before.Settings {
		value, there := wanted[one.Name]
		if one.Set && (!there || value == nil) {
			set[one.Name] = ""
		}
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		if wanted[name] == nil {
			continue
		}
		value := fmt.Sprint(wanted[name])
		i := slices.IndexFunc(before.Settings, func(s decide.Setting) bool { return s.Name == name })
		if i < 0 || !before.Settings[i].Set || before.Settings[i].Value != value {
			set[name] = value
		}
	}
	return set, nil
}

// edited has a text edited and returns what it has become.
func edited(ctx context.Context, t tool, text string) ([]byte, error) {
	editor := os.Getenv("VISUAL")
	for _, other := range []string{os.Getenv("EDITOR"), "vi"} {
		if editor == "" {
			editor = other
		}
	}
	file, err := os.CreateTemp("", "mysqlha-settings-*.yaml")
	if err != nil {
		return nil, err
	}
	defer os.Remove(file.Name())
	_, err = file.WriteString(text)
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	// As a shell reads it: it may have arguments.
	cmd := exec.CommandContext(ctx, "sh", "-c", editor+` "$1"`, "sh", file.Name())
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, t.stdout, t.stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("the editor %s ended with an error, and nothing was changed (set EDITOR for another): %w", editor, err)
	}
	after, err := os.ReadFile(file.Name())
	return bytes.TrimSpace(after), err
}
