package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/deploy/sandbox/load"
	"github.com/mysqlha/mysqlha/deploy/sandbox/process"
)

// The times of the demo.
const (
	// demoLoad is how long the load runs before the kill.
	demoLoad = 2 * time.Second
	// demoFailover bounds the failover, demoReturn the old primary's way back.
	demoFailover = 30 * time.Second
	demoReturn   = 25 * time.Second
	demoWriters  = 8
)

// demo is `mysqlha sandbox demo`: it succeeds only if nothing was lost and
// nothing is left.
func demo(ctx context.Context, c *cli.Context) error {
	dir, err := os.MkdirTemp("", "mysqlha-demo-")
	if err != nil {
		return fmt.Errorf("making a folder for the demo: %w", err)
	}
	// Where nothing was made in it; a failed start leaves its logs there.
	defer os.Remove(dir)
	o := optionsOf(c)
	o.Dir, o.Attached = dir, true
	s, err := Up(ctx, o)
	if err != nil {
		return err
	}
	told := s.showFailover(ctx, c.App.Writer, o.Progress)
	if c.Bool("stay") && ctx.Err() == nil {
		told = errors.Join(told, s.stay(ctx, c.App.Writer))
	}
	identities := s.identities()
	if err := s.Down(context.WithoutCancel(ctx), false); err != nil {
		return errors.Join(told, err)
	}
	if err := nothingLeft(s.Dir(), identities); err != nil {
		return errors.Join(told, err)
	}
	fmt.Fprintln(c.App.Writer, "everything is stopped and removed")
	return told
}

// stay writes on and says where the page is, until ctx ends.
func (s *Sandbox) stay(ctx context.Context, w io.Writer) error {
	token, err := s.Token()
	if err != nil {
		return err
	}
	// It may last for hours, and keeps what was acknowledged to check it.
	g, err := s.StartLoad(ctx, load.Options{Table: "stay_rows", Writers: demoWriters, Pause: 100 * time.Millisecond})
	if err != nil {
		return err
	}
	fmt.Fprintf(w, `
The cluster stays up, and %d clients go on writing. What has just happened is on its page:
  %s
Your browser does not know the authority %s: let it have that, or go on in spite of its warning.
To move the primary or to pause from there, sign in with %s
Press Ctrl-C to stop and remove it all.
`, demoWriters, strings.Join(s.Pages(), "\n  "), s.layout.clientFiles().CA, token)
	<-ctx.Done()
	result := g.Stop()
	report, err := s.CheckLoad(context.WithoutCancel(ctx), result)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "\n%s\n", report)
	if !report.OK() {
		return fmt.Errorf("acknowledged writes are not all there once: %s", report)
	}
	return nil
}

// showFailover is what the demo shows; its error says what was not as promised.
func (s *Sandbox) showFailover(ctx context.Context, w io.Writer, progress func(string)) error {
	g, err := s.StartLoad(ctx, load.Options{Writers: demoWriters})
	if err != nil {
		return err
	}
	progress(fmt.Sprintf("%d clients write through %s", demoWriters, s.WriteAddr()))
	f, err := s.killUnderLoad(ctx, g, progress)
	result := g.Stop()
	if err != nil {
		return err
	}
	progress(fmt.Sprintf("%s took over; the first write was acknowledged %s ms after the kill", f.New, milliseconds(f.Total)))
	report, err := s.CheckLoad(ctx, result)
	if err != nil {
		return err
	}
	fate, fateErr := s.awaitReturn(ctx, f.Old)
	writeFailover(w, f, report, fate)
	if c, err := s.Cluster(ctx); err == nil {
		fmt.Fprintln(w)
		WriteCluster(w, c)
	}
	if !report.OK() {
		err = fmt.Errorf("acknowledged writes are not all there once: %s", report)
	}
	return errors.Join(err, fateErr)
}

func (s *Sandbox) killUnderLoad(ctx context.Context, g *load.Generator, progress func(string)) (Failover, error) {
	select {
	case <-ctx.Done():
		return Failover{}, context.Cause(ctx)
	case <-time.After(demoLoad): // The load is what is waited for.
	}
	progress(fmt.Sprintf("%d writes acknowledged; kill -9 of the primary's mysqld", g.Acknowledged()))
	ctx, cancel := context.WithTimeoutCause(ctx, demoFailover, fmt.Errorf("no failover within %v", demoFailover))
	defer cancel()
	return s.FailPrimary(ctx, g, syscall.SIGKILL)
}

// awaitReturn waits until the old primary is in sync again or is known to have
// diverged, and says which.
func (s *Sandbox) awaitReturn(ctx context.Context, old string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, demoReturn, fmt.Errorf("neither back nor diverged within %v", demoReturn))
	defer cancel()
	var fate string
	err := s.AwaitCluster(ctx, "the old primary "+old+" is back", func(c api.Cluster) bool {
		i := slices.IndexFunc(c.Servers, func(one api.Server) bool { return one.Name == old })
		if i < 0 || !IsOpen(c) {
			return false
		}
		switch one := c.Servers[i]; {
		case c.Record.Primary != old && one.InSync:
			fate = "joined again and is in sync"
		case !one.Errant.IsEmpty():
			fate = fmt.Sprintf("stays out, diverged: it holds %d transactions that nobody was told about (%s)", one.Errant.Count(), one.Errant)
		}
		return fate != ""
	})
	if err != nil {
		return "did not come back in time", err
	}
	return fate, nil
}

func writeFailover(w io.Writer, f Failover, report load.Report, fate string) {
	fmt.Fprintf(w, "\nfailover from %s to %s", f.Old, f.New)
	if f.History != nil {
		fmt.Fprintf(w, ", term %d (%s)", f.History.Term, f.History.Plan.Reason)
	}
	fmt.Fprintln(w)
	for _, p := range f.Phases {
		fmt.Fprintf(w, "  %-22s %8s ms\n", p.Name, milliseconds(p.Took))
	}
	fmt.Fprintf(w, "  %-22s %8s ms\n\n%s\nthe old primary %s %s\n", "total", milliseconds(f.Total), report, f.Old, fate)
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f", float64(d)/float64(time.Millisecond))
}

// identities are all processes of the sandbox.
func (s *Sandbox) identities() []process.Identity {
	var all []process.Identity
	if report, err := s.report(); err == nil {
		all = append(all, report.Supervisor)
		for _, p := range report.Programs {
			all = append(all, p.Identity)
		}
	}
	for _, server := range s.Servers() {
		if id, err := process.Read(s.layout.runFile(server)); err == nil {
			all = append(all, id)
		}
	}
	return all
}

func nothingLeft(dir string, identities []process.Identity) error {
	var errs []error
	for _, id := range identities {
		if id.Alive() {
			errs = append(errs, fmt.Errorf("pid %d is still running", id.PID))
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, fmt.Errorf("%s is still there", dir))
	}
	return errors.Join(errs...)
}
