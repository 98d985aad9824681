package hooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication/gtid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var night = time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)

func TestWhatHasHappenedIsToldInOrderAndOnce(t *testing.T) {
	lost := gtid.MustParse("3e11fa47-71ca-11e1-9e33-c80aa9429562:7")
	failover := decide.History{Term: 4, Primary: "db2", Result: "completed", Complete: true, InSync: []string{"db3"},
		Plan: decide.Plan{ID: "failover-t3-r9", Kind: decide.PlanFailover, From: "db1", Reason: decide.ReasonProcessDied, Lost: lost,
			Marks: []decide.Mark{{Name: "revoke", At: night}, {Name: "done", At: night.Add(250 * time.Millisecond)}}}}
	switchover := decide.History{Term: 4, Primary: "db2", Result: "refused: db3 lags", Plan: decide.Plan{ID: "s", Kind: decide.PlanSwitchover}}
	entries := []Entry{{5, failover}, {8, decide.History{Plan: decide.Plan{Kind: decide.PlanRemove}}}, {9, switchover}}
	record := decide.Record{Version: 12, Term: 4, Primary: "db2", InSync: []string{"db1", "db3"}}
	steps := Steps("shop", Cursor{History: 4, Version: 7, InSync: []string{"db2", "db3"}}, entries, record, night)
	var told []string
	for _, s := range steps {
		if s.Event == nil {
			told = append(told, "-")
			continue
		}
		told = append(told, fmt.Sprintf("%s %s +%v -%v", s.Event.Kind, s.Event.Result, s.Event.Added, s.Event.Removed))
	}
	want := []string{"failover completed +[] -[]", "-", "switchover refused: db3 lags +[] -[]", "in-sync  +[db1] -[db2]"}
	if !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
	first := steps[0].Event
	if first.Took != 250 || first.From != "db1" || first.Lost != lost.String() || !first.Complete || first.ID != "shop-failover-t3-r9" || !first.At.Equal(night.Add(250*time.Millisecond)) {
		t.Errorf("the failover is told as %+v", first)
	}
	// From each of its cursors on, only the rest is told; in the end nothing is left.
	for i, s := range steps {
		if rest := Steps("shop", s.Cursor, entries, record, night); len(rest) != len(steps)-1-i {
			t.Errorf("behind step %d there are %d", i, len(rest))
		}
	}
	if rest := Steps("shop", Behind(record, 9), entries, record, night); len(rest) > 0 {
		t.Errorf("a new hook is told of the past: %+v", rest)
	}
	// A record that changed in something else is no event.
	record.Version++
	if rest := Steps("shop", steps[3].Cursor, entries, record, night); len(rest) > 0 {
		t.Errorf("told %+v", rest)
	}
	record.Suspended = true
	if rest := Steps("shop", steps[3].Cursor, entries, record, night); len(rest) != 1 || !rest[0].Event.Suspended {
		t.Errorf("a suspension is not told: %+v", rest)
	}
}

// script writes a program.
func script(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "hook")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestACommandGetsTheEventAndLittleElse(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	t.Setenv("SECRET", "do not hand on")
	h := Hook{Name: "x", Command: []string{script(t, `cat > `+out+`; env >> `+out+`; echo "$1" >> `+out), "an argument"}, Timeout: 10 * time.Second, Tries: 1}
	if err := h.Deliver(t.Context(), Fence("shop", "db1", "no proof", time.Second, night)); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"event":"fence"`, `"server":"db1"`, `"took_ms":1000`, `"version":1`, "MYSQLHA_EVENT=fence\n", "MYSQLHA_SERVER=db1\n", "an argument\n"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("it misses %q in\n%s", want, text)
		}
	}
	if strings.Contains(string(text), "do not hand on") {
		t.Error("it was handed the daemon's environment")
	}
}

func TestACommandThatFailsSaysWhyAndOneThatHangsIsEnded(t *testing.T) {
	h := Hook{Name: "x", Command: []string{script(t, "echo nobody is there >&2; exit 3")}, Timeout: 10 * time.Second, Tries: 1}
	if err := h.Deliver(t.Context(), Test("shop", night)); err == nil || !strings.Contains(err.Error(), "exit status 3: nobody is there") {
		t.Errorf("got %v", err)
	}
	child := filepath.Join(t.TempDir(), "child")
	h = Hook{Name: "x", Command: []string{script(t, "sleep 100 & echo $! > "+child+"; wait")}, Timeout: 300 * time.Millisecond, Tries: 1}
	begun := time.Now()
	err := h.Deliver(t.Context(), Test("shop", night))
	if err == nil || !strings.Contains(err.Error(), "it took longer than 300ms") || time.Since(begun) > 5*time.Second {
		t.Errorf("got %v after %s", err, time.Since(begun))
	}
	pid, err := os.ReadFile(child)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/stat"); err != nil || strings.Contains(string(stat), ") Z ") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("what it had started goes on")
		}
	}
}

func TestAWebAddressGetsTheEventAndItsTokenGoesNowhereElse(t *testing.T) {
	var mu sync.Mutex
	var bodies, tokens []string
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the redirection was followed") }))
	defer elsewhere.Close()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		bodies, tokens = append(bodies, string(body)), append(tokens, r.Header.Get("Authorization"))
		mu.Unlock()
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		case "/bad":
			http.Error(w, "no such room", http.StatusNotFound)
		}
	}))
	defer server.Close()
	h := Hook{Name: "chat", Timeout: 10 * time.Second, Tries: 1, Token: func() (string, error) { return "t0ken", nil }}
	for path, want := range map[string]string{"/": "", "/moved": "307", "/bad": "no such room"} {
		h.URL = server.URL + path
		err := h.Deliver(t.Context(), Test("shop", night))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", path, err)
		}
	}
	var e Event
	if len(bodies) != 3 || json.Unmarshal([]byte(bodies[0]), &e) != nil || e.Kind != KindTest || tokens[0] != "Bearer t0ken" {
		t.Errorf("it was sent %q with %q", bodies, tokens)
	}
	server.Close()
	if err := h.Deliver(t.Context(), Test("shop", night)); err == nil || strings.Contains(err.Error(), "/bad") {
		t.Errorf("the error shows the address, or is none: %v", err)
	}
}

// memory is a journal without an etcd.
type memory struct {
	mu      sync.Mutex
	changed chan struct{}
	entries []Entry
	record  decide.Record
	cursors map[string]Cursor
	down    bool
}

func newMemory() *memory {
	return &memory{changed: make(chan struct{}), cursors: make(map[string]Cursor), record: decide.Record{Version: 1}}
}

func (m *memory) add(e Entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.entries = append(m.entries, e)
	m.record.Version++
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *memory) Changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

func (m *memory) Version() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.record.Version
}

func (m *memory) Begin(_ context.Context, hook string) (Cursor, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down {
		return Cursor{}, errors.New("no etcd")
	}
	if _, known := m.cursors[hook]; !known {
		m.cursors[hook] = Behind(m.record, uint64(len(m.entries)))
	}
	return m.cursors[hook], nil
}

func (m *memory) Steps(_ context.Context, c Cursor) ([]Step, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return Steps("shop", c, m.entries, m.record, night), nil
}

func (m *memory) Save(_ context.Context, hook string, c Cursor) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cursors[hook] = c
	return nil
}

func entry(key uint64, id string) Entry {
	return Entry{key, decide.History{Result: "completed", Plan: decide.Plan{ID: id, Kind: decide.PlanFailover}}}
}

// One hook that fails holds up nobody else, is tried again, and the events of each
// come in their order, over a change of leaders.
func TestEveryHookIsToldOfAllInOrderWhateverTheOthersDo(t *testing.T) {
	dir := t.TempDir()
	good, flaky, never := filepath.Join(dir, "good"), filepath.Join(dir, "flaky"), filepath.Join(dir, "never")
	all := []Hook{
		{Name: "good", Command: []string{script(t, `echo $MYSQLHA_EVENT_ID >> `+good)}, Timeout: 10 * time.Second, Tries: 1},
		{Name: "flaky", Command: []string{script(t, `if [ ! -e `+flaky+`.tried ]; then touch `+flaky+`.tried; exit 1; fi; echo $MYSQLHA_EVENT_ID >> `+flaky)}, Timeout: 10 * time.Second, Tries: 3},
		{Name: "never", On: []Kind{KindFence}, Command: []string{script(t, `echo $MYSQLHA_EVENT >> `+never)}, Timeout: 10 * time.Second, Tries: 1},
	}
	c := NewCourier(all, nil, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	running := make(chan error, 1)
	go func() { running <- c.Run(ctx) }()
	m := newMemory()
	lead := func() func() {
		leading, end := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() { defer close(done); c.Lead(ctx, leading, m) }()
		return func() { end(); <-done }
	}
	resign := lead()
	lines := func(file, want string) {
		t.Helper()
		var text []byte
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			if text, _ = os.ReadFile(file); strings.Join(strings.Fields(string(text)), " ") == want {
				return
			}
		}
		t.Fatalf("%s was told %q, want %q", filepath.Base(file), text, want)
	}
	for len(m.cursorsNow()) < 3 { // They begin with what comes after.
		time.Sleep(time.Millisecond)
	}
	m.add(entry(1, "one"))
	lines(good, "shop-one")
	m.add(entry(2, "two"))
	lines(good, "shop-one shop-two")
	lines(flaky, "shop-one shop-two")
	resign()
	m.add(entry(3, "three"))
	resign = lead()
	lines(good, "shop-one shop-two shop-three")
	lines(flaky, "shop-one shop-two shop-three")
	c.Tell(Fence("shop", "db1", "no proof", 0, night))
	lines(never, "fence")
	resign()
	stop()
	if err := <-running; err != nil {
		t.Error(err)
	}
}

func (m *memory) cursorsNow() map[string]Cursor {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make(map[string]Cursor)
	for k, v := range m.cursors {
		out[k] = v
	}
	return out
}

// A hook that never succeeds is given up for an event, and told of the next.
func TestAHookIsGivenUpForAnEventAndNotForTheNext(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	c := NewCourier([]Hook{{Name: "x", Command: []string{script(t, `echo $MYSQLHA_EVENT_ID >> `+out+`; exit 1`)}, Timeout: 10 * time.Second, Tries: 1}}, nil, slog.New(slog.DiscardHandler))
	m := newMemory()
	m.cursors["x"] = Cursor{Version: 1}
	m.add(entry(1, "one"))
	m.add(entry(2, "two"))
	leading, resign := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); c.Lead(t.Context(), leading, m) }()
	for deadline := time.Now().Add(20 * time.Second); m.cursorsNow()["x"].History < 2; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it was not given up")
		}
	}
	resign()
	<-done
	if text, _ := os.ReadFile(out); string(text) != "shop-one\nshop-two\n" {
		t.Errorf("it was told %q", text)
	}
}

// Events of this host beyond what may wait are dropped; nobody waits for a hook.
func TestNobodyWaitsForAHook(t *testing.T) {
	c := NewCourier([]Hook{{Name: "x", Command: []string{"/bin/true"}, Timeout: time.Second, Tries: 1}}, nil, slog.New(slog.DiscardHandler))
	begun := time.Now()
	for range 3 * mostLocal {
		c.Tell(Fence("shop", "db1", "no proof", 0, night))
	}
	if took := time.Since(begun); took > time.Second {
		t.Errorf("telling took %s", took)
	}
}

// The page on hooks names every field and every event.
func TestThePageNamesAll(t *testing.T) {
	page, err := os.ReadFile("../docs/hooks.md")
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, kind := range append(Kinds(), KindTest) {
		words = append(words, string(kind))
	}
	for field := range reflect.TypeFor[Event]().Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		words = append(words, name)
	}
	for _, word := range words {
		if !strings.Contains(string(page), "`"+word+"`") {
			t.Errorf("it does not name %s", word)
		}
	}
}
