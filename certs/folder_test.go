package certs

import (
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// newFolder makes an authority and the certificates of a host and a person.
func newFolder(t *testing.T) Folder {
	t.Helper()
	f := Folder(filepath.Join(t.TempDir(), "pki"))
	a, err := NewAuthority("first", year)
	if err == nil {
		err = a.WriteTo(string(f))
	}
	if err == nil {
		_, err = f.Issue(For(RoleMember, "db1", []string{"db1.example", "10.0.0.1"}, year/4), For(RoleMysqld, "db1", []string{"db1.example", "rw.example"}, year/4))
	}
	if err == nil {
		_, err = f.Issue(For(RoleOperator, "ann", nil, time.Hour))
	}
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (f Folder) list(t *testing.T) map[string]Issued {
	t.Helper()
	all, err := f.Issued()
	if err != nil {
		t.Fatal(err)
	}
	by := make(map[string]Issued)
	for _, one := range all {
		by[one.Folder+"/"+filepath.Base(one.File)] = one
	}
	return by
}

// prints are the fingerprints that a holder trusts.
func (f Folder) prints(t *testing.T, holder string) []string {
	t.Helper()
	prints, err := Fingerprints(filepath.Join(string(f), holder, AuthorityCert))
	if err != nil {
		t.Fatal(err)
	}
	return prints
}

func TestAFolderHasWhatEachHolderGets(t *testing.T) {
	f := newFolder(t)
	by := f.list(t)
	if len(by) != 3 {
		t.Fatalf("it lists %d certificates: %v", len(by), by)
	}
	host, mysqld, ann := by["db1/host.crt"], by["db1/mysqld.crt"], by["ann/operator.crt"]
	if host.Role != RoleMember || host.Name != "db1" || !slices.Equal(host.Hosts, []string{"db1.example", "10.0.0.1"}) {
		t.Errorf("the daemon's: %+v", host)
	}
	if mysqld.Role != RoleMysqld || !slices.Contains(mysqld.Hosts, "rw.example") || ann.Role != RoleOperator || ann.Name != "ann" {
		t.Errorf("mysqld's: %+v\nthe operator's: %+v", mysqld, ann)
	}
	for name, one := range by {
		if want := f.prints(t, one.Folder)[0]; one.Issuer != want || one.Problem != "" {
			t.Errorf("%s is of %q (%s), and its holder trusts %q", name, one.Issuer, one.Problem, want)
		}
		key, err := os.Stat(strings.TrimSuffix(one.File, ".crt") + ".key")
		if err != nil || key.Mode().Perm() != 0o600 {
			t.Errorf("the key of %s: %v, %v", name, key, err)
		}
	}
	if _, err := f.Issue(For(RoleOperator, "../ann", nil, time.Hour)); err == nil {
		t.Error("a name led out of the folder")
	}
	if _, err := f.Issue(For(RoleOperator, ".ann", nil, time.Hour)); err == nil {
		t.Error("a hidden folder was made")
	}
}

func TestRenewalKeepsWhatACertificateIsAndChangesItsKey(t *testing.T) {
	f := newFolder(t)
	before := f.list(t)
	key := func() string {
		text, err := os.ReadFile(filepath.Join(string(f), "db1", "mysqld.key"))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	old := key()
	if renewed, err := f.Renew(func(i Issued) bool { return i.Due(time.Now()) }); err != nil || len(renewed) != 0 {
		t.Fatalf("what is new was renewed: %v, %v", renewed, err)
	}
	if !before["db1/host.crt"].Due(before["db1/host.crt"].Until.Add(-year / 4 / 4)) {
		t.Error("a certificate with a quarter of its time left is not due")
	}
	renewed, err := f.Renew(func(i Issued) bool { return i.Role == RoleMysqld })
	if err != nil || len(renewed) != 1 {
		t.Fatalf("renewed %v, %v", renewed, err)
	}
	after := f.list(t)
	was, is := before["db1/mysqld.crt"], after["db1/mysqld.crt"]
	if key() == old || was.Print == is.Print {
		t.Error("the key or the certificate is the former one")
	}
	if was.Identity != is.Identity || !slices.Equal(was.Hosts, is.Hosts) || is.Until.Sub(is.From) != was.Until.Sub(was.From) {
		t.Errorf("it was %+v and is %+v", was, is)
	}
	if before["db1/host.crt"].Print != after["db1/host.crt"].Print {
		t.Error("another one was renewed as well")
	}
}

func TestAnAuthorityIsReplacedWithoutAMomentInWhichSomebodyIsNotTrusted(t *testing.T) {
	f := newFolder(t)
	stage := func(want Stage) {
		t.Helper()
		if got, err := f.Stage(); err != nil || got != want {
			t.Fatalf("the stage is %q, %v; want %q", got, err, want)
		}
	}
	// Whoever has the files of one stage must get along with who has those of the next.
	type holder struct {
		roots *x509.CertPool
		own   *x509.Certificate
	}
	look := func() holder {
		t.Helper()
		dir := filepath.Join(string(f), "db1")
		authorities, err := readAuthorities(filepath.Join(dir, AuthorityCert))
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(dir, "host.crt"))
		if err != nil {
			t.Fatal(err)
		}
		chain, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		h := holder{x509.NewCertPool(), chain[0]}
		for _, a := range authorities {
			h.roots.AddCert(a)
		}
		return h
	}
	alongWith := func(a, b holder) {
		t.Helper()
		for _, pair := range [][2]holder{{a, b}, {b, a}} {
			if _, err := pair[0].own.Verify(x509.VerifyOptions{Roots: pair[1].roots}); err != nil {
				t.Errorf("neighbouring stages do not get along: %v", err)
			}
		}
	}
	stage(StageOne)
	one := look()
	if _, err := f.Switch(); err == nil {
		t.Error("switched before it had begun")
	}
	if err := f.Finish(); err == nil {
		t.Error("finished before it had begun")
	}
	if err := f.Begin("second", year); err != nil {
		t.Fatal(err)
	}
	stage(StageBegun)
	begun := look()
	alongWith(one, begun)
	if err := f.Begin("third", year); err == nil {
		t.Error("begun twice")
	}
	if got := f.prints(t, "ann"); len(got) != 2 || got[0] != f.prints(t, "")[0] {
		t.Errorf("ann trusts %v", got)
	}
	former := f.prints(t, "")[0]
	// What is issued now is of the former, which everybody trusts.
	if _, err := f.Issue(For(RoleReader, "bob", nil, time.Hour)); err != nil || f.list(t)["bob/reader.crt"].Issuer != former {
		t.Errorf("bob's is of %q, %v", f.list(t)["bob/reader.crt"].Issuer, err)
	}
	// A switch that was interrupted is done again as a whole.
	if err := os.WriteFile(filepath.Join(string(f), AuthorityKey), must(os.ReadFile(filepath.Join(string(f), nextKey)))(t), 0o600); err != nil {
		t.Fatal(err)
	}
	renewed, err := f.Switch()
	if err != nil || len(renewed) != 4 {
		t.Fatalf("renewed %d, %v", len(renewed), err)
	}
	stage(StageSwitched)
	switched := look()
	alongWith(begun, switched)
	for name, i := range f.list(t) {
		if i.Issuer == former || i.Issuer != f.prints(t, "")[0] {
			t.Errorf("%s is of %q after the switch", name, i.Issuer)
		}
	}
	// Something of the former that came back must not be cut off.
	crt := filepath.Join(string(f), "db1", "host.crt")
	good := must(os.ReadFile(crt))(t)
	if err := os.WriteFile(crt, encodeCert(one.own.Raw), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := f.Finish(); err == nil || !strings.Contains(err.Error(), "host.crt is not of the new one") {
		t.Errorf("finished although one of the former is left: %v", err)
	}
	if err := os.WriteFile(crt, good, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := f.Finish(); err != nil {
		t.Fatal(err)
	}
	stage(StageOne)
	alongWith(switched, look())
	if _, err := one.own.Verify(x509.VerifyOptions{Roots: look().roots}); !errors.As(err, &x509.UnknownAuthorityError{}) {
		t.Errorf("the former authority is still trusted: %v", err)
	}
	if _, err := f.Issue(For(RoleOperator, "cid", nil, time.Hour)); err != nil {
		t.Error(err)
	}
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestTheRoleOfAHostsCertificateIsChecked(t *testing.T) {
	f := newFolder(t)
	dir := filepath.Join(string(f), "db1")
	files := Files{CA: filepath.Join(dir, AuthorityCert), Cert: filepath.Join(dir, "mysqld.crt"), Key: filepath.Join(dir, "mysqld.key"), Roles: []Role{RoleMember}}
	if err := files.Check(); err == nil || !strings.Contains(err.Error(), `common name is "mysqlha-mysqld", and this host needs mysqlha-member`) {
		t.Errorf("a mysqld's certificate passes for a daemon's: %v", err)
	}
	files.Roles = append(files.Roles, RoleMysqld)
	if err := files.Check(); err != nil {
		t.Error(err)
	}
	a := must(LoadAuthority(string(f)))(t)
	if _, _, err := a.Issue(Request{Name: string(RoleMember), Client: true, ValidFor: time.Hour}); err == nil {
		t.Error("a name that is a role was issued")
	}
	if _, _, err := a.Issue(Request{Name: "root", Client: true, ValidFor: time.Hour}); err == nil {
		t.Error("root was issued, whom etcd lets do everything")
	}
	if _, _, err := a.Issue(For("mysqlha-king", "x", nil, time.Hour)); err == nil {
		t.Error("a role that is none was issued")
	}
}
