package sandbox

import (
	"bytes"
	"crypto/rand"
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/google/renameio/v2"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/certs"
)

//go:embed templates/*
var templateFiles embed.FS

// tokenFile is the operator's token, in the client's folder.
const tokenFile = "operator.token"

// certificates are valid for as long as anyone keeps a sandbox.
const certificatesValid = 10 * 365 * 24 * time.Hour

// writeHosts writes what each host has before anything is started there.
func (l layout) writeHosts() error {
	ca, err := certs.NewAuthority("mysqlha sandbox", certificatesValid)
	if err != nil {
		return err
	}
	pki := certs.Folder(l.path("pki"))
	if err := ca.WriteTo(string(pki)); err != nil {
		return err
	}
	for i, host := range l.hosts() {
		if err := l.issue(pki, host); err != nil {
			return err
		}
		if err := os.MkdirAll(l.path(host, "state"), 0o700); err != nil {
			return fmt.Errorf("making the files of %s: %w", host, err)
		}
		if err := l.render("mysqlhad.yaml", l.configFile(host), l.hostFile(host)); err != nil {
			return err
		}
		if l.isServer(host) {
			values := map[string]any{"Host": host, "Dir": l.path(host), "CA": l.path(host, "tls", certs.AuthorityCert), "Socket": l.socket(host),
				"ServerID": i + 1, "Port": l.port(portMySQL, i), "IP": l.ip(host), "BufferPool": l.BufferPool}
			if err := l.render("my.cnf", l.path(host, "my.cnf"), values); err != nil {
				return err
			}
		}
	}
	if _, err := pki.Issue(certs.For(certs.RoleOperator, clientHolder, nil, certificatesValid)); err != nil {
		return err
	}
	if err := l.hand(pki, clientHolder, l.path(clientHolder)); err != nil {
		return err
	}
	if err := l.writeToken(); err != nil {
		return err
	}
	return l.writeClients()
}

// writeToken makes a token for the operator's browser, and has every host know its hash.
func (l layout) writeToken() error {
	var hashes []byte
	for i, host := range l.hosts() {
		file := l.path(host, "tokens")
		if i == 0 {
			token, err := api.NewToken(file, clientHolder, certs.RoleOperator.Short(), time.Now().Add(certificatesValid))
			if err == nil {
				err = renameio.WriteFile(l.path(clientHolder, tokenFile), []byte(token+"\n"), 0o600)
			}
			if err == nil {
				hashes, err = os.ReadFile(file)
			}
			if err != nil {
				return fmt.Errorf("making the operator's token: %w", err)
			}
			continue
		}
		if err := renameio.WriteFile(file, hashes, 0o600); err != nil {
			return fmt.Errorf("writing the tokens of %s: %w", host, err)
		}
	}
	return nil
}

// issue makes the certificates of a host: its daemon's, and its mysqld's. Applications
// reach every mysqld through the redirector, so each proves its name too.
func (l layout) issue(pki certs.Folder, host string) error {
	names := []string{host, "localhost", "127.0.0.1"}
	if l.Network != nil {
		names = append(names, l.ip(host))
	}
	role := certs.RoleMember
	if l.isRedirector(host) {
		role = certs.RoleRedirector
	}
	requests := []certs.Request{certs.For(role, host, names, certificatesValid)}
	if l.isServer(host) {
		served := append(slices.Clone(names), l.redirectors()...)
		for _, redirector := range l.redirectors() {
			if l.Network != nil {
				served = append(served, l.ip(redirector))
			}
		}
		requests = append(requests, certs.For(certs.RoleMysqld, host, served, certificatesValid))
	}
	if _, err := pki.Issue(requests...); err != nil {
		return err
	}
	return l.hand(pki, host, l.path(host, "tls"))
}

// PKI is the folder of the sandbox's certificate authority.
func (s *Sandbox) PKI() certs.Folder { return certs.Folder(s.layout.path("pki")) }

// HandOut gives a host of the sandbox, or its client, what lies in its folder of the PKI,
// as an operator copies it there.
func (s *Sandbox) HandOut(holder string) error {
	to := s.layout.path(holder, "tls")
	if holder == clientHolder {
		to = s.layout.path(clientHolder)
	}
	return s.layout.hand(s.PKI(), holder, to)
}

// Holders are all to whom HandOut gives something.
func (s *Sandbox) Holders() []string { return append(s.layout.hosts(), clientHolder) }

// clientHolder is whoever uses the sandbox from outside.
const clientHolder = "client"

// hand gives a holder what was issued for it, as an operator copies it to a host.
func (l layout) hand(pki certs.Folder, holder, to string) error {
	files, err := filepath.Glob(filepath.Join(string(pki), holder, "*"))
	if err == nil {
		err = os.MkdirAll(to, 0o755)
	}
	slices.Reverse(files) // Keys before certificates: whoever finds the one finds the other.
	for _, file := range files {
		var content []byte
		if err == nil {
			content, err = os.ReadFile(file)
		}
		mode := os.FileMode(0o644)
		if filepath.Ext(file) == ".key" {
			mode = 0o600
		}
		if err == nil {
			err = renameio.WriteFile(filepath.Join(to, filepath.Base(file)), content, mode, renameio.WithStaticPermissions(mode))
		}
	}
	if err != nil {
		return fmt.Errorf("handing %s its certificates: %w", holder, err)
	}
	return nil
}

// writeClients writes what people and applications on this machine need.
func (l layout) writeClients() error {
	password := rand.Text()
	files := l.clientFiles()
	values := map[string]any{"L": l, "CA": files.CA, "Password": password,
		"Cluster": l.cluster(), "IP": l.ip(l.redirectors()[0]), "WritePort": l.port(portWrite, 0), "Endpoints": l.endpoints(),
		"ClientCert": files.Cert, "ClientKey": files.Key}
	if err := renameio.WriteFile(l.path("app.password"), []byte(password+"\n"), 0o600); err != nil {
		return fmt.Errorf("writing the password of the applications: %w", err)
	}
	if err := l.render("app.cnf", l.path("app.cnf"), values); err != nil {
		return err
	}
	return l.render("context.yaml", l.path("context.yaml"), values)
}

func (l layout) endpoints() []string {
	var all []string
	for _, name := range l.electors() {
		all = append(all, l.apiAddr(name))
	}
	return all
}

// Endpoint is one name with its addresses, for the lists of a host's configuration.
type Endpoint struct{ Name, MySQL, API, Client, Peer string }

// HostFile is what the configuration of mysqlhad on one host is made of; see [HostFile.Render].
type HostFile struct {
	// Cluster and Host are the names of both.
	Cluster, Host string
	// Roles are those of the host, as in the file.
	Roles []string
	// DataDir is the daemon's own folder.
	DataDir string
	// Join says that the host comes to a cluster that exists.
	Join bool
	// Servers, Witnesses and Members are those of the cluster and of its etcd.
	Servers, Witnesses, Members []Endpoint
	// Socket and MySQLDir are the socket and the data directory of the host's mysqld; empty
	// where there is none.
	Socket, MySQLDir string
	// CA, Cert and Key are the files of TLS.
	CA, Cert, Key string
	// EtcdToken tells the cluster of etcd from any other.
	EtcdToken string
	// API is where the daemon listens, Tokens the file with the hashes of tokens, if there
	// is one.
	API, Tokens string
	// Write and Read are where the redirector listens; empty where there is none. Drain is
	// how long its sessions may go on after a stop; empty for the default.
	Write, Read, Drain string
	// Primary becomes the first primary.
	Primary string
	// Durability and RequiredAcks are not written where they have no value.
	Durability   string
	RequiredAcks int
	// More is added as it is.
	More string
}

// Own is the host's own member of etcd, nil where it has none.
func (f HostFile) Own() *Endpoint {
	if i := slices.IndexFunc(f.Members, func(m Endpoint) bool { return m.Name == f.Host }); i >= 0 {
		return &f.Members[i]
	}
	return nil
}

// Render returns the configuration as it is written to the host.
func (f HostFile) Render() ([]byte, error) { return rendered("mysqlhad.yaml", f) }

// hostFile is the configuration of a host of the sandbox.
func (l layout) hostFile(host string) HostFile {
	f := HostFile{Cluster: l.cluster(), Host: host, DataDir: "state", Join: l.isSpare(host), CA: l.path(host, "tls", certs.AuthorityCert), Cert: "tls/host.crt", Key: "tls/host.key",
		EtcdToken: l.EtcdToken, API: l.apiAddr(host), Tokens: l.path(host, "tokens"), Primary: "db1", Durability: l.Durability, RequiredAcks: l.RequiredAcks, More: l.Config}
	// A spare server knows of itself; the others hear of it when it joins.
	foreign := func(name string) bool { return l.isSpare(name) && name != host }
	for i, name := range l.serverNames() {
		if !foreign(name) {
			f.Servers = append(f.Servers, Endpoint{Name: name, MySQL: l.addr(portMySQL, i), API: l.addr(portAPI, i)})
		}
	}
	if l.Witness {
		f.Witnesses = append(f.Witnesses, Endpoint{Name: witnessName, API: l.apiAddr(witnessName)})
	}
	for i, name := range l.etcdNames() {
		if !foreign(name) {
			f.Members = append(f.Members, Endpoint{Name: name, Client: l.addr(portEtcdClient, i), Peer: l.addr(portEtcdPeer, i)})
		}
	}
	if l.isServer(host) {
		f.Roles = append(f.Roles, "member")
		f.Socket, f.MySQLDir = l.socket(host), "data"
	}
	if f.Own() != nil {
		f.Roles = append(f.Roles, "etcd")
	}
	switch {
	case l.isRedirector(host):
		f.Roles = append(f.Roles, "redirector")
		f.Write, f.Read, f.Drain = l.addr(portWrite, l.redirectorOf(host)), l.addr(portRead, l.redirectorOf(host)), "1s"
	case host == witnessName && l.Witness:
		f.Roles = append(f.Roles, "witness")
	}
	return f
}

// render writes a file that its owner alone may read; several hold secrets.
func (l layout) render(name, file string, values any) error {
	text, err := rendered(name, values)
	if err == nil {
		err = renameio.WriteFile(file, text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", filepath.Base(file), err)
	}
	return nil
}

// rendered fills in a template.
func rendered(name string, values any) ([]byte, error) {
	t, err := template.New(name).Funcs(template.FuncMap{"quote": quote, "join": strings.Join}).ParseFS(templateFiles, "templates/"+name)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	err = t.Execute(&text, values)
	return text.Bytes(), err
}

// quote writes a path in double quotes, which YAML and option files read alike
// for what checkDir lets through.
func quote(text string) string { return `"` + text + `"` }

// checkDir refuses a folder whose name an option file or YAML would read as
// something else.
func checkDir(dir string) error {
	if strings.ContainsFunc(dir, func(c rune) bool { return c < ' ' || strings.ContainsRune("\"\\#'`$", c) }) {
		return fmt.Errorf("the folder %q has characters that MySQL's option files cannot carry: use another", dir)
	}
	return nil
}
