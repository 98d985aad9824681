package decide

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/mysqlha/mysqlha/replication/gtid"
)

// Durability says what an acknowledgement to a client promises.
type Durability string

// The durabilities.
const (
	// DurabilityLossless acknowledges a commit only once the required number of
	// replicas has it; with too few of them, writes wait.
	DurabilityLossless Durability = "lossless"
	// DurabilityAvailable is lossless as long as enough replicas are there. When
	// too few are left it is recorded that the primary acknowledges alone, and
	// until that has ended there is no failover.
	DurabilityAvailable Durability = "available"
	// DurabilityAsync never waits for a replica. A failover loses what no replica
	// had received, and waits until the old primary cannot acknowledge any more.
	DurabilityAsync Durability = "async"
)

// Durabilities returns all of them, the safest first.
func Durabilities() []Durability {
	return []Durability{DurabilityLossless, DurabilityAvailable, DurabilityAsync}
}

// AutoRejoin says what is done to a server that holds what the primary does not.
type AutoRejoin string

// What may be done without asking a human.
const (
	// AutoRejoinClone rewinds a server, or else builds it anew as a clone.
	AutoRejoinClone AutoRejoin = "clone"
	// AutoRejoinRewind only rewinds it.
	AutoRejoinRewind AutoRejoin = "rewind"
	// AutoRejoinOff leaves it as it is.
	AutoRejoinOff AutoRejoin = "off"
)

// AutoRejoins returns all of them, the helpful one first.
func AutoRejoins() []AutoRejoin {
	return []AutoRejoin{AutoRejoinClone, AutoRejoinRewind, AutoRejoinOff}
}

// Policy is what the operator wants of the cluster while it runs. It stands in
// etcd; the record says what is in force.
type Policy struct {
	// Durability is the wanted one, empty for what the record says.
	Durability Durability `json:"durability,omitempty"`
	// RequiredAcks is the wanted k, 0 for what the record says.
	RequiredAcks int `json:"required_acks,omitempty"`
	// MaxLag is how far a candidate may be behind the old primary in async, by
	// the time of the last heartbeat row it has; 0 for what the configuration
	// says.
	MaxLag time.Duration `json:"max_lag_ns,omitempty"`
	// AutoRejoin says what is done by itself to bring a server back that holds what
	// the primary does not, empty for AutoRejoinClone.
	AutoRejoin AutoRejoin `json:"auto_rejoin,omitempty"`
	// Version grows by one with each change, By is who made the last one and At when.
	Version uint64    `json:"version,omitempty"`
	By      string    `json:"by,omitempty"`
	At      time.Time `json:"at,omitzero"`
	// Cooldown bounds how often the primary is moved without a human, nil for
	// DefaultCooldown.
	Cooldown *Cooldown `json:"cooldown,omitempty"`
	// Detection and RemovalDelay are those of Settings; 0 for what the configuration
	// says.
	Detection    time.Duration `json:"detection_ns,omitempty"`
	RemovalDelay time.Duration `json:"removal_delay_ns,omitempty"`
	// Candidates say, by server, who shall be primary.
	Candidates map[string]CandidateRule `json:"candidates,omitempty"`
	// Pause keeps the primary where it is until a human says otherwise, nil for none.
	Pause *Pause `json:"pause,omitempty"`
	// Bootstrap is how the cluster shall begin, nil for as configured.
	Bootstrap *BootstrapRequest `json:"bootstrap,omitempty"`
	// Rotation is what was asked for last, nil for nothing: every daemon gives its
	// accounts new passwords then.
	Rotation *RotationRequest `json:"rotation,omitempty"`
	// Failover is what was asked for last, nil for nothing.
	Failover *FailoverRequest `json:"failover,omitempty"`
	// Discard are transactions, by server, that nobody else has and that a human
	// gives up: that server may be built anew as a clone although somebody may have
	// been told of them (S7).
	Discard map[string]gtid.Set `json:"discard,omitempty"`
	// Switchover is what was asked for last, nil for nothing.
	Switchover *SwitchoverRequest `json:"switchover,omitempty"`
	// Servers are those that the cluster shall have, nil for those that it has. They
	// join and leave one at a time.
	Servers []Server `json:"servers,omitempty"`
	// Harmless are transactions, by server, that nobody else has and that a human
	// says may stay there alone: the primary makes empty ones of the same names, and
	// that server is a replica again, different by whatever they wrote (S7).
	Harmless map[string]gtid.Set `json:"harmless,omitempty"`
}

// MaxInjected is how many empty transactions are made for one server at most.
const MaxInjected = 1000

// Over returns the policy with what it leaves open taken from the record.
func (p Policy) Over(r Record) Policy {
	if p.Durability == "" {
		p.Durability = r.Durability
	}
	if p.RequiredAcks == 0 {
		p.RequiredAcks = r.RequiredAcks
	}
	return p
}

// Check returns an error that says what a cluster of so many servers cannot do.
func (p Policy) Check(servers int) error {
	switch {
	case !slices.Contains(Durabilities(), p.Durability):
		return fmt.Errorf("durability is %q, not one of %v", p.Durability, Durabilities())
	case p.RequiredAcks < 1:
		return fmt.Errorf("required_acks is %d: write 1 or more", p.RequiredAcks)
	case p.RequiredAcks > servers-1 && p.Durability != DurabilityAsync:
		return fmt.Errorf("required_acks is %d, and %d servers have %d replicas", p.RequiredAcks, servers, servers-1)
	case p.AutoRejoin != "" && !slices.Contains(AutoRejoins(), p.AutoRejoin):
		return fmt.Errorf("auto_rejoin is %q, not one of %v", p.AutoRejoin, AutoRejoins())
	case slices.ContainsFunc(slices.Collect(maps.Values(p.Harmless)), func(s gtid.Set) bool { return s.Count() > MaxInjected }):
		return fmt.Errorf("more than %d transactions would be made on the primary for one server: have it built anew instead", MaxInjected)
	case p.MaxLag < 0:
		return fmt.Errorf("max_lag is %s: write a duration such as 30s", p.MaxLag)
	}
	return nil
}
