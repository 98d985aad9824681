package reference

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// rooted has a script know a folder in place of this machine's.
func rooted(script, dir string) string {
	for _, own := range []string{"/var/lib/", "/usr/sbin/", "/etc/my", "/etc/apparmor.d/", "/proc/", "/run/"} {
		script = strings.ReplaceAll(script, own, dir+own)
	}
	return script
}

// onServer runs a script with the functions of a database host, in a folder in place of the
// machine. systemctl knows the units in the folder units as active, and writes what it is
// told into the file told.
func onServer(t *testing.T, dir, before, script string) (string, error) {
	t.Helper()
	text := "set -euo pipefail\nhost=db1 arch=amd64 listens=() address= version= ssh_port= admin=()\n"
	for _, part := range []string{"common.sh", "db.sh"} {
		more, err := installFiles.ReadFile("install/" + part)
		if err != nil {
			t.Fatal(err)
		}
		text += string(more)
	}
	text = "dir='" + dir + "'\ncd \"$dir\"\nmkdir -p var/lib/mysqlha-site/owed var/lib/mysqlha usr/sbin etc proc run units\n" + before + "\n" + rooted(text, dir) + `
systemctl() {
  case $1 in
    is-active) [[ -e $dir/units/${3%.service} ]] ;;
    show) if [[ -e $dir/units/mysqlha-mysqld ]]; then echo active; else echo inactive; fi ;;
    is-enabled) [[ ${3:-} == mysql.service && -e $dir/units/mysql ]] ;;
    *) echo "$*" >>"$dir/told"; if [[ "$*" == *--now*mysql.service ]]; then rm -f "$dir/units/mysql"; fi ;;
  esac
}
apt-cache() { if [[ $2 == mysql-server ]]; then echo '  Candidate: 8.4.6'; fi; }
` + script
	cmd := exec.CommandContext(t.Context(), "bash", "-c", text)
	said, err := cmd.CombinedOutput()
	return string(said), err
}

// What makes a server of a package, and what shows options of it.
const (
	serverFiles = "mkdir -p var/lib/mysql/mysql var/lib/mysql/performance_schema var/lib/mysql/sys 'var/lib/mysql/#innodb_redo'; touch var/lib/mysql/ibdata1 var/lib/mysql/mysql.ibd\n"
	mysqld      = `printf '#!/bin/sh\ncase $1 in --version) echo "mysqld  Ver 8.4.6 for Linux";; *) echo "mysqld would have been started with: --port=3306 %s";; esac\n' "$options" >usr/sbin/mysqld; chmod 755 usr/sbin/mysqld` + "\n"
)

func TestAServerWithDataIsNotTouched(t *testing.T) {
	for _, c := range []struct{ name, before, says string }{
		{"data", "options=\n" + mysqld + "mkdir var/lib/mysql; touch var/lib/mysql/ibdata1", "has data that is not of this site"},
		{"a link to data", "options=\n" + mysqld + "mkdir -p srv/mysql; touch srv/mysql/ibdata1; ln -s \"$dir/srv/mysql\" var/lib/mysql", "has data that is not of this site"},
		{"a link to data, and no MySQL yet", "mkdir -p srv/mysql; touch srv/mysql/ibdata1; ln -s ../../srv/mysql var/lib/mysql", "has data that is not of this site"},
		{"a link to a disk that is not there", "ln -s /nonexistent/mysql var/lib/mysql", "see whether its disk is mounted"},
		{"another data directory", "options=--datadir=/srv/mysql\n" + mysqld, "have the data directory /srv/mysql"},
		{"another data directory, and no MySQL yet", "mkdir etc/mysql; printf '[mysqld]\\ndatadir = \"/srv/mysql\" # here\\n' >etc/mysql/a.cnf", "have the data directory /srv/mysql"},
		{"a process", "options=\n" + mysqld + "mkdir proc/77; echo mysqld >proc/77/comm", "the process 77"},
		{"a process of MariaDB", "mkdir proc/78; echo mariadbd >proc/78/comm", "the process 78"},
		{"a service", "options=\n" + mysqld + "touch units/mysql", "mysql.service"},
		{"a server that was adopted", "options=\n" + mysqld + serverFiles + "mkdir var/lib/mysql/orders; touch units/mysql var/lib/mysqlha/control.password", "was adopted, or installed by hand"},
		{"one that was adopted and runs behind the gate", "options=\n" + mysqld + serverFiles + "touch units/mysqlha-mysqld var/lib/mysqlha/control.password", "was adopted, or installed by hand"},
		{"data since an installation was cut off", "options=\n" + mysqld + serverFiles + "mkdir var/lib/mysql/orders; touch units/mysql var/lib/mysqlha-site/fresh-mysql", "has data that is not of this site"},
		{"data since a server was begun", "options=\n" + mysqld + serverFiles + "ln -s /srv/orders var/lib/mysql/orders; touch var/lib/mysqlha-site/own-server", "has data that is not of this site"},
		{"a server of the package in use since a server was begun", "options=\n" + mysqld + serverFiles + "touch units/mysql var/lib/mysqlha-site/own-server", "mysql.service"},
	} {
		dir := t.TempDir()
		said, err := onServer(t, dir, c.before+"\nfind . ! -name list | sort >list", "look; prepare")
		if err == nil || !strings.Contains(said, c.says) || !strings.Contains(said, "nothing was touched\n  ") {
			t.Errorf("%s: %v, it says\n%s", c.name, err, said)
		}
		now, err := exec.CommandContext(t.Context(), "sh", "-c", "cd '"+dir+"' && find . ! -name list | sort | diff list - && ! test -e told").CombinedOutput()
		if err != nil {
			t.Errorf("%s: something is otherwise:\n%s", c.name, now)
		}
	}
}

// What is this installation's is gone on with.
func TestAServerThatThisHasMadeIsGoneOnWith(t *testing.T) {
	for _, c := range []struct{ name, before, then string }{
		{"nothing", "", `[[ $newly == mysql-server ]]`},
		{"its data directory alone, on a disk", "options=--datadir=$dir/var/lib/mysql/\n" + mysqld + "mkdir -p var/lib/mysql/lost+found", "prepare; ! test -e $dir/told"},
		{"one that runs behind the gate", "options=\n" + mysqld + serverFiles + "mkdir var/lib/mysql/app proc/77; echo mysqld >proc/77/comm; touch units/mysqlha-mysqld var/lib/mysqlha/control.password var/lib/mysqlha-site/own-server",
			"prepare; ! test -e $dir/told; test -d $data/app"},
		{"one of the package", "options=\n" + mysqld + serverFiles + "mkdir var/lib/mysql/lost+found; touch units/mysql var/lib/mysqlha-site/fresh-mysql",
			"prepare; ! has_data; grep -qx 'disable -q --now mysql.service' $dir/told; test -e $data.empty-*/ibdata1; test -d $data/lost+found; ! test -e $fresh"},
		{"one of the package, by a link", "options=\n" + mysqld + "mkdir -p srv/mysql; ln -s \"$dir/srv/mysql\" var/lib/mysql\n" + serverFiles + "touch var/lib/mysqlha-site/fresh-mysql",
			"prepare; ! has_data; test -e $data.empty-*/ibdata1; test -L $data"},
		{"a half of one", "options=\n" + mysqld + serverFiles + "touch var/lib/mysqlha-site/own-server", "prepare; ! has_data; ! test -e $dir/told"},
		{"a half of one that is only looked at", "options=\n" + mysqld + serverFiles + "touch var/lib/mysqlha-site/own-server", "check=yes; prepare; has_data"},
	} {
		if said, err := onServer(t, t.TempDir(), c.before, "look\n"+c.then); err != nil {
			t.Errorf("%s: %v\n%s", c.name, err, said)
		}
	}
}

// An installation of MySQL that fails leaves no leave to put its server aside later; one that
// is interrupted is made up for.
func TestAFailedPackageIsNotRememberedAsFresh(t *testing.T) {
	for _, c := range []struct {
		apt, says string
		fresh     int
	}{
		{"echo 'E: no'; return 100", "apt cannot", 0},
		{"kill -INT $$; return 100", "interrupted", 1},
	} {
		dir := t.TempDir()
		said, err := onServer(t, dir, "", "apt-get() { "+c.apt+"; }\nexec 3>&2; trap 'echo interrupted >&3; exit 130' INT\nlook; prepare")
		if err == nil || !strings.Contains(said, c.says) {
			t.Errorf("%s: %v\n%s", c.apt, err, said)
		}
		if left, _ := filepath.Glob(dir + "/var/lib/mysqlha-site/fresh*"); len(left) != c.fresh {
			t.Errorf("%s: left is %v", c.apt, left)
		}
		if left, _ := filepath.Glob(dir + "/usr/sbin/policy*"); len(left) > 0 {
			t.Errorf("%s: left is %v", c.apt, left)
		}
	}
}

// The mark is there before mysqlhad makes anything, and one that fails can be put aside.
func TestANewServerIsMarked(t *testing.T) {
	stubs := "install() { mkdir -p \"${@: -1}\"; }\nrunuser() { test -e \"$own_server\" && touch \"$data/ibdata1\" && return 1; }\n"
	if said, err := onServer(t, t.TempDir(), "options=\n"+mysqld, stubs+"look; prepare\n! (new_server) || exit 9\nlook; prepare; ! has_data"); err != nil {
		t.Errorf("%v\n%s", err, said)
	}
	if said, err := onServer(t, t.TempDir(), "mkdir var/lib/mysql; touch var/lib/mysql/ibdata1", stubs+"! (new_server) || exit 9\ntest ! -e $own_server"); err != nil {
		t.Errorf("%v\n%s", err, said)
	}
}

// What was there before is kept beside, with its mode, also if nobody else may read it.
func TestWhatSomebodyElseHasPutThereIsKept(t *testing.T) {
	dir := t.TempDir()
	said, err := onServer(t, dir, "mkdir srv; echo theirs >srv/key; chmod 600 srv/key; echo ours >ours", `me=$(id -un):$(id -gn)
put 600 "$me" "$dir/ours" "$dir/srv/key"
put 600 "$me" "$dir/ours" "$dir/srv/key"
[[ $(stat -c %a srv/key.orig) == 600 && $(<srv/key.orig) == theirs && $(<srv/key) == ours ]]`)
	if err != nil {
		t.Errorf("%v\n%s", err, said)
	}
}

// sites makes a bundle whose all goes to folders in place of hosts, and returns what runs it.
// A host's install is the script.
func sites(t *testing.T, install string) (dir string, all func(args ...string) (string, error)) {
	t.Helper()
	dir = t.TempDir()
	script, err := installFiles.ReadFile("install/all")
	if err != nil {
		t.Fatal(err)
	}
	ssh := "#!/bin/bash\nexport ALL=$PPID\nhost=${1#*@}; shift\nif [[ -e '" + dir + "'/$host.gone ]]; then exit 255; fi\nmkdir -p '" + dir + "'/$host/{var/lib,run}\nexec bash -c \"${*//@root@/" + dir + "/$host}\"\n"
	for file, text := range map[string]string{"bundle/all": strings.NewReplacer("/var/lib/", "@root@/var/lib/", "/run/", "@root@/run/").Replace(string(script)), "ssh": ssh,
		"bundle/hosts": "db1 10.0.0.1 db\ndb2 10.0.0.2 db\nlb1 10.0.0.3 lb\n", "bundle/db1/install": install, "bundle/db2/install": install, "bundle/lb1/install": install} {
		if err := writeFile(filepath.Join(dir, file), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir, func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "bundle/all"), args...)
		cmd.Env = append(os.Environ(), "SSH="+filepath.Join(dir, "ssh"), "TEST="+dir)
		said, err := cmd.CombinedOutput()
		return string(said), err
	}
}

// left are the folders that all has left on hosts.
func left(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(dir + "/10.0.0.*/var/lib/mysqlha-site*")
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestNoKeysStayOnHosts(t *testing.T) {
	const begin = "#!/bin/bash\nset -e\ncd \"$(dirname \"$0\")\"\nhost=$(cd ../../../..; basename \"$PWD\")\necho \"$host $*\" >>\"$TEST/ran\"\ntest \"$(stat -c %a . ..)\" = $'700\\n700'\n"
	dir, all := sites(t, begin)
	if said, err := all(); err != nil || len(left(t, dir)) > 0 {
		t.Errorf("%v, left are %v\n%s", err, left(t, dir), said)
	}
	if ran := readFile(t, dir+"/ran"); ran != "10.0.0.1 \n10.0.0.2 \n10.0.0.1 --account\n10.0.0.2 --account\n10.0.0.3 \n" {
		t.Errorf("there ran\n%s", ran)
	}
	// The second host fails.
	dir, all = sites(t, begin+`[[ $host != *.2 ]]`)
	if said, err := all(); err == nil || len(left(t, dir)) > 0 {
		t.Errorf("%v, left are %v\n%s", err, left(t, dir), said)
	}
	// Somebody ends it.
	dir, all = sites(t, begin+`if [[ $host == *.2 ]]; then kill -INT $ALL; sleep 0.2; fi`)
	if said, err := all(); err == nil || len(left(t, dir)) > 0 || strings.Contains(readFile(t, dir+"/ran"), "10.0.0.3") {
		t.Errorf("%v, left are %v\n%s", err, left(t, dir), said)
	}
	// One host is lost after that, and an installation goes on at the other.
	_, all = sites(t, begin+`if [[ $host == *.2 ]]; then
  touch "$TEST/10.0.0.2.gone"
  flock "$TEST/10.0.0.1/run/mysqlha-install.lock" sleep 3 >/dev/null 2>&1 &
  sleep 0.3
  exit 1
fi`)
	said, err := all()
	if err == nil || !strings.Contains(said, "all: db1 still has ") || !strings.Contains(said, "all: db2 still has ") || !strings.Contains(said, "root@10.0.0.2 rm -r ") {
		t.Errorf("%v\n%s", err, said)
	}
}
