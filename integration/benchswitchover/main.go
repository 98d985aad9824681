// Command benchswitchover measures how long writes stop when the primary is moved
// while it is well. Clients insert all the while, each in a session of its own that
// it opens anew after an error; in each round the primary moves to the best
// replica. What counts is the longest time in which none of them had an answer.
//
// It exits with 1 if a switchover did not come about, if a client failed again
// when it tried once more, or if anything was lost or doubled.
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

	"github.com/mysqlha/mysqlha/deploy/sandbox"
	"github.com/mysqlha/mysqlha/deploy/sandbox/load"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "benchswitchover:", err)
		os.Exit(1)
	}
}

// The pauses around a switchover, and what one may take at most.
const (
	before       = time.Second
	after        = 2 * time.Second
	roundTimeout = time.Minute
)

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("benchswitchover", flag.ContinueOnError)
	n := flags.Int("n", 20, "number of switchovers")
	writers := flags.Int("writers", 32, "number of clients that insert")
	pause := flags.Duration("pause", 20*time.Millisecond, "what a client does between two inserts: without a pause the replicas of a small machine fall behind, and a switchover is refused")
	mysqlha := flags.String("mysqlha", "bin/mysqlha", "the mysqlha program, with mysqlhad beside it")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 || *n < 1 || *writers < 1 {
		return errors.New("the numbers must be above zero, and nothing may follow the flags")
	}
	program, err := filepath.Abs(*mysqlha)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "mysqlha-switchover-")
	if err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s, err := sandbox.Up(ctx, sandbox.Options{Dir: filepath.Join(dir, "s"), Mysqlha: program, Attached: true,
		Progress: func(line string) { fmt.Fprintln(out, " ", line) }})
	if err != nil {
		return err
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = errors.Join(err, s.Kill(end, false))
	}()
	l, err := s.StartLoad(ctx, load.Options{Writers: *writers, Pause: *pause})
	if err != nil {
		return err
	}
	var rounds []round
	for i := range *n {
		var r round
		if r, err = move(ctx, s); err != nil {
			err = fmt.Errorf("round %d: %w", i+1, err)
			break
		}
		rounds = append(rounds, r)
	}
	result := l.Stop()
	if err != nil {
		return err
	}
	report, err := s.CheckLoad(ctx, result)
	if err != nil {
		return err
	}
	return write(out, rounds, result, report)
}

// round is one switchover, with the times between which it lies.
type round struct {
	history    decide.History
	begun, end time.Time
	gap        time.Duration
}

func move(ctx context.Context, s *sandbox.Sandbox) (r round, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, roundTimeout, fmt.Errorf("not done within %s", roundTimeout))
	defer cancel()
	if err := s.AwaitCluster(ctx, "all are in sync", sandbox.Settled); err != nil {
		return r, err
	}
	if err := sleep(ctx, before); err != nil {
		return r, err
	}
	r.begun = time.Now()
	id, err := s.API().Switchover(ctx, decide.SwitchoverRequest{Drain: 5 * time.Second, By: "benchmark"})
	if err != nil {
		return r, err
	}
	for r.history.Result == "" {
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return r, err
		}
		entries, err := s.API().History(ctx, 5)
		if err != nil {
			continue // Asked again.
		}
		if i := slices.IndexFunc(entries, func(h decide.History) bool { return h.Plan.Request == id }); i >= 0 {
			r.history = entries[i]
		}
	}
	if r.history.Result != "completed" || r.history.Primary == r.history.Plan.From {
		return r, fmt.Errorf("the primary is %s: %s", r.history.Primary, r.history.Result)
	}
	err = sleep(ctx, after)
	r.end = time.Now()
	return r, err
}

// longestGap is the longest time between two answers, to whomever.
func longestGap(acks []load.Ack, from, to time.Time) (longest time.Duration) {
	last := from
	for _, a := range acks {
		if a.Acked.Before(from) || a.Acked.After(to) {
			continue
		}
		longest, last = max(longest, a.Acked.Sub(last)), a.Acked
	}
	return max(longest, to.Sub(last))
}

func write(out io.Writer, rounds []round, result load.Result, report load.Report) error {
	acks := slices.Clone(result.Acks)
	slices.SortFunc(acks, func(a, b load.Ack) int { return a.Acked.Compare(b.Acked) })
	var gaps []time.Duration
	for i, r := range rounds {
		r.gap = longestGap(acks, r.begun, r.end)
		gaps = append(gaps, r.gap)
		marks := r.history.Plan.Marks
		fmt.Fprintf(out, "%4d  %s -> %s  no answer for %4d ms ", i+1, r.history.Plan.From, r.history.Primary, r.gap.Milliseconds())
		for k := range max(0, len(marks)-1) {
			fmt.Fprintf(out, " %s %d", marks[k].Name, marks[k+1].At.Sub(marks[k].At).Milliseconds())
		}
		cut := r.history.Plan.Cut
		fmt.Fprintf(out, "; cut %d idle, %d after their transaction, %d under way; %v\n", cut.Idle, cut.InTransaction, cut.Forced, []any{r.history.Plan.Closing, r.history.Steps})
	}
	slices.Sort(gaps)
	fmt.Fprintf(out, "\n%d switchovers: no answer for %d ms at the median, %d ms at best, %d ms at worst; %d rows acknowledged, %d inserts of unknown outcome, %d failed again when tried once more\n%s\n",
		len(gaps), gaps[len(gaps)/2].Milliseconds(), gaps[0].Milliseconds(), gaps[len(gaps)-1].Milliseconds(), len(acks), result.Unknown, result.Twice, report)
	switch {
	case !report.OK():
		return errors.New("writes were lost or doubled")
	case result.Twice > 0:
		return fmt.Errorf("%d times a client failed again: %w", result.Twice, result.LastError)
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
