// Command mysqlha is the operator's command line: it asks the daemons of a
// cluster over HTTPS and shows what they say, and it makes certificates.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/deploy/sandbox"
)

// version is set by the linker.
var version = "unknown"

// The exit codes, documented in --help.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitRefused     = 3
	exitUnreachable = 4
	exitTimedOut    = 5
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run carries out one command line and returns its exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	t := tool{stdout: stdout, stderr: stderr, now: time.Now, paint: painterFor(stdout)}
	err := t.app(args).RunContext(ctx, args)
	var usage *usageError
	var ofSandbox *sandbox.UsageError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errNotOpen), errors.Is(err, errNotClean):
		return exitFailed // the table has said it
	case errors.As(err, &usage), errors.As(err, &ofSandbox):
		fmt.Fprintf(stderr, "mysqlha: %v\n", err)
		return exitUsage
	}
	fmt.Fprintf(stderr, "mysqlha: %v\n", err)
	var answer *api.AnswerError
	switch {
	case errors.Is(err, errRefusedByLeader), errors.Is(err, errRefusedByUser), errors.Is(err, errTakenBack), errors.As(err, &answer) && answer.Refused():
		return exitRefused
	case errors.Is(err, api.ErrUnreachable):
		return exitUnreachable
	case errors.Is(err, api.ErrTimedOut), errors.Is(err, context.DeadlineExceeded):
		return exitTimedOut
	}
	return exitFailed
}

// tool is what the commands share.
type tool struct {
	stdout, stderr io.Writer
	now            func() time.Time
	paint          painter
}

const help = `Where a cluster is found, the first that is there:
  --context F or --config F, MYSQLHA_CONTEXT or MYSQLHA_CONFIG,
  ./mysqlha-context.yaml, the current context (mysqlha context), /etc/mysqlha/mysqlha.yaml

Exit codes:
  0  done; for status: the primary is open and takes writes
  1  failed; for status: the cluster has no primary that takes writes; for doctor: something is wrong
  2  the command line is wrong
  3  refused, because it would not be safe or not work; nothing was changed
  4  no daemon could be reached
  5  it took longer than --timeout; what was asked for may go on`

func (t tool) app(args []string) *cli.App {
	app := &cli.App{
		Name:            "mysqlha",
		Usage:           "see and run a MySQL cluster with one writer",
		Description:     help,
		Version:         version,
		HideVersion:     true,
		HideHelpCommand: true,
		// The scripts of mysqlha completion ask by it.
		EnableBashCompletion: true,
		Writer:               t.stdout,
		ErrWriter:            t.stderr,
		Flags:                clientFlags(),
		ExitErrHandler:       func(*cli.Context, error) {}, // run decides on the exit code
		Commands: []*cli.Command{
			{Name: "status", Usage: "show who is primary, how each server is, and what waits or is wrong", Flags: clientFlags(), Action: t.status},
			{Name: "why", Usage: "say in words why the cluster does what it does, or does not", Flags: clientFlags(), Action: t.why},
			{Name: "history", Usage: "list the terms and plans that have ended", Flags: append(clientFlags(), limitFlag()), Action: t.history},
			t.doctorCommand(),
			t.bootstrapCommand(),
			t.settingsCommand(),
			t.fenceCommand(),
			t.rejoinCommand(),
			t.serverCommand(),
			t.switchoverCommand(),
			t.failoverCommand(),
			t.pauseCommand(),
			t.resumeCommand(),
			t.watchCommand(),
			t.contextCommand(),
			t.explainCommand(),
			t.completionCommand(),
			t.manCommand(),
			t.rewoundCommand(),
			t.accountsCommand(),
			t.certsCommand(),
			t.tokenCommand(),
			t.firewallCommand(),
			sandbox.Command(),
			{Name: "version", Usage: "print the version", Action: t.version},
		},
	}
	app.Action = onlyCommands(app.Name)
	strict(app.Commands, app.Name, slices.Contains(args, "--"))
	app.OnUsageError = wrongUsage(app.Name)
	return app
}

func (t tool) version(*cli.Context) error {
	_, err := fmt.Fprintf(t.stdout, "mysqlha %s (%s, %s/%s)\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// usageError is a command line that cannot be meant.
type usageError struct{ text string }

func (u *usageError) Error() string { return u.text }

func wrongUsage(path string) cli.OnUsageErrorFunc {
	return func(_ *cli.Context, err error, _ bool) error {
		return &usageError{fmt.Sprintf("%v; see %s --help", err, path)}
	}
}

// strict has every command refuse what it does not take. The library would
// take all that follows an argument for arguments, flags included, and say
// nothing. With a "--" on the line, a dash behind it is meant as it stands.
func strict(commands []*cli.Command, path string, dashes bool) {
	for _, c := range commands {
		full := path + " " + c.Name
		c.HideHelpCommand = true
		c.OnUsageError = wrongUsage(full)
		strict(c.Subcommands, full, dashes)
		if c.Action == nil {
			c.Action = onlyCommands(full)
			continue
		}
		takes, before := c.ArgsUsage != "", c.Before
		if c.SkipFlagParsing || takes && dashes {
			continue
		}
		commands := c.Subcommands
		c.Before = func(c *cli.Context) error {
			if slices.ContainsFunc(commands, func(sub *cli.Command) bool { return sub.Name == c.Args().First() }) {
				return nil // It checks its own.
			}
			if err := checkArguments(full, takes, c.Args().Slice()); err != nil || before == nil {
				return err
			}
			return before(c)
		}
	}
}

// checkArguments refuses flags after an argument, and arguments of a command
// that takes none. It says how to write the flags.
func checkArguments(path string, takes bool, args []string) error {
	i := slices.IndexFunc(args, func(a string) bool { return strings.HasPrefix(a, "-") && len(a) > 1 })
	switch {
	case len(args) == 0, takes && i < 0:
		return nil
	case takes:
		return &usageError{fmt.Sprintf("flags come before arguments: write %s %s %s", path, strings.Join(args[i:], " "), strings.Join(args[:i], " "))}
	case i >= 0:
		return &usageError{fmt.Sprintf("%s takes no arguments, and %q is one, after which flags are lost: write %s %s", path, args[0], path, strings.Join(args[i:], " "))}
	}
	return &usageError{fmt.Sprintf("%s takes no arguments, and %q is one; see %s --help", path, args[0], path)}
}

// onlyCommands is what happens without a command, or with an unknown one.
func onlyCommands(path string) cli.ActionFunc {
	return func(c *cli.Context) error {
		if name := c.Args().First(); name != "" {
			return &usageError{fmt.Sprintf("%s has no command %q; see %s --help", path, name, path)}
		}
		if c.Command != nil && len(c.Command.Subcommands) > 0 {
			return cli.ShowSubcommandHelp(c)
		}
		return cli.ShowAppHelp(c)
	}
}
