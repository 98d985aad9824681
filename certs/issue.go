package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Request says what a certificate is to be for.
type Request struct {
	// Role is what its holder is for a cluster; empty for a certificate without rights
	// there.
	Role Role
	// Name tells people and logs whose certificate it is; see [Identity]. The subject
	// is never compared with a host name.
	Name string
	// Hosts are the DNS names and IP addresses that the certificate proves;
	// needed with Server. Wildcards are refused.
	Hosts []string
	// Server and Client allow the use as that end of a connection; at least
	// one is needed, and a role has its own.
	Server, Client bool
	// ValidFor is the time from now on; the certificate ends earlier if the
	// authority does.
	ValidFor time.Duration
}

// For returns the request of a role.
func For(role Role, name string, hosts []string, validFor time.Duration) Request {
	return Request{Role: role, Name: name, Hosts: hosts, Server: role.Serves(), Client: true, ValidFor: validFor}
}

var hostLabel = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$`)

// Issue makes a key and a certificate for it, both as PEM.
func (a *Authority) Issue(q Request) (certPEM, keyPEM []byte, err error) {
	return a.issue(time.Now(), q)
}

func (a *Authority) issue(now time.Time, q Request) (certPEM, keyPEM []byte, err error) {
	template, err := q.template(now)
	if err != nil {
		return nil, nil, fmt.Errorf("issuing a certificate for %q: %w", q.Name, err)
	}
	if !now.Before(a.cert.NotAfter) {
		return nil, nil, fmt.Errorf("issuing a certificate for %q: the authority has expired on %s", q.Name, a.cert.NotAfter.Format(time.RFC3339))
	}
	if template.NotAfter.After(a.cert.NotAfter) {
		template.NotAfter = a.cert.NotAfter
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("issuing a certificate for %q: %w", q.Name, err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, nil, fmt.Errorf("issuing a certificate for %q: %w", q.Name, err)
	}
	if keyPEM, err = encodeKey(key); err != nil {
		return nil, nil, fmt.Errorf("issuing a certificate for %q: %w", q.Name, err)
	}
	return encodeCert(der), keyPEM, nil
}

// IssueTo issues a certificate and writes it to dir, which it makes if needed,
// as base.crt with mode 0644 and base.key with mode 0600. Files that are there
// are replaced, each at once; TLS settings of this package that use them go on
// with the former pair until both are new.
func (a *Authority) IssueTo(dir, base string, q Request) error {
	if base == "" || base != filepath.Base(base) || base == "." || base == ".." {
		return fmt.Errorf("issuing a certificate for %q: %q is not a file name", q.Name, base)
	}
	certPEM, keyPEM, err := a.Issue(q)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("issuing a certificate for %q: %w", q.Name, err)
	}
	if err := writePair(dir, base+".crt", certPEM, base+".key", keyPEM); err != nil {
		return fmt.Errorf("issuing a certificate for %q: %w", q.Name, err)
	}
	return nil
}

func (q Request) template(now time.Time) (*x509.Certificate, error) {
	if err := checkName(q.Name); err != nil {
		return nil, err
	}
	if q.Role != "" && !slices.Contains(Roles(), q.Role) {
		return nil, fmt.Errorf("%q is not a role", q.Role)
	}
	if q.Role == "" && q.Name == "root" {
		return nil, errors.New("etcd takes the name root for that of one who may do everything")
	}
	if q.Role == "" && IdentityOf(&x509.Certificate{Subject: q.subject()}).Role != "" {
		return nil, fmt.Errorf("%q is a role, and no name", q.Name)
	}
	switch {
	case !q.Server && !q.Client:
		return nil, errors.New("it is for neither server nor client")
	case q.Server && len(q.Hosts) == 0:
		return nil, errors.New("a server needs at least one host name or IP address")
	case q.ValidFor <= 0:
		return nil, fmt.Errorf("it would be valid for %v", q.ValidFor)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               q.subject(),
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(q.ValidFor),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
	}
	if q.Server {
		t.ExtKeyUsage = append(t.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	if q.Client {
		t.ExtKeyUsage = append(t.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	}
	for _, host := range q.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
			continue
		}
		name := strings.ToLower(strings.TrimSuffix(host, "."))
		if !isHostName(name) {
			return nil, fmt.Errorf("%q is neither a host name nor an IP address", host)
		}
		t.DNSNames = append(t.DNSNames, name)
	}
	return t, nil
}

func (q Request) subject() pkix.Name {
	if q.Role == "" {
		return pkix.Name{CommonName: q.Name}
	}
	return pkix.Name{CommonName: string(q.Role), OrganizationalUnit: []string{q.Name}}
}

func isHostName(name string) bool {
	for label := range strings.SplitSeq(name, ".") {
		if !hostLabel.MatchString(label) {
			return false
		}
	}
	return len(name) <= 253
}

// checkName refuses what X.509 has no room for or what would garble a log.
func checkName(name string) error {
	const most = 64 // the upper bound of a common name in RFC 5280
	if name == "" || len(name) > most {
		return fmt.Errorf("its name must have 1 to %d bytes, not %d", most, len(name))
	}
	if strings.ContainsFunc(name, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return fmt.Errorf("its name %q has control characters", name)
	}
	return nil
}
