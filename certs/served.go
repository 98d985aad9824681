package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// Protocol is what is spoken on a port before TLS.
type Protocol string

// The protocols.
const (
	// PlainTLS begins with TLS.
	PlainTLS Protocol = "tls"
	// MySQL begins with the server's greeting.
	MySQL Protocol = "mysql"
)

// lookTimeout bounds a look at one port where the context allows more.
const lookTimeout = 5 * time.Second

// Served returns the certificates that are served at an address, the host's own first.
// They have not been verified: use [Describe] and VerifyHostname.
func Served(ctx context.Context, address string, protocol Protocol) ([]*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("looking at the certificate of %s: %w", address, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if protocol == MySQL {
		if err := startMySQLTLS(conn); err != nil {
			return nil, fmt.Errorf("looking at the certificate of %s: %w", address, err)
		}
	}
	var seen []*x509.Certificate
	session := tls.Client(conn, &tls.Config{
		MinVersion: tls.VersionTLS12,
		// Nothing is said over this connection: what is served is what is asked.
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			seen = s.PeerCertificates
			return nil
		},
	})
	if err := session.HandshakeContext(ctx); err != nil && seen == nil {
		return nil, fmt.Errorf("looking at the certificate of %s: %w", address, err)
	} else if err == nil && protocol == MySQL {
		endMySQL(session)
	}
	if len(seen) == 0 {
		return nil, fmt.Errorf("looking at the certificate of %s: it shows none", address)
	}
	return seen, nil
}

// The flags of MySQL's protocol that a request for TLS has.
const (
	mysqlProtocol41   = 0x200
	mysqlTLS          = 0x800
	mysqlSecure       = 0x8000
	mysqlPluginAuth   = 0x80000
	mysqlCharset      = 255
	mysqlLargestBegin = 1 << 16
)

// startMySQLTLS reads a mysqld's greeting and asks for TLS.
func startMySQLTLS(conn io.ReadWriter) error {
	var head [4]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return fmt.Errorf("reading mysqld's greeting: %w", err)
	}
	length := int(head[0]) | int(head[1])<<8 | int(head[2])<<16
	if length == 0 || length > mysqlLargestBegin {
		return errors.New("it does not speak MySQL")
	}
	greeting := make([]byte, length)
	if _, err := io.ReadFull(conn, greeting); err != nil {
		return fmt.Errorf("reading mysqld's greeting: %w", err)
	}
	if greeting[0] != 10 {
		return errors.New("it does not let us in: it refuses the host, or does not speak MySQL")
	}
	request := make([]byte, 36)
	request[0], request[3] = 32, head[3]+1
	binary.LittleEndian.PutUint32(request[4:], mysqlProtocol41|mysqlTLS|mysqlSecure|mysqlPluginAuth)
	binary.LittleEndian.PutUint32(request[8:], 1<<24)
	request[12] = mysqlCharset
	_, err := conn.Write(request)
	return err
}

// endMySQL asks to be let in as nobody and is refused. A mysqld counts connections that
// end before that, and blocks a host after some.
func endMySQL(session io.ReadWriter) {
	body := make([]byte, 32, 80)
	binary.LittleEndian.PutUint32(body, mysqlProtocol41|mysqlTLS|mysqlSecure|mysqlPluginAuth)
	binary.LittleEndian.PutUint32(body[4:], 1<<24)
	body[8] = mysqlCharset
	body = append(body, "mysqlha_looks_at_tls\x00\x00caching_sha2_password\x00"...)
	head := []byte{byte(len(body)), 0, 0, 2}
	if _, err := session.Write(append(head, body...)); err == nil {
		_, _ = session.Read(make([]byte, 512)) // The refusal.
	}
}
