// Command mysqlhad is the daemon beside a MySQL server: member, redirector and
// embedded etcd, as its configuration says. As `mysqlhad guard` it is mysqld's
// parent, as `mysqlhad init` it makes a new server.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/certs"
	"github.com/mysqlha/mysqlha/config"
	"github.com/mysqlha/mysqlha/logs"
	"github.com/mysqlha/mysqlha/member"
	"github.com/mysqlha/mysqlha/replication/guard"
)

// version is set by the linker.
var version = "development"

// manSection is that of commands for administrators.
const manSection = 8

// Exit codes besides mysqld's own, which guard passes on.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // A second signal ends what does not stop.
	os.Exit(run(ctx, os.Args, os.Stdout, os.Stderr))
}

// run is main without the process around it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	code := 0
	configFlag := &cli.StringFlag{Name: "config", Aliases: []string{"c"}, EnvVars: []string{"MYSQLHA_CONFIG"},
		Usage: "the host's configuration `FILE`", Value: "/etc/mysqlha/mysqlhad.yaml"}
	asIsFlag := &cli.BoolFlag{Name: "as-is", Usage: "start a primary that died without asking what became of its term; what nobody was told of is then committed, and the server may have to be built anew"}
	attachFlag := &cli.BoolFlag{Name: "attach", Usage: "watch over the mysqld that runs already, without having started it, until it ends; for the adoption of a running server"}
	app := &cli.App{
		Name: "mysqlhad", Usage: "keeps one MySQL cluster writable: the daemon beside each server", Version: version,
		Writer: stdout, ErrWriter: stderr, HideHelpCommand: true,
		Flags: []cli.Flag{configFlag,
			&cli.StringSliceFlag{Name: "only", Usage: "of the roles of the configuration, have only this `ROLE`: a redirector as a unit of its own"},
			&cli.StringSliceFlag{Name: "without", Usage: "have all roles of the configuration but this `ROLE`"}},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return usage("mysqlhad takes no argument %q; commands are guard, init, adopt, hooks and man", c.Args().First())
			}
			cfg, log, err := prepare(c, stderr)
			if err != nil {
				return err
			}
			if err := chooseRoles(cfg, c.StringSlice("only"), c.StringSlice("without")); err != nil {
				return err
			}
			return serve(c.Context, cfg, log)
		},
		Commands: []*cli.Command{
			{Name: "guard", Usage: "start mysqld harmless and stop it safely", ArgsUsage: "-- mysqld ARGUMENTS...", Flags: []cli.Flag{configFlag, asIsFlag, attachFlag},
				Action: func(c *cli.Context) (err error) { code, err = runGuard(c, stderr); return err }},
			adoptCommand([]cli.Flag{configFlag}, func(c *cli.Context) error { return runAdopt(c, os.Stdin, stdout, stderr) }),
			hooksCommand([]cli.Flag{configFlag}, stdout, stderr),
			{Name: "init", Usage: "make a new server in an empty data directory", ArgsUsage: "-- mysqld ARGUMENTS...", Flags: []cli.Flag{configFlag},
				Action: func(c *cli.Context) error { return runInit(c, stderr) }},
			{Name: "man", Usage: "print the manual page: mysqlhad man | man -l -", Action: func(c *cli.Context) error {
				page, err := c.App.ToManWithSection(manSection)
				if err == nil {
					_, err = fmt.Fprint(stdout, page)
				}
				return err
			}},
		},
		// Exit codes are ours alone.
		ExitErrHandler: func(*cli.Context, error) {},
	}
	err := app.RunContext(ctx, args)
	if err == nil {
		return code
	}
	logs.Complain(stderr, "mysqlhad: "+err.Error())
	var faults config.Faults
	if errors.As(err, &faults) || errors.Is(err, errUsage) {
		return exitUsage
	}
	if code != 0 {
		return code
	}
	return exitFailed
}

var errUsage = errors.New("usage")

func usage(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errUsage, fmt.Sprintf(format, args...))
}

// prepare loads the configuration and makes the logger it asks for.
func prepare(c *cli.Context, stderr io.Writer) (*config.Config, *slog.Logger, error) {
	cfg, err := config.Load(c.String("config"), os.Environ())
	if err != nil {
		return nil, nil, err
	}
	log := logs.New(logs.Options(cfg.Log), stderr)
	for _, w := range cfg.Warnings() {
		log.Warn("configuration", "warning", w)
	}
	return cfg, log, nil
}

// chooseRoles keeps those roles of a host that one process of several is to have. A
// redirector alone has an endpoint of its own, or none.
func chooseRoles(cfg *config.Config, only, without []string) error {
	for _, role := range append(slices.Clone(only), without...) {
		if !cfg.HasRole(config.Role(role)) {
			return usage("%q is not a role of this host, which has %v", role, cfg.Roles)
		}
	}
	before := len(cfg.Roles)
	cfg.Roles = slices.DeleteFunc(cfg.Roles, func(r config.Role) bool {
		return len(only) > 0 && !slices.Contains(only, string(r)) || slices.Contains(without, string(r))
	})
	if len(cfg.Roles) == 0 {
		return usage("no role is left")
	}
	if len(cfg.Roles) < before && !cfg.HasRole(config.RoleMember) && !cfg.HasRole(config.RoleWitness) {
		cfg.API.Listen = cfg.Redirect.API // The other process has that of the host.
	}
	return nil
}

// atLeastInfo has the log tell of what people have done, however little else it tells.
func atLeastInfo(o config.Log) config.Log {
	if o.Level == "warn" || o.Level == "error" {
		o.Level = "info"
	}
	return o
}

func runGuard(c *cli.Context, stderr io.Writer) (int, error) {
	if c.Bool("attach") && (c.Args().Present() || c.Bool("as-is")) {
		return 0, usage("guard --attach starts nothing: it takes neither --as-is nor arguments of mysqld")
	}
	cfg, log, err := prepareServer(c, stderr)
	if err != nil {
		return 0, err
	}
	// The guard holds next to nothing; its memory belongs to mysqld.
	debug.SetMemoryLimit(64 << 20)
	// The daemon answers for the cluster; nothing else here knows of etcd.
	self, _ := cfg.Server(cfg.Name) // A member is one of them.
	daemon, err := api.NewClient(api.Endpoint{Address: self.API, TLS: certs.ClientConfig(tlsFiles(cfg, log), self.APITLSName(), certs.RoleMember)})
	if err != nil {
		return 0, err
	}
	defer daemon.Close()
	return guard.Run(c.Context, guard.Options{
		Ask: daemon.AdviseStart, TermFile: member.TermFile(cfg.DataDir), RewindFile: rewindFile(cfg), CloneFile: cloneFile(cfg), AsIs: c.Bool("as-is"), Attach: c.Bool("attach"),
		Args: c.Args().Slice(), RunFile: cfg.MySQL.RunFile, ProofFile: proofFile(cfg), ClosedFile: closedFile(cfg), LetGoFile: letGoFile(cfg), FenceDeadline: cfg.Timings.FenceDeadline,
		DataDir: cfg.MySQL.DataDir, Socket: cfg.MySQL.Socket,
		User: cfg.MySQL.ControlUser, Password: controlPassword(cfg), Logger: log,
	})
}

func runInit(c *cli.Context, stderr io.Writer) error {
	cfg, log, err := prepareServer(c, stderr)
	if err != nil {
		return err
	}
	made, err := guard.Initialise(c.Context, guard.InitOptions{
		Args: c.Args().Slice(), DataDir: cfg.MySQL.DataDir, User: cfg.MySQL.ControlUser,
		PasswordFile: cfg.MySQL.ControlPasswordFile, Logger: log,
	})
	if err == nil && !made {
		log.Info("this server has been initialised before", "data_dir", cfg.MySQL.DataDir)
	}
	return err
}

// prepareServer prepares a command that runs mysqld.
func prepareServer(c *cli.Context, stderr io.Writer) (*config.Config, *slog.Logger, error) {
	if !c.Args().Present() && !c.Bool("attach") {
		return nil, nil, usage("write mysqld and its arguments after --: mysqlhad %s --config FILE -- mysqld --defaults-file=...", c.Command.Name)
	}
	cfg, log, err := prepare(c, stderr)
	if err != nil {
		return nil, nil, err
	}
	if !cfg.HasRole(config.RoleMember) {
		return nil, nil, usage("%s has no role member: there is no mysqld on this host", cfg.Name)
	}
	return cfg, log, os.MkdirAll(cfg.DataDir, 0o700)
}
