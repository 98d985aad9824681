//go:build packages

package main

import (
	"bytes"
	"context"
	"encoding/json"
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
	"syscall"
	"testing"
	"time"
)

// longest bounds what goes over all hosts.
const longest = 10 * time.Minute

// describedHosts is a site of real hosts: as the example, in one network.
const describedHosts = `cluster: shop
public: {name: shop.example, address: 10.66.1.10}
hosts:
  - {name: lb1,  tiers: [lb],      addresses: [10.66.1.1]}
  - {name: lb2,  tiers: [lb],      addresses: [10.66.1.2]}
  - {name: web1, tiers: [web],     addresses: [10.66.2.1]}
  - {name: web2, tiers: [web],     addresses: [10.66.2.2]}
  - {name: app1, tiers: [app],     addresses: [10.66.3.1]}
  - {name: app2, tiers: [app],     addresses: [10.66.3.2]}
  - {name: db1,  tiers: [db],      addresses: [10.66.4.1]}
  - {name: db2,  tiers: [db],      addresses: [10.66.4.2]}
  - {name: db3,  tiers: [db],      addresses: [10.66.4.3]}
  - {name: mon,  tiers: [monitor], addresses: [10.66.5.1]}
admin: [10.66.9.0/24]
extra:
  - {from: monitor, to: app, port: 8443}
`

// hostsOfTheSite are the hosts of it, in the order of the file, with their addresses.
func hostsOfTheSite() (names []string, addresses map[string]string) {
	addresses = make(map[string]string)
	for line := range strings.Lines(describedHosts) {
		_, rest, found := strings.Cut(line, "{name: ")
		name, rest, host := strings.Cut(rest, ",")
		if _, address, listed := strings.Cut(rest, "addresses: ["); found && host && listed {
			names = append(names, name)
			addresses[name], _, _ = strings.Cut(address, "]")
		}
	}
	return names, addresses
}

// fleet is ten machines on one network, and an administrator, in whose folder the bundle is
// made.
type fleet struct {
	t        *testing.T
	network  string
	dir      string
	names    []string
	machines map[string]*machine
}

// newFleet boots machines that are as new, but that an administrator may log in.
func newFleet(t *testing.T) *fleet {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("this needs root")
	}
	prepare := exec.CommandContext(t.Context(), "./debian-hosts")
	prepare.Stderr = os.Stderr
	lower, err := prepare.Output()
	if err != nil {
		t.Fatalf("deploy/packages/debian-hosts: %v", err)
	}
	// Ten systemds watch files by some 70 of what one user may have in all.
	if text, err := os.ReadFile("/proc/sys/fs/inotify/max_user_instances"); err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && n < 128 {
			t.Fatalf("fs.inotify.max_user_instances is %d: sysctl fs.inotify.max_user_instances=512", n)
		}
	}
	names, addresses := hostsOfTheSite()
	f := &fleet{t: t, network: fmt.Sprintf("mhh%04d", os.Getpid()%10000), dir: t.TempDir(), names: names, machines: make(map[string]*machine)}
	must(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f.path("key"))
	key, err := os.ReadFile(f.path("key.pub"))
	if err != nil {
		t.Fatal(err)
	}
	// The bridge is in the administrator's network, so that nothing of it is in this machine's.
	ip := func(args string) { t.Helper(); must(t, "ip", strings.Fields(args)...) }
	netns := func(name string) {
		t.Helper()
		ip("netns add " + name)
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", name).Run() }) // All that is in it has ended.
		ip("-n " + name + " link set lo up")
	}
	netns(f.network)
	ip("-n " + f.network + " link add site type bridge")
	ip("-n " + f.network + " addr add 10.66.9.7/16 dev site")
	ip("-n " + f.network + " link set site up")
	for _, name := range names {
		ns := f.network + "-" + name
		netns(ns)
		// Not every interface is eth0.
		ip("-n " + f.network + " link add " + name + " type veth peer name ens3 netns " + ns)
		ip("-n " + f.network + " link set " + name + " master site up")
		ip("-n " + ns + " addr add " + addresses[name] + "/16 dev ens3")
		ip("-n " + ns + " link set ens3 up")
		m := &machine{t: t, root: f.path("roots", name), name: name, lower: strings.TrimSpace(string(lower)), network: ns, plain: !strings.HasPrefix(name, "db")}
		f.machines[name] = m
		for file, text := range map[string][]byte{"root/.ssh/authorized_keys": key, "etc/hostname": []byte(name + "\n"), "etc/hosts": []byte("127.0.0.1 localhost " + name + "\n")} {
			if err := errors.Join(os.MkdirAll(filepath.Join(m.root, filepath.Dir(file)), 0o755), os.WriteFile(filepath.Join(m.root, file), text, 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(os.Chmod(filepath.Join(m.root, "root"), 0o700), os.Chmod(filepath.Join(m.root, "root/.ssh"), 0o700), os.Chmod(filepath.Join(m.root, "etc/hosts"), 0o644)); err != nil {
			t.Fatal(err)
		}
		m.boot()
	}
	return f
}

func (f *fleet) path(parts ...string) string {
	return filepath.Join(append([]string{f.dir}, parts...)...)
}

// command is a command line of the administrator's, in whose folder the programs are.
func (f *fleet) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", f.network}, args...)...)
	cmd.Dir = f.dir
	cmd.Env = append(os.Environ(), "PATH="+f.path("bin")+":"+os.Getenv("PATH"),
		"SSH=ssh -q -i "+f.path("key")+" -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=20")
	return cmd
}

func (f *fleet) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(f.t.Context(), longest)
	defer cancel()
	out, err := f.command(ctx, args...).CombinedOutput()
	return string(out), err
}

func (f *fleet) do(args ...string) string {
	f.t.Helper()
	out, err := f.try(args...)
	if err != nil {
		f.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// everywhere runs a script on all hosts at once.
func (f *fleet) everywhere(script string) map[string]string {
	said := make(map[string]string)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, name := range f.names {
		wg.Go(func() {
			out, err := f.machines[name].try(script)
			mu.Lock()
			defer mu.Unlock()
			said[name] = strings.TrimSpace(out)
			if err != nil {
				said[name] += " (" + err.Error() + ")"
			}
		})
	}
	wg.Wait()
	return said
}

// tools has the administrator have what `make` builds for him.
func (f *fleet) tools() {
	f.t.Helper()
	build := exec.CommandContext(f.t.Context(), "go", "build", "-trimpath", "-o", f.path("bin")+"/", "./cmd/mysqlha", "./deploy/reference/infra", "./deploy/reference/shop")
	build.Dir, build.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		f.t.Fatalf("building the programs: %v\n%s", err, out)
	}
	must(f.t, "mkdir", f.path("packages"))
	must(f.t, "cp", append(packagesOf(f.t, older, runtime.GOARCH, "deb"), f.path("packages"))...)
	if err := os.WriteFile(f.path("site.yaml"), []byte(describedHosts), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fleet) bundle() {
	f.t.Helper()
	f.do("infra", "bundle", "--site", "site.yaml", "--packages", "packages")
}

// repository gives a host a repository of MySQL's packages. What is in it makes a server and
// starts it, as those of MySQL do; the server itself is the fetched one.
func (f *fleet) repository(m *machine) {
	f.t.Helper()
	m.do(`mkdir -p /srv/repo /srv/p/DEBIAN /srv/p/usr/sbin /srv/p/usr/bin /srv/p/lib/systemd/system /srv/p/etc/mysql/conf.d /srv/p/etc/mysql/mysql.conf.d
cd /srv/p
printf 'Package: mysql-community-server\nVersion: 9.7.4-1debian12\nArchitecture: all\nMaintainer: nobody <nobody@example.com>\nDescription: stands in for that of MySQL\n' >DEBIAN/control
printf '/etc/mysql/my.cnf\n/etc/mysql/mysql.conf.d/mysqld.cnf\n' >DEBIAN/conffiles
printf '!includedir /etc/mysql/conf.d/\n!includedir /etc/mysql/mysql.conf.d/\n' >etc/mysql/my.cnf
printf '[mysqld]\npid-file = /var/run/mysqld/mysqld.pid\nsocket = /var/run/mysqld/mysqld.sock\ndatadir = /var/lib/mysql\nlog-error = /var/log/mysql/error.log\n' >etc/mysql/mysql.conf.d/mysqld.cnf
for program in sbin/mysqld bin/mysql; do printf '#!/bin/sh\nexec /opt/mysql/bin/%s "$@"\n' "${program##*/}" >usr/$program; chmod 755 usr/$program; done
printf '[Unit]\nAfter=network.target\n[Service]\nUser=mysql\nRuntimeDirectory=mysqld\nExecStart=/usr/sbin/mysqld\n[Install]\nWantedBy=multi-user.target\n' >lib/systemd/system/mysql.service
cat >DEBIAN/postinst <<'END'
#!/bin/sh
set -e
id mysql >/dev/null 2>&1 || useradd --system --home-dir /nonexistent --shell /bin/false mysql
install -d -o mysql -g mysql -m 0750 /var/lib/mysql /var/log/mysql
[ -e /var/lib/mysql/mysql.ibd ] || /usr/sbin/mysqld --initialize-insecure --user=mysql
deb-systemd-helper enable mysql.service >/dev/null
systemctl daemon-reload
deb-systemd-invoke start mysql.service
END
chmod 755 DEBIAN/postinst
dpkg-deb --build --root-owner-group /srv/p /srv/repo/mysql.deb >/dev/null
cd /srv/repo
{ dpkg-deb -f mysql.deb; printf 'Filename: ./mysql.deb\nSize: %s\nSHA256: %s\n' "$(stat -c %s mysql.deb)" "$(sha256sum mysql.deb | cut -d' ' -f1)"; } >Packages
echo 'deb [trusted=yes] file:/srv/repo ./' >/etc/apt/sources.list.d/mysql.list
apt-get update -q -o Dir::Etc::sourcelist=sources.list.d/mysql.list -o Dir::Etc::sourceparts=- -o APT::Get::List-Cleanup=0 >/dev/null`)
}

// runs are the processes of all services that a host runs, by name.
const runs = `systemctl list-units --type=service --state=active --plain --no-legend | while read -r unit _; do
  pid=$(systemctl show --property MainPID --value $unit); [ "$pid" = 0 ] || echo "$unit $pid"; done | grep -v -e ^ssh@ -e ^user@ | sort`

// files are the sums of all files that the site has on a host.
const sums = `find /etc /usr/local /var/lib/mysqlha-site -xdev -type f ! -path '/etc/ssh/*' -exec sha256sum {} + | sort | sha256sum; find /etc /usr/local -xdev -printf '%p %m %U %G\n' | sort | sha256sum`

func TestHostsFromEmptyMachinesToAFailover(t *testing.T) {
	f := newFleet(t)
	f.tools()
	f.do("mysqlha", "certs", "init", "--dir", "pki")
	f.do("mysqlha", "certs", "issue", "--dir", "pki", "--name", "ann")
	f.bundle()

	f.refusals()
	for _, name := range []string{"db1", "db2", "db3"} {
		f.repository(f.machines[name])
	}
	// One has a disk for its data.
	f.machines["db2"].do("mkdir -p /srv/disk/lost+found /var/lib/mysql; mount --bind /srv/disk /var/lib/mysql")

	// It says what it would do, and does nothing.
	before := f.everywhere(sums)
	said := f.do("bundle/all", "--check")
	for _, want := range []string{"db1: would install mysql-community-server\n", "lb2: would write /etc/keepalived/keepalived.conf\n", "web1: would enable nginx\n", "app1: would start shop\n"} {
		if !strings.Contains(said, want) {
			t.Errorf("--check does not say %q:\n%s", want, said)
		}
	}
	for name, now := range f.everywhere(sums) {
		if now != before[name] {
			t.Errorf("--check has changed %s", name)
		}
	}

	f.interrupted("mon")
	begun := time.Now()
	said = f.do("bundle/all")
	t.Logf("all hosts were installed in %s:\n%s", time.Since(begun).Round(time.Second), said)
	f.well()

	report := f.do("infra", "visit", "--site", "site.yaml", "--orders", "300")
	t.Log(report)

	f.unchanged()
	f.mended()
	f.failover()
	f.well()
	f.upgraded()
	f.well()
	f.unchanged()
}

// refusals: what cannot be is told with what to do about it, and nothing is changed.
func (f *fleet) refusals() {
	f.t.Helper()
	const (
		withMySQL = `printf '#!/bin/sh\necho mysqld  Ver 8.4.6 for Linux\n' >/usr/sbin/mysqld; chmod 755 /usr/sbin/mysqld; `
		// A server of somebody else's, as a service; its process is remembered, and is to be the same afterwards.
		runningMySQL = `mkdir -p /data; chown nobody /data
runuser -u nobody -- /opt/mysql/bin/mysqld --no-defaults --initialize-insecure --datadir=/data/mysql
printf '[Service]\nUser=nobody\nExecStart=/opt/mysql/bin/mysqld --no-defaults --datadir=/data/mysql --socket=/data/socket --pid-file=/data/pid --mysqlx=OFF\n[Install]\nWantedBy=multi-user.target\n' >/etc/systemd/system/mysql.service
systemctl daemon-reload; systemctl enable -q --now mysql
for n in $(seq 300); do [ -e /data/pid ] && break; sleep 0.2; done
cp /data/pid /run/was
`
		stillRuns = `pid=$(cat /run/was); grep -qz datadir=/data/mysql /proc/$pid/cmdline; cmp /data/pid /run/was; test "$(systemctl is-active mysql) $(systemctl is-enabled mysql)" = "active enabled"
rm /usr/sbin/mysqld
`
		endedMySQL = `systemctl disable -q --now mysql; rm /etc/systemd/system/mysql.service; systemctl daemon-reload; rm -r /data`
	)
	for _, c := range []struct{ host, before, after, says, remedy string }{
		{"db3", "", "", "there is no MySQL here, and apt knows none of 8.4 or newer", "set up MySQL's repository"},
		{"db3", `printf '#!/bin/sh\necho mysqld  Ver 8.0.41 for Linux\n' >/usr/sbin/mysqld; chmod 755 /usr/sbin/mysqld`, "rm /usr/sbin/mysqld", "/usr/sbin/mysqld is 8.0.41", "upgrade it first"},
		{"db3", `printf '#!/bin/sh\necho mysqld  Ver 8.4.6 for Linux\n' >/usr/sbin/mysqld; chmod 755 /usr/sbin/mysqld; mkdir /var/lib/mysql; echo precious >/var/lib/mysql/ibdata1`,
			"rm /usr/sbin/mysqld; grep -qx precious /var/lib/mysql/ibdata1; rm -r /var/lib/mysql", "has data that is not of this site: nothing was touched", "to take that server into a cluster"},
		{"db3", withMySQL + `mkdir -p /data/mysql; echo precious >/data/mysql/ibdata1; ln -s /data/mysql /var/lib/mysql`,
			"rm /usr/sbin/mysqld /var/lib/mysql; grep -qx precious /data/mysql/ibdata1; rm -r /data", "/var/lib/mysql has data that is not of this site: nothing was touched", "to take that server into a cluster"},
		// One that runs as a service, with a data directory of its own: as its options say, and without them.
		{"db3", withMySQL + runningMySQL + `mkdir -p /etc/mysql; printf '[mysqld]\ndatadir = /data/mysql\n' >/etc/mysql/my.cnf; printf '#!/bin/sh\necho mysqld  Ver 8.4.6 --datadir=/data/mysql\n' >/usr/sbin/mysqld`,
			"rm -r /etc/mysql; " + stillRuns, "MySQL's options have the data directory /data/mysql", "to take that server into a cluster"},
		{"db3", withMySQL, stillRuns, "a MySQL runs here that is not the site's: mysql.service", "to take that server into a cluster"},
		{"db3", withMySQL + `install -D -m 600 /dev/null /var/lib/mysqlha/control.password`, "rm -r /var/lib/mysqlha; " + stillRuns + endedMySQL,
			"/var/lib/mysqlha/control.password is there, and this has not made it", "go on with this host by docs/install.md"},
		{"db3", withMySQL + `cp /bin/sleep /run/mysqld; setsid /run/mysqld 1000 >/dev/null 2>&1 & echo $! >/run/was; sleep 0.5`, `test "$(cat /proc/$(cat /run/was)/comm)" = mysqld; kill $(cat /run/was); rm /run/mysqld /usr/sbin/mysqld`,
			"a MySQL runs here that is not the site's: the process ", "to take that server into a cluster"},
		{"web2", "hostname wrong", "hostname web2", "this machine is called wrong", "hostnamectl set-hostname web2"},
	} {
		m := f.machines[c.host]
		if c.before != "" {
			m.do(c.before)
		}
		before := m.do(sums)
		said, err := f.try("bundle/all", c.host)
		if err == nil || !strings.Contains(said, c.says) || !strings.Contains(said, c.remedy) {
			f.t.Errorf("%s is installed (%v), or it does not say %q and %q:\n%s", c.host, err, c.says, c.remedy, said)
		}
		if now := m.do(sums); now != before {
			f.t.Errorf("%s was changed before it was refused: %s", c.host, c.says)
		}
		m.is("ls -d /var/lib/mysqlha-site 2>/dev/null", "") // Nor is anything of the bundle left.
		if c.after != "" {
			m.do(c.after)
		}
	}
	// The folder of another host.
	m := f.machines["web1"]
	must(f.t, "cp", "-r", f.path("bundle/web2"), fmt.Sprintf("/proc/%d/root/root/", m.pid))
	if said, err := m.try("/root/web2/install"); err == nil || !strings.Contains(said, "the address 10.66.2.2 is not on this machine") {
		f.t.Errorf("the folder of web2 is installed on web1 (%v):\n%s", err, said)
	}
	m.do("rm -r /root/web2")
	// Somebody who would lock himself out.
	must(f.t, "ip", "-n", f.network, "addr", "add", "10.66.8.7/16", "dev", "site")
	must(f.t, "ip", "-n", f.network, "route", "add", "10.66.2.1/32", "dev", "site", "src", "10.66.8.7")
	if said, err := f.try("bundle/all", "web1"); err == nil || !strings.Contains(said, "you are logged in from 10.66.8.7, which the firewall would keep out") {
		f.t.Errorf("somebody is locked out (%v):\n%s", err, said)
	}
	must(f.t, "ip", "-n", f.network, "route", "del", "10.66.2.1/32", "dev", "site")
	must(f.t, "ip", "-n", f.network, "addr", "del", "10.66.8.7/16", "dev", "site")
}

// interrupted: whoever presses Ctrl-C while packages are installed leaves nothing that the
// next run does not make up for.
func (f *fleet) interrupted(host string) {
	f.t.Helper()
	m := f.machines[host]
	must(f.t, "cp", "-r", f.path("bundle", host), fmt.Sprintf("/proc/%d/root/root/", m.pid))
	cmd := exec.CommandContext(f.t.Context(), "nsenter", "-t", strconv.Itoa(m.pid), "-a", "/root/"+host+"/install", "--yes")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	m.await("a package is half installed", func() error {
		_, err := m.try(`test -e /usr/sbin/policy-rc.d && dpkg-query -W -f '${db:Status-Status}\n' | grep -q -e unpacked -e half`)
		return err
	})
	// A terminal sends it to all that run there. The output ends with the last of them.
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
		f.t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(said.String(), "interrupted: run it again") {
		f.t.Fatalf("the install of %s was not interrupted (%v):\n%s", host, err, said.String())
	}
	f.t.Logf("interrupted:\n%s", said.String())
	m.is("ls /usr/sbin/policy-rc.d 2>/dev/null", "")
	m.do("rm -r /root/" + host)
}

// well: each host is as described, and the monitoring sees all.
func (f *fleet) well() {
	f.t.Helper()
	for name, said := range f.everywhere("systemctl is-system-running; mysqlha firewall check --known /var/lib/mysqlha-firewall/servers.json") {
		if !strings.HasPrefix(said, "running\n") || !strings.Contains(said, "what is loaded is what the description says") || strings.Contains(said, "exit status") {
			f.t.Errorf("%s: %s\n%s", name, said, f.everywhere("systemctl --failed --no-legend")[name])
		}
	}
	f.machines["db2"].is("mountpoint -q /var/lib/mysql && ls -d /srv/disk/ibdata1 /srv/disk/lost+found", "/srv/disk/ibdata1\n/srv/disk/lost+found")
	f.machines["db2"].is("cat /proc/sys/net/ipv4/tcp_retries2 /proc/sys/net/ipv4/tcp_keepalive_time", "5\n5")
	for name, said := range f.everywhere(`ls -d /var/lib/mysqlha-site/bundle /usr/sbin/policy-rc.d 2>/dev/null || :; find /etc -name '*.key' -perm /077`) {
		if said != "" {
			f.t.Errorf("%s has %s", name, said)
		}
	}
	f.machines["mon"].await("the monitoring sees every target", func() error {
		out, err := f.try("curl", "-sS", "--fail", "--max-time", "10", "--cacert", "pki/ca.crt", "--cert", "pki/ann/operator.crt", "--key", "pki/ann/operator.key", "https://10.66.5.1:9090/api/v1/targets")
		var answer struct {
			Data struct {
				ActiveTargets []struct {
					Health, LastError string
					Labels            map[string]string
				}
			}
		}
		if err == nil {
			err = json.Unmarshal([]byte(out), &answer)
		}
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		for _, t := range answer.Data.ActiveTargets {
			if t.Health != "up" {
				return fmt.Errorf("%s on %s is %s: %s", t.Labels["job"], t.Labels["host"], t.Health, t.LastError)
			}
		}
		if n := len(answer.Data.ActiveTargets); n != 10+2+2+2*2+3+2 {
			return fmt.Errorf("there are %d targets", n)
		}
		return nil
	})
	// One balancer has the address.
	f.machines["lb1"].await("one balancer has the public address", func() error {
		var holders []string
		for _, lb := range []string{"lb1", "lb2"} {
			if strings.Contains(f.machines[lb].do("ip -o -4 addr show dev ens3"), " 10.66.1.10/32 ") {
				holders = append(holders, lb)
			}
		}
		if len(holders) != 1 {
			return fmt.Errorf("%v have it", holders)
		}
		return nil
	})
}

// unchanged: another installation finds nothing to do, and no process is another one.
func (f *fleet) unchanged() {
	f.t.Helper()
	f.bundle() // That, too, changes nothing.
	before, files := f.everywhere(runs), f.everywhere(sums)
	for _, args := range [][]string{{"--check"}, nil} {
		said := f.do(append([]string{"bundle/all"}, args...)...)
		if n := strings.Count(said, ": nothing would be changed\n") + strings.Count(said, ": done, nothing had to be changed\n"); n != len(f.names) {
			f.t.Errorf("%d of %d hosts were found as they should be:\n%s", n, len(f.names), said)
		}
	}
	for name, now := range f.everywhere(runs) {
		if now != before[name] || !strings.Contains(now, "prometheus-node-exporter.service ") {
			f.t.Errorf("%s has run\n%s\nand runs\n%s", name, before[name], now)
		}
	}
	for name, now := range f.everywhere(sums) {
		if now != files[name] {
			f.t.Errorf("the files of %s have changed", name)
		}
	}
}

// mended: what somebody has changed on a host is set right, and nothing else is touched.
func (f *fleet) mended() {
	f.t.Helper()
	m := f.machines["web1"]
	before := m.do(runs)
	m.do("echo '# by hand' >>/etc/nginx/nginx.conf; chmod 644 /etc/nginx/tls/client.key; nft delete table inet mysqlha; systemctl stop prometheus-nginx-exporter")
	said := f.do("bundle/all", "web1")
	for _, want := range []string{"write /etc/nginx/nginx.conf\n", "give /etc/nginx/tls/client.key the owner root:root and the mode 600\n", "reload nginx\n", "start prometheus-nginx-exporter\n"} {
		if !strings.Contains(said, "web1: "+want) {
			f.t.Errorf("web1 is set right without %q:\n%s", want, said)
		}
	}
	for _, never := range []string{"restart", "start nginx\n", "mysqlha_", "node-exporter"} {
		if strings.Contains(said, never) {
			f.t.Errorf("web1 is set right with %q:\n%s", never, said)
		}
	}
	without := func(all string) string {
		return strings.Join(slices.DeleteFunc(strings.Split(all, "\n"), func(line string) bool { return strings.HasPrefix(line, "prometheus-nginx-exporter") }), "\n")
	}
	if now := m.do(runs); without(now) != without(before) {
		f.t.Errorf("web1 has run\n%s\nand runs\n%s", before, now)
	}
	m.is("grep -c 'by hand' /etc/nginx/nginx.conf", "0")
}

// failover: the primary's mysqld is killed under orders.
func (f *fleet) failover() {
	f.t.Helper()
	primary := f.primary()
	ctx, cancel := context.WithTimeout(f.t.Context(), longest)
	defer cancel()
	cmd := f.command(ctx, "infra", "visit", "--site", "site.yaml", "--orders", "0")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	// How many orders the primary has tells how far they have come.
	orders := func(at string) int {
		n, err := strconv.Atoi(f.machines[at].do("mysql --socket=/run/mysqld/mysqld.sock --user=root -Ne 'SELECT COUNT(*) FROM app.orders'"))
		if err != nil {
			f.t.Fatal(err)
		}
		return n
	}
	enough := func(at string, n int) {
		f.t.Helper()
		f.machines[at].await(fmt.Sprintf("there are %d orders", n), func() error {
			if have := orders(at); have < n {
				return fmt.Errorf("there are %d", have)
			}
			return nil
		})
	}
	had := orders(primary)
	enough(primary, had+100)
	f.machines[primary].do("systemctl kill --signal=KILL --kill-who=all mysqlha-mysqld")
	next := ""
	f.machines[primary].await("another server is the primary", func() error {
		if next = f.primary(); next == primary || next == "" {
			return fmt.Errorf("it is %q", next)
		}
		return nil
	})
	enough(next, orders(next)+200)
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		f.t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		f.t.Errorf("the customers: %v", err)
	}
	f.t.Logf("%s was the primary, and %s is:\n%s", primary, next, said.String())
	if !strings.Contains(said.String(), " 0 lost, 0 doubled") {
		f.t.Error("not every acknowledged order is there once")
	}
	f.machines[primary].await("the former primary is in sync", func() error {
		said, err := f.machines[next].try("mysqlha status --config /etc/mysqlha/mysqlhad.yaml")
		if in := strings.Count(said, " yes "); err != nil || in != 2 {
			return fmt.Errorf("%d replicas are: %w\n%s", in, err, said)
		}
		return nil
	})
	f.t.Log(f.machines[next].do("mysqlha history --config /etc/mysqlha/mysqlhad.yaml; mysqlha status --config /etc/mysqlha/mysqlhad.yaml"))
}

// upgraded: a bundle of the next version brings it to all hosts, without a new term.
func (f *fleet) upgraded() {
	f.t.Helper()
	term := func() string {
		said := f.machines["db3"].do("mysqlha status --config /etc/mysqlha/mysqlhad.yaml | head -n 1")
		_, after, _ := strings.Cut(said, "(term ")
		before, _, _ := strings.Cut(after, ",")
		return before
	}
	was := term()
	servers := f.everywhere("cat /proc/$(systemctl show --property MainPID --value mysqlha-mysqld)/task/*/children 2>/dev/null || :")
	for _, path := range packagesOf(f.t, older, runtime.GOARCH, "deb") {
		must(f.t, "rm", f.path("packages", filepath.Base(path)))
	}
	must(f.t, "cp", append(packagesOf(f.t, newer, runtime.GOARCH, "deb"), f.path("packages"))...)
	f.bundle()
	said := f.do("bundle/all")
	for _, want := range []string{"db1: install mysqlha mysqlhad " + newer + "\n", "db1: done, 1 change\n", "lb1: install mysqlha " + newer + "\n", "app2: mysqlha-redirector runs the former version still: systemctl restart mysqlha-redirector"} {
		if !strings.Contains(said, want) {
			f.t.Errorf("the upgrade does not say %q:\n%s", want, said)
		}
	}
	for name, version := range f.everywhere("mysqlha version | cut -d' ' -f2; [ ! -e /usr/bin/mysqlhad ] || mysqlhad --version") {
		if !strings.HasPrefix(version, "v1.0.0-7-gabcdef0") || strings.Contains(version, "v1.0.0\n") {
			f.t.Errorf("%s has the version %s", name, version)
		}
	}
	if now := term(); now != was || was == "" {
		f.t.Errorf("the term was %q, and is %q after the upgrade", was, now)
	}
	for name, now := range f.everywhere("cat /proc/$(systemctl show --property MainPID --value mysqlha-mysqld)/task/*/children 2>/dev/null || :") {
		if now != servers[name] || strings.HasPrefix(name, "db") && now == "" {
			f.t.Errorf("mysqld of %s was %q, and is %q after the upgrade", name, servers[name], now)
		}
	}
	f.do("infra", "visit", "--site", "site.yaml", "--orders", "100")
}

// primary is the server that takes writes, empty for none.
func (f *fleet) primary() string {
	for _, name := range []string{"db1", "db2", "db3"} {
		if out, err := f.machines[name].try(`mysqlha status --config /etc/mysqlha/mysqlhad.yaml | awk '$2 == "primary" {print $1}'`); err == nil && strings.TrimSpace(out) != "" {
			return strings.TrimSpace(out)
		}
	}
	return ""
}
