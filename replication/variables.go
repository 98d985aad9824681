package replication

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// Variable is one server variable that the guarantees rest on.
type Variable struct {
	// Name is the variable, Want the value it must have, as
	// performance_schema.global_variables shows it; AnyBut where every value
	// but Want is right.
	Name   string
	Want   string
	AnyBut bool
	// Newer says that some supported versions do not have it.
	Newer bool
	// Gate says that it has an effect at the start of a server alone, and that the
	// gate sets it there whatever else says.
	Gate bool
	// Live says that it can be set while the server runs, and is in force from then on.
	Live bool
	// Reason says what is lost without it.
	Reason string
}

// Right reports whether a value is what the variable must have.
func (v Variable) Right(value string) bool {
	return strings.EqualFold(value, v.Want) != v.AnyBut
}

// Wrong says what is wrong with a value, empty for nothing. A server may not have the
// variable at all.
func (v Variable) Wrong(value string, exists bool) string {
	if !exists && v.Newer || exists && v.Right(value) {
		return ""
	}
	want := v.Want
	if v.AnyBut {
		want = "anything but " + want
	}
	return fmt.Sprintf("%s is %q and must be %s: %s", v.Name, value, want, v.Reason)
}

// RequiredVariables returns the table of required server variables, the source
// for whoever starts a server, checks it or writes about it.
func RequiredVariables() []Variable {
	return []Variable{
		{Name: "server_id", Want: "0", AnyBut: true, Reason: "a server without an id neither replicates nor is replicated"},
		{Name: "performance_schema", Want: "ON", Reason: "the state of replication is read from it"},
		{Name: "log_bin", Want: "ON", Reason: "a server without binary log cannot be a source"},
		{Name: "log_replica_updates", Want: "ON", Reason: "a promoted replica must hand on what it had received"},
		{Name: "binlog_format", Want: "ROW", Newer: true, Reason: "statements can have another effect on another server"},
		{Name: "gtid_mode", Want: "ON", Reason: "what a server has is compared by GTIDs"},
		{Name: "enforce_gtid_consistency", Want: "ON", Reason: "gtid_mode needs it"},
		{Name: "sync_binlog", Want: "1", Live: true, Reason: "an acknowledged transaction must survive a crash of the host, and a rewind cuts the binary log where the engine stopped"},
		{Name: "innodb_flush_log_at_trx_commit", Want: "1", Live: true, Reason: "a committed transaction must survive a crash of the host"},
		{Name: "binlog_error_action", Want: "ABORT_SERVER", Live: true, Reason: "otherwise a full disk switches the binary log off and writes go on without replicas"},
		{Name: "replica_preserve_commit_order", Want: "ON", Reason: "otherwise a replica can have gaps, and reads see what never was"},
		{Name: "replica_skip_errors", Want: "OFF", Reason: "a replica that skips errors diverges silently"},
		{Name: "replica_sql_verify_checksum", Want: "ON", Live: true, Reason: "a damaged relay log must not be applied"},
		{Name: "relay_log_recovery", Want: "OFF", Gate: true, Reason: "on, a restarting replica throws away transactions that it acknowledged"},
		{Name: "skip_replica_start", Want: "ON", Gate: true, Reason: "a server must start harmless; only the daemon starts replication"},
		{Name: "ssl_ca", Want: "", AnyBut: true, Reason: "the certificates of daemons and replicas are judged by it"},
		{Name: "require_secure_transport", Want: "ON", Live: true, Reason: "passwords and data cross the network encrypted only"},
	}
}

// Plugin is one that a server needs.
type Plugin struct {
	// Name is what it is installed as, Library its file, Variable one of its variables.
	Name, Library, Variable string
	// Optional says that only the building anew of servers needs it.
	Optional bool
}

// RequiredPlugins returns the plugins that a server needs.
func RequiredPlugins() []Plugin {
	return []Plugin{
		{Name: "rpl_semi_sync_source", Library: "semisync_source.so", Variable: "rpl_semi_sync_source_enabled"},
		{Name: "rpl_semi_sync_replica", Library: "semisync_replica.so", Variable: "rpl_semi_sync_replica_enabled"},
		{Name: "clone", Library: "mysql_clone.so", Variable: "clone_max_concurrency", Optional: true},
	}
}

// harmless returns the variables with which a server starts closed. A persisted
// value would win over the command line that starts it so.
func harmless() map[string]string {
	return map[string]string{
		"read_only":                     "ON",
		"super_read_only":               "ON",
		"rpl_semi_sync_source_enabled":  "OFF",
		"rpl_semi_sync_replica_enabled": "OFF",
	}
}

const oldestMajor, oldestMinor = 8, 4

// Check returns what is wrong with the server's version, variables, plugins
// and topology, sorted; none when all is well. Of a server that is too old or
// is no MySQL it returns that alone, because the rest cannot be asked.
func (l *Local) Check(ctx context.Context) ([]decide.Finding, error) {
	var version, comment string
	err := l.row(ctx, "read the version", "SELECT @@global.version, @@global.version_comment", nil, &version, &comment)
	if err != nil {
		return nil, err
	}
	if wrong := checkVersion(version, comment); wrong != "" {
		return []decide.Finding{{Code: decide.CodeWrongVersion, Detail: wrong}}, nil
	}
	have, err := l.variables(ctx, "performance_schema.global_variables")
	if err != nil {
		return nil, err
	}
	persisted, err := l.variables(ctx, "performance_schema.persisted_variables")
	if err != nil {
		return nil, err
	}
	s, err := l.Read(ctx)
	if err != nil {
		return nil, err
	}
	findings := append(checkVariables(have), checkPersisted(persisted)...)
	for _, name := range s.OtherChannels {
		findings = append(findings, decide.Finding{Code: decide.CodeForeignReplication,
			Detail: fmt.Sprintf("the server replicates over the channel %q, but only the default channel is used: RESET REPLICA ALL FOR CHANNEL '%s'", name, name)})
	}
	// Whoever reports them writes only on a change.
	slices.SortFunc(findings, func(a, b decide.Finding) int {
		return cmp.Or(cmp.Compare(a.Code, b.Code), cmp.Compare(a.Detail, b.Detail))
	})
	return findings, nil
}

func (l *Local) variables(ctx context.Context, table string) (map[string]string, error) {
	type pair struct{ name, value string }
	all, err := queryAll(ctx, l.db, func(rows *sql.Rows) (p pair, err error) {
		return p, rows.Scan(&p.name, &p.value)
	}, "SELECT VARIABLE_NAME, COALESCE(VARIABLE_VALUE, '') FROM "+table)
	if err != nil {
		return nil, l.wrap("read "+table, err)
	}
	m := make(map[string]string, len(all))
	for _, p := range all {
		m[p.name] = p.value
	}
	return m, nil
}

// CompareVersions compares the numbers of two versions of MySQL.
func CompareVersions(a, b string) int {
	return slices.Compare(versionNumbers(a), versionNumbers(b))
}

func versionNumbers(version string) (numbers []int) {
	plain, _, _ := strings.Cut(version, "-")
	for part := range strings.SplitSeq(plain, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			break
		}
		numbers = append(numbers, n)
	}
	return numbers
}

// checkVersion returns what is wrong with the version, empty for nothing.
func checkVersion(version, comment string) string {
	if strings.Contains(strings.ToLower(version+" "+comment), "mariadb") {
		return fmt.Sprintf("the server is MariaDB (%s), not MySQL", version)
	}
	majorText, rest, _ := strings.Cut(version, ".")
	minorText, _, _ := strings.Cut(rest, ".")
	major, errMajor := strconv.Atoi(majorText)
	minor, errMinor := strconv.Atoi(minorText)
	if errMajor != nil || errMinor != nil {
		return fmt.Sprintf("the version %q is not a MySQL version", version)
	}
	if major < oldestMajor || major == oldestMajor && minor < oldestMinor {
		return fmt.Sprintf("the server is MySQL %s; %d.%d or newer is needed", version, oldestMajor, oldestMinor)
	}
	return ""
}

func checkVariables(have map[string]string) []decide.Finding {
	var findings []decide.Finding
	for _, v := range RequiredVariables() {
		value, exists := have[v.Name]
		if wrong := v.Wrong(value, exists); wrong != "" && !v.Gate {
			findings = append(findings, decide.Finding{Code: decide.CodeBadVariable, Detail: wrong})
		}
	}
	for _, p := range RequiredPlugins() {
		if _, exists := have[p.Variable]; !exists && !p.Optional {
			findings = append(findings, decide.Finding{Code: decide.CodeMissingPlugin,
				Detail: "the plugin of " + p.Variable + " is not loaded: add plugin-load-add=" + p.Library})
		}
	}
	return findings
}

func checkPersisted(persisted map[string]string) []decide.Finding {
	var findings []decide.Finding
	for name, value := range persisted {
		if want, ok := harmless()[name]; ok && !strings.EqualFold(value, want) {
			findings = append(findings, decide.Finding{Code: decide.CodeBadVariable,
				Detail: fmt.Sprintf("%s is persisted as %s, so the server would not start harmless: RESET PERSIST %s", name, value, name)})
		}
	}
	return findings
}

// LogIndex returns the file in which the server lists its binary logs, empty
// where it has none.
func (l *Local) LogIndex(ctx context.Context) (string, error) {
	var path sql.NullString
	err := l.row(ctx, "read where the binary logs are", "SELECT @@global.log_bin_index", nil, &path)
	return path.String, err
}
