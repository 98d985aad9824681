package decide

import "slices"

// Severity says how urgent a problem is.
type Severity string

// The severities.
const (
	// SeverityCritical: writes or data are at risk now.
	SeverityCritical Severity = "critical"
	// SeverityWarning: something is wrong, and the next fault may be critical.
	SeverityWarning Severity = "warning"
	// SeverityInfo passes by itself, or was asked for.
	SeverityInfo Severity = "info"
)

// Entry describes one problem of the catalogue.
type Entry struct {
	Code     Code     `json:"code"`
	Severity Severity `json:"severity"`
	// Title says what it is, Help what to do; Help may be empty where nothing is.
	Title string `json:"title"`
	Help  string `json:"help,omitempty"`
}

// The problems of requests, which the endpoint answers with.
const (
	CodeBadRequest        Code = "bad-request"
	CodeNotFound          Code = "not-found"
	CodeMethodNotAllowed  Code = "method-not-allowed"
	CodeCertificateNeeded Code = "certificate-needed"
	CodeRoleNeeded        Code = "role-needed"
	CodeTokenRefused      Code = "token-refused"
	CodeCrossOrigin       Code = "cross-origin"
	CodeTooLarge          Code = "too-large"
	CodeRefused           Code = "refused"
	CodeUnavailable       Code = "unavailable"
)

// What only the doctor finds: faults to come, and what stands in the way of an
// adoption.
const (
	CodeNotExamined          Code = "not-examined"
	CodeNotPersistent        Code = "not-persistent"
	CodeOptionContradicts    Code = "option-contradicts"
	CodeAttached             Code = "attached"
	CodeUnguarded            Code = "unguarded"
	CodeNotAutoPosition      Code = "not-auto-position"
	CodeSemiSyncOn           Code = "semi-sync-on"
	CodeMissingPrivilege     Code = "missing-privilege"
	CodeExcessPrivilege      Code = "excess-privilege"
	CodeHostsBlocked         Code = "hosts-blocked"
	CodeForeignReplicator    Code = "foreign-replicator"
	CodePlaintextSessions    Code = "plaintext-sessions"
	CodeTableWithoutKey      Code = "table-without-key"
	CodeForeignEngine        Code = "foreign-engine"
	CodeShortRetention       Code = "short-retention"
	CodeCertificateExpires   Code = "certificate-expires"
	CodeCertificateUnfit     Code = "certificate-unfit"
	CodeCertificateNotServed Code = "certificate-not-served"
	CodeClockOffset          Code = "clock-offset"
	CodeVersionsDiffer       Code = "versions-differ"
	CodeEtcdTooSmall         Code = "etcd-too-small"
)

// Diagnosis is one thing that the doctor finds on a server.
type Diagnosis struct {
	Code     Code     `json:"code"`
	Severity Severity `json:"severity"`
	// Server is whom it is about, empty for the cluster.
	Server string `json:"server,omitempty"`
	// Detail says what was found and what would be right.
	Detail string `json:"detail"`
	// Mend is the command or line that sets it right, empty where there is none.
	Mend string `json:"mend,omitempty"`
	// Statements set it right on the running server, where that can be done.
	Statements []string `json:"statements,omitempty"`
}

// Explain returns the entry of a code, and whether there is one.
func Explain(code Code) (Entry, bool) {
	all := Catalogue()
	i := slices.IndexFunc(all, func(e Entry) bool { return e.Code == code })
	if i < 0 {
		return Entry{Code: code, Title: string(code)}, false
	}
	return all[i], true
}

// Catalogue returns all problems that have a code.
func Catalogue() []Entry {
	const mend = "Mend the server's my.cnf and restart it through its gate."
	return []Entry{
		{CodeWaitingForServers, SeverityInfo, "The cluster has not begun: servers are missing.", "Start mysqld through mysqlhad guard, and mysqlhad, on every host."},
		{CodeServerNotEmpty, SeverityWarning, "The cluster has not begun: a server is not empty.", "Begin with empty servers, or adopt the running cluster: mysqlha bootstrap --adopt."},
		{CodeNoBootstrapPrimary, SeverityWarning, "The cluster has not begun: nobody says which server is to be primary first.", "Name it: mysqlha bootstrap --primary SERVER, or bootstrap.primary in the configuration."},
		{CodePrimaryUncertain, SeverityWarning, "It is not certain how the primary is.", "Wait a moment; then look at the network between the leader and the primary."},
		{CodePrimaryNotOpen, SeverityCritical, "The primary lives and takes no writes yet.", "Start the in-sync replicas and their daemons."},
		{CodeCannotReachReplicas, SeverityCritical, "The primary is dead, and too few replicas can be asked for what was acknowledged.", "Bring them or the primary back; mysqlha failover --dry-run says what a failover would put at stake."},
		{CodeReplicaRestarted, SeverityWarning, "A replica restarted and has not caught up since, so that what it has proves nothing.", ""},
		{CodeNoCompleteCandidate, SeverityCritical, "No server that may be primary holds everything that was acknowledged.", "Bring the old primary or another replica back."},
		{CodeErrantCandidate, SeverityCritical, "A candidate holds transactions that never came from the primary.", "Look at them with mysqlbinlog; mysqlha rejoin says what can be done."},
		{CodeWaitingForCandidate, SeverityWarning, "The chosen server applies what it has received.", ""},
		{CodeWaitingForFollowers, SeverityCritical, "A failover waits until enough servers have everything.", "Bring any other server back."},
		{CodeWaitingForAcks, SeverityCritical, "A commit waits for acknowledgements.", "Bring the other servers back."},
		{CodeServerDown, SeverityWarning, "A mysqld is down.", "Look at its error log; start it through its gate."},
		{CodeDaemonDown, SeverityWarning, "A daemon has no lease, or does not answer.", "systemctl status mysqlhad on its host."},
		{CodeDiverged, SeverityWarning, "A server holds what the primary does not.", "mysqlha rejoin SERVER names it and says what can be done."},
		{CodeRewindFailed, SeverityWarning, "A server could not take back what nobody was told of.", "It becomes a clone of a replica by itself, unless auto_rejoin says otherwise."},
		{CodeCloneUnfinished, SeverityWarning, "A clone has ended half-way; its data is nobody's.", "It is begun again by itself."},
		{CodeCloning, SeverityInfo, "A server is being built anew as a clone.", ""},
		{CodeNoDonor, SeverityWarning, "A server must be cloned, and nobody can give the data now.", "Bring a replica into the in-sync set."},
		{CodeDiskFull, SeverityCritical, "A disk is full, or nearly.", "Make room; purge binary logs that no replica needs."},
		{CodeSourcePurged, SeverityWarning, "The source has purged what a replica lacks.", "It is cloned by itself; keep binary logs longer: binlog_expire_logs_seconds."},
		{CodeMayShutDown, SeverityWarning, "An account may stop mysqld past its gate.", "REVOKE SHUTDOWN ON *.* from it, and stop servers with systemctl stop."},
		{CodeCatchingUp, SeverityInfo, "A replica has not caught up yet.", ""},
		{CodeTooFewInSync, SeverityWarning, "The loss of one more replica stops writes, or ends their safety.", "Bring the other servers back."},
		{CodeTermWentBack, SeverityCritical, "Etcd holds an older state than the servers have seen.", "Compare the servers; nothing is done until a human has."},
		{CodeStepFailed, SeverityWarning, "A daemon could not do what it is asked.", "The detail says what MySQL answered."},
		{CodeBadVariable, SeverityWarning, "A server variable is not what the cluster needs.", mend},
		{CodeMissingPlugin, SeverityWarning, "A plugin is not loaded.", mend},
		{CodeDuplicateServerID, SeverityCritical, "Two servers have the same server_id.", "Give each one of its own in its my.cnf and restart it."},
		{CodeWrongVersion, SeverityWarning, "A server's version is not supported.", "Use MySQL 8.4 or 9.x."},
		{CodeForeignReplication, SeverityWarning, "A server replicates over a channel that the cluster knows nothing of.", "Remove it: RESET REPLICA ALL FOR CHANNEL."},
		{CodeReplicationBroken, SeverityWarning, "A replication thread has ended with an error.", "The detail says which."},
		{CodeMysqldUnreachable, SeverityWarning, "A mysqld runs and does not answer the leader.", "Look at its load, its error log and the network."},
		{CodeUnlistedAcknowledger, SeverityCritical, "A replica acknowledges that is not listed.", "Find out who attached it; it is thrown out."},
		{CodeSuspended, SeverityCritical, "The primary acknowledges writes alone.", "Bring the other servers back."},
		{CodeCommitsStalled, SeverityCritical, "Commits of the primary stall although replicas are there.", "Look at its disk."},
		{CodeCommitsLocked, SeverityCritical, "Commits of the primary wait for somebody's lock.", "Look for FLUSH TABLES WITH READ LOCK or LOCK TABLES in performance_schema.metadata_locks."},
		{CodeWeakened, SeverityCritical, "The primary was found not to wait for replicas.", "Keep it running; find out who changed its semi-synchronous replication."},
		{CodeErrant, SeverityWarning, "Somebody wrote on a replica.", "Look at it with mysqlbinlog; mysqlha rejoin says what can be done."},
		{CodeAtRisk, SeverityWarning, "Transactions are known on one server alone.", ""},
		{CodePolicyWaits, SeverityInfo, "What was asked for waits for something.", ""},
		{CodePaused, SeverityWarning, "Automation is paused: a dead primary is not replaced.", "mysqlha resume"},
		{CodeFailoverHeld, SeverityCritical, "The primary is dead, and nobody takes over because of a pause or the cooldown.", "Start it again, or mysqlha failover."},
		{CodeUnwantedPrimary, SeverityWarning, "A server is primary that shall never be.", "mysqlha switchover"},
		{CodeForeignCluster, SeverityCritical, "A host comes from another cluster.", "Empty its data directory and its daemon's data_dir, and start it anew."},
		{CodeEtcdMember, SeverityWarning, "A member of etcd is missing or not well.", "Look at the daemon of its host."},
		{CodeSuspendedAndDead, SeverityCritical, "The primary is dead and acknowledged writes alone before.", "Bring it back; mysqlha failover --dry-run says what a failover would put at stake."},
		{CodeWaitingForSilence, SeverityCritical, "A failover waits until the old primary certainly acknowledges nothing more.", ""},
		{CodeLagTooLarge, SeverityCritical, "The best replica is too far behind to be promoted.", "Bring the old primary back, or set max_lag."},
		{CodeAdoptionWaits, SeverityWarning, "The running cluster cannot be adopted yet.", "The detail says what is in the way; mysqlha bootstrap --adopt --dry-run shows all of it."},
		{CodeNotExamined, SeverityWarning, "A server could not be examined.", "Look at its daemon and its mysqld."},
		{CodeNotPersistent, SeverityWarning, "A variable is right until the next start of its server alone.", "Write it into my.cnf, or SET PERSIST it."},
		{CodeOptionContradicts, SeverityWarning, "my.cnf says what the start gate overrides.", "Take the line out of my.cnf: it has no effect, and whoever reads it believes it."},
		{CodeAttached, SeverityInfo, "A mysqld was started without its gate, which watches over it until it ends.", "Restart it through its gate at leisure; of a primary, after a switchover."},
		{CodeUnguarded, SeverityWarning, "Nobody watches over a mysqld: its gate is gone.", "mysqlhad guard --attach watches over it until it ends."},
		{CodeNotAutoPosition, SeverityWarning, "A replica does not ask for what it lacks by GTIDs.", "STOP REPLICA; CHANGE REPLICATION SOURCE TO SOURCE_AUTO_POSITION=1; START REPLICA"},
		{CodeSemiSyncOn, SeverityWarning, "Somebody else's semi-synchronous replication is on.", "Switch it off before the adoption, which brings its own."},
		{CodeMissingPrivilege, SeverityWarning, "The daemon's account lacks a right.", "Grant it on that server, with sql_log_bin=0."},
		{CodeHostsBlocked, SeverityWarning, "mysqld blocks hosts after some connections that failed, redirectors and replicas among them.", "skip_name_resolve = ON in my.cnf, or SET PERSIST max_connect_errors to a large number."},
		{CodeExcessPrivilege, SeverityWarning, "An account of the cluster may do more than its job needs.", "The detail names it; the mending takes it away."},
		{CodeForeignReplicator, SeverityInfo, "An account may replicate that is none of the cluster's.", "Drop it if nobody needs it."},
		{CodePlaintextSessions, SeverityWarning, "Clients are connected without TLS.", "Have them use TLS: their next login is refused otherwise."},
		{CodeTableWithoutKey, SeverityWarning, "Tables have no primary key: replicas apply their changes slowly, which makes a failover slow.", "ALTER TABLE ... ADD PRIMARY KEY; sql_require_primary_key=ON keeps new ones out."},
		{CodeForeignEngine, SeverityWarning, "Tables are not InnoDB: their changes survive no crash, and cannot be taken back.", "ALTER TABLE ... ENGINE=InnoDB"},
		{CodeShortRetention, SeverityWarning, "Binary logs may be gone before a new server has been cloned and asks for them.", "SET PERSIST binlog_expire_logs_seconds to a day or more."},
		{CodeCertificateExpires, SeverityWarning, "A certificate ends soon, or has ended.", "Issue a new one: mysqlha certs issue."},
		{CodeCertificateUnfit, SeverityCritical, "A certificate does not prove what it must.", "Issue one by the cluster's CA with the name: mysqlha certs issue --host."},
		{CodeCertificateNotServed, SeverityWarning, "mysqld serves another certificate than its file.", "ALTER INSTANCE RELOAD TLS"},
		{CodeClockOffset, SeverityWarning, "The clocks of two hosts differ.", "Look at chrony or ntpd: lag in seconds is not to be believed meanwhile."},
		{CodeVersionsDiffer, SeverityWarning, "A replica runs an older version than the primary.", "Upgrade replicas first: an older one may not understand what a newer primary sends."},
		{CodeEtcdTooSmall, SeverityWarning, "Etcd cannot lose a member.", "Run three members on three hosts."},
		{CodeBadRequest, SeverityInfo, "The request cannot be understood.", "The detail says what would be right."},
		{CodeNotFound, SeverityInfo, "There is no such thing.", ""},
		{CodeMethodNotAllowed, SeverityInfo, "The path does not answer this method.", ""},
		{CodeCertificateNeeded, SeverityInfo, "A client certificate of the cluster's CA is needed, or a token.", "Name one in the context: tls.cert and tls.key, or token_file."},
		{CodeRoleNeeded, SeverityInfo, "The certificate or the token is not one of somebody who may do this.", "mysqlha certs issue --role operator, or mysqlha token new --role operator."},
		{CodeTokenRefused, SeverityInfo, "The token is not known, or has ended.", "mysqlha token new makes one on each host."},
		{CodeCrossOrigin, SeverityInfo, "A page from elsewhere asked a browser to change something here.", "Use the status page of a daemon itself, or mysqlha."},
		{CodeTooLarge, SeverityInfo, "The request is larger than any that makes sense.", ""},
		{CodeRefused, SeverityInfo, "It would not be safe, or would not work; nothing was changed.", "The detail says why."},
		{CodeUnavailable, SeverityWarning, "It cannot be answered at the moment.", "Ask another daemon, or again."},
	}
}
