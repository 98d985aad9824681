package member

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

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
	// recordSeen and followedTerm may be ahead of the file.
	recordSeen, followedTerm uint64
}

type terms struct {
	// Term is the highest term seen.
	Term uint64 `json:"term"`
	// Cluster is the ID of the cluster that all this was seen in, empty for none.
	Cluster string `json:"cluster,omitempty"`
	// RecordSeen is the highest version of the record seen (S1).
	RecordSeen uint64 `json:"record_seen,omitempty"`
	process.Opened
	// FollowedTerm is the newest term in which this server has followed another.
	FollowedTerm uint64 `json:"followed_term,omitempty"`
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
	t.recordSeen, t.followedTerm = t.seen.RecordSeen, t.seen.FollowedTerm
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

// belongs notes durably that the server is one of a cluster, and tells whether what
// is remembered is of another. One that has left its cluster forgets in which terms
// it followed and was open: what it gets from then on is nobody's business here.
func (t *termFile) belongs(cluster string, member bool) (foreign bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	next := t.seen
	switch {
	case next.Cluster != "" && next.Cluster != cluster:
		return true, nil
	case member && next.Cluster == "":
		next.Cluster = cluster
	case !member && (t.followedTerm != 0 || next.Opened != (process.Opened{})):
		next.Opened, t.followedTerm = process.Opened{}, 0
	default:
		return false, nil
	}
	return false, t.write(next)
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

// keep writes what is ahead of the file.
func (t *termFile) keep() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.recordSeen == t.seen.RecordSeen && t.followedTerm == t.seen.FollowedTerm {
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

// followed notes that the server follows another in a term. It is in the file
// after the next keep: a failover does not wait for the disk, and a lower term
// is the careful one.
func (t *termFile) followed(term uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.followedTerm = max(t.followedTerm, term)
}

// tailOf returns the term in which the server was last open, 0 if it has followed
// another since.
func (t terms) tailOf() uint64 {
	if t.FollowedTerm > t.Opened.Term {
		return 0
	}
	return t.Opened.Term
}

// now returns what is known.
func (t *termFile) now() terms {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := t.seen
	out.RecordSeen, out.FollowedTerm = t.recordSeen, t.followedTerm
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

// demoted notes durably that the run that was opened was closed, and left nobody
// waiting.
func (t *termFile) demoted() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	next := t.seen
	next.Opened.Run = ""
	return t.write(next)
}

func (t *termFile) write(next terms) error {
	next.RecordSeen, next.FollowedTerm = t.recordSeen, t.followedTerm
	raw, err := json.Marshal(next)
	if err != nil {
		return err
	}
	if err := process.WriteDurable(t.path, append(raw, '\n')); err != nil {
		return fmt.Errorf("write the term file: %w", err)
	}
	t.seen = next
	return nil
}
