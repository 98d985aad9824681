package reference

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mysqlha/mysqlha/certs"
	"github.com/mysqlha/mysqlha/config"
)

// bundleOptions are those of a bundle of the example, with packages that are empty.
func bundleOptions(t *testing.T) BundleOptions {
	t.Helper()
	dir := t.TempDir()
	o := BundleOptions{Description: filepath.Join(dir, "site.yaml"), PKI: filepath.Join(dir, "pki"), Out: filepath.Join(dir, "bundle"),
		Packages: filepath.Join(dir, "packages"), Shop: filepath.Join(dir, "shop"), Arch: runtime.GOARCH}
	ca, err := certs.NewAuthority("test", time.Hour*24*1000)
	if err != nil {
		t.Fatal(err)
	}
	if err := ca.WriteTo(o.PKI); err != nil {
		t.Fatal(err)
	}
	// The beginning of a program is enough.
	program := elf.Header64{Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)}, Type: uint16(elf.ET_EXEC), Version: uint32(elf.EV_CURRENT),
		Machine: uint16(map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[o.Arch])}
	var text bytes.Buffer
	if err := binary.Write(&text, binary.LittleEndian, program); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(o.Shop, text.Bytes(), 0o755); err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{o.Description: string(HostsExample), o.Packages + "/mysqlha_1.0.0-1_" + o.Arch + ".deb": "a", o.Packages + "/mysqlhad_1.0.0-1_" + o.Arch + ".deb": "b"} {
		if err := writeFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

// sums are those of all files of a bundle.
func sums(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	if err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(filepath.Join(dir, path))
		all[path] = fmt.Sprintf("%x", sha256.Sum256(text))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestTheExampleOfHostsIsASite(t *testing.T) {
	o := bundleOptions(t)
	s, err := config.LoadSite(o.Description)
	if err != nil {
		t.Fatal(err)
	}
	if err := checkHosts(s); err != nil || len(s.Hosts) != 10 {
		t.Errorf("it has %d hosts: %v", len(s.Hosts), err)
	}
}

func TestABundleIsTheSameEachTimeAndNewOnlyWhereTheSiteIs(t *testing.T) {
	o := bundleOptions(t)
	if err := Bundle(o); err != nil {
		t.Fatal(err)
	}
	first := sums(t, o.Out)
	if err := Bundle(o); err != nil {
		t.Fatal(err)
	}
	if again := sums(t, o.Out); !maps.Equal(first, again) {
		t.Error("a second bundle is another one")
	}
	// With one more application server the others' own certificates stay as they are, and
	// every mysqld proves the new redirector's name.
	text := strings.Replace(string(HostsExample), "  - {name: db1", "  - {name: app3, tiers: [app], addresses: [10.0.3.3]}\n  - {name: db1", 1)
	if err := os.WriteFile(o.Description, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Bundle(o); err != nil {
		t.Fatal(err)
	}
	next := sums(t, o.Out)
	for _, same := range []string{"db1/files/etc/mysqlha/host.crt", "app1/files/etc/shop/tls/client.key", "app1/files/etc/shop/db.password", "db2/files/etc/mysqlha/mysqlhad.yaml", "lb1/files/etc/haproxy/haproxy.cfg"} {
		if first[same] == "" || first[same] != next[same] {
			t.Errorf("%s is another one", same)
		}
	}
	for _, other := range []string{"db1/files/etc/mysqlha/mysqld.crt", "web1/files/etc/nginx/nginx.conf", "mon/files/etc/prometheus/prometheus.yml", "db1/files/etc/mysqlha/site.yaml"} {
		if first[other] == "" || first[other] == next[other] {
			t.Errorf("%s is still the former one", other)
		}
	}
}

// Nothing of a bundle leads to this machine, and no key is anybody's to read.
func TestABundleTellsNothingOfThisMachineAndKeepsItsSecrets(t *testing.T) {
	o := bundleOptions(t)
	if err := Bundle(o); err != nil {
		t.Fatal(err)
	}
	for path := range sums(t, o.Out) {
		file := filepath.Join(o.Out, path)
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte(filepath.Dir(o.Out))) || bytes.Contains(text, []byte("<no value>")) {
			t.Errorf("%s tells of this machine, or lacks something:\n%s", path, text)
		}
		if secret := bytes.Contains(text, []byte("PRIVATE KEY")) || strings.Contains(path, "password") || strings.HasSuffix(path, ".sql"); secret && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has the mode %s", path, info.Mode())
		}
	}
	for _, line := range strings.Split(strings.TrimSpace(readFile(t, filepath.Join(o.Out, "app1/manifest"))), "\n") {
		if f := strings.Fields(line); len(f) != 4 || (strings.HasSuffix(f[3], ".key") || strings.HasSuffix(f[3], "password")) && f[0] != "600" {
			t.Errorf("app1 gets %q", line)
		}
	}
}

func readFile(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The daemons take the configuration that they get.
func TestTheDaemonsOfABundleTakeTheirConfiguration(t *testing.T) {
	o := bundleOptions(t)
	if err := Bundle(o); err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"db1", "db3", "app2"} {
		tree := filepath.Join(o.Out, host, "files")
		text := strings.ReplaceAll(readFile(t, filepath.Join(tree, "etc/mysqlha/mysqlhad.yaml")), "/etc/mysqlha/", tree+"/etc/mysqlha/")
		file := filepath.Join(t.TempDir(), "mysqlhad.yaml")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if c, err := config.Load(file, nil); err != nil || c.Name != host || len(c.Servers) != 3 {
			t.Errorf("%s: %v", host, err)
		}
	}
	if rules, err := filepath.Glob(filepath.Join(o.Out, "mon/files/etc/prometheus/*.rules.yml")); err != nil || len(rules) != 1+len(siteRules()) {
		t.Errorf("Prometheus has the rules %v: %v", rules, err)
	}
	options := readFile(t, filepath.Join(o.Out, "db3/files/etc/mysql/conf.d/mysqlha.cnf"))
	for _, want := range []string{"\nserver_id = 3\n", "\nbind_address = 10.0.4.3\n", "\nsync_binlog = 1\n"} {
		if !strings.Contains(options, want) {
			t.Errorf("the options of db3 lack %q:\n%s", want, options)
		}
	}
}

func TestTheScriptsOfABundleAreSound(t *testing.T) {
	o := bundleOptions(t)
	if err := Bundle(o); err != nil {
		t.Fatal(err)
	}
	checks := [][]string{{"bash", "-n"}}
	if _, err := exec.LookPath("shellcheck"); err == nil {
		checks = append(checks, []string{"shellcheck"})
	}
	for _, script := range []string{"all", "lb1/install", "web1/install", "app1/install", "db1/install", "mon/install"} {
		for _, check := range checks {
			if out, err := exec.CommandContext(t.Context(), check[0], append(check[1:], filepath.Join(o.Out, script))...).CombinedOutput(); err != nil {
				t.Errorf("%s of %s: %v\n%s", check[0], script, err, out)
			}
		}
	}
}

// An account that is there gets a password that was changed.
func TestAnotherPasswordReachesTheAccount(t *testing.T) {
	o := bundleOptions(t)
	if err := writeFile(filepath.Join(o.PKI, "app.password"), []byte("Another1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Bundle(o); err != nil {
		t.Fatal(err)
	}
	sql := readFile(t, filepath.Join(o.Out, "db1/account.sql"))
	made, changed := strings.Index(sql, "CREATE USER IF NOT EXISTS 'app'@'%' IDENTIFIED BY 'Another1' REQUIRE SSL;\n"), strings.Index(sql, "ALTER USER 'app'@'%' IDENTIFIED BY 'Another1' REQUIRE SSL;\n")
	if made < 0 || changed < made {
		t.Errorf("db1 runs\n%s", sql)
	}
}

// Whoever has a certificate that browsers know shows that one.
func TestCustomersMaySeeACertificateOfAnotherAuthority(t *testing.T) {
	o := bundleOptions(t)
	other, err := certs.NewAuthority("other", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := other.IssueTo(dir, "public", certs.Request{Name: "public", Hosts: []string{"shop.example"}, Server: true, ValidFor: time.Hour}); err != nil {
		t.Fatal(err)
	}
	o.PublicCert, o.PublicKey = filepath.Join(dir, "public.crt"), filepath.Join(dir, "public.key")
	if err := Bundle(o); err != nil {
		t.Fatal(err)
	}
	if readFile(t, filepath.Join(o.Out, "web1/files/etc/nginx/tls/public/client.crt")) != readFile(t, o.PublicCert) {
		t.Error("nginx shows another one")
	}
	if text := readFile(t, filepath.Join(o.Out, "lb1/files/etc/haproxy/haproxy.cfg")); !strings.Contains(text, "ca-file @system-ca verifyhost shop.example") {
		t.Errorf("HAProxy trusts somebody else:\n%s", text)
	}
	o.PublicCA = o.PublicCert
	if err := Bundle(o); err != nil {
		t.Fatal(err)
	}
	if text := readFile(t, filepath.Join(o.Out, "lb2/files/etc/haproxy/haproxy.cfg")); !strings.Contains(text, "ca-file /etc/haproxy/tls/public-ca.crt verifyhost") {
		t.Errorf("HAProxy trusts somebody else:\n%s", text)
	}
	if err := other.IssueTo(dir, "public", certs.Request{Name: "public", Hosts: []string{"elsewhere.example"}, Server: true, ValidFor: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if err := Bundle(o); err == nil || !strings.Contains(err.Error(), "shop.example") {
		t.Errorf("a certificate of another name: %v", err)
	}
}

func TestWhatCannotBeBundledIsRefused(t *testing.T) {
	for _, c := range []struct {
		name, says string
		spoil      func(*testing.T, *BundleOptions)
	}{
		{"a folder of somebody else", "holds something that is no bundle", func(t *testing.T, o *BundleOptions) {
			if err := writeFile(filepath.Join(o.Out, "precious"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}},
		{"a folder of somebody else with a file hosts", "holds something that is no bundle", func(t *testing.T, o *BundleOptions) {
			if err := writeFile(filepath.Join(o.Out, "hosts"), []byte("db1 10.0.4.1 db\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}},
		{"a mark of another meaning", "holds something that is no bundle", func(t *testing.T, o *BundleOptions) {
			if err := writeFile(filepath.Join(o.Out, ".mysqlha-bundle"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}},
		{"a file", "name another folder", func(t *testing.T, o *BundleOptions) {
			if err := writeFile(o.Out, []byte("precious\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}},
		{"no authority", "mysqlha certs init", func(t *testing.T, o *BundleOptions) { o.PKI = t.TempDir() }},
		{"a password that SQL would take for more", "app.password has something else than letters and digits", func(t *testing.T, o *BundleOptions) {
			if err := writeFile(filepath.Join(o.PKI, "app.password"), []byte("a'; DROP SCHEMA app; --\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{"no packages", "has no package mysqlha", func(t *testing.T, o *BundleOptions) { o.Packages = t.TempDir() }},
		{"packages of two versions", "packages of several versions", func(t *testing.T, o *BundleOptions) {
			if err := writeFile(filepath.Join(o.Packages, "mysqlha_2.0.0-1_"+o.Arch+".deb"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}},
		{"a shop for other machines", "build it with CGO_ENABLED=0 GOARCH=", func(t *testing.T, o *BundleOptions) {
			o.Arch = map[string]string{"amd64": "arm64", "arm64": "amd64"}[o.Arch]
			for _, name := range []string{"mysqlha", "mysqlhad"} {
				if err := writeFile(filepath.Join(o.Packages, name+"_1.0.0-1_"+o.Arch+".deb"), nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}},
		{"a site without balancers", "0 hosts of the tier lb", func(t *testing.T, o *BundleOptions) {
			if err := os.WriteFile(o.Description, []byte(strings.ReplaceAll(string(HostsExample), "tiers: [lb]", "tiers: [web]")), 0o644); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		o := bundleOptions(t)
		c.spoil(t, &o)
		if err := Bundle(o); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: it says %v, want %q", c.name, err, c.says)
		}
		left, err := filepath.Glob(o.Out + "*")
		if err != nil || len(left) > 0 && !slices.Equal(left, []string{o.Out}) {
			t.Errorf("%s: left are %v (%v)", c.name, left, err)
		}
	}
}
