package member

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication/binlog"
	"github.com/mysqlha/mysqlha/replication/process"
)

// replacedPrefix begins the names of the folders with what a clone replaced,
// replacedTime is how the rest is written.
const (
	replacedPrefix = "replaced-"
	replacedTime   = "20060102T150405Z"
)

// Kept lists what this server had and gave up, the newest first: what its gate
// cut off its binary log, and what a clone replaced.
func (m *Member) Kept() ([]decide.Kept, error) {
	kept, err := m.keptByRewinds()
	if err != nil {
		return nil, err
	}
	replaced, err := m.keptByClones()
	if err != nil {
		return nil, err
	}
	kept = append(kept, replaced...)
	slices.SortFunc(kept, func(a, b decide.Kept) int { return b.At.Compare(a.At) })
	return kept, nil
}

func (m *Member) keptByRewinds() ([]decide.Kept, error) {
	index := m.terms.now().LogIndex
	if index == "" {
		return nil, nil // It was never open.
	}
	manifests, err := filepath.Glob(filepath.Join(globEscape(filepath.Dir(index)), "*.rewound-*.json"))
	if err != nil {
		return nil, fmt.Errorf("list what was rewound: %w", err)
	}
	var kept []decide.Kept
	for _, path := range manifests {
		r, found, err := process.ReadRewind(path)
		if err != nil || !found {
			return nil, fmt.Errorf("list what was rewound: %s: %w", path, err)
		}
		file := strings.TrimSuffix(path, ".json")
		info, err := os.Stat(file)
		if err != nil {
			return nil, fmt.Errorf("list what was rewound: %w", err)
		}
		kept = append(kept, decide.Kept{Name: filepath.Base(file), Path: file, Way: WayRewound, At: r.At, Term: r.Term, GTIDs: r.GTIDs, Bytes: info.Size()})
	}
	return kept, nil
}

func (m *Member) keptByClones() ([]decide.Kept, error) {
	files, err := filepath.Glob(filepath.Join(globEscape(m.o.DataDir), replacedPrefix+"*", "*"))
	if err != nil {
		return nil, fmt.Errorf("list what was replaced: %w", err)
	}
	var kept []decide.Kept
	for _, path := range files {
		folder := filepath.Base(filepath.Dir(path))
		at, err := time.Parse(replacedTime, strings.TrimPrefix(folder, replacedPrefix))
		if err != nil {
			continue // Not one of ours.
		}
		info, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("list what was replaced: %w", err)
		}
		file, err := binlog.ScanFile(path, func(binlog.Group) error { return nil })
		if err != nil {
			return nil, fmt.Errorf("list what was replaced: %w", err)
		}
		kept = append(kept, decide.Kept{Name: folder + "-" + filepath.Base(path), Path: path, Way: WayCloned, At: at, GTIDs: file.GTIDs, Bytes: info.Size()})
	}
	return kept, nil
}

// globEscape makes a path mean itself in a pattern.
func globEscape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// ErrNotKept is in the chain of an error when there is nothing of that name.
var ErrNotKept = errors.New("this server has kept nothing of the name")

// OpenKept opens one of them by its name.
func (m *Member) OpenKept(name string) (*os.File, error) {
	all, err := m.Kept()
	if err != nil {
		return nil, err
	}
	for _, k := range all {
		if k.Name == name {
			return os.Open(k.Path)
		}
	}
	return nil, fmt.Errorf("%w %q", ErrNotKept, name)
}
