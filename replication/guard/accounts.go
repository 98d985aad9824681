package guard

import (
	"crypto/rand"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strings"
)

const (
	passwordLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	passwordLength  = 32
	// passwordTail satisfies the strictest policy of validate_password, which
	// may be installed later and is asked at a repair.
	passwordTail = "-aA1"
)

// userName is what a control account may be called; nothing in it needs quotes.
var userName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,31}$`)

func checkUser(name string) error {
	if !userName.MatchString(name) || strings.EqualFold(name, "root") {
		return fmt.Errorf("control account %q: want up to 32 letters, digits and underscores, and not root", name)
	}
	return nil
}

// newPassword returns 32 characters, 28 of them random (166 bits).
func newPassword() (string, error) {
	var b strings.Builder
	for b.Len() < passwordLength-len(passwordTail) {
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(passwordLetters))))
		if err != nil {
			return "", fmt.Errorf("make a password: %w", err)
		}
		b.WriteByte(passwordLetters[n.Int64()])
	}
	return b.String() + passwordTail, nil
}

// grants are the rights of the control account, each with what needs it.
//
//   - SELECT: performance_schema, the state of accounts, and the doctor's look
//     at tables without a primary key, which shows only readable tables.
//   - PROCESS, REPLICATION CLIENT: threads, transactions and replica status.
//   - RELOAD: RESET REPLICA, RESET BINARY LOGS AND GTIDS, the stop's read lock.
//   - CREATE USER: make, lock and unlock the replication and probe accounts.
//   - EVENT, SET_ANY_DEFINER, ALLOW_NONEXISTENT_DEFINER: enable events after a
//     promotion and leave their definers as they are.
//   - REPLICATION_SLAVE_ADMIN: CHANGE REPLICATION SOURCE, START, STOP.
//   - SYSTEM_VARIABLES_ADMIN: read_only, semi-sync, offline_mode, gtid_purged.
//   - SESSION_VARIABLES_ADMIN: sql_log_bin.
//   - CONNECTION_ADMIN: KILL, logins under offline_mode and beyond
//     max_connections, own commits under read_only.
//   - SERVICE_CONNECTION_ADMIN: the administrative port.
//   - SYSTEM_USER: without it sessions of accounts that have it can neither be
//     killed nor ended by offline_mode, and others could alter this account.
//   - CLONE_ADMIN, BACKUP_ADMIN: CLONE INSTANCE; the donor's account.
//   - INSERT and DELETE on mysql.plugin: INSTALL and UNINSTALL PLUGIN.
//   - CREATE, INSERT and UPDATE on mysqlha: the heartbeat's schema, table and row.
//
// Static rights carry the grant option because REPLICATION SLAVE, REPLICATION
// CLIENT and SELECT are handed to the accounts that it makes; of the dynamic
// ones BACKUP_ADMIN and CONNECTION_ADMIN are handed to a clone's donor account.
func grants() []string {
	return []string{
		"GRANT SELECT, PROCESS, RELOAD, CREATE USER, EVENT, REPLICATION CLIENT, REPLICATION SLAVE ON *.* TO %s WITH GRANT OPTION",
		"GRANT REPLICATION_SLAVE_ADMIN, SYSTEM_VARIABLES_ADMIN, SESSION_VARIABLES_ADMIN, SERVICE_CONNECTION_ADMIN, " +
			"SYSTEM_USER, CLONE_ADMIN, SET_ANY_DEFINER, ALLOW_NONEXISTENT_DEFINER ON *.* TO %s",
		"GRANT BACKUP_ADMIN, CONNECTION_ADMIN ON *.* TO %s WITH GRANT OPTION",
		"GRANT INSERT, DELETE ON mysql.plugin TO %s",
		"GRANT CREATE, INSERT, UPDATE ON mysqlha.* TO %s",
	}
}

// ControlRights returns all rights of the control account, each as in "SELECT ON *.*",
// sorted.
func ControlRights() (rights []string) {
	for _, grant := range grants() {
		list, rest, _ := strings.Cut(strings.TrimPrefix(grant, "GRANT "), " ON ")
		on, _, _ := strings.Cut(rest, " TO ")
		for right := range strings.SplitSeq(list, ", ") {
			rights = append(rights, right+" ON "+on)
		}
	}
	slices.Sort(rights)
	return rights
}

// ControlPrivileges returns the global privileges of the control account, as
// information_schema.USER_PRIVILEGES names them.
func ControlPrivileges() (names []string) {
	for _, grant := range grants() {
		list, global := strings.CutPrefix(grant, "GRANT ")
		list, _, all := strings.Cut(list, " ON *.* TO ")
		if global && all {
			names = append(names, strings.Split(list, ", ")...)
		}
	}
	return names
}

// ControlSQL returns the statements that make the control account of a server that
// runs already, or give an existing one a new password, without a trace in the binary
// log where that is off for the session; and the password.
func ControlSQL(user string) (statements []string, password string, err error) {
	if err := checkUser(user); err != nil {
		return nil, "", err
	}
	if password, err = newPassword(); err != nil {
		return nil, "", err
	}
	return controlSQL(user, password)[1:], password, nil
}

// CertificateSQL returns the statements that have a running mysqld serve a certificate,
// for as long as nobody says otherwise. They are files of its host.
func CertificateSQL(ca, cert, key string) []string {
	set := func(scope string) string {
		return fmt.Sprintf("SET %[1]s ssl_ca = '%[2]s', %[1]s ssl_cert = '%[3]s', %[1]s ssl_key = '%[4]s'", scope, quote(ca), quote(cert), quote(key))
	}
	return []string{set("GLOBAL"), "ALTER INSTANCE RELOAD TLS", set("PERSIST")} // Kept only if it can be used.
}

// controlSQL makes the control account, or sets it right, without a trace in
// the binary log: each server has its own.
func controlSQL(user, password string) []string {
	account := "'" + user + "'@'localhost'"
	by := " IDENTIFIED WITH caching_sha2_password BY '" + quote(password) + "'"
	statements := []string{
		"SET SESSION sql_log_bin = 0",
		"CREATE USER IF NOT EXISTS " + account + by,
		"ALTER USER " + account + by + " ACCOUNT UNLOCK PASSWORD EXPIRE NEVER",
		"ALTER USER " + account + " DISCARD OLD PASSWORD", // A donor's may have come along.
	}
	for _, g := range grants() {
		statements = append(statements, fmt.Sprintf(g, account))
	}
	return statements
}

// rootSQL leaves root@localhost to nobody who knows a password. With the
// plugin auth_socket it is the operating system's root user who may log in
// over the socket, and osUser, if given; without it, root has a random password
// that is kept nowhere, and is brought back by a start with an init_file.
func rootSQL(password string, socketPlugin bool, osUser string) []string {
	if !socketPlugin {
		return []string{"ALTER USER 'root'@'localhost' IDENTIFIED WITH caching_sha2_password BY '" + quote(password) + "'"}
	}
	as := ""
	if osUser != "" {
		as = " AS '" + quote(osUser) + "'"
	}
	return []string{
		"INSTALL PLUGIN auth_socket SONAME '" + socketPluginFile + "'",
		"ALTER USER 'root'@'localhost' IDENTIFIED WITH auth_socket" + as,
	}
}

func quote(s string) string {
	return strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(s)
}
