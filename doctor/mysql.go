package doctor

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication"
	"github.com/mysqlha/mysqlha/replication/guard"
)

func (e *examination) variables() {
	f := e.host.Facts
	for _, v := range replication.RequiredVariables() {
		value, exists := f.Variables[v.Name]
		wrong := v.Wrong(value, exists)
		switch {
		case wrong == "" || v.Gate:
		case v.Live:
			set := fmt.Sprintf("SET PERSIST %s = %s", v.Name, v.Want)
			e.find(decide.CodeBadVariable, wrong, set, set)
		default:
			e.find(decide.CodeBadVariable, wrong, "in my.cnf, and restart: "+optionLine(v))
		}
		if wrong == "" && slices.Contains(f.Passing, v.Name) && !v.Gate {
			set := fmt.Sprintf("SET PERSIST %s = %s", v.Name, value)
			e.find(decide.CodeNotPersistent, fmt.Sprintf("%s was set to %s while the server ran, and its next start takes what my.cnf says", v.Name, value), set, set)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.Persisted)) {
		if text := guard.Contradicts(name, f.Persisted[name]); text != "" {
			reset := "RESET PERSIST " + name
			e.find(decide.CodeBadVariable, fmt.Sprintf("%s is persisted as %s, and its gate would not start it: it contradicts %s", name, f.Persisted[name], text), reset, reset)
		}
	}
	if e.host.FactsError == "" && f.Variables["binlog_encryption"] == "ON" {
		e.found = append(e.found, decide.Diagnosis{Code: decide.CodeBadVariable, Severity: decide.SeverityInfo, Server: e.host.Server,
			Detail: "binlog_encryption is on: a lost primary cannot be rewound and is cloned instead, which takes longer"})
	}
}

// optionLine is what stands in my.cnf.
func optionLine(v replication.Variable) string {
	if v.AnyBut {
		return v.Name + " = a number of its own"
	}
	return v.Name + " = " + v.Want
}

func (e *examination) plugins() {
	for _, p := range replication.RequiredPlugins() {
		if _, there := e.host.Facts.Variables[p.Variable]; there {
			continue
		}
		install := fmt.Sprintf("INSTALL PLUGIN %s SONAME '%s'", p.Name, p.Library)
		what := "without it no commit can wait for a replica"
		if p.Optional {
			what = "without it no server can be built anew"
		}
		e.find(decide.CodeMissingPlugin, fmt.Sprintf("the plugin %s is not loaded: %s", p.Name, what), install+"; or plugin_load_add = "+p.Library+" in my.cnf", install)
	}
}

// manyErrors is how many connections in a row must fail before a host is blocked, for that
// not to matter.
const manyErrors = 1_000_000

// blocking looks whether somebody's clients can have a whole host refused: those of a
// redirector come from one.
func (e *examination) blocking() {
	f := e.host.Facts
	most, err := strconv.Atoi(f.Variables["max_connect_errors"])
	if strings.EqualFold(f.Variables["skip_name_resolve"], "ON") || err != nil || most >= manyErrors {
		return
	}
	set := fmt.Sprintf("SET PERSIST max_connect_errors = %d", manyErrors)
	e.find(decide.CodeHostsBlocked, fmt.Sprintf("a host is refused after %d connections in a row that end before they have logged in, and all clients of a redirector come from its host", most),
		"skip_name_resolve = ON in my.cnf; or "+set, set)
}

func (e *examination) accounts() {
	f := e.host.Facts
	var missing []string
	for _, p := range guard.ControlPrivileges() {
		if !slices.Contains(f.Privileges, p) {
			missing = append(missing, p)
		}
	}
	if len(missing) > 0 {
		grant := "GRANT " + strings.Join(missing, ", ") + " ON *.* TO CURRENT_USER()"
		e.find(decide.CodeMissingPrivilege, "the daemon's account lacks "+strings.Join(missing, ", "), strings.Replace(grant, "CURRENT_USER()", "the daemon's account", 1)+" WITH GRANT OPTION, with sql_log_bin=0")
	}
	for _, account := range f.Rights {
		e.rights(account)
	}
	if len(f.ShutDown) > 0 {
		e.find(decide.CodeMayShutDown, fmt.Sprintf("SHUTDOWN is held by %s: who stops mysqld with it answers OK to commits that no replica has", strings.Join(f.ShutDown, ", ")),
			"REVOKE SHUTDOWN ON *.* FROM "+strings.Join(f.ShutDown, ", "))
	}
	for _, account := range f.Replicators {
		e.find(decide.CodeForeignReplicator, account+" may replicate and is none of the cluster's", "DROP USER "+account+", if nobody needs it")
	}
	if len(f.Plaintext) > 0 && !strings.EqualFold(f.Variables["require_secure_transport"], "ON") {
		e.find(decide.CodePlaintextSessions, fmt.Sprintf("connected without TLS: %s; require_secure_transport=ON would refuse their next login", strings.Join(f.Plaintext, ", ")),
			"have them connect with TLS (--ssl-mode=REQUIRED), then look again")
	}
}

// rights judges whether one of the cluster's accounts has what it needs and no more.
func (e *examination) rights(a replication.Rights) {
	wanted, remote := replication.RightsOf(a.User)
	control := a.User == e.host.ControlUser
	switch {
	case control:
		wanted = guard.ControlRights()
		if !strings.HasSuffix(a.Account, "@'localhost'") {
			e.find(decide.CodeExcessPrivilege, "the daemon's account can log in from elsewhere, as "+a.Account, "DROP USER "+a.Account)
			return
		}
	case !remote:
		return
	}
	without := func(all, others []string) []string {
		return slices.DeleteFunc(slices.Clone(all), func(r string) bool { return slices.Contains(others, r) })
	}
	if missing := without(wanted, a.Granted); remote && len(missing) > 0 {
		e.find(decide.CodeMissingPrivilege, a.Account+" lacks "+strings.Join(missing, ", "), "on the primary: GRANT "+missing[0]+" TO "+a.Account)
	}
	if surplus := without(a.Granted, wanted); len(surplus) > 0 {
		on := ""
		if control {
			on = ", with sql_log_bin=0"
		}
		e.find(decide.CodeExcessPrivilege, fmt.Sprintf("%s has what it does not need: %s", a.Account, strings.Join(surplus, ", ")), "REVOKE "+surplus[0]+" FROM "+a.Account+on)
	}
	switch {
	case remote && !a.TLS:
		e.find(decide.CodeExcessPrivilege, a.Account+" may log in without TLS", "on the primary: ALTER USER "+a.Account+" REQUIRE SSL")
	case remote && !a.Certificate && strings.HasPrefix(a.User, replication.ProbeUser("")):
		e.find(decide.CodeExcessPrivilege, a.Account+" may log in without a certificate", "on the primary: ALTER USER "+a.Account+" REQUIRE X509")
	}
}

func (e *examination) tables() {
	f := e.host.Facts
	if f.KeylessCount > 0 {
		e.find(decide.CodeTableWithoutKey, named(f.Keyless, f.KeylessCount)+" have no primary key", "ALTER TABLE "+f.Keyless[0]+" ADD COLUMN id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY INVISIBLE")
	}
	if f.ForeignCount > 0 {
		table, _, _ := strings.Cut(f.Foreign[0], " ")
		e.find(decide.CodeForeignEngine, named(f.Foreign, f.ForeignCount)+" are not InnoDB", "ALTER TABLE "+table+" ENGINE=InnoDB")
	}
}

// named tells of some of a number of tables.
func named(some []string, all int) string {
	text := strings.Join(some, ", ")
	if more := all - len(some); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

func (e *examination) channels() {
	f := e.host.Facts
	for _, name := range f.Channels {
		e.find(decide.CodeForeignReplication, fmt.Sprintf("it replicates over the channel %q, and only the default one is used", name), fmt.Sprintf("STOP REPLICA FOR CHANNEL '%s'; RESET REPLICA ALL FOR CHANNEL '%s'", name, name))
	}
	if f.Configured && !f.AutoPosition {
		e.find(decide.CodeNotAutoPosition, "it asks its source for a position in a file, not for GTIDs", "STOP REPLICA; CHANGE REPLICATION SOURCE TO SOURCE_AUTO_POSITION = 1; START REPLICA")
	}
}

const (
	// cloneRate is how fast a clone is taken to be where nobody has seen one, in bytes
	// a second; retentionTimes how many such clones binary logs must outlive, and
	// leastRetention what they must outlive at least.
	cloneRate      = 50e6
	retentionTimes = 4
	leastRetention = time.Hour
)

// retention compares how long binary logs are kept with how long a clone takes: a
// new server asks for what was written meanwhile.
func (e *examination) retention() {
	seconds, err := strconv.ParseInt(e.host.Facts.Variables["binlog_expire_logs_seconds"], 10, 64)
	if err != nil || seconds == 0 || e.host.Facts.Variables["binlog_expire_logs_auto_purge"] == "OFF" || e.host.Disk.Data == 0 {
		return // Kept for ever, or nothing to compare with.
	}
	kept := time.Duration(seconds) * time.Second
	clone := time.Duration(float64(e.host.Disk.Data) / cloneRate * float64(time.Second)).Round(time.Second)
	if need := max(leastRetention, retentionTimes*clone); kept < need {
		set := fmt.Sprintf("SET PERSIST binlog_expire_logs_seconds = %d", int64(max(need, 24*time.Hour)/time.Second))
		e.find(decide.CodeShortRetention, fmt.Sprintf("binary logs are kept for %s; a clone of %d MB may take %s and needs what was written meanwhile", kept, e.host.Disk.Data/1e6, clone), set, set)
	}
}
