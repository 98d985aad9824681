// Package mysqld_test keeps the rules by which the fetch script chooses a mysqld. It needs no MySQL and no network:
// the programs the script would run are stubs that print what real ones print.
package mysqld_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What the first line of `mysqld --version` looks like.
const (
	mysql80   = "/usr/sbin/mysqld  Ver 8.0.42 for Linux on x86_64 (MySQL Community Server - GPL)"
	mysql83   = "/usr/sbin/mysqld  Ver 8.3.0 for Linux on x86_64 (MySQL Community Server - GPL)"
	mysql84   = "/usr/sbin/mysqld  Ver 8.4.5 for Linux on x86_64 (MySQL Community Server - GPL)"
	percona84 = "/usr/sbin/mysqld  Ver 8.4.4-4 for Linux on x86_64 (Percona Server (GPL), Release 4, Revision 844fde07)"
	mysql97   = "/usr/sbin/mysqld  Ver 9.7.4-2 for Linux on x86_64 ((Debian))"
	mysql10   = "/usr/sbin/mysqld  Ver 10.0.1 for Linux on x86_64 (MySQL Community Server - GPL)"
	mariadb   = "/usr/sbin/mysqld  Ver 10.11.11-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)"
	mariadb11 = "mariadbd from 11.8.2-MariaDB, client 15.2 for debian-linux-gnu (x86_64) using EditLine wrapper"
)

// machine is what the script sees of the machine it runs on.
type machine struct {
	bin   string // the only folder of ours on PATH
	cache string // MYSQLHA_CACHE
	env   []string
}

// newMachine returns a machine with an empty cache and an apt-get and apt-config that fail, so that a fetch ends
// before it reaches the network.
func newMachine(t *testing.T) *machine {
	t.Helper()
	dir := t.TempDir()
	m := &machine{bin: filepath.Join(dir, "bin"), cache: filepath.Join(dir, "cache")}
	for _, name := range []string{"apt-get", "apt-config"} {
		stub(t, filepath.Join(m.bin, name), "echo 'E: no archive here' >&2; exit 100")
	}
	return m
}

// stub writes a shell script with the given body.
func stub(t *testing.T, path, body string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// says is the body of a mysqld that answers --version with the given line.
func says(version string) string { return "cat <<'END'\n" + version + "\nEND" }

// fetch runs the script and returns its standard output and standard error.
func (m *machine) fetch(t *testing.T) (stdout, stderr string, err error) {
	t.Helper()
	script, err := filepath.Abs("fetch")
	if err != nil {
		t.Fatal(err)
	}
	// go test notices what a test looks at: without this it would repeat old results after the script changed.
	if _, err := os.Stat(script); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	cmd := exec.Command(script)
	cmd.Dir = t.TempDir()
	// The system's folders only: a mysqld elsewhere on the developer's PATH would be found first.
	cmd.Env = append([]string{"PATH=" + m.bin + ":/usr/bin:/bin", "HOME=" + t.TempDir(), "MYSQLHA_CACHE=" + m.cache}, m.env...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

func TestTheMysqldNamedByMYSQLDIsUsedOrRefused(t *testing.T) {
	for _, tc := range []struct {
		name    string
		body    string
		refused string // part of the message; empty where it is used
	}{
		{"MySQL 8.4 is used", says(mysql84), ""},
		{"Percona Server 8.4 is used", says(percona84), ""},
		{"MySQL 9.7 is used", says(mysql97), ""},
		{"a two-digit major version counts as newer", says(mysql10), ""},
		{"MySQL 8.0 is refused with its version", says(mysql80), "is MySQL 8.0.42, older than 8.4"},
		{"MySQL 8.3 is refused", says(mysql83), "is MySQL 8.3.0, older than 8.4"},
		{"MariaDB is refused although its number is higher", says(mariadb), "is MariaDB (10.11.11-MariaDB-0+deb12u1), not MySQL"},
		{"MariaDB is refused by its newer words", says(mariadb11), "is MariaDB"},
		{"a program that tells no version is refused with what it said", "echo hello", "does not tell a MySQL version: hello"},
		{"a program that fails is refused with what it said", "echo broken library >&2; exit 127", "does not run: broken library"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := newMachine(t)
			path := stub(t, filepath.Join(t.TempDir(), "my mysqld"), tc.body)
			// A good one on PATH must not stand in for one that was named on purpose.
			stub(t, filepath.Join(m.bin, "mysqld"), says(mysql97))
			m.env = []string{"MYSQLD=" + path}
			stdout, stderr, err := m.fetch(t)
			if tc.refused == "" {
				if err != nil || stdout != path+"\n" {
					t.Fatalf("got %q, %v, want %q\n%s", stdout, err, path, stderr)
				}
				return
			}
			if err == nil || stdout != "" {
				t.Fatalf("got %q, %v, want a refusal", stdout, err)
			}
			if !strings.Contains(stderr, tc.refused) {
				t.Errorf("stderr is %q, want it to contain %q", stderr, tc.refused)
			}
		})
	}
}

func TestAMYSQLDThatDoesNotExistIsRefused(t *testing.T) {
	m := newMachine(t)
	m.env = []string{"MYSQLD=/does/not/exist/mysqld"}
	stdout, stderr, err := m.fetch(t)
	if err == nil || stdout != "" || !strings.Contains(stderr, "MYSQLD=/does/not/exist/mysqld is not a program") {
		t.Fatalf("got %q, %v, %q, want a refusal that names the path", stdout, err, stderr)
	}
}

func TestAMysqldOnPATHIsUsedOrPassedOver(t *testing.T) {
	for _, tc := range []struct {
		name    string
		version string
		passed  string // part of the note; empty where it is used
	}{
		{"MySQL 8.4 is used", mysql84, ""},
		{"MySQL 8.0 is passed over with a note", mysql80, "is passed over: it is MySQL 8.0.42"},
		{"MariaDB is passed over with a note", mariadb, "is passed over: it is MariaDB"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := newMachine(t)
			onPath := stub(t, filepath.Join(m.bin, "mysqld"), says(tc.version))
			cached := stub(t, filepath.Join(m.cache, "9.7.4-2_amd64", "bin", "mysqld"), says(mysql97))
			want := onPath
			if tc.passed != "" {
				want = cached
			}
			stdout, stderr, err := m.fetch(t)
			if err != nil || stdout != want+"\n" {
				t.Fatalf("got %q, %v, want %q\n%s", stdout, err, want, stderr)
			}
			if !strings.Contains(stderr, tc.passed) {
				t.Errorf("stderr is %q, want it to contain %q", stderr, tc.passed)
			}
		})
	}
}

func TestTheNewestWorkingMysqldInTheCacheIsUsed(t *testing.T) {
	m := newMachine(t)
	stub(t, filepath.Join(m.cache, "9.10.0-1_amd64", "bin", "mysqld"), "exit 126")
	want := stub(t, filepath.Join(m.cache, "9.9.0-1_amd64", "bin", "mysqld"), says(mysql97))
	stub(t, filepath.Join(m.cache, "9.7.4-2_amd64", "bin", "mysqld"), says(mysql97))
	// Hidden folders are builds that were never finished.
	stub(t, filepath.Join(m.cache, ".build.1", "bin", "mysqld"), says(mysql97))
	stdout, stderr, err := m.fetch(t)
	if err != nil || stdout != want+"\n" {
		t.Fatalf("got %q, %v, want %q\n%s", stdout, err, want, stderr)
	}
}
