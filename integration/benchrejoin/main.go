// Command benchrejoin measures how a primary that was lost under load comes back.
// In each round the primary is killed, cut off or frozen while clients insert;
// the clock starts when its mysqld is started again and stops when it is in the
// in-sync set. Then the load ends, every acknowledged insert must be there once,
// and all servers must have the same data and the same GTIDs.
//
// It exits with 1 if anything was lost or doubled, or if a server did not come
// back by itself.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/deploy/sandbox"
	"github.com/mysqlha/mysqlha/deploy/sandbox/load"
	"github.com/mysqlha/mysqlha/integration/faults"
	"github.com/mysqlha/mysqlha/replication/process"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "benchrejoin:", err)
		os.Exit(1)
	}
}

type settings struct {
	rounds, writers int
	fault           string
	mysqlha         string
}

func parse(args []string) (settings, error) {
	var s settings
	flags := flag.NewFlagSet("benchrejoin", flag.ContinueOnError)
	flags.IntVar(&s.rounds, "n", 50, "number of rounds")
	flags.IntVar(&s.writers, "writers", 8, "number of clients that insert")
	flags.StringVar(&s.fault, "fault", "kill", "what happens to the primary: kill (SIGKILL), partition (its host is cut off and healed) or stop (SIGSTOP, then SIGCONT)")
	flags.StringVar(&s.mysqlha, "mysqlha", "bin/mysqlha", "the mysqlha program, with mysqlhad beside it")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	if flags.NArg() > 0 || s.rounds < 1 || s.writers < 1 {
		return s, errors.New("the numbers must be above zero, and nothing may follow the flags")
	}
	if !slices.Contains([]string{"kill", "partition", "stop"}, s.fault) {
		return s, fmt.Errorf("-fault is %q; write kill, partition or stop", s.fault)
	}
	var err error
	s.mysqlha, err = filepath.Abs(s.mysqlha)
	return s, err
}

// roundTimeout bounds one round; a server that needs longer is not back.
const roundTimeout = 2 * time.Minute

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	s, err := parse(args)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "mysqlha-rejoin-")
	if err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	c, err := faults.Start(ctx, sandbox.Options{Dir: filepath.Join(dir, "s"), Mysqlha: s.mysqlha, Etcd: sandbox.EtcdSeparate,
		Progress: func(line string) { fmt.Fprintln(out, " ", line) }}, false)
	if err != nil {
		return err
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = errors.Join(err, c.Close(end))
	}()
	b := bench{c: c, fault: s.fault, writers: s.writers}
	for i := range s.rounds {
		r, err := b.round(ctx, i)
		if err != nil {
			return fmt.Errorf("round %d: %w", i+1, err)
		}
		b.rounds = append(b.rounds, r)
		fmt.Fprintf(out, "%4d  %-4s back %5.2f s after its restart: %-9s %d rows acknowledged\n", i+1, r.server, r.took.Seconds(), r.how, r.rows)
	}
	return b.write(out)
}

// The ways back.
const (
	asIs    = "as it was"
	rewound = "rewound"
	cloned  = "cloned"
)

type round struct {
	server, how string
	took        time.Duration
	rows        int
}

type bench struct {
	c       *faults.Cluster
	fault   string
	writers int
	rounds  []round
}

// round loses the primary once and waits until it is back.
func (b *bench) round(ctx context.Context, number int) (r round, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, roundTimeout, fmt.Errorf("not back within %s", roundTimeout))
	defer cancel()
	if r.server, err = b.c.Primary(ctx); err != nil {
		return r, err
	}
	l, err := b.c.StartLoad(ctx, load.Options{Writers: b.writers, Table: fmt.Sprintf("rows_%d", number+1)})
	if err != nil {
		return r, err
	}
	result, err := func() (load.Result, error) {
		err := b.lose(ctx, &r)
		return l.Stop(), err
	}()
	if err != nil {
		return r, err
	}
	report, err := b.c.CheckLoad(ctx, result)
	if err != nil {
		return r, err
	}
	if !report.OK() {
		return r, errors.New(report.String())
	}
	r.rows = len(result.Acks)
	return r, b.c.SameEverywhere(ctx, result.Table)
}

// lose brings the fault, undoes it once another is primary, and waits until the
// server is in sync.
func (b *bench) lose(ctx context.Context, r *round) error {
	if err := sleep(ctx, time.Second); err != nil {
		return err
	}
	before, err := b.c.Cluster(ctx)
	if err != nil {
		return err
	}
	old, err := b.c.Pid(ctx, r.server)
	if err != nil {
		return err
	}
	replaced := func(s api.Cluster) bool { return sandbox.IsOpen(s) && s.Record.Term > before.Record.Term }
	switch b.fault {
	case "kill":
		err = old.Signal(syscall.SIGKILL)
	case "stop":
		if err = old.Signal(syscall.SIGSTOP); err == nil {
			err = b.c.AwaitCluster(ctx, "another is primary", replaced)
		}
		if old.Alive() {
			err = errors.Join(err, old.Signal(syscall.SIGCONT))
		}
	case "partition":
		if err = b.c.Lab.Isolate(ctx, r.server); err == nil {
			err = b.c.AwaitCluster(ctx, "another is primary", replaced)
		}
		err = errors.Join(err, b.c.Lab.Heal(context.WithoutCancel(ctx)))
	}
	if err != nil {
		return err
	}
	restarted, err := b.restart(ctx, r.server, old.PID)
	if err != nil {
		return err
	}
	err = b.c.AwaitCluster(ctx, r.server+" is in sync again", func(s api.Cluster) bool {
		return replaced(s) && slices.Contains(s.Record.InSync, r.server) && s.Record.Plan == nil
	})
	if err != nil {
		return err
	}
	r.took = time.Since(restarted)
	r.how, err = b.how(r.server, restarted)
	return err
}

// restart waits for a new mysqld and returns when its gate was started.
func (b *bench) restart(ctx context.Context, server string, old int) (time.Time, error) {
	for {
		report, running, err := b.c.Processes()
		if err == nil && running {
			for _, p := range report.Programs {
				if id, idErr := b.c.Pid(ctx, server); p.Name == server+"/guard" && idErr == nil && id.PID != old {
					return p.Since, nil
				}
			}
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return time.Time{}, err
		}
	}
}

// how tells how the server came back, by the notes of its gate and daemon.
func (b *bench) how(server string, since time.Time) (string, error) {
	clone, found, err := process.ReadClone(filepath.Join(b.c.StateDir(server), "clone.json"))
	if err != nil {
		return "", err
	}
	if found && clone.At.After(since) {
		return cloned, nil
	}
	rewind, found, err := process.ReadRewind(filepath.Join(b.c.StateDir(server), "rewind.json"))
	if err != nil {
		return "", err
	}
	if found && rewind.State == process.RewindVerified && rewind.At.After(since.Add(-time.Second)) {
		return rewound, nil
	}
	return asIs, nil
}

func (b *bench) write(out io.Writer) error {
	count := make(map[string]int)
	var took []time.Duration
	rows := 0
	for _, r := range b.rounds {
		count[r.how]++
		took = append(took, r.took)
		rows += r.rows
	}
	slices.Sort(took)
	fmt.Fprintf(out, "\n%d rounds (%s): %d as it was, %d rewound, %d cloned; %d rows acknowledged, 0 lost, 0 doubled\n", len(b.rounds), b.fault, count[asIs], count[rewound], count[cloned], rows)
	_, err := fmt.Fprintf(out, "from its restart until in sync: median %.2f s, best %.2f s, worst %.2f s\n", took[len(took)/2].Seconds(), took[0].Seconds(), took[len(took)-1].Seconds())
	return err
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
