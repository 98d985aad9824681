package member

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

func TestTheOutcomeOfASpecNamesItsTermAndPlan(t *testing.T) {
	for plan, want := range map[string]string{
		"failover-t4-r9-x": `msg="spec refused" server=db1 term=4 plan=failover-t4-r9-x goal=promote reason=no` + "\n",
		"":                 `msg="spec refused" server=db1 term=4 goal=promote reason=no` + "\n",
	} {
		var out bytes.Buffer
		terms, err := openTermFile(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		m := &Member{terms: terms, log: slog.New(slog.NewTextHandler(&out, nil)).With("server", "db1"), kick: make(chan struct{}, 1)}
		s := &state{m: m}
		spec := decide.SpecAt{Spec: decide.Spec{Goal: decide.GoalPromote, Term: 4, Plan: plan}}
		s.job = &job{spec: spec}
		s.worked(s.newWorker(s.job), &refusal{detail: "no"})
		if !strings.HasSuffix(out.String(), want) {
			t.Errorf("%q does not end in %q", out.String(), want)
		}
	}
}

// deafBoard is an etcd that takes every sixth status.
type deafBoard struct {
	Board
	tries int
}

func (b *deafBoard) PutStatus(context.Context, decide.Status) error {
	if b.tries++; b.tries%6 != 0 {
		return errors.New("no etcd")
	}
	return nil
}

func TestAStatusThatIsNotWrittenIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		board := &deafBoard{}
		m := &Member{o: Options{Board: board}, log: slog.New(slog.NewTextHandler(&out, nil))}
		m.status.changed = make(chan struct{}, 1)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); m.publish(ctx) }()
		for range 2 {
			m.status.set(decide.Status{})
			time.Sleep(10 * time.Second)
		}
		cancel()
		<-ended
		if n := strings.Count(out.String(), "status not written"); n != 2 || board.tries != 12 {
			t.Errorf("told %d times in two outages, with %d tries", n, board.tries)
		}
	})
}
