package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/mysqlha/mysqlha/deploy/sandbox"
)

// The phases of a promotion by hand.
const (
	handDeath   = "death seen"
	handStop    = "stop receiver"
	handApply   = "apply"
	handReset   = "reset"
	handOpen    = "open"
	handInsert  = "first insert"
	handTimeout = 2 * time.Minute
)

// handTrial promotes a semi-sync replica by SQL as fast as one can who already
// knows that this is what must be done: it begins when a session of the killed
// primary breaks, and nothing is verified.
func handTrial(ctx context.Context, s settings, number int) (time.Duration, []sandbox.Phase, error) {
	ctx, cancel := context.WithTimeout(ctx, handTimeout)
	defer cancel()
	program, err := sandbox.FindMySQLD(s.mysqld)
	if err != nil {
		return 0, nil, err
	}
	dir := filepath.Join(s.folder, fmt.Sprintf("hand%d", number+1))
	p, err := startPair(ctx, program, dir, s)
	if err != nil {
		return 0, nil, errors.Join(err, os.RemoveAll(dir))
	}
	total, phases, err := p.promote(ctx)
	return total, phases, errors.Join(err, p.stop(), os.RemoveAll(dir))
}

// promote is the promotion; every statement goes over a session that is open
// before the kill.
func (p *pair) promote(ctx context.Context) (time.Duration, []sandbox.Phase, error) {
	replica, err := p.replica.db.Conn(ctx)
	if err != nil {
		return 0, nil, err
	}
	defer replica.Close() // Its server is killed next.
	watch, err := p.primary.db.Conn(ctx)
	if err != nil {
		return 0, nil, err
	}
	defer watch.Close()
	asked := make(chan struct{})
	broken := make(chan time.Time, 1)
	go func() {
		close(asked)
		_, _ = watch.ExecContext(ctx, "DO SLEEP(600)") // It ends when its server does.
		broken <- time.Now()
	}()
	<-asked
	if err := p.awaitSleeper(ctx); err != nil {
		return 0, nil, err
	}
	killed := time.Now()
	if err := p.primary.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		return 0, nil, fmt.Errorf("killing the primary: %w", err)
	}
	seen := <-broken
	phases := []sandbox.Phase{{Name: handDeath, Took: seen.Sub(killed)}}
	last := seen
	for _, step := range []struct{ name, statement string }{
		{handStop, "STOP REPLICA IO_THREAD"},
		{handApply, ""},
		{handReset, "STOP REPLICA"},
		{handReset, "RESET REPLICA ALL"},
		{handOpen, "SET GLOBAL super_read_only = OFF"},
		{handOpen, "SET GLOBAL read_only = OFF"},
		{handInsert, "INSERT INTO app.hand VALUES (2)"},
	} {
		if err := handStep(ctx, replica, step.statement); err != nil {
			return 0, nil, fmt.Errorf("%s: %w", step.name, err)
		}
		now := time.Now()
		if n := len(phases) - 1; phases[n].Name == step.name {
			phases[n].Took += now.Sub(last)
		} else {
			phases = append(phases, sandbox.Phase{Name: step.name, Took: now.Sub(last)})
		}
		last = now
	}
	return last.Sub(killed), phases, nil
}

// handStep runs a statement; an empty one waits until all that was received is
// applied.
func handStep(ctx context.Context, replica *sql.Conn, statement string) error {
	if statement != "" {
		_, err := replica.ExecContext(ctx, statement)
		return err
	}
	var late int
	err := replica.QueryRowContext(ctx, "SELECT WAIT_FOR_EXECUTED_GTID_SET(RECEIVED_TRANSACTION_SET, 30)"+
		" FROM performance_schema.replication_connection_status").Scan(&late)
	if err == nil && late != 0 {
		err = errors.New("not applied within 30 s")
	}
	return err
}
