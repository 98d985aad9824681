package member

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/mysqlha/mysqlha/replication/process"
)

func TestS1_TheHighestTermSeenOutlivesTheDaemon(t *testing.T) {
	dir := t.TempDir()
	f, err := openTermFile(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, term := range []uint64{3, 5, 2} {
		if err := f.saw(term); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.opened(process.Opened{Term: 4, Run: "run1"}); err != nil {
		t.Fatal(err)
	}
	again, err := openTermFile(dir)
	if err != nil {
		t.Fatal(err)
	}
	if want := (terms{Term: 5, Opened: process.Opened{Term: 4, Run: "run1"}}); again.seen != want {
		t.Errorf("read back %+v, want %+v", again.seen, want)
	}
}

func TestADamagedTermFileIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "term.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openTermFile(dir); err == nil {
		t.Error("a daemon that forgot which terms it saw would obey the past")
	}
}

func TestATermThatCannotBeKeptIsNotSeen(t *testing.T) {
	f, err := openTermFile(filepath.Join(t.TempDir(), "absent"))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.saw(1); err == nil || f.seen.Term != 0 {
		t.Errorf("saw term %d with error %v", f.seen.Term, err)
	}
}
