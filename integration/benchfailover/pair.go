package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/mysqlha/mysqlha/deploy/sandbox"
)

// pair are two servers with semi-sync replication and without any daemon.
type pair struct{ primary, replica *server }

// server is one plain mysqld.
type server struct {
	cmd    *exec.Cmd
	db     *sql.DB
	port   int
	ended  chan struct{}
	socket string
}

// startPair starts two servers and makes one follow the other.
func startPair(ctx context.Context, program, dir string, s settings) (p *pair, err error) {
	p = &pair{}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.stop())
		}
	}()
	template := filepath.Join(s.folder, "plain")
	if err := plainTemplate(ctx, program, template); err != nil {
		return p, err
	}
	for i, one := range []**server{&p.primary, &p.replica} {
		if *one, err = startServer(ctx, program, filepath.Join(dir, strconv.Itoa(i+1)), template, i+1, s.pool); err != nil {
			return p, err
		}
	}
	if err := p.attach(ctx); err != nil {
		return p, err
	}
	if s.poolBytes > 0 {
		// The session ends with its server.
		_, err = touch(ctx, p.primary.db, "app", s.poolBytes)
	}
	return p, err
}

// plainTemplate makes a datadir once for all plain servers of the run.
func plainTemplate(ctx context.Context, program, dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	args := append(plainArgs(dir), "--initialize-insecure")
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("initialising a plain server: %w\n%s", err, out)
	}
	return nil
}

func plainArgs(datadir string) []string {
	args := []string{"--no-defaults", "--datadir=" + datadir}
	if os.Geteuid() == 0 {
		args = append(args, "--user=root") // As root, mysqld asks to be told so.
	}
	return args
}

func startServer(ctx context.Context, program, dir, template string, id int, pool string) (*server, error) {
	if pool == "" {
		pool = "64M"
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	datadir := filepath.Join(dir, "data")
	if out, err := exec.CommandContext(ctx, "cp", "-a", "--reflink=auto", "--", template, datadir).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("copying a plain server: %w: %s", err, out)
	}
	// Each server makes an identity of its own.
	if err := os.Remove(filepath.Join(datadir, "auto.cnf")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	s := &server{port: port, ended: make(chan struct{}), socket: filepath.Join(dir, "s")}
	s.cmd = exec.Command(program, append(plainArgs(datadir), "--socket="+s.socket, "--port="+strconv.Itoa(port), "--bind-address=127.0.0.1",
		"--mysqlx=OFF", "--server-id="+strconv.Itoa(id), "--gtid-mode=ON", "--enforce-gtid-consistency=ON",
		"--plugin-load-add=semisync_source.so", "--plugin-load-add=semisync_replica.so", "--skip-name-resolve",
		"--innodb-buffer-pool-size="+pool, "--innodb-redo-log-capacity=64M", "--log-error="+filepath.Join(dir, "mysqld.log"))...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.start(); err != nil {
		return nil, err
	}
	c := mysql.NewConfig()
	c.User, c.Net, c.Addr, c.Logger = "root", "unix", s.socket, &mysql.NopLogger{}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, err
	}
	s.db = sql.OpenDB(connector)
	if err := s.answers(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("%w\n%s", err, sandbox.Tail(filepath.Join(dir, "mysqld.log"), 5)), s.stop())
	}
	return s, nil
}

func (s *server) start() error {
	started := make(chan error, 1)
	go func() {
		defer close(s.ended)
		// The kernel sends the death signal when the starting thread ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := s.cmd.Start()
		started <- err
		if err == nil {
			_ = s.cmd.Wait() // Always an error: the process is killed.
		}
	}()
	return <-started
}

func (s *server) answers(ctx context.Context) error {
	return eventually(ctx, s.ended, func() error { return s.db.PingContext(ctx) })
}

// eventually tries until it succeeds, the context ends or a process does.
func eventually(ctx context.Context, ended <-chan struct{}, try func() error) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ended:
			return fmt.Errorf("the server ended: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}

func (s *server) stop() error {
	_ = s.cmd.Process.Kill() // Fails only where it is gone already.
	<-s.ended
	if s.db == nil {
		return nil
	}
	_ = s.db.Close() // Its server is gone.
	return nil
}

func (p *pair) stop() error {
	var errs []error
	for _, s := range []*server{p.primary, p.replica} {
		if s != nil {
			errs = append(errs, s.stop())
		}
	}
	return errors.Join(errs...)
}

// attach makes the replica follow with semi-sync and waits until a write on the
// primary was acknowledged by it.
func (p *pair) attach(ctx context.Context) error {
	for _, step := range []struct {
		db        *sql.DB
		statement string
	}{
		{p.primary.db, "CREATE USER repl@'%' IDENTIFIED BY 'throw-away'"},
		{p.primary.db, "GRANT REPLICATION SLAVE ON *.* TO repl@'%'"},
		{p.primary.db, "CREATE DATABASE app"},
		{p.primary.db, "CREATE TABLE app.hand (id INT PRIMARY KEY)"},
		{p.replica.db, "SET GLOBAL super_read_only = ON"},
		{p.replica.db, "SET GLOBAL rpl_semi_sync_replica_enabled = ON"},
		{p.replica.db, fmt.Sprintf("CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT=%d, SOURCE_USER='repl',"+
			" SOURCE_PASSWORD='throw-away', SOURCE_AUTO_POSITION=1, SOURCE_SSL=1, GET_SOURCE_PUBLIC_KEY=1", p.primary.port)},
		{p.replica.db, "START REPLICA"},
		{p.primary.db, "SET GLOBAL rpl_semi_sync_source_timeout = 4294967295"},
		{p.primary.db, "SET GLOBAL rpl_semi_sync_source_enabled = ON"},
		{p.primary.db, "INSERT INTO app.hand VALUES (1)"},
	} {
		if _, err := step.db.ExecContext(ctx, step.statement); err != nil {
			return fmt.Errorf("%s: %w", step.statement, err)
		}
	}
	return nil
}

// awaitSleeper waits until the session that will tell the primary's death is
// waiting in it.
func (p *pair) awaitSleeper(ctx context.Context) error {
	return eventually(ctx, p.primary.ended, func() error {
		var n int
		err := p.primary.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM performance_schema.processlist WHERE INFO = 'DO SLEEP(600)'").Scan(&n)
		if err == nil && n == 0 {
			err = errors.New("nobody sleeps yet")
		}
		return err
	})
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("finding a free port: %w", err)
	}
	defer l.Close() // Nobody has connected to it.
	return l.Addr().(*net.TCPAddr).Port, nil
}
