package binlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/mysqlha/mysqlha/replication/gtid"
)

// List returns the files that an index of binary logs names, oldest first; mysqld
// writes those below its data directory relative to it.
func List(index, dataDir string) ([]string, error) {
	if index == "" {
		return nil, errors.New("list the binary logs: where they are is not known")
	}
	text, err := os.ReadFile(index)
	if err != nil {
		return nil, fmt.Errorf("list the binary logs: %w", err)
	}
	var logs []string
	for line := range strings.Lines(string(text)) {
		path := strings.TrimSpace(line)
		if path == "" {
			continue
		}
		if !filepath.IsAbs(path) {
			path = filepath.Join(dataDir, path)
		}
		logs = append(logs, path)
	}
	if len(logs) == 0 {
		return nil, fmt.Errorf("list the binary logs: %s is empty", index)
	}
	return logs, nil
}

// ScanFile is [Scan] of the file at path; what it returns names the path.
func ScanFile(path string, visit func(Group) error) (File, error) {
	file, err := os.Open(path)
	if err != nil {
		return File{}, fmt.Errorf("read the binary log: %w", err)
	}
	defer file.Close() // It was only read.
	f, err := Scan(file, visit)
	if err != nil {
		return f, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

// ExtractFile is [Extract] of the file at path to a new file, synced, which is
// made only where something was chosen.
func ExtractFile(path string, chosen func(gtid.GTID) bool, to string) (n int, err error) {
	from, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("read the binary log: %w", err)
	}
	defer from.Close() // It was only read.
	info, err := from.Stat()
	if err != nil {
		return 0, fmt.Errorf("read the binary log: %w", err)
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, fmt.Errorf("extract from %s: %w", path, err)
	}
	n, err = Extract(from, info.Size(), chosen, out)
	err = errors.Join(err, out.Sync(), out.Close())
	if err != nil || n == 0 {
		return 0, errors.Join(err, os.Remove(to))
	}
	return n, nil
}
