package guard

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/mysqlha/mysqlha/replication/gtid"
	"github.com/mysqlha/mysqlha/replication/process"
)

// recoveryMessage is the error with which mysqld reports its crash recovery,
// engine by engine.
const recoveryMessage = "MY-013911"

// rolledBack finds in it how many transactions the engine rolled back. Only the
// count of its own ("internal") ones matters: XA ones are none of a rewind's.
var rolledBack = regexp.MustCompile(`rolled back (\d+) internal transaction`)

// verify judges the crash recovery after a rewind as soon as mysqld answers, and
// notes the outcome: until then, and after a failure, the daemon lets the server
// neither replicate nor serve.
func verify(ctx context.Context, o Options, c *child, db *sql.DB, r process.Rewind) {
	for {
		n, err := judge(ctx, db, c.run, r)
		var notYet *notAnsweringError
		if !errors.As(err, &notYet) {
			r.RolledBack, r.State = n, process.RewindVerified
			if err != nil {
				r.State, r.Why = process.RewindFailed, err.Error()
				o.Logger.Error("the rewind has failed: this server must be built anew", "reason", err)
			} else {
				o.Logger.Info("the rewind is verified", "rolled_back", n, "expected", r.Prepared)
			}
			if err := errors.Join(process.WriteRewind(o.RewindFile, r), process.WriteRewind(r.Kept+".json", r)); err != nil {
				o.Logger.Error("the outcome of the rewind cannot be noted", "error", err)
			}
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-c.exited:
			return
		case <-time.After(dialEvery / 4):
		}
	}
}

// notAnsweringError is why mysqld could not be asked.
type notAnsweringError struct{ err error }

func (e *notAnsweringError) Error() string { return e.err.Error() }

func (e *notAnsweringError) Unwrap() error { return e.err }

// judge returns how many transactions were rolled back, and an error where those
// are too few, or where the server has what it should have lost.
func judge(ctx context.Context, db *sql.DB, run process.RunFile, r process.Rewind) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	rows, err := db.QueryContext(ctx, `SELECT DATA FROM performance_schema.error_log WHERE ERROR_CODE = ? AND LOGGED >= FROM_UNIXTIME(?)`,
		recoveryMessage, float64(run.Started.UnixMilli())/1000)
	if err != nil {
		return 0, &notAnsweringError{err}
	}
	defer rows.Close()
	n := 0
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return 0, &notAnsweringError{err}
		}
		if m := rolledBack.FindStringSubmatch(text); m != nil {
			count, _ := strconv.Atoi(m[1]) // The pattern allows digits only.
			n += count
		}
	}
	if err := rows.Err(); err != nil {
		return 0, &notAnsweringError{err}
	}
	var executed gtid.Set
	var text string
	if err := db.QueryRowContext(ctx, "SELECT @@GLOBAL.gtid_executed").Scan(&text); err != nil {
		return 0, &notAnsweringError{err}
	}
	if executed, err = gtid.Parse(text); err != nil {
		return n, fmt.Errorf("after the rewind: %w", err)
	}
	if n < r.Prepared {
		return n, fmt.Errorf("%d transactions were cut off, and the engine has rolled back %d: it had committed the others", r.Prepared, n)
	}
	if left := executed.Intersect(r.GTIDs); !left.IsEmpty() {
		return n, fmt.Errorf("%s were cut off, and the server still counts them as executed", left)
	}
	return n, nil
}
