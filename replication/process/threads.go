package process

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// mostThreads is how many threads of a process are watched: enough that one
// that hangs in the kernel does not matter.
const mostThreads = 8

// threads waits for the end of threads of one process without looking again
// and again. When a process is killed each thread ends by itself, those that do
// not free the memory at once; so the first end is told within a millisecond,
// long before the process is gone. The kernel can do it from 6.9 on.
type threads struct {
	fds []unix.PollFd
}

// openThreads watches the oldest threads of a process, which live as long as
// it does. It returns nil where the kernel cannot or the process is gone.
func openThreads(pid int) *threads {
	entries, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task")
	if err != nil {
		return nil
	}
	ids := make([]int, 0, len(entries))
	for _, e := range entries {
		if id, err := strconv.Atoi(e.Name()); err == nil {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	t := &threads{}
	for _, id := range ids[:min(len(ids), mostThreads)] {
		fd, err := unix.PidfdOpen(id, unix.PIDFD_THREAD)
		if err != nil {
			continue // It ended, or the kernel is older.
		}
		t.fds = append(t.fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	if len(t.fds) == 0 {
		return nil
	}
	return t
}

// wait returns true once a watched thread has ended, false after the timeout.
func (t *threads) wait(timeout time.Duration) bool {
	for {
		n, err := unix.Poll(t.fds, int(timeout.Milliseconds()))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return n > 0 || err != nil
	}
}

func (t *threads) close() {
	for _, fd := range t.fds {
		_ = unix.Close(int(fd.Fd)) // Nothing can be lost.
	}
	t.fds = nil
}
