package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// material is the watched content of Files.
type material struct {
	pool *watched[*x509.CertPool]
	pair *watched[*tls.Certificate]
}

func newMaterial(f Files) material {
	return material{
		pool: &watched[*x509.CertPool]{paths: []string{f.CA}, tell: f.OnError,
			read: func() (*x509.CertPool, error) { return readPool(f.CA) }},
		pair: &watched[*tls.Certificate]{paths: []string{f.Cert, f.Key}, tell: f.OnError, read: f.pairReader()},
	}
}

// ServerConfig returns settings for listeners: TLS 1.2 or newer, with the
// certificate and the CA as they are on disk at each handshake. With clientAuth
// a client must show a certificate that the CA issued for clients.
//
// Files that cannot be read fail the handshakes; Files.Check tells beforehand.
// A client's certificate is found in ConnectionState.PeerCertificates, verified;
// VerifiedChains stays empty. Sessions are not resumed, so that a CA taken out
// of the file ends its trust with the next connection.
func ServerConfig(files Files, clientAuth bool) *tls.Config {
	m := newMaterial(files)
	c := m.server()
	if clientAuth {
		c.ClientAuth = tls.RequireAnyClientCert // and VerifyConnection verifies it
	}
	return c
}

// OptionalClientServerConfig is ServerConfig for an endpoint where a client may
// show a certificate: one that is shown is verified or refused, and the handler
// decides by ConnectionState.PeerCertificates what a client without one may do.
func OptionalClientServerConfig(files Files) *tls.Config {
	m := newMaterial(files)
	c := m.server()
	c.ClientAuth = tls.RequestClientCert
	return c
}

func (m material) server() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS12,
		SessionTicketsDisabled: true,
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return m.pair.get() },
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 {
				return nil // whether one is needed is ClientAuth's decision
			}
			if err := m.verify(s.PeerCertificates, x509.ExtKeyUsageClientAuth); err != nil {
				return fmt.Errorf("verifying the client's certificate: %w", err)
			}
			return nil
		},
	}
}

func (m material) verify(chain []*x509.Certificate, usage x509.ExtKeyUsage) error {
	pool, err := m.pool.get()
	if err != nil {
		return err
	}
	return verifyChain(chain, pool, usage)
}

// ClientConfig returns settings for dialling one server: TLS 1.2 or newer, with
// the own certificate, if any, and the CA as they are on disk at each handshake.
// The server's certificate must come from the CA, be for servers, be valid now,
// carry serverName, a host name or an IP address, and have one of the roles, or any
// where none is named. An empty serverName refuses every server.
func ClientConfig(files Files, serverName string, roles ...Role) *tls.Config {
	c := ClientConfigAny(files, func() []string { return []string{serverName} }, roles...)
	c.ServerName = serverName
	return c
}

// ClientConfigAny is ClientConfig for one client of several servers, such as
// those of etcd: the certificate must carry one of the names of the moment. A host
// name that the dialler sets for a connection (SNI) must be among them and is then
// the only one accepted.
func ClientConfigAny(files Files, serverNames func() []string, roles ...Role) *tls.Config {
	m := newMaterial(files)
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if files.Cert == "" && files.Key == "" {
				return &tls.Certificate{}, nil // shows none
			}
			return m.pair.get()
		},
		// Not a way around verification: VerifyConnection, which also runs for
		// resumed sessions, does all of it against the CA of the moment.
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			if err := m.verify(s.PeerCertificates, x509.ExtKeyUsageServerAuth); err != nil {
				return fmt.Errorf("verifying the server's certificate: %w", err)
			}
			if err := verifyName(s, serverNames()); err != nil {
				return fmt.Errorf("verifying the server's name: %w", err)
			}
			if have := IdentityOf(s.PeerCertificates[0]).Role; len(roles) > 0 && !slices.Contains(roles, have) {
				return fmt.Errorf("verifying the server's role: its certificate is that of %q, and %s is asked for", s.PeerCertificates[0].Subject.CommonName, anyOf(roles))
			}
			return nil
		},
	}
}

// plainName is a host name in the one spelling in which names are compared.
func plainName(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// verifyName checks that the server is one of names. ConnectionState has no
// name where the dialler meant an IP address.
func verifyName(s tls.ConnectionState, serverNames []string) error {
	names := slices.Clone(serverNames)
	for i, n := range names {
		names[i] = plainName(n)
	}
	if dialled := plainName(s.ServerName); dialled != "" {
		if !slices.Contains(names, dialled) {
			return fmt.Errorf("%q is not among the servers to dial, %q", dialled, names)
		}
		names = []string{dialled}
	}
	var errs []error
	for _, name := range names {
		if name == "" {
			continue
		}
		err := s.PeerCertificates[0].VerifyHostname(name)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	if len(errs) == 0 {
		return errors.New("no server name to verify was configured")
	}
	return errors.Join(errs...)
}
