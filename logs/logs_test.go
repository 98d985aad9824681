package logs_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mysqlha/mysqlha/logs"
)

func TestALineHasTheNameOfItsEvent(t *testing.T) {
	t.Setenv("JOURNAL_STREAM", "")
	var out bytes.Buffer
	log := logs.New(logs.Options{Level: "info", Format: "auto"}, &out).With("server", "db1")
	log.Info("open for writes", "term", 7, "took", 1500*time.Millisecond)
	log.Debug("open for writes")
	log.Info("nobody knows this one")
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines: %s", len(lines), out.String())
	}
	var line map[string]any
	if err := json.Unmarshal([]byte(lines[0]), &line); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{"msg": "open for writes", "event": "opened", "server": "db1", "term": 7.0, "level": "INFO", "took": "1.5s"} {
		if line[key] != want {
			t.Errorf("%s is %v, want %v: %s", key, line[key], want, lines[0])
		}
	}
	if at, err := time.Parse(time.RFC3339Nano, fmt.Sprint(line["time"])); err != nil || time.Since(at) > time.Minute {
		t.Errorf("time is %v", line["time"])
	}
	if strings.Contains(lines[1], "event") {
		t.Errorf("a message without an event has one: %s", lines[1])
	}
}

func TestTextIsForHumans(t *testing.T) {
	t.Setenv("NO_COLOR", "1")
	var out bytes.Buffer
	logs.New(logs.Options{Level: "warn", Format: "text"}, &out).Warn("fenced: proven not writable", "term", 7)
	if want := " WRN fenced: proven not writable event=fenced term=7\n"; !strings.HasSuffix(out.String(), want) {
		t.Errorf("%q does not end in %q", out.String(), want)
	}
}

// stream returns both ends of a connection like the one that journald gives to a service.
func stream(t *testing.T) (journald, stderr *os.File) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	journald, stderr = os.NewFile(uintptr(fds[0]), "journald"), os.NewFile(uintptr(fds[1]), "stderr")
	t.Cleanup(func() { _ = journald.Close() })
	var st syscall.Stat_t
	if err := syscall.Fstat(fds[1], &st); err != nil {
		t.Fatal(err)
	}
	t.Setenv("JOURNAL_STREAM", fmt.Sprintf("%d:%d", st.Dev, st.Ino))
	return journald, stderr
}

func TestTheJournalIsToldThePriorityAndNoTime(t *testing.T) {
	for _, format := range []string{"auto", "json", "text"} {
		t.Run(format, func(t *testing.T) {
			journald, stderr := stream(t)
			log := logs.New(logs.Options{Level: "debug", Format: format}, stderr).With("server", "db1")
			log.Debug("d")
			log.Info("open for writes")
			log.Warn("w")
			log.Error("e", "error", errors.New("one\ntwo"))
			logs.Complain(stderr, "mysqlhad: one\n  two")
			if err := stderr.Close(); err != nil {
				t.Fatal(err)
			}
			raw, err := io.ReadAll(journald)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Split(strings.TrimSuffix(string(raw), "\n"), "\n")
			want := []string{`<7>{"level":"DEBUG","msg":"d","server":"db1"}`,
				`<6>{"level":"INFO","msg":"open for writes","server":"db1","event":"opened"}`,
				`<4>{"level":"WARN","msg":"w","server":"db1"}`,
				`<3>{"level":"ERROR","msg":"e","server":"db1","error":"one\ntwo"}`}
			if format == "text" {
				want = []string{"<7>DBG d server=db1", "<6>INF open for writes server=db1 event=opened", "<4>WRN w server=db1",
					`<3>ERR e server=db1 error="one\ntwo"`}
			}
			want = append(want, "<3>mysqlhad: one", "<3>  two")
			if strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// A service whose output was redirected still has the variable.
func TestAFileIsNotTheJournal(t *testing.T) {
	_, stderr := stream(t)
	defer stderr.Close()
	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	logs.New(logs.Options{Format: "auto"}, file).Info("open for writes")
	logs.Complain(file, "mysqlhad: no")
	raw, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(raw), `{"time":`) || !strings.HasSuffix(string(raw), "\nmysqlhad: no\n") {
		t.Errorf("%s", raw)
	}
}

// Lines that goroutines write at the same time keep their own priority.
func TestPrioritiesAreNotMixedUp(t *testing.T) {
	journald, stderr := stream(t)
	log := logs.New(logs.Options{Format: "json"}, stderr)
	done := make(chan struct{})
	for _, level := range []slog.Level{slog.LevelInfo, slog.LevelError} {
		go func() {
			defer func() { done <- struct{}{} }()
			for range 200 {
				log.Log(t.Context(), level, level.String())
			}
		}()
	}
	go func() { <-done; <-done; _ = stderr.Close() }()
	raw, err := io.ReadAll(journald)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	if len(lines) != 400 {
		t.Fatalf("%d lines", len(lines))
	}
	for _, line := range lines {
		if strings.HasPrefix(line, "<6>") != strings.Contains(line, `"INFO"`) {
			t.Fatalf("wrong priority: %s", line)
		}
	}
}
