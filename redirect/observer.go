package redirect

import "time"

// Port tells the two ports apart, in reports and in logs.
type Port string

const (
	// WritePort leads to the primary.
	WritePort Port = "write"
	// ReadPort leads to fresh replicas.
	ReadPort Port = "read"
)

// Cause says why a session ended. The set is closed, so it can be a metric label.
type Cause string

const (
	// CauseClient: the application closed first.
	CauseClient Cause = "client_closed"
	// CauseServer: mysqld closed first.
	CauseServer Cause = "server_closed"
	// CauseLost: one of the two connections broke; which one the kernel does not tell for a splice.
	CauseLost Cause = "connection_lost"
	// CauseSilent: one of the two peers acknowledged nothing of what was sent to it for 10 s.
	CauseSilent Cause = "peer_silent"
	// CauseNewTerm: the session belonged to a former primary or term, or to a server that has left the cluster, and was cut.
	CauseNewTerm Cause = "new_term"
	// CauseRefused: the client's first words were not those of one who asks for TLS.
	CauseRefused Cause = "refused"
	// CauseShutdown: the redirector was stopped.
	CauseShutdown Cause = "shutdown"
)

// Causes returns all of them.
func Causes() []Cause {
	return []Cause{CauseClient, CauseServer, CauseLost, CauseSilent, CauseNewTerm, CauseRefused, CauseShutdown}
}

// HoldOutcome says how a hold ended. The set is closed, so it can be a metric label.
type HoldOutcome string

const (
	// HoldConnected: a server took the connection.
	HoldConnected HoldOutcome = "connected"
	// HoldExpired: no server did in time, and the client got an error packet.
	HoldExpired HoldOutcome = "expired"
	// HoldClientGone: the client gave up first.
	HoldClientGone HoldOutcome = "client_gone"
	// HoldShutdown: the redirector was stopped, and the client got an error packet.
	HoldShutdown HoldOutcome = "shutdown"
)

// HoldOutcomes returns all of them.
func HoldOutcomes() []HoldOutcome {
	return []HoldOutcome{HoldConnected, HoldExpired, HoldClientGone, HoldShutdown}
}

// RefuseReason says why a connection was refused without being held. The set is closed, so it can be a metric label.
type RefuseReason string

const (
	// RefusedMaxSessions means that Options.MaxSessions connections were there already.
	RefusedMaxSessions RefuseReason = "max_sessions"
	// RefusedCrowd: too many of the same address were greeted and owe an answer, or wait for that.
	RefusedCrowd RefuseReason = "crowd"
	// RefusedPlaintext: the client wanted to go on without TLS.
	RefusedPlaintext RefuseReason = "plaintext"
	// RefusedMalformed: the client's first words were not MySQL's.
	RefusedMalformed RefuseReason = "malformed"
	// RefusedMute: the client was greeted and said nothing.
	RefusedMute RefuseReason = "mute"
)

// RefuseReasons returns all of them.
func RefuseReasons() []RefuseReason {
	return []RefuseReason{RefusedMaxSessions, RefusedCrowd, RefusedPlaintext, RefusedMalformed, RefusedMute}
}

// Observer is told what happens, for metrics. Its methods are called from many goroutines at once, in the way of the
// sessions: they must not block.
type Observer interface {
	// SessionOpened reports that a session with a server began.
	SessionOpened(port Port, server string)
	// SessionClosed reports its end, with the bytes that went from client to server (up) and back (down).
	SessionClosed(port Port, server string, bytesUp, bytesDown int64, cause Cause)
	// Held reports that a connection has to wait; HoldEnded follows for each.
	Held(port Port)
	// HoldEnded reports how long a connection waited and what came of it.
	HoldEnded(port Port, held time.Duration, outcome HoldOutcome)
	// Refused reports a connection that was turned away at once, or after its first words.
	Refused(port Port, reason RefuseReason)
	// ReadFellBack reports that a session of the read port was opened with the primary.
	ReadFellBack()
}

// deaf is the Observer of those who gave none.
type deaf struct{}

func (deaf) SessionOpened(Port, string)                      {}
func (deaf) SessionClosed(Port, string, int64, int64, Cause) {}
func (deaf) Held(Port)                                       {}
func (deaf) HoldEnded(Port, time.Duration, HoldOutcome)      {}
func (deaf) Refused(Port, RefuseReason)                      {}
func (deaf) ReadFellBack()                                   {}
