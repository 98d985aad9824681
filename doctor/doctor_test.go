package doctor

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication"
	"github.com/mysqlha/mysqlha/replication/guard"
)

// well is a host on which there is nothing to find.
func well() Host {
	now := time.Date(2026, 11, 26, 3, 0, 0, 0, time.UTC)
	f := replication.Facts{Version: "9.7.4-2", Comment: "(Debian)", Privileges: guard.ControlPrivileges(), Configured: true, AutoPosition: true, Variables: map[string]string{}, Persisted: map[string]string{}}
	for _, v := range replication.RequiredVariables() {
		f.Variables[v.Name] = v.Want
		if v.AnyBut {
			f.Variables[v.Name] = "7"
		}
	}
	for _, p := range replication.RequiredPlugins() {
		f.Variables[p.Variable] = "OFF"
	}
	f.Rights = []replication.Rights{{Account: "'mysqlha'@'localhost'", User: "mysqlha", Granted: guard.ControlRights()}}
	for _, user := range []string{replication.ReplicationUser("db2"), replication.ProbeUser("db2")} {
		rights, _ := replication.RightsOf(user)
		f.Rights = append(f.Rights, replication.Rights{Account: "'" + user + "'@'%'", User: user, Granted: rights, TLS: true, Certificate: true})
	}
	f.Variables["binlog_expire_logs_seconds"] = "86400"
	return Host{Server: "db1", Now: now, Facts: f, ControlUser: "mysqlha", Options: []string{"--sync-binlog=1", "--skip-replica-start"}, Disk: decide.Disk{Data: 1e9, Free: 1e10},
		Own: []Certificate{{Of: "mysqlhad", File: "host.crt", NotAfter: now.Add(90 * 24 * time.Hour)}}}
}

func TestNothingIsFoundOnAHostThatIsWell(t *testing.T) {
	if found := Examine(well()); len(found) > 0 {
		t.Errorf("found %+v", found)
	}
}

func TestEachFaultHasItsCodeAndWhatMendsIt(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*Host)
		code  decide.Code
		// mend is part of what mends it; live says that a statement does.
		mend string
		live bool
	}{
		"old":              {func(h *Host) { h.Facts.Version = "8.0.40" }, decide.CodeWrongVersion, "", false},
		"not asked":        {func(h *Host) { h.FactsError = "refused" }, decide.CodeNotExamined, "", false},
		"durability":       {func(h *Host) { h.Facts.Variables["sync_binlog"] = "0" }, decide.CodeBadVariable, "SET PERSIST sync_binlog = 1", true},
		"a restart":        {func(h *Host) { h.Facts.Variables["gtid_mode"] = "OFF" }, decide.CodeBadVariable, "in my.cnf, and restart: gtid_mode = ON", false},
		"passing":          {func(h *Host) { h.Facts.Passing = []string{"sync_binlog", "read_only"} }, decide.CodeNotPersistent, "SET PERSIST sync_binlog = 1", true},
		"persisted":        {func(h *Host) { h.Facts.Persisted["read_only"] = "OFF" }, decide.CodeBadVariable, "RESET PERSIST read_only", true},
		"semi-sync":        {func(h *Host) { delete(h.Facts.Variables, "rpl_semi_sync_source_enabled") }, decide.CodeMissingPlugin, "semisync_source.so", true},
		"clone":            {func(h *Host) { delete(h.Facts.Variables, "clone_max_concurrency") }, decide.CodeMissingPlugin, "mysql_clone.so", true},
		"rights":           {func(h *Host) { h.Facts.Privileges = h.Facts.Privileges[1:] }, decide.CodeMissingPrivilege, "GRANT SELECT ON *.*", false},
		"a probe's right":  {func(h *Host) { h.Facts.Rights[2].Granted = h.Facts.Rights[2].Granted[1:] }, decide.CodeMissingPrivilege, "on the primary: GRANT REPLICATION CLIENT ON *.*", false},
		"a right too many": {func(h *Host) { h.Facts.Rights[1].Granted = append(h.Facts.Rights[1].Granted, "SUPER ON *.*") }, decide.CodeExcessPrivilege, "REVOKE SUPER ON *.* FROM 'mysqlha_r_db2'@'%'", false},
		"control too many": {func(h *Host) { h.Facts.Rights[0].Granted = append(h.Facts.Rights[0].Granted, "DROP ON mysqlha.*") }, decide.CodeExcessPrivilege, "'mysqlha'@'localhost', with sql_log_bin=0", false},
		"control anywhere": {func(h *Host) { h.Facts.Rights[0].Account = "'mysqlha'@'%'" }, decide.CodeExcessPrivilege, "DROP USER 'mysqlha'@'%'", false},
		"without TLS":      {func(h *Host) { h.Facts.Rights[2].TLS = false }, decide.CodeExcessPrivilege, "REQUIRE SSL", false},
		"by password":      {func(h *Host) { h.Facts.Rights[2].Certificate = false }, decide.CodeExcessPrivilege, "REQUIRE X509", false},
		"hosts blocked":    {func(h *Host) { h.Facts.Variables["max_connect_errors"] = "100" }, decide.CodeHostsBlocked, "SET PERSIST max_connect_errors = 1000000", true},
		"shutdown":         {func(h *Host) { h.Facts.ShutDown = []string{"'a'@'%'", "'b'@'%'"} }, decide.CodeMayShutDown, "FROM 'a'@'%', 'b'@'%'", false},
		"replicator":       {func(h *Host) { h.Facts.Replicators = []string{"'repl'@'%'"} }, decide.CodeForeignReplicator, "DROP USER 'repl'@'%'", false},
		"no key":           {func(h *Host) { h.Facts.Keyless, h.Facts.KeylessCount = []string{"a.b", "a.c"}, 9 }, decide.CodeTableWithoutKey, "ALTER TABLE a.b", false},
		"engine":           {func(h *Host) { h.Facts.Foreign, h.Facts.ForeignCount = []string{"a.b (MyISAM)"}, 1 }, decide.CodeForeignEngine, "ALTER TABLE a.b ENGINE=InnoDB", false},
		"channel":          {func(h *Host) { h.Facts.Channels = []string{"other"} }, decide.CodeForeignReplication, "FOR CHANNEL 'other'", false},
		"position":         {func(h *Host) { h.Facts.AutoPosition = false }, decide.CodeNotAutoPosition, "SOURCE_AUTO_POSITION = 1", false},
		"retention":        {func(h *Host) { h.Facts.Variables["binlog_expire_logs_seconds"] = "600" }, decide.CodeShortRetention, "binlog_expire_logs_seconds = 86400", true},
		"a large one":      {func(h *Host) { h.Disk.Data = 2e12 }, decide.CodeShortRetention, "binlog_expire_logs_seconds = 160000", true},
		"ends":             {func(h *Host) { h.Own[0].NotAfter = h.Now.Add(20 * 24 * time.Hour) }, decide.CodeCertificateExpires, "certs issue", false},
		"does not prove":   {func(h *Host) { h.Own[0].Problem = "unknown authority" }, decide.CodeCertificateUnfit, "certs issue", false},
		"not loaded":       {func(h *Host) { h.Own[0].Served, h.Own[0].Reload = h.Now, "ALTER INSTANCE RELOAD TLS" }, decide.CodeCertificateNotServed, "RELOAD TLS", true},
		"my.cnf":           {func(h *Host) { h.Options = []string{"--relay_log_recovery=ON"} }, decide.CodeOptionContradicts, "out of my.cnf", false},
		"a switch":         {func(h *Host) { h.Options = []string{"--skip-super-read-only"} }, decide.CodeOptionContradicts, "out of my.cnf", false},
		"a guard is gone":  {func(h *Host) { h.Unguarded = true }, decide.CodeUnguarded, "guard --attach", false},
		"without its gate": {func(h *Host) { h.Attached = true }, decide.CodeAttached, "restart it", false},
	} {
		h := well()
		c.spoil(&h)
		found := Examine(h)
		if len(found) != 1 {
			t.Errorf("%s: found %+v", name, found)
			continue
		}
		f := found[0]
		if f.Code != c.code || !strings.Contains(f.Mend, c.mend) || len(f.Statements) > 0 != c.live || f.Detail == "" || f.Server != "db1" {
			t.Errorf("%s: found %+v", name, f)
		}
		if entry, known := decide.Explain(f.Code); !known || f.Severity != entry.Severity {
			t.Errorf("%s: %s is %s", name, f.Code, f.Severity)
		}
	}
}

// Clients without TLS matter where the next login would refuse them.
func TestPlaintextIsFoundBeforeItIsRefused(t *testing.T) {
	h := well()
	h.Facts.Plaintext = []string{"'app'@'10.0.0.9'"}
	if found := Examine(h); len(found) > 0 {
		t.Errorf("they are refused already: %+v", found)
	}
	h.Facts.Variables["require_secure_transport"] = "OFF"
	codes := make(map[decide.Code]bool)
	for _, f := range Examine(h) {
		codes[f.Code] = true
	}
	if !codes[decide.CodePlaintextSessions] || !codes[decide.CodeBadVariable] {
		t.Errorf("found %v", slices.Sorted(maps.Keys(codes)))
	}
}

func TestAnExpiredCertificateComesFirst(t *testing.T) {
	h := well()
	h.Attached = true
	h.Own[0].NotAfter = h.Now.Add(-time.Hour)
	found := Examine(h)
	if len(found) != 2 || found[0].Severity != decide.SeverityCritical || !strings.Contains(found[0].Detail, "ended on 2026-11-26") {
		t.Errorf("found %+v", found)
	}
}
