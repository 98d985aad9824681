package replication

import (
	"context"
	"database/sql"
	"slices"
	"strings"
)

// Rights are what an account may do, each as in "SELECT ON mysqlha.*", sorted.
type Rights struct {
	// Account is 'user'@'host', User its name.
	Account, User string
	Granted       []string
	// TLS says that it must log in over TLS, Certificate with a certificate besides.
	TLS, Certificate bool
}

// RightsOf returns the rights that an account of the cluster is to have, by its name;
// false for a name that is none of an account of ours that crosses the network. While a
// lone primary gives its data away its clone account has CONNECTION_ADMIN besides.
func RightsOf(user string) ([]string, bool) {
	switch {
	case strings.HasPrefix(user, replicationPrefix):
		return []string{"REPLICATION SLAVE ON *.*"}, true
	case strings.HasPrefix(user, clonePrefix):
		return []string{"BACKUP_ADMIN ON *.*"}, true
	case strings.HasPrefix(user, probePrefix):
		rights := []string{"REPLICATION CLIENT ON *.*"}
		for _, table := range probeTables {
			rights = append(rights, "SELECT ON performance_schema."+table)
		}
		slices.Sort(rights)
		return rights, true
	}
	return nil, false
}

// accountRights reads the rights of all accounts whose names begin as ours do.
func (l *Local) accountRights(ctx context.Context) ([]Rights, error) {
	type row struct {
		user, account, right string
		proof                string
	}
	rows, err := queryAll(ctx, l.db, func(rows *sql.Rows) (r row, err error) {
		return r, rows.Scan(&r.user, &r.account, &r.right, &r.proof)
	}, `SELECT u.User, CONCAT(QUOTE(u.User), '@', QUOTE(u.Host)) AS account, COALESCE(p.granted, ''), u.ssl_type
		FROM mysql.user AS u LEFT JOIN (
			SELECT GRANTEE, CONCAT(PRIVILEGE_TYPE, ' ON *.*') AS granted FROM information_schema.USER_PRIVILEGES WHERE PRIVILEGE_TYPE <> 'USAGE'
			UNION ALL SELECT GRANTEE, CONCAT(PRIVILEGE_TYPE, ' ON ', TABLE_SCHEMA, '.*') FROM information_schema.SCHEMA_PRIVILEGES
			UNION ALL SELECT GRANTEE, CONCAT(PRIVILEGE_TYPE, ' ON ', TABLE_SCHEMA, '.', TABLE_NAME) FROM information_schema.TABLE_PRIVILEGES
		) AS p ON p.GRANTEE = CONCAT(QUOTE(u.User), '@', QUOTE(u.Host))
		WHERE LEFT(u.User, 7) = 'mysqlha' OR u.User = SUBSTRING_INDEX(CURRENT_USER(), '@', 1) ORDER BY account, 3`)
	if err != nil {
		return nil, l.wrap("read the rights of accounts", err)
	}
	var all []Rights
	for _, r := range rows {
		if len(all) == 0 || all[len(all)-1].Account != r.account {
			all = append(all, Rights{Account: r.account, User: r.user, TLS: r.proof != "", Certificate: r.proof == byCertificate.shown})
		}
		if one := &all[len(all)-1]; r.right != "" {
			one.Granted = append(one.Granted, r.right)
		}
	}
	for i := range all {
		slices.Sort(all[i].Granted)
	}
	return all, nil
}
