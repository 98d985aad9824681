package replication

import (
	"context"
	"database/sql"
	"math/rand/v2"
	"sync"
	"time"
)

// Heartbeat is what OwnCommit writes besides the server's own facts.
type Heartbeat struct {
	// Term is the term of the record, Server the primary's name.
	Term   uint64
	Server string
}

const (
	// heartbeatRow is the id of the row that OwnCommit writes. Nudges write one
	// of the others by chance, up to lastRow: some may be locked by nudges that
	// still wait although their context has ended.
	heartbeatRow = 1
	lastRow      = 255
	// mostNudges bounds the sessions that one commit's nudges may leave waiting.
	mostNudges = 5
	// firstNudge is how long a commit waits before the first nudge; each pause
	// after it is three times as long.
	firstNudge = 40 * time.Millisecond
)

const writeHeartbeat = `INSERT INTO mysqlha.heartbeat (id, term, server, executed_set, counter, at)
	VALUES (?, ?, ?, @@global.gtid_executed, 1, NOW(6)) AS new
	ON DUPLICATE KEY UPDATE term = new.term, server = new.server, executed_set = new.executed_set,
	counter = heartbeat.counter + 1, at = new.at`

// OwnCommit writes the heartbeat row and returns once that commit has been
// acknowledged. Begun is a moment before the statement was sent: the
// acknowledgement proves that no later term was open then. Have one under way
// at a time: one that waits for acknowledgements holds the row, even after its
// context has ended.
//
// A commit that waits is nudged by others behind it, on rows of their own. A
// replica that received a transaction just before its receiver was restarted
// never acknowledges that one (with auto-position the source does not know
// that it is there); it acknowledges the next, which covers all before it.
// Without a nudge nobody would commit a next one, and all would wait for ever.
func (l *Local) OwnCommit(ctx context.Context, h Heartbeat) (begun time.Time, err error) {
	nudging, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() { l.nudge(nudging, h) })
	begun = time.Now()
	return begun, l.exec(ctx, "commit the heartbeat", writeHeartbeat, heartbeatRow, h.Term, h.Server)
}

// nudge commits again and again behind a commit that waits, until ctx ends.
// Its own fate does not matter.
func (l *Local) nudge(ctx context.Context, h Heartbeat) {
	var wg sync.WaitGroup
	defer wg.Wait()
	pause := firstNudge
	for range mostNudges {
		row := heartbeatRow + 1 + rand.IntN(lastRow-heartbeatRow)
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		wg.Go(func() { _ = l.exec(ctx, "nudge", writeHeartbeat, row, h.Term, h.Server) })
		pause *= 3
	}
}

// HeartbeatAge returns how long ago, by this server's clock, the primary wrote
// the newest heartbeat row that is applied here: all that was acknowledged before
// is here. Known is false where there is none yet. A lock on the table holds it
// up, so ctx should end soon.
func (l *Local) HeartbeatAge(ctx context.Context) (age time.Duration, known bool, err error) {
	var micros sql.NullInt64
	err = l.row(ctx, "read the heartbeat row", "SELECT MAX(TIMESTAMPDIFF(MICROSECOND, at, NOW(6))) FROM mysqlha.heartbeat WHERE id = ?", []any{heartbeatRow}, &micros)
	if n := serverErrno(err); n == errNoSuchTable || n == errNoSuchDatabase {
		return 0, false, nil // Before bootstrap.
	}
	if err != nil || !micros.Valid {
		return 0, false, err
	}
	return microseconds(micros.Int64), true, nil
}
