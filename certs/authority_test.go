package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const year = 365 * 24 * time.Hour

func newTestAuthority(t *testing.T) *Authority {
	t.Helper()
	a, err := NewAuthority("test CA", year)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAnIssuedCertificateProvesItsHostsForItsUses(t *testing.T) {
	a := newTestAuthority(t)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(a.CertPEM())
	certPEM, keyPEM, err := a.Issue(Request{Name: "db1", Hosts: []string{"DB1.example.", "10.0.0.1", "fd00::1"}, Server: true, Client: true, ValidFor: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	leaf := pair.Leaf
	for _, name := range []string{"db1.example", "10.0.0.1", "fd00::1"} {
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); err != nil {
			t.Errorf("as server %s: %v", name, err)
		}
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Errorf("as client: %v", err)
	}
	if leaf.VerifyHostname("db1") == nil {
		t.Error("the subject's name is taken for a host")
	}
	if key := leaf.PublicKey.(*ecdsa.PublicKey); key.Curve != elliptic.P256() {
		t.Errorf("the key is on %v", key.Curve.Params().Name)
	}
	if leaf.IsCA || leaf.KeyUsage != x509.KeyUsageDigitalSignature || a.cert.KeyUsage != x509.KeyUsageCertSign|x509.KeyUsageCRLSign || !a.cert.MaxPathLenZero {
		t.Errorf("wrong uses: host %v, authority %v", leaf.KeyUsage, a.cert.KeyUsage)
	}
	if early := time.Since(leaf.NotBefore); early < time.Hour || early > time.Hour+time.Minute {
		t.Errorf("valid since %v", early)
	}
	if leaf.SerialNumber.BitLen() < 64 || leaf.SerialNumber.Cmp(a.cert.SerialNumber) == 0 {
		t.Errorf("serial number %v of the host, %v of the authority", leaf.SerialNumber, a.cert.SerialNumber)
	}
}

func TestACertificateForOneUseHasNoOther(t *testing.T) {
	a := newTestAuthority(t)
	for _, c := range []struct {
		q    Request
		want []x509.ExtKeyUsage
	}{
		{Request{Name: "app", Client: true, ValidFor: time.Hour}, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}},
		{Request{Name: "db1", Hosts: []string{"db1"}, Server: true, ValidFor: time.Hour}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}},
	} {
		certPEM, keyPEM, err := a.Issue(c.q)
		if err != nil {
			t.Fatal(err)
		}
		pair, err := tls.X509KeyPair(certPEM, keyPEM)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, pair.Leaf.ExtKeyUsage); diff != "" {
			t.Errorf("%s: (-want +got):\n%s", c.q.Name, diff)
		}
	}
}

func TestACertificateEndsWithItsAuthority(t *testing.T) {
	a := newTestAuthority(t)
	certPEM, keyPEM, err := a.Issue(Request{Name: "app", Client: true, ValidFor: 2 * year})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	if !pair.Leaf.NotAfter.Equal(a.cert.NotAfter) {
		t.Errorf("ends on %v, the authority on %v", pair.Leaf.NotAfter, a.cert.NotAfter)
	}
}

func TestRequestsThatMakeNoSenseAreRefused(t *testing.T) {
	a := newTestAuthority(t)
	expired, err := newAuthority(time.Now().Add(-2*time.Hour), "old CA", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, want string
		a          *Authority
		q          Request
	}{
		{"no use", "neither server nor client", a, Request{Name: "x", ValidFor: time.Hour}},
		{"a server without hosts", "at least one host", a, Request{Name: "x", Server: true, ValidFor: time.Hour}},
		{"no time", "valid for 0s", a, Request{Name: "x", Client: true}},
		{"no name", "1 to 64 bytes", a, Request{Client: true, ValidFor: time.Hour}},
		{"a name with a newline", "control characters", a, Request{Name: "a\nb", Client: true, ValidFor: time.Hour}},
		{"a wildcard", "neither a host name", a, Request{Name: "x", Server: true, Hosts: []string{"*.example"}, ValidFor: time.Hour}},
		{"an empty host", "neither a host name", a, Request{Name: "x", Server: true, Hosts: []string{""}, ValidFor: time.Hour}},
		{"a host with its port", "neither a host name", a, Request{Name: "x", Server: true, Hosts: []string{"db1:3306"}, ValidFor: time.Hour}},
		{"an expired authority", "has expired", expired, Request{Name: "x", Client: true, ValidFor: time.Hour}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, _, err := c.a.Issue(c.q); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	if _, err := NewAuthority("x", 0); err == nil {
		t.Error("an authority without a time was made")
	}
	if err := a.IssueTo(t.TempDir(), "../x", Request{Name: "x", Client: true, ValidFor: time.Hour}); err == nil {
		t.Error("a certificate was written outside its folder")
	}
}

func TestAnAuthorityComesBackFromItsFolder(t *testing.T) {
	// The modes must not depend on the umask.
	defer syscall.Umask(syscall.Umask(0o077))
	dir := filepath.Join(t.TempDir(), "new", "ca")
	a := newTestAuthority(t)
	for range 2 { // writing the same again changes nothing
		if err := a.WriteTo(dir); err != nil {
			t.Fatal(err)
		}
	}
	back, err := LoadAuthority(dir)
	if err != nil {
		t.Fatal(err)
	}
	q := Request{Name: "db1", Hosts: []string{"db1"}, Server: true, Client: true, ValidFor: time.Hour}
	if err := back.IssueTo(dir, "db1", q); err != nil {
		t.Fatal(err)
	}
	if err := (Files{CA: dir + "/ca.crt", Cert: dir + "/db1.crt", Key: dir + "/db1.key"}).Check(); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]os.FileMode{"ca.crt": 0o644, "ca.key": 0o600, "db1.crt": 0o644, "db1.key": 0o600} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v; want %v", name, info.Mode(), err, want)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 4 {
		t.Errorf("left in the folder: %v, %v", entries, err)
	}
	if err := newTestAuthority(t).WriteTo(dir); err == nil {
		t.Error("another authority was overwritten")
	}
}

func TestAnAuthorityThatCannotBeTrustedIsNotLoaded(t *testing.T) {
	for _, c := range []struct {
		name, want string
		spoil      func(dir string) error
	}{
		{"its key is open to others", "chmod 0600", func(dir string) error { return os.Chmod(dir+"/ca.key", 0o640) }},
		{"its key is missing", "no such file", func(dir string) error { return os.Remove(dir + "/ca.key") }},
		{"its key is another's", "does not match", func(dir string) error {
			other, err := NewAuthority("other", year)
			if err != nil {
				return err
			}
			return os.WriteFile(dir+"/ca.crt", other.CertPEM(), 0o644)
		}},
		{"it is a host's certificate", "not one of a certificate authority", func(dir string) error {
			a, err := LoadAuthority(dir)
			if err != nil {
				return err
			}
			return a.IssueTo(dir, "ca", Request{Name: "x", Client: true, ValidFor: time.Hour})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := newTestAuthority(t).WriteTo(dir); err != nil {
				t.Fatal(err)
			}
			if err := c.spoil(dir); err != nil {
				t.Fatal(err)
			}
			if _, err := LoadAuthority(dir); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
