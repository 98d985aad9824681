package logs

// Event is a line of the log that programs and people look for.
type Event struct {
	// Name stays, whatever becomes of the message: alerts, queries and habits rest on it.
	Name string
	// Message is what the code writes, a constant.
	Message string
	// Means says in a sentence what has happened, and to whom it matters.
	Means string
}

// Events are all lines of level info and above. Who writes a new one names it here.
func Events() []Event {
	return []Event{
		// The leader.
		{"leading", "leading", "This daemon leads the cluster from now on."},
		{"not-leading", "no longer leading", "This daemon does not lead any more; `cause` says why."},
		{"leadership-in-doubt", "could not find out whether leadership was taken", "Etcd did not answer in time; it is found out before anything is done."},
		{"leadership-moving", "handing leadership away from the primary's host", "Leadership and the primary shall not be lost together."},
		{"leadership-left", "handing leadership over, because this daemon stops", "Another daemon shall lead before this one ends."},
		{"nobody-leads-yet", "nobody else leads yet", "The daemon that stops waits for a successor, for a while."},
		{"raft-leadership-stays", "etcd's leadership stays beside the primary, will be tried again", "The loss of the primary's host would cost an election of etcd too."},
		{"decided", "decided", "The leader's decision differs from the one before: its reason, what it saw (`detail`), what it waits for (`waits`), and who is told to do what (`specs`). A warning where a failover begins."},
		{"not-committed", "not committed, deciding anew", "What was decided did not get into etcd, or nobody knows; it is judged anew."},
		{"term-published", "term published", "A new term is in etcd: its primary opens as soon as its own commit is acknowledged."},
		{"plan-ended", "plan ended", "A plan has come to its end and is in the history; a warning where `result` is not completed."},
		{"history-not-trimmed", "the history is not trimmed, and will be after the next plan", "Old plans stay in etcd for a while longer."},
		{"record-unreadable", "the record proves nothing", "The cluster's record in etcd cannot be read: this server has no proof by it that its term is current."},
		{"key-unreadable", "key in etcd cannot be read", "Another version may have written it; what depends on it waits."},
		{"mysqld-not-probed", "mysqld cannot be probed", "The leader has no way to ask that server; nothing is concluded from it."},

		// What a daemon does to its own server.
		{"spec-done", "spec done", "This server is as the leader wants it; `ms` are the times of the steps."},
		{"spec-refused", "spec refused", "Carrying it out would break a rule of the write contract; `reason` says which."},
		{"spec-failed", "spec failed, will be tried again", "A step did not succeed."},
		{"opened", "open for writes", "This server is the primary of the term and takes writes."},
		{"accounts-made", "accounts made", "The primary has made or changed the accounts of a server."},
		{"attach-failed", "a server cannot attach", "Its accounts are not prepared; the others can, and nobody else."},
		{"step-forced", "a step took too long; the clients that might be in its way were ended", "A client of a closed server held a lock for too long."},
		{"no-new-binlog", "no new binary log was begun", "The candidate's replicas will take longer to attach."},
		{"relay-log-left", "the former replica's relay log is left behind", "It is of no use and takes room."},
		{"unlisted-ended", "unlisted replicas were attached and were ended; the proof is made again", "A login slipped in just before its account was locked."},
		{"sessions-left", "sessions are left on a server that is closed", "They can write nothing any more."},
		{"empty-transactions", "empty transactions are made here, because a human called harmless what they are elsewhere", "The primary injects the numbers that a human has called harmless."},
		{"status-not-written", "status not written, will be tried again", "The leader does not hear from this server by etcd; said once until it does."},
		{"mysqld-process", "mysqld process", "The process of mysqld was seen to begin or to end."},
		{"mysqld-silent", "mysqld does not answer", "Its daemon cannot ask it; said when that begins."},
		{"server-not-checked", "server not checked yet", "The required variables of this run could not be read yet."},
		{"variable-wrong", "required variable", "A variable is not as a lossless cluster needs it; `mysqlha explain` has the code."},
		{"commit-unexplained", "what the commit waits for is not known", "The daemon's own commit is pending, and the server does not say why."},
		{"no-room-made", "no room could be made for replicas", "All connections are taken, and replicas cannot attach."},
		{"room-made", "max_connections raised: all connections were taken, and replicas could not attach", "It is raised a few times at most, and stays until mysqld restarts."},
		{"disk-unknown", "how full the disk is cannot be seen", "A full disk will not be named."},
		{"other-cluster", "the daemon's folder remembers another cluster: nothing is done", "Somebody has given the daemon the folder of another cluster."},
		{"etcd-restored", "etcd was restored from an old backup: nothing is taken from it", "The record is older than one seen here. A human must decide."},

		// Fences.
		{"fencing", "fencing", "This server closes itself: nothing proves that its term is current, or a later term exists."},
		{"fenced", "fenced: proven not writable", "It is closed; `since_proof` is how long after the last proof."},
		{"fence-failed", "fence failed", "It is not proven closed, and is killed next."},
		{"fence-impolite", "the server does not close politely", "It is killed instead."},
		{"closed-but-waiting", "commits wait for replicas, and their clients are gone", "The closed server lives on: nobody can be answered, and the commits may end well."},
		{"superseded", "a later term exists while this server is open", "It is killed, so that no waiting commit is let go."},
		{"killed-after-open", "mysqld was open and must not be any more: killing it", "Clients may have written to this run; its gate starts it again, harmless."},
		{"heartbeat-no-proof", "heartbeat is no proof", "The primary's own commit fails, or proves nothing; said once for each cause. The fence is not far."},
		{"weakened", "commits do not wait for replicas as they must: somebody changed it by hand", "They are made to wait again; until that is proven no failover is made."},
		{"weakened-not-kept", "whether commits wait as they must is not kept", "The daemon's folder cannot be written."},
		{"proof-not-told", "the gate cannot be told that this server is current", "The gate will close this server."},
		{"fence-test-begun", "the fence is tested: clients are refused for a moment", "Somebody has asked for `mysqlha fence --test`."},
		{"fence-test-ended", "the test of the fence has ended", "How long closing took, or what failed."},
		{"closed-by-gate", "the gate closed this server", "The daemon has heard that the gate fenced in its stead."},
		{"gate-fence-uncounted", "the metrics lack a fence by the gate", "What the gate noted cannot be read."},

		// Servers that come back.
		{"clone-begun", "this server is being built anew", "Its data is replaced by the donor's; what it gives up is kept in `kept`."},
		{"clone-done", "this server was built anew", "It is a copy of the donor and follows."},
		{"clone-again", "the clone did not end well and is made again", "`problem` is what MySQL says."},
		{"binlog-kept-whole", "a binary log cannot be read and is kept whole", "What is given up could not be picked out of it."},
		{"given-up-incomplete", "not all that is given up stands in the binary logs", "Less is kept than is given up."},
		{"nothing-given-up", "nothing that this server alone has is given up by itself", "The daemon cannot read how mysqld ended, so a human must decide."},
		{"came-back", "the gate dealt with what the primary does not have", "How a former primary was let come back: rewound, refused or failed."},

		// The gate, mysqld's parent.
		{"gate-locked", "another guard, or a mysqld that it started, is still there; mysqld is not started before it is gone", "One guard, one mysqld."},
		{"gate-waits", "mysqld died as the open primary and is not started before the daemon says what became of its term; mysqlhad guard --as-is would start it all the same", "Usually a failover is under way."},
		{"gate-opens", "the gate opens", "The daemon has said how mysqld shall be started, and why."},
		{"mysqld-attached", "attached to a mysqld that was started without a guard", "The gate watches over it."},
		{"mysqld-unguarded", "mysqld runs already, without a guard that is its parent: it is watched over, and another one is started when it has ended", "Somebody has started it past its gate."},
		{"mysqld-started", "mysqld started", "The process is there, harmless."},
		{"mysqld-answers", "mysqld answers", "It takes the gate's connection."},
		{"mysqld-lost", "the kept connection to mysqld broke", "The gate dials again."},
		{"mysqld-stopping", "stopping mysqld", "The gate was told to stop."},
		{"mysqld-asked-to-stop", "nobody waits; mysqld is asked to stop", "No waiting commit can be let go any more."},
		{"mysqld-killed", "mysqld is killed", "The gate kills it, for `reason`."},
		{"mysqld-killed-waiting", "mysqld is killed, because a polite stop might let waiting commits go", "A stop is a kill where commits wait for replicas."},
		{"mysqld-killed-slow", "mysqld is killed, because it did not stop in time", "It comes back by crash recovery."},
		{"mysqld-gone", "mysqld is gone", "The process has ended; `status` says how."},
		{"stopped-past-gate", "mysqld was stopped past its gate: commits that waited for replicas may have been answered OK", "Somebody has used SHUTDOWN or a signal. Stop servers through their service."},
		{"applier-ended", "the applier waits for the rest of a transaction and was ended", "It would have held up the stop."},
		{"gate-closes", "the gate closes mysqld", "Its daemon is dead or stopped, and nothing proves that its term is current."},
		{"fenced-by-gate", "fenced by the gate: proven not writable", "mysqld is closed or dead."},
		{"gate-fence-unnoted", "the metrics will lack this fence", "The note for the daemon could not be written."},
		{"nothing-to-rewind", "nothing to rewind: the primary holds all that this server has", "A former primary comes back as it is."},
		{"rewound", "the binary log was rewound", "What nobody was told of was cut off and is kept; crash recovery rolls it back."},
		{"rewind-goes-on", "going on with the rewind that was begun before", "The gate was ended in the middle of it."},
		{"rewind-refused", "the binary log is not rewound", "It is not safe; `reason` says why. The server is cloned, or a human decides."},
		{"rewind-verified", "the rewind is verified", "MySQL has rolled back what was cut off."},
		{"rewind-failed", "the rewind has failed: this server must be built anew", "MySQL did not roll back what was cut off."},
		{"rewind-unproven", "the rewind is not proven: this server must be built anew", "mysqld ran meanwhile, and nobody has judged its recovery."},
		{"rewind-not-noted", "the outcome of the rewind cannot be noted", "The daemon's folder cannot be written."},
		{"mysqld-initialised", "mysqld initialised", "A new, empty server was made."},
		{"initialised-before", "this server has been initialised before", "`mysqlhad init` has nothing to do."},

		// The daemon and its host.
		{"daemon-started", "daemon started", "Its version and roles."},
		{"daemon-ended", "daemon ends", "`error` says why, if it was not told to."},
		{"daemon-retired", "nothing is left to be done here", "What this daemon led is handed over, and its sessions are drained."},
		{"configuration-warning", "configuration", "The configuration is valid and unwise."},
		{"certificate-taken", "mysqld has taken its certificate", "mysqld serves the one that is in its file."},
		{"certificate-refused", "mysqld does not take its certificate, and the former stays in use", "What mysqld says of it is in `error`."},
		{"tls-unusable", "TLS files are not usable, the last good ones stay in use", "Mend them before the daemon restarts."},
		{"tokens-refused", "no token is accepted", "The file of tokens cannot be read, or is open to others."},
		{"passwords-waiting", "the accounts of this host have no new passwords yet", "A rotation waits for `reason`."},
		{"passwords-replaced", "the accounts of this host have new passwords", "This host is done with a rotation."},
		{"audit", "audit", "Somebody has asked this daemon for a change: who, how they proved it, from where, what, and what came of it. A warning where it was refused."},

		// Etcd.
		{"etcd", "etcd says", "A warning or an error of the embedded etcd, or of its client, in `etcd`; at most three of a kind in ten seconds."},
		{"etcd-waiting", "this host's member of etcd waits until it is let in", "The leader lets it in."},
		{"etcd-joined", "this host's member was let into etcd and starts", "It receives the data, and votes later."},
		{"etcd-join-refused", "this host's member of etcd cannot come in", "It was a member before and has lost its data."},
		{"etcd-removed", "this host's member has been removed from etcd; the daemon goes on with the others", "Its data is set aside."},
		{"etcd-changing", "changing the members of etcd", "The leader adds, promotes or removes a member."},
		{"etcd-not-changed", "the members of etcd were not changed, will be tried again", "What etcd says of it is in `error`."},
		{"etcd-own-silent", "this host's own member of etcd does not answer, the others are asked too", "The daemon goes on by the others."},
		{"etcd-trust-taken", "this host's member of etcd trusts other authorities now", "It was started anew within the daemon."},
		{"etcd-trust-slow", "this host's member of etcd is not ready again yet", "It was started anew and does not serve yet."},
		{"etcd-trust-failed", "this host's member of etcd cannot be started anew yet", "It still trusts the former authorities."},
		{"etcd-unprotected", "etcd does not ask who its clients are yet", "Roles in etcd could not be set up; tried again."},
		{"etcd-went-back", "etcd's revision went back: restored from a backup?", "Everything is read anew, and the record is judged by its version."},
		{"registration-lost", "lost a registration, putting it anew", "The lease had expired: the leader took this daemon for dead."},

		// The redirector.
		{"sessions-cut", "sessions cut", "A new route: sessions to the former primary are ended."},
		{"draining", "draining", "The redirector takes nobody new and lets sessions go on for a while."},
		{"drained", "drained", "It has ended; `left` sessions were cut."},
		{"accept-failed", "accepting connections failed", "The redirector tries again."},
		{"port-not-closed", "closing a port failed", "It ends with the process."},

		// Hooks.
		{"hook-told", "hook told", "A program or an address has been told of what happened."},
		{"hook-failed", "hook failed, will be tried again", "Nothing waits for it."},
		{"hook-given-up", "hook given up for this event", "It was tried as often as it may be."},
		{"hook-dropped", "a hook is so far behind that an event is dropped", "A fence of this host goes untold."},
	}
}
