package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/mysqlha/mysqlha/deploy/sandbox/supervisor"
)

// initialise makes the datadir and the control account of every server, all at
// the same time.
func (l layout) initialise(ctx context.Context, templates string, progress func(string)) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, server := range l.serverNames() {
		group.Go(func() error {
			if err := l.initialiseOne(ctx, server, templates); err != nil {
				return fmt.Errorf("initialising %s: %w", server, err)
			}
			progress(server + " initialised")
			return nil
		})
	}
	return group.Wait()
}

func (l layout) initialiseOne(ctx context.Context, server, templates string) error {
	if templates == "" {
		return l.runInit(ctx, server)
	}
	// A template is one server's, with its password: two servers never share one.
	template := filepath.Join(templates, server)
	err := l.copyHost(ctx, template, l.path(server))
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := l.runInit(ctx, server); err != nil {
		return err
	}
	fresh, err := os.MkdirTemp(templates, server+"-")
	if err != nil {
		return fmt.Errorf("keeping a template: %w", err)
	}
	if err := l.copyHost(ctx, l.path(server), fresh); err != nil {
		return errors.Join(err, os.RemoveAll(fresh))
	}
	// Another sandbox may have been faster; then this one is not needed.
	if err := os.Rename(fresh, template); err != nil {
		return os.RemoveAll(fresh)
	}
	return nil
}

// copyHost copies what initialising has made from one host's folder to another.
// Its error wraps fs.ErrNotExist when there is nothing to copy.
func (l layout) copyHost(ctx context.Context, from, to string) error {
	for _, part := range []string{"data", "state"} {
		if _, err := os.Stat(filepath.Join(from, part)); err != nil {
			return fmt.Errorf("copying an initialised server: %w", err)
		}
	}
	// cp shares the blocks of files where the file system can.
	out, err := exec.CommandContext(ctx, "cp", "-a", "--reflink=auto", "--",
		filepath.Join(from, "data"), filepath.Join(from, "state"), to).CombinedOutput()
	if err != nil {
		return fmt.Errorf("copying an initialised server: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// runInit runs `mysqlhad init` with its output in the server's log. If ctx ends,
// it and the mysqld it has started are killed: what they were making is of no
// use.
func (l layout) runInit(ctx context.Context, server string) error {
	log, err := os.OpenFile(l.path(server, "init.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	args := append([]string{"init", "--config", l.configFile(server), "--"}, l.mysqldArgs(server)...)
	cmd := exec.CommandContext(ctx, l.Mysqlhad, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = supervisor.Environment(os.Environ())
	// A group of its own: it is killed as a whole, and a Ctrl-C on the terminal
	// reaches it through ctx only.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	// Not reaped before Run returns, so the group is still the child's.
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	// The kernel ties the death signal to the thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return errors.Join(context.Cause(ctx), awaitGroup(cmd.Process.Pid))
		}
		return fmt.Errorf("mysqlhad init: %w\n%s", err, Tail(log.Name(), 10))
	}
	return nil
}

// awaitGroup returns when no process of a killed group is left, since they
// might still write into a folder that is about to be removed. It only looks,
// so that a group of others that has the number by then takes no harm.
func awaitGroup(group int) error {
	ctx, cancel := context.WithTimeout(context.Background(), killDeadline)
	defer cancel()
	return poll(ctx, "waiting for a killed mysqlhad init", func(context.Context) error {
		if err := syscall.Kill(-group, 0); !errors.Is(err, syscall.ESRCH) {
			return errors.New("some process of it is left")
		}
		return nil
	})
}

// Tail returns the last lines of a log, indented, for a message; or why it
// cannot be read.
func Tail(file string, lines int) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return "  " + err.Error()
	}
	all := bytes.Split(bytes.TrimRight(data, "\n"), []byte("\n"))
	all = all[max(0, len(all)-lines):]
	return "  " + string(bytes.Join(all, []byte("\n  ")))
}
