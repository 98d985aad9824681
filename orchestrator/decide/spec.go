package decide

import (
	"slices"
	"time"

	"github.com/mysqlha/mysqlha/replication/gtid"
)

// Goal names what a server's daemon must bring about on its own mysqld.
type Goal string

// The goals.
const (
	// GoalStand keeps the server closed and out of replication. A server that
	// was open before is killed, not asked (S10).
	GoalStand Goal = "stand"
	// GoalInitialise makes schema and accounts on an empty server.
	GoalInitialise Goal = "initialise"
	// GoalFollow replicates from Source, acknowledging if Acks.
	GoalFollow Goal = "follow"
	// GoalClone makes the server a copy of Source, whatever it holds. It ends with
	// a restart of mysqld.
	GoalClone Goal = "clone"
	// GoalRevoke stops receiving and acknowledging and reports what is there.
	GoalRevoke Goal = "revoke"
	// GoalPromote applies Target and prepares to be primary, still closed.
	GoalPromote Goal = "promote"
	// GoalDemote ends the sessions of an open primary and closes it, so that nothing
	// is written or waits any more, and reports what it has.
	GoalDemote Goal = "demote"
	// GoalPrimary opens in Term after an acknowledged commit of its own, and
	// keeps the account locks as Attach says.
	GoalPrimary Goal = "primary"
)

// Spec is what the leader wants of one server. It is written to etcd when it
// changes; its revision there is how a status says which spec it speaks of.
type Spec struct {
	// Goal is what to bring about.
	Goal Goal `json:"goal"`
	// Term is the record's term when the spec was written; a daemon refuses a
	// spec of a term below the highest it has seen (S1).
	Term uint64 `json:"term"`
	// Plan is the id of the plan that the spec belongs to, empty if none.
	Plan string `json:"plan,omitempty"`
	// Source is the server to follow (follow), to copy (clone), or to receive the
	// target from before anything else (promote, empty for nobody).
	Source string `json:"source,omitempty"`
	// Acks says whether the receiver acknowledges (follow).
	Acks bool `json:"acks,omitempty"`
	// Rotate asks for a new binary log (follow): a source looks for what a new replica
	// lacks from the beginning of a file, and this one is about to be a source.
	Rotate bool `json:"rotate,omitempty"`
	// Target must be executed (promote) or received (follow) before the spec
	// counts as done, and a follower with anything beyond it is refused (S7).
	// Empty on a follow: the daemon asks the source itself.
	Target gtid.Set `json:"target"`
	// Attach are the servers whose replication accounts are unlocked here; all
	// others are locked and their sessions ended (promote, primary; S3).
	Attach []string `json:"attach,omitempty"`
	// InSync are those of Attach that may acknowledge (primary).
	InSync []string `json:"in_sync,omitempty"`
	// RequiredAcks is k (promote, primary).
	RequiredAcks int `json:"required_acks,omitempty"`
	// Suspended lets commits be acknowledged without any replica (promote,
	// primary). The record says so first.
	Suspended bool `json:"suspended,omitempty"`
	// Prove asks an open primary for a commit begun after everything else in
	// the spec is in force (primary).
	Prove bool `json:"prove,omitempty"`
	// Eject asks for a commit begun after that server was locked out, and
	// acknowledged without it (primary).
	Eject string `json:"eject,omitempty"`
	// Inject are transactions to be made here as empty ones (primary), because a
	// human says that what they are elsewhere is harmless.
	Inject gtid.Set `json:"inject"`
	// Accounts are made (initialise, primary).
	Accounts []Account `json:"accounts,omitempty"`
	// Adopt says that the server takes writes already, by somebody else's will, and has
	// neither schema nor accounts of the cluster (primary).
	Adopt bool `json:"adopt,omitempty"`
	// Drain is how long transactions that are open may go on (demote).
	Drain time.Duration `json:"drain_ns,omitempty"`
	// Drop is a server whose accounts are dropped (primary).
	Drop string `json:"drop,omitempty"`
	// Why says in words why the server must stand (stand).
	Why string `json:"why,omitempty"`
	// Errant are the transactions that the server has and the primary has not
	// (stand, clone).
	Errant gtid.Set `json:"errant"`
}

// Equal tells whether two specs ask for the same.
func (s Spec) Equal(o Spec) bool {
	return s.Goal == o.Goal && s.Term == o.Term && s.Plan == o.Plan && s.Source == o.Source &&
		s.Acks == o.Acks && s.Rotate == o.Rotate && s.Target.Equal(o.Target) && slices.Equal(s.Attach, o.Attach) &&
		slices.Equal(s.InSync, o.InSync) && s.RequiredAcks == o.RequiredAcks && s.Suspended == o.Suspended && s.Prove == o.Prove && s.Adopt == o.Adopt && s.Eject == o.Eject &&
		slices.Equal(s.Accounts, o.Accounts) && s.Drop == o.Drop && s.Drain == o.Drain && s.Why == o.Why && s.Errant.Equal(o.Errant) && s.Inject.Equal(o.Inject)
}

// Account is one server's accounts on all servers, known to others only by the
// hashes of their passwords.
type Account struct {
	// Server owns the accounts. A witness, which has no server, has a probe account
	// alone.
	Server  string `json:"server"`
	Witness bool   `json:"witness,omitempty"`
	// ReplicationHash is the caching_sha2_password hash of its replication
	// account.
	ReplicationHash string `json:"replication_hash,omitempty"`
	// ProbeHash is that of its probe account.
	ProbeHash string `json:"probe_hash"`
	// Former says that the passwords that they had before stay good besides: its
	// daemon still uses those.
	Former bool `json:"former,omitempty"`
	// Moving says, where the daemon registers it, that the new passwords are known
	// everywhere and it would go over to them, for which its server's receiver
	// connects anew; and where the record says so, that it may, and no accounts change
	// until it has.
	Moving bool `json:"moving,omitempty"`
	// Certified says that its server shows a certificate where it replicates or is
	// cloned from, so that its password alone is of no use.
	Certified bool `json:"certified,omitempty"`
}

// SpecAt is a spec with the revision etcd gave it.
type SpecAt struct {
	Spec
	// Revision is the spec's revision in etcd, 0 for none.
	Revision int64 `json:"revision"`
}

// Process is what the local daemon sees of its mysqld process.
type Process string

// The states of a process. The zero value means that nobody has looked.
const (
	ProcessUnknown Process = ""
	// ProcessRunning exists and answers or may answer.
	ProcessRunning Process = "running"
	// ProcessExiting is being torn down by the kernel and never comes back.
	ProcessExiting Process = "exiting"
	// ProcessGone does not exist.
	ProcessGone Process = "gone"
)

// SpecState says how far a daemon is with its spec.
type SpecState string

// The states of a spec.
const (
	SpecWorking SpecState = "working"
	SpecDone    SpecState = "done"
	// SpecFailed has an error in Status.Problem; the daemon tries again.
	SpecFailed SpecState = "failed"
	// SpecRefused would break a rule; the daemon does not try it.
	SpecRefused SpecState = "refused"
)

// Status is what a daemon reports of its own server. It is written to etcd
// when it changes and holds no running figures.
type Status struct {
	// SpecRevision is the revision of the spec that State speaks of, Plan the
	// plan that it belongs to.
	SpecRevision int64  `json:"spec_revision"`
	Plan         string `json:"plan,omitempty"`
	// State is how far the daemon is with it.
	State SpecState `json:"state"`
	// Problem is a stable code, with Detail in words; empty when all is well.
	Problem Code `json:"problem,omitempty"`
	// Detail explains Problem.
	Detail string `json:"detail,omitempty"`
	// Process is the state of the local mysqld process.
	Process Process `json:"process"`
	// StartID tells one run of mysqld from the next.
	StartID string `json:"start_id,omitempty"`
	// OpenTerm is the term in which the server takes writes, 0 while closed.
	OpenTerm uint64 `json:"open_term,omitempty"`
	// AcksOff says that, under the spec of SpecRevision, the server was
	// confirmed not to acknowledge: its switch is off, and no receiver runs that
	// was started with it on (S3).
	AcksOff bool `json:"acks_off,omitempty"`
	// Weakened says that the open server was found not to wait for replicas as it
	// must, and has not proved since that they have everything (S2).
	Weakened bool `json:"weakened,omitempty"`
	// Fenced says that the server closed itself (S9).
	Fenced bool `json:"fenced,omitempty"`
	// TailOf is the term in which the server was last open, if it has followed
	// nobody since: what it has beyond its successor was written in that term.
	TailOf uint64 `json:"tail_of,omitempty"`
	// LetGo says that mysqld stopped politely past its gate in that term: what waited
	// for replicas may have been answered OK (S10).
	LetGo bool `json:"let_go,omitempty"`
	// FollowedTerm is the newest term in which it is known to have followed
	// another.
	FollowedTerm uint64 `json:"followed_term,omitempty"`
	// Unusable says why the server's data is not what its GTIDs say, whatever the
	// spec is; empty where it is.
	Unusable Code `json:"unusable,omitempty"`
	// ServerUUID names it in its transactions: in those of TailOf, if it has them.
	ServerUUID string `json:"server_uuid,omitempty"`
	// Held is what the server had when the spec was done (revoke, promote,
	// follow with a target, initialise).
	Held Held `json:"held"`
	// Cut are the sessions that were ended (demote).
	Cut SessionsCut `json:"cut,omitzero"`
	// Empty says that the server holds no data at all (before bootstrap).
	Empty bool `json:"empty,omitempty"`
	// Findings are faults of the server's configuration, by stable code.
	Findings []Finding `json:"findings,omitempty"`
	// Notices are what a human should know, and what keeps the server from nothing.
	Notices []Finding `json:"notices,omitempty"`
	// Steps are how long the steps of the spec took, in milliseconds.
	Steps map[string]float64 `json:"steps,omitempty"`
	// TermSeen is the highest term this daemon has ever seen (S1).
	TermSeen uint64 `json:"term_seen,omitempty"`
}

// Finding is one fault of a server, from the table of required variables or
// from its topology.
type Finding struct {
	// Code is stable; see codes.go.
	Code Code `json:"code"`
	// Detail says what was found and what would be right.
	Detail string `json:"detail"`
}

// Member is what a daemon registers under its lease.
type Member struct {
	// Server is the name of its server, or its own if it is a witness.
	Server string `json:"server"`
	// API is the host:port of its HTTPS endpoint.
	API string `json:"api"`
	// Cluster is the Record.ID of the cluster that it was a server of last.
	Cluster string `json:"cluster,omitempty"`
	// Self is its server as it is configured there, nil for a witness.
	Self *Server `json:"self,omitempty"`
	// Account is its accounts' hashes.
	Account Account `json:"account"`
	// Version of the daemon.
	Version string `json:"version"`
	// Started is when the daemon started.
	Started time.Time `json:"started"`
}
