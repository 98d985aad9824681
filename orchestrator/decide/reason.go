package decide

import "time"

// Reason names why the deciding code does what it does. Doing nothing has a
// reason as well. The words are stable: metrics and history carry them.
type Reason string

// The reasons.
const (
	ReasonHealthy        Reason = "healthy"
	ReasonNoRecord       Reason = "no record"
	ReasonBootstrap      Reason = "bootstrap"
	ReasonProcessDied    Reason = "process died"
	ReasonRefused        Reason = "connection refused"
	ReasonSilent         Reason = "silent"
	ReasonStalled        Reason = "commits stalled"
	ReasonClosed         Reason = "closed without a daemon"
	ReasonNotOpen        Reason = "primary not open"
	ReasonUncertain      Reason = "uncertain"
	ReasonReplicaAbsent  Reason = "replica absent"
	ReasonReplicaCaught  Reason = "replica caught up"
	ReasonPolicyChanged  Reason = "policy changed"
	ReasonRequested      Reason = "requested"
	ReasonLonely         Reason = "no replica left but by a clone"
	ReasonSuspended      Reason = "suspended"
	ReasonResumed        Reason = "enough replicas again"
	ReasonPlanContinues  Reason = "plan continues"
	ReasonPlanWaits      Reason = "plan waits"
	ReasonPlanAbandoned  Reason = "plan abandoned"
	ReasonSpecsAdjusted  Reason = "specs adjusted"
	ReasonPaused         Reason = "paused"
	ReasonCooldown       Reason = "cooldown"
	ReasonTermWentBack   Reason = "term went back"
	ReasonNotEnoughProof Reason = "not enough evidence"
)

// FailoverReasons are the reasons for which a failover is opened, for metrics
// that must exist before the first one.
func FailoverReasons() []Reason {
	return []Reason{ReasonProcessDied, ReasonRefused, ReasonSilent, ReasonStalled, ReasonClosed, ReasonRequested}
}

// Code is a stable name of a problem, for people, alerts and tests.
type Code string

// The problems.
const (
	CodeWaitingForServers    Code = "waiting-for-servers"
	CodeServerNotEmpty       Code = "server-not-empty"
	CodeNoBootstrapPrimary   Code = "no-bootstrap-primary"
	CodePrimaryUncertain     Code = "primary-uncertain"
	CodePrimaryNotOpen       Code = "primary-not-open"
	CodeCannotReachReplicas  Code = "cannot-reach-replicas"
	CodeReplicaRestarted     Code = "replica-restarted"
	CodeNoCompleteCandidate  Code = "no-complete-candidate"
	CodeErrantCandidate      Code = "errant-candidate"
	CodeWaitingForCandidate  Code = "waiting-for-candidate"
	CodeWaitingForFollowers  Code = "waiting-for-k-followers"
	CodeWaitingForAcks       Code = "waiting-for-acks"
	CodeServerDown           Code = "server-down"
	CodeDaemonDown           Code = "daemon-down"
	CodeDiverged             Code = "diverged"
	CodeRewindFailed         Code = "rewind-failed"
	CodeCloneUnfinished      Code = "clone-unfinished"
	CodeCloning              Code = "cloning"
	CodeNoDonor              Code = "no-donor"
	CodeDiskFull             Code = "disk-full"
	CodeSourcePurged         Code = "source-purged"
	CodeMayShutDown          Code = "may-shut-down"
	CodeCatchingUp           Code = "catching-up"
	CodeTooFewInSync         Code = "too-few-in-sync"
	CodeTermWentBack         Code = "term-went-back"
	CodeStepFailed           Code = "step-failed"
	CodeBadVariable          Code = "bad-variable"
	CodeMissingPlugin        Code = "missing-plugin"
	CodeDuplicateServerID    Code = "duplicate-server-id"
	CodeWrongVersion         Code = "wrong-version"
	CodeForeignReplication   Code = "foreign-replication"
	CodeReplicationBroken    Code = "replication-broken"
	CodeMysqldUnreachable    Code = "mysqld-unreachable"
	CodeUnlistedAcknowledger Code = "unlisted-acknowledger"
	CodeSuspended            Code = "suspended"
	CodeCommitsStalled       Code = "commits-stalled"
	CodeCommitsLocked        Code = "commits-locked"
	CodeWeakened             Code = "weakened"
	CodeErrant               Code = "errant"
	CodeAtRisk               Code = "at-risk"
	CodePolicyWaits          Code = "policy-waits"
	CodePaused               Code = "paused"
	CodeFailoverHeld         Code = "failover-held"
	CodeUnwantedPrimary      Code = "unwanted-primary"
	CodeForeignCluster       Code = "foreign-cluster"
	CodeEtcdMember           Code = "etcd-member"
	CodeSuspendedAndDead     Code = "suspended-and-dead"
	CodeWaitingForSilence    Code = "waiting-for-silence"
	CodeLagTooLarge          Code = "lag-too-large"
	CodeAdoptionWaits        Code = "adoption-waits"
)

// Wait is something that the cluster waits for, or that is wrong with it.
type Wait struct {
	// Code is the stable name.
	Code Code `json:"code"`
	// Server is whom it is about, empty for the cluster.
	Server string `json:"server,omitempty"`
	// Detail says it in words, with the facts.
	Detail string `json:"detail"`
	// Remedy is what to do or type; may be empty when nothing is needed.
	Remedy string `json:"remedy,omitempty"`
	// Since is when it began, where known. Decide leaves it zero; the leader's
	// loop remembers.
	Since time.Time `json:"since,omitzero"`
}

// Decision is the outcome of one look at the view.
type Decision struct {
	// Reason names the outcome, Detail explains it with the facts.
	Reason Reason `json:"reason"`
	Detail string `json:"detail,omitempty"`
	// Waits are what is being waited for and what is wrong.
	Waits []Wait `json:"waits,omitempty"`
	// Candidates are the servers that the primary could be moved to, the best first;
	// empty while a plan is open.
	Candidates []Candidate `json:"candidates,omitempty"`
	// Outlook is what a failover by hand would mean, nil while that is not known.
	Outlook *Outlook `json:"outlook,omitempty"`
	// Beginning is how the cluster would begin, nil once it has.
	Beginning *Beginning `json:"beginning,omitempty"`
	// Change is what to write, nil for nothing.
	Change *Change `json:"-"`
	// Yield asks to give leadership away: this leader does not see a primary
	// that others see.
	Yield bool `json:"yield,omitempty"`
	// Etcd is what to do to the members of the embedded etcd, nil for nothing.
	Etcd *EtcdChange `json:"-"`
}

// Change is written to etcd in one transaction, guarded by the leader key and
// the record's revision.
type Change struct {
	// Record is the whole new record; nil leaves the record as it is (its
	// revision is compared all the same).
	Record *Record
	// Specs are those that change.
	Specs map[string]Spec
	// History is appended, nil for none.
	History *History
}
