package replication

import (
	"context"
	"database/sql"
	"database/sql/driver"

	"golang.org/x/sync/errgroup"
)

// KillSession ends a session by its processlist id; one that is gone is no
// error. A session whose commit waits for an acknowledgement loses its client
// and goes on waiting. A replica's session is ended by EndDump.
func (l *Local) KillSession(ctx context.Context, id int64) error {
	return l.kill(ctx, "KILL CONNECTION ?", id)
}

func (l *Local) kill(ctx context.Context, statement string, id int64) error {
	err := l.exec(ctx, "end a session", statement, id)
	if serverErrno(err) == errNoSuchThread {
		return nil
	}
	return err
}

// Client is the session of an application.
type Client struct {
	// ID is what KillSession takes.
	ID int64
	// Running says that a statement is under way, InTransaction that a transaction is
	// open that more statements belong to.
	Running, InTransaction bool
}

// Clients returns the sessions that KillClients would end.
func (l *Local) Clients(ctx context.Context) ([]Client, error) {
	clients, err := queryAll(ctx, l.db, func(rows *sql.Rows) (c Client, err error) {
		return c, rows.Scan(&c.ID, &c.Running, &c.InTransaction)
	}, `SELECT t.PROCESSLIST_ID, COALESCE(t.PROCESSLIST_COMMAND <> 'Sleep', TRUE),
		EXISTS (SELECT 1 FROM performance_schema.events_transactions_current AS x
			WHERE x.THREAD_ID = t.THREAD_ID AND x.STATE = 'ACTIVE' AND x.AUTOCOMMIT = 'NO')
		FROM performance_schema.threads AS t
		WHERE t.CONNECTION_TYPE IS NOT NULL AND t.PROCESSLIST_USER IS NOT NULL AND t.PROCESSLIST_USER <> ?
		AND LEFT(t.PROCESSLIST_USER, ?) NOT IN (?, ?, ?)`, l.user, len(replicationPrefix), replicationPrefix, probePrefix, clonePrefix)
	if err != nil {
		return nil, l.wrap("read the clients' sessions", err)
	}
	return clients, nil
}

// KillClients ends the sessions of all accounts but the control account and
// the project's replication, probe and clone accounts, and returns how many. Sessions
// whose commit waits for an acknowledgement are still there afterwards, without
// a client.
func (l *Local) KillClients(ctx context.Context) (int, error) {
	ids, err := queryAll(ctx, l.db, scanID, `SELECT PROCESSLIST_ID FROM performance_schema.threads
		WHERE CONNECTION_TYPE IS NOT NULL AND PROCESSLIST_USER IS NOT NULL AND PROCESSLIST_USER <> ?
		AND LEFT(PROCESSLIST_USER, ?) NOT IN (?, ?, ?)`, l.user, len(replicationPrefix), replicationPrefix, probePrefix, clonePrefix)
	if err != nil {
		return 0, l.wrap("read the clients' sessions", err)
	}
	return len(ids), l.KillSessions(ctx, ids)
}

// killers is how many sessions are ended at the same time.
const killers = 4

// KillSessions ends sessions by their processlist ids, as KillSession does.
func (l *Local) KillSessions(ctx context.Context, ids []int64) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(killers)
	for _, id := range ids {
		group.Go(func() error { return l.KillSession(ctx, id) })
	}
	return group.Wait()
}

// WaitSessions returns how many sessions wait for an acknowledgement.
func (l *Local) WaitSessions(ctx context.Context) (int, error) {
	var n int
	err := l.row(ctx, "read the waiting sessions", `SELECT COALESCE(MAX(VARIABLE_VALUE), 0) FROM performance_schema.global_status
		WHERE VARIABLE_NAME = 'Rpl_semi_sync_source_wait_sessions'`, nil, &n)
	return n, err
}

// CommitLocked tells whether a statement of the control account waits for a
// lock that somebody else holds (FLUSH TABLES WITH READ LOCK, LOCK TABLES), and
// not for the disk or for replicas.
func (l *Local) CommitLocked(ctx context.Context) (bool, error) {
	var n int
	err := l.row(ctx, "look for locks in the way", `SELECT COUNT(*) FROM performance_schema.metadata_locks AS m
		JOIN performance_schema.threads AS t ON t.THREAD_ID = m.OWNER_THREAD_ID
		WHERE m.LOCK_STATUS = 'PENDING' AND t.PROCESSLIST_USER = ?`, []any{l.user}, &n)
	return n > 0, err
}

// moreRoom is by how many connections MakeRoom raises the limit.
const moreRoom = 16

// MakeRoom raises max_connections where all are taken, so that replicas can
// attach although sessions whose commit waits for them hold every connection.
// It reports whether it did.
func (l *Local) MakeRoom(ctx context.Context) (bool, error) {
	const doing = "make room for replicas"
	var limit, taken int
	err := l.row(ctx, doing, `SELECT @@global.max_connections, (SELECT VARIABLE_VALUE FROM performance_schema.global_status
		WHERE VARIABLE_NAME = 'Threads_connected')`, nil, &limit, &taken)
	if err != nil || taken < limit {
		return false, err
	}
	return true, l.exec(ctx, doing, "SET GLOBAL max_connections = ?", limit+moreRoom)
}

func scanID(rows *sql.Rows) (id int64, err error) { return id, rows.Scan(&id) }

// queryAll reads all rows of a query.
func queryAll[T any](ctx context.Context, db *sql.DB, scan func(*sql.Rows) (T, error), query string, args ...any) ([]T, error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}

// discard closes a connection instead of giving it back to the pool.
func discard(conn *sql.Conn) error {
	_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // This is how database/sql is told.
	if err := conn.Close(); err != nil && err != sql.ErrConnDone {
		return err
	}
	return nil
}

func firstError(a, b error) error {
	if a != nil {
		return a
	}
	return b
}
