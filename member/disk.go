package member

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

const (
	// freePoll is how often the free room is read, measurePoll how often the files
	// of the data directory are added up.
	freePoll    = 2 * time.Second
	measurePoll = time.Minute
)

// watchDisk follows how full the data directory and its file system are. A disk
// that hangs holds up nothing else.
func (m *Member) watchDisk(ctx context.Context) {
	var disk decide.Disk
	var measured time.Time
	told := false
	for {
		err := error(nil)
		if time.Since(measured) > measurePoll {
			disk, err = measure(ctx, m.o.ServerDataDir)
			measured = time.Now()
		}
		if err == nil {
			disk.Free, err = free(m.o.ServerDataDir)
		}
		if err == nil {
			now := disk
			m.disk.Store(&now)
		} else if !told && ctx.Err() == nil {
			m.log.Warn("how full the disk is cannot be seen", "error", err)
		}
		told = err != nil
		if wait(ctx, freePoll) != nil {
			return
		}
	}
}

// free returns how many bytes a server without privileges may still write.
func free(dir string) (uint64, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return 0, fmt.Errorf("read the free room of %s: %w", dir, err)
	}
	return stat.Bavail * uint64(stat.Bsize), nil
}

// numbered is the name of a binary log or relay log.
var numbered = regexp.MustCompile(`\.\d{6,}$`)

// measure adds up the files of a data directory by what they take on the disk.
// Files come and go meanwhile.
func measure(ctx context.Context, dir string) (decide.Disk, error) {
	var disk decide.Disk
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			if path == dir {
				return err
			}
			return nil
		}
		var stat unix.Stat_t
		if !entry.Type().IsRegular() || unix.Lstat(path, &stat) != nil {
			return ctx.Err()
		}
		if taken := uint64(stat.Blocks) * 512; numbered.MatchString(path) {
			disk.Logs += taken
		} else {
			disk.Data += taken
		}
		return ctx.Err()
	})
	if err != nil {
		return decide.Disk{}, fmt.Errorf("measure the data directory: %w", err)
	}
	return disk, nil
}
