package main

import (
	"context"
	"crypto/tls"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-sql-driver/mysql"
)

// The bounds of sessions at the database. A session that hangs is given up, so that the
// customer is told to ask again.
const (
	dialTimeout      = time.Second
	statementTimeout = 2500 * time.Millisecond
	mostSessions     = 32
	// sessionLife spreads the readers anew over the replicas.
	sessionLife = time.Minute
	// patience is how long the database is asked again before the customer must, which is
	// several times as long as a failover takes, and againPause the time between two tries.
	patience   = 2 * time.Second
	againPause = 20 * time.Millisecond
)

// duplicate is MySQL's number of the error that a key is there already.
const duplicate = 1062

// The answers that are the customer's matter.
var (
	errTaken    = errors.New("the name is taken")
	errOtherUse = errors.New("the id is that of another order")
	errNone     = errors.New("there is none")
)

// store is the database: the primary to write, replicas to read.
type store struct {
	write, read *sql.DB
	ready       atomic.Bool
	stretchers  stretchers
}

// schema is made when it is needed first, at any number of hosts at once.
var schema = []string{
	`CREATE TABLE IF NOT EXISTS users (
		id BIGINT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(64) NOT NULL UNIQUE, salt BINARY(16) NOT NULL, password BINARY(32) NOT NULL)`,
	`CREATE TABLE IF NOT EXISTS sessions (
		token BINARY(32) PRIMARY KEY, user BIGINT NOT NULL, ends DATETIME(6) NOT NULL, KEY (ends))`,
	`CREATE TABLE IF NOT EXISTS orders (
		id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin PRIMARY KEY, user BIGINT NOT NULL, item VARCHAR(64) NOT NULL, quantity INT NOT NULL,
		note TEXT NOT NULL, placed DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), KEY (user, placed))`,
	// What an order does. Nothing here keeps it from being done twice: the order's own
	// key must.
	`CREATE TABLE IF NOT EXISTS charges (
		number BIGINT AUTO_INCREMENT PRIMARY KEY, order_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, cents BIGINT NOT NULL, KEY (order_id))`,
}

func openStore(o options) (*store, error) {
	pool, err := readPool(o.dbCA)
	if err != nil {
		return nil, err
	}
	password, err := os.ReadFile(o.dbPasswordFile)
	if err != nil {
		return nil, fmt.Errorf("reading the database's password: %w", err)
	}
	open := func(address string) (*sql.DB, error) {
		c := mysql.NewConfig()
		c.User, c.Passwd, c.DBName, c.Net, c.Addr = o.dbUser, strings.TrimSpace(string(password)), o.dbName, "tcp", address
		c.TLS = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, ServerName: o.dbServer}
		c.Timeout, c.ReadTimeout, c.WriteTimeout = dialTimeout, statementTimeout, statementTimeout
		c.ParseTime, c.Logger = true, &mysql.NopLogger{} // Every failure is in an error too.
		connector, err := mysql.NewConnector(c)
		if err != nil {
			return nil, fmt.Errorf("preparing sessions at the database: %w", err)
		}
		db := sql.OpenDB(connector)
		db.SetMaxOpenConns(mostSessions)
		db.SetMaxIdleConns(mostSessions)
		db.SetConnMaxLifetime(sessionLife)
		return db, nil
	}
	s := &store{stretchers: newStretchers()}
	if s.write, err = open(o.write); err != nil {
		return nil, err
	}
	s.read, err = open(o.read)
	return s, err
}

func (s *store) close() {
	_ = s.write.Close() // Every statement has ended.
	if s.read != nil {
		_ = s.read.Close()
	}
}

// again does something that may be done any number of times until the database answers, or
// patience ends. Sessions that the former primary had break when another takes over: who
// asks again gets one of the new primary.
func again(ctx context.Context, do func() error) error {
	for begun := time.Now(); ; {
		err := do()
		switch {
		case err == nil, errors.Is(err, errTaken), errors.Is(err, errOtherUse), errors.Is(err, errNone):
			return err
		case time.Since(begun) > patience:
			return fmt.Errorf("after %s: %w", time.Since(begun).Round(time.Millisecond), err)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(againPause):
		}
	}
}

// prepare makes the schema, unless it was made.
func (s *store) prepare(ctx context.Context) error {
	if s.ready.Load() {
		return nil
	}
	for _, statement := range schema {
		if _, err := s.write.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("making the tables: %w", err)
		}
	}
	s.ready.Store(true)
	return nil
}

// signUp makes a user; one who is there already with the same password is the same.
func (s *store) signUp(ctx context.Context, name, password string) error {
	if err := s.prepare(ctx); err != nil {
		return err
	}
	var there int
	err := s.write.QueryRowContext(ctx, "SELECT 1 FROM users WHERE name = ?", name).Scan(&there)
	if err == nil {
		if _, err = s.user(ctx, name, password); errors.Is(err, errNone) {
			err = errTaken
		}
		return err
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	salt := newSalt()
	kept, err := s.stretchers.stretch(ctx, password, salt)
	if err != nil {
		return err
	}
	// Whoever was faster with the same name is seen the next time.
	_, err = s.write.ExecContext(ctx, "INSERT INTO users (name, salt, password) VALUES (?, ?, ?)", name, salt, kept)
	return err
}

// user returns the number of the user with that name and password.
func (s *store) user(ctx context.Context, name, password string) (id int64, err error) {
	var salt, stored []byte
	// At the primary: who has just signed up may not be on every replica yet.
	err = s.write.QueryRowContext(ctx, "SELECT id, salt, password FROM users WHERE name = ?", name).Scan(&id, &salt, &stored)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, errNone
	}
	if err != nil {
		return 0, err
	}
	kept, err := s.stretchers.stretch(ctx, password, salt)
	if err == nil && !same(kept, stored) {
		err = errNone
	}
	return id, err
}

// signIn begins a session of a user and returns its token.
func (s *store) signIn(ctx context.Context, name, password string) (token string, err error) {
	if err := s.prepare(ctx); err != nil {
		return "", err
	}
	id, err := s.user(ctx, name, password)
	if err != nil {
		return "", err
	}
	token, hash := newToken()
	_, err = s.write.ExecContext(ctx, "INSERT INTO sessions (token, user, ends) VALUES (?, ?, ?)", hash, id, time.Now().UTC().Add(sessionTime))
	return token, err
}

// userOf returns the user whose session a token is.
func (s *store) userOf(ctx context.Context, token string) (id int64, err error) {
	const ask = "SELECT user FROM sessions WHERE token = ? AND ends > ?"
	hash, now := hashOf(token), time.Now().UTC()
	err = s.read.QueryRowContext(ctx, ask, hash, now).Scan(&id)
	if err != nil { // It may be too new for a replica, or none can be asked.
		err = s.write.QueryRowContext(ctx, ask, hash, now).Scan(&id)
	}
	if errors.Is(err, sql.ErrNoRows) {
		err = errNone
	}
	return id, err
}

// order is what a customer wants.
type order struct {
	ID       string    `json:"id"`
	Item     string    `json:"item"`
	Quantity int       `json:"quantity"`
	Note     string    `json:"note,omitempty"`
	Placed   time.Time `json:"placed"`
}

// place writes an order and its charge, both or neither, and tells whether it was new.
// The same order may be placed any number of times. An error that is none of ours says
// nothing: the order may be there or not, and the customer asks again.
func (s *store) place(ctx context.Context, user int64, o order) (fresh bool, err error) {
	if err := s.prepare(ctx); err != nil {
		return false, err
	}
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return false, err
	}
	defer tx.Rollback() //nolint:errcheck // After a commit this does nothing.
	_, err = tx.ExecContext(ctx, "INSERT INTO orders (id, user, item, quantity, note) VALUES (?, ?, ?, ?, ?)", o.ID, user, o.Item, o.Quantity, o.Note)
	if isDuplicate(err) {
		return false, s.compare(ctx, tx, user, o)
	}
	if err == nil {
		_, err = tx.ExecContext(ctx, "INSERT INTO charges (order_id, cents) VALUES (?, ?)", o.ID, prices[o.Item]*int64(o.Quantity))
	}
	if err == nil {
		err = tx.Commit()
	}
	return err == nil, err
}

// compare looks whether the order that is there is the one that is placed again.
func (s *store) compare(ctx context.Context, tx *sql.Tx, user int64, o order) error {
	var there order
	var owner int64
	err := tx.QueryRowContext(ctx, "SELECT user, item, quantity, note FROM orders WHERE id = ?", o.ID).Scan(&owner, &there.Item, &there.Quantity, &there.Note)
	if err == nil && (owner != user || there.Item != o.Item || there.Quantity != o.Quantity || there.Note != o.Note) {
		return errOtherUse
	}
	return err
}

// orders returns the newest of a user, from a replica: what was placed within the last
// moments may be missing.
func (s *store) orders(ctx context.Context, user int64) ([]order, error) {
	rows, err := s.read.QueryContext(ctx, "SELECT id, item, quantity, note, placed FROM orders WHERE user = ? ORDER BY placed DESC LIMIT 100", user)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := []order{}
	for rows.Next() {
		var o order
		if err := rows.Scan(&o.ID, &o.Item, &o.Quantity, &o.Note, &o.Placed); err != nil {
			return nil, err
		}
		all = append(all, o)
	}
	return all, rows.Err()
}

func isDuplicate(err error) bool {
	var told *mysql.MySQLError
	return errors.As(err, &told) && told.Number == duplicate
}
