package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/google/renameio/v2"
)

// clusterName is the name of a sandbox's cluster, unless it is given another.
const clusterName = "sandbox"

// redirectorName is the name of the redirector's host and process, likewise.
const redirectorName = "redirector"

// witnessName is the name of the witness's host and process.
const witnessName = "witness"

// longestSocket is what fits into the address of a Unix socket.
const longestSocket = 107

// ErrNone is in the chain of an error when a folder holds no sandbox.
var ErrNone = errors.New("there is no sandbox; `mysqlha sandbox up` makes one")

// layout is what a sandbox is made of, as sandbox.json keeps it. It never
// changes once the sandbox is made.
type layout struct {
	MySQLD       string        `json:"mysqld"`
	Mysqlha      string        `json:"mysqlha"`
	Mysqlhad     string        `json:"mysqlhad"`
	Servers      int           `json:"servers"`
	Spares       int           `json:"spares,omitempty"`
	Witness      bool          `json:"witness,omitempty"`
	Etcd         EtcdMode      `json:"etcd"`
	EtcdToken    string        `json:"etcd_token"`
	BufferPool   string        `json:"buffer_pool"`
	PortBase     int           `json:"port_base"`
	Config       string        `json:"config,omitempty"`
	RestartDelay time.Duration `json:"restart_delay_ns"`
	Network      *Network      `json:"network,omitempty"`
	Durability   string        `json:"durability,omitempty"`
	RequiredAcks int           `json:"required_acks,omitempty"`
	Cluster      string        `json:"cluster,omitempty"`
	Redirectors  []string      `json:"redirectors,omitempty"`
	// RunDir holds the sockets.
	RunDir string `json:"run_dir"`

	// dir is where it was read from.
	dir string
}

// readLayout reads the sandbox in a folder. Its error wraps ErrNone when there
// is none.
func readLayout(dir string) (layout, error) {
	data, err := os.ReadFile(filepath.Join(dir, "sandbox.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return layout{}, fmt.Errorf("opening %s: %w", dir, ErrNone)
	}
	if err != nil {
		return layout{}, fmt.Errorf("opening the sandbox: %w", err)
	}
	l := layout{dir: dir}
	if err := json.Unmarshal(data, &l); err != nil {
		return layout{}, fmt.Errorf("opening the sandbox: %s/sandbox.json: %w", dir, err)
	}
	return l, nil
}

func (l layout) write() error {
	data, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return fmt.Errorf("writing sandbox.json: %w", err)
	}
	if err := renameio.WriteFile(l.path("sandbox.json"), append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing sandbox.json: %w", err)
	}
	return nil
}

func (l layout) path(parts ...string) string {
	return filepath.Join(append([]string{l.dir}, parts...)...)
}

// serverNames are db1, db2 and so on, the spare ones last.
func (l layout) serverNames() []string { return numbered("db", l.Servers+l.Spares) }

// founders are the servers with which the cluster begins.
func (l layout) founders() []string { return numbered("db", l.Servers) }

func (l layout) isSpare(name string) bool {
	return l.isServer(name) && !slices.Contains(l.founders(), name)
}

// electors are the names of the hosts whose daemons may lead.
func (l layout) electors() []string {
	if l.Witness {
		return append(l.serverNames(), witnessName)
	}
	return l.serverNames()
}

// etcdNames are the names of etcd's members, those of the spare servers last.
func (l layout) etcdNames() []string {
	names := l.etcdFounders()
	if l.Etcd != EtcdSeparate {
		names = append(names, l.serverNames()[l.Servers:]...)
	}
	return names
}

// etcdFounders are those with which etcd begins: hosts of their own, or the first
// electors. Three are enough for any sandbox, and two would only be one more that
// must not fail.
func (l layout) etcdFounders() []string {
	if l.Etcd == EtcdSeparate {
		return numbered("etcd", 3)
	}
	electors := l.founders()
	if l.Witness {
		electors = append(electors, witnessName)
	}
	if len(electors) >= 3 {
		return electors[:3]
	}
	return numbered("db", 1)
}

func numbered(prefix string, n int) []string {
	var names []string
	for i := range n {
		names = append(names, prefix+strconv.Itoa(i+1))
	}
	return names
}

// hosts are the names of all daemon processes' hosts.
func (l layout) hosts() []string {
	hosts := append(l.electors(), l.redirectors()...)
	if l.Etcd == EtcdSeparate {
		hosts = append(hosts, l.etcdNames()...)
	}
	return hosts
}

func (l layout) isServer(name string) bool { return slices.Contains(l.serverNames(), name) }

// port is the port of one kind that belongs to the i-th host of that kind.
func (l layout) port(kind, i int) int {
	if l.Network == nil || l.Network.Ports == nil {
		return l.PortBase + kind + i
	}
	p := l.Network.Ports
	return map[int]int{portMySQL: p.MySQL, portAPI: p.API, portEtcdAPI: p.API, portRedirectorAPI: p.API,
		portWrite: p.Write, portRead: p.Read, portEtcdClient: p.EtcdClient, portEtcdPeer: p.EtcdPeer}[kind]
}

// redirectors are the names of the hosts that only redirect.
func (l layout) redirectors() []string {
	if len(l.Redirectors) == 0 {
		return []string{redirectorName}
	}
	return slices.Clone(l.Redirectors)
}

func (l layout) isRedirector(host string) bool { return slices.Contains(l.redirectors(), host) }

// redirectorOf is the number of a redirector among them, 0 for every other host.
func (l layout) redirectorOf(host string) int { return max(0, slices.Index(l.redirectors(), host)) }

func (l layout) cluster() string {
	if l.Cluster == "" {
		return clusterName
	}
	return l.Cluster
}

// ip is a host's address.
func (l layout) ip(host string) string {
	if l.Network == nil {
		return "127.0.0.1"
	}
	return l.Network.IPs[host]
}

// addr is the address of a port of one kind on the i-th host of that kind.
func (l layout) addr(kind, i int) string {
	var host string
	switch kind {
	case portWrite, portRead, portRedirectorAPI:
		host = l.redirectors()[i]
	case portMySQL, portAPI:
		host = l.electors()[i]
	case portEtcdClient, portEtcdPeer, portEtcdAPI:
		host = l.etcdNames()[i]
	}
	return net.JoinHostPort(l.ip(host), strconv.Itoa(l.port(kind, i)))
}

// apiAddr is where a host's daemon answers.
func (l layout) apiAddr(host string) string {
	if i := slices.Index(l.electors(), host); i >= 0 {
		return l.addr(portAPI, i)
	}
	if i := slices.Index(l.etcdNames(), host); i >= 0 {
		return l.addr(portEtcdAPI, i)
	}
	return l.addr(portRedirectorAPI, l.redirectorOf(host))
}

// mysqlAddr is where a server's mysqld listens.
func (l layout) mysqlAddr(server string) string {
	return l.addr(portMySQL, slices.Index(l.serverNames(), server))
}

// offsets are all ports that the sandbox listens on.
func (l layout) offsets() []int {
	all := []int{portWrite, portRead, portRedirectorAPI}
	for i := range l.serverNames() {
		all = append(all, portMySQL+i)
	}
	for i := range l.electors() {
		all = append(all, portAPI+i)
	}
	for i := range l.etcdNames() {
		all = append(all, portEtcdClient+i, portEtcdPeer+i)
		if l.Etcd == EtcdSeparate {
			all = append(all, portEtcdAPI+i)
		}
	}
	return all
}

func (l layout) socket(server string) string { return filepath.Join(l.RunDir, server+".sock") }

// runFile is where the guard names its mysqld; the daemon's default.
func (l layout) runFile(server string) string { return l.path(server, "state", "mysqld.json") }

// controlPassword is the file of the control account's; the daemon's default.
func (l layout) controlPassword(server string) string {
	return l.path(server, "state", "control.password")
}

func (l layout) configFile(host string) string { return l.path(host, "mysqlhad.yaml") }

// mysqldArgs are the program and its arguments as guard and init take them.
func (l layout) mysqldArgs(server string) []string {
	args := []string{l.MySQLD, "--defaults-file=" + l.path(server, "my.cnf")}
	if os.Geteuid() == 0 {
		args = append(args, "--user=root") // As root, mysqld asks to be told so.
	}
	return args
}

// makeRunDir chooses the folder for the sockets: run/ unless a path in it would
// be too long for a socket.
func (l *layout) makeRunDir() error {
	l.RunDir = l.path("run")
	// mysqld puts ".lock" behind the name of the socket, which is a file.
	if len(l.socket("db9")) <= longestSocket {
		return os.MkdirAll(l.RunDir, 0o700)
	}
	dir, err := os.MkdirTemp("", "mysqlha-")
	if err == nil {
		l.RunDir = dir
		if len(l.socket("db9")) <= longestSocket {
			return nil
		}
		_ = os.Remove(dir) // It is empty.
		l.RunDir, err = os.MkdirTemp("/tmp", "mysqlha-")
	}
	if err != nil {
		return fmt.Errorf("making a folder for the sockets: %w", err)
	}
	return nil
}
