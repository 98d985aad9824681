package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"
)

// The bounds of the endpoint. They are far above what health checks, the other
// daemons and a few people need, and keep a client that misbehaves from taking
// more than its share of a database host.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	writeTimeout      = 30 * time.Second
	idleTimeout       = time.Minute
	maxHeaderBytes    = 16 << 10
	// maxConnections bounds all connections, maxOfAddress those of one address: whoever
	// opens hundreds and says nothing keeps nobody else out.
	maxConnections = 512
	maxOfAddress   = 64
	// backendTimeout bounds what a backend may take for one answer.
	backendTimeout = 5 * time.Second
	// fenceTimeout is more than all stages of a fence and their undoing may take.
	fenceTimeout = 20 * time.Second
	// stopTimeout is what answers under way get when the server stops.
	stopTimeout = 2 * time.Second
)

// Options are what a server is made of.
type Options struct {
	// Listen is the host:port to listen on, such as :8008.
	Listen string
	// TLS holds the own certificate; clients may show one (see
	// certs.OptionalClientServerConfig).
	TLS *tls.Config
	// Backend answers for the cluster, Member for the server beside the daemon;
	// Member is nil on a host without one, whose health checks then say so with
	// 503.
	Backend Backend
	Member  Member
	// Version is the daemon's, for the description of the endpoint.
	Version string
	// Metrics serves /metrics; nil leaves the path unknown.
	Metrics http.Handler
	// Tokens are what callers may use instead of a certificate; nil for none.
	Tokens *Tokens
	// ReadsNeedRole says that who has no role sees the health checks alone.
	ReadsNeedRole bool
	// Observer is told of requests; nil for nobody.
	Observer Observer
	// Logger takes what goes wrong with single connections, at debug level:
	// load balancers that only open and close a connection are no fault.
	Logger *slog.Logger
	// Audit takes what was asked for by whom; nil takes Logger.
	Audit *slog.Logger
}

// nobody is an observer that takes no notice.
type nobody struct{}

func (nobody) Requested(string, int) {}
func (nobody) Refused(string)        {}

// HTTPServer is the HTTPS endpoint of a daemon. Call Listen once, then Run once.
type HTTPServer struct {
	options  Options
	http     *http.Server
	listener net.Listener
	stopping chan struct{}
	paths    []string
}

// Paths returns all that are answered, sorted.
func (s *HTTPServer) Paths() []string { return slices.Clone(s.paths) }

// NewServer returns a server that does not listen yet.
func NewServer(o Options) (*HTTPServer, error) {
	if o.TLS == nil || o.Backend == nil || o.Logger == nil {
		return nil, errors.New("the API needs TLS, a backend and a logger")
	}
	if o.Observer == nil {
		o.Observer = nobody{}
	}
	if o.Audit == nil {
		o.Audit = o.Logger
	}
	// HTTP/1.1 alone: a poll that times out closes its connection, so the next
	// one dials anew, where HTTP/2 would go on writing into a dead connection;
	// and requests that come one by one gain nothing from streams.
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	h := newHandler(o)
	return &HTTPServer{options: o, stopping: h.stopping, paths: h.paths, http: &http.Server{
		Handler:           h,
		TLSConfig:         o.TLS,
		Protocols:         protocols,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug),
		ConnState:         (&silent{told: o.Observer}).state,
	}}, nil
}

// Listen takes the address. An error names it and, where another process has
// it, says so.
func (s *HTTPServer) Listen() error {
	l, err := net.Listen("tcp", s.options.Listen)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("the API cannot listen on %s: another process does; stop that one or change api.listen: %w", s.options.Listen, err)
	case err != nil:
		return fmt.Errorf("the API cannot listen on %s: %w", s.options.Listen, err)
	}
	s.listener = newLimited(l, maxConnections, maxOfAddress, s.options.Logger, s.options.Observer)
	return nil
}

// Addr returns the address that Listen took, nil before it did.
func (s *HTTPServer) Addr() net.Addr {
	if s.listener == nil {
		return nil
	}
	return s.listener.Addr()
}

// Run serves until ctx ends, lets answers under way finish for at most two
// seconds, and then cuts them. It returns nil when ctx ended it, and the error
// that ended the serving otherwise.
func (s *HTTPServer) Run(ctx context.Context) error {
	if s.listener == nil {
		return errors.New("the API does not listen: Listen was not called")
	}
	served := make(chan error, 1)
	go func() { served <- s.http.ServeTLS(s.listener, "", "") }()
	select {
	case err := <-served:
		return errors.Join(fmt.Errorf("serving the API on %s: %w", s.Addr(), err), s.http.Close())
	case <-ctx.Done():
	}
	close(s.stopping)
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	err := s.http.Shutdown(stop)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close()
	}
	<-served
	if err != nil {
		return fmt.Errorf("stopping the API on %s: %w", s.Addr(), err)
	}
	return nil
}

// limited is a listener that closes connections beyond a number at once, of all
// and of one address: a health check that is refused is repeated, one that waits in
// a queue lies.
type limited struct {
	net.Listener
	most, mostOfOne int
	logger          *slog.Logger
	told            Observer

	mu   sync.Mutex
	open int
	of   map[netip.Addr]int
}

func newLimited(inner net.Listener, most, mostOfOne int, logger *slog.Logger, told Observer) *limited {
	return &limited{Listener: inner, most: most, mostOfOne: mostOfOne, logger: logger, told: told, of: make(map[netip.Addr]int)}
}

func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := addressOf(c)
		if l.enter(from) {
			return &counted{Conn: c, done: func() { l.leave(from) }}, nil
		}
		l.logger.Debug("refused a connection of the API, because there are too many", "client", c.RemoteAddr().String())
		l.told.Refused(refusedConnection)
		c.Close() // nothing was written, so nothing can be lost
	}
}

func (l *limited) enter(from netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.most || l.of[from] >= l.mostOfOne {
		return false
	}
	l.open++
	l.of[from]++
	return true
}

func (l *limited) leave(from netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if l.of[from]--; l.of[from] == 0 {
		delete(l.of, from)
	}
}

// addressOf is where a connection comes from, zero for what is no address.
func addressOf(c net.Conn) netip.Addr {
	a, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	from := a.AddrPort().Addr().Unmap().WithZone("")
	if from.Is6() { // One host has a whole network of them.
		if network, err := from.Prefix(64); err == nil {
			return network.Addr()
		}
	}
	return from
}

// counted gives its place back once, however often it is closed.
type counted struct {
	net.Conn
	once sync.Once
	done func()
}

func (c *counted) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.done)
	return err
}

// silent notices connections that end before their first request: those of no TLS, of a
// certificate that proves nothing, and of nobody who says anything.
type silent struct {
	told Observer
	new  sync.Map // the net.Conn of each that has made no request yet
}

func (s *silent) state(c net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.new.Store(c, nil)
	case http.StateActive:
		s.new.Delete(c)
	case http.StateClosed:
		if _, was := s.new.LoadAndDelete(c); was {
			s.told.Refused(refusedHandshake)
		}
	}
}
