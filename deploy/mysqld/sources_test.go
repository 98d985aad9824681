package mysqld_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// withSources gives the machine apt sources in both styles and an apt-get that prints each source it is asked to
// read, then fails as one does that reaches no archive.
func (m *machine) withSources(t *testing.T, files map[string]string) {
	t.Helper()
	etc := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(etc, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	stub(t, filepath.Join(m.bin, "dpkg"), "echo amd64")
	stub(t, filepath.Join(m.bin, "apt-config"), `
case $1 in
shell) echo "main='`+etc+`/sources.list'; parts='`+etc+`'" ;;
dump) echo 'Acquire::http::Proxy "http://proxy.example:3128";'; echo 'DPkg::Post-Invoke:: "rm -rf /";' ;;
esac`)
	stub(t, filepath.Join(m.bin, "apt-get"), `
exec 3>>"$ASKED"
echo "--- source" >&3; cat "${3#Dir::Etc::sourceparts=}"/* >&3
echo "--- hooks" >&3; grep -c Invoke "$APT_CONFIG" >&3
echo "--- proxy" >&3; grep -c proxy.example "$APT_CONFIG" >&3
echo "E: no archive here"; exit 100`)
}

func TestUnstableIsAskedOfTheMachinesOwnMirrorsWithTheirKeys(t *testing.T) {
	if release, _ := os.ReadFile("/etc/os-release"); !strings.Contains(string(release), "debian") {
		t.Skip("the script reads apt's sources on Debian only")
	}
	for _, tc := range []struct {
		name  string
		files map[string]string
		want  []string // the sources asked, in order; none means the script finds no archive
	}{
		{
			"a deb822 stanza",
			map[string]string{"debian.sources": "Types: deb deb-src\n# a comment\nURIs: http://one.example/debian\n" +
				"Suites: stable stable-updates\nComponents: main contrib\nSigned-By: /keys/one.gpg\n"},
			[]string{"URIs: http://one.example/debian", "Signed-By: /keys/one.gpg"},
		},
		{
			"a key inside a deb822 stanza",
			map[string]string{"debian.sources": "Types: deb\nURIs: http://one.example/debian\nSuites: stable\n" +
				"Components: main\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBF\n"},
			[]string{"Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBF\n"},
		},
		{
			"lines in sources.list",
			map[string]string{"sources.list": "# deb http://zero.example/debian stable main\n" +
				"deb cdrom:[Debian]/ stable main\ndeb-src http://src.example/debian stable main\n" +
				"deb [arch=amd64 signed-by=/keys/a.gpg,/keys/b.gpg] http://one.example/debian stable main # ours\n" +
				"deb http://two.example/debian/ testing main contrib"},
			[]string{"URIs: http://one.example/debian\n", "Signed-By: /keys/a.gpg /keys/b.gpg", "URIs: http://two.example/debian/\n"},
		},
		{
			"security archives, third parties and disabled stanzas are not asked",
			map[string]string{"x.list": "deb http://security.example/ stable-security main\n" +
				"deb http://node.example/ nodistro main\ndeb http://docker.example/ stable stable\n",
				"y.sources": "Enabled: no\nTypes: deb\nURIs: http://off.example/\nSuites: stable\nComponents: main\n"},
			nil,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := newMachine(t)
			m.withSources(t, tc.files)
			seen := m.fetchAndFail(t)
			if tc.want == nil {
				if seen != "" {
					t.Fatalf("asked:\n%s\nwant nothing asked", seen)
				}
				return
			}
			rest := seen
			for _, want := range tc.want {
				_, after, found := strings.Cut(rest, want)
				if !found {
					t.Fatalf("asked:\n%s\nwant %q, in this order: %q", seen, want, tc.want)
				}
				rest = after
			}
			asked := strings.Count(seen, "--- source")
			for text, want := range map[string]int{
				"Suites: unstable\n": asked, "--- hooks\n0\n": asked, "--- proxy\n1\n": asked,
				"zero.example": 0, "src.example": 0, "cdrom": 0,
			} {
				if got := strings.Count(seen, text); got != want {
					t.Errorf("%q stands %d times in what was asked, want %d:\n%s", text, got, want, seen)
				}
			}
		})
	}
}

// fetchAndFail runs a fetch that must fail, checks that it says what to do and leaves nothing, and returns what
// apt-get was asked.
func (m *machine) fetchAndFail(t *testing.T) string {
	t.Helper()
	temp, log := t.TempDir(), filepath.Join(t.TempDir(), "asked")
	m.env = append(m.env, "TMPDIR="+temp, "ASKED="+log)
	stdout, stderr, err := m.fetch(t)
	if err == nil || stdout != "" {
		t.Fatalf("got %q, %v, want a failure", stdout, err)
	}
	if advice := "install MySQL 8.4 or newer, or set MYSQLD=/path/to/mysqld"; !strings.Contains(stderr, advice) {
		t.Errorf("stderr is %q, want it to contain %q", stderr, advice)
	}
	for _, dir := range []string{temp, m.cache} {
		left, _ := os.ReadDir(dir)
		for _, entry := range left {
			if entry.Name() != ".lock" {
				t.Errorf("left behind: %s in %s", entry.Name(), dir)
			}
		}
	}
	asked, _ := os.ReadFile(log)
	return string(asked)
}
