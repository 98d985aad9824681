//go:build security

package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/deploy/sandbox"
	"github.com/mysqlha/mysqlha/integration/harness"
)

// The users of the units, known inside alone.
const (
	mysqlUID   = 64990
	mysqlhaUID = 64991
)

// units is a systemd of its own, in namespaces of its own, that runs a sandbox's hosts
// by the units that are shipped: each host has copies of them, with other names, paths
// and programs.
type units struct {
	t   *testing.T
	cmd *exec.Cmd
	pid int
	log string
}

// boot ends a sandbox's own supervisor and starts its programs by systemd.
func boot(t *testing.T, s *sandbox.Sandbox) *units {
	t.Helper()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Fatalf("Debian's package systemd is needed: %v", err)
	}
	report, running, err := s.Processes()
	if err != nil || !running {
		t.Fatalf("the sandbox does not run: %v", err)
	}
	dir := filepath.Join(s.Dir(), "systemd")
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil {
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var all []string
	for _, p := range report.Programs {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.PID))
		if err != nil {
			t.Fatal(err)
		}
		args := strings.Split(strings.TrimRight(string(raw), "\x00"), "\x00")
		host, part, _ := strings.Cut(p.Name, "/")
		shipped := map[string]string{"daemon": "mysqlhad.service", "guard": "mysqlha-mysqld.service", "": "mysqlha-redirector.service"}[part]
		text, err := os.ReadFile("../deploy/systemd/" + shipped)
		if err != nil {
			t.Fatal(err)
		}
		unit := host + "-" + shipped
		all = append(all, unit)
		write(unit, string(text))
		args[0] = filepath.Join(s.Dir(), "bin", "mysqlhad")
		// What differs is where things are. Root's home is closed to the units, but for the
		// mysqld that was fetched into it.
		write(unit+".d/place.conf", fmt.Sprintf("[Unit]\nConflicts=\nDefaultDependencies=no\n[Service]\nExecStart=\nExecStart=%s\nReadWritePaths=%s\nProtectHome=tmpfs\nBindReadOnlyPaths=-%s\nStandardOutput=append:%s\nStandardError=inherit\n",
			strings.Join(args, " "), s.Dir(), cacheOf(os.Getenv("MYSQLD")), filepath.Join(s.Dir(), host, "unit-"+part+".log")))
	}
	for _, target := range []string{"network-online.target", "time-sync.target", "multi-user.target", "sysinit.target", "basic.target", "shutdown.target"} {
		write(target, "[Unit]\nDescription=nothing\nDefaultDependencies=no\n")
	}
	write("cluster.target", "[Unit]\nDescription=all of it\nDefaultDependencies=no\nWants="+strings.Join(all, " ")+"\n")
	users := func(file, format string) {
		text, err := os.ReadFile("/etc/" + file)
		if err != nil {
			t.Fatal(err)
		}
		write("etc/"+file, string(text)+fmt.Sprintf(format, "mysql", mysqlUID)+fmt.Sprintf(format, "mysqlha", mysqlhaUID))
	}
	users("passwd", "%[1]s:x:%[2]d:%[2]d::/nonexistent:/bin/false\n")
	users("group", "%s:x:%d:\n")

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.Down(ctx, true); err != nil {
		t.Fatal(err)
	}
	hand(t, s)
	u := &units{t: t, log: filepath.Join(s.Dir(), "systemd.log")}
	said, err := os.Create(u.log)
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	script := `set -e
mount --make-rprivate /
mount --bind ` + dir + `/etc/passwd /etc/passwd
mount --bind ` + dir + `/etc/group /etc/group
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /var/lib
mount -t tmpfs tmpfs /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /run/systemd/system
cp -r ` + dir + `/*.target ` + dir + `/*.service ` + dir + `/*.service.d /run/systemd/system/
export container=mysqlha SYSTEMD_UNIT_PATH=/run/systemd/system
exec /lib/systemd/systemd --system --unit=cluster.target --log-target=console --show-status=no`
	u.cmd = exec.Command("unshare", "--pid", "--fork", "--mount", "--mount-proc", "--cgroup", "--uts", "--ipc", "--kill-child", "bash", "-c", script)
	u.cmd.Stdout, u.cmd.Stderr = said, said
	u.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if err := u.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(u.end)
	within(t, "systemd runs", func(ctx context.Context) error {
		return poll(ctx, func() error {
			children, err := os.ReadFile(fmt.Sprintf("/proc/%[1]d/task/%[1]d/children", u.cmd.Process.Pid))
			if err == nil {
				u.pid, err = strconv.Atoi(strings.TrimSpace(string(children)))
			}
			return err
		})
	})
	return u
}

// cacheOf is the folder that has all of a fetched mysqld.
func cacheOf(mysqld string) string {
	for dir := mysqld; dir != "/" && dir != "."; dir = filepath.Dir(dir) {
		if filepath.Base(dir) == "mysqld" && dir != mysqld {
			return dir
		}
	}
	return filepath.Dir(mysqld)
}

// hand gives the hosts' files to the users of the units.
func hand(t *testing.T, s *sandbox.Sandbox) {
	t.Helper()
	err := filepath.WalkDir(s.Dir(), func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(s.Dir(), path)
		host, _, _ := strings.Cut(name, string(filepath.Separator))
		switch host {
		case ".":
			return os.Chmod(path, 0o755)
		case "pki", "client", "systemd", "bin":
			return nil
		case "redirector":
			return os.Lchown(path, mysqlhaUID, mysqlhaUID)
		}
		return os.Lchown(path, mysqlUID, mysqlUID)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// control asks systemd for something.
func (u *units) control(args ...string) string {
	u.t.Helper()
	ctx, cancel := context.WithTimeout(u.t.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, "nsenter", append([]string{"-t", strconv.Itoa(u.pid), "-a", "systemctl"}, args...)...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		u.t.Fatal(err)
	}
	return string(out)
}

// end kills systemd, and with it all that it has started.
func (u *units) end() {
	if u.t.Failed() {
		u.t.Logf("systemd says:\n%s", sandbox.Tail(u.log, 60))
	}
	if u.pid > 0 {
		_ = syscall.Kill(u.pid, syscall.SIGKILL)
	}
	_ = u.cmd.Process.Kill()
	_ = u.cmd.Wait()
}

// Under the units that are shipped, without a capability and as mysqld's own user, the
// daemon fences its server, to the last stage, and a lost primary is replaced and comes
// back; a stop of the unit of the primary answers nobody OK.
func TestSecurityFencingWorksUnderTheHardenedUnits(t *testing.T) {
	dir, err := os.MkdirTemp("/srv", "mysqlha-units-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	for _, program := range []string{"mysqlha", "mysqlhad"} {
		text, err := os.ReadFile(filepath.Join(filepath.Dir(harness.Build(t)), program))
		if err == nil {
			err = os.MkdirAll(filepath.Join(dir, "bin"), 0o755)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "bin", program), text, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	s := harness.Start(t, sandbox.Options{Dir: filepath.Join(dir, "s")})
	if err := os.Rename(filepath.Join(dir, "bin"), filepath.Join(dir, "s", "bin")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	before := record(t, s)
	u := boot(t, s)
	defer u.end()
	awaitCluster(t, s, "all is well under systemd", sandbox.Settled)
	for _, unit := range []string{"db1-mysqlhad.service", "db1-mysqlha-mysqld.service", "redirector-mysqlha-redirector.service"} {
		shown := u.control("show", unit, "-p", "ActiveState,NoNewPrivileges,ProtectSystem,MainPID")
		if !strings.Contains(shown, "ActiveState=active") || !strings.Contains(shown, "NoNewPrivileges=yes") || !strings.Contains(shown, "ProtectSystem=strict") {
			t.Errorf("%s: %s", unit, shown)
		}
	}
	status := u.inside("cat", "/proc/"+strings.TrimSpace(strings.TrimPrefix(u.control("show", "db1-mysqlhad.service", "-p", "MainPID"), "MainPID="))+"/status")
	for _, want := range []string{"Uid:\t" + strconv.Itoa(mysqlUID), "CapBnd:\t0000000000000000", "CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"} {
		if !strings.Contains(status, want) {
			t.Errorf("the daemon's process lacks %q:\n%s", want, status)
		}
	}

	for _, host := range []string{"db1", "redirector"} {
		hostIsMeasured(t, s, host)
	}

	l := harness.Writers(t, s, 4)
	replica := others(s, record(t, s).Primary)[0]
	runOf := func(c api.Cluster) string {
		i := slices.IndexFunc(c.Servers, func(one api.Server) bool { return one.Name == replica })
		if i < 0 || c.Servers[i].Live == nil {
			return ""
		}
		return c.Servers[i].Live.StartID
	}
	former := ""
	awaitCluster(t, s, "the replica tells its run", func(c api.Cluster) bool { former = runOf(c); return former != "" })
	within(t, "the fence of "+replica+" is tested", func(ctx context.Context) error {
		return poll(ctx, func() error { // It is refused while the replica has not found its place yet.
			report, err := s.API().TestFence(ctx, api.FenceRequest{Server: replica, Kill: true})
			if err == nil && !report.Killed {
				t.Fatalf("it was not killed: %+v", report)
			}
			return err
		})
	})
	awaitCluster(t, s, "the replica runs anew, is in sync, and has been seen to have caught up", func(c api.Cluster) bool {
		now := runOf(c)
		return now != "" && now != former && sandbox.Settled(c) && c.Record.Runs[replica] == now
	})

	primary := record(t, s).Primary
	begun := time.Now()
	if out := u.control("kill", "--kill-who=all", "--signal=KILL", primary+"-mysqlha-mysqld.service"); out != "" {
		t.Errorf("systemctl kill: %s", out)
	}
	awaitCluster(t, s, "the next term is open, and the old primary is back", func(c api.Cluster) bool { return c.Record.Term > before.Term && sandbox.Settled(c) })
	t.Logf("whole again after %s", time.Since(begun).Round(time.Millisecond))

	// A polite stop of the primary's unit: its gate sees to it that nobody is answered OK.
	now := record(t, s)
	u.control("stop", now.Primary+"-mysqlha-mysqld.service")
	awaitCluster(t, s, "another one is primary", func(c api.Cluster) bool { return sandbox.IsOpen(c) && c.Record.Primary != now.Primary })
	u.control("start", now.Primary+"-mysqlha-mysqld.service")
	awaitCluster(t, s, "all is well in the end", sandbox.Settled)
	l.Check()
}

// hostIsMeasured: the daemon may read the figures of its host, but for the clock's.
func hostIsMeasured(t *testing.T, s *sandbox.Sandbox, host string) {
	t.Helper()
	samples, err := s.Metrics(t.Context(), host)
	if err != nil {
		t.Fatal(err)
	}
	for _, series := range []string{`mysqlha_host_cpu_seconds_total{mode="user"}`, `mysqlha_host_memory_bytes{state="available"}`, `mysqlha_host_load1`, `mysqlha_host_volume_bytes{state="free",volume="data"}`} {
		if _, there := samples[series]; !there {
			t.Errorf("%s does not tell %s", host, series)
		}
	}
	if _, there := samples["mysqlha_host_clock_synchronised"]; there {
		t.Errorf("%s tells of its clock: docs/metrics.md says that it cannot", host)
	}
}

// systemd itself judges the units, and SECURITY.md says what it found. Lower is better.
func TestSecurityTheUnitsAreAsClosedAsIsSaid(t *testing.T) {
	text, err := os.ReadFile("../SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	said := regexp.MustCompile(`systemd-analyze security.: ([\d.]+) for the daemon, ([\d.]+) for a redirector, ([\d.]+) for mysqld, ([\d.]+) for the`).FindStringSubmatch(string(text))
	if said == nil {
		t.Fatal("SECURITY.md does not say it any more")
	}
	for i, unit := range []string{"mysqlhad", "mysqlha-redirector", "mysqlha-mysqld", "mysqlha-firewall"} {
		out, err := exec.CommandContext(t.Context(), "systemd-analyze", "security", "--offline=yes", "../deploy/systemd/"+unit+".service").CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		level := regexp.MustCompile(`Overall exposure level for .*: ([\d.]+)`).FindSubmatch(out)
		if level == nil || string(level[1]) != said[i+1] {
			t.Errorf("%s: found is %s, and SECURITY.md says %s", unit, level, said[i+1])
		}
	}
}

// inside runs a program among the units.
func (u *units) inside(args ...string) string {
	u.t.Helper()
	out, err := exec.CommandContext(u.t.Context(), "nsenter", append([]string{"-t", strconv.Itoa(u.pid), "-a"}, args...)...).CombinedOutput()
	if err != nil {
		u.t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}
