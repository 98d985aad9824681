package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// fillDisk fills the disk of a server's data for a while. It counts only if the
// disk was full at the end of that while as well.
func fillDisk(ctx context.Context, n *Nemesis, server string) (err error) {
	dir := n.C.DataDir(server)
	path := filepath.Join(dir, "ballast")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("filling the disk of %s: %w", server, err)
	}
	defer func() {
		// Removed whatever happened, or nobody could go on.
		err = errors.Join(err, file.Close(), os.Remove(path))
	}()
	end := time.Now().Add(n.between(3*time.Second, 15*time.Second))
	block := make([]byte, 4<<10)
	left := uint64(0)
	// Most of it at once; what is left is then taken by writing.
	if err := takeMost(file, dir); err != nil {
		return fmt.Errorf("filling the disk of %s: %w", server, err)
	}
	for time.Now().Before(end) {
		for {
			// What others free meanwhile is taken as well.
			if _, err := file.Write(block); errors.Is(err, unix.ENOSPC) {
				break
			} else if err != nil {
				return fmt.Errorf("filling the disk of %s: %w", server, err)
			}
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		var stat unix.Statfs_t
		if err := unix.Statfs(dir, &stat); err != nil {
			return fmt.Errorf("filling the disk of %s: %w", server, err)
		}
		left = stat.Bavail * uint64(stat.Bsize)
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	if left > 64<<10 {
		return fmt.Errorf("%d bytes were free on the disk of %s", left, server)
	}
	return nil
}

// takeMost allocates all that is free but a little to a file, and moves to its
// end.
func takeMost(file *os.File, dir string) error {
	const leave = 16 << 20
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return err
	}
	free := int64(stat.Bavail)*stat.Bsize - leave
	if free <= 0 {
		return nil
	}
	if err := unix.Fallocate(int(file.Fd()), 0, 0, free); err != nil {
		return err
	}
	_, err := file.Seek(0, io.SeekEnd)
	return err
}
