package member

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/google/renameio/v2"

	"github.com/mysqlha/mysqlha/replication/process"
)

// termFile remembers, across restarts of daemon and host, the highest term
// this daemon has seen (S1) and in which run of mysqld it opened which term.
//
// The loop and the worker both write it.
type termFile struct {
	path string

	mu   sync.Mutex
	seen terms
	// recordSeen may be ahead of the file.
	recordSeen uint64
}

type terms struct {
	// Term is the highest term seen.
	Term uint64 `json:"term"`
	// RecordSeen is the highest version of the record seen (S1).
	RecordSeen uint64 `json:"record_seen,omitempty"`
	process.Opened
}

// TermFile returns the term file's path in the daemon's folder.
func TermFile(dir string) string { return filepath.Join(dir, "term.json") }

func openTermFile(dir string) (*termFile, error) {
	t := &termFile{path: TermFile(dir)}
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
	t.recordSeen = t.seen.RecordSeen
	return t, nil
}

// saw notes a term durably before anything is done under it.
func (t *termFile) saw(term uint64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if term <= t.seen.Term {
		return nil
	}
	next := t.seen
	next.Term = term
	return t.write(next)
}

const restoredMessage = "etcd was restored from an old backup: nothing is taken from it"

// sawRecord notes a version of the record, and tells whether a higher one was
// seen before: then etcd was restored from an old backup. It is kept in memory
// at once and in the file at the next keep, so that a failover does not wait
// for the disk.
func (t *termFile) sawRecord(version uint64) (past bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if version < t.recordSeen {
		return true
	}
	t.recordSeen = version
	return false
}

// keep writes the highest version of the record seen, if the file has another.
func (t *termFile) keep() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.recordSeen == t.seen.RecordSeen {
		return nil
	}
	return t.write(t.seen)
}

// setWeakened notes durably whether the server is weakened.
func (t *termFile) setWeakened(on bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.seen.Weakened == on {
		return nil
	}
	next := t.seen
	next.Weakened = on
	return t.write(next)
}

// now returns what is known.
func (t *termFile) now() terms {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := t.seen
	out.RecordSeen = t.recordSeen
	return out
}

// opened notes durably that a run of mysqld is about to be opened.
func (t *termFile) opened(o process.Opened) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	next := t.seen
	o.Weakened = next.Weakened
	next.Term, next.Opened = max(next.Term, o.Term), o
	return t.write(next)
}

func (t *termFile) write(next terms) error {
	next.RecordSeen = t.recordSeen
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
