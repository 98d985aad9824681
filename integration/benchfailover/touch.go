package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// rowsAtOnce is MySQL's default limit of a recursive query.
const rowsAtOnce = 1000

// touch makes mysqld use its buffer pool up to nine tenths: a temporary table
// grows until it has that size. Its pages live in the pool like all others and
// are dirty, yet they need neither redo nor binlog, so no replica has the work.
// The table lasts as long as the session that is returned.
func touch(ctx context.Context, db *sql.DB, schema string, bytes int64) (*sql.Conn, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("filling the buffer pool: %w", err)
	}
	// Two rows of this size fill a page of 16 KiB.
	const row = 8 << 10
	statements := []string{"CREATE TEMPORARY TABLE " + schema + ".ballast (pad VARBINARY(7900) NOT NULL) ENGINE=InnoDB"}
	for left := bytes / 10 * 9 / row; left > 0; left -= rowsAtOnce {
		statements = append(statements, fmt.Sprintf("INSERT INTO %s.ballast WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL"+
			" SELECT i + 1 FROM n WHERE i < %d) SELECT REPEAT('x', 7900) FROM n", schema, min(left, rowsAtOnce)))
	}
	for _, statement := range statements {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			return nil, errors.Join(fmt.Errorf("filling the buffer pool: %w", err), conn.Close())
		}
	}
	return conn, nil
}
