// Command soak brings one fault after the other, drawn from a seed, over a
// cluster on a network of its own while clients write, and prints what they
// noticed. It exits with 1 if an acknowledged write was lost or doubled, if two
// terms acknowledged at the same time, or if the servers differ in the end.
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
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
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

type settings struct {
	minutes float64
	rounds  int
	seed    uint64
	servers int
	writers int
	calm    bool
	mysqlha string
}

func parse(args []string) (settings, error) {
	var s settings
	flags := flag.NewFlagSet("soak", flag.ContinueOnError)
	flags.Float64Var(&s.minutes, "minutes", 60, "how long")
	flags.IntVar(&s.rounds, "rounds", 0, "instead of a time: how often each kind of fault")
	flags.Uint64Var(&s.seed, "seed", 0, "what the faults are drawn from; 0 draws one")
	flags.IntVar(&s.servers, "servers", 3, "number of servers")
	flags.IntVar(&s.writers, "writers", 4, "number of clients that insert")
	flags.BoolVar(&s.calm, "calm", false, "no faults: the clients write without a pause, and a failover is an error")
	flags.StringVar(&s.mysqlha, "mysqlha", "bin/mysqlha", "the mysqlha program, with mysqlhad beside it")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	if flags.NArg() > 0 || s.minutes <= 0 || s.writers < 1 {
		return s, errors.New("the numbers must be above zero, and nothing may follow the flags")
	}
	if s.seed == 0 {
		s.seed = rand.Uint64()
	}
	var err error
	s.mysqlha, err = filepath.Abs(s.mysqlha)
	return s, err
}

// trouble is one fault that was injected.
type trouble struct {
	kind       string
	from, to   time.Time
	unobserved error
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	s, err := parse(args)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "seed %d, %.1f minutes, %d servers, %d writers\n", s.seed, s.minutes, s.servers, s.writers)
	dir, err := os.MkdirTemp("", "mysqlha-soak-")
	if err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	defer func() {
		if err == nil {
			err = os.RemoveAll(dir)
		} else {
			fmt.Fprintf(out, "the logs are kept in %s\n", dir)
		}
	}()
	o := sandbox.Options{Dir: filepath.Join(dir, "s"), Mysqlha: s.mysqlha, Servers: s.servers, Etcd: sandbox.EtcdSeparate,
		Progress: func(line string) { fmt.Fprintln(out, " ", line) }}
	if s.calm {
		o.Etcd = sandbox.EtcdEmbedded // As most clusters have it.
	}
	c, err := faults.Start(ctx, o, !s.calm)
	if err != nil {
		return err
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
		defer cancel()
		if err != nil {
			err = errors.Join(err, c.KillKeep(end)) // For its logs.
			return
		}
		err = c.Close(end)
	}()
	if s.calm {
		return calm(ctx, s, c, out)
	}
	return soak(ctx, s, c, out)
}

func soak(ctx context.Context, s settings, c *faults.Cluster, out io.Writer) error {
	l, err := c.StartLoad(ctx, load.Options{Writers: s.writers, Pause: 5 * time.Millisecond})
	if err != nil {
		return err
	}
	stopLoad := func() load.Result { return l.Stop() }
	stopped := false
	defer func() {
		if !stopped {
			stopLoad()
		}
	}()
	db, err := c.OpenApp(c.WriteAddr())
	if err != nil {
		return err
	}
	defer db.Close() // Its sessions are over by then.
	appends, err := faults.StartAppends(ctx, db)
	if err != nil {
		return err
	}
	readers := make(map[string]*sql.DB)
	for name, addr := range map[string]string{"write port": c.WriteAddr(), "read port": c.ReadAddr()} {
		if readers[name], err = c.OpenApp(addr); err != nil {
			return err
		}
		defer readers[name].Close() // Its sessions are over by then.
	}
	reads, err := faults.StartReads(ctx, db, readers)
	if err != nil {
		return err
	}
	n := &faults.Nemesis{C: c, Rng: rand.New(rand.NewPCG(s.seed, 1))}
	kinds := faults.Kinds(sandbox.EtcdSeparate)
	end := time.Now().Add(time.Duration(s.minutes * float64(time.Minute)))
	var all []trouble
	var broken error
	for round := 0; ctx.Err() == nil && broken == nil; round++ {
		if s.rounds > 0 && round >= s.rounds*len(kinds) || s.rounds == 0 && time.Now().After(end) {
			break
		}
		if round%len(kinds) == 0 {
			n.Rng.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
		}
		var t trouble
		t, broken = bring(ctx, n, kinds[round%len(kinds)])
		all = append(all, t)
		note := ""
		if t.unobserved != nil {
			note = "  NOT OBSERVED: " + t.unobserved.Error()
		}
		fmt.Fprintf(out, "%4d  %-34s %6.1f s until whole%s\n", len(all), t.kind, t.to.Sub(t.from).Seconds(), note)
	}
	appendErr := appends.Stop()
	staleErr := tellStaleness(reads.Stop(), out)
	result := stopLoad()
	stopped = true
	return errors.Join(broken, staleErr, report(ctx, c, all, result, appends, appendErr, out))
}

// staleBound is how old a read may be: at the write port what a primary shows that
// is cut off (the fence deadline, and what its gate adds when its daemon is dead),
// at the read port redirect.max_lag; both and the time until that is noticed.
var staleBound = map[string]time.Duration{"write port": 8 * time.Second, "read port": 13 * time.Second}

func tellStaleness(stale map[string]faults.Staleness, out io.Writer) error {
	var errs []error
	for name, bound := range staleBound {
		s := stale[name]
		fmt.Fprintf(out, "%d reads at the %s, stale by %.2f s at the worst (bound %s)\n", s.Reads, name, s.Worst.Seconds(), bound)
		if s.Worst > bound || s.Reads == 0 {
			errs = append(errs, fmt.Errorf("%d reads at the %s, stale by up to %s", s.Reads, name, s.Worst))
		}
	}
	return errors.Join(errs...)
}

// bring injects one fault and waits until the cluster is whole again.
func bring(ctx context.Context, n *faults.Nemesis, kind faults.Kind) (trouble, error) {
	t := trouble{kind: kind.Name, from: time.Now()}
	t.unobserved = kind.Do(ctx, n)
	whole, cancel := context.WithTimeoutCause(ctx, wholeTimeout, fmt.Errorf("%s were not enough", wholeTimeout))
	defer cancel()
	err := n.C.WholeAgain(whole)
	t.to = time.Now()
	return t, err
}

// wholeTimeout is how long a cluster may take to be whole after one fault.
const wholeTimeout = 3 * time.Minute

func report(ctx context.Context, c *faults.Cluster, all []trouble, result load.Result, appends *faults.Appends, appendErr error, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	fmt.Fprintf(out, "\n%-34s %6s %12s %12s\n", "fault", "times", "median s", "worst s")
	gaps := make(map[string][]time.Duration)
	observed := 0
	for _, t := range all {
		if t.unobserved == nil {
			observed++
			gaps[t.kind] = append(gaps[t.kind], faults.LongestGap(result.Acks, t.from, t.to))
		}
	}
	names := make([]string, 0, len(gaps))
	for kind := range gaps {
		names = append(names, kind)
	}
	slices.Sort(names)
	for _, kind := range names {
		slices.Sort(gaps[kind])
		g := gaps[kind]
		fmt.Fprintf(out, "%-34s %6d %12.2f %12.2f\n", kind, len(g), g[len(g)/2].Seconds(), g[len(g)-1].Seconds())
	}
	check, err := c.CheckLoad(ctx, result)
	if err != nil {
		return err
	}
	entries, err := c.API().History(ctx, 1000)
	if err != nil {
		return err
	}
	splits := faults.Splits(result.Acks, entries, func(server string) int64 {
		id, _ := c.ServerID(server) // The history names no others.
		return id
	})
	sameErr := c.SameEverywhere(ctx, result.Table, "appends", "counter")
	var state api.Cluster
	state, err = c.Cluster(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\n%d faults of %d kinds observed, %d not; term %d\n", observed, len(gaps), len(all)-observed, state.Record.Term)
	rewinds, err := c.CountLogged("mysqld.log", "the rewind is verified")
	if err != nil {
		return err
	}
	clones, err := c.CountLogged("mysqlhad.log", "this server was built anew")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d former primaries rewound, %d servers cloned; no hand was lent\n", rewinds, clones)
	fmt.Fprintf(out, "%s\n%d appends acknowledged; split acknowledgements: %d\n", check, appends.Acknowledged(), len(splits))
	var errs []error
	if !check.OK() {
		errs = append(errs, errors.New("acknowledged writes were lost or doubled"))
	}
	if len(splits) > 0 {
		errs = append(errs, fmt.Errorf("two terms acknowledged at the same time: %v", splits[:min(5, len(splits))]))
	}
	return errors.Join(append(errs, appendErr, sameErr)...)
}
