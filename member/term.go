package member

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// termFile remembers, across restarts of daemon and host, the highest term
// this daemon has seen (S1) and in which run of mysqld it opened which term.
type termFile struct {
	path string
	seen terms
}

type terms struct {
	// Term is the highest term seen.
	Term uint64 `json:"term"`
	// OpenedTerm was opened on this server in the run OpenedRun of mysqld.
	OpenedTerm uint64 `json:"opened_term,omitempty"`
	OpenedRun  string `json:"opened_run,omitempty"`
}

func openTermFile(dir string) (*termFile, error) {
	t := &termFile{path: filepath.Join(dir, "term.json")}
	raw, err := os.ReadFile(t.path)
	if errors.Is(err, fs.ErrNotExist) {
		return t, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the term file: %w", err)
	}
	if err := json.Unmarshal(raw, &t.seen); err != nil {
		return nil, fmt.Errorf("term file %s is damaged (%w); it says which terms this server has seen: restore it or compare the servers by hand", t.path, err)
	}
	return t, nil
}

// saw notes a term durably before anything is done under it.
func (t *termFile) saw(term uint64) error {
	if term <= t.seen.Term {
		return nil
	}
	next := t.seen
	next.Term = term
	return t.write(next)
}

// opened notes durably that this run of mysqld is about to be opened.
func (t *termFile) opened(term uint64, run string) error {
	next := t.seen
	next.Term, next.OpenedTerm, next.OpenedRun = max(next.Term, term), term, run
	return t.write(next)
}

func (t *termFile) write(next terms) error {
	raw, err := json.Marshal(next)
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(t.path, append(raw, '\n'), 0o600); err != nil {
		return fmt.Errorf("write the term file: %w", err)
	}
	t.seen = next
	return nil
}
