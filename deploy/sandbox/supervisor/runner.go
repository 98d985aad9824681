package supervisor

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/mysqlha/mysqlha/deploy/sandbox/process"
)

// update carries a program's new status to the goroutine that owns the report.
type update struct {
	index  int
	status Status
}

// runner keeps one program running until stop is closed; done is closed when
// its last process is gone.
type runner struct {
	index   int
	program Program
	delay   time.Duration
	updates chan<- update
	logger  *slog.Logger
	status  Status
	stop    chan struct{}
	done    chan struct{}
}

func newRunner(index int, p Program, delay time.Duration, updates chan<- update, logger *slog.Logger) *runner {
	return &runner{index: index, program: p, delay: delay, updates: updates, logger: logger,
		status: Status{Name: p.Name}, stop: make(chan struct{}), done: make(chan struct{})}
}

func (r *runner) run() {
	defer close(r.done)
	for r.live() {
		select {
		case <-r.stop:
			r.tell(StateStopped, process.Identity{})
			return
		case <-time.After(r.delay):
		}
	}
	r.killChild()
	r.tell(StateStopped, process.Identity{})
}

// live starts the program and returns when its process has ended: true if it
// ended without having been asked to.
func (r *runner) live() bool {
	r.status.Starts++
	started, ended := make(chan startResult, 1), make(chan string, 1)
	go r.process(started, ended)
	begun := <-started
	if begun.err != nil {
		r.status.LastExit = "could not be started: " + begun.err.Error()
		r.logger.Warn("A program could not be started.", "error", begun.err)
		r.tell(StateWaiting, process.Identity{})
		return true
	}
	r.logger.Info("A program was started.", "pid", begun.id.PID, "starts", r.status.Starts)
	r.tell(StateRunning, begun.id)
	select {
	case how := <-ended:
		r.status.LastExit = how
		r.logger.Warn("A program ended and is started again.", "how", how, "after", r.delay)
		r.tell(StateWaiting, process.Identity{})
		return true
	case <-r.stop:
		r.status.LastExit = r.end(begun.id, ended)
		r.logger.Info("A program was stopped.", "how", r.status.LastExit)
		return false
	}
}

type startResult struct {
	id  process.Identity
	err error
}

// process is one life of the program, on a thread of its own.
func (r *runner) process(started chan<- startResult, ended chan<- string) {
	// The kernel sends the death signal when the thread that started the child
	// ends, so the thread stays here until the child is reaped.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	log, err := os.OpenFile(r.program.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		started <- startResult{err: err}
		return
	}
	defer log.Close()
	cmd := exec.Command(r.program.Args[0], r.program.Args[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = Environment(os.Environ())
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: r.program.Group}
	if err := cmd.Start(); err != nil {
		started <- startResult{err: err}
		return
	}
	// Not reaped before Wait, so the pid is still the child's.
	id, err := process.Of(cmd.Process.Pid)
	if err != nil {
		_ = cmd.Process.Kill() // Of an unreaped child this cannot fail.
		_ = cmd.Wait()
		started <- startResult{err: err}
		return
	}
	started <- startResult{id: id}
	if r.program.Group {
		// Not reaped yet when its group is killed, so that the group is still its own.
		_ = id.Await(context.Background()) // It has no end but that of the process.
		_ = syscall.Kill(-id.PID, syscall.SIGKILL)
	}
	_ = cmd.Wait() // The state says all that the error does.
	ended <- cmd.ProcessState.String()
}

// end asks the program to stop and kills it at the deadline. It returns how the
// process ended.
func (r *runner) end(id process.Identity, ended <-chan string) string {
	if r.program.ChildFile != "" {
		if child, err := process.Read(r.program.ChildFile); err == nil {
			_ = child.Signal(syscall.SIGCONT) // One that is held could not stop politely.
		}
	}
	// These fail only where the process has ended, which ended tells.
	_ = id.Signal(syscall.SIGTERM)
	_ = id.Signal(syscall.SIGCONT)
	deadline := time.NewTimer(r.program.StopDeadline)
	defer deadline.Stop()
	select {
	case how := <-ended:
		return how
	case <-deadline.C:
		_ = id.Signal(syscall.SIGKILL)
		return <-ended + " after the deadline of " + r.program.StopDeadline.String()
	}
}

// killChild kills what the program has left behind.
func (r *runner) killChild() {
	if r.program.ChildFile == "" {
		return
	}
	child, err := process.Read(r.program.ChildFile)
	if err != nil || child.Signal(syscall.SIGKILL) != nil {
		return // It is gone, as it should be.
	}
	r.logger.Warn("A child outlived its program and was killed.", "pid", child.PID)
	ctx, cancel := context.WithTimeout(context.Background(), r.program.StopDeadline)
	defer cancel()
	if err := child.Await(ctx); err != nil {
		r.logger.Error("A killed child did not end.", "pid", child.PID, "error", err)
	}
}

func (r *runner) tell(state State, id process.Identity) {
	r.status.State, r.status.Identity, r.status.Since = state, id, time.Now()
	r.updates <- update{r.index, r.status}
}

// Environment returns env without the variables that would override the
// configuration files of the programs: whoever starts a sandbox may have some
// set for a daemon of their own.
func Environment(env []string) []string {
	kept := make([]string, 0, len(env))
	for _, entry := range env {
		if !strings.HasPrefix(entry, "MYSQLHA_") {
			kept = append(kept, entry)
		}
	}
	return kept
}
