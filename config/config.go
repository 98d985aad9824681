package config

import (
	"net"
	"net/url"
	"slices"
	"time"
)

// Role is one job that a daemon does on its host.
type Role string

// The roles; a host is member, redirector and etcd unless its file says
// otherwise.
const (
	// RoleMember watches over the mysqld of this host and may lead.
	RoleMember Role = "member"
	// RoleRedirector sends applications to the primary and to fresh replicas.
	RoleRedirector Role = "redirector"
	// RoleEtcd runs one member of the embedded etcd cluster.
	RoleEtcd Role = "etcd"
	// RoleWitness probes and may lead like a member, on a host without a mysqld:
	// the third vote of a cluster of two servers.
	RoleWitness Role = "witness"
)

// The durabilities; see the decide package.
const (
	// DurabilityLossless acknowledges a commit to the client only after
	// RequiredAcks replicas have it.
	DurabilityLossless = "lossless"
	// DurabilityAvailable is lossless while enough replicas are there.
	DurabilityAvailable = "available"
	// DurabilityAsync waits for no replica.
	DurabilityAsync = "async"
)

// Config is the checked configuration of one host. Treat it as read-only: it
// is shared by all parts of the daemon.
type Config struct {
	// Cluster is the name of the cluster and the prefix of its keys in etcd.
	Cluster string `yaml:"cluster"`
	// Name is the name of this host; with RoleMember it is one of Servers, with
	// RoleWitness one of Witnesses, with RoleEtcd one of Etcd.Embedded.Members.
	Name string `yaml:"name"`
	// Join says that this host comes to a cluster that exists: it never begins one,
	// and waits until `mysqlha server add` has let it in.
	Join bool `yaml:"join"`
	// Roles are the jobs of this host, without repetition; default member,
	// redirector and etcd.
	Roles []Role `yaml:"roles"`
	// DataDir is the folder of the daemon's own files: highest term seen,
	// passwords, embedded etcd. Default /var/lib/mysqlha.
	DataDir string `yaml:"data_dir"`
	// Servers are all servers of the cluster, the same list on every host.
	Servers []Server `yaml:"servers"`
	// Witnesses are the daemons without a server, the same list on every host. A
	// new cluster begins when they have registered too.
	Witnesses []Witness `yaml:"witnesses"`
	// MySQL describes the mysqld of this host; used with RoleMember only.
	MySQL MySQL `yaml:"mysql"`
	// TLS is the host's own certificate, used as server and as client.
	TLS TLS `yaml:"tls"`
	// Etcd says where etcd is and, with RoleEtcd, how to run a member of it.
	Etcd Etcd `yaml:"etcd"`
	// API is the HTTPS endpoint of this host.
	API API `yaml:"api"`
	// Redirect is the TCP redirector; used with RoleRedirector only.
	Redirect Redirect `yaml:"redirect"`
	// Bootstrap says how a cluster without a record begins.
	Bootstrap Bootstrap `yaml:"bootstrap"`
	// Durability is what an acknowledgement promises when the cluster begins;
	// later `mysqlha settings` changes it. Default DurabilityLossless.
	Durability string `yaml:"durability"`
	// MaxLag is how far a replica may be behind to be promoted in async; default
	// 30 s.
	MaxLag time.Duration `yaml:"max_lag"`
	// RequiredAcks is the number of replicas that must have a transaction
	// before its commit is acknowledged; at least 1, default 1.
	RequiredAcks int `yaml:"required_acks"`
	// Timings are the periods and deadlines, checked against each other.
	Timings Timings `yaml:"timings"`
	// Hooks are told what happens; those of the cluster's events on every host that
	// may lead, the same list.
	Hooks []Hook `yaml:"hooks"`
	// Log is the daemon's log.
	Log Log `yaml:"log"`

	warnings []string
}

// Server is one mysqld of the cluster and the daemon beside it.
type Server struct {
	// Name is the server's name in the record, in messages and in metrics.
	Name string `yaml:"name"`
	// MySQL is the host:port at which others dial the mysqld.
	MySQL string `yaml:"mysql"`
	// API is the host:port at which others dial the daemon's HTTPS endpoint.
	API string `yaml:"api"`
	// TLSName is the name that the certificate of this host must carry;
	// default the host part of MySQL for the mysqld and of API for the daemon.
	TLSName string `yaml:"tls_name"`
}

// MySQLTLSName returns the name to verify when dialling the server's mysqld.
func (s Server) MySQLTLSName() string { return verifyName(s.TLSName, s.MySQL) }

// APITLSName returns the name to verify when dialling the daemon's HTTPS
// endpoint beside the server.
func (s Server) APITLSName() string { return verifyName(s.TLSName, s.API) }

// Witness is a daemon that has RoleWitness.
type Witness struct {
	// Name is the name of its host, in messages and as that of a leader.
	Name string `yaml:"name"`
	// API is the host:port at which others dial its HTTPS endpoint.
	API string `yaml:"api"`
	// TLSName is the name that its certificate must carry; default the host part
	// of API.
	TLSName string `yaml:"tls_name"`
}

// APITLSName returns the name to verify when dialling the daemon's HTTPS
// endpoint.
func (w Witness) APITLSName() string { return verifyName(w.TLSName, w.API) }

func verifyName(name, address string) string {
	if name != "" {
		return name
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return "" // Load refuses such an address; an empty name verifies nothing.
	}
	return host
}

// MySQL describes the mysqld of this host.
type MySQL struct {
	// Socket is mysqld's Unix socket; control goes over it and nothing else.
	Socket string `yaml:"socket"`
	// ControlUser is the local account of the daemon; default mysqlha.
	ControlUser string `yaml:"control_user"`
	// ControlPasswordFile holds its password and is readable by its owner
	// alone. Default control.password in Config.DataDir; the default may be
	// absent as long as the account has not been made. See ReadSecret.
	ControlPasswordFile string `yaml:"control_password_file"`
	// RunFile is written by `mysqlhad guard`: pid and start time of mysqld.
	// Default mysqld.json in Config.DataDir.
	RunFile string `yaml:"run_file"`
	// DataDir is mysqld's datadir, which the guard inspects and rewinds.
	DataDir string `yaml:"data_dir"`
}

// TLS names the PEM files of this host. They may be replaced while the daemon
// runs.
type TLS struct {
	// CA is the file of the certificates that peers are verified against.
	CA string `yaml:"ca"`
	// Cert is the file of the host's certificate, intermediates after it.
	Cert string `yaml:"cert"`
	// Key is the file of its private key, readable by its owner alone.
	Key string `yaml:"key"`
}

// Etcd says where etcd is and how to run a member of it.
type Etcd struct {
	// Endpoints are https URLs of an existing etcd; see Config.EtcdEndpoints.
	Endpoints []string `yaml:"endpoints"`
	// Embedded is the etcd cluster that runs inside the daemons.
	Embedded Embedded `yaml:"embedded"`
}

// Embedded is the etcd cluster inside the daemons and this host's part of it.
type Embedded struct {
	// ListenClient is the ip:port to listen on for clients.
	ListenClient string `yaml:"listen_client"`
	// ListenPeer is the ip:port to listen on for the other members.
	ListenPeer string `yaml:"listen_peer"`
	// Members are all members, the same list on every host.
	Members []EtcdMember `yaml:"members"`
	// Token tells this etcd cluster from any other, at least 8 characters. It
	// guards against mix-ups, not against attackers: that is the work of TLS.
	Token string `yaml:"token"`
	// Heartbeat is the period of the raft leader's heartbeat, and the step in which
	// elections are timed; default 100 ms, which wakes an idle host half as
	// often as 50 ms and elects as fast.
	Heartbeat time.Duration `yaml:"heartbeat"`
	// Election is the silence after which members elect; default 500 ms.
	Election time.Duration `yaml:"election"`
}

// EtcdMember is one member of the embedded etcd cluster.
type EtcdMember struct {
	// Name is the Config.Name of the member's host.
	Name string `yaml:"name"`
	// Peer is the host:port at which the other members dial it.
	Peer string `yaml:"peer"`
	// Client is the host:port at which clients dial it.
	Client string `yaml:"client"`
}

// API is the HTTPS endpoint.
type API struct {
	// Listen is the address to listen on; default :8008.
	Listen string `yaml:"listen"`
	// TokensFile has the hashes of the tokens by which callers without a certificate
	// may ask; empty for none. `mysqlha token` writes it, and it may change while the
	// daemon runs.
	TokensFile string `yaml:"tokens_file"`
	// Reads says who may look: anyone, or those with a certificate or a token of the
	// cluster alone, role. The health checks are for anyone. Default ReadsAnyone.
	Reads string `yaml:"reads"`
}

// Who may look at the endpoint.
const (
	// ReadsAnyone lets everybody look who reaches it.
	ReadsAnyone = "anyone"
	// ReadsRole lets those look who have a role.
	ReadsRole = "role"
)

// Redirect is the TCP redirector.
type Redirect struct {
	// Write is the address that leads to the primary; default :6446.
	Write string `yaml:"write"`
	// Read is the address that leads to fresh replicas; default :6447.
	Read string `yaml:"read"`
	// Hold is how long a new session waits for a primary; default 10 s.
	Hold time.Duration `yaml:"hold"`
	// Drain is how long sessions may go on after the redirector was told to stop;
	// default 10 s.
	Drain time.Duration `yaml:"drain"`
	// API is the address of the HTTPS endpoint of a redirector that runs as a unit of
	// its own on the host of another daemon; empty for none.
	API string `yaml:"api"`
	// ReadFallback sends reads to the primary when no replica is fresh;
	// default true.
	ReadFallback bool `yaml:"read_fallback"`
	// MaxLag is the lag beyond which a replica serves no reads; default 10 s.
	MaxLag time.Duration `yaml:"max_lag"`
	// MaxSessions is the limit for both addresses together; 0 is no limit.
	MaxSessions int `yaml:"max_sessions"`
	// Handshakes is how many clients of one address may owe an answer to mysqld's
	// greeting; more of them wait for their turn. Default 64.
	Handshakes int `yaml:"handshakes"`
}

// Bootstrap says how a cluster without a record begins.
type Bootstrap struct {
	// Primary is the server that becomes the first primary; empty leaves the
	// beginning to the operator.
	Primary string `yaml:"primary"`
}

// Timings are the periods and deadlines of failover; see timing.go for the
// rules between them.
type Timings struct {
	// SourceHeartbeat is the period of the replication heartbeat that a source
	// sends when it has nothing else to send; default 200 ms.
	SourceHeartbeat time.Duration `yaml:"source_heartbeat"`
	// HeartbeatRow is the period of the primary's own commit; default 500 ms.
	HeartbeatRow time.Duration `yaml:"heartbeat_row"`
	// ProbeInterval is the period of the probes; default 250 ms.
	ProbeInterval time.Duration `yaml:"probe_interval"`
	// Detection is the silence after which a primary is dead; default 1 s.
	Detection time.Duration `yaml:"detection"`
	// LeaderLease is the leader's lease in etcd, whole seconds; default 2 s.
	LeaderLease time.Duration `yaml:"leader_lease"`
	// MemberLease is a member's lease in etcd, whole seconds; default 3 s.
	MemberLease time.Duration `yaml:"member_lease"`
	// FenceDeadline is how long a primary without any proof of being current
	// goes on; default 5 s.
	FenceDeadline time.Duration `yaml:"fence_deadline"`
	// RemovalDelay is how long a replica without a lease stays in the in-sync
	// set; default 2 s.
	RemovalDelay time.Duration `yaml:"removal_delay"`
	// Gate is how long the start gate waits for etcd; default 60 s.
	Gate time.Duration `yaml:"gate"`
	// ReplicaNetTimeout is mysqld's replica_net_timeout, whole seconds;
	// default 10 s.
	ReplicaNetTimeout time.Duration `yaml:"replica_net_timeout"`
}

// Hook is a program or a web address that is told what happens.
type Hook struct {
	// Name is its own; how far it was told is kept under it, in etcd.
	Name string `yaml:"name"`
	// On are the kinds of events that it is told of: failover, switchover, in-sync,
	// fence; default all.
	On []string `yaml:"on"`
	// Command is a program, by its whole path, and its arguments. It gets the event
	// as JSON on its standard input.
	Command []string `yaml:"command"`
	// URL is an https address that the event is posted to; http only on this host.
	URL string `yaml:"url"`
	// TokenFile holds what stands after "Bearer" in the request, readable by its owner
	// alone; CA the certificates that the address is verified against, default the
	// system's.
	TokenFile string `yaml:"token_file"`
	CA        string `yaml:"ca"`
	// Timeout bounds one attempt; default 10 s. Tries is how often one event is tried
	// at most, with pauses from one second to one minute; default 5.
	Timeout time.Duration `yaml:"timeout"`
	Tries   int           `yaml:"tries"`
}

// Log is the daemon's log.
type Log struct {
	// Level is debug, info, warn or error; default info.
	Level string `yaml:"level"`
	// Format is json, text, or auto for text on a terminal and json elsewhere;
	// default auto.
	Format string `yaml:"format"`
}

// Server returns the server of that name, and whether there is one.
func (c *Config) Server(name string) (Server, bool) {
	i := slices.IndexFunc(c.Servers, func(s Server) bool { return s.Name == name })
	if i < 0 {
		return Server{}, false
	}
	return c.Servers[i], true
}

// Witness returns the witness of that name, and whether there is one.
func (c *Config) Witness(name string) (Witness, bool) {
	i := slices.IndexFunc(c.Witnesses, func(w Witness) bool { return w.Name == name })
	if i < 0 {
		return Witness{}, false
	}
	return c.Witnesses[i], true
}

// HasRole tells whether this host has the role.
func (c *Config) HasRole(r Role) bool { return slices.Contains(c.Roles, r) }

// EtcdEndpoints returns the https URLs at which this host reaches etcd: those
// configured, else those of the embedded members.
func (c *Config) EtcdEndpoints() []string {
	if len(c.Etcd.Endpoints) > 0 {
		return slices.Clone(c.Etcd.Endpoints)
	}
	urls := make([]string, 0, len(c.Etcd.Embedded.Members))
	for _, m := range c.Etcd.Embedded.Members {
		urls = append(urls, "https://"+m.Client)
	}
	return urls
}

// EtcdHosts returns the hosts of EtcdEndpoints.
func (c *Config) EtcdHosts() []string { return HostsOf(c.EtcdEndpoints()) }

// HostsOf returns the hosts of URLs; of what is none, nothing.
func HostsOf(urls []string) []string {
	var hosts []string
	for _, text := range urls {
		if u, err := url.Parse(text); err == nil && u.Hostname() != "" {
			hosts = append(hosts, u.Hostname())
		}
	}
	return hosts
}

// Warnings returns what is allowed but probably not wanted, one sentence each.
func (c *Config) Warnings() []string { return slices.Clone(c.warnings) }

func defaults() *Config {
	return &Config{
		Roles:        []Role{RoleMember, RoleRedirector, RoleEtcd},
		DataDir:      "/var/lib/mysqlha",
		MySQL:        MySQL{ControlUser: "mysqlha"},
		Etcd:         Etcd{Embedded: Embedded{Heartbeat: 100 * time.Millisecond, Election: 500 * time.Millisecond}},
		API:          API{Listen: ":8008", Reads: ReadsAnyone},
		Redirect:     Redirect{Write: ":6446", Read: ":6447", Hold: 10 * time.Second, Drain: 10 * time.Second, ReadFallback: true, MaxLag: 10 * time.Second, Handshakes: 64},
		Durability:   DurabilityLossless,
		RequiredAcks: 1,
		MaxLag:       30 * time.Second,
		Timings: Timings{
			SourceHeartbeat: 200 * time.Millisecond, HeartbeatRow: 500 * time.Millisecond,
			ProbeInterval: 250 * time.Millisecond, Detection: time.Second,
			LeaderLease: 2 * time.Second, MemberLease: 3 * time.Second,
			FenceDeadline: 5 * time.Second, RemovalDelay: 2 * time.Second,
			Gate: time.Minute, ReplicaNetTimeout: 10 * time.Second,
		},
		Log: Log{Level: "info", Format: "auto"},
	}
}
