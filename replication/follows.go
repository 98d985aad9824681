package replication

import (
	"context"
	"database/sql"
	"errors"
)

// FollowsWith tells whether the server's receiver logs in at its source with a password
// and the certificate in a file, empty for none; true where it has no source.
func (l *Local) FollowsWith(ctx context.Context, password, cert string) (bool, error) {
	var same bool
	err := l.row(ctx, "look how the receiver logs in", "SELECT User_password = ? AND Ssl_cert = ? FROM mysql.slave_master_info WHERE Channel_name = ''", []any{password, cert}, &same)
	if errors.Is(err, sql.ErrNoRows) {
		return true, nil
	}
	return same, err
}
