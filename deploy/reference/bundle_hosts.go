package reference

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/mysqlha/mysqlha/certs"
	"github.com/mysqlha/mysqlha/config"
	"github.com/mysqlha/mysqlha/deploy/packages/texts"
	"github.com/mysqlha/mysqlha/deploy/prometheus"
	"github.com/mysqlha/mysqlha/deploy/sandbox"
	"github.com/mysqlha/mysqlha/deploy/systemd"
)

// Where the shop's files are on its host, and as whom it runs.
const (
	shopFolder = "/etc/shop"
	shopUser   = "shop"
)

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
	for _, name := range siteRules() {
		rules, err := templateFiles.ReadFile("templates/" + name)
		f.errs = append(f.errs, err)
		f.put(p.Dir+"/"+name, rules, 0o644, "root", reload)
	}
	f.put("/etc/default/prometheus", defaults(at.prometheus("/var/lib/prometheus/metrics2")), 0o644, "root", action{"prometheus", "restart"})
	f.put("/etc/default/prometheus-alertmanager", defaults(at.alertmanager("/var/lib/prometheus/alertmanager")), 0o644, "root", action{"prometheus-alertmanager", "restart"})
	told := action{"prometheus-alertmanager", "reload"}
	if b.options.Routing != "" {
		f.copy(p.Dir+"/alertmanager.yml", b.options.Routing, 0o644, "root", told)
		return
	}
	routing, err := quietRouting()
	f.errs = append(f.errs, err)
	f.put(p.Dir+"/alertmanager.yml", routing, 0o644, "root", told)
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
	// Whoever writes another password into its file changes that of an account that is there.
	identified := "'" + sandbox.AppUser + "'@'%' IDENTIFIED BY '" + b.password + "' REQUIRE SSL;\n"
	account := "CREATE DATABASE IF NOT EXISTS " + sandbox.AppSchema + ";\n" +
		"CREATE USER IF NOT EXISTS " + identified +
		"ALTER USER " + identified +
		"GRANT ALL ON " + sandbox.AppSchema + ".* TO '" + sandbox.AppUser + "'@'%';\n"
	return writeFile(filepath.Join(f.dir, "account.sql"), []byte(account), 0o600)
}
