package replication

import (
	"context"
	"database/sql"
	"slices"
	"strings"
	"sync"
	"time"
)

// DumpSession is one replica's session at its source.
type DumpSession struct {
	// Server is whose account it uses, empty for an account of somebody else.
	Server string
	// User is the account, ID what EndDump takes.
	User string
	ID   int64
	// SemiSync says that the replica can acknowledge.
	SemiSync bool
}

// SemiSyncSessions returns all sessions that read the binary log, with whether
// they can acknowledge.
func (l *Local) SemiSyncSessions(ctx context.Context) ([]DumpSession, error) {
	sessions, err := queryAll(ctx, l.db, func(rows *sql.Rows) (s DumpSession, err error) {
		err = rows.Scan(&s.User, &s.ID, &s.SemiSync)
		if server, ours := strings.CutPrefix(s.User, replicationPrefix); ours {
			s.Server = server
		}
		return s, err
	}, `SELECT COALESCE(t.PROCESSLIST_USER, ''), t.PROCESSLIST_ID,
		EXISTS (SELECT 1 FROM performance_schema.user_variables_by_thread AS v WHERE v.THREAD_ID = t.THREAD_ID
			AND v.VARIABLE_NAME IN ('rpl_semi_sync_replica', 'rpl_semi_sync_slave') AND v.VARIABLE_VALUE <> '0')
		FROM performance_schema.threads AS t
		WHERE t.PROCESSLIST_COMMAND IN ('Binlog Dump GTID', 'Binlog Dump')`)
	if err != nil {
		return nil, l.wrap("read the replicas' sessions", err)
	}
	return sessions, nil
}

// dumpPatience is how long a replica's session is asked to end before it is cut off, and
// dumpForgotten how long it is remembered that it was asked.
const (
	dumpPatience  = 2 * time.Second
	dumpForgotten = time.Minute
)

// EndDump asks a replica's session to end, by its processlist id; ask until it is gone.
// One that is gone is no error.
//
// It is not cut off unless it has had its time, because that is dangerous: the thread that
// reads acknowledgements may be reading from that very connection, and MySQL (9.7.4, over
// TLS) then reads from it for ever. Nobody's acknowledgements arrive after that, and
// switching semi-sync off crashes the server. A session that ends by itself has first
// had that thread let go of it. One that does not is kept up by a replica that reads
// nothing, which acknowledges nothing either.
func (l *Local) EndDump(ctx context.Context, id int64) error {
	statement := "KILL QUERY ?"
	if l.dumps.asked(id, time.Now()) > dumpPatience {
		statement = "KILL CONNECTION ?"
	}
	return l.kill(ctx, statement, id)
}

// dumpEnds remembers which sessions were asked to end, and since when.
type dumpEnds struct {
	mu    sync.Mutex
	since map[int64]time.Time
}

// asked returns for how long a session has been asked.
func (d *dumpEnds) asked(id int64, now time.Time) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	for other, since := range d.since {
		if now.Sub(since) > dumpForgotten { // The numbers begin anew with each start of the server.
			delete(d.since, other)
		}
	}
	since, known := d.since[id]
	if !known {
		since = now
		if d.since == nil {
			d.since = make(map[int64]time.Time)
		}
		d.since[id] = now
	}
	return now.Sub(since)
}

// EndUnlisted ends all sessions of replicas that can acknowledge and are not in
// the list, and returns how many there were.
func (l *Local) EndUnlisted(ctx context.Context, listed []string) (int, error) {
	sessions, err := l.SemiSyncSessions(ctx)
	if err != nil {
		return 0, err
	}
	ended := 0
	for _, s := range sessions {
		if !s.SemiSync || slices.Contains(listed, s.Server) {
			continue
		}
		if err := l.EndDump(ctx, s.ID); err != nil {
			return ended, err
		}
		ended++
	}
	return ended, nil
}
