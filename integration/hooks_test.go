package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/deploy/sandbox"
	"github.com/mysqlha/mysqlha/hooks"
	"github.com/mysqlha/mysqlha/integration/harness"
)

// Hooks are told of failovers, switchovers and changes of the in-sync set in their
// order, whoever leads, and one that hangs delays nothing of it.
func TestHooksAreToldAndNobodyWaitsForThem(t *testing.T) {
	dir := t.TempDir()
	out, program, hang := filepath.Join(dir, "out"), filepath.Join(dir, "told"), filepath.Join(dir, "hangs")
	for file, text := range map[string]string{program: "cat >> " + out + "; echo >> " + out, hang: "sleep 300"} {
		if err := os.WriteFile(file, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s := harness.Start(t, sandbox.Options{Config: fmt.Sprintf("hooks:\n  - {name: hangs, command: [%s], timeout: 5m}\n  - {name: told, command: [%s]}\n", hang, program)})
	before := record(t, s)
	signal(t, s, before.Primary, syscall.SIGKILL)
	awaitCluster(t, s, "another takes its place, and all are in sync", func(c api.Cluster) bool { return sandbox.Settled(c) && c.Record.Term == before.Term+1 })
	told := awaitTold(t, out, func(all []hooks.Event) bool {
		i := slices.IndexFunc(all, func(e hooks.Event) bool { return e.Kind == hooks.KindFailover })
		return i >= 0 && slices.ContainsFunc(all[i:], func(e hooks.Event) bool { return slices.Contains(e.Added, before.Primary) })
	})
	failover := told[slices.IndexFunc(told, func(e hooks.Event) bool { return e.Kind == hooks.KindFailover })]
	now := record(t, s)
	if failover.Term != now.Term || failover.Primary != now.Primary || failover.From != before.Primary || failover.Result != "completed" || !failover.Complete || failover.Lost != "" || failover.Took <= 0 {
		t.Errorf("the failover is told as %+v", failover)
	}
	for _, e := range told {
		if e.Cluster != "sandbox" || e.Version != 1 || e.ID == "" {
			t.Errorf("told %+v", e)
		}
	}

	// The next leader goes on where this one left off.
	var leader string
	awaitCluster(t, s, "somebody leads", func(c api.Cluster) bool { leader = c.Leader; return leader != "" })
	signal(t, s, leader+"/daemon", syscall.SIGKILL)
	if _, err := mysqlha(t, s, "switchover"); err != nil {
		t.Fatal(err)
	}
	told = awaitTold(t, out, func(all []hooks.Event) bool {
		return slices.ContainsFunc(all, func(e hooks.Event) bool { return e.Kind == hooks.KindSwitchover && e.Result == "completed" })
	})
	seen := make(map[string]int)
	for _, e := range told {
		seen[e.ID]++
	}
	if n := seen[failover.ID]; n != 1 {
		t.Errorf("the failover is told %d times", n)
	}
}

// awaitTold waits until what was told suits.
func awaitTold(t *testing.T, file string, suits func([]hooks.Event) bool) (all []hooks.Event) {
	t.Helper()
	within(t, "the hook is told", func(ctx context.Context) error {
		return poll(ctx, func() error {
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			all = nil
			for line := range strings.Lines(string(text)) {
				var e hooks.Event
				if err := json.Unmarshal([]byte(line), &e); err != nil {
					return err
				}
				all = append(all, e)
			}
			if !suits(all) {
				return fmt.Errorf("told %s", text)
			}
			return nil
		})
	})
	return all
}
