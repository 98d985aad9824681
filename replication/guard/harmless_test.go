package guard

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestArgumentsThatWouldUndoARuleAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		arg, want string
	}{
		"the right value is allowed":                       {"--read-only=ON", ""},
		"another spelling of the right value is allowed":   {"--loose_Super-Read_Only=1", ""},
		"the bare switch is allowed":                       {"--super-read-only", ""},
		"an option that is no rule is allowed":             {"--event-scheduler=ON", ""},
		"the value of an option before it is no option":    {"mysql", ""},
		"skip-replica-start is no switched off option":     {"--skip-replica-start", ""},
		"the wrong value contradicts":                      {"--read-only=OFF", "contradicts --read-only=ON"},
		"zero contradicts":                                 {"--super_read_only=0", "contradicts"},
		"skip contradicts":                                 {"--skip-read-only", "contradicts"},
		"disable contradicts":                              {"--disable-super-read-only", "contradicts"},
		"a bare switch that must be off contradicts":       {"--relay-log-recovery", "contradicts"},
		"enable contradicts":                               {"--enable-relay-log-recovery", "contradicts"},
		"loose semi-sync contradicts":                      {"--loose-rpl-semi-sync-source-enabled=ON", "contradicts"},
		"an older name contradicts":                        {"--skip-slave-start=OFF", "contradicts --skip-replica-start=ON"},
		"a quieter log contradicts":                        {"--log-error-verbosity=2", "contradicts"},
		"the end of the options is refused":                {"--", "not allowed"},
		"a daemon is refused":                              {"--daemonize", "leave its parent"},
		"a daemon by the short name is refused":            {"-D", "leave its parent"},
		"an initialisation is refused":                     {"--initialize-insecure", "own business"},
		"help is refused, since there is nothing to guard": {"--help", "does not start"},
	} {
		t.Run(name, func(t *testing.T) {
			err := checkArg(c.arg)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%s: %v, want %q", c.arg, err, c.want)
			}
		})
	}
}

func TestTheRulesStandAtTheEnd(t *testing.T) {
	o := Options{Args: []string{"mysqld", "--port=1"}, DataDir: "/d", Socket: "/s"}
	args, err := harmlessArgs(o)
	if err != nil {
		t.Fatal(err)
	}
	const want = "mysqld --port=1 --read-only=ON --super-read-only=ON --skip-replica-start=ON --relay-log-recovery=OFF" +
		" --loose-rpl-semi-sync-source-enabled=OFF --loose-rpl-semi-sync-master-enabled=OFF" +
		" --loose-rpl-semi-sync-replica-enabled=OFF --loose-rpl-semi-sync-slave-enabled=OFF" +
		" --log-error-verbosity=3 --datadir=/d --socket=/s"
	if got := strings.Join(args, " "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestPersistedVariablesAreReadAsMySQLWritesThem(t *testing.T) {
	const meta = `, "Metadata": {"Host": "localhost", "User": "root", "Timestamp": 1795488712929992}}`
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"an empty file persists nothing": {"", nil},
		"harmless values are allowed": {
			`{"Version": 2, "mysql_dynamic_variables": {"super_read_only": {"Value": "ON"` + meta + `, "max_connections": {"Value": "OFF"` + meta + `}}`, nil},
		"each fault is named with its line": {
			"{\"Version\": 2,\n\"mysql_static_variables\": {\"relay_log_recovery\": {\"Value\": \"ON\"" + meta +
				"},\n\n\"mysql_dynamic_variables\": {\"rpl_semi_sync_source_enabled\":\n{\"Value\": \"ON\"" + meta + "}}",
			[]string{":2: relay_log_recovery=ON", ":4: rpl_semi_sync_source_enabled=ON"}},
		"the older layout is read too": {
			`{"Version": 1, "mysql_server": {"super_read_only": {"Value": "OFF"` + meta + `}}`, []string{":1: super_read_only=OFF"}},
		"static variables of the older layout are nested deeper": {
			`{"Version": 1, "mysql_server": {"mysql_server_static_options": {"skip_slave_start": {"Value": "0"` + meta + `}}}`, []string{":1: skip_slave_start=0"}},
		"what is not JSON is refused":    {`{"Version": 2,`, []string{"EOF"}},
		"a second JSON value is refused": {`{} {"read_only": {"Value": "OFF"}}`, []string{"more than one"}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, name := range persistedFiles {
				dir := t.TempDir()
				if err := os.WriteFile(filepath.Join(dir, name), []byte(c.text), 0o600); err != nil {
					t.Fatal(err)
				}
				err := checkPersisted(dir)
				if (err == nil) != (c.want == nil) {
					t.Fatalf("%s: error %v, want %q", name, err, c.want)
				}
				for _, want := range c.want {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("%s: error %v, want %q", name, err, want)
					}
				}
			}
		})
	}
}

func TestTheUserOfTheCommandLineIsTheLastOne(t *testing.T) {
	for _, c := range []struct{ args, name string }{
		{"mysqld --user=a --user=b", "b"}, {"mysqld -u a --port=1", "a"}, {"mysqld --user a", "a"}, {"mysqld", ""},
	} {
		if name, given := userArg(strings.Fields(c.args)); name != c.name || given != (c.name != "") {
			t.Errorf("%s: %q, %v", c.args, name, given)
		}
	}
}
