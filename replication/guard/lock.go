package guard

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"syscall"
	"time"
)

const (
	// lockPoll is how often it is tried to take the lock, lockTold how often it is
	// told who is waited for.
	lockPoll = 50 * time.Millisecond
	lockTold = 10 * time.Second
)

// lockRun waits until no other guard and no mysqld that one has started is left,
// and returns the lock that says so. mysqld inherits it: while a mysqld lives,
// even one whose guard was killed, no second one may take its place in the run
// file, since the first could not be fenced any more (S9), and nothing may be cut
// off its binary log (S7).
func lockRun(ctx context.Context, runFile string, log *slog.Logger) (*os.File, error) {
	path := runFile + ".lock"
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the run file: %w", err)
	}
	var told time.Time
	for begun := time.Now(); ; {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return file, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), file.Close())
		}
		if waited := time.Since(begun); waited > time.Second && time.Since(told) > lockTold {
			told = time.Now()
			log.Warn("another guard, or a mysqld that it started, is still there; mysqld is not started before it is gone", "lock", path, "waited", waited.Round(time.Second))
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("mysqld is not started: another guard holds %s: %w", path, context.Cause(ctx)), file.Close())
		case <-time.After(lockPoll):
		}
	}
}

// Watched tells whether a guard watches over the mysqld of a run file, or that one
// was started by a guard and so dies with it.
func Watched(runFile string) (bool, error) {
	file, err := os.OpenFile(runFile+".lock", os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for the guard: %w", err)
	}
	defer file.Close() // This also gives the lock back, if it was free; a guard tries again at once.
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return true, nil
	}
	return false, err
}
