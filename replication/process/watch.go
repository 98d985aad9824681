package process

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

const (
	// DefaultInterval is how often a living process is looked at where the
	// kernel does not tell when its threads end: often enough that the look
	// costs a failover nothing beside the teardown itself. The look takes 4 µs;
	// waking the Go runtime up for it takes far more: both together took 1.3 to
	// 1.9 % of a core on a busy virtual machine of two.
	DefaultInterval = 10 * time.Millisecond
	// idleWait is how long the kernel's word is waited for before ctx is looked
	// at again.
	idleWait = 250 * time.Millisecond
	// After a thread has ended the process is looked at every alertInterval for
	// alertTime: the others follow at once if it was killed.
	alertInterval = time.Millisecond
	alertTime     = 100 * time.Millisecond
	// reread is how often the run file is looked at while there is no process.
	reread = 50 * time.Millisecond
)

// State is what is seen of mysqld's process. It is comparable.
type State struct {
	// Process is its state; [decide.ProcessUnknown] while there is no readable
	// run file or the process cannot be seen.
	Process decide.Process
	// StartID is the run file's, empty if there is none.
	StartID string
	// PID is the run file's, 0 if there is none.
	PID int
}

// Watch looks at the process that the run file names, when the kernel tells
// that a thread of it ended or, where it cannot, every interval (0 means
// [DefaultInterval]), and calls onChange with the first state and with each new
// one until ctx ends. When the process is gone it waits for a run file that
// names another. A missing or unreadable run file never makes a process gone:
// only the kernel's word does.
//
// It returns when ctx ends; onChange is called in the caller's goroutine and
// should return at once.
func Watch(ctx context.Context, runFile string, interval time.Duration, onChange func(State)) {
	if interval <= 0 {
		interval = DefaultInterval
	}
	w := watcher{path: runFile, fd: -1, buf: make([]byte, maxStat)}
	defer w.close()
	var last State
	reported := false
	for ctx.Err() == nil {
		if now := w.look(); !reported || now != last {
			last, reported = now, true
			onChange(now)
		}
		w.pause(ctx, interval)
	}
}

// watcher is the state of one Watch.
type watcher struct {
	path string
	// seen is the run file as it was when it was last read.
	seen fs.FileInfo
	// state is the last known one; its StartID and PID are those of seen.
	state State
	// fd is the open stat file of the process, -1 if there is none.
	fd  int
	buf []byte
	// threads tell when one of them ends; polling says that the kernel cannot
	// tell that of this process. alert is when one last did.
	threads *threads
	polling bool
	alert   time.Time
}

// pause returns when it is time to look again.
func (w *watcher) pause(ctx context.Context, interval time.Duration) {
	switch {
	case w.fd < 0:
		sleep(ctx, reread)
	case time.Since(w.alert) < alertTime:
		sleep(ctx, alertInterval)
	default:
		if w.threads == nil && !w.polling {
			w.threads = openThreads(w.state.PID)
			w.polling = w.threads == nil
		}
		if w.polling {
			sleep(ctx, interval)
			return
		}
		if w.threads.wait(idleWait) {
			w.alert = time.Now()
			w.forgetThreads()
		}
	}
}

func (w *watcher) forgetThreads() {
	if w.threads != nil {
		w.threads.close()
		w.threads = nil
	}
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

func (w *watcher) look() State {
	if w.fd < 0 {
		w.find()
	}
	if w.fd < 0 {
		return w.state
	}
	s, err := readStat(w.fd, w.buf)
	switch {
	case errors.Is(err, unix.ESRCH):
		w.close()
		w.state.Process = decide.ProcessGone
	case err != nil:
		w.state.Process = decide.ProcessUnknown
	default:
		w.state.Process = s.process()
	}
	return w.state
}

// find reads the run file if it has changed, and opens the process's stat file
// if the process exists.
func (w *watcher) find() {
	info, err := os.Stat(w.path)
	if err != nil {
		return // Whatever was known of the last process still holds.
	}
	if w.known(info) {
		return
	}
	run, err := ReadRunFile(w.path)
	if err != nil {
		w.state = State{}
		return // Read again next time.
	}
	w.state = State{StartID: run.StartID, PID: run.PID}
	boot, err := bootID()
	if err != nil {
		return
	}
	if run.BootID != boot {
		w.seen, w.state.Process = info, decide.ProcessGone
		return
	}
	if w.open(run) {
		w.seen = info
	}
}

// known says whether the run file is the one that was read last. It is written
// by renaming, so a new one is another file even within one tick of the clock.
func (w *watcher) known(info fs.FileInfo) bool {
	return w.seen != nil && os.SameFile(info, w.seen) && info.ModTime().Equal(w.seen.ModTime())
}

// open opens the stat file of the run file's process and reports whether it is
// settled what became of it; if not, it is tried again.
func (w *watcher) open(run RunFile) bool {
	fd, err := openStat(run.PID)
	if err != nil {
		if errors.Is(absent(run.PID, err), unix.ESRCH) {
			w.state.Process = decide.ProcessGone
			return true
		}
		return false
	}
	s, err := readStat(fd, w.buf)
	if err == nil && s.start == run.StartTicks {
		w.fd = fd
		return true
	}
	_ = unix.Close(fd) // Opened for reading; nothing can be lost.
	if err == nil || errors.Is(err, unix.ESRCH) {
		w.state.Process = decide.ProcessGone
		return true
	}
	return false
}

func (w *watcher) close() {
	w.forgetThreads()
	w.alert, w.polling = time.Time{}, false
	if w.fd >= 0 {
		_ = unix.Close(w.fd) // Opened for reading; nothing can be lost.
		w.fd = -1
	}
}
