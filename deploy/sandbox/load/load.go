// Package load owns a load of inserts whose every acknowledgement is remembered,
// and the check that a server has all of them, once each. The demo, the
// benchmark and the integration tests import it; it imports nothing of ours.
//
// Goroutines: a Generator owns one for each writer; Stop waits for them.
package load

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sync"
	"time"
)

// Options say what to write and where.
type Options struct {
	// Connector opens the writers' sessions.
	Connector driver.Connector
	// Table is the table's name in the connector's schema; Start makes it and
	// refuses one that exists. Default load_rows.
	Table string
	// Writers is the number of sessions that write at the same time; default 8.
	Writers int
	// Reconnect is the time between two tries to connect; default 10 ms.
	Reconnect time.Duration
	// Pause is the time between two inserts of a session; default none.
	Pause time.Duration
}

// Key names one insert: no two inserts of a generator share one, and none is
// tried twice, since after an error nobody knows whether it was committed.
type Key struct {
	// Client is the writer, from 0; Seq counts its inserts, from 1.
	Client int
	Seq    int64
}

// Ack is one acknowledged insert.
type Ack struct {
	Key
	// Server is the server_id of the server that answered.
	Server int64
	// Connected is when the session was open, Begun when the insert was sent
	// and Acked when its answer had come, all with the monotonic clock.
	Connected, Begun, Acked time.Time
}

// Generator is a running load.
type Generator struct {
	options Options
	db      *sql.DB
	cancel  context.CancelFunc
	writers sync.WaitGroup
	// halt is closed to let the writers finish what they have begun.
	halt chan struct{}

	mu      sync.Mutex
	acks    []Ack
	unknown int
	twice   int
	last    error
	// more is closed and replaced when something was acknowledged.
	more chan struct{}
}

// stopGrace is how long Stop leaves an insert under way before it cuts it off.
const stopGrace = 2 * time.Second

// Start makes the table and begins to write. The load goes on until Stop,
// whatever becomes of ctx, which bounds only the making of the table.
func Start(ctx context.Context, o Options) (*Generator, error) {
	if o.Table == "" {
		o.Table = "load_rows"
	}
	if !regexp.MustCompile(`^[a-z_][a-z0-9_]{0,50}$`).MatchString(o.Table) {
		return nil, fmt.Errorf("starting a load: %q is not a plain name for a table", o.Table)
	}
	if o.Writers == 0 {
		o.Writers = 8
	}
	if o.Reconnect == 0 {
		o.Reconnect = 10 * time.Millisecond
	}
	db := sql.OpenDB(o.Connector)
	// A session that has failed is never used again: each try is a new one.
	db.SetMaxIdleConns(-1)
	// Without a unique key: a row that was written twice must be seen, not
	// refused.
	if _, err := db.ExecContext(ctx, "CREATE TABLE "+o.Table+
		" (client INT NOT NULL, seq BIGINT NOT NULL, pad BINARY(64) NOT NULL DEFAULT '', KEY (client, seq)) ENGINE=InnoDB"); err != nil {
		return nil, fmt.Errorf("starting a load: making the table: %w", errors.Join(err, db.Close()))
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	g := &Generator{options: o, db: db, cancel: cancel, halt: make(chan struct{}), more: make(chan struct{})}
	for client := range o.Writers {
		g.writers.Go(func() { g.write(run, client) })
	}
	return g, nil
}

// write is one writer: sessions one after the other, inserts one after the
// other in each.
func (g *Generator) write(ctx context.Context, client int) {
	var seq int64
	for trying := false; !g.halted(); {
		before := seq
		var acked bool
		if seq, acked = g.session(ctx, client, seq); !acked && trying && (seq > before || !g.halted()) {
			g.failedAgain()
		}
		trying = true
		select {
		case <-g.halt:
		case <-time.After(g.options.Reconnect):
		}
	}
}

// session writes until its connection fails and returns the last number used, and
// whether anything was acknowledged.
func (g *Generator) session(ctx context.Context, client int, seq int64) (last int64, acked bool) {
	conn, err := g.db.Conn(ctx)
	if err != nil {
		g.failed(err, false)
		return seq, false
	}
	defer conn.Close() // An error would be one of a session that is over.
	var server int64
	if err := conn.QueryRowContext(ctx, "SELECT @@server_id").Scan(&server); err != nil {
		g.failed(err, false)
		return seq, false
	}
	connected := time.Now()
	insert := "INSERT INTO " + g.options.Table + " (client, seq) VALUES (?, ?)"
	for !g.halted() {
		seq++
		begun := time.Now()
		if _, err := conn.ExecContext(ctx, insert, client, seq); err != nil {
			g.failed(err, true)
			return seq, acked
		}
		acked = true
		g.acknowledged(Ack{Key{client, seq}, server, connected, begun, time.Now()})
		if g.options.Pause > 0 {
			select {
			case <-g.halt:
			case <-time.After(g.options.Pause):
			}
		}
	}
	return seq, acked
}

func (g *Generator) halted() bool {
	select {
	case <-g.halt:
		return true
	default:
		return false
	}
}

func (g *Generator) acknowledged(a Ack) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.acks = append(g.acks, a)
	close(g.more)
	g.more = make(chan struct{})
}

func (g *Generator) failedAgain() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.twice++
}

func (g *Generator) failed(err error, insert bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last = err
	if insert {
		g.unknown++
	}
}

// Await returns the first acknowledgement, in the order of their arrival, that
// suits. Its error ends with the last one that a writer had.
func (g *Generator) Await(ctx context.Context, suits func(Ack) bool) (Ack, error) {
	seen := 0
	for {
		g.mu.Lock()
		rest, more := g.acks[seen:], g.more
		g.mu.Unlock()
		if i := slices.IndexFunc(rest, suits); i >= 0 {
			return rest[i], nil
		}
		seen += len(rest)
		select {
		case <-ctx.Done():
			g.mu.Lock()
			defer g.mu.Unlock()
			return Ack{}, fmt.Errorf("waiting for an acknowledged insert: %w (the last error of a writer: %v)", context.Cause(ctx), g.last)
		case <-more:
		}
	}
}

// AfterReconnect suits an insert that was sent after t in a session opened after
// t, so that nothing that was under way at t can count.
func AfterReconnect(t time.Time) func(Ack) bool {
	return func(a Ack) bool { return a.Connected.After(t) && a.Begun.After(t) }
}

// Acknowledged returns the number of acknowledged inserts so far.
func (g *Generator) Acknowledged() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.acks)
}

// Result is what a load has done.
type Result struct {
	// Table is where.
	Table string
	// Acks are the acknowledged inserts in the order of their answers.
	Acks []Ack
	// Unknown is the number of inserts that ended in an error; each may or may
	// not be there.
	Unknown int
	// Twice is how often a writer that had failed, and tried again in a new session,
	// failed again before anything was acknowledged.
	Twice int
	// LastError is the last error of a writer, nil if none had any.
	LastError error
}

// Stop lets the inserts under way end, cuts off those that hang, and returns
// what was done. It must be called once.
func (g *Generator) Stop() Result {
	close(g.halt)
	timer := time.AfterFunc(stopGrace, g.cancel)
	g.writers.Wait()
	timer.Stop()
	g.cancel()
	_ = g.db.Close() // All its sessions are closed already.
	g.mu.Lock()
	defer g.mu.Unlock()
	return Result{Table: g.options.Table, Acks: g.acks, Unknown: g.unknown, Twice: g.twice, LastError: g.last}
}
