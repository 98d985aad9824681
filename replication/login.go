package replication

import (
	"context"
	"errors"

	"github.com/go-sql-driver/mysql"
)

// Login logs in at another host's mysqld over TLS, to see whether an account and its
// password are known there, and out again.
func Login(ctx context.Context, o RemoteOptions) error {
	r, err := DialRemote(o)
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // nothing depends on how the connection ends
	return r.db.PingContext(ctx)
}

// RefusesLogin tells whether an error says that an account or its password is not known.
func RefusesLogin(err error) bool {
	var answer *mysql.MySQLError
	return errors.As(err, &answer) && (answer.Number == errAccess || answer.Number == errAccessNoPassword)
}
