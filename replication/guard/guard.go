package guard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication/process"
)

// ExitRestart is mysqld's exit status when it wants to be started again: after
// the RESTART statement, and on the recipient of a clone.
const ExitRestart = 16

const (
	// defaultStopTimeout bounds a polite shutdown, in which mysqld may have a
	// large buffer pool to write.
	defaultStopTimeout = 60 * time.Second
	// openStopTimeout bounds it for a server that took writes a moment ago: until
	// it is gone nobody takes its place, and nobody waits in it any more.
	openStopTimeout = 3 * time.Second
	// defaultDrainTimeout bounds the wait for commits in flight and for
	// sessions to end. Waiting longer rarely helps: an ack takes milliseconds.
	defaultDrainTimeout = time.Second
	// killTimeout bounds the wait for a death by SIGKILL. The teardown of
	// 4 GB took 0.7 s; a process in uninterruptible sleep may never end.
	killTimeout = 60 * time.Second
	// signalBase is what shells add to a signal's number in an exit status.
	signalBase = 128
)

// Options say what to start and how to reach it.
type Options struct {
	// Args are the program mysqld and its arguments. Run by root, they must
	// hold --user, so that the process can be started as that user.
	Args []string
	// RunFile is where the process is described for the daemon.
	RunFile string
	// ProofFile is where the daemon says when this server was last proven to be
	// the primary; empty for no watchdog.
	ProofFile string
	// FenceDeadline is how old that proof may become before the daemon closes the
	// server, and the gate a little later.
	FenceDeadline time.Duration
	// Ask asks this host's daemon what became of the term in which a dead primary
	// was open, after having waited for so long; nil for no start gate.
	Ask func(ctx context.Context, term uint64, waited time.Duration) (decide.StartAnswer, error)
	// TermFile is where the daemon notes which run it opened; RewindFile where the
	// gate notes what it cut off. Both belong to Ask.
	TermFile, RewindFile string
	// CloneFile is where the daemon notes that the server is being cloned; empty
	// for nowhere.
	CloneFile string
	// Attach watches over a mysqld that runs already and was started without a
	// guard; nothing is started, and Args are not used.
	Attach bool
	// AsIs starts a dead primary without asking. Its crash recovery then commits
	// what was never acknowledged, and the server may have to be built anew.
	AsIs bool
	// LetGoFile is where the gate notes that mysqld stopped politely without having
	// been asked by it; empty for nowhere.
	LetGoFile string
	// ClosedFile is where the gate leaves for the daemon that it closed the server;
	// empty for nowhere.
	ClosedFile string
	// DataDir is mysqld's data directory; it overrides the option files.
	DataDir string
	// Socket is mysqld's Unix socket; it overrides the option files.
	Socket string
	// User is the control account's name and Password reads its password,
	// anew for each connection.
	User     string
	Password func() (string, error)
	// Logger gets the guard's own messages.
	Logger *slog.Logger
	// StopTimeout is how long mysqld may take to stop after SIGTERM before it
	// is killed; at most 3 s where ProofFile says that it is the open primary. 0
	// means 60 s.
	StopTimeout time.Duration
	// DrainTimeout is how long a stop waits for commits in flight to be
	// acknowledged, and then again for sessions to end, before mysqld is
	// killed instead. 0 means 1 s.
	DrainTimeout time.Duration
	// RepairControl makes mysqld set the control account's password and rights
	// at this start. It is meant for the start after a clone, which brings the
	// donor's accounts along. It takes the place of an init_file of the option
	// files for this one start.
	RepairControl bool
	// Stdout and Stderr are mysqld's; nil means the guard's own.
	Stdout, Stderr *os.File
}

func (o Options) complete() (Options, error) {
	switch {
	case len(o.Args) == 0 && !o.Attach:
		return o, errors.New("start mysqld: no program given")
	case o.RunFile == "" || o.DataDir == "" || o.Socket == "":
		return o, errors.New("start mysqld: run file, data directory and socket must be given")
	case o.Ask != nil && (o.TermFile == "" || o.RewindFile == ""):
		return o, errors.New("start mysqld: term file and rewind file must be given with the question")
	case o.Password == nil || o.Logger == nil:
		return o, errors.New("start mysqld: password and logger must be given")
	}
	if err := checkUser(o.User); err != nil {
		return o, fmt.Errorf("start mysqld: %w", err)
	}
	if o.StopTimeout <= 0 {
		o.StopTimeout = defaultStopTimeout
	}
	if o.DrainTimeout <= 0 {
		o.DrainTimeout = defaultDrainTimeout
	}
	if o.Stdout == nil {
		o.Stdout = os.Stdout
	}
	if o.Stderr == nil {
		o.Stderr = os.Stderr
	}
	return o, nil
}

// stopSignals are what supervisors, containers and terminals send to stop or
// restart: systemd and Docker SIGTERM, a terminal SIGINT and SIGQUIT, LXC SIGPWR
// and, to reboot, SIGINT, systemd-nspawn SIGRTMIN+3. As the first process of a
// container the guard gets them all, and the kernel drops those that nobody
// handles.
var stopSignals = []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGPWR, syscall.Signal(realTimeStop)}

// realTimeStop is SIGRTMIN+3, as the C library counts.
const realTimeStop = 34 + 3

// Run starts mysqld harmless, stays its parent until it is gone, and returns
// its exit status, or 128 plus the number of the signal that ended it. The stop
// signals and the end of ctx stop mysqld by the rules of S10; SIGHUP, which
// some tools mean as "reload" and terminals send when they close, does nothing.
// The run file stays behind, so that the daemon sees the process gone.
//
// The error is not nil when mysqld was refused or could not be started, or when
// its death could not be confirmed; the status then means nothing.
func Run(ctx context.Context, o Options) (int, error) {
	o, err := o.complete()
	if err != nil {
		return 0, err
	}
	// Before anything is looked at, so that no signal finds the guard unprepared.
	ctx, cancel := signal.NotifyContext(ctx, stopSignals...)
	defer cancel()
	signal.Ignore(syscall.SIGHUP)
	lock, err := lockRun(ctx, o.RunFile, o.Logger)
	if err != nil {
		return 0, err
	}
	defer lock.Close() // A mysqld that is left holds it on.
	if o.Attach {
		return attach(ctx, o)
	}
	if err := outlive(ctx, o); err != nil || ctx.Err() != nil {
		return 0, err
	}
	args, err := harmlessArgs(o)
	if err != nil {
		return 0, err
	}
	if err := checkPersisted(o.DataDir); err != nil {
		return 0, err
	}
	cloning, err := isCloning(o)
	if err != nil {
		return 0, err
	}
	if o.RepairControl || cloning {
		file, err := writeRepairFile(o)
		if err != nil {
			return 0, err
		}
		defer os.Remove(file) // It holds a password; a next repair overwrites it.
		args = append(args, "--init-file="+file)
	} else {
		args = append(args, "--init-file="+os.DevNull) // One of the option files could open the server (S8).
	}
	var rewound *process.Rewind
	if !cloning {
		if rewound, err = prepare(ctx, o); err != nil {
			return 0, err
		}
	}
	if rewound != nil {
		rewound.State = process.RewindStarted
		if err := process.WriteRewind(o.RewindFile, *rewound); err != nil {
			return 0, err
		}
	}
	c, err := startChild(o, args, lock)
	if err != nil {
		return 0, err
	}
	return supervise(ctx, o, c, rewound)
}

// supervise watches over mysqld and returns when it is gone.
func supervise(ctx context.Context, o Options, c *child, rewound *process.Rewind) (int, error) {
	db, err := openSocket(o)
	if err != nil {
		return 0, errors.Join(err, c.abandon())
	}
	defer db.Close() // No connection is left by then.
	if err := process.WriteRunFile(o.RunFile, c.run); err != nil {
		// Nobody could fence a mysqld without a run file.
		return 0, errors.Join(err, c.abandon())
	}
	if c.attached {
		o.Logger.Info("attached to a mysqld that was started without a guard", "pid", c.run.PID, "run", c.run.StartID)
	} else {
		o.Logger.Info("mysqld started", "pid", c.run.PID, "run", c.run.StartID)
	}

	k := startKeeper(ctx, o, c, db)
	var watching sync.WaitGroup
	watchCtx, unwatch := context.WithCancel(ctx)
	watching.Go(func() { watchdog(watchCtx, o, c, db, k.fault) })
	if rewound != nil {
		rewound.StartID = c.run.StartID
		watching.Go(func() { verify(watchCtx, o, c, db, *rewound) })
	}
	defer func() { unwatch(); watching.Wait() }()
	select {
	case <-c.exited:
		k.end()
		if err := noteLetGo(o, c); err != nil {
			return 0, err
		}
		return c.status(o.Logger)
	case err := <-k.fault:
		k.end()
		o.Logger.Error("mysqld is killed", "reason", err, "run", c.run.StartID)
		killErr := c.kill()
		var closing *closingError
		if errors.As(err, &closing) && killErr == nil {
			closing.tell(o)
		}
		return 0, errors.Join(err, killErr)
	case <-ctx.Done():
	}
	o.Logger.Info("stopping mysqld", "run", c.run.StartID)
	err = stop(context.WithoutCancel(ctx), o, c, k)
	k.end()
	if err != nil {
		return 0, err
	}
	return c.status(o.Logger)
}

// restartStatus is how mysqld ends for the statement RESTART.
const restartStatus = 16

// noteLetGo notes that mysqld has stopped politely and was not asked here: what
// waited for replicas may have been answered OK (S10).
func noteLetGo(o Options, c *child) error {
	if o.LetGoFile == "" {
		return nil
	}
	if politely, err := endedPolitely(o, c); err != nil || !politely {
		return err
	}
	o.Logger.Error("mysqld was stopped past its gate: commits that waited for replicas may have been answered OK", "run", c.run.StartID)
	return process.WriteLetGo(o.LetGoFile, process.LetGo{StartID: c.run.StartID, At: time.Now()})
}

// status waits for nothing: the child is gone.
func (c *child) status(log *slog.Logger) (int, error) {
	if c.attached && c.waitErr == nil {
		log.Info("mysqld is gone", "run", c.run.StartID)
		return 0, nil
	}
	if c.state == nil {
		return 0, fmt.Errorf("wait for mysqld %s: %w", c.run.StartID, c.waitErr)
	}
	code := c.state.ExitCode()
	if ws, ok := c.state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		code = signalBase + int(ws.Signal())
	}
	log.Info("mysqld is gone", "run", c.run.StartID, "status", c.state.String())
	return code, nil
}
