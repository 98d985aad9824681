package replication

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

// Facts are what does not change from one moment to the next on a server, and what
// its fitness is judged by.
type Facts struct {
	// Version and Comment are as the server says them, UUID is its server_uuid.
	Version, Comment, UUID string
	// CertificateEnd is when the certificate ends that it serves, in its own words.
	CertificateEnd string
	// Variables are all its global variables, Persisted those that SET PERSIST has
	// kept. Passing are those that were set while it ran and are not kept: its next
	// start takes what its option files say.
	Variables, Persisted map[string]string
	Passing              []string
	// Channels are the names of its channels that are not the default one.
	Channels []string
	// Configured says whether the default channel has a source, AutoPosition whether
	// it asks that for what it lacks by GTIDs, SourceUser with which account.
	Configured, AutoPosition bool
	SourceUser               string
	// Privileges are the global ones of the account that asks.
	Privileges []string
	// Rights are those of the cluster's own accounts, that of the asker among them.
	Rights []Rights
	// Replicators are the accounts that may replicate over the network, ShutDown those that
	// may stop the server by SQL, each as 'user'@'host'.
	Replicators, ShutDown []string
	// Plaintext are the accounts with sessions over TCP without TLS, but those that
	// fetch the binary log.
	Plaintext []string
	// Keyless are tables with rows and without a primary key, Foreign those of another
	// engine than InnoDB; the first few of each as schema.table, with how many there
	// are.
	Keyless, Foreign           []string
	KeylessCount, ForeignCount int
}

// Supported returns what is wrong with the server's version, empty for nothing. Of one
// that is not supported nothing else is asked.
func (f Facts) Supported() string { return checkVersion(f.Version, f.Comment) }

// mostTables is how many tables are named of a kind.
const mostTables = 5

// userTables are those that people have made.
const userTables = `information_schema.TABLES AS t WHERE t.TABLE_TYPE = 'BASE TABLE'
	AND t.TABLE_SCHEMA NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema', 'mysqlha')`

// Facts reads them in some milliseconds, or, where there are thousands of tables, in
// some seconds.
func (l *Local) Facts(ctx context.Context) (f Facts, err error) {
	const doing = "examine the server"
	if err := l.row(ctx, doing, "SELECT @@global.version, @@global.version_comment, @@global.server_uuid", nil, &f.Version, &f.Comment, &f.UUID); err != nil {
		return f, err
	}
	if f.Supported() != "" {
		return f, nil
	}
	if f.Variables, err = l.variables(ctx, "performance_schema.global_variables"); err != nil {
		return f, err
	}
	if f.Persisted, err = l.variables(ctx, "performance_schema.persisted_variables"); err != nil {
		return f, err
	}
	if err := l.row(ctx, doing, "SELECT COALESCE(MAX(VARIABLE_VALUE), '') FROM performance_schema.global_status WHERE VARIABLE_NAME = 'Ssl_server_not_after'", nil, &f.CertificateEnd); err != nil {
		return f, err
	}
	err = l.row(ctx, doing, `SELECT AUTO_POSITION, USER FROM performance_schema.replication_connection_configuration WHERE CHANNEL_NAME = '' AND HOST <> ''`, nil, &f.AutoPosition, &f.SourceUser)
	if f.Configured = err == nil; err != nil && !errors.Is(err, sql.ErrNoRows) {
		return f, err
	}
	for _, list := range []struct {
		into  *[]string
		query string
		args  []any
	}{
		{&f.Passing, `SELECT i.VARIABLE_NAME FROM performance_schema.variables_info AS i
			LEFT JOIN performance_schema.persisted_variables AS p ON p.VARIABLE_NAME = i.VARIABLE_NAME
			WHERE i.VARIABLE_SOURCE = 'DYNAMIC' AND p.VARIABLE_NAME IS NULL`, nil},
		{&f.Channels, `SELECT CHANNEL_NAME FROM performance_schema.replication_connection_configuration WHERE CHANNEL_NAME <> ''`, nil},
		{&f.Privileges, `SELECT PRIVILEGE_TYPE FROM information_schema.USER_PRIVILEGES
			WHERE GRANTEE = CONCAT(QUOTE(SUBSTRING_INDEX(CURRENT_USER(), '@', 1)), '@', QUOTE(SUBSTRING_INDEX(CURRENT_USER(), '@', -1)))`, nil},
		{&f.Replicators, `SELECT CONCAT(QUOTE(User), '@', QUOTE(Host)) FROM mysql.user
			WHERE Repl_slave_priv = 'Y' AND account_locked = 'N' AND Host <> 'localhost' AND LEFT(User, ?) <> ? ORDER BY 1`,
			[]any{len(replicationPrefix), replicationPrefix}},
		{&f.Plaintext, `SELECT DISTINCT CONCAT(QUOTE(PROCESSLIST_USER), '@', QUOTE(PROCESSLIST_HOST)) FROM performance_schema.threads
			WHERE CONNECTION_TYPE = 'TCP/IP' AND PROCESSLIST_USER IS NOT NULL AND PROCESSLIST_COMMAND NOT LIKE 'Binlog Dump%' ORDER BY 1`, nil},
		{&f.Keyless, `SELECT CONCAT(t.TABLE_SCHEMA, '.', t.TABLE_NAME) FROM ` + userTables + ` AND NOT EXISTS (
			SELECT 1 FROM information_schema.STATISTICS AS s WHERE s.TABLE_SCHEMA = t.TABLE_SCHEMA AND s.TABLE_NAME = t.TABLE_NAME AND s.NON_UNIQUE = 0 AND s.NULLABLE = '')
			ORDER BY 1`, nil},
		{&f.Foreign, `SELECT CONCAT(t.TABLE_SCHEMA, '.', t.TABLE_NAME, ' (', t.ENGINE, ')') FROM ` + userTables + ` AND t.ENGINE <> 'InnoDB' ORDER BY 1`, nil},
	} {
		*list.into, err = queryAll(ctx, l.db, func(rows *sql.Rows) (s string, err error) { return s, rows.Scan(&s) }, list.query, list.args...)
		if err != nil {
			return f, l.wrap(doing, err)
		}
	}
	f.KeylessCount, f.Keyless = len(f.Keyless), f.Keyless[:min(len(f.Keyless), mostTables)]
	f.ForeignCount, f.Foreign = len(f.Foreign), f.Foreign[:min(len(f.Foreign), mostTables)]
	if f.Rights, err = l.accountRights(ctx); err != nil {
		return f, err
	}
	f.ShutDown, err = l.MayShutDown(ctx)
	return f, err
}

// Mend runs statements that set a server right, one after the other and without a
// trace in the binary log; a server that is closed is opened for them and for nobody
// else. Done is told of each that has succeeded. It is meant for a server that the
// cluster does not have yet.
func (l *Local) Mend(ctx context.Context, statements []string, done func(statement string)) (err error) {
	const doing = "set the server right"
	conn, err := l.db.Conn(ctx)
	if err != nil {
		return l.wrap(doing, err)
	}
	defer func() { err = firstError(err, discard(conn)) }()
	var closed bool
	if err := conn.QueryRowContext(ctx, "SELECT @@global.super_read_only").Scan(&closed); err != nil {
		return l.wrap(doing, err)
	}
	run := func(ctx context.Context, statement string) error {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			word, _, _ := strings.Cut(statement, " BY '") // It may go on with a password.
			return l.wrap(doing, fmt.Errorf("%s: %w", word, err))
		}
		return nil
	}
	if err := run(ctx, "SET SESSION sql_log_bin = OFF"); err != nil {
		return err
	}
	if closed {
		if err := run(ctx, "SET GLOBAL super_read_only = OFF, GLOBAL read_only = ON"); err != nil {
			return err
		}
		defer func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeDeadline)
			defer cancel()
			err = errors.Join(err, run(ctx, "SET GLOBAL super_read_only = ON"))
		}()
	}
	for _, statement := range statements {
		if err := run(ctx, statement); err != nil {
			return err
		}
		done(statement)
	}
	return nil
}
