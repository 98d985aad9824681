package replication

import (
	"context"
	"database/sql"
	"errors"
)

// FollowsWith tells whether the server's receiver logs in at its source with a password;
// true where it has no source.
func (l *Local) FollowsWith(ctx context.Context, password string) (bool, error) {
	var same bool
	err := l.row(ctx, "look whether the receiver has the password", "SELECT User_password = ? FROM mysql.slave_master_info WHERE Channel_name = ''", []any{password}, &same)
	if errors.Is(err, sql.ErrNoRows) {
		return true, nil
	}
	return same, err
}
