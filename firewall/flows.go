// Package firewall says who may talk to whom among the hosts of a site, renders that as
// rules for nftables, loads them, and compares what is loaded.
package firewall

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/mysqlha/mysqlha/config"
)

// Anyone is the end of a flow that everybody is, as seen from a public port.
const Anyone = "anyone"

// The other ends of flows that are no tier.
const (
	ends     = "all"
	admin    = "admin"
	dns      = "dns"
	ntp      = "ntp"
	packages = "packages"
)

// Flow lets one end open connections to another.
type Flow struct {
	// From and To are tiers or other ends.
	From, To string
	// Protocol is tcp or udp.
	Protocol string
	// Port is where To listens, Name what that is called.
	Port int
	Name string
}

// Flows are all that is allowed at a site, and why there is nothing else: each line is
// something that a tier cannot work without.
func Flows(s *config.Site) []Flow {
	ports := make(map[string]int)
	for _, p := range s.Ports.Named() {
		ports[p.Name] = p.Port
	}
	var all []Flow
	allow := func(from, to string, names ...string) {
		for _, name := range names {
			all = append(all, Flow{From: from, To: to, Protocol: "tcp", Port: ports[name], Name: name})
		}
	}
	lb, web, app, db, etcd, monitor := string(config.TierLB), string(config.TierWeb), string(config.TierApp), string(config.TierDB), string(config.TierEtcd), string(config.TierMonitor)
	allow(Anyone, lb, "http", "https")
	allow(lb, web, "http", "https") // TLS is passed on.
	allow(web, app, "app")
	// The application's own redirector reads the record, asks daemons for lag, and leads
	// to mysqld; others are on the database hosts.
	allow(app, db, "mysql", "api", "etcd_client", "write", "read")
	allow(app, etcd, "etcd_client")
	allow(db, db, "mysql", "api", "etcd_client", "etcd_peer")
	allow(db, etcd, "api", "etcd_client", "etcd_peer")
	allow(etcd, db, "mysql", "api", "etcd_client", "etcd_peer") // A witness probes mysqld.
	allow(etcd, etcd, "api", "etcd_client", "etcd_peer")
	allow(monitor, ends, "node_exporter")
	allow(monitor, lb, "web_exporter")
	allow(monitor, web, "web_exporter")
	allow(monitor, app, "api")
	allow(monitor, db, "api")
	allow(monitor, etcd, "api")
	allow(monitor, monitor, "prometheus", "alertmanager")
	allow(admin, ends, "ssh")
	allow(admin, app, "api")
	allow(admin, db, "api", "mysql", "etcd_client") // mysqlha certs check looks at what is served.
	allow(admin, etcd, "api", "etcd_client")
	allow(admin, monitor, "prometheus", "alertmanager", "grafana")
	all = append(all,
		Flow{From: ends, To: dns, Protocol: "udp", Port: 53, Name: "dns"}, Flow{From: ends, To: dns, Protocol: "tcp", Port: 53, Name: "dns"},
		Flow{From: ends, To: ntp, Protocol: "udp", Port: 123, Name: "ntp"},
		Flow{From: ends, To: packages, Protocol: "tcp", Port: 443, Name: "packages"})
	for _, f := range s.Extra {
		all = append(all, Flow{From: f.From, To: f.To, Protocol: cmp.Or(f.Protocol, "tcp"), Port: f.Port, Name: "extra"})
	}
	return all
}

// is tells whether a host is an end.
func is(h config.SiteHost, end string) bool {
	return end == ends || slices.Contains(h.Tiers, config.Tier(end))
}

// networks are the addresses of an end; of anyone there are none.
func networks(s *config.Site, end string) []netip.Prefix {
	texts := map[string][]string{admin: s.Admin, dns: s.DNS, ntp: s.NTP, packages: s.Packages}[end]
	if p, err := config.ParseNetwork(end); err == nil {
		return []netip.Prefix{p}
	}
	for _, h := range s.Hosts {
		if is(h, end) {
			texts = append(slices.Clip(texts), h.Addresses...)
		}
	}
	var all []netip.Prefix
	for _, text := range texts {
		if p, err := config.ParseNetwork(text); err == nil { // They have been checked.
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	return slices.Compact(all)
}

// Allows tells whether a site lets a host open a TCP connection to a port of another: what
// the rules of both amount to. What is for anyone is for those outside, whose own rules are
// not ours: the site's hosts have no business there, and theirs do not let them out.
func Allows(s *config.Site, from, to config.SiteHost, port int) bool {
	return slices.ContainsFunc(Flows(s), func(f Flow) bool {
		who := reaches(s, f.From, from)
		if f.From == Anyone {
			who = !reaches(s, ends, from)
		}
		return f.Protocol == "tcp" && f.Port == port && who && reaches(s, f.To, to)
	})
}

// reaches tells whether an end has one of a host's addresses.
func reaches(s *config.Site, end string, h config.SiteHost) bool {
	for _, text := range h.Addresses {
		a, err := netip.ParseAddr(text)
		if err == nil && slices.ContainsFunc(networks(s, end), func(p netip.Prefix) bool { return p.Contains(a) }) {
			return true
		}
	}
	return false
}
