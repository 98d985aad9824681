package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
)

// The files of an authority in its folder.
const (
	// AuthorityCert is the CA's certificate, for every host.
	AuthorityCert = "ca.crt"
	// AuthorityKey is the CA's private key, for nobody but the operator.
	AuthorityKey = "ca.key"
)

// backdate is how far certificates reach into the past, so that hosts whose
// clocks differ accept a new one at once.
const backdate = time.Hour

// Authority is a certificate authority that issues host certificates and no
// further authorities. It is safe for concurrent use.
type Authority struct {
	cert    *x509.Certificate
	key     *ecdsa.PrivateKey
	certPEM []byte
	keyPEM  []byte
}

// NewAuthority makes an authority with a fresh ECDSA P-256 key, valid from one
// hour ago until validFor from now.
func NewAuthority(commonName string, validFor time.Duration) (*Authority, error) {
	return newAuthority(time.Now(), commonName, validFor)
}

func newAuthority(now time.Time, commonName string, validFor time.Duration) (*Authority, error) {
	if err := checkName(commonName); err != nil {
		return nil, fmt.Errorf("making a certificate authority: %w", err)
	}
	if validFor <= 0 {
		return nil, fmt.Errorf("making a certificate authority: it would be valid for %v", validFor)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a certificate authority: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, fmt.Errorf("making a certificate authority: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: commonName},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(validFor),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("making a certificate authority: %w", err)
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return nil, fmt.Errorf("making a certificate authority: %w", err)
	}
	return authorityOf(encodeCert(der), keyPEM)
}

// LoadAuthority reads an authority that WriteTo has written to dir. It refuses
// a key that others may read.
func LoadAuthority(dir string) (*Authority, error) {
	keyFile := filepath.Join(dir, AuthorityKey)
	info, err := os.Stat(keyFile)
	if err != nil {
		return nil, fmt.Errorf("loading the certificate authority: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("loading the certificate authority: others may read %s (mode %04o): chmod 0600 it", keyFile, mode)
	}
	keyPEM, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, fmt.Errorf("loading the certificate authority: %w", err)
	}
	certPEM, err := os.ReadFile(filepath.Join(dir, AuthorityCert))
	if err != nil {
		return nil, fmt.Errorf("loading the certificate authority: %w", err)
	}
	a, err := authorityOf(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("loading the certificate authority from %s: %w", dir, err)
	}
	return a, nil
}

func authorityOf(certPEM, keyPEM []byte) (*Authority, error) {
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	key, isECDSA := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !isECDSA {
		return nil, fmt.Errorf("the key is a %T, not ECDSA", pair.PrivateKey)
	}
	if !pair.Leaf.IsCA || pair.Leaf.KeyUsage&x509.KeyUsageCertSign == 0 {
		return nil, errors.New("the certificate is not one of a certificate authority")
	}
	return &Authority{cert: pair.Leaf, key: key, certPEM: certPEM, keyPEM: keyPEM}, nil
}

// CertPEM returns the authority's certificate.
func (a *Authority) CertPEM() []byte { return bytes.Clone(a.certPEM) }

// WriteTo writes AuthorityCert with mode 0644 and AuthorityKey with mode 0600
// to dir, which it makes if needed; each file appears whole or not at all. It
// refuses to replace another authority, whose certificates would be orphaned.
func (a *Authority) WriteTo(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("writing the certificate authority: %w", err)
	}
	for name, content := range map[string][]byte{AuthorityCert: a.certPEM, AuthorityKey: a.keyPEM} {
		old, err := os.ReadFile(filepath.Join(dir, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return fmt.Errorf("writing the certificate authority: %w", err)
		case !bytes.Equal(old, content):
			return fmt.Errorf("writing the certificate authority: %s already holds another %s: remove it or use another folder", dir, name)
		}
	}
	return writePair(dir, AuthorityCert, a.certPEM, AuthorityKey, a.keyPEM)
}

// writePair writes the key first: whoever finds the certificate finds its key.
func writePair(dir, certName string, certPEM []byte, keyName string, keyPEM []byte) error {
	if err := writeFile(filepath.Join(dir, keyName), keyPEM, 0o600); err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, certName), certPEM, 0o644)
}

// writeFile replaces a file at once and gives it its mode whatever the umask
// and whatever the mode of its predecessor.
func writeFile(path string, content []byte, mode os.FileMode) error {
	if err := renameio.WriteFile(path, content, mode, renameio.WithStaticPermissions(mode)); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// newSerial returns a random serial number of up to 127 bits, above zero.
func newSerial() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	return n.Add(n, big.NewInt(1)), nil
}
