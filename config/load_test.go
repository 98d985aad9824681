package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestTheExampleLoadsCleanly(t *testing.T) {
	dir := t.TempDir()
	text := strings.NewReplacer("/etc/mysqlha", dir, "/var/lib/mysqlha", dir+"/data").Replace(Example())
	path := write(t, dir, "shop.yaml", text, 0o644)
	write(t, dir, "ca.crt", "ca", 0o644)
	write(t, dir, "host.crt", "cert", 0o644)
	write(t, dir, "host.key", "key", 0o600)
	c, err := Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if w := c.Warnings(); len(w) > 0 {
		t.Errorf("warnings: %q", w)
	}
	// The example writes the defaults out, so it must agree with them.
	want := defaults()
	for _, field := range []struct{ name, got, want any }{
		{"timings", c.Timings, want.Timings}, {"roles", c.Roles, want.Roles}, {"log", c.Log, want.Log},
		{"required_acks", c.RequiredAcks, want.RequiredAcks}, {"hold", c.Redirect.Hold, want.Redirect.Hold},
		{"max_lag", c.Redirect.MaxLag, want.Redirect.MaxLag}, {"heartbeat", c.Etcd.Embedded.Heartbeat, want.Etcd.Embedded.Heartbeat},
		{"election", c.Etcd.Embedded.Election, want.Etcd.Embedded.Election}, {"control_user", c.MySQL.ControlUser, want.MySQL.ControlUser},
	} {
		if diff := cmp.Diff(field.want, field.got); diff != "" {
			t.Errorf("%s is not the default (-default +example):\n%s", field.name, diff)
		}
	}
}

func TestTheExampleNamesEveryField(t *testing.T) {
	for _, o := range overrides(reflect.ValueOf(defaults()).Elem(), "") {
		key := o.path[strings.LastIndex(o.path, ".")+1:]
		if !strings.Contains(Example(), key+":") {
			t.Errorf("the example does not mention %s", o.path)
		}
	}
}

func TestASmallFileGetsTheDefaults(t *testing.T) {
	path := place(t, "testdata/small.yaml")
	dir := filepath.Dir(path)
	c, err := Load(path, []string{"HOME=/root"})
	if err != nil {
		t.Fatal(err)
	}
	want := defaults()
	want.Cluster, want.Name, want.DataDir = "shop", "db1", dir+"/data"
	for i := range 3 {
		name, host := fmt.Sprintf("db%d", i+1), fmt.Sprintf("10.0.0.%d", i+1)
		want.Servers = append(want.Servers, Server{Name: name, MySQL: host + ":3306", API: host + ":8008"})
		want.Etcd.Embedded.Members = append(want.Etcd.Embedded.Members, EtcdMember{Name: name, Peer: host + ":2380", Client: host + ":2379"})
	}
	want.MySQL = MySQL{Socket: dir + "/mysqld.sock", DataDir: dir + "/mysql", ControlUser: "mysqlha",
		ControlPasswordFile: dir + "/data/control.password", RunFile: dir + "/data/mysqld.json"}
	want.TLS = TLS{CA: dir + "/tls/ca.crt", Cert: dir + "/tls/host.crt", Key: dir + "/tls/host.key"}
	want.Etcd.Embedded.ListenClient, want.Etcd.Embedded.ListenPeer = "10.0.0.1:2379", "10.0.0.1:2380"
	want.Etcd.Embedded.Token = "q7w1k9zz"
	if diff := cmp.Diff(want, c, cmpopts.IgnoreUnexported(Config{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestVariablesOverrideTheFile(t *testing.T) {
	path := place(t, "testdata/small.yaml")
	c, err := Load(path, []string{
		"MYSQLHA_API_LISTEN=127.0.0.1:1", "MYSQLHA_API_LISTEN=127.0.0.1:9008", "MYSQLHA_REDIRECT_READ_FALLBACK=false",
		"MYSQLHA_TIMINGS_DETECTION=2s", "MYSQLHA_REDIRECT_MAX_SESSIONS=7", "MYSQLHA_DATA_DIR=/nowhere/data",
		"MYSQLHA_ETCD_EMBEDDED_TOKEN=another-token", "MYSQLHA_CACHE=x", "MYSQLHA_CONTEXT=x", "MYSQLHA_CONFIG=x", "MYSQLHA_ENDPOINTS=x",
	})
	if err != nil {
		t.Fatal(err)
	}
	got := []any{c.API.Listen, c.Redirect.ReadFallback, c.Timings.Detection, c.Redirect.MaxSessions, c.MySQL.RunFile, c.Etcd.Embedded.Token}
	want := []any{"127.0.0.1:9008", false, 2 * time.Second, 7, "/nowhere/data/mysqld.json", "another-token"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAVariableMendsAFieldThatTheFileLacks(t *testing.T) {
	path := place(t, "testdata/broken/missing_all.yaml")
	_, before := Load(path, nil)
	_, after := Load(path, []string{"MYSQLHA_MYSQL_SOCKET=/run/m.sock"})
	if !strings.Contains(before.Error(), "mysql.socket: is missing") || strings.Contains(after.Error(), "mysql.socket") {
		t.Errorf("before:\n%v\nafter:\n%v", before, after)
	}
}

func TestNoTwoFieldsShareAVariable(t *testing.T) {
	seen := map[string]bool{}
	for _, name := range append(Variables(), toolVariables()...) {
		if seen[name] {
			t.Errorf("%s is taken twice", name)
		}
		seen[name] = true
	}
	if !seen["MYSQLHA_ETCD_EMBEDDED_LISTEN_CLIENT"] || seen["MYSQLHA_SERVERS"] {
		t.Errorf("unexpected variables: %v", Variables())
	}
}

func TestAHostNeedsOnlyWhatItsRolesUse(t *testing.T) {
	head := "cluster: shop\nservers: [{name: db1, mysql: \"h1:3306\", api: \"h1:8008\"}, {name: db2, mysql: \"h2:3306\", api: \"h2:8008\"}, {name: db3, mysql: \"h3:3306\", api: \"h3:8008\"}]\n" +
		"tls: {ca: tls/ca.crt, cert: tls/host.crt, key: tls/host.key}\n"
	endpoints := "etcd: {endpoints: [\"https://[fd00::1]:2379\"]}\n"
	for name, text := range map[string]string{
		"a redirector needs no mysql section and is no server": "name: app1\nroles: [redirector]\n" + endpoints,
		"a redirector finds etcd by the embedded members":      "name: app1\nroles: [redirector]\netcd: {embedded: {members: [{name: db1, peer: \"h1:2380\", client: \"h1:2379\"}]}}\n",
		"a witness runs etcd alone":                            "name: w1\nroles: [etcd]\netcd: {embedded: {token: 12345678x, listen_client: \"localhost:2379\", listen_peer: \"0.0.0.0:2380\", members: [{name: w1, peer: \"w1:2380\", client: \"w1:2379\"}]}}\n",
		"a member without redirector may have a long detection": "name: db1\nroles: [member]\nmysql: {socket: m.sock, data_dir: m}\n" + endpoints +
			"timings: {detection: 15s, replica_net_timeout: 60s}\n",
	} {
		t.Run(name, func(t *testing.T) {
			path := place(t, "testdata/small.yaml")
			write(t, filepath.Dir(path), "shop.yaml", head+text, 0o644)
			c, err := Load(path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(c.EtcdEndpoints()) != 1 || !strings.HasPrefix(c.EtcdEndpoints()[0], "https://") {
				t.Errorf("endpoints %q", c.EtcdEndpoints())
			}
			if c.HasRole(RoleMember) != strings.Contains(text, "member]") {
				t.Errorf("roles %v", c.Roles)
			}
		})
	}
}

func TestAMissingPasswordAtItsDefaultPlaceIsAllowed(t *testing.T) {
	path := place(t, "testdata/small.yaml")
	if err := os.Remove(filepath.Join(filepath.Dir(path), "data/control.password")); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path, nil); err != nil {
		t.Error(err)
	}
}

func TestDoubtfulChoicesAreWarnedOf(t *testing.T) {
	text, err := os.ReadFile("testdata/small.yaml")
	if err != nil {
		t.Fatal(err)
	}
	path := place(t, "testdata/small.yaml")
	without := strings.ReplaceAll(string(text), `      - {name: db3, peer: "10.0.0.3:2380", client: "10.0.0.3:2379"}`+"\n", "")
	write(t, filepath.Dir(path), "shop.yaml", without+"required_acks: 2\nroles: [etcd]\n", 0o644)
	c, err := Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"servers: with 3 servers and 2 required acks, writes wait as soon as one server is lost; 4 servers can lose one, and durability: available goes on with fewer",
		"mysql: the section is not used, since this host does not have the role member",
		"etcd.embedded.members: 2 members survive no more losses than 1; use an odd number",
	}
	if diff := cmp.Diff(want, c.Warnings(), cmpopts.SortSlices(strings.Compare)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAServerIsFoundByNameAndVerifiedByItsTLSName(t *testing.T) {
	c := &Config{Servers: []Server{{Name: "db1", MySQL: "10.0.0.1:3306", API: "[fd00::1]:8008"}, {Name: "db2", MySQL: "h:1", TLSName: "db2.example"}}}
	db1, found1 := c.Server("db1")
	db2, found2 := c.Server("db2")
	_, found3 := c.Server("db3")
	if !found1 || !found2 || found3 {
		t.Fatalf("found db1 %v, db2 %v, db3 %v", found1, found2, found3)
	}
	got := []string{db1.MySQLTLSName(), db1.APITLSName(), db2.MySQLTLSName(), db2.APITLSName()}
	if diff := cmp.Diff([]string{"10.0.0.1", "fd00::1", "db2.example", "db2.example"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAFileThatCannotBeReadIsAFault(t *testing.T) {
	dir := t.TempDir()
	large := write(t, dir, "large.yaml", strings.Repeat("#\n", largest), 0o644)
	for path, want := range map[string]string{
		dir + "/none.yaml": "cannot be read: no such file or directory",
		dir:                "cannot be read: not a regular file",
		large:              "cannot be read: larger than 1024 KiB",
	} {
		_, err := Load(path, nil)
		var faults Faults
		if !errors.As(err, &faults) || len(faults) != 1 || faults[0].Problem != want {
			t.Errorf("%s: got %v, want %q", path, err, want)
		}
	}
}

func TestASecretIsReadFromAClosedFileOnly(t *testing.T) {
	dir := t.TempDir()
	secret, err := ReadSecret(write(t, dir, "closed", "pass word\r\n", 0o600))
	if err != nil || secret != "pass word" {
		t.Errorf("got %q, %v", secret, err)
	}
	for name, path := range map[string]string{
		"open to others": write(t, dir, "open", "x", 0o644),
		"empty":          write(t, dir, "empty", "\n", 0o600),
		"missing":        filepath.Join(dir, "none"),
	} {
		if _, err := ReadSecret(path); err == nil {
			t.Errorf("a file that is %s was read", name)
		}
	}
}

// FuzzLoad feeds any text as file and as a variable: never a panic, and either
// a configuration or faults that each take one line of the file.
func FuzzLoad(f *testing.F) {
	files, err := filepath.Glob("testdata/broken/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range append(files, "testdata/small.yaml", "testdata/three-hosts.yaml") {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, "API_LISTEN", "127.0.0.1:1")
	}
	f.Fuzz(func(t *testing.T, data []byte, name, value string) {
		c, err := parse("shop.yaml", "/nowhere", data, []string{prefix + name + "=" + value})
		if err == nil {
			if len(c.EtcdEndpoints()) == 0 || len(c.Servers) == 0 {
				t.Errorf("accepted an unusable configuration: %+v", c)
			}
			return
		}
		var faults Faults
		if c != nil || !errors.As(err, &faults) || len(faults) == 0 {
			t.Fatalf("got %v and %v", c, err)
		}
		lines := strings.Count(strings.ReplaceAll(string(data), "\r", "\n"), "\n") + 1
		for _, fault := range faults {
			if strings.ContainsAny(fault.String(), "\n\r") || fault.Line < 0 || fault.Line > lines+1 || fault.Problem == "" || fault.Remedy == "" {
				t.Errorf("a fault of a file of %d lines: %#v", lines, fault)
			}
		}
	})
}

func TestTimesThatWouldBreakARuleAreNamed(t *testing.T) {
	c := defaults()
	for name, tc := range map[string]struct {
		instead map[string]time.Duration
		want    []string
	}{
		"nothing":            {nil, nil},
		"what is configured": {map[string]time.Duration{"timings.detection": c.Timings.Detection}, nil},
		"too short":          {map[string]time.Duration{"timings.detection": 300 * time.Millisecond}, []string{"one lost heartbeat", "one lost probe"}},
		"too long":           {map[string]time.Duration{"timings.detection": 3 * time.Second}, []string{"well before the replicas drop"}},
		"longer than a hold": {map[string]time.Duration{"timings.detection": 10 * time.Second}, []string{"well before the replicas drop", "a held session must outlive"}},
		"as long as another": {map[string]time.Duration{"timings.removal_delay": 5 * time.Second}, []string{"before the primary waiting for it fences itself"}},
	} {
		got := c.TimingConflicts(tc.instead)
		if len(got) != len(tc.want) {
			t.Errorf("%s: %q", name, got)
			continue
		}
		for i, want := range tc.want {
			if !strings.Contains(got[i], want) {
				t.Errorf("%s: %q, want %q", name, got[i], want)
			}
		}
	}
}
