package decide

import (
	"maps"
	"slices"
	"time"

	"github.com/mysqlha/mysqlha/replication/gtid"
)

// Record is the one key in etcd that says who the primary is. Every change of
// it compares its revision and the leader key's, so it has one history.
type Record struct {
	// Version grows by one with each change of the record. Whoever has seen a
	// higher one knows that etcd was restored from an old backup (S1).
	Version uint64 `json:"version"`
	// Term is the number of the writer: 0 until the first term is published,
	// then one more with each promotion (S1).
	Term uint64 `json:"term"`
	// Primary is the server that takes writes in this term.
	Primary string `json:"primary"`
	// InSync is the in-sync set: the replicas that may acknowledge (S3).
	InSync []string `json:"in_sync"`
	// Runs holds, for each of them, the run of its mysqld in which it was last
	// known to hold all that the primary had executed at one moment, or in which
	// it was listed before it could acknowledge anything of this term. One that
	// restarted since is unknown until the former is seen (S4).
	Runs map[string]string `json:"runs,omitempty"`
	// RequiredAcks is k: how many of them must have a transaction before its
	// commit is acknowledged.
	RequiredAcks int `json:"required_acks"`
	// Durability is what is promised; see Suspended for what is in force.
	Durability Durability `json:"durability"`
	// Suspended says that the primary may acknowledge a write that no replica
	// has: always in async, and in available while too few replicas are left. It
	// is written before the primary ceases to wait, and removed after it was
	// seen to wait again (S2).
	Suspended bool `json:"suspended,omitempty"`
	// Complete says that the term was opened with all that servers of the term
	// before could have committed (S6).
	Complete bool `json:"complete"`
	// CompleteSince is the lowest term after which every one was opened complete.
	// What a server wrote as the primary of it or of a later one, and the newest
	// term does not hold, is known to have been committed in no engine (S6).
	CompleteSince uint64 `json:"complete_since,omitempty"`
	// Base is what the term began with: all that its primary had when it was
	// published.
	Base gtid.Set `json:"base"`
	// Published is when this term was published, by the leader's clock.
	Published time.Time `json:"published,omitzero"`
	// Answered are the requests for a switchover that were answered last.
	Answered []string `json:"answered,omitempty"`
	// ID tells this cluster from any other, from its first term on.
	ID string `json:"id,omitempty"`
	// Failovers are when the last ones were published that nobody had asked for.
	Failovers []time.Time `json:"failovers,omitempty"`
	// Servers are those of the cluster. Until they stand here they are those of the
	// configuration. Accounts are theirs and the witnesses', which the primary keeps.
	Servers  []Server  `json:"servers,omitempty"`
	Accounts []Account `json:"accounts,omitempty"`
	// Plan is the open plan, nil when none is.
	Plan *Plan `json:"plan,omitempty"`
}

// PlanKind names what a plan is for.
type PlanKind string

// The kinds of plan.
const (
	// PlanBootstrap opens the first term of a cluster of empty servers.
	PlanBootstrap PlanKind = "bootstrap"
	// PlanAdopt takes over a running cluster whose primary goes on taking writes.
	PlanAdopt PlanKind = "adopt"
	// PlanFailover moves the cluster off a primary that is dead.
	PlanFailover PlanKind = "failover"
	// PlanSwitchover moves a primary that is well, because somebody asked for it.
	PlanSwitchover PlanKind = "switchover"
	// PlanRenew begins a new term of the same primary with new followers, because
	// the only ones left must be cloned from it.
	PlanRenew PlanKind = "renew"
	// PlanRemove takes one replica out of the in-sync set (S3).
	PlanRemove PlanKind = "remove"
	// PlanRaiseAcks raises the required acks: first at the primary, then, proven
	// by a commit, in the record (S3).
	PlanRaiseAcks PlanKind = "raise-acks"
	// PlanJoin makes the accounts of a new server and records it, PlanLeave drops
	// those of one that leaves and is out of the in-sync set.
	PlanJoin  PlanKind = "join"
	PlanLeave PlanKind = "leave"
	// PlanResume ends a suspension: replicas that have caught up are listed and
	// acknowledge, the primary waits for them again and proves it by a commit.
	PlanResume PlanKind = "resume"
)

// PlanKinds returns all of them.
func PlanKinds() []PlanKind {
	return []PlanKind{PlanBootstrap, PlanAdopt, PlanFailover, PlanSwitchover, PlanRenew, PlanRemove, PlanJoin, PlanLeave, PlanRaiseAcks, PlanResume}
}

// Phase is how far a plan has come. It changes only in etcd, and what a phase
// needs is journaled with it.
type Phase string

// The phases. A failover goes through revoke, promote and open, and so does a new
// term of the same primary; a switchover prepares and closes instead of revoking; a
// bootstrap
// through accounts, attach and open; a removal has eject alone, raising the
// required acks and resuming have prove, adopting, joining and leaving accounts.
const (
	// PhaseRevoke stops the in-sync replicas from receiving and reads what
	// they have (S4). Until it ends the plan can be abandoned.
	PhaseRevoke Phase = "revoke"
	// PhasePrepare has the candidate begin a new binary log, while writes go on: one
	// that does not answer costs nothing then (switchover).
	PhasePrepare Phase = "prepare"
	// PhaseClose lets the primary end its sessions and close itself (switchover).
	// Until it ends the plan can be taken back.
	PhaseClose Phase = "close"
	// PhasePromote has the choice journaled: the candidate applies, the others
	// follow it. There is no way back to the old primary (S5).
	PhasePromote Phase = "promote"
	// PhaseOpen has the term published: the primary makes its own commit and
	// opens (S2).
	PhaseOpen Phase = "open"
	// PhaseAccounts makes schema and accounts on the first primary, or changes them
	// for one server.
	PhaseAccounts Phase = "accounts"
	// PhaseAttach lets the first replicas attach and receive.
	PhaseAttach Phase = "attach"
	// PhaseEject locks the leaver out at the primary and proves it.
	PhaseEject Phase = "eject"
	// PhaseProve waits for a commit of the primary under the new rule.
	PhaseProve Phase = "prove"
)

// Plan is work in several steps, saved in the record before its first act.
type Plan struct {
	// ID is unique among all plans of the cluster.
	ID string `json:"id"`
	// Kind says what the plan is for.
	Kind PlanKind `json:"kind"`
	// Phase is how far it has come.
	Phase Phase `json:"phase"`
	// Reason is why it was opened.
	Reason Reason `json:"reason"`
	// Evidence is what was seen, in words, for the history.
	Evidence string `json:"evidence,omitempty"`
	// Leader opened the plan.
	Leader string `json:"leader"`
	// Marks are the moments at which it reached each phase, oldest first.
	Marks []Mark `json:"marks"`
	// From is the primary that the plan leaves (failover).
	From string `json:"from,omitempty"`
	// Revoking are the replicas that could acknowledge in the old term.
	Revoking []string `json:"revoking,omitempty"`
	// Sets are what the revoked replicas had, read after their stop (S4).
	Sets map[string]Held `json:"sets,omitempty"`
	// Target is the union of Sets: what the new term must hold (S5).
	Target gtid.Set `json:"target"`
	// Candidate is the server chosen to be primary.
	Candidate string `json:"candidate,omitempty"`
	// NewInSync are the replicas that may acknowledge to the candidate. The
	// plan lists them before they are enabled (S3).
	NewInSync []string `json:"new_in_sync,omitempty"`
	// Request is the one that is answered (switchover, failover by hand), Drain how long open transactions may go
	// on, Cut what sessions were ended (switchover).
	Request string        `json:"request,omitempty"`
	Drain   time.Duration `json:"drain_ns,omitempty"`
	Cut     SessionsCut   `json:"cut,omitzero"`
	// Closing are times that the old primary measured as it closed, in milliseconds.
	Closing map[string]float64 `json:"closing,omitempty"`
	// Wanted is who shall be primary if it is as good as others (failover by hand).
	// Override is what a human allows, nil for nothing.
	Wanted   string    `json:"wanted,omitempty"`
	Override *Override `json:"override,omitempty"`
	// Trouble is why another than the first choice was made.
	Trouble string `json:"trouble,omitempty"`
	// Joining is the new server (join).
	Joining *Server `json:"joining,omitempty"`
	// Server is the one that leaves (removal, leave) or joins.
	Server string `json:"server,omitempty"`
	// RequiredAcks is the new k (raising it).
	RequiredAcks int `json:"required_acks,omitempty"`
	// Lost are the transactions that the old primary is known to have had and
	// the new term has not; only in async can there be any, and where a human has
	// allowed it.
	Lost gtid.Set `json:"lost"`
}

// Mark is one moment of a plan, by the leader's clock.
type Mark struct {
	// Name is a phase, "done", or "detected" for when the evidence arrived.
	Name string `json:"name"`
	// At is when it was reached.
	At time.Time `json:"at"`
}

// Held is what one replica had of the data at one moment.
type Held struct {
	// Executed is its gtid_executed.
	Executed gtid.Set `json:"executed"`
	// Received is what its receiver had fetched, applied or not.
	Received gtid.Set `json:"received"`
	// StartID tells one run of its mysqld from the next.
	StartID string `json:"start_id"`
	// Reported is the last gtid_executed of the primary that it knows from the
	// heartbeat row, ReportedAt when that row was written, by the primary's
	// clock.
	Reported   gtid.Set  `json:"reported"`
	ReportedAt time.Time `json:"reported_at,omitzero"`
}

// All returns everything the replica has: executed united with received. Never
// count received alone: changing the source empties it.
func (h Held) All() gtid.Set { return h.Executed.Union(h.Received) }

// promoting tells whether such a plan has chosen: what the next term begins with
// is journaled, and there is no way back.
func (r Record) promoting() bool {
	return r.Plan != nil && r.Plan.Promotes() && r.Plan.Phase == PhasePromote
}

// Promotes tells whether the plan leads to a new term by a choice among servers
// that have data.
func (p Plan) Promotes() bool {
	return p.Kind == PlanFailover || p.Kind == PlanSwitchover || p.Kind == PlanRenew
}

// Holds tells whether nobody takes writes in this phase of the plan.
func (p Plan) Holds() bool {
	return p.Promotes() && p.Phase != PhaseOpen && p.Phase != PhasePrepare
}

// clone returns a copy that shares nothing that Decide changes.
func (r Record) clone() Record {
	r.InSync = slices.Clone(r.InSync)
	r.Runs = maps.Clone(r.Runs)
	r.Answered = slices.Clone(r.Answered)
	r.Failovers = slices.Clone(r.Failovers)
	if r.Plan != nil {
		p := r.Plan.clone()
		r.Plan = &p
	}
	return r
}

func (p Plan) clone() Plan {
	p.Marks = slices.Clone(p.Marks)
	p.Revoking = slices.Clone(p.Revoking)
	p.NewInSync = slices.Clone(p.NewInSync)
	p.Sets = maps.Clone(p.Sets)
	return p
}

// PhaseSince returns when the plan reached its phase.
func (p Plan) PhaseSince() time.Time {
	if len(p.Marks) == 0 {
		return time.Time{}
	}
	return p.Marks[len(p.Marks)-1].At
}

// History is what remains of a term or a plan once it has ended.
type History struct {
	// Term is the term that the plan led to.
	Term uint64 `json:"term"`
	// Plan is the plan as it ended, with its evidence, sets and marks.
	Plan Plan `json:"plan"`
	// Primary is the server that the plan made primary.
	Primary string `json:"primary"`
	// InSync is the in-sync set with which the term began.
	InSync []string `json:"in_sync"`
	// Complete is copied from the record.
	Complete bool `json:"complete"`
	// Result is "completed", or says how else the plan ended.
	Result string `json:"result"`
	// Steps are times that the servers themselves measured, in milliseconds.
	Steps map[string]float64 `json:"steps,omitempty"`
}
