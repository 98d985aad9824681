package redirect

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Target is one server and where the redirector dials it.
type Target struct {
	// Server is its name in the cluster.
	Server string
	// Address is host:port of its MySQL port.
	Address string
}

// Route says where connections go.
type Route struct {
	// Term is the number of the writer; it grows with each promotion.
	Term uint64
	// Writer is the server that is open for writes in Term. Nil means that nobody is open: new connections are held.
	Writer *Target
	// Readers are the replicas that are fresh enough to be read from.
	Readers []Target
	// Servers are the names of all servers of the cluster. Sessions with another are cut, unless there are none.
	Servers []string
}

// Router tells the redirector where connections go.
type Router interface {
	// Route returns the current route at once; the caller and the Router leave its contents unchanged.
	Route() Route
	// Changed returns a channel that is closed at the first change after the call. So that no change is missed it is
	// called before Route.
	Changed() <-chan struct{}
}

const (
	// DefaultHold is how long a connection waits for a server, unless Options says otherwise.
	DefaultHold = 10 * time.Second
	// DefaultDialTimeout bounds one dial, unless Options says otherwise.
	DefaultDialTimeout = time.Second
)

// Options are the settings of a Redirector.
type Options struct {
	// WriteListen and ReadListen are the host:port to listen on; empty switches that port off, but not both.
	WriteListen, ReadListen string
	// Hold is how long after its acceptance a connection waits for a server; 0 means DefaultHold.
	Hold time.Duration
	// Drain is how long sessions may go on after the redirector was told to stop; 0 cuts them at once.
	Drain time.Duration
	// DialTimeout bounds one dial to a server; 0 means DefaultDialTimeout.
	DialTimeout time.Duration
	// ReadFallback sends reads to the primary when no replica is fresh or none can be reached.
	ReadFallback bool
	// MaxSessions bounds the connections of both ports together, held ones included; above it clients get error 1040.
	// 0 means no bound.
	MaxSessions int
	// TLSOnly lets a client's first words through only if they ask for TLS, and bounds how many greeted clients of one
	// address may owe an answer, Handshakes, 0 for DefaultHandshakes, and for how long, HandshakeTimeout, 0 for
	// DefaultHandshakeTimeout. Others of that address wait meanwhile.
	TLSOnly          bool
	Handshakes       int
	HandshakeTimeout time.Duration
	// Logger is required.
	Logger *slog.Logger
	// Observer may be nil.
	Observer Observer
}

// complete fills in defaults and reports all faults at once.
func (o Options) complete() (Options, error) {
	var faults []error
	if o.WriteListen == "" && o.ReadListen == "" {
		faults = append(faults, errors.New("neither a write nor a read port is set"))
	}
	if o.Hold < 0 {
		faults = append(faults, fmt.Errorf("hold is %s", o.Hold))
	}
	if o.Drain < 0 {
		faults = append(faults, fmt.Errorf("drain is %s", o.Drain))
	}
	if o.DialTimeout < 0 {
		faults = append(faults, fmt.Errorf("dial timeout is %s", o.DialTimeout))
	}
	if o.MaxSessions < 0 {
		faults = append(faults, fmt.Errorf("the maximum of sessions is %d", o.MaxSessions))
	}
	if o.Logger == nil {
		faults = append(faults, errors.New("no logger is given"))
	}
	if o.Handshakes < 0 || o.HandshakeTimeout < 0 {
		faults = append(faults, fmt.Errorf("%d handshakes of an address may take %s", o.Handshakes, o.HandshakeTimeout))
	}
	if o.Handshakes == 0 {
		o.Handshakes = DefaultHandshakes
	}
	if o.HandshakeTimeout == 0 {
		o.HandshakeTimeout = DefaultHandshakeTimeout
	}
	if o.Hold == 0 {
		o.Hold = DefaultHold
	}
	if o.DialTimeout == 0 {
		o.DialTimeout = DefaultDialTimeout
	}
	if o.Observer == nil {
		o.Observer = deaf{}
	}
	return o, errors.Join(faults...)
}
