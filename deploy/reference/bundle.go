package reference

import (
	"crypto/rand"
	"crypto/tls"
	"debug/elf"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mysqlha/mysqlha/certs"
	"github.com/mysqlha/mysqlha/config"
	"github.com/mysqlha/mysqlha/deploy/packages/texts"
	"github.com/mysqlha/mysqlha/deploy/prometheus"
	"github.com/mysqlha/mysqlha/deploy/sandbox"
	"github.com/mysqlha/mysqlha/deploy/systemd"
)

//go:embed install/*
var installFiles embed.FS

// HostsExample is the description of a site of ten hosts of their own, to begin with.
//
//go:embed hosts.example.yaml
var HostsExample []byte

// bundleMark is a file that every bundle has, and nothing else.
const bundleMark = "hosts"

// shopFolder is where the files of the shop are on its host, and shopUser as whom it runs.
const (
	shopFolder = "/etc/shop"
	shopUser   = "shop"
)

// BundleOptions say what to make for hosts of their own.
type BundleOptions struct {
	// Description is the description of the site, a file.
	Description string
	// PKI is the folder of the site's authority, as `mysqlha certs init` makes it. What
	// hosts need is issued there unless it is there already and good for a while; the
	// passwords of the site are kept there, too.
	PKI string
	// Out is the folder to make. A former bundle there is replaced, anything else is not.
	Out string
	// Packages is the folder with our packages for Debian, one version of them, and Shop
	// the program for the application servers.
	Packages, Shop string
	// Arch is the architecture of the hosts, in Go's words.
	Arch string
	// Routing is the configuration of Alertmanager, a file; default the shipped routing,
	// which tells nobody.
	Routing string
	// PublicCert and PublicKey are the certificate that customers see, and its key, if it
	// is not to be one of the site's own authority; PublicCA is the file of whom it is of,
	// default those that hosts trust anyway.
	PublicCert, PublicKey, PublicCA string
	// ValidFor is how long new certificates are valid; default 90 days.
	ValidFor time.Duration
}

// Bundle writes for each host of a description a folder with all that it needs, at the
// places where it belongs, and a script that installs it; and one that does so on all
// hosts by ssh. The same description, authority and packages give the same bundle.
func Bundle(o BundleOptions) error {
	if o.ValidFor == 0 {
		o.ValidFor = 90 * 24 * time.Hour
	}
	site, err := config.LoadSite(o.Description)
	if err == nil {
		err = checkHosts(site)
	}
	if err != nil {
		return fmt.Errorf("the description of the site %s: %w", o.Description, err)
	}
	if entries, err := os.ReadDir(o.Out); err == nil && len(entries) > 0 {
		if _, err := os.Stat(filepath.Join(o.Out, bundleMark)); err != nil {
			return fmt.Errorf("%s holds something that is no bundle: name another folder", o.Out)
		}
	}
	b := &bundler{options: o, site: site}
	if err := b.gather(); err != nil {
		return err
	}
	b.dir, err = os.MkdirTemp(filepath.Dir(filepath.Clean(o.Out)), filepath.Base(o.Out)+".new-")
	if err != nil {
		return fmt.Errorf("making the bundle: %w", err)
	}
	defer os.RemoveAll(b.dir)
	for _, h := range site.Hosts {
		if err := b.host(h); err != nil {
			return fmt.Errorf("the bundle of %s: %w", h.Name, err)
		}
	}
	if err := b.driver(); err != nil {
		return fmt.Errorf("making the bundle: %w", err)
	}
	if err := errors.Join(os.RemoveAll(o.Out), os.Rename(b.dir, o.Out)); err != nil {
		return fmt.Errorf("making the bundle: %w", err)
	}
	return nil
}

// bundler makes one bundle.
type bundler struct {
	options BundleOptions
	site    *config.Site
	dir     string
	// packages are the paths of ours by name, version is theirs.
	packages map[string]string
	version  string
	shop     []byte
	token    string
	password string
}

var packageFile = regexp.MustCompile(`^(mysqlhad?)_([0-9A-Za-z.+~-]+)_(amd64|arm64)\.deb$`)

// gather reads all that the hosts have in common, before anything is written.
func (b *bundler) gather() error {
	files, err := os.ReadDir(b.options.Packages)
	if err != nil {
		return fmt.Errorf("reading our packages: %w; `make packages` makes them", err)
	}
	b.packages = make(map[string]string)
	for _, f := range files {
		m := packageFile.FindStringSubmatch(f.Name())
		if m == nil || m[3] != b.options.Arch {
			continue
		}
		if b.packages[m[1]] != "" || b.version != "" && b.version != m[2] {
			return fmt.Errorf("%s has packages of several versions, such as %s: leave one there", b.options.Packages, f.Name())
		}
		b.packages[m[1]], b.version = filepath.Join(b.options.Packages, f.Name()), m[2]
	}
	for _, name := range []string{"mysqlha", "mysqlhad"} {
		if b.packages[name] == "" {
			return fmt.Errorf("%s has no package %s for %s: `make packages` makes it", b.options.Packages, name, b.options.Arch)
		}
	}
	if b.shop, err = os.ReadFile(b.options.Shop); err != nil {
		return fmt.Errorf("reading the shop: %w", err)
	}
	if err := isFor(b.options.Shop, b.options.Arch); err != nil {
		return err
	}
	if err := b.public(); err != nil {
		return err
	}
	if b.token, err = kept(filepath.Join(b.options.PKI, "etcd.token")); err == nil {
		b.password, err = kept(filepath.Join(b.options.PKI, "app.password"))
	}
	return err
}

// public looks whether a certificate that is not of the site's own authority can be shown.
func (b *bundler) public() error {
	o := b.options
	if o.PublicCert == "" && o.PublicKey == "" && o.PublicCA == "" {
		return nil
	}
	if o.PublicCert == "" || o.PublicKey == "" {
		return errors.New("the public certificate and its key go together: give both")
	}
	pair, err := tls.LoadX509KeyPair(o.PublicCert, o.PublicKey)
	if err == nil {
		err = pair.Leaf.VerifyHostname(b.site.Public.Name)
	}
	if err != nil {
		return fmt.Errorf("the public certificate %s: %w", o.PublicCert, err)
	}
	return nil
}

// isFor tells whether a program can run on hosts of an architecture.
func isFor(program, arch string) error {
	file, err := elf.Open(program)
	if err != nil {
		return fmt.Errorf("reading %s: %w", program, err)
	}
	defer file.Close()
	want := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[arch]
	libraries, err := file.ImportedLibraries()
	if err != nil || file.Machine != want || len(libraries) > 0 {
		return fmt.Errorf("%s is for %s and needs the libraries %v, and the hosts are %s: build it with CGO_ENABLED=0 GOARCH=%s", program, file.Machine, libraries, arch, arch)
	}
	return nil
}

// kept is a secret that is made once and kept in a file.
func kept(file string) (string, error) {
	text, err := config.ReadSecret(file)
	if errors.Is(err, fs.ErrNotExist) {
		text = rand.Text()
		if err = writeFile(file, []byte(text+"\n"), 0o600); err == nil {
			return text, nil
		}
	}
	if err != nil {
		return "", fmt.Errorf("keeping the site's secrets: %w", err)
	}
	return text, nil
}

// issued are the certificates of a holder: those that are there, unless they are others
// than they should be, or end soon. It returns their folder.
func (b *bundler) issued(requests ...certs.Request) (string, error) {
	pki := certs.Folder(b.options.PKI)
	dir := filepath.Join(b.options.PKI, requests[0].Name)
	for _, q := range requests {
		q.Hosts = slices.Compact(slices.Sorted(slices.Values(q.Hosts)))
		had, err := certs.Look(filepath.Join(dir, certs.FileOf(q.Role)+".crt"), filepath.Join(b.options.PKI, certs.AuthorityCert))
		if err == nil && had.Problem == "" && !had.Due(time.Now()) && had.Role == q.Role && had.Name == q.Name && slices.Equal(slices.Sorted(slices.Values(had.Hosts)), q.Hosts) {
			continue
		}
		if _, err := pki.Issue(q); err != nil {
			return "", fmt.Errorf("%w; `mysqlha certs init --dir %s` makes an authority", err, b.options.PKI)
		}
	}
	return dir, nil
}

// folder is what a bundle has for one host.
type folder struct {
	dir     string
	entries []string
	errs    []error
}

// action is what a service needs when one of its files has changed.
type action struct{ unit, verb string }

var none action

// put has a file of the host be so. Its owner is a user with the group of that name, if it
// names no other.
func (f *folder) put(path string, text []byte, mode os.FileMode, owner string, then action) {
	if !strings.Contains(owner, ":") {
		owner += ":" + owner
	}
	does := "-"
	if then != none {
		does = then.verb + ":" + then.unit
	}
	f.entries = append(f.entries, fmt.Sprintf("%o %s %s %s", mode, owner, does, path))
	f.errs = append(f.errs, writeFile(filepath.Join(f.dir, "files", path), text, mode&^0o077|mode&0o100)) // Whose it is to be, this machine may not know.
}

// copy puts a file of this machine there.
func (f *folder) copy(path, from string, mode os.FileMode, owner string, then action) {
	text, err := os.ReadFile(from)
	f.errs = append(f.errs, err)
	f.put(path, text, mode, owner, then)
}

// pair puts a certificate and its key there, the key for its owner alone.
func (f *folder) pair(path, from, owner string, then action) {
	f.copy(path+".key", from+".key", 0o600, owner, then) // Whoever finds the certificate finds the key.
	f.copy(path+".crt", from+".crt", 0o644, "root", then)
}

// rendered puts there what a template makes.
func (f *folder) rendered(name, path string, v any, mode os.FileMode, then action) {
	text, err := rendered(name, v)
	f.errs = append(f.errs, err)
	f.put(path, text, mode, "root", then)
}

// host makes the folder of one host.
func (b *bundler) host(h config.SiteHost) error {
	f := &folder{dir: filepath.Join(b.dir, h.Name)}
	own, err := b.issued(ownRequests(b.site, h, b.options.ValidFor)...)
	if err != nil {
		return err
	}
	f.copy("/etc/mysqlha/site.yaml", b.options.Description, 0o644, "root", none)
	f.errs = append(f.errs, copyFile(b.packages["mysqlha"], filepath.Join(f.dir, "packages", filepath.Base(b.packages["mysqlha"])), 0o600))
	b.exporters(f, h, own)
	switch tier := h.Tiers[0]; tier {
	case config.TierLB:
		b.balancer(f, h, own)
	case config.TierWeb:
		err = b.web(f, h, own)
	case config.TierApp:
		err = errors.Join(b.daemon(f, h), b.application(f, h, own))
	case config.TierDB:
		err = b.daemon(f, h)
		f.errs = append(f.errs, b.server(f, h))
	case config.TierMonitor:
		b.monitoring(f, h, own)
	}
	script, failed := b.script(h)
	return errors.Join(err, failed, errors.Join(f.errs...), writeFile(filepath.Join(f.dir, "install"), script, 0o700),
		writeFile(filepath.Join(f.dir, "manifest"), []byte(strings.Join(f.entries, "\n")+"\n"), 0o600))
}

// exporters is what every host is asked by the monitoring. All of Debian's exporters, its
// Prometheus and its Alertmanager run as one user.
func (b *bundler) exporters(f *folder, h config.SiteHost, own string) {
	p := home{Dir: "/etc/prometheus", TLS: "/etc/prometheus/tls"}
	at := programsAt(b.site, h, p)
	then := none
	if h.Tiers[0] == config.TierWeb { // The others read their certificate anew each time.
		then = action{"prometheus-nginx-exporter", "restart"}
		f.put("/etc/default/prometheus-nginx-exporter", defaults(at.nginxExporter()), 0o644, "root", then)
	}
	f.rendered("web.yml", p.Dir+"/web.yml", valuesOf(b.site, h, p), 0o644, none)
	f.copy(p.TLS+"/ca.crt", filepath.Join(own, certs.AuthorityCert), 0o644, "root", none)
	f.pair(p.TLS+"/client", filepath.Join(own, "client"), "prometheus", then)
	f.put("/etc/default/prometheus-node-exporter", defaults(at.nodeExporter()), 0o644, "root", action{"prometheus-node-exporter", "restart"})
}

// defaults is the file with a service's arguments, as Debian's units read it.
func defaults(args []string) []byte {
	return []byte("# Made of the description of the site: `infra bundle` writes it.\nARGS=\"" + strings.Join(args, " ") + "\"\n")
}

func (b *bundler) balancer(f *folder, h config.SiteHost, own string) {
	reload := action{"haproxy", "reload"}
	p := home{Dir: "/etc/haproxy", TLS: "/etc/haproxy/tls", User: "haproxy", Group: "haproxy", PublicCA: "/etc/haproxy/tls/ca.crt", Packaged: true}
	switch {
	case b.options.PublicCA != "":
		p.PublicCA = p.TLS + "/public-ca.crt"
		f.copy(p.PublicCA, b.options.PublicCA, 0o644, "root", reload)
	case b.options.PublicCert != "":
		p.PublicCA = "@system-ca"
	}
	f.copy(p.TLS+"/ca.crt", filepath.Join(own, certs.AuthorityCert), 0o644, "root", reload)
	both, err := os.ReadFile(filepath.Join(own, "client.crt"))
	key, failed := os.ReadFile(filepath.Join(own, "client.key"))
	f.errs = append(f.errs, err, failed)
	f.put(p.TLS+"/both.pem", append(both, key...), 0o600, "root", reload)
	f.rendered("haproxy.cfg", p.Dir+"/haproxy.cfg", valuesOf(b.site, h, p), 0o644, reload)
	// Which of its interfaces has the address, the host itself knows.
	p = home{Dir: "/etc/keepalived", Interface: "@interface@", Packaged: true}
	f.rendered("check-balancer", p.Dir+"/check-balancer", valuesOf(b.site, h, p), 0o755, none)
	f.rendered("keepalived.conf", p.Dir+"/keepalived.conf", valuesOf(b.site, h, p), 0o644, action{"keepalived", "reload"})
}

func (b *bundler) web(f *folder, h config.SiteHost, own string) error {
	reload := action{"nginx", "reload"}
	p := home{Dir: "/etc/nginx", TLS: "/etc/nginx/tls", User: "www-data", Group: "www-data", Packaged: true}
	cert, key := b.options.PublicCert, b.options.PublicKey
	if cert == "" {
		public, err := b.issued(publicRequest(b.site, b.options.ValidFor))
		if err != nil {
			return err
		}
		cert, key = filepath.Join(public, "client.crt"), filepath.Join(public, "client.key")
	}
	f.copy(p.TLS+"/ca.crt", filepath.Join(own, certs.AuthorityCert), 0o644, "root", reload)
	f.pair(p.TLS+"/client", filepath.Join(own, "client"), "root", reload)
	f.copy(p.TLS+"/public/client.key", key, 0o600, "root", reload)
	f.copy(p.TLS+"/public/client.crt", cert, 0o644, "root", reload)
	f.rendered("nginx.conf", p.Dir+"/nginx.conf", valuesOf(b.site, h, p), 0o644, reload)
	return nil
}

func (b *bundler) application(f *folder, h config.SiteHost, own string) error {
	restart := action{"shop", "restart"}
	p := home{Dir: shopFolder, TLS: shopFolder + "/tls", User: shopUser, Group: shopUser, Packaged: true}
	f.put("/usr/local/bin/shop", b.shop, 0o755, "root", restart)
	f.copy(p.TLS+"/ca.crt", filepath.Join(own, certs.AuthorityCert), 0o644, "root", restart)
	f.pair(p.TLS+"/client", filepath.Join(own, "client"), p.User, restart)
	f.put(p.Dir+"/db.password", []byte(b.password+"\n"), 0o600, p.User, restart)
	f.rendered("shop.service", "/etc/systemd/system/shop.service", struct {
		values
		ShopArguments string
	}{valuesOf(b.site, h, p), strings.Join(programsAt(b.site, h, p).shop(p.TLS+"/client.key", p.Dir+"/db.password"), " ")}, 0o644, restart)
	return nil
}

func (b *bundler) monitoring(f *folder, h config.SiteHost, own string) {
	p := home{Dir: "/etc/prometheus", TLS: "/etc/prometheus/tls", Packaged: true}
	at := programsAt(b.site, h, p)
	reload := action{"prometheus", "reload"}
	f.pair(p.TLS+"/reader", filepath.Join(own, "reader"), "prometheus", none)
	f.rendered("prometheus.yml", p.Dir+"/prometheus.yml", valuesOf(b.site, h, p), 0o644, reload)
	f.put(p.Dir+"/mysqlha.rules.yml", prometheus.Rules(), 0o644, "root", reload)
	rules, err := templateFiles.ReadFile("templates/site.rules.yml")
	f.errs = append(f.errs, err)
	f.put(p.Dir+"/site.rules.yml", rules, 0o644, "root", reload)
	f.put("/etc/default/prometheus", defaults(at.prometheus("/var/lib/prometheus/metrics2")), 0o644, "root", action{"prometheus", "restart"})
	f.put("/etc/default/prometheus-alertmanager", defaults(at.alertmanager("/var/lib/prometheus/alertmanager")), 0o644, "root", action{"prometheus-alertmanager", "restart"})
	routing := b.options.Routing
	if routing == "" {
		made := filepath.Join(f.dir, "made")
		f.errs = append(f.errs, layout{site: b.site}.writeRouting(made))
		routing = filepath.Join(made, "alertmanager.yml")
		defer os.RemoveAll(made)
	}
	f.copy(p.Dir+"/alertmanager.yml", routing, 0o644, "root", action{"prometheus-alertmanager", "reload"})
}

// daemon is mysqlhad of a database host, or the redirector of an application host.
func (b *bundler) daemon(f *folder, h config.SiteHost) error {
	f.errs = append(f.errs, copyFile(b.packages["mysqlhad"], filepath.Join(f.dir, "packages", filepath.Base(b.packages["mysqlhad"])), 0o600))
	names := []string{h.Name, h.Addresses[0], "localhost", "127.0.0.1"}
	server := h.Tiers[0] == config.TierDB
	user, role, restart := "mysqlha", certs.RoleRedirector, action{"mysqlha-redirector", "restart"}
	if server {
		user, role, restart = "mysql", certs.RoleMember, action{"mysqlhad", "restart"}
	}
	dir, err := b.issued(certs.For(role, h.Name, names, b.options.ValidFor))
	if err != nil {
		return err
	}
	// They are read anew at each handshake.
	f.copy("/etc/mysqlha/ca.crt", filepath.Join(dir, certs.AuthorityCert), 0o644, "root", none)
	f.pair("/etc/mysqlha/host", filepath.Join(dir, "host"), user, none)
	if server {
		// Whoever leads applications to this mysqld has them see its certificate.
		for _, other := range append(hostsOf(b.site, config.TierDB), hostsOf(b.site, config.TierApp)...) {
			names = append(names, other.Name, other.Addresses[0])
		}
		if _, err := b.issued(certs.For(certs.RoleMysqld, h.Name, names, b.options.ValidFor)); err != nil {
			return err
		}
		f.pair("/etc/mysqlha/mysqld", filepath.Join(dir, "mysqld"), user, none)
	}
	text, err := b.daemonFile(h).Render()
	f.put("/etc/mysqlha/mysqlhad.yaml", text, 0o640, "root:"+user, restart) // It has the token of etcd.
	return err
}

func (b *bundler) daemonFile(h config.SiteHost) sandbox.HostFile {
	p := b.site.Ports
	servers := hostsOf(b.site, config.TierDB)
	c := sandbox.HostFile{Cluster: b.site.Cluster, Host: h.Name, Roles: []string{"redirector"}, DataDir: "/var/lib/mysqlha", CA: "/etc/mysqlha/ca.crt", Cert: "/etc/mysqlha/host.crt", Key: "/etc/mysqlha/host.key",
		EtcdToken: b.token, API: address(h, p.API), Primary: servers[0].Name}
	for _, s := range servers {
		c.Servers = append(c.Servers, sandbox.Endpoint{Name: s.Name, MySQL: address(s, p.MySQL), API: address(s, p.API)})
		c.Members = append(c.Members, sandbox.Endpoint{Name: s.Name, Client: address(s, p.EtcdClient), Peer: address(s, p.EtcdPeer)})
	}
	if h.Tiers[0] == config.TierDB {
		c.Roles = []string{"member", "etcd"}
		c.Socket, c.MySQLDir = "/run/mysqld/mysqld.sock", "/var/lib/mysql"
	} else {
		c.Write, c.Read = address(h, p.Write), address(h, p.Read)
	}
	return c
}

var serverID = regexp.MustCompile(`(?m)^server_id = 1 .*$`)

// server is what mysqld has, and the application's account.
func (b *bundler) server(f *folder, h config.SiteHost) error {
	options := texts.MySQLOptions()
	if len(serverID.FindAll(options, -1)) != 1 {
		return errors.New("the shipped options of mysqld have no server_id")
	}
	n := 1 + slices.IndexFunc(hostsOf(b.site, config.TierDB), func(other config.SiteHost) bool { return other.Name == h.Name })
	options = serverID.ReplaceAllLiteral(options, []byte("server_id = "+strconv.Itoa(n)))
	options = append(options, fmt.Sprintf("\n# Of this host.\nbind_address = %s\nport = %d\nmysqlx = OFF                   # nobody may ask it: the firewall has no port of it\n", h.Addresses[0], b.site.Ports.MySQL)...)
	f.put("/etc/sysctl.d/60-mysqlha.conf", systemd.Kernel(), 0o644, "root", action{"systemd-sysctl", "restart"})
	f.put("/etc/mysql/conf.d/mysqlha.cnf", options, 0o644, "root", action{"mysqlha-mysqld", "tell"})
	account := "CREATE DATABASE IF NOT EXISTS " + sandbox.AppSchema + ";\n" +
		"CREATE USER IF NOT EXISTS '" + sandbox.AppUser + "'@'%' IDENTIFIED BY '" + b.password + "' REQUIRE SSL;\n" +
		"GRANT ALL ON " + sandbox.AppSchema + ".* TO '" + sandbox.AppUser + "'@'%';\n"
	return writeFile(filepath.Join(f.dir, "account.sql"), []byte(account), 0o600)
}

// script is the script that installs a host: what the host is, what all hosts share, and
// what those of its tier do.
func (b *bundler) script(h config.SiteHost) ([]byte, error) {
	p, tier := b.site.Ports, string(h.Tiers[0])
	// Where each service is to be reached once all is done.
	listens := []string{"prometheus-node-exporter=" + address(h, p.NodeExporter)}
	for unit, port := range map[config.Tier]map[string]int{
		config.TierLB:      {"haproxy": p.WebExporter},
		config.TierWeb:     {"nginx": p.HTTPS, "prometheus-nginx-exporter": p.WebExporter},
		config.TierApp:     {"mysqlha-redirector": p.Write, "shop": p.App},
		config.TierDB:      {"mysqlhad": p.API},
		config.TierMonitor: {"prometheus": p.Prometheus, "prometheus-alertmanager": p.Alertmanager},
	}[h.Tiers[0]] {
		listens = append(listens, unit+"="+address(h, port))
	}
	slices.Sort(listens)
	text := "#!/bin/bash\n# Installs " + h.Name + ", a host of the tier " + tier + " of the site " + b.site.Cluster + ". Made by `infra bundle`: docs/site.md.\nset -euo pipefail\n\n"
	for _, one := range [][2]string{
		{"host", h.Name}, {"tier", tier}, {"address", h.Addresses[0]}, {"arch", b.options.Arch}, {"version", b.version},
		{"ssh_port", strconv.Itoa(p.SSH)},
	} {
		text += one[0] + "='" + one[1] + "'\n"
	}
	text += "admin=('" + strings.Join(b.site.Admin, "' '") + "')\nlistens=('" + strings.Join(listens, "' '") + "')\n"
	for _, part := range []string{"common.sh", tier + ".sh", "main.sh"} {
		more, err := installFiles.ReadFile("install/" + part)
		if err != nil {
			return nil, err
		}
		text += "\n" + string(more)
	}
	return []byte(text), nil
}

// driver is what installs all hosts by ssh, from the database outwards.
func (b *bundler) driver() error {
	list := ""
	for _, tier := range []config.Tier{config.TierDB, config.TierApp, config.TierWeb, config.TierLB, config.TierMonitor} {
		for _, h := range hostsOf(b.site, tier) {
			list += h.Name + " " + h.Addresses[0] + " " + string(tier) + "\n"
		}
	}
	all, err := installFiles.ReadFile("install/all")
	return errors.Join(err, writeFile(filepath.Join(b.dir, "all"), all, 0o755), writeFile(filepath.Join(b.dir, bundleMark), []byte(list), 0o644), os.Chmod(b.dir, 0o700))
}
