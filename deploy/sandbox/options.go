package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/mysqlha/mysqlha/config"
)

// EtcdMode says where etcd runs.
type EtcdMode string

// The modes.
const (
	// EtcdEmbedded runs etcd inside the daemons.
	EtcdEmbedded EtcdMode = "embedded"
	// EtcdSeparate runs each member of etcd as a process of its own.
	EtcdSeparate EtcdMode = "separate"
)

// The bounds and defaults of Options.
const (
	fewest  = 1
	most    = 5
	servers = 3

	defaultPool         = "64M"
	defaultRestartDelay = time.Second
	defaultStartTimeout = 90 * time.Second
)

// Options say what sandbox to make. The zero value is a good one.
type Options struct {
	// Dir is the folder; default DefaultDir. It must not exist, be empty, or hold
	// a sandbox that is not running, which is then started again as it is.
	Dir string
	// Servers is the number of servers, 1 to 5; default 3. Two get a witness, a
	// daemon without a server that probes, votes and may lead.
	Servers int
	// Spares is the number of servers besides, which run and are not of the cluster;
	// their daemons wait to be let in. All servers together are 5 at most.
	Spares int
	// Etcd says where etcd runs; default EtcdEmbedded.
	Etcd EtcdMode
	// BufferPool is innodb_buffer_pool_size of each server; default 64M.
	BufferPool string
	// PortBase is the first of the 50 ports used; default: free ones.
	PortBase int
	// MySQLD is the mysqld program; default: see FindMySQLD.
	MySQLD string
	// Mysqlha and Mysqlhad are the programs to run; default: this one, if it is
	// called mysqlha, and the one beside it.
	Mysqlha, Mysqlhad string
	// Config is added to the configuration of every host.
	Config string
	// RestartDelay is how long the supervisor waits before it starts again what
	// ended; default 1 s.
	RestartDelay time.Duration
	// StartTimeout bounds the start; default 90 s.
	StartTimeout time.Duration
	// Templates, if set, is a folder that keeps initialised datadirs, with their
	// control passwords, for the next sandbox of the same mysqld.
	Templates string
	// Attached ends the sandbox when this process ends, in whatever way.
	Attached bool
	// Cluster is the cluster's name; default sandbox.
	Cluster string
	// Redirectors are the names of the hosts that only redirect; default one that is
	// called redirector. More than one need a Network.
	Redirectors []string
	// Network, if set, gives each host a network namespace of its own, which must
	// exist; see Hosts.
	Network *Network
	// Volume, if set, is given each server's new, empty data folder before anything
	// is in it, to mount a disk of its own there, say. Whoever does must unmount it
	// before the sandbox's folder is removed.
	Volume func(dir string) error
	// Durability and RequiredAcks are those that the cluster begins with; default
	// async for one server, available for two, else the product's own.
	Durability   string
	RequiredAcks int
	// Progress, if set, is told in a line of each stage that is reached. It is
	// called from several goroutines, one at a time.
	Progress func(line string)
}

// Network says where hosts are that do not share one loopback address.
type Network struct {
	// Namespaces are the names of the hosts' network namespaces, IPs their
	// addresses there, both by host.
	Namespaces map[string]string `json:"namespaces"`
	IPs        map[string]string `json:"ips"`
	// Ports, if set, are the same on every host, as on hosts of their own; default those
	// of a range that differ from each other.
	Ports *Ports `json:"ports,omitempty"`
}

// Ports are those on which the parts of a cluster listen.
type Ports struct {
	MySQL      int `json:"mysql"`
	API        int `json:"api"`
	Write      int `json:"write"`
	Read       int `json:"read"`
	EtcdClient int `json:"etcd_client"`
	EtcdPeer   int `json:"etcd_peer"`
}

// Hosts returns the names of the hosts that a sandbox of these options has: its
// servers, the redirectors and, where etcd is separate, the members of etcd.
func (o Options) Hosts() ([]string, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	return layout{Servers: o.Servers, Spares: o.Spares, Witness: o.witness(), Etcd: o.Etcd, Redirectors: o.Redirectors}.hosts(), nil
}

// witness tells whether the sandbox has one: where two servers alone could not
// outvote each other.
func (o Options) witness() bool { return o.Servers == 2 }

// DefaultDir returns the folder of the user's sandbox:
// $XDG_STATE_HOME/mysqlha/sandbox, below ~/.local/state by default.
func DefaultDir() (string, error) {
	if state := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(state) {
		return filepath.Join(state, "mysqlha", "sandbox"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("finding a folder for the sandbox: %w; name one with --dir", err)
	}
	return filepath.Join(home, ".local", "state", "mysqlha", "sandbox"), nil
}

var poolSize = regexp.MustCompile(`^[1-9][0-9]{0,11}[KMG]?$`)

// complete fills in what was left out and refuses what cannot be.
func (o Options) complete() (Options, error) {
	if o.Servers == 0 {
		o.Servers = servers
	}
	if o.Etcd == "" {
		o.Etcd = EtcdEmbedded
	}
	if o.BufferPool == "" {
		o.BufferPool = defaultPool
	}
	if o.RestartDelay == 0 {
		o.RestartDelay = defaultRestartDelay
	}
	if o.StartTimeout == 0 {
		o.StartTimeout = defaultStartTimeout
	}
	if o.Durability == "" {
		o.Durability = map[int]string{1: config.DurabilityAsync, 2: config.DurabilityAvailable}[o.Servers]
	}
	if o.Cluster == "" {
		o.Cluster = clusterName
	}
	if len(o.Redirectors) == 0 {
		o.Redirectors = []string{redirectorName}
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	switch {
	case o.Servers < fewest || o.Servers > most:
		return o, fmt.Errorf("a sandbox has %d to %d servers, not %d: three can lose one without losing or refusing a write", fewest, most, o.Servers)
	case o.Spares < 0 || o.Servers+o.Spares > most:
		return o, fmt.Errorf("%d servers and %d spare ones: all together may be %d", o.Servers, o.Spares, most)
	case o.Etcd != EtcdEmbedded && o.Etcd != EtcdSeparate:
		return o, fmt.Errorf("etcd is %q: use %s or %s", o.Etcd, EtcdEmbedded, EtcdSeparate)
	case len(o.Redirectors) > 1 && o.Network == nil:
		return o, fmt.Errorf("%d redirectors: on one address there can be one; give each host a network", len(o.Redirectors))
	case !poolSize.MatchString(o.BufferPool):
		return o, fmt.Errorf("the buffer pool is %q: write a size such as 128M", o.BufferPool)
	}
	return o, errors.Join(o.findDir(), o.findPrograms())
}

func (o *Options) findDir() error {
	if o.Dir == "" {
		dir, err := DefaultDir()
		if err != nil {
			return err
		}
		o.Dir = dir
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return fmt.Errorf("finding the sandbox's folder: %w", err)
	}
	o.Dir = dir
	return nil
}
