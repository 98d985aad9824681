package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Files names the PEM files of one end of a connection.
type Files struct {
	// CA holds the certificates that peers are verified against.
	CA string
	// Cert holds the own certificate, intermediates after it. A client that
	// shows none leaves Cert and Key empty.
	Cert string
	// Key holds the private key of Cert.
	Key string
	// Roles are those of which Cert must have one; empty for any, or none.
	Roles []Role
	// OnError, if set, is told once of each state of the files that cannot be
	// used while the settings go on with the last good one. A pair that is
	// being replaced may be reported for the moment between its two files. It
	// is called within a handshake and must not block.
	OnError func(error)
}

// Check reads the files as a handshake would and reports what would make it
// fail: unreadable files, a key of another certificate, a certificate that has
// expired or that its own CA did not issue.
func (f Files) Check() error {
	pool, err := readPool(f.CA)
	if err != nil {
		return err
	}
	if f.Cert == "" && f.Key == "" {
		return nil
	}
	pair, err := f.readPair()
	if err != nil {
		return err
	}
	return f.verifyOwn(pair, pool)
}

// pairReader reads the own pair, the first one as it is: Check has been asked about that.
// One that takes its place must be one that the CA knows, since others know no more.
func (f Files) pairReader() func() (*tls.Certificate, error) {
	first := true
	return func() (*tls.Certificate, error) {
		pair, err := f.readPair()
		if err == nil && !first {
			var pool *x509.CertPool
			if pool, err = readPool(f.CA); err == nil {
				err = f.verifyOwn(pair, pool)
			}
		}
		first = first && err != nil
		return pair, err
	}
}

// verifyOwn verifies the own certificate as others do.
func (f Files) verifyOwn(pair *tls.Certificate, pool *x509.CertPool) error {
	chain, err := parseChain(pair)
	if err != nil {
		return fmt.Errorf("parsing %s: %w", f.Cert, err)
	}
	if err := verifyChain(chain, pool, x509.ExtKeyUsageAny); err != nil {
		return fmt.Errorf("verifying %s against %s: %w", f.Cert, f.CA, err)
	}
	return nil
}

func parseChain(pair *tls.Certificate) ([]*x509.Certificate, error) {
	chain := make([]*x509.Certificate, len(pair.Certificate))
	for i, der := range pair.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		chain[i] = c
	}
	return chain, nil
}

func readPool(path string) (*x509.CertPool, error) {
	all, err := readAuthorities(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for _, c := range all {
		pool.AddCert(c)
	}
	return pool, nil
}

func (f Files) readPair() (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate %s and its key %s: %w", f.Cert, f.Key, err)
	}
	if have := IdentityOf(pair.Leaf).Role; len(f.Roles) > 0 && !slices.Contains(f.Roles, have) {
		return nil, fmt.Errorf("reading the certificate %s: its common name is %q, and this host needs %s: mysqlha certs issue makes such a one",
			f.Cert, pair.Leaf.Subject.CommonName, anyOf(f.Roles))
	}
	return &pair, nil
}

func anyOf(roles []Role) string {
	names := make([]string, len(roles))
	for i, r := range roles {
		names[i] = string(r)
	}
	return strings.Join(names, " or ")
}

// watched is what was read from some files, read anew when they change.
type watched[T any] struct {
	paths []string
	read  func() (T, error)
	tell  func(error)

	mu sync.Mutex
	// good is the last value that could be read, from files that looked as in
	// seen; have is false before the first.
	good T
	have bool
	seen []os.FileInfo
	// told is how the files looked when they were last reported as unusable.
	told []os.FileInfo
}

// get returns the content of the files as they are now. While they cannot be
// used, half-written perhaps, it returns the last good content: a slip while
// certificates are replaced must not take a running cluster apart, and all that
// is verified is still verified in full. It fails only before the first success.
func (w *watched[T]) get() (T, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	// Looked at before reading: a change in between is seen the next time.
	now, err := look(w.paths)
	if err == nil && w.have && sameFiles(now, w.seen) {
		return w.good, nil
	}
	var fresh T
	if err == nil {
		fresh, err = w.read()
	}
	if err == nil {
		w.good, w.have, w.seen, w.told = fresh, true, now, nil
		return w.good, nil
	}
	if !w.have {
		return fresh, err
	}
	if w.tell != nil && (w.told == nil || !sameFiles(now, w.told)) {
		w.told = now
		w.tell(fmt.Errorf("keeping the former TLS files in use: %w", err))
	}
	return w.good, nil
}

// look returns the state of each file; one that is missing is nil in the list.
func look(paths []string) ([]os.FileInfo, error) {
	infos, errs := make([]os.FileInfo, len(paths)), []error{}
	for i, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		infos[i] = info
	}
	return infos, errors.Join(errs...)
}

// sameFiles compares identity, size and time, so that a file replaced by an
// older one counts as changed as well.
func sameFiles(a, b []os.FileInfo) bool {
	return slices.EqualFunc(a, b, func(x, y os.FileInfo) bool {
		if x == nil || y == nil {
			return x == nil && y == nil
		}
		return os.SameFile(x, y) && x.Size() == y.Size() && x.ModTime().Equal(y.ModTime())
	})
}

// verifyChain verifies a peer's certificates, its own first, against the CA.
func verifyChain(chain []*x509.Certificate, roots *x509.CertPool, usage x509.ExtKeyUsage) error {
	if len(chain) == 0 {
		return errors.New("the peer showed no certificate")
	}
	intermediates := x509.NewCertPool()
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: time.Now(), KeyUsages: []x509.ExtKeyUsage{usage},
	})
	return err
}

// Prove returns the first of the certificates in PEM, a host's own, nil where there is
// none. Its error says why they do not prove a name to whoever trusts the CA.
func Prove(ca string, chain []byte, name string) (*x509.Certificate, error) {
	all, err := Parse(chain)
	if err != nil {
		return nil, err
	}
	pool, err := readPool(ca)
	if err == nil {
		err = verifyChain(all, pool, x509.ExtKeyUsageServerAuth)
	}
	if err == nil {
		err = all[0].VerifyHostname(name)
	}
	return all[0], err
}
