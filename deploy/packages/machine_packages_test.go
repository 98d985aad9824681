//go:build packages

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// machine is a Debian in a folder. Once it is booted, a systemd of its own runs there, in
// namespaces of its own.
type machine struct {
	t    *testing.T
	root string
	pid  int
	// name is its host name.
	name string
	// lower, if set, is a folder over which root is laid once it is booted: what it changes
	// is in root alone.
	lower string
	// network, if set, is the network namespace that it is in; else it has a loopback only.
	network string
	// plain says that there is no MySQL in /opt/mysql.
	plain bool
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("this needs root")
	}
	tarball, err := exec.CommandContext(t.Context(), "./debian").Output()
	if err != nil {
		t.Fatalf("deploy/packages/debian: %v", err)
	}
	m := &machine{t: t, root: filepath.Join(t.TempDir(), "debian"), name: "db1"}
	if err := os.Mkdir(m.root, 0o755); err != nil {
		t.Fatal(err)
	}
	must(t, "tar", "-C", m.root, "-xf", strings.TrimSpace(string(tarball)))
	return m
}

// mysql is the folder of the fetched MySQL.
func mysql(t *testing.T) string {
	t.Helper()
	folder := filepath.Dir(filepath.Dir(os.Getenv("MYSQLD")))
	if _, err := os.Stat(filepath.Join(folder, "root/usr/sbin/mysqld")); err != nil {
		t.Fatalf("MYSQLD must name a mysqld that deploy/mysqld/fetch has unpacked: %v", err)
	}
	return folder
}

// group makes a control group below this process's own, so that each machine's systemd has
// one to itself.
func (m *machine) group() string {
	m.t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		m.t.Fatal(err)
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		m.t.Fatal(err)
	}
	dir := ""
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "cgroup2" {
			dir = f[1]
		}
	}
	for line := range strings.Lines(string(own)) {
		if path, of := strings.CutPrefix(strings.TrimSpace(line), "0::"); of && dir != "" {
			dir = filepath.Join(dir, path, fmt.Sprintf("mysqlha-%d-%s", os.Getpid(), m.name))
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		m.t.Fatalf("a control group of version 2 is needed for each machine: %v", err)
	}
	m.t.Cleanup(func() {
		m.await("its control group is empty", func() error {
			_ = os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0o200) // An old kernel cannot; then they end by themselves.
			// The kernel has the inner ones removed first.
			return exec.Command("find", dir, "-depth", "-type", "d", "-exec", "rmdir", "{}", "+").Run()
		})
	})
	return dir
}

// boot starts the machine's systemd. The fetched MySQL is mounted in /opt/mysql.
func (m *machine) boot() {
	m.t.Helper()
	script := `set -e
echo $$ >"$3/cgroup.procs"
exec unshare --cgroup bash -ec '
mount --make-rprivate /
if [ -n "$4" ]; then mount -t overlay overlay -o lowerdir="$4",upperdir="$0",workdir="$0.work" "$0"; else mount --bind "$0" "$0"; fi
cd "$0"
mkdir -p run/old
if [ -n "$1" ]; then mkdir -p opt/mysql; mount --bind "$1" opt/mysql; fi
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do touch dev/$device; mount --bind /dev/$device dev/$device; done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
mount -t tmpfs tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ip link set lo up
hostname "$2"
pivot_root . run/old
cd /
umount -l /run/old
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs tmpfs /tmp
export container=mysqlha
exec /lib/systemd/systemd --system --unit=multi-user.target --log-target=console --show-status=no
' "$0" "$1" "$2" "$3" "$4"`
	args := []string{"unshare", "--pid", "--fork", "--mount", "--uts", "--ipc", "--kill-child"}
	if m.network == "" {
		args = append(args, "--net")
	} else {
		args = append([]string{"nsenter", "--net=/run/netns/" + m.network}, args...)
	}
	opt := ""
	if !m.plain {
		opt = mysql(m.t)
	}
	if m.lower != "" {
		if err := errors.Join(os.MkdirAll(m.root, 0o755), os.MkdirAll(m.root+".work", 0o755)); err != nil {
			m.t.Fatal(err)
		}
	}
	args = append(args, "bash", "-c", script, m.root, opt, m.name, m.group(), m.lower)
	cmd := exec.Command(args[0], args[1:]...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		if m.pid > 0 {
			_ = syscall.Kill(m.pid, syscall.SIGKILL)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if m.t.Failed() {
			m.t.Logf("systemd said:\n%s", said.String())
		}
	})
	m.await("systemd runs", func() error {
		children, err := os.ReadFile(fmt.Sprintf("/proc/%[1]d/task/%[1]d/children", cmd.Process.Pid))
		if err != nil {
			return err
		}
		if m.pid, err = strconv.Atoi(strings.TrimSpace(string(children))); err != nil {
			return err
		}
		state, err := m.try("systemctl is-system-running")
		if strings.TrimSpace(state) != "running" {
			return fmt.Errorf("%s: %w", state, errors.Join(err, errors.New("not yet")))
		}
		return nil
	})
}

// try runs a script there.
func (m *machine) try(script string) (string, error) {
	m.t.Helper()
	if m.pid == 0 {
		return say(m.t, "chroot", m.root, "sh", "-ec", script)
	}
	return say(m.t, "nsenter", "-t", strconv.Itoa(m.pid), "-a", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "DEBIAN_FRONTEND=noninteractive", "sh", "-ec", script)
}

// do is for what has to work.
func (m *machine) do(script string) string {
	m.t.Helper()
	out, err := m.try(script)
	if err != nil {
		m.t.Fatalf("%s\n%v\n%s", script, err, out)
	}
	return strings.TrimSpace(out)
}

func (m *machine) await(what string, done func() error) {
	m.t.Helper()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if err = done(); err == nil {
			return
		}
	}
	m.t.Fatalf("%s: not within %s: %v", what, patience, err)
}

// give copies packages to where the machine sees them.
func (m *machine) give(paths []string) {
	m.t.Helper()
	if err := os.MkdirAll(filepath.Join(m.root, "given"), 0o755); err != nil {
		m.t.Fatal(err)
	}
	must(m.t, "cp", append(paths, filepath.Join(m.root, "given"))...)
}

// files are all that it has, but for what dpkg and systemd keep.
func (m *machine) files() []string {
	m.t.Helper()
	var all []string
	for s := bufio.NewScanner(strings.NewReader(m.do(`find / -xdev \( -path /given -o -path /opt -o -path /var/log -o -path /var/lib/dpkg -o -path /var/lib/systemd -o -path /root \) -prune -o -print | sort`))); s.Scan(); {
		all = append(all, s.Text())
	}
	return all
}

func (m *machine) is(script, want string) {
	m.t.Helper()
	if got, _ := m.try(script); strings.TrimSpace(got) != want {
		m.t.Errorf("%s says %q, want %q", script, strings.TrimSpace(got), want)
	}
}
