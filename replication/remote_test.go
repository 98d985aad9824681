package replication_test

import (
	"context"
	"crypto/tls"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication"
)

func TestClassifyGoesByCodesAlone(t *testing.T) {
	dial := func(err error) error { return &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", err)} }
	cases := []struct {
		name    string
		err     error
		failure decide.Failure
		alive   bool
	}{
		{"no error is life", nil, decide.FailureNone, true},
		{"a port where nobody listens refuses", dial(syscall.ECONNREFUSED), decide.FailureRefused, false},
		{"a deadline is silence", context.DeadlineExceeded, decide.FailureSilent, false},
		{"a lost connection after a deadline is silence", fmt.Errorf("%w (%w)", mysql.ErrInvalidConn, context.DeadlineExceeded), decide.FailureSilent, false},
		{"a host that nobody reaches is silent", dial(syscall.EHOSTUNREACH), decide.FailureSilent, false},
		{"a timeout of the kernel is silence", dial(syscall.ETIMEDOUT), decide.FailureSilent, false},
		{"a connection reset is broken", dial(syscall.ECONNRESET), decide.FailureBroken, false},
		{"an ended stream is broken", io.ErrUnexpectedEOF, decide.FailureBroken, false},
		{"a bad connection is broken", driver.ErrBadConn, decide.FailureBroken, false},
		{"a wrong certificate is broken", &tls.CertificateVerificationError{Err: errors.New("x")}, decide.FailureBroken, false},
		{"a cancelled call says nothing", context.Canceled, decide.FailureNone, false},
		{"a shutdown is broken", &mysql.MySQLError{Number: 1053}, decide.FailureBroken, false},
	}
	for _, n := range []uint16{1040, 1044, 1045, 1129, 1130, 1203, 1698, 3032, 3118, 3159} {
		cases = append(cases, struct {
			name    string
			err     error
			failure decide.Failure
			alive   bool
		}{fmt.Sprintf("error %d is life", n), &mysql.MySQLError{Number: n, Message: "any text"}, decide.FailureNone, true})
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := c.err
			if err != nil {
				err = fmt.Errorf("probe: %w", err)
			}
			if f, alive := replication.Classify(err); f != c.failure || alive != c.alive {
				t.Fatalf("got %q, alive %t; want %q, %t", f, alive, c.failure, c.alive)
			}
		})
	}
}

func TestPasswordsAndProbesOnARealServer(t *testing.T) {
	ctx := t.Context()
	s := startAll(t, "s")[0]
	s.exec(t, "SET GLOBAL read_only = OFF")
	for i, password := range []string{"x", "exactly thirty-two bytes long ..", "ünï 'quoted' \\ \"text\"", strings.Repeat("long ", 51)} {
		user := fmt.Sprintf("u%d", i)
		h := hash(t, password)
		s.exec(t, "CREATE USER "+user+" IDENTIFIED WITH caching_sha2_password AS '"+h+"' REQUIRE SSL")
		if _, err := s.remote(t, user, password).Probe(ctx); err != nil {
			t.Errorf("log in with a password of %d bytes: %v", len(password), err)
		}
		if _, err := s.remote(t, user, password+"!").Probe(ctx); err == nil {
			t.Errorf("a wrong password was let in")
		}
	}
	for _, password := range []string{"", strings.Repeat("x", 256)} {
		if _, err := replication.HashPassword(password); err == nil {
			t.Errorf("a password of %d bytes was taken", len(password))
		}
	}
	kept := s.remote(t, "u0", "x")
	_, err := kept.Probe(ctx)
	do(t, "probe", err)
	do(t, "go offline", s.local.SetOffline(ctx, true))
	_, err = kept.Probe(ctx)
	if f, alive := replication.Classify(err); err == nil || !alive || f != decide.FailureNone {
		t.Errorf("a server in offline_mode: %v is %q, alive %t", err, f, alive)
	}
	do(t, "go online", s.local.SetOffline(ctx, false))
	_, err = kept.Probe(ctx)
	do(t, "probe", err)
	s.freeze(t)
	for range 2 { // The kept connection, then a login.
		short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		_, err = kept.Probe(short)
		cancel()
		if f, alive := replication.Classify(err); f != decide.FailureSilent || alive {
			t.Errorf("a stopped process: %v is %q, alive %t", err, f, alive)
		}
	}
	if _, err := replication.DialRemote(replication.RemoteOptions{Server: "s", TLS: &tls.Config{InsecureSkipVerify: true}}); err == nil {
		t.Error("a TLS configuration that verifies nothing was taken")
	}
}
