package replication

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	replicationPrefix = "mysqlha_r_"
	probePrefix       = "mysqlha_p_"
	clonePrefix       = "mysqlha_c_"
	// MaxServerName is how long a server's name may be, in bytes: MySQL's names
	// of accounts end at 32.
	MaxServerName = 32 - len(replicationPrefix)

	// sessionPoll is how often the sessions of locked accounts are looked for.
	sessionPoll = 2 * time.Millisecond
	// quietLooks is how many looks in a row must find none. A login that was
	// let in just before the lock shows up a moment later.
	quietLooks = 3
	// lateLogin is how long after a lock a login that was let in before it may still
	// show up, with much to spare.
	lateLogin = 10 * time.Second
)

// ReplicationUser returns the account with which a server replicates.
func ReplicationUser(server string) string { return replicationPrefix + server }

// ProbeUser returns the account with which a server's daemon probes others.
func ProbeUser(server string) string { return probePrefix + server }

// CloneUser returns the account with which a server copies another. It has the
// password of the replication account.
func CloneUser(server string) string { return clonePrefix + server }

// checkServerName refuses a name that makes no account.
func checkServerName(server string) error {
	if server == "" || len(server) > MaxServerName {
		return fmt.Errorf("the server's name %q must have 1 to %d bytes", server, MaxServerName)
	}
	return nil
}

// replicationAccount is one account of mysql.user.
type replicationAccount struct {
	user, host string
	locked     bool
}

// LockAccounts locks the replication accounts of all servers except those in
// attach, which it unlocks, and ends the sessions of the locked ones until none
// is left. None of it is written to the binary log. Where an account of attach
// does not exist it fails with ErrNotPrepared after all that: it keeps its own
// server out and nobody else.
func (l *Local) LockAccounts(ctx context.Context, attach []string) error {
	const doing = "lock the replication accounts"
	accounts, err := l.replicationAccounts(ctx)
	if err != nil {
		return err
	}
	var change []replicationAccount
	var locked []string
	exists := make(map[string]bool, len(accounts))
	for _, a := range accounts {
		lock := !slices.Contains(attach, strings.TrimPrefix(a.user, replicationPrefix))
		exists[a.user] = true
		if lock {
			locked = append(locked, a.user)
		}
		if lock != a.locked {
			change = append(change, replicationAccount{a.user, a.host, lock})
		}
	}
	locks := slices.ContainsFunc(change, func(a replicationAccount) bool { return a.locked })
	if locks {
		l.locking() // Also if it fails half-way.
	}
	if err := l.setLocks(ctx, change); err != nil {
		return l.wrap(doing, err)
	}
	if locks {
		l.locking()
	}
	if err := l.endSessions(ctx, locked, l.looks()); err != nil {
		return l.wrap("end the sessions of locked accounts", err)
	}
	for _, server := range attach {
		if user := ReplicationUser(server); !exists[user] {
			return l.wrap(doing, fmt.Errorf("%w: there is no account %s", ErrNotPrepared, user))
		}
	}
	return nil
}

// locking notes that an account is being locked at this moment.
func (l *Local) locking() {
	now := time.Now()
	l.lockedAt.Store(&now)
}

// looks is how many looks in a row must find no session of the locked accounts. Where
// all were locked long ago, no login can be on its way.
func (l *Local) looks() int {
	if time.Since(*l.lockedAt.Load()) < lateLogin {
		return quietLooks
	}
	return 1
}

func (l *Local) replicationAccounts(ctx context.Context) ([]replicationAccount, error) {
	const doing = "read the replication accounts"
	accounts, err := queryAll(ctx, l.db, func(rows *sql.Rows) (a replicationAccount, err error) {
		return a, rows.Scan(&a.user, &a.host, &a.locked)
	}, "SELECT User, Host, account_locked = 'Y' FROM mysql.user WHERE LEFT(User, ?) = ?", len(replicationPrefix), replicationPrefix)
	if err != nil {
		return nil, l.wrap(doing, err)
	}
	return accounts, nil
}

// setLocks changes accounts on a connection of its own, which does not go back
// to the pool unless it writes the binary log again.
func (l *Local) setLocks(ctx context.Context, change []replicationAccount) (err error) {
	if len(change) == 0 {
		return nil
	}
	conn, err := l.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = firstError(err, discard(conn)) }()
	var id int64
	if err := conn.QueryRowContext(ctx, "SELECT CONNECTION_ID()").Scan(&id); err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, "SET SESSION sql_log_bin = OFF"); err != nil {
		return err
	}
	// Locks first: nobody is let in before all others are out.
	slices.SortStableFunc(change, func(a, b replicationAccount) int {
		switch {
		case a.locked == b.locked:
			return 0
		case a.locked:
			return -1
		}
		return 1
	})
	for _, a := range change {
		word := "UNLOCK"
		if a.locked {
			word = "LOCK"
		}
		if _, err := conn.ExecContext(ctx, "ALTER USER ?@? ACCOUNT "+word, a.user, a.host); err != nil {
			if ctx.Err() == nil {
				return err
			}
			// Behind somebody's backup lock it would wait on and take effect when
			// something else has long been decided (S3).
			return errors.Join(err, l.withdraw(context.WithoutCancel(ctx), id))
		}
	}
	return nil
}

// withdraw kills a session whose statement was given up and returns when it is
// gone.
func (l *Local) withdraw(ctx context.Context, id int64) error {
	ctx, cancel := context.WithTimeout(ctx, withdrawDeadline)
	defer cancel()
	if err := l.KillSession(ctx, id); err != nil {
		return err
	}
	return poll(ctx, sessionPoll, func() (bool, error) {
		var left int
		err := l.row(ctx, "look for a session that was ended", "SELECT COUNT(*) FROM performance_schema.threads WHERE PROCESSLIST_ID = ?", []any{id}, &left)
		return left == 0, err
	})
}

// endSessions ends the accounts' sessions until so many looks in a row found none.
func (l *Local) endSessions(ctx context.Context, users []string, looks int) error {
	if len(users) == 0 {
		return nil
	}
	quiet := 0
	return poll(ctx, sessionPoll, func() (bool, error) {
		sessions, err := l.sessionsOf(ctx, users)
		if err != nil {
			return false, err
		}
		if quiet++; len(sessions) > 0 {
			quiet = 0
		}
		for _, s := range sessions {
			end := l.KillSession
			if s.dumps {
				end = l.EndDump
			}
			if err := end(ctx, s.id); err != nil {
				return false, err
			}
		}
		return quiet >= looks, nil
	})
}

// accountSession is a session of an account, and whether it reads the binary log.
type accountSession struct {
	id    int64
	dumps bool
}

func (l *Local) sessionsOf(ctx context.Context, users []string) ([]accountSession, error) {
	args := make([]any, len(users))
	for i, u := range users {
		args[i] = u
	}
	return queryAll(ctx, l.db, func(rows *sql.Rows) (s accountSession, err error) {
		return s, rows.Scan(&s.id, &s.dumps)
	}, "SELECT PROCESSLIST_ID, COALESCE(PROCESSLIST_COMMAND LIKE 'Binlog Dump%', FALSE) FROM performance_schema.threads WHERE CONNECTION_TYPE IS NOT NULL AND PROCESSLIST_USER IN ("+marks(len(users))+")", args...)
}
