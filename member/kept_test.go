package member

import (
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mysqlha/mysqlha/replication/gtid"
	"github.com/mysqlha/mysqlha/replication/process"
)

func TestWhatWasGivenUpIsListedAndCanBeRead(t *testing.T) {
	logs, state := t.TempDir(), t.TempDir()
	f, err := openTermFile(state)
	if err != nil {
		t.Fatal(err)
	}
	m := &Member{o: Options{Server: "db1", DataDir: state}, terms: f}
	if kept, err := m.Kept(); len(kept) > 0 || err != nil {
		t.Fatalf("a new server has kept %v, %v", kept, err)
	}
	if err := f.opened(process.Opened{Term: 3, Run: "r", LogIndex: filepath.Join(logs, "b.index")}); err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile("../replication/binlog/testdata/mysql-9.7.000002")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	rewound := filepath.Join(logs, "b.000007.rewound-120-20260102T030405Z")
	replaced := filepath.Join(state, "replaced-20260102T040405Z")
	gtids := gtid.MustParse("11111111-2222-3333-4444-555555555555:7")
	for _, err := range []error{
		os.WriteFile(rewound, log, 0o600), process.WriteRewind(rewound+".json", process.Rewind{At: at, Term: 3, GTIDs: gtids}),
		os.Mkdir(replaced, 0o700), os.WriteFile(filepath.Join(replaced, "b.000009"), log, 0o600),
		os.Mkdir(filepath.Join(state, "replaced-by-hand"), 0o700), os.WriteFile(filepath.Join(state, "replaced-by-hand", "x"), nil, 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	kept, err := m.Kept()
	if err != nil || len(kept) != 2 {
		t.Fatalf("kept %v, %v", kept, err)
	}
	if k := kept[0]; k.Way != WayCloned || k.Name != "replaced-20260102T040405Z-b.000009" || k.GTIDs.Count() != 12 || k.Bytes != int64(len(log)) {
		t.Errorf("the clone's: %+v", k)
	}
	if k := kept[1]; k.Way != WayRewound || k.Term != 3 || !k.At.Equal(at) || !k.GTIDs.Equal(gtids) {
		t.Errorf("the rewind's: %+v", k)
	}
	file, err := m.OpenKept(kept[1].Name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if text, err := io.ReadAll(file); err != nil || len(text) != len(log) {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	for _, name := range []string{"", "b.index", "../term.json", "b.000007.rewound-120-20260102T030405Z.json"} {
		if file, err := m.OpenKept(name); err == nil {
			file.Close()
			t.Errorf("%q can be read", name)
		}
	}
}
