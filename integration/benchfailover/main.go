// Command benchfailover measures what applications notice when the primary's
// mysqld dies. In each trial a fresh cluster of three loses its primary to
// SIGKILL under a load of inserts; the clock starts just before the kill and
// stops at the first acknowledgement of an insert that was begun afterwards, by
// a client that reconnects through the redirector every 10 ms. Then all that was
// acknowledged is counted on the new primary. In the same run a promotion by
// hand, in SQL, is timed on two servers without any daemon.
//
// It exits with 1 if anything was lost, doubled or not recovered.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

type settings struct {
	trials, hand, writers int
	seed                  uint64
	fault                 syscall.Signal
	pool                  string
	poolBytes             int64
	mysqld                string
	mysqlha               string
	// folder holds everything of the run.
	folder string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "benchfailover:", err)
		os.Exit(1)
	}
}

func parse(args []string) (settings, error) {
	var s settings
	flags := flag.NewFlagSet("benchfailover", flag.ContinueOnError)
	flags.IntVar(&s.trials, "n", 20, "number of failovers")
	flags.IntVar(&s.hand, "hand", 3, "number of promotions by hand")
	flags.IntVar(&s.writers, "writers", 8, "number of clients that write")
	flags.Uint64Var(&s.seed, "seed", 0, "what the moments of the kills are drawn from; 0 draws one")
	flags.StringVar(&s.pool, "pool", "", "buffer pool of each server, such as 2G; the primary's is filled before the kill (default 64M, not filled)")
	flags.StringVar(&s.mysqld, "mysqld", "", "the mysqld program (default: MYSQLD, the one on PATH, or a fetched one)")
	flags.StringVar(&s.mysqlha, "mysqlha", "bin/mysqlha", "the mysqlha program, with mysqlhad beside it")
	fault := flags.String("fault", "kill", "what happens to the primary's mysqld: kill (SIGKILL) or stop (SIGSTOP)")
	if err := flags.Parse(args); err != nil {
		return settings{}, err
	}
	switch *fault {
	case "kill":
		s.fault = syscall.SIGKILL
	case "stop":
		s.fault = syscall.SIGSTOP
	default:
		return settings{}, fmt.Errorf("-fault is %q; write kill or stop", *fault)
	}
	if flags.NArg() > 0 || s.trials < 0 || s.hand < 0 || s.writers < 1 {
		return settings{}, errors.New("the numbers must not be negative, there must be a writer, and nothing may follow the flags")
	}
	if s.seed == 0 {
		s.seed = rand.Uint64()
	}
	var err error
	if s.poolBytes, err = sizeOf(s.pool); err != nil {
		return settings{}, err
	}
	s.mysqlha, err = filepath.Abs(s.mysqlha)
	return s, err
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	s, err := parse(args)
	if err != nil {
		return err
	}
	if s.folder, err = os.MkdirTemp("", "mysqlha-bench-"); err != nil {
		return fmt.Errorf("making a folder for the benchmark: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(s.folder)) }()
	fmt.Fprintf(out, "seed %d, %d failovers, %d promotions by hand, %d writers, buffer pool %s, fault: %s\n", s.seed, s.trials, s.hand, s.writers, poolText(s), s.fault)
	failovers, failed := failoverTrials(ctx, s, out)
	hands, err := handTrials(ctx, s, out)
	if err != nil {
		return err
	}
	fmt.Fprintln(out)
	failovers.write(out, "failover")
	hands.write(out, "by hand")
	if failovers.len() > 0 && hands.len() > 0 {
		a, b := quantile(failovers.totals, 0.5), quantile(hands.totals, 0.5)
		fmt.Fprintf(out, "\nmedian of the failovers / median by hand: %.1f ms / %.1f ms = %.2f\n", ms(a), ms(b), float64(a)/float64(b))
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d failovers lost or doubled rows or did not recover; run again with -seed %d", failed, s.trials, s.seed)
	}
	return nil
}

func failoverTrials(ctx context.Context, s settings, out io.Writer) (samples, int) {
	random := rand.New(rand.NewPCG(s.seed, 0))
	var all samples
	failed := 0
	for i := range s.trials {
		// Drawn even for trials after a failed one, so that a seed says all.
		after := time.Second + time.Duration(random.Int64N(int64(2*time.Second)))
		if ctx.Err() != nil {
			break
		}
		f, text, err := failoverTrial(ctx, s, i, after)
		if err != nil {
			failed++
			fmt.Fprintf(out, "%3d  FAILED: %v\n", i+1, err)
			continue
		}
		all.add(f.Total, f.Phases)
		fmt.Fprintf(out, "%3d  %8.1f ms  %s\n", i+1, ms(f.Total), text)
	}
	return all, failed
}

func handTrials(ctx context.Context, s settings, out io.Writer) (samples, error) {
	var all samples
	for i := range s.hand {
		if ctx.Err() != nil {
			break
		}
		total, phases, err := handTrial(ctx, s, i)
		if err != nil {
			return all, fmt.Errorf("promoting by hand: %w", err)
		}
		all.add(total, phases)
		fmt.Fprintf(out, "%3d  %8.1f ms  by hand: %s\n", i+1, ms(total), phaseText(phases))
	}
	return all, nil
}
