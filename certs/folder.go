package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// nextKey is the private key of the authority that takes over, in the folder of an
// authority that is being replaced.
const nextKey = "ca-next.key"

// Folder is where an operator keeps an authority and all that it has issued: the
// authority's files, and for each host or person a folder with its pairs and the
// certificates of the authorities to trust. That is what is copied to the host.
type Folder string

// FileOf is the base name of the files of a certificate with a role.
func FileOf(role Role) string {
	switch role {
	case RoleMember, RoleRedirector:
		return "host" // The daemon's, whatever it does there.
	case "":
		return "client"
	}
	return role.Short()
}

// Issued is one certificate of a folder.
type Issued struct {
	Identity
	// Folder is where it is, File its certificate's path.
	Folder, File string
	// Hosts are the names and addresses that it proves.
	Hosts []string
	// Print is its own fingerprint.
	Print string
	// Issuer is the fingerprint of the authority that issued it, empty for none of
	// those that are trusted.
	Issuer string
	// From and Until are when it begins and ends to be valid.
	From, Until time.Time
	// Problem says why it cannot be used, empty for nothing.
	Problem string

	request Request
}

// usualTime is how long a certificate is valid where nobody says otherwise.
const usualTime = 90 * 24 * time.Hour

// Client tells whether its holder can show it to servers that trust the authorities it
// was judged by.
func (i Issued) Client() bool { return i.Problem == "" && i.request.Client }

// Left is how long it is still valid.
func (i Issued) Left(now time.Time) time.Duration { return i.Until.Sub(now) }

// Due tells whether less than a third of its time is left.
func (i Issued) Due(now time.Time) bool {
	return i.Left(now) < i.Until.Sub(i.From)/3
}

// Fingerprint tells certificates apart: the first half of the SHA-256 of one, in hex.
func Fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:16])
}

// Fingerprints returns those of the certificates in a file of trusted authorities.
func Fingerprints(path string) ([]string, error) {
	all, err := readAuthorities(path)
	prints := make([]string, len(all))
	for i, c := range all {
		prints[i] = Fingerprint(c)
	}
	return prints, err
}

func readAuthorities(path string) ([]*x509.Certificate, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the CA: %w", err)
	}
	all, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("reading the CA: %s: %w", path, err)
	}
	return all, nil
}

// Parse reads all certificates of a PEM text; there must be one, and nothing after the
// last: what was cut off in the middle is no list of certificates.
func Parse(text []byte) (all []*x509.Certificate, err error) {
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			if len(bytes.TrimSpace(rest)) > 0 {
				return nil, errors.New("it ends in the middle of a certificate, or goes on with something else")
			}
			break
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, errors.New("there is no certificate in it")
	}
	return all, nil
}

func (f Folder) file(name string) string { return filepath.Join(string(f), name) }

// Issue issues certificates of one holder into its folder, with the authorities to
// trust, and returns that folder.
func (f Folder) Issue(requests ...Request) (string, error) {
	authority, err := LoadAuthority(string(f))
	if err != nil {
		return "", err
	}
	dir := ""
	for _, q := range requests {
		if q.Name != filepath.Base(q.Name) || strings.HasPrefix(q.Name, ".") {
			return "", fmt.Errorf("issuing a certificate for %q: the name is that of a folder, too: use letters, digits and dashes", q.Name)
		}
		dir = f.file(q.Name)
		if err := authority.IssueTo(dir, FileOf(q.Role), q); err != nil {
			return "", err
		}
	}
	return dir, writeFile(filepath.Join(dir, AuthorityCert), authority.certPEM, 0o644)
}

// Issued lists all certificates of the folder by file.
func (f Folder) Issued() ([]Issued, error) {
	files, err := filepath.Glob(f.file("*/*.crt"))
	if err != nil {
		return nil, fmt.Errorf("listing the certificates of %s: %w", f, err)
	}
	trusted, err := readAuthorities(f.file(AuthorityCert))
	if err != nil {
		return nil, err
	}
	var all []Issued
	for _, file := range files {
		if filepath.Base(file) == AuthorityCert {
			continue
		}
		one, err := read(file, trusted)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

// Look reads one certificate and judges it by the authorities of another file.
func Look(file, ca string) (Issued, error) {
	trusted, err := readAuthorities(ca)
	if err != nil {
		return Issued{}, err
	}
	return read(file, trusted)
}

func read(file string, trusted []*x509.Certificate) (Issued, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return Issued{}, fmt.Errorf("reading a certificate: %w", err)
	}
	chain, err := Parse(text)
	if err != nil {
		return Issued{}, fmt.Errorf("reading the certificate %s: %w", file, err)
	}
	return Describe(chain, trusted, file), nil
}

// Describe says what a certificate is, its own first in the chain, and whether one of
// the trusted authorities has issued it.
func Describe(chain, trusted []*x509.Certificate, file string) Issued {
	c := chain[0]
	one := Issued{Identity: IdentityOf(c), Folder: filepath.Base(filepath.Dir(file)), File: file, Print: Fingerprint(c), From: c.NotBefore, Until: c.NotAfter}
	one.Hosts = slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		one.Hosts = append(one.Hosts, ip.String())
	}
	one.request = Request{Role: one.Role, Name: one.Name, Hosts: one.Hosts, Server: slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth),
		Client: slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth), ValidFor: c.NotAfter.Sub(c.NotBefore) - backdate}
	var why error
	for _, authority := range trusted {
		roots := x509.NewCertPool()
		roots.AddCert(authority)
		if why = verifyChain(chain, roots, x509.ExtKeyUsageAny); why == nil {
			one.Issuer = Fingerprint(authority)
			if !c.NotAfter.Before(authority.NotAfter) {
				one.request.ValidFor = usualTime // It was cut short by the authority's end.
			}
			return one
		}
	}
	if why != nil {
		one.Problem = why.Error()
	}
	return one
}

// Renew issues certificates anew, with a new key each, that are chosen, and gives every
// holder the authorities to trust. It returns what it renewed.
func (f Folder) Renew(chosen func(Issued) bool) ([]Issued, error) {
	authority, err := LoadAuthority(string(f))
	if err != nil {
		return nil, err
	}
	all, err := f.Issued()
	if err != nil {
		return nil, err
	}
	var renewed []Issued
	for _, one := range all {
		dir := filepath.Dir(one.File)
		if chosen(one) {
			base := strings.TrimSuffix(filepath.Base(one.File), ".crt")
			if err := authority.IssueTo(dir, base, one.request); err != nil {
				return renewed, err
			}
			fresh, err := Look(one.File, f.file(AuthorityCert))
			if err != nil {
				return renewed, err
			}
			renewed = append(renewed, fresh)
		}
		if err := writeFile(filepath.Join(dir, AuthorityCert), authority.certPEM, 0o644); err != nil {
			return renewed, err
		}
	}
	return renewed, nil
}

// Stage is how far the replacement of an authority has come.
type Stage string

// The stages. In each the folders of the holders must be copied to their hosts before
// the next one may begin.
const (
	// StageOne: there is one authority.
	StageOne Stage = "one authority"
	// StageBegun: the next one is trusted, and the former issues.
	StageBegun Stage = "the next authority is trusted"
	// StageSwitched: the next one has issued everything, and the former is trusted.
	StageSwitched Stage = "the former authority is trusted still"
)

// Stage tells how far the replacement of the authority has come.
func (f Folder) Stage() (Stage, error) {
	all, err := readAuthorities(f.file(AuthorityCert))
	if err != nil {
		return "", err
	}
	_, err = os.Stat(f.file(nextKey))
	switch {
	case err == nil && len(all) > 1:
		return StageBegun, nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return "", err
	case len(all) > 1:
		return StageSwitched, nil
	}
	return StageOne, nil
}

func (f Folder) at(want Stage) error {
	stage, err := f.Stage()
	if err == nil && stage != want {
		err = fmt.Errorf("replacing the certificate authority: it has come to this: %s", stage)
	}
	return err
}

// Begin makes the next authority and has every holder trust both.
func (f Folder) Begin(commonName string, validFor time.Duration) error {
	if err := f.at(StageOne); err != nil {
		return err
	}
	current, err := LoadAuthority(string(f))
	if err != nil {
		return err
	}
	next, err := NewAuthority(commonName, validFor)
	if err != nil {
		return err
	}
	if _, err := f.Issued(); err != nil { // What would fail later fails before anything is changed.
		return err
	}
	// A key without its certificate means nothing yet; from the certificate on, what is
	// left to do can be done again.
	if err := writeFile(f.file(nextKey), next.keyPEM, 0o600); err != nil {
		return err
	}
	return f.trust(current.certPEM, next.certPEM)
}

// Switch has the next authority issue everything anew; the former is still trusted.
func (f Folder) Switch() ([]Issued, error) {
	if err := f.at(StageBegun); err != nil {
		return nil, err
	}
	next, former, err := f.sorted()
	if err != nil {
		return nil, err
	}
	key, err := os.ReadFile(f.file(nextKey))
	if err != nil {
		return nil, fmt.Errorf("replacing the certificate authority: %w", err)
	}
	// In this order a step that failed half-way is done again as a whole.
	if err := writeFile(f.file(AuthorityKey), key, 0o600); err != nil {
		return nil, err
	}
	if err := writeFile(f.file(AuthorityCert), append(next, former...), 0o644); err != nil {
		return nil, err
	}
	renewed, err := f.Renew(func(Issued) bool { return true })
	if err != nil {
		return renewed, err
	}
	return renewed, os.Remove(f.file(nextKey))
}

// sorted returns the certificates of the next authority, and of all others.
func (f Folder) sorted() (next, others []byte, err error) {
	keyPEM, err := os.ReadFile(f.file(nextKey))
	if err != nil {
		return nil, nil, fmt.Errorf("replacing the certificate authority: %w", err)
	}
	block, _ := pem.Decode(keyPEM)
	if block == nil {
		return nil, nil, fmt.Errorf("replacing the certificate authority: %s holds no key", f.file(nextKey))
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, nil, fmt.Errorf("replacing the certificate authority: %w", err)
	}
	all, err := readAuthorities(f.file(AuthorityCert))
	if err != nil {
		return nil, nil, err
	}
	for _, c := range all {
		private, isECDSA := key.(*ecdsa.PrivateKey)
		if isECDSA && private.PublicKey.Equal(c.PublicKey) {
			next = append(next, encodeCert(c.Raw)...)
		} else {
			others = append(others, encodeCert(c.Raw)...)
		}
	}
	if next == nil {
		return nil, nil, fmt.Errorf("replacing the certificate authority: %s lacks the certificate of %s", f.file(AuthorityCert), f.file(nextKey))
	}
	return next, others, nil
}

// Finish has nobody trust the former authority any more. It refuses while one of its
// certificates is in the folder.
func (f Folder) Finish() error {
	if err := f.at(StageSwitched); err != nil {
		return err
	}
	current, err := LoadAuthority(string(f))
	if err != nil {
		return err
	}
	all, err := f.Issued()
	if err != nil {
		return err
	}
	for _, one := range all {
		if one.Issuer != Fingerprint(current.cert) {
			return fmt.Errorf("replacing the certificate authority: %s is not of the new one: mysqlha certs renew --all", one.File)
		}
	}
	return f.trust(encodeCert(current.cert.Raw))
}

// trust writes the authorities to trust, the issuing one first, for everybody.
func (f Folder) trust(authorities ...[]byte) error {
	if err := writeFile(f.file(AuthorityCert), bytes.Join(authorities, nil), 0o644); err != nil {
		return err
	}
	_, err := f.Renew(func(Issued) bool { return false })
	return err
}
