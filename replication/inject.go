package replication

import (
	"context"
	"database/sql/driver"

	"github.com/mysqlha/mysqlha/replication/gtid"
)

// InjectEmpty commits an empty transaction for each GTID of the set; one that is
// executed already is passed over by the server. Each waits for its
// acknowledgement like any other commit.
func (l *Local) InjectEmpty(ctx context.Context, set gtid.Set) error {
	conn, err := l.db.Conn(ctx)
	if err != nil {
		return l.wrap("make empty transactions", err)
	}
	defer func() {
		// The session names a transaction: nobody may use it again.
		_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // It returns what it was given.
		_ = conn.Close()                                           // It is closed already.
	}()
	for g := range set.All() {
		for _, statement := range []string{"SET gtid_next = '" + g.String() + "'", "BEGIN", "COMMIT"} {
			if _, err := conn.ExecContext(ctx, statement); err != nil {
				return l.wrap("make an empty transaction "+g.String(), err)
			}
		}
	}
	return nil
}
