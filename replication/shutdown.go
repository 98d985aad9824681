package replication

import (
	"context"
	"database/sql"
)

// MayShutDown returns the accounts that can stop mysqld by SQL, past its gate,
// sorted. Accounts that are locked cannot log in; who has one of the plugin
// auth_socket is a user of the host that the host's own rights rule.
func (l *Local) MayShutDown(ctx context.Context) ([]string, error) {
	names, err := queryAll(ctx, l.db, func(rows *sql.Rows) (name string, err error) {
		return name, rows.Scan(&name)
	}, `SELECT CONCAT(QUOTE(User), '@', QUOTE(Host)) FROM mysql.user
		WHERE Shutdown_priv = 'Y' AND account_locked = 'N' AND plugin <> 'auth_socket' ORDER BY 1`)
	if err != nil {
		return nil, l.wrap("read which accounts hold SHUTDOWN", explain(err))
	}
	return names, nil
}
