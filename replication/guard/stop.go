package guard

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"syscall"
	"time"

	"github.com/mysqlha/mysqlha/replication/process"
)

// # Why the polite stop is safe (S10)
//
// On SIGTERM mysqld switches semi-sync off while it shuts down, and every
// commit that waits for an acknowledgement is then answered OK although no
// replica has it. Looking once whether somebody waits and then sending SIGTERM
// is not enough: a commit may begin to wait in between. So new commits are
// made impossible first, then the waiting ones are looked for:
//
//  1. FLUSH TABLES WITH READ LOCK is granted only when no commit is under way,
//     its wait for an acknowledgement included, and while it is held none can
//     begin, not even one of an account with CONNECTION_ADMIN. It is tried
//     *before* the next step, because offline_mode also ends the threads that
//     send the binary log, and with them the acknowledgements that would let
//     the commits in flight finish.
//  2. offline_mode=ON ends all other sessions and refuses new logins. Accounts
//     with CONNECTION_ADMIN survive it; their sessions are killed, and it is
//     awaited that all are gone. The control account's stay: the daemon would
//     only connect again.
//  3. If a long statement stood in the way of the lock, it is gone now and the
//     lock is tried once more.
//  4. super_read_only=ON under the lock. Shutdown ends this session too and
//     the lock with it, maybe an instant before it ends another; a commit that
//     queued behind the lock then fails instead of being committed and let go.
//     That matters even where no client is left: a heartbeat of the daemon's
//     own, falsely acknowledged, would count as a proof (S2, S3, S9).
//  5. Rpl_semi_sync_source_wait_sessions is 0, read twice.
//
// Only then is SIGTERM sent, with the lock still held. A failure or a missed
// deadline anywhere means that somebody may wait, and mysqld is killed: a
// client then loses its connection and learns nothing false, and what was only
// prepared can be rolled back.
//
// Where the source side of semi-sync is off nobody can wait, and only there a
// lock that is not granted (a replica that applies a long DDL) is forgiven.

const (
	// offlineTimeout is how long offline_mode may take: 0.3-39 ms behind
	// waiting commits, for ever behind a hanging CREATE USER.
	offlineTimeout = 200 * time.Millisecond
	// applierTimeout is how long an applier may take to stop by itself.
	applierTimeout = time.Second
	// readTimeout bounds statements that wait for nothing.
	readTimeout = 500 * time.Millisecond
	// lockGrace is what the lock statement gets beyond mysqld's own time-out,
	// so that the time-out leaves the connection usable.
	lockGrace = 500 * time.Millisecond
	// sessionsPoll is how often the sessions are looked at.
	sessionsPoll = 10 * time.Millisecond
)

// stop ends mysqld, politely if that lets nothing go, and returns when it is
// reaped.
func stop(ctx context.Context, o Options, c *child, k *keeper) error {
	begun := time.Now()
	haltApplier(ctx, o, k.db)
	err := quiesce(ctx, o, k)
	select {
	case <-c.exited:
		return nil
	default:
	}
	if err != nil {
		o.Logger.Warn("mysqld is killed, because a polite stop might let waiting commits go",
			"run", c.run.StartID, "reason", err, "after", time.Since(begun))
		return c.kill()
	}
	o.Logger.Info("nobody waits; mysqld is asked to stop", "run", c.run.StartID, "after", time.Since(begun))
	if err := c.proc.Signal(syscall.SIGTERM); err != nil {
		// Gone between the two, or not to be signalled: Kill tells.
		return c.kill()
	}
	limit := o.StopTimeout
	if wasOpen(o, c) {
		limit = min(limit, openStopTimeout)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := c.await(ctx); err != nil {
		o.Logger.Warn("mysqld is killed, because it did not stop in time", "run", c.run.StartID, "timeout", limit)
		return c.kill()
	}
	return nil
}

// haltApplier stops a replica's applier, so that mysqld need not: in a relay log
// that ends inside a transaction it would wait a minute for the rest of it, and
// with it the stop. Without its coordinator the applier gives that up. What goes
// wrong here costs time and nothing else.
func haltApplier(ctx context.Context, o Options, db *sql.DB) {
	ctx, cancel := context.WithTimeout(ctx, applierTimeout+2*readTimeout)
	defer cancel()
	short, cancelShort := context.WithTimeout(ctx, applierTimeout)
	defer cancelShort()
	_, err := db.ExecContext(short, "STOP REPLICA SQL_THREAD FOR CHANNEL ''")
	if err == nil || short.Err() == nil {
		return // Stopped, or there is none.
	}
	var id uint64
	err = db.QueryRowContext(ctx, `SELECT t.PROCESSLIST_ID FROM performance_schema.threads AS t
		JOIN performance_schema.replication_applier_status_by_coordinator AS c USING (THREAD_ID) WHERE c.CHANNEL_NAME = ''`).Scan(&id)
	if err == nil {
		_, err = db.ExecContext(ctx, "KILL "+strconv.FormatUint(id, 10))
	}
	o.Logger.Info("the applier waits for the rest of a transaction and was ended", "error", err)
}

// wasOpen tells whether the daemon has said that this run is the open primary.
func wasOpen(o Options, c *child) bool {
	if o.ProofFile == "" {
		return false
	}
	proof, err := process.ReadProof(o.ProofFile)
	return err == nil && proof.Open && proof.StartID == c.run.StartID
}

// quiesce returns nil when no commit waits and none can begin to.
func quiesce(ctx context.Context, o Options, k *keeper) error {
	conn, err := k.take(ctx)
	if err != nil {
		return err
	}
	q := quiescer{conn: conn, user: o.User, drain: o.DrainTimeout}
	lockErr := q.lock(ctx)
	if err := q.exec(ctx, offlineTimeout, "SET GLOBAL offline_mode = ON"); err != nil {
		return err
	}
	if err := q.emptyOut(ctx); err != nil {
		return err
	}
	if lockErr != nil {
		lockErr = q.lock(ctx)
	}
	if lockErr == nil {
		if err := q.exec(ctx, readTimeout, "SET GLOBAL super_read_only = ON"); err != nil {
			return err
		}
	}
	for range 2 {
		if err := q.nobodyWaits(ctx, lockErr); err != nil {
			return err
		}
	}
	return nil
}

type quiescer struct {
	conn  *sql.Conn
	user  string
	drain time.Duration
}

func (q quiescer) exec(ctx context.Context, limit time.Duration, statement string) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if _, err := q.conn.ExecContext(ctx, statement); err != nil {
		return fmt.Errorf("%s within %s: %w", statement, limit, err)
	}
	return nil
}

// lock takes the lock of step 1. mysqld counts the time-out in whole seconds.
func (q quiescer) lock(ctx context.Context) error {
	seconds := max(1, int(q.drain.Round(time.Second)/time.Second))
	err := q.exec(ctx, readTimeout, "SET SESSION lock_wait_timeout = "+strconv.Itoa(seconds))
	if err != nil {
		return err
	}
	limit := time.Duration(seconds)*time.Second + lockGrace
	return q.exec(ctx, limit, "FLUSH TABLES WITH READ LOCK")
}

// emptyOut returns when no session is left but those of the control account,
// of replicas that fetch the binary log, and of mysqld itself.
func (q quiescer) emptyOut(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, q.drain)
	defer cancel()
	tick := time.NewTicker(sessionsPoll)
	defer tick.Stop()
	for {
		left, err := q.sessions(ctx)
		if err != nil || len(left) == 0 {
			return err
		}
		for _, id := range left {
			// Fails where the session has just ended; the next look tells.
			_, _ = q.conn.ExecContext(ctx, "KILL CONNECTION "+strconv.FormatUint(id, 10))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d sessions did not end within %s", len(left), q.drain)
		case <-tick.C:
		}
	}
}

// sessions returns the ids of the sessions that must end. Not seeing its own
// session either, as with performance_schema=OFF, is an error.
func (q quiescer) sessions(ctx context.Context) ([]uint64, error) {
	rows, err := q.conn.QueryContext(ctx, `SELECT ID, ID = CONNECTION_ID(), USER = ? FROM performance_schema.processlist
		WHERE COMMAND NOT IN ('Daemon', 'Binlog Dump', 'Binlog Dump GTID')
		AND USER NOT IN ('system user', 'event_scheduler')`, q.user)
	if err != nil {
		return nil, fmt.Errorf("list the sessions: %w", err)
	}
	defer rows.Close()
	var left []uint64
	seen := false
	for rows.Next() {
		var id uint64
		var own, control bool
		if err := rows.Scan(&id, &own, &control); err != nil {
			return nil, fmt.Errorf("list the sessions: %w", err)
		}
		seen = seen || own
		if !control {
			left = append(left, id)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list the sessions: %w", err)
	}
	if !seen {
		return nil, errors.New("list the sessions: performance_schema does not show them")
	}
	return left, nil
}

// nobodyWaits is step 5. Without the lock it is enough only where the source
// side of semi-sync is off.
func (q quiescer) nobodyWaits(ctx context.Context, lockErr error) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	waiting, err := q.show(ctx, `SHOW GLOBAL STATUS LIKE 'Rpl\_semi\_sync\_%\_wait\_sessions'`)
	if err != nil {
		return err
	}
	for name, n := range waiting {
		if n != "0" {
			return fmt.Errorf("%s is %s", name, n)
		}
	}
	var offline, readOnly bool
	err = q.conn.QueryRowContext(ctx, "SELECT @@GLOBAL.offline_mode, @@GLOBAL.super_read_only").Scan(&offline, &readOnly)
	if err != nil {
		return fmt.Errorf("read offline_mode back: %w", err)
	}
	if !offline || lockErr == nil && !readOnly {
		return errors.New("offline_mode or super_read_only was switched off again")
	}
	if lockErr == nil {
		return nil
	}
	// The replica's side is told apart by its name.
	enabled, err := q.show(ctx, `SHOW GLOBAL VARIABLES WHERE Variable_name IN ('rpl_semi_sync_source_enabled', 'rpl_semi_sync_master_enabled')`)
	if err != nil {
		return err
	}
	for name, v := range enabled {
		if v != "OFF" {
			return fmt.Errorf("%s is %s and the commits did not drain: %w", name, v, lockErr)
		}
	}
	return nil
}

// show reads rows of a name and a value. A plugin that is not there has none.
func (q quiescer) show(ctx context.Context, statement string) (map[string]string, error) {
	rows, err := q.conn.QueryContext(ctx, statement)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", statement, err)
	}
	defer rows.Close()
	values := map[string]string{}
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return nil, fmt.Errorf("%s: %w", statement, err)
		}
		values[name] = value
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", statement, err)
	}
	return values, nil
}
