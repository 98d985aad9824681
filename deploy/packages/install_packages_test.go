//go:build packages

package main

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const patience = 2 * time.Minute

// shipped are the real packages, of this commit and of one that calls itself newer.
var shipped = sync.OnceValues(func() (map[string]string, error) {
	out, err := os.MkdirTemp("", "mysqlha-shipped-")
	if err != nil {
		return nil, err
	}
	found := make(map[string]string)
	for describe, arches := range map[string][]string{"v1.0.0": {"amd64", "arm64"}, "v1.0.0-7-gabcdef0": {runtime.GOARCH}} {
		o := options{root: "../..", out: filepath.Join(out, describe), describe: describe, when: time.Unix(1_700_000_000, 0).UTC(), arches: arches, compile: compile}
		made, err := build(context.Background(), o)
		if err != nil {
			return nil, err
		}
		for _, path := range made {
			found[filepath.Base(path)] = path
		}
	}
	return found, nil
})

const (
	older = "1.0.0-1"
	newer = "1.0.0+7.gabcdef0-1"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if made, err := shipped(); err == nil {
		for _, path := range made {
			_ = os.RemoveAll(filepath.Dir(filepath.Dir(path)))
			break
		}
	}
	os.Exit(code)
}

// packagesOf are the paths of both packages.
func packagesOf(t *testing.T, version, arch, format string) []string {
	t.Helper()
	made, err := shipped()
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, p := range layout() {
		name := fmt.Sprintf("%s_%s_%s.deb", p.name, version, arch)
		if format == "rpm" {
			name = fmt.Sprintf("%s-%s.%s.rpm", p.name, version, map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[arch])
		}
		if made[name] == "" {
			t.Fatalf("there is no %s among %v", name, made)
		}
		paths = append(paths, made[name])
	}
	return paths
}

// say runs a program and returns all that it prints.
func say(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	return string(out), err
}

// must is for what has to work.
func must(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := say(t, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

func TestLintianFindsNothing(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		must(t, "lintian", append([]string{"--allow-root", "--fail-on", "error,warning"}, packagesOf(t, older, arch, "deb")...)...)
	}
}

func TestTheProgramsAreOfTheirArchitectureAndTellNoPath(t *testing.T) {
	here, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	told := []string{here, strings.TrimSpace(must(t, "go", "env", "GOPATH")), strings.TrimSpace(must(t, "go", "env", "GOCACHE"))}
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		for _, path := range packagesOf(t, older, arch, "deb") {
			_, data := unpacked(t, path)
			for name, e := range data {
				for _, path := range told {
					if bytes.Contains(e.text, []byte(path+"/")) {
						t.Errorf("%s tells of %s", name, path)
					}
				}
				if filepath.Dir(name) != "/usr/bin" {
					continue
				}
				program, err := elf.NewFile(bytes.NewReader(e.text))
				if err != nil {
					t.Fatal(err)
				}
				if libraries, err := program.ImportedLibraries(); program.Machine != machine || len(libraries) > 0 || err != nil {
					t.Errorf("%s for %s is for %s and needs %v: %v", name, arch, program.Machine, libraries, err)
				}
			}
		}
	}
}

// The same source in another folder gives the same bytes.
func TestABuildElsewhereIsTheSame(t *testing.T) {
	elsewhere := t.TempDir()
	must(t, "bash", "-c", `git -C ../.. ls-files -z --cached --others --exclude-standard | tar -C ../.. --null -T - -c | tar -x -C "$0"`, elsewhere)
	made, err := build(t.Context(), options{root: elsewhere, out: t.TempDir(), describe: "v1.0.0", when: time.Unix(1_700_000_000, 0).UTC(), arches: []string{"amd64"}, compile: compile})
	if err != nil {
		t.Fatal(err)
	}
	first, err := shipped()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range made {
		a, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(first[filepath.Base(path)])
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a, b) {
			t.Errorf("%s is another one", filepath.Base(path))
		}
	}
}

func TestTheRpmsHoldWhatTheDebsDo(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		debs, rpms := packagesOf(t, older, arch, "deb"), packagesOf(t, older, arch, "rpm")
		for i, p := range layout() {
			if out := must(t, "rpm", "-K", "--nosignature", rpms[i]); !strings.Contains(out, "digests OK") {
				t.Error(out)
			}
			scripts := must(t, "rpm", "-qp", "--scripts", rpms[i])
			for _, kind := range []string{"postinstall", "preuninstall", "postuninstall"} {
				if !strings.Contains(scripts, kind+" scriptlet (using /bin/sh)") {
					t.Errorf("%s has no %s", p.name, kind)
				}
			}
			want := make(map[string]string)
			_, data := unpacked(t, debs[i])
			sums := must(t, "bash", "-c", `d=$(mktemp -d) && dpkg-deb -x "$0" "$d" && cd "$d" && find . -type f -printf '/%P %m ' -exec sh -c 'sha256sum <"$0"' {} \; ; rm -rf "$d"`, debs[i])
			for line := range strings.Lines(sums) {
				if f := strings.Fields(line); len(f) == 4 {
					want[f[0]] = "root root 100" + f[1] + " " + f[2]
				}
			}
			got := make(map[string]string)
			for line := range strings.Lines(must(t, "rpm", "-qp", "--qf", `[%{FILENAMES} %{FILEUSERNAME} %{FILEGROUPNAME} %{FILEMODES:octal} %{FILEDIGESTS}\n]`, rpms[i])) {
				if f := strings.Fields(line); len(f) == 5 {
					got[f[0]] = strings.Join(f[1:], " ")
				} else if data[f[0]].Header == nil {
					t.Errorf("the deb has no %s", f[0])
				}
			}
			for _, f := range p.files {
				switch f.only {
				case "deb":
					delete(want, f.to)
				case "rpm":
					if got[f.to] == "" {
						t.Errorf("%s as rpm has no %s", p.name, f.to)
					}
					delete(got, f.to)
				}
			}
			if len(want) < 9 {
				t.Fatalf("the deb has only %v", want)
			}
			for name, what := range want {
				if got[name] != what {
					t.Errorf("%s for %s: %s is %q, and %q in the deb", p.name, arch, name, got[name], what)
				}
				delete(got, name)
			}
			if len(got) > 0 {
				t.Errorf("%s for %s has more as rpm: %v", p.name, arch, got)
			}
		}
	}
}

// without are the files of one list that the other lacks.
func without(all, known []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(f string) bool { return slices.Contains(known, f) })
}

const nextStep = "mysqlhad: nothing is started before there is /etc/mysqlha/mysqlhad.yaml: see /usr/share/doc/mysqlhad/install.md"

// A host from its first installation to its last: as docs/install.md says, but that the
// cluster has one server.
func TestTheLifeOfAHost(t *testing.T) {
	m := newMachine(t)
	m.give(packagesOf(t, older, runtime.GOARCH, "deb"))
	m.give(packagesOf(t, newer, runtime.GOARCH, "deb"))
	m.boot()
	// This is what the package of a MySQL leaves, its users aside.
	m.do(`printf '#!/bin/sh\nexec /opt/mysql/bin/mysqld "$@"\n' >/usr/sbin/mysqld; chmod 755 /usr/sbin/mysqld
mkdir -p /etc/mysql/conf.d; printf '[mysqld]\ndatadir=/var/lib/mysql\nsocket=/run/mysqld/mysqld.sock\nmysqlx=OFF\n!includedir /etc/mysql/conf.d/\n' >/etc/my.cnf`)
	before := m.files()
	installed := func(version string) string {
		m.t.Helper()
		return m.do("dpkg --install /given/mysqlha_" + version + "_*.deb /given/mysqlhad_" + version + "_*.deb")
	}
	nothingRuns := func() {
		t.Helper()
		for _, p := range layout() {
			for _, unit := range p.units {
				m.is("systemctl is-enabled "+unit, "disabled")
				m.is("systemctl is-active "+unit, "inactive")
			}
		}
	}

	if said := installed(older); strings.Count(said, nextStep) != 1 {
		t.Errorf("the installation does not say how to go on:\n%s", said)
	}
	nothingRuns()
	m.is("stat -c '%a %U:%G' /var/lib/mysqlha", "700 mysql:mysql")
	m.is("stat -c '%a %U:%G' /etc/mysqlha", "755 root:root")
	for _, user := range []string{"mysql", "mysqlha"} {
		m.is("getent passwd "+user+" | cut -d: -f7", "/usr/sbin/nologin")
	}
	if said := m.do("mysqlha version && mysqlhad --version && mysqlhad --help >/dev/null"); strings.Count(said, "v1.0.0") != 2 {
		t.Errorf("the programs say %s", said)
	}

	m.do(`cd /root
mysqlha certs init --dir pki
mysqlha certs issue --dir pki --name db1 --host 127.0.0.1 --redirector 127.0.0.1
cd pki
install -m 0644 db1/ca.crt db1/host.crt db1/mysqld.crt /etc/mysqlha
install -o mysql -g mysql -m 0600 db1/host.key db1/mysqld.key /etc/mysqlha
sed -e '/{name: db[23],/d' -e 's/10\.0\.0\.1:/127.0.0.1:/g' -e 's/^durability: lossless/durability: async/' /usr/share/doc/mysqlhad/examples/mysqlhad.yaml >/etc/mysqlha/mysqlhad.yaml
cp /usr/share/doc/mysqlhad/examples/mysqlha.cnf /etc/mysql/conf.d/
install -d -o mysql -g mysql -m 0750 /var/lib/mysql
install -d -o mysql -g mysql /run/mysqld
runuser -u mysql -- mysqlhad init -- /usr/sbin/mysqld
systemctl enable --now mysqlha-mysqld mysqlhad`)
	answers := func() error {
		// There is no curl: the program itself asks.
		said, err := m.try("mysqlha status --config /etc/mysqlha/mysqlhad.yaml")
		if err == nil {
			said, err = m.liveness()
		}
		if err != nil {
			return fmt.Errorf("%w: %s", err, said)
		}
		return nil
	}
	m.await("it takes writes, and the daemon answers", answers)
	sql := "/opt/mysql/bin/mysql --socket=/run/mysqld/mysqld.sock --user=root -Ne "
	m.do(sql + "'CREATE DATABASE kept; CREATE TABLE kept.t (a INT PRIMARY KEY); INSERT INTO kept.t VALUES (1)'")
	m.do("mkdir /etc/systemd/system/mysqlhad.service.d; printf '[Service]\\nEnvironment=HERE=1\\n' >/etc/systemd/system/mysqlhad.service.d/mine.conf; echo '# by hand' >>/etc/mysqlha/mysqlhad.yaml")
	running := func() (daemon, gate, server string) {
		t.Helper()
		pid := "systemctl show --property MainPID --value "
		gate = m.do(pid + "mysqlha-mysqld")
		return m.do(pid + "mysqlhad"), gate, m.do("cat /proc/" + gate + "/task/*/children")
	}
	daemon, gate, server := running()

	if said := installed(newer); strings.Contains(said, nextStep) {
		t.Errorf("an upgrade says how to begin:\n%s", said)
	}
	m.await("it takes writes again", answers)
	nowDaemon, nowGate, nowServer := running()
	if daemon == nowDaemon || gate != nowGate || server != nowServer || server == "" {
		t.Errorf("the upgrade has made daemon, gate and server %s, %s, %s of %s, %s, %s", nowDaemon, nowGate, nowServer, daemon, gate, server)
	}
	m.is("readlink /proc/"+nowDaemon+"/exe", "/usr/bin/mysqlhad")
	if said := m.do("mysqlha version"); !strings.Contains(said, "v1.0.0-7-gabcdef0") {
		t.Error(said)
	}
	m.is("tail -n 1 /etc/mysqlha/mysqlhad.yaml", "# by hand")
	m.is("systemctl show --property Environment --value mysqlhad", "HERE=1")
	m.is("systemctl is-enabled mysqlhad", "enabled")
	m.do(sql + "'INSERT INTO kept.t VALUES (2)'")
	if said := m.do("mysqlha status --config /etc/mysqlha/mysqlhad.yaml"); !strings.Contains(said, "(term 1,") {
		t.Errorf("the upgrade was not without a new term:\n%s", said)
	}
	t.Logf("the daemon went from %s to %s, the gate %s and mysqld %s stayed", daemon, nowDaemon, gate, server)

	if said, err := m.try("dpkg --remove mysqlhad"); err == nil || !strings.Contains(said, "mysqlha switchover") {
		t.Errorf("it could be removed while mysqld runs behind its gate (%v):\n%s", err, said)
	}
	m.is("systemctl is-active mysqlhad", "active")
	m.await("all is well after that", answers)
	m.do("systemctl stop mysqlha-mysqld && dpkg --remove mysqlhad mysqlha")
	m.is("systemctl is-active mysqlhad", "inactive")
	m.is("grep -lx mysqlhad /proc/[0-9]*/comm 2>/dev/null", "")
	m.is("ls /usr/bin/mysqlhad /usr/bin/mysqlha 2>/dev/null", "")
	m.do("test -e /etc/mysqlha/mysqlhad.yaml -a -e /etc/mysqlha/host.key -a -e /var/lib/mysqlha/control.password -a -e /var/lib/mysql/ibdata1")

	m.do("dpkg --purge mysqlhad mysqlha")
	left := without(without(m.files(), before), []string{
		// What is mysqld's, and what people have made.
		"/etc/mysqlha", "/etc/mysqlha/ca.crt", "/etc/mysqlha/mysqld.crt", "/etc/mysqlha/mysqld.key", "/etc/mysql/conf.d/mysqlha.cnf",
		"/etc/systemd/system/mysqlhad.service.d", "/etc/systemd/system/mysqlhad.service.d/mine.conf",
		// What the system keeps of its users.
		"/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-", "/etc/.pwd.lock",
	})
	left = slices.DeleteFunc(left, func(f string) bool { return f == "/var/lib/mysql" || strings.HasPrefix(f, "/var/lib/mysql/") })
	if len(left) > 0 {
		t.Errorf("what is left of the packages: %v", left)
	}
	if gone := without(before, m.files()); len(gone) > 0 {
		t.Errorf("the packages took away %v", gone)
	}
	m.do("test -e /var/lib/mysql/ibdata1")

	// The data of a server may be in the daemon's folder, too.
	m.do("rm -r /etc/mysqlha")
	if said := installed(newer); !strings.Contains(said, nextStep) {
		t.Errorf("a second installation does not say how to go on:\n%s", said)
	}
	nothingRuns()
	m.do("mkdir /var/lib/mysqlha/mysql && touch /var/lib/mysqlha/mysql/ibdata1 && dpkg --purge mysqlhad mysqlha && test -e /var/lib/mysqlha/mysql/ibdata1")
	m.is("ls -d /etc/mysqlha 2>/dev/null", "")
}

// liveness asks the daemon's endpoint, over TLS and from inside.
func (m *machine) liveness() (string, error) {
	out, err := say(m.t, "nsenter", "-t", strconv.Itoa(m.pid), "-n", "curl", "-sS", "--fail", "--cacert", filepath.Join(m.root, "etc/mysqlha/ca.crt"), "https://127.0.0.1:8008/liveness")
	if err == nil && !strings.Contains(out, `"ok":true`) {
		err = errors.New("it is not ok")
	}
	return out, err
}

// rpm itself installs, upgrades and erases them, in the same folder of a Debian: the
// scripts get rpm's arguments, and no systemd runs.
func TestTheLifeOfAHostWithRpm(t *testing.T) {
	m := newMachine(t)
	before := m.files()
	rpm := func(args ...string) string {
		t.Helper()
		return must(t, "rpm", append([]string{"--root", m.root, "--nodeps", "--nosignature"}, args...)...)
	}
	if said := rpm(append([]string{"--install"}, packagesOf(t, older, "amd64", "rpm")...)...); !strings.Contains(said, nextStep) {
		t.Errorf("the installation does not say how to go on:\n%s", said)
	}
	m.is("stat -c '%a %U:%G' /var/lib/mysqlha", "700 mysql:mysql")
	m.do("echo 'cluster: shop' >/etc/mysqlha/mysqlhad.yaml; systemctl enable mysqlhad; touch /var/lib/mysqlha/control.password")
	if said := rpm(append([]string{"--upgrade"}, packagesOf(t, newer, "amd64", "rpm")...)...); strings.Contains(said, nextStep) {
		t.Errorf("an upgrade says how to begin:\n%s", said)
	}
	m.is("systemctl is-enabled mysqlhad", "enabled")
	m.is("mysqlha version | cut -d' ' -f2", "v1.0.0-7-gabcdef0")
	rpm("--erase", "mysqlhad", "mysqlha")
	left := slices.DeleteFunc(without(m.files(), before), func(f string) bool {
		// The folders of shells are in a package of the system where rpm is at home.
		return strings.HasPrefix(f, "/var/lib/rpm") || strings.HasSuffix(f, "-") || f == "/etc/.pwd.lock" || strings.HasPrefix(f, "/usr/share/fish") || strings.HasPrefix(f, "/usr/share/zsh")
	})
	if want := []string{"/etc/mysqlha", "/etc/mysqlha/mysqlhad.yaml", "/var/lib/mysqlha", "/var/lib/mysqlha/control.password"}; !slices.Equal(left, want) {
		t.Errorf("left are %v, want %v", left, want)
	}
}
