package guard

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/go-sql-driver/mysql"
)

const (
	// dialTimeout bounds one login and pingTimeout one ping on the socket.
	dialTimeout = time.Second
	pingTimeout = time.Second
	// dialEvery is how often a starting server is tried, pingEvery how often
	// the idle connection is used, so that no time-out of mysqld ends it.
	dialEvery = 200 * time.Millisecond
	pingEvery = 5 * time.Second
)

// keeper holds one connection of the control account open until the stop.
type keeper struct {
	db    *sql.DB
	leave context.CancelFunc
	// kept gets the connection, or nil, once ctx or the keeper has ended.
	kept chan *sql.Conn
	// fault gets at most one error, for which mysqld must be killed.
	fault chan error
	taken bool
	conn  *sql.Conn
}

// startKeeper starts the keeper's goroutine; end must be called.
func startKeeper(ctx context.Context, o Options, c *child, db *sql.DB) *keeper {
	ctx, cancel := context.WithCancel(ctx)
	k := &keeper{
		db: db, leave: cancel,
		kept: make(chan *sql.Conn, 1), fault: make(chan error, 1),
	}
	go func() { k.kept <- k.keep(ctx, o, c) }()
	return k
}

// keep connects, and connects again when the connection breaks. A ping is not
// bound to ctx: the driver gives up a connection whose call is cancelled, and
// this one is wanted just then.
func (k *keeper) keep(ctx context.Context, o Options, c *child) *sql.Conn {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var conn *sql.Conn
	said := false
	for {
		select {
		case <-ctx.Done():
			return conn
		case <-timer.C:
		}
		next := pingEvery
		switch {
		case conn != nil:
			if err := k.ping(context.WithoutCancel(ctx), conn); err != nil {
				o.Logger.Warn("the kept connection to mysqld broke", "error", err)
				_ = conn.Close() // Broken already.
				conn, next = nil, dialEvery
			}
		default:
			var err error
			if conn, err = k.dial(context.WithoutCancel(ctx)); err != nil {
				conn, next = nil, dialEvery
				break
			}
			if err := c.checkOwner(); err != nil {
				select {
				case k.fault <- err:
				default: // Another fault is on its way.
				}
				return conn
			}
			if !said {
				o.Logger.Info("mysqld answers", "run", c.run.StartID)
				said = true
			}
		}
		timer.Reset(next)
	}
}

func (k *keeper) ping(ctx context.Context, conn *sql.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	return conn.PingContext(ctx)
}

func (k *keeper) dial(ctx context.Context) (*sql.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := k.db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to mysqld: %w", err)
	}
	return conn, nil
}

// take ends the keeping and returns a connection that has just answered: the
// kept one, or else a new one.
func (k *keeper) take(ctx context.Context) (*sql.Conn, error) {
	k.stopKeeping()
	if k.conn != nil {
		if k.ping(ctx, k.conn) == nil {
			return k.conn, nil
		}
		_ = k.conn.Close() // Broken already.
	}
	var err error
	k.conn, err = k.dial(ctx)
	return k.conn, err
}

func (k *keeper) stopKeeping() {
	k.leave()
	if !k.taken {
		k.conn, k.taken = <-k.kept, true
	}
}

// end awaits the goroutine and closes the connection.
func (k *keeper) end() {
	k.stopKeeping()
	if k.conn != nil {
		_ = k.conn.Close() // Nothing is under way on it.
	}
}

// openSocket makes the pool; nothing is connected yet.
func openSocket(o Options) (*sql.DB, error) {
	cfg := mysql.NewConfig()
	cfg.User, cfg.Net, cfg.Addr = o.User, "unix", o.Socket
	cfg.Logger = &mysql.NopLogger{} // Errors are returned as well.
	// Read anew each time: a new password is used without a restart.
	err := cfg.Apply(mysql.BeforeConnect(func(_ context.Context, c *mysql.Config) error {
		var err error
		c.Passwd, err = o.Password()
		return err
	}))
	if err != nil {
		return nil, fmt.Errorf("configure the connection to %s: %w", o.Socket, err)
	}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, fmt.Errorf("configure the connection to %s: %w", o.Socket, err)
	}
	return sql.OpenDB(connector), nil
}
