package sandbox

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/mysqlha/mysqlha/deploy/sandbox/process"
	"github.com/mysqlha/mysqlha/deploy/sandbox/supervisor"
)

// ErrRunning is in the chain of an error when the sandbox runs already.
var ErrRunning = errors.New("the sandbox is up already; see `mysqlha sandbox status`, or `mysqlha sandbox down` first")

// Up makes a sandbox, or starts one that was kept, and returns when its first
// term is open, the applications' account exists and every replica is in sync.
// If ctx ends first, everything that it started is stopped and a folder that it
// made is removed. After any other failure everything is stopped and the folder
// stays, for its logs.
func Up(ctx context.Context, o Options) (*Sandbox, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	if err := checkDir(o.Dir); err != nil {
		return nil, err
	}
	var mu sync.Mutex
	tell := o.Progress
	o.Progress = func(line string) {
		mu.Lock()
		defer mu.Unlock()
		tell(line)
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the sandbox's folder: %w", err)
	}
	unlock, err := lock(o.Dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	l, made, err := prepare(o)
	if err != nil {
		return nil, err
	}
	s, err := l.start(ctx, o, made)
	if err == nil {
		return s, nil
	}
	if made && ctx.Err() != nil {
		return nil, errors.Join(err, l.remove())
	}
	return nil, fmt.Errorf("%w\nthe logs are kept in %s until `mysqlha sandbox --dir %s down`", err, l.dir, shellWord(l.dir))
}

// prepare reads the folder's sandbox or makes the plan of a new one.
func prepare(o Options) (l layout, made bool, err error) {
	l, err = readLayout(o.Dir)
	if err == nil {
		if report, err := supervisor.ReadReport(l.path("processes.json")); err == nil && report.Supervisor.Alive() {
			return layout{}, false, ErrRunning
		}
		// The programs may have moved since.
		l.MySQLD, l.Mysqlha, l.Mysqlhad = o.MySQLD, o.Mysqlha, o.Mysqlhad
		o.Progress("starting the sandbox that was kept in " + o.Dir)
		return l, false, nil
	}
	if !errors.Is(err, ErrNone) {
		return layout{}, false, err
	}
	entries, err := os.ReadDir(o.Dir)
	if err != nil {
		return layout{}, false, fmt.Errorf("making a sandbox: %w", err)
	}
	if len(entries) > 0 {
		return layout{}, false, fmt.Errorf("making a sandbox: %s holds something else; name an empty or a new folder with --dir", o.Dir)
	}
	return layout{dir: o.Dir, MySQLD: o.MySQLD, Mysqlha: o.Mysqlha, Mysqlhad: o.Mysqlhad, Servers: o.Servers, Spares: o.Spares, Witness: o.witness(),
		Etcd: o.Etcd, EtcdToken: rand.Text(), BufferPool: o.BufferPool, PortBase: o.PortBase, RestartDelay: o.RestartDelay, Config: o.Config,
		Network: o.Network, Cluster: o.Cluster, Redirectors: o.Redirectors, Durability: o.Durability, RequiredAcks: o.RequiredAcks}, true, nil
}

// start brings everything up and takes it down again if that fails.
func (l layout) start(ctx context.Context, o Options, made bool) (s *Sandbox, err error) {
	base, release, err := l.reserve()
	if err != nil {
		return nil, errors.Join(err, l.removeIf(made))
	}
	l.PortBase = base
	// The ports stay taken while the servers are initialised.
	released := sync.OnceFunc(release)
	defer released()
	ctx, cancel := context.WithTimeoutCause(ctx, o.StartTimeout, fmt.Errorf("the sandbox was not up within %v", o.StartTimeout))
	defer cancel()
	if made {
		if err := errors.Join(l.makeRunDir(), l.write()); err != nil {
			return nil, err
		}
		if err := l.writeHosts(); err != nil {
			return nil, err
		}
		if err := l.makeVolumes(o.Volume); err != nil {
			return nil, err
		}
		if err := l.initialise(ctx, o.Templates, o.Progress); err != nil {
			return nil, err
		}
	}
	if err := supervisor.WriteSpec(l.path("programs.json"), l.spec()); err != nil {
		return nil, err
	}
	if s, err = open(l); err != nil {
		return nil, err
	}
	released()
	if err := s.spawn(o.Attached); err != nil {
		return nil, err
	}
	if err := s.await(ctx, o.Progress); err != nil {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), wholeStopDeadline)
		defer cancel()
		return nil, errors.Join(err, s.stop(stop, syscall.SIGTERM))
	}
	return s, nil
}

// makeVolumes lets somebody mount disks for the servers' data.
func (l layout) makeVolumes(volume func(dir string) error) error {
	if volume == nil {
		return nil
	}
	for _, server := range l.serverNames() {
		dir := l.path(server, "data")
		err := os.Mkdir(dir, 0o750)
		if err == nil {
			err = volume(dir)
		}
		if err != nil {
			return fmt.Errorf("making a disk for %s: %w", server, err)
		}
	}
	return nil
}

func (l layout) removeIf(made bool) error {
	if !made {
		return nil
	}
	return l.remove()
}

// spawn starts the supervisor in a session of its own.
func (s *Sandbox) spawn(attached bool) error {
	if err := os.Remove(s.layout.path("processes.json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("starting the supervisor: %w", err)
	}
	log, err := os.OpenFile(s.layout.supervisorLog(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("starting the supervisor: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(s.layout.Mysqlha, "sandbox", "--dir", s.layout.dir, "supervise")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = supervisor.Environment(os.Environ())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if attached {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM
	}
	started, ended := make(chan error), make(chan struct{})
	go func() {
		defer close(ended)
		// The death signal comes when the thread ends that started the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // How it ended is in its log.
		}
	}()
	if err := <-started; err != nil {
		<-ended
		return fmt.Errorf("starting the supervisor: %w", err)
	}
	s.ended = ended
	// Its first report may take a moment; until then this is how it is found.
	if id, err := process.Of(cmd.Process.Pid); err == nil {
		s.spawned = id
	}
	return nil
}

// lock keeps two commands from changing one folder at the same time.
func lock(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("locking the sandbox: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close() // Opened for reading.
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("another command is changing the sandbox in %s at this moment", dir)
		}
		return nil, fmt.Errorf("locking the sandbox: %w", err)
	}
	return func() { _ = f.Close() }, nil // Closing ends the lock.
}

// Supervise runs the programs of the sandbox in a folder until ctx ends; it is
// what `mysqlha sandbox supervise` does.
func Supervise(ctx context.Context, dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("supervising: %w", err)
	}
	l, err := readLayout(dir)
	if err != nil {
		return err
	}
	spec, err := supervisor.ReadSpec(l.path("programs.json"))
	if err != nil {
		return err
	}
	return supervisor.Run(ctx, spec, newLogger(os.Stderr))
}

// pollInterval is how often a condition of the start or the stop is looked at.
const pollInterval = 20 * time.Millisecond
