package decide

import (
	"fmt"
	"time"

	"github.com/mysqlha/mysqlha/replication/gtid"
)

// View is all the leader knows, each fact with its time. Decide never changes
// it.
type View struct {
	// Self is the server whose daemon leads, or the witness, LeadingSince when it
	// began to.
	Self         string
	LeadingSince time.Time
	// Servers are all servers of the cluster in their order, Configured those of
	// the leader's own configuration, with which a cluster begins; Witnesses are the
	// daemons that have none.
	Servers, Witnesses []string
	Configured         []Server
	// Etcd are the members of the embedded etcd as the leader has just seen them,
	// nil while that is unknown and where etcd is not embedded.
	Etcd []EtcdSeen
	// Record is nil while the cluster has none; Revision is its revision.
	Record   *Record
	Revision int64
	// RecordSeen is the highest version of the record that the leader's own
	// daemon has ever seen.
	RecordSeen uint64
	// PlanSeen is since when this leader has seen the open plan in its phase, with
	// the same followers. The
	// marks of the plan are by other leaders' clocks; they serve where it is zero.
	PlanSeen time.Time
	// Spared says until when a replica is not removed again whose removal was
	// abandoned a moment ago; likewise for kinds of plan, by PausedPlan.
	Spared map[string]time.Time
	// Policy is what the operator wants, nil for nothing in particular.
	Policy *Policy
	// Specs and Statuses are what stands in etcd.
	Specs    map[string]SpecAt
	Statuses map[string]Status
	// Members are the daemons whose lease lives; Absent says since when the
	// leader has missed the others.
	Members map[string]Member
	Absent  map[string]time.Time
	// Seen are the leader's own probes.
	Seen map[string]Observation
	// TickLate is by how much the leader's own last tick was late; silence
	// counts only if it was not (S9 of detection: a slow observer sees ghosts).
	TickLate time.Duration
}

// Observation is what the leader's own probes saw of one server.
type Observation struct {
	// DaemonAt is when the daemon last answered over HTTPS, zero for never.
	DaemonAt time.Time `json:"daemon_at,omitzero"`
	// Live is that answer.
	Live Live `json:"live"`
	// ExecutedBefore is the gtid_executed of the answer before that one, in the
	// same run of mysqld, as it was at BeforeAt; empty and zero where there is
	// none.
	ExecutedBefore gtid.Set `json:"executed_before"`
	// AllBefore is, likewise, all that it had of the data then.
	AllBefore gtid.Set  `json:"all_before"`
	BeforeAt  time.Time `json:"before_at,omitzero"`
	// CommitBefore is when the last own commit was begun that had been
	// acknowledged when ExecutedBefore was read: the set holds it, and whatever
	// stands before it in the binary log. Zero for none.
	CommitBefore time.Time `json:"commit_before,omitzero"`
	// RunSince is when the leader first heard of this run of mysqld, which is
	// after it began.
	RunSince time.Time `json:"run_since,omitzero"`
	// NotOpenSince is since when every answer has shown a server that takes no
	// writes, zero while it does.
	NotOpenSince time.Time `json:"not_open_since,omitzero"`
	// ReceivingAt is when an answer last showed a receiver that is connected.
	ReceivingAt time.Time `json:"receiving_at,omitzero"`
	// AckingSince is since when every answer has shown a receiver that is
	// connected and acknowledges, zero while it does not.
	AckingSince time.Time `json:"acking_since,omitzero"`
	// SQLAt is when mysqld last answered over TLS, zero for never.
	SQLAt time.Time `json:"sql_at,omitzero"`
	// Closed says that the last answer showed read_only.
	Closed bool `json:"closed,omitempty"`
	// SQLFailure is the kind of the last failure, empty after a success.
	SQLFailure Failure `json:"sql_failure,omitempty"`
	// SQLFailures counts failures in a row.
	SQLFailures int `json:"sql_failures,omitempty"`
}

// Heard returns the observation with a daemon's answer added, asked for at
// asked and heard at heard.
func (o Observation) Heard(live Live, asked, heard time.Time) Observation {
	if !o.DaemonAt.IsZero() && o.Live.StartID == live.StartID {
		o.ExecutedBefore, o.AllBefore, o.BeforeAt = o.Live.Executed, o.Live.All(), o.DaemonAt.Add(-o.Live.Age)
		o.CommitBefore = time.Time{}
		if o.Live.CommitKnown {
			o.CommitBefore = o.DaemonAt.Add(-o.Live.CommitReadAge)
		}
	} else {
		// What another run had executed says nothing of this one.
		o.ExecutedBefore, o.AllBefore, o.BeforeAt, o.CommitBefore, o.RunSince = gtid.Set{}, gtid.Set{}, time.Time{}, time.Time{}, heard
	}
	if live.Receiver == ReceiverOn {
		o.ReceivingAt = heard
	}
	switch {
	case live.OpenTerm != 0:
		o.NotOpenSince = time.Time{}
	case o.NotOpenSince.IsZero():
		o.NotOpenSince = heard
	}
	switch acks := live.Answers && live.Receiver == ReceiverOn && live.Acks; {
	case !acks:
		o.AckingSince = time.Time{}
	case o.AckingSince.IsZero():
		o.AckingSince = heard
	}
	o.DaemonAt, o.Live = asked, live
	return o
}

// Failure is how a remote probe of mysqld failed.
type Failure string

// The failures. Errors that prove a server alive are no failure at all.
const (
	FailureNone Failure = ""
	// FailureRefused: the host answered that nobody listens.
	FailureRefused Failure = "refused"
	// FailureSilent: no answer in time.
	FailureSilent Failure = "silent"
	// FailureBroken: a kept connection ended, or another error came.
	FailureBroken Failure = "broken"
)

// ReceiverState is the state of a replica's receiver thread.
type ReceiverState string

// The receiver states, as MySQL names them; unknown is a value of its own.
const (
	ReceiverUnknown    ReceiverState = ""
	ReceiverOn         ReceiverState = "ON"
	ReceiverOff        ReceiverState = "OFF"
	ReceiverConnecting ReceiverState = "CONNECTING"
)

// Live are the running figures of one server, served by its daemon over HTTPS
// and never written to etcd.
type Live struct {
	// Server is whose figures these are, At when its daemon read them, by its
	// own clock; Age how old they were when they were served.
	Server string        `json:"server"`
	At     time.Time     `json:"at"`
	Age    time.Duration `json:"age_ns"`
	// Process is the state of the mysqld process, StartID its run.
	Process Process `json:"process"`
	StartID string  `json:"start_id,omitempty"`
	// ServerID is its server_id, 0 for unknown.
	ServerID uint32 `json:"server_id,omitempty"`
	// Answers says whether the local mysqld answered the last local probe.
	Answers bool `json:"answers"`
	// ReadOnly and SuperReadOnly are the variables; Offline is offline_mode.
	ReadOnly      bool `json:"read_only"`
	SuperReadOnly bool `json:"super_read_only"`
	Offline       bool `json:"offline_mode"`
	// Executed is gtid_executed, Received what the receiver has fetched.
	Executed gtid.Set `json:"executed"`
	Received gtid.Set `json:"received"`
	// Receiver and Applier are the threads' states, Source whom it follows.
	Receiver ReceiverState `json:"receiver,omitempty"`
	Applier  ReceiverState `json:"applier,omitempty"`
	Source   string        `json:"source,omitempty"`
	// SourceUUID is the server_uuid of who answered there last, empty for nobody.
	SourceUUID string `json:"source_uuid,omitempty"`
	// Waits says that its own commits wait for replicas.
	Waits bool `json:"waits,omitempty"`
	// ReceiverError and ApplierError are MySQL's, code and text; code 0: none.
	ReceiverErrno int    `json:"receiver_errno,omitempty"`
	ReceiverError string `json:"receiver_error,omitempty"`
	ApplierErrno  int    `json:"applier_errno,omitempty"`
	ApplierError  string `json:"applier_error,omitempty"`
	// ContactAge is how long ago the receiver last heard from its source.
	ContactAge time.Duration `json:"contact_age_ns"`
	// Acks says that the running receiver acknowledges.
	Acks bool `json:"acks"`
	// AckEnabled is rpl_semi_sync_replica_enabled.
	AckEnabled bool `json:"ack_enabled"`
	// Lag is how far the applier is behind in time, LagKnown whether known.
	Lag      time.Duration `json:"lag_ns"`
	LagKnown bool          `json:"lag_known"`
	// HeartbeatAge is how long ago the primary wrote the newest heartbeat row that a
	// replica has applied, by the two hosts' clocks; HeartbeatKnown whether known.
	// A receiver that has just connected again knows no lag of what it missed.
	HeartbeatAge   time.Duration `json:"heartbeat_age_ns"`
	HeartbeatKnown bool          `json:"heartbeat_known"`
	// Delay is by how much the applier is late on purpose, SOURCE_DELAY.
	Delay time.Duration `json:"delay_ns,omitempty"`
	// LagTransactions is what was received and not yet executed.
	LagTransactions uint64 `json:"lag_transactions"`
	// Attached are the semi-sync replicas attached to a primary.
	Attached int `json:"attached"`
	// Clone is how far the clone is that replaces its data; zero for none.
	Clone CloneProgress `json:"clone,omitzero"`
	// Disk is how full its disk is; zero while that is not known.
	Disk Disk `json:"disk,omitzero"`
	// OpenTerm is the term in which it takes writes.
	OpenTerm uint64 `json:"open_term"`
	// CommitAge is how long ago the last acknowledged commit of the primary's
	// own heartbeat was begun; CommitPending how long one has been waiting.
	CommitAge     time.Duration `json:"commit_age_ns"`
	CommitPending time.Duration `json:"commit_pending_ns"`
	// CommitReadAge is how long ago the last own commit was begun that had been
	// acknowledged before Executed was read; CommitKnown whether there is one.
	CommitReadAge time.Duration `json:"commit_read_age_ns"`
	CommitKnown   bool          `json:"commit_known"`
	// CommitLocked says that the pending commit waits for somebody's lock and
	// not for the disk or for replicas.
	CommitLocked bool `json:"commit_locked"`
	// RecordSeen is the highest version of the record that the daemon has seen.
	RecordSeen uint64 `json:"record_seen"`
}

// CloneProgress is how far a clone is.
type CloneProgress struct {
	// Stage is what MySQL does now, in its own words, such as "file copy".
	Stage string `json:"stage,omitempty"`
	// Done of Total bytes are here, after For.
	Done  uint64        `json:"done_bytes"`
	Total uint64        `json:"total_bytes"`
	For   time.Duration `json:"for_ns"`
}

// String tells it with the rate so far, in bytes a second, and how long the rest
// takes at that rate; empty before anything is known.
func (p CloneProgress) String() string {
	if p.Total == 0 || p.For <= 0 {
		return ""
	}
	rate := float64(p.Done) / p.For.Seconds()
	text := fmt.Sprintf("%d %% of %s, %s/s", min(100, 100*p.Done/p.Total), bytesText(p.Total), bytesText(uint64(rate)))
	if p.Stage != "" {
		text = p.Stage + ", " + text
	}
	if left := p.Total - min(p.Done, p.Total); left > 0 && rate > 0 {
		text += fmt.Sprintf(", about %s left", time.Duration(float64(left)/rate*float64(time.Second)).Round(time.Second))
	}
	return text
}

// Disk is how full the file system is that a server's data lies on, in bytes.
type Disk struct {
	// Free may still be written.
	Free uint64 `json:"free_bytes"`
	// Data is what a clone would copy of the server, Logs its binary and relay
	// logs in the data directory.
	Data uint64 `json:"data_bytes"`
	Logs uint64 `json:"logs_bytes"`
}

func (d Disk) known() bool { return d.Data > 0 }

// room is how much the disk could take if all that is the server's were replaced.
func (d Disk) room() uint64 { return d.Free + d.Data + d.Logs }

// bytesText tells a number of bytes as people do.
func bytesText(n uint64) string {
	for _, unit := range []struct {
		size uint64
		name string
	}{{1e12, "TB"}, {1e9, "GB"}, {1e6, "MB"}, {1e3, "kB"}} {
		if n >= unit.size {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(unit.size), unit.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}

// All returns all the server has of the data.
func (l Live) All() gtid.Set { return l.Executed.Union(l.Received) }

// Settings are what the deciding code is tuned by; all durations, all checked
// by the config package against each other.
type Settings struct {
	// ProbeInterval is the period of the leader's probes. What they saw is
	// fresh for twice as long.
	ProbeInterval time.Duration
	// Detection is the silence after which a primary counts as dead.
	Detection time.Duration
	// Stall is how long a primary's own commit may be pending, although enough
	// replicas are there to acknowledge it, before the primary counts as dead.
	Stall time.Duration
	// FenceDeadline is after how long a primary without proof closes itself.
	FenceDeadline time.Duration
	// RemovalDelay is the absence after which a replica leaves the in-sync set.
	RemovalDelay time.Duration
	// Lonely is how long nothing must have been acknowledged on a primary without
	// replicas before it is closed to give its data to a new one.
	Lonely time.Duration
	// RequiredAcks is k for a new cluster, Durability its durability; empty is
	// lossless.
	RequiredAcks int
	Durability   Durability
	// MaxLag is how far a candidate may be behind in async, unless the policy
	// says otherwise.
	MaxLag time.Duration
	// Silenced is how long after its lease has gone a primary in async is certain
	// not to acknowledge any more: its fence deadline and what fencing may take.
	Silenced time.Duration
	// BootstrapPrimary is the first primary of a cluster without a record.
	BootstrapPrimary string
}

// under returns the settings with what the operator wants in place of what is
// configured.
func (s Settings) under(p *Policy) Settings {
	if p == nil {
		return s
	}
	if p.Detection > 0 && s.Detection > 0 {
		s.Stall = time.Duration(float64(s.Stall) * float64(p.Detection) / float64(s.Detection))
		s.Detection = p.Detection
	}
	if p.RemovalDelay > 0 && s.RemovalDelay > 0 {
		s.Lonely = time.Duration(float64(s.Lonely) * float64(p.RemovalDelay) / float64(s.RemovalDelay))
		s.RemovalDelay = p.RemovalDelay
	}
	return s
}

// Fresh returns for how long a probe's answer counts: two probe intervals.
func (s Settings) Fresh() time.Duration { return 2 * s.ProbeInterval }
