package guard

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/mysqlha/mysqlha/replication/process"
)

// child is a started mysqld.
type child struct {
	run process.RunFile
	// uid is the user that mysqld runs as; not known of one that was attached.
	uid uint32
	// attached: somebody else started it, and nobody here reaps it.
	attached bool
	proc     *os.Process
	// exited is closed when the process is gone and reaped; state and waitErr
	// are set before.
	exited  chan struct{}
	state   *os.ProcessState
	waitErr error
}

// startChild starts mysqld from a goroutine that lives as long as it does.
func startChild(o Options, args []string, lock *os.File) (*child, error) {
	cred, err := credential(args)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = o.Stdout, o.Stderr
	cmd.ExtraFiles = []*os.File{lock}
	// mysqld then allows RESTART and the restart that ends a clone: the status
	// ExitRestart tells the caller to start it again.
	cmd.Env = append(os.Environ(), "MYSQLD_PARENT_PID="+strconv.Itoa(os.Getpid()))
	cmd.SysProcAttr = &syscall.SysProcAttr{
		// A mysqld without a guard could be stopped politely by anyone.
		Pdeathsig:  syscall.SIGKILL,
		Credential: cred,
		// A terminal's Ctrl-C must reach the guard alone.
		Setpgid: true,
	}
	c := &child{uid: uint32(os.Geteuid()), exited: make(chan struct{})}
	if cred != nil {
		c.uid = cred.Uid
	}
	started := make(chan error, 1)
	go c.parent(cmd, started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start mysqld: %w", err)
	}
	return c, nil
}

// parent forks and reaps. The kernel sends the parent death signal when the
// forking *thread* ends, so this goroutine keeps its thread until mysqld is
// gone; it then ends with the thread, never giving it back.
func (c *child) parent(cmd *exec.Cmd, started chan<- error) {
	runtime.LockOSThread()
	defer close(c.exited)
	now := time.Now()
	if err := cmd.Start(); err != nil {
		started <- err
		return
	}
	c.proc = cmd.Process
	run, err := process.Describe(c.proc.Pid, now)
	c.run = run
	if err != nil {
		_ = c.proc.Kill() // Fails only when it is gone, and the wait sees that.
		_ = cmd.Wait()    // Its status is of no interest beside err.
		started <- err
		return
	}
	started <- nil
	c.waitErr = cmd.Wait() // Not zero is an error here; the state tells more.
	c.state = cmd.ProcessState
}

// abandon is what happens to a mysqld that cannot be watched over. One that the
// guard has started is killed: nobody could fence it.
func (c *child) abandon() error {
	if c.attached {
		return nil
	}
	return c.kill()
}

// kill kills mysqld and returns when it is reaped.
func (c *child) kill() error {
	ctx, cancel := context.WithTimeout(context.Background(), killTimeout)
	defer cancel()
	if err := process.Kill(ctx, c.run); err != nil {
		return err
	}
	return c.await(ctx)
}

// await waits until mysqld is reaped or ctx ends.
func (c *child) await(ctx context.Context) error {
	select {
	case <-c.exited:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the end of mysqld %s: %w", c.run.StartID, context.Cause(ctx))
	}
}
