package reference

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"text/template"
	"time"

	"github.com/google/renameio/v2"
	"go.yaml.in/yaml/v4"

	"github.com/mysqlha/mysqlha/certs"
	"github.com/mysqlha/mysqlha/config"
	"github.com/mysqlha/mysqlha/deploy/alertmanager"
	"github.com/mysqlha/mysqlha/deploy/prometheus"
)

//go:embed templates/*
var templateFiles embed.FS

// publicName is whose certificate customers see, as a holder of the authority's folder.
const publicName = "public"

// certificatesValid is for as long as anyone keeps a site that is made to be broken.
const certificatesValid = 365 * 24 * time.Hour

// siteRules are the rules of the tiers around the database, templates that are none.
func siteRules() []string { return []string{"site.rules.yml", "tiers.rules.yml"} }

// nobody is as whom everything runs that needs no rights: on hosts of their own each
// would be a user of its own. Debian has this one on every machine.
const (
	nobodyUser  = "nobody"
	nobodyGroup = "nogroup"
	nobodyID    = 65534
)

// home is where the files of a program are on its host, and as whom it runs.
type home struct {
	// Dir has its configuration, TLS its certificates.
	Dir, TLS string
	// User and Group are whom it becomes.
	User, Group string
	// Interface is the network interface with the host's address.
	Interface string
	// PublicCA is the file of the authority of the certificate that customers see.
	PublicCA string
	// Packaged says that Debian's package runs it as a service, with its own folders for
	// all else.
	Packaged bool
}

// values are what templates know of a host.
type values struct {
	home
	Site      *config.Site
	Host      config.SiteHost
	Address   string
	Web, App  []config.SiteHost
	Balancers []string
	Peers     []string
	Priority  int
	AppName   string
	Jobs      []job
	// Scrape is how often Prometheus asks, and how long it waits for an answer.
	Scrape struct{ Interval, Timeout time.Duration }
}

// How often Prometheus asks everything and judges what it has, and how long it waits for
// an answer. The rules of the site (site.rules.yml) count on both.
const (
	scrapeInterval = 5 * time.Second
	scrapeTimeout  = 2 * time.Second
)

// job is what a Prometheus scrapes in one way.
type job struct {
	Name, Certificate string
	Targets           []target
}

type target struct {
	Host, Address string
	Tier          config.Tier
}

// jobs are all that is scraped, and what a site is healthy by.
func jobs(s *config.Site) []job {
	all := []job{
		{Name: "mysqlha", Certificate: "reader"}, {Name: "node", Certificate: "client"}, {Name: "haproxy", Certificate: "client"},
		{Name: "nginx", Certificate: "client"}, {Name: "shop", Certificate: "client"}, {Name: "prometheus", Certificate: "client"}, {Name: "alertmanager", Certificate: "client"},
	}
	add := func(name string, h config.SiteHost, port int) {
		for i := range all {
			if all[i].Name == name {
				all[i].Targets = append(all[i].Targets, target{h.Name, address(h, port), h.Tiers[0]})
			}
		}
	}
	for _, h := range s.Hosts {
		add("node", h, s.Ports.NodeExporter)
		switch h.Tiers[0] {
		case config.TierLB:
			add("haproxy", h, s.Ports.WebExporter)
		case config.TierWeb:
			add("nginx", h, s.Ports.WebExporter)
		case config.TierApp:
			add("shop", h, s.Ports.App)
			add("mysqlha", h, s.Ports.API)
		case config.TierDB:
			add("mysqlha", h, s.Ports.API)
		case config.TierMonitor:
			add("prometheus", h, s.Ports.Prometheus)
			add("alertmanager", h, s.Ports.Alertmanager)
		}
	}
	return all
}

// home is where everything of a host is on this machine.
func (l layout) home(h config.SiteHost) home {
	return home{Dir: l.host(h.Name), TLS: l.host(h.Name, "tls"), User: nobodyUser, Group: nobodyGroup, Interface: "eth0", PublicCA: l.host(h.Name, "tls", "ca.crt")}
}

func (l layout) values(h config.SiteHost) values { return valuesOf(l.site, h, l.home(h)) }

func valuesOf(s *config.Site, h config.SiteHost, p home) values {
	v := values{home: p, Site: s, Host: h, Address: h.Addresses[0], Web: hostsOf(s, config.TierWeb), App: hostsOf(s, config.TierApp), AppName: applicationName(s), Jobs: jobs(s)}
	v.Scrape.Interval, v.Scrape.Timeout = scrapeInterval, scrapeTimeout
	for i, lb := range hostsOf(s, config.TierLB) {
		v.Balancers = append(v.Balancers, lb.Addresses[0])
		if lb.Name == h.Name {
			v.Priority = 150 - 10*i
		} else {
			v.Peers = append(v.Peers, lb.Addresses[0])
		}
	}
	return v
}

// publicRequest is the certificate that customers see.
func publicRequest(s *config.Site, validFor time.Duration) certs.Request {
	return certs.Request{Name: publicName, Hosts: []string{s.Public.Name, s.Public.Address}, Server: true, ValidFor: validFor}
}

// ownRequests are the certificates that a host has besides those of the cluster: of the
// host itself, without rights there, and the monitoring's.
func ownRequests(s *config.Site, h config.SiteHost, validFor time.Duration) []certs.Request {
	names := []string{h.Name, h.Addresses[0]}
	if h.Tiers[0] == config.TierApp {
		names = append(names, applicationName(s))
	}
	requests := []certs.Request{{Name: h.Name, Hosts: names, Server: true, Client: true, ValidFor: validFor}}
	if h.Tiers[0] == config.TierMonitor {
		requests = append(requests, certs.For(certs.RoleReader, h.Name, nil, validFor))
	}
	return requests
}

// writeHosts writes what each host has: certificates of the cluster's authority, and the
// configuration of what runs there.
func (l layout) writeHosts(pki certs.Folder) error {
	if _, err := pki.Issue(publicRequest(l.site, certificatesValid)); err != nil {
		return err
	}
	for _, h := range l.site.Hosts {
		if err := l.writeHost(pki, h); err != nil {
			return fmt.Errorf("writing the files of %s: %w", h.Name, err)
		}
	}
	if err := os.MkdirAll(l.path(customerHost), 0o755); err != nil {
		return fmt.Errorf("writing what a customer needs: %w", err)
	}
	return copyFile(filepath.Join(string(pki), certs.AuthorityCert), l.authority(), 0o644)
}

func (l layout) writeHost(pki certs.Folder, h config.SiteHost) error {
	v, tier := l.values(h), h.Tiers[0]
	issued, err := pki.Issue(ownRequests(l.site, h, certificatesValid)...)
	if err != nil {
		return err
	}
	// Keys belong to who reads them: nginx and HAProxy do as root, before they give that up.
	owner := nobodyID
	if tier == config.TierLB || tier == config.TierWeb {
		owner = 0
	}
	bases := []string{"client"}
	if tier == config.TierMonitor {
		bases = append(bases, "reader")
	}
	errs := []error{copyFile(filepath.Join(issued, certs.AuthorityCert), filepath.Join(v.TLS, "ca.crt"), 0o644)}
	for _, base := range bases {
		errs = append(errs, handPair(filepath.Join(issued, base), filepath.Join(v.TLS, base), nobodyID))
	}
	render := func(name string, mode os.FileMode) {
		errs = append(errs, render(name, filepath.Join(v.Dir, name), v, mode))
	}
	render("web.yml", 0o644)
	switch tier {
	case config.TierLB:
		render("haproxy.cfg", 0o644)
		render("keepalived.conf", 0o644)
		render("check-balancer", 0o755)
		errs = append(errs, join(filepath.Join(v.TLS, "both.pem"), filepath.Join(issued, "client.crt"), filepath.Join(issued, "client.key")))
	case config.TierWeb:
		render("nginx.conf", 0o644)
		errs = append(errs, handPair(filepath.Join(string(pki), publicName, "client"), filepath.Join(v.TLS, "public", "client"), owner),
			os.MkdirAll(filepath.Join(v.Dir, "temp"), 0o755))
	case config.TierApp:
		errs = append(errs, copyFile(l.cluster("app.password"), l.host(h.Name, "db.password"), 0o600), os.Chown(l.host(h.Name, "db.password"), nobodyID, nobodyID))
	case config.TierMonitor:
		render("prometheus.yml", 0o644)
		routing, err := quietRouting()
		errs = append(errs, err, writeFile(filepath.Join(v.Dir, "alertmanager.yml"), routing, 0o644), writeFile(filepath.Join(v.Dir, "mysqlha.rules.yml"), prometheus.Rules(), 0o644))
		// What has braces of its own is no template.
		for _, name := range siteRules() {
			rules, err := templateFiles.ReadFile("templates/" + name)
			errs = append(errs, err, writeFile(filepath.Join(v.Dir, name), rules, 0o644))
		}
		data := filepath.Join(v.Dir, "prometheus")
		errs = append(errs, os.MkdirAll(data, 0o755), os.Chown(data, nobodyID, nobodyID))
	}
	return errors.Join(errs...)
}

// quietRouting is the shipped routing of alerts with receivers that tell nobody: the alerts
// are seen in Alertmanager and Prometheus.
func quietRouting() ([]byte, error) {
	var shipped struct {
		Route    map[string]any `yaml:"route"`
		Inhibit  []any          `yaml:"inhibit_rules"`
		Receiver []struct {
			Name string `yaml:"name"`
		} `yaml:"receivers"`
	}
	if err := yaml.Unmarshal(alertmanager.Routing(), &shipped); err != nil {
		return nil, fmt.Errorf("reading the shipped routing of alerts: %w", err)
	}
	text, err := yaml.Marshal(map[string]any{"route": shipped.Route, "inhibit_rules": shipped.Inhibit, "receivers": shipped.Receiver})
	if err != nil {
		return nil, fmt.Errorf("writing the routing of alerts: %w", err)
	}
	return text, nil
}

// handPair copies a certificate and its key, readable by their owner alone.
func handPair(from, to string, owner int) error {
	return errors.Join(copyFile(from+".key", to+".key", 0o600), os.Chown(to+".key", owner, owner), copyFile(from+".crt", to+".crt", 0o644))
}

// join writes several files as one that root alone reads.
func join(to string, files ...string) error {
	var all []byte
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		all = append(all, text...)
	}
	return writeFile(to, all, 0o600)
}

func copyFile(from, to string, mode os.FileMode) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return writeFile(to, text, mode)
}

func writeFile(file string, text []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return renameio.WriteFile(file, text, mode, renameio.WithStaticPermissions(mode))
}

func render(name, file string, v any, mode os.FileMode) error {
	text, err := rendered(name, v)
	if err != nil {
		return err
	}
	return writeFile(file, text, mode)
}

// rendered fills in a template.
func rendered(name string, v any) ([]byte, error) {
	t, err := template.ParseFS(templateFiles, "templates/"+name)
	var text bytes.Buffer
	if err == nil {
		err = t.Execute(&text, v)
	}
	if err != nil {
		return nil, fmt.Errorf("writing %s: %w", name, err)
	}
	return text.Bytes(), nil
}

// asNobody is a command line that gives up all rights first.
func asNobody(args ...string) []string {
	id := strconv.Itoa(nobodyID)
	return append([]string{"setpriv", "--reuid=" + id, "--regid=" + id, "--clear-groups", "--no-new-privs", "--inh-caps=-all"}, args...)
}
