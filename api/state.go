package api

import (
	"slices"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication/gtid"
)

// State is a word or two on what a server is doing, for a table.
type State string

// The states of a server.
const (
	// StateOpen takes writes in the term of the record.
	StateOpen State = "open"
	// StateWritesWait is open, but a commit has waited for acknowledgements for
	// so long that applications notice.
	StateWritesWait State = "writes wait"
	// StateOpening is the primary of a plan that has not opened it yet.
	StateOpening State = "opening"
	// StateClosed is the primary by the record and takes no writes.
	StateClosed State = "closed"
	// StateOldTerm takes writes in a term that is not the record's; none of
	// them can be acknowledged.
	StateOldTerm State = "old term"
	// StateInSync follows and may acknowledge.
	StateInSync State = "in sync"
	// StateFollowing replicates and has all that the primary has.
	StateFollowing State = "following"
	// StateCatchingUp replicates and lacks something.
	StateCatchingUp State = "catching up"
	// StateConnecting has a receiver that does not reach its source.
	StateConnecting State = "connecting"
	// StateRevoked has stopped receiving for a failover.
	StateRevoked State = "revoked"
	// StatePromoting is the candidate of a failover.
	StatePromoting State = "promoting"
	// StateBroken has a replication thread that ended with an error.
	StateBroken State = "broken"
	// StateStopped has a replication thread that does not run.
	StateStopped State = "stopped"
	// StateDiverged holds transactions that the primary does not have.
	StateDiverged State = "diverged"
	// StateCloning is being built anew as a copy of another server.
	StateCloning State = "cloning"
	// StateFenced closed itself; it refuses clients.
	StateFenced State = "fenced"
	// StateOffline has offline_mode on without having fenced itself.
	StateOffline State = "offline"
	// StateStarting has a mysqld that is new and does not answer yet.
	StateStarting State = "starting"
	// StateSilent has a mysqld that exists and does not answer.
	StateSilent State = "silent"
	// StateDown has no mysqld.
	StateDown State = "down"
	// StateStanding answers and has no part in the cluster yet.
	StateStanding State = "standing"
	// StateUnreachable has a daemon that neither answers nor holds its lease.
	StateUnreachable State = "unreachable"
	// StateUnknown has a daemon that lives but did not answer.
	StateUnknown State = "unknown"
)

// noticed is how long a heartbeat commit may wait for its acknowledgement
// before the table says so: two of its periods, which a healthy cluster never
// takes.
const noticed = time.Second

// StateOf derives the state of a server from the record, nil for none, and its
// other parts; of s it reads all but State.
func StateOf(record *decide.Record, s Server) State {
	if s.Live == nil {
		return stateUnasked(s)
	}
	switch l := s.Live; {
	case s.Goal == decide.GoalClone:
		return StateCloning
	case l.Process == decide.ProcessGone, l.Process == decide.ProcessExiting:
		return StateDown
	case !l.Answers && (l.StartID == "" || l.StartID != s.Status.StartID):
		return StateStarting
	case !l.Answers:
		return StateSilent
	case s.Status.Fenced:
		return StateFenced
	case !s.Errant.IsEmpty(), s.Status.Problem == decide.CodeDiverged:
		return StateDiverged
	case l.Offline:
		return StateOffline
	}
	switch {
	case record == nil, s.Role == RoleNone, s.Role == RoleReplica && s.Goal == decide.GoalStand:
		return StateStanding
	case s.Role == RolePrimary:
		return statePrimary(*record, *s.Live)
	}
	return stateReplica(*record, s)
}

// stateUnasked is the state of a server whose daemon could not be asked; what
// it last wrote to etcd counts only where it cannot have changed since.
func stateUnasked(s Server) State {
	switch {
	case s.Member && s.Status.Process == decide.ProcessGone:
		return StateDown
	case s.Member:
		return StateUnknown
	}
	return StateUnreachable
}

func statePrimary(record decide.Record, l decide.Live) State {
	switch {
	case l.OpenTerm != 0 && l.OpenTerm != record.Term:
		return StateOldTerm
	case l.OpenTerm != 0 && l.CommitPending >= noticed:
		return StateWritesWait
	case l.OpenTerm != 0:
		return StateOpen
	case record.Plan != nil && record.Plan.Kind != decide.PlanRemove:
		return StateOpening
	}
	return StateClosed
}

func stateReplica(record decide.Record, s Server) State {
	l := *s.Live
	if l.OpenTerm != 0 {
		return StateOldTerm
	}
	if p := record.Plan; p != nil && p.Promotes() {
		switch {
		case p.Phase == decide.PhasePromote && p.Candidate == s.Name:
			return StatePromoting
		case p.Phase == decide.PhaseRevoke && slices.Contains(p.Revoking, s.Name) && l.Receiver == decide.ReceiverOff:
			return StateRevoked
		}
	}
	switch {
	case l.ReceiverErrno != 0 && l.Receiver == decide.ReceiverOff, l.ApplierErrno != 0 && l.Applier == decide.ReceiverOff:
		return StateBroken
	case l.Receiver == decide.ReceiverConnecting:
		return StateConnecting
	case l.Receiver == decide.ReceiverOff, l.Applier == decide.ReceiverOff:
		return StateStopped
	case l.Receiver == decide.ReceiverUnknown:
		return StateUnknown
	case s.InSync && l.Acks:
		return StateInSync
	case !s.Gap.IsEmpty() || s.Status.Problem == decide.CodeCatchingUp:
		return StateCatchingUp
	}
	return StateFollowing
}

// Derive fills in Role, InSync, Gap and State of each server from the record
// and the other parts of the answer.
func (c *Cluster) Derive() {
	var primary *decide.Live
	for _, s := range c.Servers {
		if c.Record != nil && s.Name == c.Record.Primary {
			primary = s.Live
		}
	}
	for i := range c.Servers {
		s := &c.Servers[i]
		s.Role = roleOf(c.Record, s.Name)
		s.InSync = c.Record != nil && slices.Contains(c.Record.InSync, s.Name)
		s.Gap = gtid.Set{}
		if s.Live != nil && primary != nil && s.Role == RoleReplica {
			s.Gap = primary.Executed.Subtract(s.Live.All())
		}
		s.State = StateOf(c.Record, *s)
	}
}

func roleOf(record *decide.Record, name string) Role {
	switch {
	case record == nil || record.Primary == "":
		return RoleNone
	case record.Primary == name:
		return RolePrimary
	}
	return RoleReplica
}

// Open tells whether a server takes writes in the term of the record, without
// making them wait.
func (c Cluster) Open() bool {
	return slices.ContainsFunc(c.Servers, func(s Server) bool { return s.State == StateOpen })
}
