package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

// broken is one file of testdata/broken and the world around it.
type broken struct {
	name, file string
	env        []string
	prepare    func(t *testing.T, dir string)
}

func brokenFiles() []broken {
	return []broken{
		{name: "a line that is not YAML is refused with its line", file: "syntax"},
		{name: "a file with nothing in it is refused", file: "empty"},
		{name: "a second document is refused", file: "two_documents"},
		{name: "a file that is a list is refused", file: "not_a_section"},
		{name: "an unknown key is refused with the nearest known one", file: "unknown_key"},
		{name: "a key given twice is refused", file: "duplicate_key"},
		{name: "a value of the wrong type is refused", file: "wrong_type"},
		{name: "a key without a value is refused", file: "no_value"},
		{name: "an alias is refused", file: "alias"},
		{name: "every missing field is named", file: "missing_all"},
		{name: "a field missing in a list item is named at the item", file: "missing_in_lists"},
		{name: "a host without any way to etcd is refused", file: "missing_etcd"},
		{name: "a name with other letters is refused", file: "name"},
		{name: "a server name too long for an account is refused", file: "long_name"},
		{name: "a server name given twice is refused", file: "duplicate_server"},
		{name: "an etcd member given twice is refused", file: "duplicate_member"},
		{name: "an address given twice is refused in whatever spelling", file: "duplicate_address"},
		{name: "an address that nobody can dial is refused", file: "bad_address"},
		{name: "a tls_name with a port is refused", file: "tls_name"},
		{name: "an address that this host cannot listen on is refused", file: "bad_listen"},
		{name: "two listeners on one port are refused", file: "same_port"},
		{name: "an endpoint that is not a plain https URL is refused", file: "endpoints"},
		{name: "an unknown or repeated role is refused", file: "role"},
		{name: "a member that is not one of the servers is refused", file: "name_not_server"},
		{name: "a witness beside a server, or with a bad entry, is refused", file: "witness"},
		{name: "a witness that the list does not name is refused", file: "not_a_witness"},
		{name: "one server that shall wait for another is refused", file: "one_server"},
		{name: "a first primary that is not one of the servers is refused", file: "bootstrap"},
		{name: "a host with the role etcd that the members do not list is refused", file: "not_an_etcd_member"},
		{name: "a host with the role etcd needs members", file: "no_members"},
		{name: "a short token is refused and not shown", file: "token"},
		{name: "an unknown durability is refused", file: "durability"},
		{name: "fewer than one required ack is refused", file: "required_acks"},
		{name: "fewer servers than required acks and a primary are refused", file: "too_few_servers"},
		{name: "a negative number of sessions is refused", file: "max_sessions"},
		{name: "a number that is too large is refused", file: "number"},
		{name: "a hook that cannot be told, or would tell in plaintext, is refused", file: "hooks"},
		{name: "an unknown level or format is refused", file: "log"},
		{name: "a user name that MySQL would not take is refused", file: "control_user"},
		{name: "a socket path too long for the kernel is refused", file: "long_socket"},
		{name: "a file that does not exist is refused", file: "missing_file"},
		{name: "a folder in place of a file and a file in place of a folder are refused", file: "not_a_file"},
		{name: "a private key that others may read is refused", file: "open_key", prepare: chmod("tls/host.key", 0o640)},
		{name: "a password that others may read is refused even at its default place", file: "open_password", prepare: chmod("data/control.password", 0o604)},
		{name: "a duration without a unit, at zero, below it or above a day is refused", file: "duration"},
		{name: "a source heartbeat above half of the detection is refused", file: "source_heartbeat"},
		{name: "a probe interval above half of the detection is refused", file: "probe_interval"},
		{name: "a detection that the defaults do not fit is refused at the line given", file: "detection_short"},
		{name: "a leader lease below two seconds is refused", file: "leader_lease"},
		{name: "a member lease below two seconds is refused", file: "member_lease"},
		{name: "times that etcd or mysqld round are refused", file: "whole_seconds"},
		{name: "a fence deadline that is not above the member lease is refused", file: "fence_member_lease"},
		{name: "a fence deadline that is not above two heartbeat rows is refused", file: "fence_heartbeat_row"},
		{name: "a removal delay that is not below the fence deadline is refused", file: "removal_delay"},
		{name: "a replica_net_timeout below four detections is refused", file: "replica_net_timeout"},
		{name: "a hold that is not above the detection is refused", file: "hold"},
		{name: "an election below five heartbeats is refused", file: "election"},
		{name: "an election that would lengthen the leases is refused", file: "election_lease"},
		{name: "an election that etcd refuses is refused", file: "election_long"},
		{name: "an unknown variable is refused", file: "environment_unknown", env: []string{"MYSQLHA_API_LISTENS=x", "MYSQLHA_MYSQL_CONTROL_PASSWORD=x", "MYSQLHA_XYZZY=1", "MYSQLHA_A\nB=1", "MYSQLHA_CACHE=x", "HOME=/root"}},
		{name: "a bad value in a variable is refused by the variable", file: "environment_value", env: []string{"MYSQLHA_API_LISTEN=nowhere", "MYSQLHA_REQUIRED_ACKS=one", "MYSQLHA_REDIRECT_HOLD=", "MYSQLHA_TIMINGS_DETECTION=300ms", "MYSQLHA_ROLES=member", "MYSQLHA_REDIRECT_READ_FALLBACK=1"}},
		{name: "a value in a variable is checked even where the file has a fault", file: "environment_over_file", env: []string{"MYSQLHA_LOG_LEVEL=loud"}},
		{name: "roles that cannot be read bring no further faults", file: "roles_unreadable"},
		{name: "all faults of a file are reported at once, in the order of its lines", file: "many", env: []string{"MYSQLHA_LOG_LEVEL=loud"}},
	}
}

func TestEveryRuleRefusesItsBrokenFile(t *testing.T) {
	for _, c := range brokenFiles() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := place(t, filepath.Join("testdata", "broken", c.file+".yaml"))
			if c.prepare != nil {
				c.prepare(t, filepath.Dir(path))
			}
			cfg, err := Load(path, c.env)
			var faults Faults
			if cfg != nil || !errors.As(err, &faults) {
				t.Fatalf("got configuration %v and error %v, want Faults", cfg, err)
			}
			if lines := strings.Count(err.Error(), "\n") + 1; lines != len(faults) {
				t.Errorf("%d faults take %d lines", len(faults), lines)
			}
			got := strings.ReplaceAll(err.Error(), filepath.Dir(path), "$DIR") + "\n"
			golden(t, filepath.Join("testdata", "broken", c.file+".golden"), got)
		})
	}
}

func TestEveryBrokenFileIsInTheTable(t *testing.T) {
	files, err := filepath.Glob("testdata/broken/*")
	if err != nil || len(files) == 0 {
		t.Fatalf("no broken files: %v", err)
	}
	for _, f := range files {
		base := strings.TrimSuffix(filepath.Base(f), filepath.Ext(f))
		if !slices.ContainsFunc(brokenFiles(), func(b broken) bool { return b.file == base }) {
			t.Errorf("%s is tested by nothing", f)
		}
	}
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("the text of the faults differs (-want +got):\n%s", diff)
	}
}

// place copies a configuration into a folder of its own as shop.yaml, with the
// files that the fixtures name beside it.
func place(t *testing.T, source string) string {
	t.Helper()
	data, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, dir, "tls/ca.crt", "ca", 0o644)
	write(t, dir, "tls/host.crt", "cert", 0o644)
	write(t, dir, "tls/host.key", "key", 0o600)
	write(t, dir, "data/control.password", "secret\n", 0o600)
	return write(t, dir, "shop.yaml", string(data), 0o644)
}

func write(t *testing.T, dir, name, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func chmod(name string, mode os.FileMode) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
}
