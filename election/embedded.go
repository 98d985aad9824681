package election

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const (
	defaultHeartbeat = 100 * time.Millisecond
	defaultElection  = 500 * time.Millisecond
	// quotaBytes is far above what a cluster's keys need; reaching it means that something writes without end.
	quotaBytes = 256 << 20
	// snapshotEntries keeps the raft log in memory short. The data is a few hundred small keys, so a member that was
	// away for longer gets a snapshot instead, at no cost.
	snapshotEntries = 1000
	// closeTimeout bounds the wait for etcd's end: a member whose goroutine died of a fault may never end.
	closeTimeout = 10 * time.Second
)

// ErrNotRaftLeader means that only the member that leads etcd itself can move that leadership.
var ErrNotRaftLeader = errors.New("this etcd member is not the raft leader")

// EmbeddedOptions describe one etcd member inside this process.
type EmbeddedOptions struct {
	Name            string            // of this member; a key of Members
	Dir             string            // data folder, made if absent
	ListenClientURL string            // https URL with an IP address to listen on for clients
	ListenPeerURL   string            // https URL with an IP address to listen on for other members
	AdvertiseClient string            // https URL under which clients find it; empty: ListenClientURL
	Members         map[string]string // name to https peer URL of each member, this one included; the same everywhere
	Token           string            // random name of the cluster; the same everywhere
	// JoinExisting starts a member that was let into a running cluster and has never been there. Its folder says so until
	// CameIn: a member that lost its data, or half came in, must never start as one of a new cluster.
	JoinExisting bool
	// CAFile signs all members' and clients' certificates; CertFile and KeyFile serve as server and client certificate,
	// for clients and peers alike. All are PEM files; certificate and key are read again for each connection.
	CAFile, CertFile, KeyFile string
	// PeerName is the common name that the other members' certificates must have; empty: any. Another certificate of the
	// same authority is not let in as a member.
	PeerName string
	// ClientNames are the common names of which a client\'s certificate must have one; empty: any. What a client may do
	// then is up to Protect; without this anybody whom the authority knows could fill the member with leases.
	ClientNames       []string
	HeartbeatInterval time.Duration // between members; 0 means 100 ms
	ElectionTimeout   time.Duration // at least five heartbeats; 0 means 500 ms
	Logger            *slog.Logger  // gets etcd's warnings, and its information as debug lines; nil discards
}

// Embedded is a running member.
type Embedded struct {
	etcd  *embed.Etcd
	name  string
	errs  chan error
	fatal chan error
	stop  chan struct{}
	once  sync.Once
	ended chan struct{}
}

// StartEmbedded starts a member and returns as soon as it listens; Ready tells when it has joined a quorum. With an empty
// folder it first asks the other members, for a few seconds at most, whether they already know it. The error names the
// address if a port is taken, and wraps ErrForeignDir if the folder is another's.
func StartEmbedded(ctx context.Context, o EmbeddedOptions) (*Embedded, error) {
	fatal := make(fatalHook, 1)
	config, err := o.config(fatal)
	if err != nil {
		return nil, fmt.Errorf("etcd member %q: %w", o.Name, err)
	}
	if err := claimDir(o.Dir, marker{Token: o.Token, Name: o.Name, Joining: o.JoinExisting}); err != nil {
		return nil, fmt.Errorf("etcd member %q: %w", o.Name, err)
	}
	etcd, err := startEtcd(config, fatal)
	if err != nil {
		return nil, fmt.Errorf("etcd member %q: %w", o.Name, o.explain(err))
	}
	e := &Embedded{
		etcd: etcd, name: o.Name, errs: make(chan error, 1), fatal: fatal,
		stop: make(chan struct{}), ended: make(chan struct{}),
	}
	go e.wait()
	if ctx.Err() != nil {
		e.Close()
		return nil, fmt.Errorf("etcd member %q: %w", o.Name, context.Cause(ctx))
	}
	return e, nil
}

// startEtcd starts etcd from a goroutine of its own, because a fault that etcd calls fatal ends the goroutine it meets.
func startEtcd(config *embed.Config, fatal fatalHook) (*embed.Etcd, error) {
	var etcd *embed.Etcd
	err := errors.New("start did not come to its end")
	done := make(chan struct{})
	go func() {
		defer close(done)
		etcd, err = embed.StartEtcd(config)
	}()
	<-done
	if err == nil {
		return etcd, nil
	}
	select {
	case cause := <-fatal:
		return nil, cause
	default:
		return nil, err
	}
}

// explain adds to etcd's error what its reader needs in order to act on it.
func (o EmbeddedOptions) explain(err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		what := "address"
		if op := (*net.OpError)(nil); errors.As(err, &op) && op.Addr != nil {
			for _, l := range []struct{ kind, raw string }{{"peer", o.ListenPeerURL}, {"client", o.ListenClientURL}} {
				if u, perr := url.Parse(l.raw); perr == nil && u.Host == op.Addr.String() {
					what = l.kind + " address " + u.Host
				}
			}
		}
		return fmt.Errorf("%s is already in use by another process: %w", what, err)
	}
	if strings.Contains(err.Error(), "already been bootstrapped") {
		return fmt.Errorf("the data folder %s is empty, but the other members know this one: it lost its data and must be "+
			"removed from and added to the cluster again: %w", o.Dir, err)
	}
	return err
}

// config checks the options and turns them into etcd's.
func (o EmbeddedOptions) config(fatal fatalHook) (*embed.Config, error) {
	if o.Name == "" || o.Dir == "" || o.Token == "" {
		return nil, errors.New("name, data folder and token are needed")
	}
	if o.CAFile == "" || o.CertFile == "" || o.KeyFile == "" {
		return nil, errors.New("authority, certificate and key files are all needed")
	}
	if _, ok := o.Members[o.Name]; !ok {
		return nil, errors.New("it is not among the configured members")
	}
	if o.AdvertiseClient == "" {
		o.AdvertiseClient = o.ListenClientURL
	}
	c := embed.NewConfig()
	c.Name, c.Dir = o.Name, o.Dir
	for _, u := range []struct {
		what, raw string
		to        *[]url.URL
		reachable bool
	}{
		{"client address to listen on", o.ListenClientURL, &c.ListenClientUrls, false},
		{"peer address to listen on", o.ListenPeerURL, &c.ListenPeerUrls, false},
		{"client address to be found at", o.AdvertiseClient, &c.AdvertiseClientUrls, true},
		{"peer address to be found at", o.Members[o.Name], &c.AdvertisePeerUrls, true},
	} {
		parsed, err := httpsURL(u.raw, u.reachable)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", u.what, err)
		}
		*u.to = []url.URL{*parsed}
	}
	c.InitialCluster = initialCluster(o.Members)
	c.InitialClusterToken = o.Token
	if o.JoinExisting {
		c.ClusterState = embed.ClusterStateFlagExisting
	}
	tls := transport.TLSInfo{CertFile: o.CertFile, KeyFile: o.KeyFile, TrustedCAFile: o.CAFile, ClientCertAuth: true}
	c.ClientTLSInfo, c.PeerTLSInfo = tls, tls
	c.ClientTLSInfo.AllowedCNs = o.ClientNames
	if o.PeerName != "" {
		c.PeerTLSInfo.AllowedCNs = []string{o.PeerName}
	}
	c.TickMs = uint(orDefault(o.HeartbeatInterval, defaultHeartbeat).Milliseconds())
	c.ElectionMs = uint(orDefault(o.ElectionTimeout, defaultElection).Milliseconds())
	lean(c)
	zl := newZapLogger(orDiscard(o.Logger).With("member", o.Name), true, zap.WithFatalHook(fatal))
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zl)
	return c, nil
}

// lean sets what keeps a member small and its data bounded.
func lean(c *embed.Config) {
	c.AutoCompactionMode = embed.CompactorModePeriodic
	c.AutoCompactionRetention = "1h" // off by default, and then the data grows for ever
	c.QuotaBackendBytes = quotaBytes
	c.SnapshotCount, c.SnapshotCatchUpEntries = snapshotEntries, snapshotEntries
	c.MaxWalFiles = 2
	c.EnableGRPCGateway = false
	c.EnablePprof = false
	c.ListenMetricsUrls = nil
}

func initialCluster(members map[string]string) string {
	parts := make([]string, 0, len(members))
	for name, peer := range members {
		parts = append(parts, name+"="+peer)
	}
	slices.Sort(parts)
	return strings.Join(parts, ",")
}

// httpsURL parses an address; one that others shall use must not be "any".
func httpsURL(raw string, reachable bool) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("parse URL: %w", err)
	}
	if u.Scheme != "https" || u.Port() == "" {
		return nil, fmt.Errorf("%q is not of the form https://host:port", raw)
	}
	if ip := net.ParseIP(u.Hostname()); reachable && (u.Hostname() == "" || (ip != nil && ip.IsUnspecified())) {
		return nil, fmt.Errorf("%q cannot be reached from elsewhere, name an address", raw)
	}
	return u, nil
}

// fatalHook takes the place of the process's exit when etcd meets a fault it does not want to survive, such as a failed
// write to its log: that goroutine of etcd ends there, the member is dead to its peers, and the daemon lives on.
type fatalHook chan error

// OnWrite implements zapcore.CheckWriteHook.
func (h fatalHook) OnWrite(entry *zapcore.CheckedEntry, fields []zapcore.Field) {
	err := fmt.Errorf("etcd stopped itself: %s", entry.Message)
	for _, f := range fields {
		if cause, ok := f.Interface.(error); ok && f.Type == zapcore.ErrorType {
			err = fmt.Errorf("etcd stopped itself: %s: %w", entry.Message, cause)
		}
	}
	select {
	case h <- err:
	default:
	}
	zapcore.WriteThenGoexit.OnWrite(entry, fields)
}
