package sandbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/certs"
	"github.com/mysqlha/mysqlha/config"
	"github.com/mysqlha/mysqlha/deploy/sandbox/process"
	"github.com/mysqlha/mysqlha/deploy/sandbox/supervisor"
)

// AppUser is the applications' account and AppSchema its schema.
const (
	AppUser   = "app"
	AppSchema = "app"
)

// controlUser is the daemon's local account, by its default name.
const controlUser = "mysqlha"

// askTimeout bounds one question to the daemons.
const askTimeout = 3 * time.Second

// Sandbox is a cluster on this machine. Its methods may be called from several
// goroutines; Down and Kill end it.
type Sandbox struct {
	layout layout
	client *api.Client
	// ended is closed when a supervisor that this process started is reaped; nil
	// for one that it did not start.
	ended <-chan struct{}
	// spawned is that supervisor.
	spawned process.Identity
}

// Open returns the sandbox in a folder, running or not. Its error wraps ErrNone
// when there is none. Close or Down must be called.
func Open(dir string) (*Sandbox, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the sandbox: %w", err)
	}
	l, err := readLayout(dir)
	if err != nil {
		return nil, err
	}
	return open(l)
}

func open(l layout) (*Sandbox, error) {
	var endpoints []api.Endpoint
	for _, name := range l.electors() {
		endpoints = append(endpoints, api.Endpoint{Address: l.apiAddr(name), TLS: certs.ClientConfig(l.clientFiles(), l.ip(name), certs.Daemons()...)})
	}
	client, err := api.NewClient(endpoints...)
	if err != nil {
		return nil, fmt.Errorf("opening the sandbox: %w", err)
	}
	return &Sandbox{layout: l, client: client}, nil
}

func (l layout) clientFiles() certs.Files {
	return certs.Files{CA: l.path("client", certs.AuthorityCert), Cert: l.path("client", "operator.crt"), Key: l.path("client", "operator.key")}
}

// Operator returns the files of whoever operates the sandbox.
func (s *Sandbox) Operator() certs.Files { return s.layout.clientFiles() }

// Close gives up the connections to the daemons; the sandbox runs on.
func (s *Sandbox) Close() { s.client.Close() }

// Dir returns the sandbox's folder.
func (s *Sandbox) Dir() string { return s.layout.dir }

// Context returns the file for `mysqlha --context`.
func (s *Sandbox) Context() string { return s.layout.path("context.yaml") }

// Pages returns the addresses of the daemons' status pages; Token is one with which an
// operator signs in there.
func (s *Sandbox) Pages() []string {
	var all []string
	for _, address := range s.layout.endpoints() {
		all = append(all, "https://"+address+"/")
	}
	return all
}

// Token is described at Pages.
func (s *Sandbox) Token() (string, error) {
	text, err := os.ReadFile(s.layout.path(clientHolder, tokenFile))
	if err != nil {
		return "", fmt.Errorf("reading the operator's token: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// Servers returns the names of the servers.
func (s *Sandbox) Servers() []string { return s.layout.serverNames() }

// API returns a client that asks any of the daemons. It is closed with the
// sandbox.
func (s *Sandbox) API() *api.Client { return s.client }

// WriteAddr returns the redirector's address that leads to the primary.
func (s *Sandbox) WriteAddr() string { return s.layout.addr(portWrite, 0) }

// ReadAddr returns the redirector's address that leads to fresh replicas.
func (s *Sandbox) ReadAddr() string { return s.layout.addr(portRead, 0) }

// ServerAddr returns the address of one server's mysqld.
func (s *Sandbox) ServerAddr(server string) (string, error) {
	if err := s.known(server); err != nil {
		return "", err
	}
	return s.layout.mysqlAddr(server), nil
}

// ServerID returns the server_id of a server.
func (s *Sandbox) ServerID(server string) (int64, error) {
	for i, name := range s.Servers() {
		if name == server {
			return int64(i + 1), nil
		}
	}
	return 0, s.known(server)
}

// StateDir returns the folder of the files that a server's daemon keeps.
func (s *Sandbox) StateDir(server string) string { return s.layout.path(server, "state") }

// DataDir returns the datadir of a server's mysqld.
func (s *Sandbox) DataDir(server string) string { return s.layout.path(server, "data") }

func (s *Sandbox) known(server string) error {
	if !s.layout.isServer(server) {
		return fmt.Errorf("%q is not a server of the sandbox, which are %v", server, s.Servers())
	}
	return nil
}

// Logs returns the log files of all processes and of the supervisor in a
// sandbox's folder.
func Logs(dir string) []string {
	// Both patterns are constant, so neither can be malformed.
	own, _ := filepath.Glob(filepath.Join(dir, "*.log"))
	hosts, _ := filepath.Glob(filepath.Join(dir, "*", "*.log"))
	return append(own, hosts...)
}

// App returns the settings of an application's session at an address: WriteAddr,
// ReadAddr or that of a server. The certificate is verified against the
// sandbox's CA and the host part of the address.
func (s *Sandbox) App(addr string) (*mysql.Config, error) {
	password, err := config.ReadSecret(s.layout.path("app.password"))
	if err != nil {
		return nil, fmt.Errorf("preparing an application's session: %w", err)
	}
	c := mysql.NewConfig()
	c.User, c.Passwd, c.DBName = AppUser, password, AppSchema
	c.Net, c.Addr = "tcp", addr
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("preparing an application's session: %w", err)
	}
	c.TLS = certs.ClientConfig(certs.Files{CA: s.layout.clientFiles().CA}, host)
	c.Logger = &mysql.NopLogger{} // Every failure is in an error too.
	return c, nil
}

// Local returns the settings of a session of the daemon's own account over the
// server's socket, for looking at what no application may see.
func (s *Sandbox) Local(server string) (*mysql.Config, error) {
	if err := s.known(server); err != nil {
		return nil, err
	}
	password, err := config.ReadSecret(s.layout.controlPassword(server))
	if err != nil {
		return nil, fmt.Errorf("preparing a local session at %s: %w", server, err)
	}
	c := mysql.NewConfig()
	c.User, c.Passwd = controlUser, password
	c.Net, c.Addr = "unix", s.layout.socket(server)
	c.Logger = &mysql.NopLogger{}
	return c, nil
}

// Admin returns the settings of a session of MySQL's root over the server's
// socket, which the operating system's user who made the sandbox may open.
func (s *Sandbox) Admin(server string) (*mysql.Config, error) {
	if err := s.known(server); err != nil {
		return nil, err
	}
	c := mysql.NewConfig()
	c.User, c.Net, c.Addr = "root", "unix", s.layout.socket(server)
	c.Logger = &mysql.NopLogger{}
	return c, nil
}

// OpenApp returns a pool of an application's sessions at an address.
func (s *Sandbox) OpenApp(addr string) (*sql.DB, error) { return openDB(s.App(addr)) }

// OpenAdmin returns a pool of sessions of MySQL's root.
func (s *Sandbox) OpenAdmin(server string) (*sql.DB, error) { return openDB(s.Admin(server)) }

// OpenLocal returns a pool of sessions of the daemon's own account.
func (s *Sandbox) OpenLocal(server string) (*sql.DB, error) { return openDB(s.Local(server)) }

func openDB(c *mysql.Config, err error) (*sql.DB, error) {
	if err != nil {
		return nil, err
	}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, fmt.Errorf("preparing a session at %s: %w", c.Addr, err)
	}
	return sql.OpenDB(connector), nil
}

// Cluster returns what the daemons know of the cluster.
func (s *Sandbox) Cluster(ctx context.Context) (api.Cluster, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return s.client.Cluster(ctx)
}

// Primary returns the server that the record names as primary.
func (s *Sandbox) Primary(ctx context.Context) (string, error) {
	c, err := s.Cluster(ctx)
	if err != nil {
		return "", fmt.Errorf("finding the primary: %w", err)
	}
	if c.Record == nil || c.Record.Primary == "" {
		return "", errors.New("finding the primary: the cluster has none yet")
	}
	return c.Record.Primary, nil
}

// Processes returns what the supervisor knows of its programs, and whether it
// runs.
func (s *Sandbox) Processes() (report supervisor.Report, running bool, err error) {
	report, err = s.report()
	return report, err == nil && report.Supervisor.Alive(), err
}

func (s *Sandbox) report() (supervisor.Report, error) {
	return supervisor.ReadReport(s.layout.path("processes.json"))
}
