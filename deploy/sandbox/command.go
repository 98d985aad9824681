package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
)

// Command returns `mysqlha sandbox` with all its commands. The context of the
// application may end with a signal or not: those that wait take SIGINT and
// SIGTERM themselves.
func Command() *cli.Command {
	return &cli.Command{
		Name:  "sandbox",
		Usage: "a whole cluster on this machine, to try things out",
		Flags: []cli.Flag{&cli.StringFlag{Name: "dir", Usage: "the sandbox's `FOLDER` (default: $XDG_STATE_HOME/mysqlha/sandbox)"}},
		Subcommands: []*cli.Command{
			{Name: "up", Usage: "make a sandbox, or start one that was kept", Flags: upFlags(), Action: action(up)},
			{Name: "run", Usage: "up, then wait for Ctrl-C, then down", Flags: upFlags(), Action: action(run)},
			{Name: "down", Usage: "stop everything and remove it", Action: action(down), Flags: []cli.Flag{
				&cli.BoolFlag{Name: "keep", Usage: "keep the folder for the next up"},
				&cli.BoolFlag{Name: "kill", Usage: "kill all processes instead of asking them to stop"}}},
			{Name: "status", Usage: "the processes and the cluster", Action: action(status)},
			signalCommand("kill", "kill a process (SIGKILL)", syscall.SIGKILL),
			signalCommand("stop", "hold a process still (SIGSTOP)", syscall.SIGSTOP),
			signalCommand("cont", "let it go on (SIGCONT)", syscall.SIGCONT),
			{Name: "restart", Usage: "stop a process politely; it is started again", ArgsUsage: "TARGET", Description: "TARGET: " + Targets,
				Action: action(func(ctx context.Context, c *cli.Context) error {
					return onTarget(c, func(s *Sandbox, target string) error { return s.Restart(ctx, target) })
				})},
			{Name: "demo", Usage: "a fresh cluster that loses its primary under load", Action: action(demo),
				Flags: append(programFlags(), &cli.BoolFlag{Name: "stay", Usage: "then stay up, with the status page, until Ctrl-C"})},
			{Name: "supervise", Hidden: true, Action: action(func(ctx context.Context, c *cli.Context) error {
				return Supervise(ctx, c.String("dir"))
			})},
		},
	}
}

func programFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "mysqld", Usage: "the mysqld `PROGRAM` (default: $MYSQLD, the one on PATH, or a fetched one)"},
		&cli.StringFlag{Name: "mysqlhad", Usage: "the mysqlhad `PROGRAM` (default: the one beside mysqlha)"},
		&cli.StringFlag{Name: "buffer-pool", Value: defaultPool, Usage: "innodb_buffer_pool_size of each server"},
	}
}

func upFlags() []cli.Flag {
	return append(programFlags(),
		&cli.IntFlag{Name: "servers", Value: servers, Usage: fmt.Sprintf("number of servers, %d to %d", fewest, most)},
		&cli.IntFlag{Name: "spares", Usage: "servers besides that are not of the cluster, for mysqlha server add"},
		&cli.StringFlag{Name: "etcd", Value: string(EtcdEmbedded), Usage: "embedded in the daemons, or separate processes"},
		&cli.IntFlag{Name: "port-base", Usage: "first of the ports to use (default: free ones)"},
		&cli.DurationFlag{Name: "restart-delay", Value: defaultRestartDelay, Usage: "time until what ended is started again"},
	)
}

func optionsOf(c *cli.Context) Options {
	return Options{Dir: c.String("dir"), Servers: c.Int("servers"), Spares: c.Int("spares"), Etcd: EtcdMode(c.String("etcd")),
		BufferPool: c.String("buffer-pool"), PortBase: c.Int("port-base"), MySQLD: c.String("mysqld"),
		Mysqlhad: c.String("mysqlhad"), RestartDelay: c.Duration("restart-delay"), Progress: progressTo(c.App.Writer)}
}

// progressTo returns a Progress that writes each line with the time it took.
func progressTo(w io.Writer) func(string) {
	begin := time.Now()
	return func(line string) { fmt.Fprintf(w, "%6.1fs  %s\n", time.Since(begin).Seconds(), line) }
}

// action gives a command a context that ends with SIGINT, SIGTERM or SIGHUP.
func action(do func(context.Context, *cli.Context) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		ctx, stop := signal.NotifyContext(c.Context, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
		defer stop()
		return do(ctx, c)
	}
}

func up(ctx context.Context, c *cli.Context) error {
	s, err := Up(ctx, optionsOf(c))
	if err != nil {
		return err
	}
	defer s.Close()
	s.writeGuide(c.App.Writer)
	return nil
}

func run(ctx context.Context, c *cli.Context) error {
	o := optionsOf(c)
	o.Attached = true
	s, err := Up(ctx, o)
	if err != nil {
		return err
	}
	s.writeGuide(c.App.Writer)
	fmt.Fprintln(c.App.Writer, "\nPress Ctrl-C to stop and remove it.")
	select {
	case <-ctx.Done():
	case <-s.ended: // Somebody has taken it down from elsewhere.
		if _, err := os.Stat(s.Dir()); errors.Is(err, os.ErrNotExist) {
			s.Close()
			return nil
		}
	}
	fmt.Fprintln(c.App.Writer, "stopping")
	return s.Down(context.WithoutCancel(ctx), false)
}

func down(ctx context.Context, c *cli.Context) error {
	s, err := opened(c)
	if err != nil {
		return err
	}
	if c.Bool("kill") {
		return s.Kill(ctx, c.Bool("keep"))
	}
	return s.Down(ctx, c.Bool("keep"))
}

func status(ctx context.Context, c *cli.Context) error {
	s, err := opened(c)
	if err != nil {
		return err
	}
	defer s.Close()
	return s.writeStatus(ctx, c.App.Writer)
}

func signalCommand(name, usage string, sig syscall.Signal) *cli.Command {
	return &cli.Command{Name: name, Usage: usage, ArgsUsage: "TARGET", Description: "TARGET: " + Targets,
		Action: action(func(ctx context.Context, c *cli.Context) error {
			return onTarget(c, func(s *Sandbox, target string) error { return s.Signal(ctx, target, sig) })
		})}
}

// UsageError is a command line of a sandbox's command that cannot be meant.
type UsageError struct{ text string }

func (u *UsageError) Error() string { return u.text }

func onTarget(c *cli.Context, do func(s *Sandbox, target string) error) error {
	if c.NArg() != 1 {
		return &UsageError{fmt.Sprintf("name one target: %s", Targets)}
	}
	s, err := opened(c)
	if err != nil {
		return err
	}
	defer s.Close()
	return do(s, c.Args().First())
}

// opened opens the sandbox that --dir names.
func opened(c *cli.Context) (*Sandbox, error) {
	dir := c.String("dir")
	if dir == "" {
		var err error
		if dir, err = DefaultDir(); err != nil {
			return nil, err
		}
	}
	return Open(dir)
}

// newLogger writes the supervisor's log.
func newLogger(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, nil))
}
