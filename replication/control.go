package replication

import (
	"context"
	"errors"
)

// ownAccount is the row of the account that this is logged in with.
const ownAccount = "mysql.user WHERE CONCAT(User, '@', Host) = CURRENT_USER()"

// HasFormerPassword tells whether a second password opens the account that this is
// logged in with.
func (l *Local) HasFormerPassword(ctx context.Context) (had bool, err error) {
	err = l.row(ctx, "look for a former password", "SELECT JSON_EXTRACT(User_attributes, '$.additional_password') IS NOT NULL FROM "+ownAccount, nil, &had)
	return had, err
}

// HasPassword tells whether the newest password of the account has this hash.
func (l *Local) HasPassword(ctx context.Context, hash string) (has bool, err error) {
	err = l.row(ctx, "look for a password", "SELECT authentication_string = ? FROM "+ownAccount, []any{hash}, &has)
	return has, err
}

// GivePassword lets another password, told by its hash, open the account that this is
// logged in with; the present one stays good besides. None of it is written to the binary
// log. A server with super_read_only refuses it, unless unlock has that be off meanwhile;
// read_only, which then must be on, is not touched.
func (l *Local) GivePassword(ctx context.Context, hash string, unlock bool) error {
	return l.alterOwn(ctx, "give the daemon's account a password", unlock, "ALTER USER CURRENT_USER() IDENTIFIED WITH caching_sha2_password AS ? RETAIN CURRENT PASSWORD", hash)
}

// DropFormerPassword has the newer password alone open the account, as GivePassword.
func (l *Local) DropFormerPassword(ctx context.Context, unlock bool) error {
	return l.alterOwn(ctx, "drop the former password of the daemon's account", unlock, "ALTER USER CURRENT_USER() DISCARD OLD PASSWORD")
}

func (l *Local) alterOwn(ctx context.Context, doing string, unlock bool, statement string, args ...any) (err error) {
	if unlock {
		if err := l.readBack(ctx, doing, "SELECT @@global.read_only AND @@global.super_read_only"); err != nil {
			return err
		}
		defer func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeDeadline)
			defer cancel()
			err = errors.Join(err, l.SetSuperReadOnly(ctx))
		}()
		if err := l.exec(ctx, doing, "SET GLOBAL super_read_only = OFF"); err != nil {
			return err
		}
	}
	conn, err := l.db.Conn(ctx)
	if err != nil {
		return l.wrap(doing, err)
	}
	defer func() { err = firstError(err, discard(conn)) }()
	var id int64
	if err := conn.QueryRowContext(ctx, "SELECT CONNECTION_ID()").Scan(&id); err != nil {
		return l.wrap(doing, err)
	}
	if _, err := conn.ExecContext(ctx, "SET SESSION sql_log_bin = OFF"); err != nil {
		return l.wrap(doing, err)
	}
	if _, err := conn.ExecContext(ctx, statement, args...); err != nil {
		if ctx.Err() == nil {
			return l.wrap(doing, err)
		}
		return errors.Join(l.wrap(doing, err), l.withdraw(context.WithoutCancel(ctx), id)) // Else it would take effect later.
	}
	return nil
}
