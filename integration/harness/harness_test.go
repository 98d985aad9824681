package harness_test

import (
	"context"
	"errors"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/mysqlha/mysqlha/deploy/sandbox"
	"github.com/mysqlha/mysqlha/deploy/sandbox/process"
	"github.com/mysqlha/mysqlha/integration/harness"
)

func TestASandboxFailsOverUnderLoadAndLeavesNothingBehind(t *testing.T) {
	var dir string
	var all []process.Identity
	t.Run("kill the primary", func(t *testing.T) {
		s := harness.Start(t, sandbox.Options{})
		dir = s.Dir()
		l := harness.Writers(t, s, 4)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		f, err := s.FailPrimary(ctx, l.Generator, syscall.SIGKILL)
		if err != nil {
			t.Fatal(err)
		}
		var sum time.Duration
		for _, p := range f.Phases {
			if p.Took < 0 {
				t.Errorf("the phase %s took %v", p.Name, p.Took)
			}
			sum += p.Took
		}
		if (f.Total - sum).Abs() > time.Millisecond {
			t.Errorf("the phases last %v, the whole %v", sum, f.Total)
		}
		t.Logf("%s to %s in %v: %v; %s", f.Old, f.New, f.Total, f.Phases, l.Check())
		for _, target := range append(s.Servers(), "redirector", "db1/daemon", "db2/guard") {
			id, err := s.Pid(ctx, target)
			if errors.Is(err, process.ErrGone) && target == f.Old {
				continue // On its way back.
			}
			if err != nil {
				t.Error(err)
			}
			all = append(all, id)
		}
	})
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder %s is still there (%v)", dir, err)
	}
	for _, id := range all {
		if id.Alive() {
			t.Errorf("pid %d is still running", id.PID)
		}
	}
}
