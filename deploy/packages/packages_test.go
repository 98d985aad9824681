package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestAVersionSortsAsTheCommitsDo(t *testing.T) {
	when := time.Date(2026, 11, 26, 23, 42, 45, 0, time.UTC)
	for describe, want := range map[string]string{
		"v1.2.3":                      "1.2.3",
		"1.2.3":                       "1.2.3",
		"v1.2.3-dirty":                "1.2.3+dirty",
		"v1.2.3-14-gece4de2":          "1.2.3+14.gece4de2",
		"v1.2.3-14-gece4de2-dirty":    "1.2.3+14.gece4de2.dirty",
		"v1.2.0-rc.1":                 "1.2.0~rc.1",
		"v1.2.0-rc1-3-gece4de2":       "1.2.0~rc1+3.gece4de2",
		"ece4de2":                     "0.0~20261126234245.gece4de2",
		"ece4de2-dirty":               "0.0~20261126234245.gece4de2+dirty",
		"unknown":                     "",
		"v1.2.3_4":                    "",
		"release-1.2":                 "",
		"v1.2.3; touch /tmp/anything": "",
	} {
		got, err := parseVersion(describe, when)
		if (err != nil) != (want == "") || got != want {
			t.Errorf("%q becomes %q (%v), want %q", describe, got, err, want)
		}
	}
}

// entry is one file of a package, as dpkg would make it.
type entry struct {
	*tar.Header
	text []byte
}

// unpacked reads a package for Debian: its control files, and its files.
func unpacked(t *testing.T, path string) (control, data map[string]entry) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]map[string]entry)
	for rest := bytes.TrimPrefix(raw, []byte("!<arch>\n")); len(rest) > 60; {
		name := strings.TrimRight(string(rest[:16]), " /")
		size, err := strconv.Atoi(strings.TrimSpace(string(rest[48:58])))
		if err != nil {
			t.Fatal(err)
		}
		if name != "debian-binary" {
			all[name] = entries(t, rest[60:60+size])
		}
		rest = rest[60+size+size%2:]
	}
	return all["control.tar.gz"], all["data.tar.gz"]
}

func entries(t *testing.T, compressed []byte) map[string]entry {
	t.Helper()
	zipped, err := gzip.NewReader(bytes.NewReader(compressed))
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]entry)
	for r := tar.NewReader(zipped); ; {
		header, err := r.Next()
		if err == io.EOF {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		found["/"+strings.Trim(strings.TrimPrefix(header.Name, "."), "/")] = entry{header, text}
	}
}

// quick is for packages that are like those that are shipped but for the programs, which
// take minutes to build: make check-packages has those.
func quick(t *testing.T) options {
	t.Helper()
	return options{root: "../..", out: t.TempDir(), describe: "v1.2.3", when: time.Unix(1_700_000_000, 0).UTC(), arches: []string{runtime.GOARCH},
		compile: func(_ context.Context, _ options, into, _ string) error {
			err := os.MkdirAll(into, 0o755)
			for _, program := range []string{"mysqlha", "mysqlhad"} {
				err = errors.Join(err, os.WriteFile(filepath.Join(into, program), []byte("#!/bin/sh\necho \"what it says of $*\"\n"), 0o755))
			}
			return err
		}}
}

func TestThePackagesHoldWhatTheyShould(t *testing.T) {
	o := quick(t)
	made, err := build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(made) != 4 {
		t.Fatalf("made were %v", made)
	}
	everything := make(map[string]string) // each file, and whose it is
	for _, p := range layout() {
		control, data := unpacked(t, filepath.Join(o.out, fmt.Sprintf("%s_1.2.3-1_%s.deb", p.name, runtime.GOARCH)))
		for name, e := range data {
			where := p.name + " " + name
			if e.Uname != "root" || e.Uid != 0 || e.Gname != "root" || e.Gid != 0 {
				t.Errorf("%s belongs to %s:%s", where, e.Uname, e.Gname)
			}
			if !e.ModTime.Equal(o.when) {
				t.Errorf("%s is of %s", where, e.ModTime)
			}
			mode := int64(0o644)
			if e.Typeflag == tar.TypeDir || path.Dir(name) == "/usr/bin" {
				mode = 0o755
			}
			if e.Mode != mode {
				t.Errorf("%s has the mode %o", where, e.Mode)
			}
			if e.Typeflag == tar.TypeDir {
				continue
			}
			if len(e.text) == 0 {
				t.Errorf("%s is empty", where)
			}
			if strings.HasPrefix(name, "/etc/") || strings.HasPrefix(name, "/var/") {
				t.Errorf("%s: what is there is made by people and by the daemon", where)
			}
			if other, taken := everything[name]; taken {
				t.Errorf("%s is in %s, too", where, other)
			}
			everything[name] = p.name
		}
		if _, there := control["/conffiles"]; there {
			t.Errorf("%s asks at upgrades", p.name)
		}
		for _, script := range []string{"/postinst", "/prerm", "/postrm"} {
			if e := control[script]; e.Header == nil || e.Mode&0o111 != 0o111 || !bytes.HasPrefix(e.text, []byte("#!/bin/sh\n")) {
				t.Errorf("%s has no %s that can be run", p.name, script)
			}
		}
		preset := string(data["/usr/lib/systemd/system-preset/80-"+p.name+".preset"].text)
		var units []string
		for name := range data {
			if strings.HasPrefix(name, system) && strings.HasSuffix(name, ".service") {
				units = append(units, path.Base(name))
				if !strings.Contains(preset, "disable "+path.Base(name)+"\n") {
					t.Errorf("%s: a preset would start %s", p.name, name)
				}
			}
		}
		for _, unit := range append(slices.Clone(p.units), p.restarted...) {
			if !slices.Contains(units, unit) {
				t.Errorf("the scripts of %s speak of %s, which it has not", p.name, unit)
			}
		}
		if len(units) != len(p.units) {
			t.Errorf("%s has the units %v, and its scripts speak of %v", p.name, units, p.units)
		}
	}
	unitsFitTheirPackage(t, everything)
}

// unitsFitTheirPackage: what a unit starts, whom it runs as and which manual it names are
// there when its package is.
func unitsFitTheirPackage(t *testing.T, everything map[string]string) {
	t.Helper()
	users, err := os.ReadFile("../systemd/mysqlha.sysusers")
	if err != nil {
		t.Fatal(err)
	}
	units, err := filepath.Glob("../systemd/*.service")
	if err != nil {
		t.Fatal(err)
	}
	for _, unit := range units {
		owner := everything[system+filepath.Base(unit)]
		if owner == "" {
			t.Errorf("no package has %s", unit)
		}
		text, err := os.ReadFile(unit)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^Exec\w+=(/usr/bin/\S+)`).FindAllStringSubmatch(string(text), -1) {
			if everything[m[1]] != owner {
				t.Errorf("%s of %s starts %s of %q", unit, owner, m[1], everything[m[1]])
			}
		}
		for _, m := range regexp.MustCompile(`(?m)^User=(\w+)$`).FindAllStringSubmatch(string(text), -1) {
			if !strings.Contains(string(users), "\nu "+m[1]+" ") {
				t.Errorf("%s runs as %s, whom nobody makes", unit, m[1])
			}
		}
		m := regexp.MustCompile(`(?m)^Documentation=man:(\w+)\((\d)\)$`).FindStringSubmatch(string(text))
		if m == nil || everything["/usr/share/man/man"+m[2]+"/"+m[1]+"."+m[2]+".gz"] != owner {
			t.Errorf("%s names a manual that its package has not: %v", unit, m)
		}
	}
}

func TestTwoBuildsOfTheSameAreTheSame(t *testing.T) {
	var first [][]byte
	for range 2 {
		made, err := build(t.Context(), quick(t))
		if err != nil {
			t.Fatal(err)
		}
		for i, path := range made {
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if len(first) < len(made) {
				first = append(first, raw)
			} else if !bytes.Equal(first[i], raw) {
				t.Errorf("%s is another one each time", filepath.Base(path))
			}
		}
	}
}

// The example of mysqld's options is what the README says.
func TestTheOptionsOfMysqldAreThoseOfTheReadme(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("texts/mysqlha.cnf")
	if err != nil {
		t.Fatal(err)
	}
	_, options, _ := strings.Cut(string(example), "\n")
	if said := regexp.MustCompile(`(?m)^ +`).ReplaceAllString(string(readme), ""); !strings.Contains(said, options) {
		t.Errorf("texts/mysqlha.cnf and README.md differ; the former has\n%s", options)
	}
}

// The scripts are run by the shells of all distributions.
func TestTheScriptsAreFitForAnyShell(t *testing.T) {
	for _, p := range layout() {
		for _, name := range []string{"postinst", "prerm", "postrm"} {
			text, err := script("../..", name, p)
			if err != nil {
				t.Fatal(err)
			}
			shells := [][]string{{"sh", "-n"}}
			if _, err := exec.LookPath("shellcheck"); err == nil {
				// Each script has all that they share.
				shells = append(shells, []string{"shellcheck", "--shell=sh", "--exclude=SC2034", "-"})
			}
			for _, args := range shells {
				cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
				cmd.Stdin = strings.NewReader(text)
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%s of %s: %v: %v\n%s", name, p.name, args, err, out)
				}
			}
		}
	}
}
