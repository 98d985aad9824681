package replication

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"syscall"

	"github.com/go-sql-driver/mysql"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication/gtid"
)

// RemoteOptions say how to reach another host's mysqld.
type RemoteOptions struct {
	// Server is its name in errors, Address its host:port.
	Server  string
	Address string
	// User is a probe account; Password is asked for at each login.
	User     string
	Password func() (string, error)
	// TLS must verify the server fully; it is not copied and must not change.
	TLS *tls.Config
}

// Remote reads another host's mysqld over TLS. It keeps one connection, and
// makes a new one where that has ended. It is for one goroutine at a time: a
// second caller waits for the first.
type Remote struct {
	server string
	db     *sql.DB
}

// DialRemote returns a Remote; the first call of it connects. A missing TLS
// configuration is refused. Close it after use.
func DialRemote(o RemoteOptions) (*Remote, error) {
	if o.TLS == nil || o.TLS.InsecureSkipVerify && o.TLS.VerifyConnection == nil {
		return nil, fmt.Errorf("probe %s: a TLS configuration that verifies the server is needed", o.Server)
	}
	cfg := sessionConfig(o.User)
	cfg.Net, cfg.Addr, cfg.TLS = "tcp", o.Address, o.TLS
	db, err := openPool(cfg, o.Password)
	if err != nil {
		return nil, fmt.Errorf("configure the connection to %s: %w", o.Server, err)
	}
	db.SetMaxOpenConns(1)
	db.SetMaxIdleConns(1)
	return &Remote{server: o.Server, db: db}, nil
}

// Close ends the connection.
func (r *Remote) Close() error { return r.db.Close() }

// ProbeResult is what a probe reads.
type ProbeResult struct {
	ServerUUID string
	ServerID   uint32
	ReadOnly   bool
	Version    string
}

// Probe asks the server who and how it is. Classify tells what an error means.
func (r *Remote) Probe(ctx context.Context) (ProbeResult, error) {
	var p ProbeResult
	err := r.row(ctx, "probe", "SELECT @@global.server_uuid, @@global.server_id, @@global.read_only, @@global.version",
		&p.ServerUUID, &p.ServerID, &p.ReadOnly, &p.Version)
	if err != nil {
		return ProbeResult{}, err
	}
	return p, nil
}

// Executed returns the server's gtid_executed.
func (r *Remote) Executed(ctx context.Context) (gtid.Set, error) {
	var text string
	if err := r.row(ctx, "read the executed set", "SELECT @@global.gtid_executed", &text); err != nil {
		return gtid.Set{}, err
	}
	set, err := gtid.Parse(text)
	if err != nil {
		return gtid.Set{}, fmt.Errorf("read the executed set of %s: %w", r.server, err)
	}
	return set, nil
}

func (r *Remote) row(ctx context.Context, doing, query string, dest ...any) error {
	err := r.db.QueryRowContext(ctx, query).Scan(dest...)
	if err == nil {
		return nil
	}
	// A driver that is interrupted may tell only that its connection is gone.
	if cause := ctx.Err(); cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%s %s: %w (%w)", doing, r.server, err, cause)
	}
	return fmt.Errorf("%s %s: %w", doing, r.server, err)
}

// aliveErrnos are the server's errors that only a living server makes: it
// refuses us, and does its work.
var aliveErrnos = []uint16{
	errTooManyConnections, errDBAccess, errAccess, errHostBlocked, errHostNotPrivileged, errTableAccess,
	errTooManyOfUser, errUserLimit, errPrivilege, errAccessNoPassword, errPasswordExpired, errOffline,
	errAccountLocked, errTLSRequired, errAccountBlockedLogin,
}

// RefusesClients tells whether an error says that the server is in offline_mode.
func RefusesClients(err error) bool { return serverErrno(err) == errOffline }

// Classify tells what the error of a probe means, by codes alone, and whether
// it proves the server alive. A call that was cancelled is neither a failure
// nor a proof of life.
func Classify(err error) (failure decide.Failure, alive bool) {
	if err == nil {
		return decide.FailureNone, true
	}
	var answer *mysql.MySQLError
	if errors.As(err, &answer) {
		if slices.Contains(aliveErrnos, answer.Number) {
			return decide.FailureNone, true
		}
		return decide.FailureBroken, false
	}
	var verification *tls.CertificateVerificationError
	var host x509.HostnameError
	var network net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return decide.FailureRefused, false
	case errors.As(err, &verification), errors.As(err, &host):
		return decide.FailureBroken, false
	case errors.Is(err, context.Canceled):
		return decide.FailureNone, false
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.Is(err, syscall.ETIMEDOUT), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH),
		errors.As(err, &network) && network.Timeout():
		return decide.FailureSilent, false
	}
	return decide.FailureBroken, false
}
