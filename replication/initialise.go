package replication

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// closeDeadline bounds the closing of a server after a step that failed or was
// cancelled.
const closeDeadline = 5 * time.Second

// schema is what the first primary gets besides the accounts. The row with id 1
// carries the term and what its primary had executed to every replica.
var schema = []string{
	"CREATE DATABASE IF NOT EXISTS mysqlha",
	`CREATE TABLE IF NOT EXISTS mysqlha.heartbeat (
		id TINYINT UNSIGNED NOT NULL PRIMARY KEY,
		term BIGINT UNSIGNED NOT NULL,
		server VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
		executed_set LONGTEXT CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
		counter BIGINT UNSIGNED NOT NULL,
		at DATETIME(6) NOT NULL
	) ENGINE = InnoDB COMMENT = 'Written by the daemon of the primary'`,
}

// probeTables are what a probe account may read besides variables.
var probeTables = []string{
	"replication_connection_configuration",
	"replication_connection_status",
	"replication_applier_status",
	"replication_applier_status_by_coordinator",
	"replication_applier_status_by_worker",
}

// Initialise makes the heartbeat table and all servers' accounts on the first
// primary and lets them into the binary log. The server must be closed
// (ErrOpen) and semi-sync off (ErrNotPrepared): a hung CREATE USER blocks every
// login. It stays closed: super_read_only is on again afterwards, also where a
// statement failed. Doing it again makes what is missing and corrects what
// differs.
func (l *Local) Initialise(ctx context.Context, accounts []decide.Account) (err error) {
	const doing = "initialise"
	for _, a := range accounts {
		if err := checkAccount(a); err != nil {
			return l.wrap(doing, err)
		}
	}
	if err := l.readyToInitialise(ctx); err != nil {
		return l.wrap(doing, err)
	}
	if err := l.exec(ctx, doing, "SET GLOBAL super_read_only = OFF"); err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeDeadline)
		defer cancel()
		err = errors.Join(err, l.SetSuperReadOnly(ctx))
	}()
	for _, statement := range schema {
		if err := l.exec(ctx, "make the heartbeat table", statement); err != nil {
			return err
		}
	}
	for _, a := range accounts {
		if err := l.makeAccounts(ctx, a, ""); err != nil {
			return err
		}
	}
	return nil
}

// Adopt likewise makes schema and accounts on a primary that takes writes already, by
// somebody else's will, and leaves it open. New replication accounts are locked, as by
// AddAccounts. Commits must not wait for replicas (ErrNotPrepared). A server that was
// restarted meanwhile is closed, and stays so.
func (l *Local) Adopt(ctx context.Context, accounts []decide.Account) error {
	const doing = "adopt"
	err := l.closed(ctx)
	if err == nil {
		return l.Initialise(ctx, accounts)
	}
	if !errors.Is(err, ErrOpen) {
		return l.wrap(doing, err)
	}
	if err := l.notWaiting(ctx); err != nil {
		return l.wrap(doing, err)
	}
	for _, statement := range schema {
		if err := l.exec(ctx, "make the heartbeat table", statement); err != nil {
			return err
		}
	}
	for _, a := range accounts {
		if err := checkAccount(a); err != nil {
			return l.wrap(doing, err)
		}
		if err := l.makeAccounts(ctx, a, " ACCOUNT LOCK"); err != nil {
			return err
		}
	}
	return nil
}

// AddAccounts makes the accounts of a server on the open primary where any is
// missing, has another password or asks for another proof besides, and lets that into the binary log. A new
// replication account is locked: LockAccounts unlocks it when its server may attach
// (S3). It reports whether there was anything to do.
func (l *Local) AddAccounts(ctx context.Context, a decide.Account) (bool, error) {
	const doing = "make accounts"
	if err := checkAccount(a); err != nil {
		return false, l.wrap(doing, err)
	}
	want, have := 3, 0
	if a.Witness {
		want = 1
	}
	// Where the former passwords are not to be good any more, there must be none.
	err := l.row(ctx, doing, `SELECT COUNT(*) FROM mysql.user WHERE Host = '%'
			AND (User IN (?, ?) AND authentication_string = ? AND ssl_type = ? OR User = ? AND authentication_string = ? AND ssl_type = ?)
			AND (? OR JSON_EXTRACT(User_attributes, '$.additional_password') IS NULL)`,
		[]any{ReplicationUser(a.Server), CloneUser(a.Server), a.ReplicationHash, proofOf(a).shown, ProbeUser(a.Server), a.ProbeHash, byCertificate.shown, a.Former}, &have)
	if err != nil || have == want {
		return false, err
	}
	return true, l.makeAccounts(ctx, a, " ACCOUNT LOCK")
}

// DropAccounts drops all accounts of a server that leaves from the open primary,
// lets that into the binary log, and ends their sessions.
func (l *Local) DropAccounts(ctx context.Context, server string) error {
	if err := checkServerName(server); err != nil {
		return l.wrap("drop accounts", err)
	}
	users := []string{ReplicationUser(server), CloneUser(server), ProbeUser(server)}
	for _, user := range users {
		if err := l.exec(ctx, "drop the account "+user, "DROP USER IF EXISTS ?@'%'", user); err != nil {
			return err
		}
	}
	if err := l.endSessions(ctx, users, quietLooks); err != nil {
		return l.wrap("end the sessions of dropped accounts", err)
	}
	return nil
}

// account is one account of a server on all others.
type account struct {
	user, hash string
	proof      proof
	lock       string // what ends the statement that makes it
}

// proof is what an account must show besides its password: as REQUIRE asks for it, and as
// mysql.user shows it.
type proof struct{ asked, shown string }

// A daemon has a certificate of the cluster, or it could not speak to the others.
var (
	byCertificate = proof{"X509", "X509"}
	byTLS         = proof{"SSL", "ANY"}
)

// proofOf is what a server must show when it replicates or is cloned.
func proofOf(a decide.Account) proof {
	if a.Certified {
		return byCertificate
	}
	return byTLS
}

func checkAccount(a decide.Account) error {
	if err := checkServerName(a.Server); err != nil {
		return err
	}
	if !validHash(a.ProbeHash) || !a.Witness && !validHash(a.ReplicationHash) {
		return fmt.Errorf("a hash of the accounts of %s is not a caching_sha2_password hash", a.Server)
	}
	return nil
}

func (l *Local) readyToInitialise(ctx context.Context) error {
	if err := l.closed(ctx); err != nil {
		return err
	}
	return l.notWaiting(ctx)
}

// notWaiting fails with ErrNotPrepared where commits wait for replicas.
func (l *Local) notWaiting(ctx context.Context) error {
	var waits int
	err := l.row(ctx, "read the semi-sync state", `SELECT COUNT(*) FROM performance_schema.global_variables
		WHERE VARIABLE_NAME = 'rpl_semi_sync_source_enabled' AND VARIABLE_VALUE = 'ON'`, nil, &waits)
	if err != nil {
		return err
	}
	if waits > 0 {
		return fmt.Errorf("%w: rpl_semi_sync_source_enabled is on", ErrNotPrepared)
	}
	return nil
}

// makeAccounts makes all accounts of one server; lock is what follows in the
// statement that makes a replication account.
func (l *Local) makeAccounts(ctx context.Context, a decide.Account, lock string) error {
	accounts := []account{{ProbeUser(a.Server), a.ProbeHash, byCertificate, ""}}
	if !a.Witness {
		accounts = append(accounts, account{ReplicationUser(a.Server), a.ReplicationHash, proofOf(a), lock}, account{CloneUser(a.Server), a.ReplicationHash, proofOf(a), ""})
	}
	for _, one := range accounts {
		if err := l.makeUser(ctx, one, a.Former); err != nil {
			return err
		}
		rights, _ := RightsOf(one.user) // It is one of ours.
		if err := l.grant(ctx, one.user, rights...); err != nil {
			return err
		}
	}
	return nil
}

// makeUser makes an account, or sets an existing one right; with former its present
// password stays good besides a new one, and without there is no other one.
func (l *Local) makeUser(ctx context.Context, a account, former bool) error {
	doing := "make the account " + a.user
	var hash, proof string
	var second bool
	err := l.row(ctx, doing, "SELECT CAST(authentication_string AS CHAR), ssl_type, JSON_EXTRACT(User_attributes, '$.additional_password') IS NOT NULL FROM mysql.user WHERE User = ? AND Host = '%'",
		[]any{a.user}, &hash, &proof, &second)
	if errors.Is(err, sql.ErrNoRows) {
		return l.exec(ctx, doing, "CREATE USER IF NOT EXISTS ?@'%' IDENTIFIED WITH caching_sha2_password AS ? REQUIRE "+a.proof.asked+" PASSWORD EXPIRE NEVER"+a.lock, a.user, a.hash)
	}
	if err == nil && hash != a.hash {
		retain := ""
		if former {
			retain = " RETAIN CURRENT PASSWORD"
		}
		err = l.exec(ctx, doing, "ALTER USER ?@'%' IDENTIFIED WITH caching_sha2_password AS ?"+retain+" PASSWORD EXPIRE NEVER", a.user, a.hash)
	}
	if err == nil && proof != a.proof.shown {
		err = l.exec(ctx, doing, "ALTER USER ?@'%' REQUIRE "+a.proof.asked, a.user)
	}
	if err == nil && second && !former {
		err = l.exec(ctx, "drop the former password of "+a.user, "ALTER USER ?@'%' DISCARD OLD PASSWORD", a.user)
	}
	return err
}

func (l *Local) grant(ctx context.Context, user string, rights ...string) error {
	for _, right := range rights {
		if err := l.exec(ctx, "grant rights to "+user, "GRANT "+right+" TO ?@'%'", user); err != nil {
			return err
		}
	}
	return nil
}

// systemSchemas are there on an empty server.
var systemSchemas = []string{"mysql", "sys", "information_schema", "performance_schema"}

// IsEmpty reports whether the server holds no data: nothing was ever executed
// and there is no schema but the system's own.
func (l *Local) IsEmpty(ctx context.Context) (bool, error) {
	const doing = "look whether the server is empty"
	var executed string
	if err := l.row(ctx, doing, "SELECT @@global.gtid_executed", nil, &executed); err != nil {
		return false, err
	}
	schemas, err := queryAll(ctx, l.db, func(rows *sql.Rows) (s string, err error) {
		return s, rows.Scan(&s)
	}, "SHOW DATABASES")
	if err != nil {
		return false, l.wrap(doing, err)
	}
	foreign := slices.ContainsFunc(schemas, func(s string) bool {
		return !slices.Contains(systemSchemas, strings.ToLower(s))
	})
	return executed == "" && !foreign, nil
}
