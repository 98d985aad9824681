package replication

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-sql-driver/mysql"
)

// keptConnections are kept open by a Local, because a server in trouble may
// accept no new login.
const keptConnections = 6

// Options say how to reach this host's mysqld.
type Options struct {
	// Server is its name in errors.
	Server string
	// Socket is the path of its Unix socket.
	Socket string
	// User is the control account. It needs the rights of a superuser,
	// CONNECTION_ADMIN among them: read_only and offline_mode must not stop it.
	User string
	// Password is asked for at each login; nil means none.
	Password func() (string, error)
}

// Local controls the mysqld of this host. It is safe for use by several
// goroutines at once. A context that ends closes the connection that the
// statement ran on and no other; whatever the server was doing for it may still
// take effect.
type Local struct {
	server string
	user   string
	db     *sql.DB
	// lockedAt is when a replication account was locked last, or when this began: who
	// locked before that is not known.
	lockedAt atomic.Pointer[time.Time]
	dumps    dumpEnds
}

// OpenLocal returns a Local; it does not connect yet. Close it after use.
func OpenLocal(o Options) (*Local, error) {
	cfg := sessionConfig(o.User)
	cfg.Net, cfg.Addr = "unix", o.Socket
	db, err := openPool(cfg, o.Password)
	if err != nil {
		return nil, fmt.Errorf("configure the connection to %s: %w", o.Server, err)
	}
	db.SetMaxIdleConns(keptConnections)
	l := &Local{server: o.Server, user: o.User, db: db}
	l.locking()
	return l, nil
}

// sessionConfig makes all sessions alike, whatever the server's defaults are.
// All times are compared inside MySQL; UTC keeps them clear of changes between
// winter and summer time.
func sessionConfig(user string) *mysql.Config {
	cfg := mysql.NewConfig()
	cfg.User = user
	cfg.InterpolateParams = true
	cfg.Logger = &mysql.NopLogger{} // All it would log comes back as an error.
	cfg.Params = map[string]string{
		"time_zone":             "'+00:00'",
		"sql_mode":              "'STRICT_TRANS_TABLES'",
		"autocommit":            "1",
		"transaction_read_only": "0",
	}
	return cfg
}

func openPool(cfg *mysql.Config, password func() (string, error)) (*sql.DB, error) {
	if password != nil {
		before := func(_ context.Context, c *mysql.Config) error {
			p, err := password()
			if err != nil {
				return fmt.Errorf("get the password of %s: %w", c.User, err)
			}
			c.Passwd = p
			return nil
		}
		if err := cfg.Apply(mysql.BeforeConnect(before)); err != nil {
			return nil, err
		}
	}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

// Close ends the pooled connections.
func (l *Local) Close() error {
	if err := l.db.Close(); err != nil {
		return l.wrap("close the connections", err)
	}
	return nil
}

// Warm opens connections in advance, as many as are kept, and returns the
// first error. It is also the way to ask whether mysqld accepts logins.
func (l *Local) Warm(ctx context.Context) (err error) {
	conns := make([]*sql.Conn, 0, keptConnections)
	defer func() {
		for _, c := range conns {
			err = errors.Join(err, c.Close()) // Gives it back to the pool.
		}
		if err != nil {
			err = l.wrap("open connections in advance", err)
		}
	}()
	for range keptConnections {
		c, err := l.db.Conn(ctx)
		if err != nil {
			return err
		}
		conns = append(conns, c)
	}
	return nil
}

// wrap adds what was being done and on which server.
func (l *Local) wrap(doing string, err error) error {
	return fmt.Errorf("%s on %s: %w", doing, l.server, err)
}

// exec runs one statement.
func (l *Local) exec(ctx context.Context, doing, query string, args ...any) error {
	if _, err := l.db.ExecContext(ctx, query, args...); err != nil {
		return l.wrap(doing, explain(err))
	}
	return nil
}

// withdrawDeadline bounds the killing of a statement that was given up.
const withdrawDeadline = time.Second

// execOrKill runs one statement on a connection of its own and kills that where
// ctx ends first: closing a connection alone leaves the statement waiting
// inside the server, with the locks that it has.
func (l *Local) execOrKill(ctx context.Context, doing, query string, args ...any) error {
	conn, err := l.db.Conn(ctx)
	if err != nil {
		return l.wrap(doing, err)
	}
	defer conn.Close() // The statement's own error is the one that tells.
	var id int64
	if err := conn.QueryRowContext(ctx, "SELECT CONNECTION_ID()").Scan(&id); err != nil {
		return l.wrap(doing, err)
	}
	_, err = conn.ExecContext(ctx, query, args...)
	if err == nil {
		return nil
	}
	err = l.wrap(doing, explain(err))
	if ctx.Err() == nil {
		return err
	}
	short, cancel := context.WithTimeout(context.WithoutCancel(ctx), withdrawDeadline)
	defer cancel()
	return errors.Join(err, l.KillSession(short, id))
}

// marks are the placeholders of a list of n values.
func marks(n int) string { return strings.TrimSuffix(strings.Repeat("?, ", n), ", ") }

// row reads one row of one statement.
func (l *Local) row(ctx context.Context, doing, query string, args []any, dest ...any) error {
	if err := l.db.QueryRowContext(ctx, query, args...).Scan(dest...); err != nil {
		return l.wrap(doing, explain(err))
	}
	return nil
}

// explain adds the sentinel that a server's error number stands for.
func explain(err error) error {
	switch serverErrno(err) {
	case errUnknownVariable:
		return fmt.Errorf("%w: %w", ErrNotPrepared, err)
	case errNotReplica:
		return fmt.Errorf("%w: %w", ErrNotConfigured, err)
	}
	return err
}
