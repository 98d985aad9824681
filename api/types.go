package api

import (
	"context"
	"io"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication/gtid"
)

// Role is what a server is in the cluster.
type Role string

// The roles of a server.
const (
	// RolePrimary is the server that the record names.
	RolePrimary Role = "primary"
	// RoleReplica is any other server of a cluster that has a primary.
	RoleReplica Role = "replica"
	// RoleNone is any server while the cluster has no record.
	RoleNone Role = "none"
)

// Cluster is all that one daemon knows of the cluster, as GET /cluster returns
// it.
type Cluster struct {
	// Name is the cluster's name, Self the server beside the daemon that
	// answers, Version that daemon's.
	Name    string `json:"name"`
	Self    string `json:"self"`
	Version string `json:"version,omitempty"`
	// At is when the answer was put together, by Self's clock.
	At time.Time `json:"at"`
	// Leader is the server whose daemon leads, empty while nobody does.
	Leader string `json:"leader"`
	// Record is nil while the cluster has none; Revision is its revision.
	Record   *decide.Record `json:"record"`
	Revision int64          `json:"revision"`
	// Stale says that Self's own copy of what stands in etcd may be old, for
	// StaleFor already; all but the Live parts come from it.
	Stale    bool          `json:"stale"`
	StaleFor time.Duration `json:"stale_for_ns,omitempty"`
	// Servers are all servers of the cluster in their order.
	Servers []Server `json:"servers"`
	// Applicants are the servers whose daemons have registered and that are not of
	// the cluster.
	Applicants []string `json:"applicants,omitempty"`
	// Witnesses are the daemons that have no server.
	Witnesses []Witness `json:"witnesses,omitempty"`
	// Decision is the leader's latest, with the times since when it waits;
	// DecisionFrom is the leader it was asked of and DecisionAt when it was made.
	// DecisionFrom is empty where no leader could be asked.
	Decision     decide.Decision `json:"decision"`
	DecisionFrom string          `json:"decision_from,omitempty"`
	DecisionAt   time.Time       `json:"decision_at,omitzero"`
	// Pause is the one that is in force, nil for none.
	Pause *decide.Pause `json:"pause,omitempty"`
	// LastFailover is the latest entry of the history that is a failover, nil
	// for none.
	LastFailover *decide.History `json:"last_failover,omitempty"`
}

// Server is what is known of one server of the cluster.
type Server struct {
	// Name is its name, Address the host:port of its mysqld, API that of its
	// daemon.
	Name    string `json:"name"`
	Address string `json:"address"`
	API     string `json:"api"`
	// Role is its role.
	Role Role `json:"role"`
	// Member says that its daemon's lease lives, Version is that daemon's, and Started
	// when it began; empty and zero where the lease does not live.
	Member  bool      `json:"member"`
	Version string    `json:"version,omitempty"`
	Started time.Time `json:"started,omitzero"`
	// State is a word or two for a table; StateOf derives it.
	State State `json:"state"`
	// InSync says that the record lists it in the in-sync set.
	InSync bool `json:"in_sync"`
	// Goal is that of its spec, empty for none.
	Goal decide.Goal `json:"goal,omitempty"`
	// Status is what its daemon last wrote to etcd.
	Status decide.Status `json:"status"`
	// Live are its running figures, nil if its daemon could not be asked;
	// LiveError then says why.
	Live      *decide.Live `json:"live,omitempty"`
	LiveError string       `json:"live_error,omitempty"`
	// Gap are the transactions that the primary has executed and it has not
	// received, empty where the figures of either are missing. The two were read
	// at slightly different moments, so under load a small gap is no fault.
	// Errant are those that it has and the primary has not, from the spec that
	// makes it stand for them.
	Gap    gtid.Set `json:"gap"`
	Errant gtid.Set `json:"errant"`
}

// Witness is what is known of a daemon that has no server.
type Witness struct {
	// Name is its name, API the host:port of its HTTPS endpoint.
	Name string `json:"name"`
	API  string `json:"api"`
	// Member says that its lease lives.
	Member bool `json:"member"`
}

// Why is the latest decision in words.
type Why struct {
	// Decision is the leader's latest, Leader who made it and At when.
	Decision decide.Decision `json:"decision"`
	Leader   string          `json:"leader"`
	At       time.Time       `json:"at,omitzero"`
	// Text says in sentences why the cluster does what it does.
	Text string `json:"text"`
}

// Evidence is what the health checks of one host judge by.
type Evidence struct {
	// Self is this host's server.
	Self string `json:"self"`
	// Live are its figures, with the Age they have at this moment. A CommitAge
	// of zero means that no commit of this term has been acknowledged yet.
	Live decide.Live `json:"live"`
	// Term and Primary are the record's by the daemon's own copy; Term is 0 and
	// Primary empty while there is none.
	Term    uint64 `json:"term"`
	Primary string `json:"primary"`
	// Diverged says that the server is known to hold transactions that the
	// primary does not have (its spec makes it stand for them, or its daemon
	// found them).
	Diverged bool `json:"diverged,omitempty"`
	// FreshFor is the age up to which Live counts, FenceDeadline that up to which
	// a commit proof does. Where one is zero, what it bounds never counts.
	FreshFor      time.Duration `json:"fresh_for_ns"`
	FenceDeadline time.Duration `json:"fence_deadline_ns"`
}

// Backend answers for a daemon. Its methods are called from many goroutines at
// once and return when ctx ends.
type Backend interface {
	// Cluster returns what the daemon knows of the cluster. [Cluster.Derive]
	// fills in what follows from the rest.
	Cluster(ctx context.Context) (Cluster, error)
	// Why returns the latest decision in words, asked of the leader. Text may be
	// left empty; the server then fills in that of [Explain].
	Why(ctx context.Context) (Why, error)
	// Settings returns what the operator has set for the whole cluster, ChangeSettings
	// changes some of it and returns all. An error that wraps a *RefusedError says why
	// the cluster does not do it, here and below.
	Settings(ctx context.Context) (Settings, error)
	ChangeSettings(ctx context.Context, want SettingsChange) (Settings, error)
	// SettingsHistory returns at most limit versions, the newest first.
	SettingsHistory(ctx context.Context, limit int) ([]decide.PolicyVersion, error)
	// Pause keeps the primary where it is, Resume ends that; either returns the pause
	// that was there last.
	Pause(ctx context.Context, want PauseRequest) (decide.Pause, error)
	Resume(ctx context.Context, want ResumeRequest) (decide.Pause, error)
	// Rejoin says what may be done with transactions that a server alone has.
	Rejoin(ctx context.Context, want RejoinRequest) (RejoinRequest, error)
	// ChangeServers lets a server join the cluster or leave it, and returns those
	// that are wanted from then on; an error that wraps a *RefusedError says why not.
	ChangeServers(ctx context.Context, want ServersRequest) ([]decide.Server, error)
	// Bootstrap asks for the beginning of the cluster and returns the request's id.
	Bootstrap(ctx context.Context, want decide.BootstrapRequest) (string, error)
	// Passwords tells how far the accounts of this host have come with new ones, Rotate
	// asks for new ones of all hosts and returns the request's id.
	Passwords(ctx context.Context) (Passwords, error)
	Rotate(ctx context.Context, want decide.RotationRequest) (string, error)
	// Certificates are those of this host.
	Certificates(ctx context.Context) (Certificates, error)
	// Doctor examines a server, or all of them and the cluster where the name is empty.
	Doctor(ctx context.Context, server string) (Examination, error)
	// Switchover asks for another primary and returns the request's id, by which the
	// history says what came of it.
	Switchover(ctx context.Context, want decide.SwitchoverRequest) (string, error)
	// Failover asks for a failover and returns the request's id.
	Failover(ctx context.Context, want decide.FailoverRequest) (string, error)
	// Watch tells of each change, beginning with what stands, until ctx ends.
	Watch(ctx context.Context, tell func(Event))
	// TestFence closes a replica as a cut-off primary would be and lets clients in
	// again, with kill after it was killed and started anew by its supervisor. An
	// error that wraps a *RefusedError says why it was not done.
	TestFence(ctx context.Context, want FenceRequest) (decide.FenceTest, error)
	// Kept lists what a server had and gave up, the newest first; OpenKept opens one
	// of them by its name. An error that wraps a *RefusedError says why not.
	Kept(ctx context.Context, server string) ([]decide.Kept, error)
	OpenKept(ctx context.Context, server, name string) (io.ReadCloser, error)
	// History returns at most limit ended terms and plans, the newest first.
	History(ctx context.Context, limit int) ([]decide.History, error)
	// Recent returns what a server did lately, after a moment; that of all servers where
	// the name is empty, each with its problem where it has one.
	Recent(ctx context.Context, server string, since time.Time) ([]Recent, error)
	// Ready returns nil once etcd is reachable and the first copy is loaded,
	// and otherwise says what is missing.
	Ready(ctx context.Context) error
}

// Certificates are those of a host, and whom it trusts.
type Certificates struct {
	Host string `json:"host"`
	// Trusts are the fingerprints of the authorities that its daemon trusts now,
	// EtcdTrusts those that its member of etcd does; that one follows some seconds later.
	Trusts     []string `json:"trusts"`
	EtcdTrusts []string `json:"etcd_trusts,omitempty"`
	// Certificates are the daemon's, host, and that of the mysqld beside it.
	Certificates []Certificate `json:"certificates"`
}

// Certificate is one of a host.
type Certificate struct {
	// Name is host or mysqld, File where it is.
	Name string `json:"name"`
	File string `json:"file"`
	// Role is its common name where that is a role, Holder whose it is, Hosts what it
	// proves.
	Role   string   `json:"role,omitempty"`
	Holder string   `json:"holder,omitempty"`
	Hosts  []string `json:"hosts,omitempty"`
	// Issuer is the fingerprint of the trusted authority that issued it.
	Issuer string    `json:"issuer,omitempty"`
	From   time.Time `json:"from,omitzero"`
	Until  time.Time `json:"until,omitzero"`
	// Problem says why it cannot be used, empty for nothing.
	Problem string `json:"problem,omitempty"`
}

// Passwords tell how far a host's accounts have come with new passwords.
type Passwords struct {
	Host string `json:"host"`
	// Rotation is the request that was carried out last, empty for none; Since is when
	// the passwords in use were made.
	Rotation string    `json:"rotation,omitempty"`
	Since    time.Time `json:"since,omitzero"`
	// Pending says that a change is under way, or that former passwords are still good.
	Pending bool `json:"pending,omitempty"`
}

// ServersRequest asks for a change of the servers of the cluster.
type ServersRequest struct {
	// Add is a server that shall join: its daemon has registered.
	Add string `json:"add,omitempty"`
	// Remove is a server that shall leave.
	Remove string `json:"remove,omitempty"`
	// By is who asks, in words.
	By string `json:"by,omitempty"`
}

// Settings are what the operator has set for the whole cluster.
type Settings struct {
	// Version counts changes, By is who made the last one and At when.
	Version uint64    `json:"version"`
	By      string    `json:"by,omitempty"`
	At      time.Time `json:"at,omitzero"`
	// Settings are all there are, those of the servers last.
	Settings []decide.Setting `json:"settings"`
	// Pause is the one that is in force, nil for none.
	Pause *decide.Pause `json:"pause,omitempty"`
}

// SettingsChange asks for other settings.
type SettingsChange struct {
	// Set are the new values by name; an empty one takes back what was set.
	Set map[string]string `json:"set"`
	// By is who asks, in words.
	By string `json:"by,omitempty"`
	// Version is the one that the asker has seen: a newer one refuses the change. 0
	// makes it to whatever stands.
	Version uint64 `json:"version,omitempty"`
}

// PauseRequest asks for a pause.
type PauseRequest struct {
	// Reason is told wherever the cluster is shown.
	Reason string `json:"reason"`
	// For is how long it lasts, 0 until somebody ends it.
	For time.Duration `json:"for_ns,omitempty"`
	By  string        `json:"by,omitempty"`
}

// ResumeRequest asks for the end of a pause.
type ResumeRequest struct {
	By string `json:"by,omitempty"`
}

// RejoinRequest says what may be done with transactions that a server alone has.
type RejoinRequest struct {
	Server string `json:"server"`
	// Discard gives them up, Harmless leaves them there and makes empty ones of the
	// same names on the primary.
	Discard  gtid.Set `json:"discard"`
	Harmless gtid.Set `json:"harmless"`
	By       string   `json:"by,omitempty"`
}

// FenceRequest asks for a test of a fence.
type FenceRequest struct {
	// Server is the replica to fence.
	Server string `json:"server"`
	// Kill asks for the last stage as well, SIGKILL.
	Kill bool `json:"kill,omitempty"`
}

// Member answers for the server beside the daemon. A host that only redirects
// has none.
type Member interface {
	// Evidence returns what the health checks judge by. It must neither block
	// nor ask the network: checks come often and count most in an outage.
	Evidence() Evidence
	// AdviseStart tells this host's gate what became of the term in which its dead
	// mysqld was open; the gate has waited for so long. It asks etcd anew.
	AdviseStart(ctx context.Context, term uint64, waited time.Duration) (decide.StartAnswer, error)
}
