package orchestrator

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// written returns the lines that f has a leader write.
func written(t *testing.T, f func(l *lead)) []map[string]any {
	t.Helper()
	var out bytes.Buffer
	f(&lead{o: New(Options{Logger: slog.New(slog.NewJSONHandler(&out, nil))})})
	var lines []map[string]any
	for raw := range strings.Lines(out.String()) {
		var line map[string]any
		if err := json.Unmarshal([]byte(raw), &line); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	return lines
}

func TestADecisionIsLoggedWhenItChanges(t *testing.T) {
	record := &decide.Record{Term: 4, Primary: "a"}
	stalled := func(detail string, waits ...decide.Wait) *decide.Decision {
		return &decide.Decision{Reason: decide.ReasonUncertain, Detail: detail, Waits: waits}
	}
	wait := decide.Wait{Code: decide.CodeServerDown, Server: "c", Detail: "mysqld of c is down"}
	lines := written(t, func(l *lead) {
		l.log(stalled("silent for 1s"), record)
		l.log(stalled("silent for 2s"), record) // The same with another figure.
		l.log(stalled("silent for 3s", wait), record)
		l.log(stalled("silent for 4s", wait), record)
		l.log(&decide.Decision{Reason: decide.ReasonHealthy}, record)
		l.log(stalled("silent for 1s"), record)
	})
	var details []any
	for _, line := range lines {
		details = append(details, line["detail"])
		if line["msg"] != "decided" || line["term"] != 4.0 || line["level"] != "INFO" {
			t.Errorf("%v", line)
		}
	}
	if len(lines) != 4 || details[0] != "silent for 1s" || details[1] != "silent for 3s" || details[2] != "" || details[3] != "silent for 1s" {
		t.Fatalf("%v", details)
	}
	if w, _ := json.Marshal(lines[1]["waits"]); string(w) != `[{"code":"server-down","detail":"mysqld of c is down","server":"c"}]` {
		t.Errorf("waits: %s", w)
	}
}

func TestWhatIsWrittenToEtcdIsLoggedOnceWithItsPlan(t *testing.T) {
	record := &decide.Record{Term: 4, Primary: "a"}
	plan := func(phase decide.Phase) *decide.Plan {
		at := time.Unix(1, 0)
		return &decide.Plan{ID: "failover-t4-r9-x", Kind: decide.PlanFailover, Phase: phase, Reason: decide.ReasonProcessDied,
			Marks: []decide.Mark{{Name: "detected", At: at}, {Name: "done", At: at.Add(1400 * time.Millisecond)}}}
	}
	begun := &decide.Record{Term: 4, Primary: "a", Plan: plan(decide.PhaseRevoke)}
	published := &decide.Record{Term: 5, Primary: "b", Plan: plan(decide.PhaseOpen)}
	lines := written(t, func(l *lead) {
		begin := &decide.Decision{Reason: decide.ReasonProcessDied, Detail: "pid 7 is gone",
			Change: &decide.Change{Record: begun, Specs: map[string]decide.Spec{"b": {Goal: decide.GoalRevoke}}}}
		l.log(begin, record)
		again := *begin // Etcd did not take it.
		again.Change = &decide.Change{Record: &decide.Record{Term: 4, Primary: "a", Plan: plan(decide.PhaseRevoke)}, Specs: begin.Change.Specs}
		again.Change.Record.Plan.ID = "failover-t4-r9-y"
		l.log(&again, record)
		l.logCommitted(begin.Change, record)
		open := &decide.Decision{Reason: decide.ReasonPlanContinues, Change: &decide.Change{Record: published}}
		l.log(open, begun)
		l.logCommitted(open.Change, begun)
		end := &decide.Decision{Reason: decide.ReasonPlanContinues,
			Change: &decide.Change{Record: &decide.Record{Term: 5, Primary: "b"}, History: &decide.History{Plan: *plan(decide.PhaseOpen), Primary: "b", Result: "completed"}}}
		l.log(end, published)
		l.logCommitted(end.Change, published)
	})
	want := []map[string]any{
		{"msg": "decided", "level": "WARN", "term": 4.0, "reason": "process died", "detail": "pid 7 is gone", "phase": "revoke"},
		{"msg": "decided", "level": "INFO", "term": 5.0, "phase": "open"},
		{"msg": "term published", "term": 5.0, "primary": "b"},
		{"msg": "decided", "level": "INFO", "term": 5.0, "reason": "plan continues"},
		{"msg": "plan ended", "level": "INFO", "term": 5.0, "result": "completed", "took": 1.4e9},
	}
	if len(lines) != len(want) {
		t.Fatalf("%d lines: %v", len(lines), lines)
	}
	for i, fields := range want {
		fields["plan"] = "failover-t4-r9-x"
		for key, value := range fields {
			if lines[i][key] != value {
				t.Errorf("line %d: %s is %v, want %v", i, key, lines[i][key], value)
			}
		}
	}
	if specs, _ := json.Marshal(lines[0]["specs"]); string(specs) != `{"b":"revoke"}` {
		t.Errorf("specs: %s", specs)
	}
}
