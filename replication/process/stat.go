package process

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

const (
	// pfExiting is PF_EXITING of the kernel's sched.h. It is set when the
	// teardown of a process begins, long before its sockets close and its
	// pidfd becomes readable (719 ms with 4 GB of memory).
	pfExiting = 0x4
	// maxStat holds a stat file: 52 numbers of at most 20 digits and a name.
	maxStat = 2048

	fieldState, fieldFlags, fieldStart = 3, 9, 22
)

// errStat says that a stat file is not as proc(5) describes it.
var errStat = errors.New("unexpected content of the stat file")

// stat is what is of interest in /proc/PID/stat.
type stat struct {
	state byte
	flags uint64
	start uint64
}

// parseStat parses without allocating. The name of the program is the second
// field and may contain spaces and parentheses, so counting starts behind the
// last closing one.
func parseStat(b []byte) (stat, error) {
	end := bytes.LastIndexByte(b, ')')
	if end < 0 {
		return stat{}, errStat
	}
	var s stat
	rest := b[end+1:]
	for field := fieldState; field <= fieldStart; field++ {
		rest = bytes.TrimLeft(rest, " ")
		n := bytes.IndexAny(rest, " \n")
		if n < 0 {
			n = len(rest)
		}
		word := rest[:n]
		rest = rest[n:]
		switch field {
		case fieldState:
			if len(word) != 1 {
				return stat{}, errStat
			}
			s.state = word[0]
		case fieldFlags, fieldStart:
			v, ok := parseUint(word)
			if !ok {
				return stat{}, errStat
			}
			if field == fieldFlags {
				s.flags = v
			} else {
				s.start = v
			}
		}
	}
	return s, nil
}

func parseUint(b []byte) (uint64, bool) {
	if len(b) == 0 || len(b) > 19 {
		return 0, false
	}
	var v uint64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		v = v*10 + uint64(c-'0')
	}
	return v, true
}

func (s stat) process() decide.Process {
	if s.flags&pfExiting != 0 || s.state == 'Z' || s.state == 'X' || s.state == 'x' {
		return decide.ProcessExiting
	}
	return decide.ProcessRunning
}

// openStat opens the stat file of a process's first thread. Unlike
// /proc/PID/stat, which has the same fields, reading it does not sum up the
// times of all threads, of which mysqld may have thousands. The descriptor
// stays with this process: it never comes to mean a later one of the same pid.
func openStat(pid int) (int, error) {
	id := strconv.Itoa(pid)
	return unix.Open("/proc/"+id+"/task/"+id+"/stat", unix.O_RDONLY|unix.O_CLOEXEC, 0)
}

// readStat reads an open stat file. The error is ESRCH when the process has
// been reaped.
func readStat(fd int, buf []byte) (stat, error) {
	for {
		n, err := unix.Pread(fd, buf, 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return stat{}, err
		}
		return parseStat(buf[:n])
	}
}

// startTicks returns when the process started. The error wraps ESRCH when
// there is none of that pid.
func startTicks(pid int) (uint64, error) {
	fd, err := openStat(pid)
	if err != nil {
		return 0, absent(pid, err)
	}
	defer func() { _ = unix.Close(fd) }() // Opened for reading; nothing can be lost.
	s, err := readStat(fd, make([]byte, maxStat))
	return s.start, err
}

// absent turns a failure to open a stat file into ESRCH where the process does
// not exist. Where /proc is mounted with hidepid, a living process of another
// user has no stat file either, so the kernel is asked once more.
func absent(pid int, err error) error {
	if !errors.Is(err, unix.ENOENT) {
		return err
	}
	if kill := unix.Kill(pid, 0); errors.Is(kill, unix.ESRCH) {
		return kill
	}
	return fmt.Errorf("process %d exists but its stat file cannot be seen: %w", pid, err)
}
