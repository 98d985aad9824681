package guard

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication/binlog"
	"github.com/mysqlha/mysqlha/replication/gtid"
	"github.com/mysqlha/mysqlha/replication/process"
)

// The files of the parser's tests: of a server that died with the third.
const (
	fixtures    = "../binlog/testdata/mysql-9.7."
	fixtureUUID = "cac4951a-e8e4-11f1-afde-02fc00000001"
	everything  = fixtureUUID + ":1-16:some_tag:1"
)

// logsOf copies files of the fixtures into a folder, with an index. The last is
// marked in use.
func logsOf(t *testing.T, numbers ...int) (index string, logs []string) {
	t.Helper()
	dir := t.TempDir()
	for i, n := range numbers {
		text, err := os.ReadFile(fmt.Sprintf("%s%06d", fixtures, n))
		if err != nil {
			t.Fatal(err)
		}
		text[4+17] &^= 1
		if i == len(numbers)-1 {
			text[4+17] |= 1
		}
		logs = append(logs, filepath.Join(dir, fmt.Sprintf("b.%06d", n)))
		if err := os.WriteFile(logs[i], text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	index = filepath.Join(dir, "b.index")
	if err := os.WriteFile(index, []byte(strings.Join(logs, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return index, logs
}

func without(t *testing.T, numbers string) gtid.Set {
	t.Helper()
	return gtid.MustParse(everything).Subtract(gtid.MustParse(fixtureUUID + ":" + numbers))
}

func TestS7_ATailIsJudged(t *testing.T) {
	for _, c := range []struct {
		name     string
		files    []int
		holds    gtid.Set
		uuid     string
		prepared int
		against  string
	}{
		{"nothing", []int{1, 2, 3}, gtid.MustParse(everything), fixtureUUID, 0, ""},
		{"the last one", []int{1, 2, 3}, without(t, "16"), fixtureUUID, 1, ""},
		{"the last two", []int{1, 2, 3}, without(t, "15-16"), fixtureUUID, 2, ""},
		{"two kinds", []int{1, 2}, without(t, "12-14"), fixtureUUID, 3, ""},
		{"purged files before", []int{3}, without(t, "15-16"), fixtureUUID, 2, ""},
		{"one in an earlier file", []int{1, 2, 3}, without(t, "14-16"), fixtureUUID, 2, "not the last file"},
		{"one in a purged file", []int{3}, without(t, "2:15-16"), fixtureUUID, 2, "stand before"},
		{"known after unknown", []int{1, 2, 3}, without(t, "15"), fixtureUUID, 1, "stands after one that is not"},
		{"another server's", []int{1, 2, 3}, without(t, "16"), "11111111-2222-3333-4444-555555555555", 0, "was not written here"},
		{"XA", []int{1, 2}, without(t, "10-14"), fixtureUUID, 3, "XA PREPARE"},
		{"MyISAM", []int{1, 2}, without(t, "9-14"), fixtureUUID, 3, "know no transactions"},
	} {
		_, logs := logsOf(t, c.files...)
		got := readTail(logs, c.holds, c.uuid)
		against := strings.Join(got.against, "; ")
		if got.prepared != c.prepared || (c.against == "") != (against == "") || !strings.Contains(against, c.against) {
			t.Errorf("%s: prepared %d, against %q", c.name, got.prepared, against)
		}
	}
	_, logs := logsOf(t, 1, 2, 3)
	for lacks, files := range map[string]int{"16": 1, "15-16": 2, "4-16:some_tag:1": 3} {
		if got := readTail(logs, without(t, lacks), fixtureUUID); got.files != files {
			t.Errorf("without %s: %d files were read, not back to what the primary has", lacks, got.files)
		}
	}
	whole, err := os.ReadFile(logs[2])
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		text    []byte
		against string
	}{
		"closed":    {append(append([]byte{}, whole[:4+17]...), append([]byte{0}, whole[4+18:]...)...), "has run since"},
		"encrypted": {append([]byte{0xfd}, whole[1:]...), "encrypted"},
		"damaged":   {append(append([]byte{}, whole[:300]...), append([]byte{whole[300] ^ 1}, whole[301:]...)...), "checksum"},
		"empty":     {nil, "empty"},
	} {
		if err := os.WriteFile(logs[2], c.text, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := readTail(logs, without(t, "16"), fixtureUUID); !strings.Contains(strings.Join(got.against, "; "), c.against) {
			t.Errorf("%s: %q", name, got.against)
		}
	}
	if err := os.WriteFile(logs[2], whole[:len(whole)-7], 0o600); err != nil {
		t.Fatal(err)
	}
	if got := readTail(logs, without(t, "15-16"), fixtureUUID); got.prepared != 1 || len(got.against) > 0 || !got.unknown.Equal(gtid.MustParse(fixtureUUID+":15-16")) {
		t.Errorf("torn: prepared %d, %s, against %q", got.prepared, got.unknown, got.against)
	}
}

// gate returns a gate over fixtures whose last run was open.
func gate(t *testing.T, change func(*process.Opened)) (*gateway, string) {
	t.Helper()
	index, logs := logsOf(t, 1, 2, 3)
	opened := process.Opened{Term: 3, Run: "r", ServerUUID: fixtureUUID, LogIndex: index, Fit: true}
	change(&opened)
	return &gateway{opened: opened, o: Options{Logger: slog.New(slog.DiscardHandler), RewindFile: filepath.Join(t.TempDir(), "rewind.json")}}, logs[2]
}

func TestS6S7_ARewindIsRefusedForEachReason(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*process.Opened)
		answer decide.StartAnswer
		why    string
	}{
		"incomplete":      {func(*process.Opened) {}, decide.StartAnswer{}, "without all that its predecessor"},
		"weakened":        {func(o *process.Opened) { o.Weakened = true }, decide.StartAnswer{Complete: true}, "without replicas"},
		"unfit":           {func(o *process.Opened) { o.Fit = false }, decide.StartAnswer{Complete: true}, "required variables"},
		"holding nothing": {func(*process.Opened) {}, decide.StartAnswer{Complete: true}, "is not known"},
		"forbidden":       {func(*process.Opened) {}, decide.StartAnswer{Complete: true, Forbidden: "auto_rejoin is off"}, "auto_rejoin is off"},
	} {
		g, log := gate(t, c.change)
		before, _ := os.Stat(log)
		lacks := gtid.MustParse(fixtureUUID + ":16")
		if c.answer.Advice = decide.StartCompare; name == "holding nothing" {
			lacks = gtid.MustParse(everything)
		}
		c.answer.Holds = gtid.MustParse(everything).Subtract(lacks)
		pending, err := g.rewind(c.answer)
		r, found, readErr := process.ReadRewind(g.o.RewindFile)
		if err != nil || pending != nil || readErr != nil || !found || r.State != process.RewindRefused || !strings.Contains(r.Why, c.why) || !r.GTIDs.Equal(lacks) {
			t.Errorf("%s: %+v, %v, noted %+v, %v", name, pending, err, r, readErr)
		}
		if after, _ := os.Stat(log); after.Size() != before.Size() {
			t.Errorf("%s: %d bytes of %d are left", name, after.Size(), before.Size())
		}
	}
}

func TestWhatIsCutOffIsKeptAndReadable(t *testing.T) {
	g, log := gate(t, func(*process.Opened) {})
	pending, err := g.rewind(decide.StartAnswer{Advice: decide.StartCompare, Holds: without(t, "15-16"), Complete: true})
	if err != nil || pending == nil || pending.State != process.RewindCutting || pending.Prepared != 2 {
		t.Fatalf("%+v, %v", pending, err)
	}
	in := func(path string) (groups []string) {
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if _, err := binlog.Scan(file, func(g binlog.Group) error { groups = append(groups, g.GTID.String()); return nil }); err != nil {
			t.Fatal(err)
		}
		return groups
	}
	if left := in(log); len(left) != 0 {
		t.Errorf("%v are left", left)
	}
	if kept := in(pending.Kept); strings.Join(kept, " ") != fixtureUUID+":15 "+fixtureUUID+":16" {
		t.Errorf("%v are kept", kept)
	}
	if manifest, found, err := process.ReadRewind(pending.Kept + ".json"); err != nil || !found || manifest.SHA256 == "" || manifest.Size-manifest.Position == 0 {
		t.Errorf("the manifest: %+v, %v", manifest, err)
	}
}

// TestAnotherFileIsNotCut has a note of a cut speak of a file that is shorter, or
// longer, than it was: of a restored data directory.
func TestAnotherFileIsNotCut(t *testing.T) {
	for _, size := range []int64{99, 301} {
		log := filepath.Join(t.TempDir(), "b.000003")
		if err := os.WriteFile(log, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
		err := cut(Options{DataDir: t.TempDir()}, process.Rewind{Log: log, Position: 100, Size: 300})
		if info, statErr := os.Stat(log); err == nil || !strings.Contains(err.Error(), "another file") || statErr != nil || info.Size() != size {
			t.Errorf("%d bytes: %v, and %d bytes are left", size, err, info.Size())
		}
	}
}

func TestNothingIsAskedForAServerThatWasNotOpen(t *testing.T) {
	dir := t.TempDir()
	asked := false
	o := Options{Logger: slog.New(slog.DiscardHandler), RewindFile: filepath.Join(dir, "rewind.json"), TermFile: filepath.Join(dir, "term.json"),
		RunFile: filepath.Join(dir, "run.json"),
		Ask: func(context.Context, uint64, time.Duration) (decide.StartAnswer, error) {
			asked = true
			return decide.StartAnswer{Advice: decide.StartNow}, nil
		}}
	index, logs := logsOf(t, 1, 2, 3)
	run, err := process.Describe(os.Getpid(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	try := func(name string, opened process.Opened, inUse, want bool) {
		t.Helper()
		text, err := json.Marshal(opened)
		if err == nil && name != "new" {
			err = os.WriteFile(o.TermFile, text, 0o600)
		}
		if err == nil {
			err = process.WriteRunFile(o.RunFile, run)
		}
		file, openErr := os.OpenFile(logs[2], os.O_RDWR, 0)
		if err != nil || openErr != nil {
			t.Fatal(err, openErr)
		}
		defer file.Close()
		flag := []byte{0}
		if inUse {
			flag[0] = 1
		}
		if _, err := file.WriteAt(flag, 4+17); err != nil {
			t.Fatal(err)
		}
		asked = false
		if pending, err := prepare(t.Context(), o); err != nil || pending != nil || asked != want {
			t.Errorf("%s: asked %t, %+v, %v", name, asked, pending, err)
		}
	}
	open := process.Opened{Term: 3, Run: run.StartID, ServerUUID: fixtureUUID, LogIndex: index}
	try("new", process.Opened{}, true, false)
	try("never open", process.Opened{}, true, false)
	try("open in an earlier run", process.Opened{Term: 3, Run: "another", LogIndex: index}, true, false)
	try("stopped politely", open, false, false)
	try("died open", open, true, true)
	o.AsIs = true
	try("died open, as it is", open, true, false)
}

// TestAGateThatCannotSeeStartsNothing takes what the gate must read away, or
// damages it: mysqld does not start, the error names the file, and nothing is cut.
func TestAGateThatCannotSeeStartsNothing(t *testing.T) {
	run, err := process.Describe(os.Getpid(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, spoil := range map[string]func(o *Options, index string) (named string){
		"no index":                        func(_ *Options, index string) string { _ = os.Remove(index); return index },
		"an empty index":                  func(_ *Options, index string) string { write(index, "\n"); return index },
		"an index of files that are gone": func(_ *Options, index string) string { write(index, "/nowhere/b.000009\n"); return "/nowhere/b.000009" },
		"a folder as index": func(_ *Options, index string) string {
			if err := errors.Join(os.Remove(index), os.Mkdir(index, 0o700)); err != nil {
				t.Fatal(err)
			}
			return index
		},
		"a damaged term file":        func(o *Options, _ string) string { write(o.TermFile, "{"); return o.TermFile },
		"a damaged run file":         func(o *Options, _ string) string { write(o.RunFile, "{"); return o.RunFile },
		"a damaged rewind file":      func(o *Options, _ string) string { write(o.RewindFile, "{"); return o.RewindFile },
		"no right to read the index": func(_ *Options, index string) string { forbid(t, index); return index },
		"no right to read the term":  func(o *Options, _ string) string { forbid(t, o.TermFile); return o.TermFile },
		"no right to read a binary log": func(_ *Options, index string) string {
			log := filepath.Join(filepath.Dir(index), "b.000003")
			forbid(t, log)
			return log
		},
		"no right to write beside the last binary log": func(_ *Options, index string) string {
			if err := os.Chmod(filepath.Dir(index), 0o500); err != nil {
				t.Fatal(err)
			}
			return filepath.Dir(index)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			index, logs := logsOf(t, 1, 2, 3)
			o := Options{Logger: slog.New(slog.DiscardHandler), RewindFile: filepath.Join(dir, "rewind.json"),
				TermFile: filepath.Join(dir, "term.json"), RunFile: filepath.Join(dir, "run.json"),
				Ask: func(context.Context, uint64, time.Duration) (decide.StartAnswer, error) {
					return decide.StartAnswer{Advice: decide.StartCompare, Holds: without(t, "16"), Complete: true}, nil
				}}
			text, err := json.Marshal(process.Opened{Term: 3, Run: run.StartID, ServerUUID: fixtureUUID, LogIndex: index, Fit: true})
			if err == nil {
				err = process.WriteRunFile(o.RunFile, run)
			}
			if err != nil {
				t.Fatal(err)
			}
			write(o.TermFile, string(text))
			named := spoil(&o, index)
			var pending *process.Rewind
			asNobody(t, func() { pending, err = prepare(t.Context(), o) })
			if err == nil || pending != nil || !strings.Contains(err.Error(), named) {
				t.Errorf("prepared %+v; the error does not name %s: %v", pending, named, err)
			}
			if f, err := binlog.ScanFile(logs[2], func(binlog.Group) error { return nil }); err != nil || f.GTIDs.Count() != 2 {
				t.Errorf("of the last file %s are left, %v", f.GTIDs, err)
			}
		})
	}
}

// forbid takes everybody's right to read a file away.
func forbid(t *testing.T, path string) {
	t.Helper()
	if err := os.Chmod(path, 0); err != nil {
		t.Fatal(err)
	}
}

// asNobody does something on a thread that has no more rights than the user who
// owns the test's files.
func asNobody(t *testing.T, do func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		do()
		return
	}
	const nobody = 65534
	err := filepath.WalkDir(filepath.Dir(t.TempDir()), func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, nobody, nobody))
	})
	if err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := syscall.Setfsuid(nobody); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Setfsuid(0); err != nil {
			panic(err) // The thread must not go on like that.
		}
	}()
	do()
}

// --- on a real server ---

// dieOpen starts a server, lets do write, kills it as the open primary of term
// 3, and returns what it had executed before.
func (s *server) dieOpen(do func(db *sql.DB)) gtid.Set {
	s.t.Helper()
	dir := filepath.Dir(s.plan.RunFile)
	s.plan.Answer, s.plan.Term, s.plan.Rewind = filepath.Join(dir, "answer.json"), filepath.Join(dir, "term.json"), filepath.Join(dir, "rewind.json")
	s.answer(decide.StartAnswer{Advice: decide.StartNow})
	g, db := s.start()
	db.SetMaxOpenConns(1)
	s.exec(db, "SET GLOBAL super_read_only = OFF", "CREATE DATABASE mysqlha", "CREATE TABLE mysqlha.t (i INT PRIMARY KEY)", "INSERT INTO mysqlha.t VALUES (1)")
	executed := s.query(db, "SELECT @@GLOBAL.gtid_executed")
	s.note(process.Opened{Term: 3, Run: s.run().StartID, Fit: true, ServerUUID: s.query(db, "SELECT @@GLOBAL.server_uuid"), LogIndex: s.query(db, "SELECT @@GLOBAL.log_bin_index")})
	do(db)
	s.die(g)
	return gtid.MustParse(executed)
}

func (s *server) die(g *guardProcess) {
	s.t.Helper()
	if err := syscall.Kill(s.run().PID, syscall.SIGKILL); err != nil {
		s.t.Fatal(err)
	}
	s.await("the guard ends", g.ended)
}

func (s *server) note(o process.Opened) { s.writeJSON(s.plan.Term, o) }

func (s *server) answer(a decide.StartAnswer) { s.writeJSON(s.plan.Answer, a) }

func (s *server) writeJSON(path string, v any) {
	s.t.Helper()
	text, err := json.Marshal(v)
	if err == nil {
		err = os.WriteFile(path, text, 0o600)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) rewound() process.Rewind {
	s.t.Helper()
	r, _, err := process.ReadRewind(s.plan.Rewind)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// testSecondGuardWaits starts a second guard beside a living one, and then kills
// the first.
func testSecondGuardWaits(t *testing.T, tmpl *template) {
	s := newServer(t, tmpl)
	first, db := s.start()
	before := s.run()
	second := s.startGuard()
	s.await("the second guard says for whom it waits", func() bool { return strings.Contains(s.readLog(), "another guard, or a mysqld that it started") })
	if s.run() != before || s.query(db, "SELECT 1") != "1" {
		t.Errorf("the run is %s after %s", s.run().StartID, before.StartID)
	}
	if err := first.cmd.Process.Kill(); err != nil { // mysqld dies with it.
		t.Fatal(err)
	}
	s.await("the second guard starts its own", func() bool { return s.run() != before })
	// That one may end at once: it takes a mysqld that nobody has waited for yet
	// for one that uses its socket.
	second.stop(syscall.SIGTERM)
}

func testGateWaits(t *testing.T, tmpl *template) {
	s := newServer(t, tmpl)
	s.dieOpen(func(*sql.DB) {})
	before := s.run()
	s.answer(decide.StartAnswer{Advice: decide.StartWait, Why: "a failover is under way"})
	g := s.startGuard()
	s.await("the wait is told", func() bool { return strings.Contains(s.readLog(), "a failover is under way") })
	if g.stop(syscall.SIGTERM) == 0 || s.run() != before {
		t.Errorf("a waiting gate was stopped with status %d, and the run is %s after %s", g.code, s.run().StartID, before.StartID)
	}
	if err := os.Remove(s.plan.Answer); err != nil { // The daemon does not answer.
		t.Fatal(err)
	}
	s.startGuard()
	s.await("the wait is told", func() bool { return strings.Contains(s.readLog(), "no such file") })
	s.answer(decide.StartAnswer{Advice: decide.StartNow})
	db := s.pool(controlUser, "")
	s.await("mysqld answers", func() bool { return db.PingContext(t.Context()) == nil })
}

// hang leaves a commit behind that waits for an acknowledgement.
func (s *server) hang(db *sql.DB) {
	s.exec(db, "SET SESSION sql_log_bin = 0", "INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'",
		"SET SESSION sql_log_bin = 1", "SET GLOBAL rpl_semi_sync_source_timeout = 4294967295", "SET GLOBAL rpl_semi_sync_source_enabled = ON")
	ctx, cancel := context.WithTimeout(s.t.Context(), 500*time.Millisecond)
	defer cancel()
	if _, err := db.ExecContext(ctx, "INSERT INTO mysqlha.t VALUES (2)"); err == nil {
		s.t.Error("a commit was acknowledged without a replica")
	}
}

func testRewind(t *testing.T, tmpl *template) {
	s := newServer(t, tmpl)
	holds := s.dieOpen(s.hang)
	s.answer(decide.StartAnswer{Advice: decide.StartCompare, Holds: holds, Complete: true})
	// The first start fails after the cut.
	whole := s.plan.Args
	s.plan.Args = append([]string{"/bin/false"}, whole[1:]...)
	g := s.startGuard()
	s.await("the guard ends", g.ended)
	if r := s.rewound(); r.State != process.RewindStarted || r.Prepared != 1 {
		t.Fatalf("after the cut: %+v", r)
	}
	s.plan.Args = whole
	_, db := s.start()
	s.await("the rewind is judged", func() bool { return s.rewound().State != process.RewindStarted })
	if r := s.rewound(); r.State != process.RewindVerified || r.RolledBack != 1 {
		t.Errorf("the rewind: %+v", r)
	}
	if rows, executed := s.query(db, "SELECT COUNT(*) FROM mysqlha.t"), s.query(db, "SELECT @@GLOBAL.gtid_executed"); rows != "1" || !gtid.MustParse(executed).Equal(holds) {
		t.Errorf("%s rows, executed %s of %s", rows, executed, holds)
	}
}

// testRewindOfCommitted gives the gate wrong answers: the commit did not wait
// for anybody.
func testRewindOfCommitted(t *testing.T, tmpl *template) {
	s := newServer(t, tmpl)
	// The engine's own commit is on disk only after its log was flushed.
	holds := s.dieOpen(func(db *sql.DB) { s.exec(db, "INSERT INTO mysqlha.t VALUES (2)", "FLUSH LOCAL ENGINE LOGS") })
	s.answer(decide.StartAnswer{Advice: decide.StartCompare, Holds: holds, Complete: true})
	s.start()
	s.await("the rewind is judged", func() bool { return s.rewound().State != process.RewindStarted })
	if r := s.rewound(); r.State != process.RewindFailed || !strings.Contains(r.Why, "it had committed the others") {
		t.Errorf("the rewind: %+v", r)
	}
}

// testNoRewindAfterARun has crash recovery commit the tail first, and then lies
// about which run was open.
func testNoRewindAfterARun(t *testing.T, tmpl *template) {
	s := newServer(t, tmpl)
	holds := s.dieOpen(s.hang)
	s.answer(decide.StartAnswer{Advice: decide.StartNow})
	g, _ := s.start()
	s.die(g)
	opened, err := process.ReadOpened(s.plan.Term)
	if err != nil {
		t.Fatal(err)
	}
	opened.Run = s.run().StartID
	s.note(opened)
	s.answer(decide.StartAnswer{Advice: decide.StartCompare, Holds: holds, Complete: true})
	_, db := s.start()
	if r := s.rewound(); r.State != process.RewindRefused || !strings.Contains(r.Why, "mysqld has committed them") {
		t.Errorf("the rewind: %+v", r)
	}
	if rows := s.query(db, "SELECT COUNT(*) FROM mysqlha.t"); rows != "2" {
		t.Errorf("%s rows", rows)
	}
}
