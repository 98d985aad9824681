package config

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
)

// Tier is what a host is for in the whole infrastructure, and so whom its firewall lets
// talk to it.
type Tier string

// The tiers.
const (
	// TierLB balances the load of the web servers and passes TLS on.
	TierLB Tier = "lb"
	// TierWeb ends HTTPS and asks the application servers.
	TierWeb Tier = "web"
	// TierApp runs the application and a redirector.
	TierApp Tier = "app"
	// TierDB runs mysqld and its daemon, with a member of etcd.
	TierDB Tier = "db"
	// TierEtcd runs a member of etcd or a witness without a server.
	TierEtcd Tier = "etcd"
	// TierMonitor collects metrics and sends alerts.
	TierMonitor Tier = "monitor"
)

// Tiers returns all of them.
func Tiers() []Tier { return []Tier{TierLB, TierWeb, TierApp, TierDB, TierEtcd, TierMonitor} }

// Site describes the hosts around a cluster, for their firewalls: the same file on all.
type Site struct {
	// Cluster is the name of the cluster whose servers these are.
	Cluster string `yaml:"cluster"`
	// Hosts are all hosts of the site.
	Hosts []SiteHost `yaml:"hosts"`
	// Admin are the addresses and networks from which people log in.
	Admin []string `yaml:"admin"`
	// DNS and NTP are the servers that the hosts ask for names and for the time.
	DNS []string `yaml:"dns"`
	NTP []string `yaml:"ntp"`
	// Packages are the addresses and networks from which hosts fetch packages, by HTTPS.
	Packages []string `yaml:"packages"`
	// Ports are those on which everything listens.
	Ports SitePorts `yaml:"ports"`
	// Public is how clients from outside reach the site.
	Public SitePublic `yaml:"public"`
	// Extra is what else may be talked about.
	Extra []SiteFlow `yaml:"extra"`
	// Limits keep one client from taking everything at a public port.
	Limits SiteLimits `yaml:"limits"`
}

// SitePublic is where a site is reached from outside.
type SitePublic struct {
	// Name is the host name that clients ask for, and that the site's certificate proves.
	Name string `yaml:"name"`
	// Address is the IP address that the balancers hold in turn.
	Address string `yaml:"address"`
}

// SiteFlow lets hosts talk to others on a port.
type SiteFlow struct {
	// From and To are tiers, all for all hosts of the site, admin, or addresses and
	// networks.
	From string `yaml:"from"`
	To   string `yaml:"to"`
	// Port is the port, Protocol tcp or udp; default tcp.
	Port     int    `yaml:"port"`
	Protocol string `yaml:"protocol"`
}

// SiteHost is one host.
type SiteHost struct {
	// Name is its own, as in a daemon's configuration.
	Name string `yaml:"name"`
	// Tiers are what it is for.
	Tiers []Tier `yaml:"tiers"`
	// Addresses are its IP addresses, by which the other hosts know it.
	Addresses []string `yaml:"addresses"`
}

// SitePorts are the ports of a site, all TCP.
type SitePorts struct {
	SSH          int `yaml:"ssh"`           // 22
	HTTP         int `yaml:"http"`          // 80, which leads to HTTPS
	HTTPS        int `yaml:"https"`         // 443
	App          int `yaml:"app"`           // 8443, the application's HTTPS
	MySQL        int `yaml:"mysql"`         // 3306
	API          int `yaml:"api"`           // 8008, the daemon's HTTPS endpoint
	Write        int `yaml:"write"`         // 6446, the redirector's
	Read         int `yaml:"read"`          // 6447, the redirector's
	EtcdClient   int `yaml:"etcd_client"`   // 2379
	EtcdPeer     int `yaml:"etcd_peer"`     // 2380
	NodeExporter int `yaml:"node_exporter"` // 9100
	WebExporter  int `yaml:"web_exporter"`  // 9113, the web server's
	Prometheus   int `yaml:"prometheus"`    // 9090
	Alertmanager int `yaml:"alertmanager"`  // 9093
	Grafana      int `yaml:"grafana"`       // 3000
}

// SiteLimits are what one address may have of a public port.
type SiteLimits struct {
	// Connections is how many at a time; default 200.
	Connections int `yaml:"connections"`
	// NewPerSecond is how many new ones a second, in the long run; default 50. Burst is
	// how many at once; default 200.
	NewPerSecond int `yaml:"new_per_second"`
	Burst        int `yaml:"burst"`
}

func siteDefaults() *Site {
	return &Site{
		Ports: SitePorts{SSH: 22, HTTP: 80, HTTPS: 443, App: 8443, MySQL: 3306, API: 8008, Write: 6446, Read: 6447, EtcdClient: 2379, EtcdPeer: 2380,
			NodeExporter: 9100, WebExporter: 9113, Prometheus: 9090, Alertmanager: 9093, Grafana: 3000},
		Limits: SiteLimits{Connections: 200, NewPerSecond: 50, Burst: 200},
	}
}

// Host returns the host of that name, and whether there is one.
func (s *Site) Host(name string) (SiteHost, bool) {
	i := slices.IndexFunc(s.Hosts, func(h SiteHost) bool { return h.Name == name })
	if i < 0 {
		return SiteHost{}, false
	}
	return s.Hosts[i], true
}

// LoadSite reads and checks the description of a site at path. Any error is a Faults with
// everything that is wrong.
func LoadSite(path string) (*Site, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	data, err := readFile(absolute)
	if err != nil {
		return nil, unreadable(path, err)
	}
	r := &reader{file: path, at: map[string]origin{}, bad: map[string]bool{}}
	s := siteDefaults()
	if r.document(data, s) {
		r.checkSite(s)
	}
	if len(r.faults) > 0 {
		r.faults.sort()
		return nil, r.faults
	}
	return s, nil
}

func (r *reader) checkSite(s *Site) {
	r.needName("cluster", s.Cluster)
	if r.sound("hosts") && len(s.Hosts) == 0 {
		r.fault("hosts", "is missing", "list the hosts: {name: db1, tiers: [db], addresses: [10.0.0.1]}")
	}
	names, addresses := map[string]string{}, map[string]string{}
	for i, h := range s.Hosts {
		at := fmt.Sprintf("hosts[%d]", i)
		r.needName(at+".name", h.Name)
		r.unique(names, at+".name", h.Name, h.Name, "give each host a name of its own")
		if r.sound(at+".tiers") && len(h.Tiers) == 0 {
			r.fault(at+".tiers", "is missing", "write what the host is for: "+tierNames())
		}
		for j, tier := range h.Tiers {
			if path := fmt.Sprintf("%s.tiers[%d]", at, j); r.sound(path) && !slices.Contains(Tiers(), tier) {
				r.fault(path, "is "+shown(string(tier))+", not one of "+tierNames(), "write one of them")
			}
		}
		if r.sound(at+".addresses") && len(h.Addresses) == 0 {
			r.fault(at+".addresses", "is missing", "write the host's IP addresses: [10.0.0.1]")
		}
		for j, text := range h.Addresses {
			path := fmt.Sprintf("%s.addresses[%d]", at, j)
			if a, err := netip.ParseAddr(text); err != nil || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() {
				r.fault(path, "is "+shown(text)+", which is not the IP address of a host", "write one such as 10.0.0.1 or fd00::1")
			} else {
				r.unique(addresses, path, a.String(), text, "an address is that of one host")
			}
		}
	}
	for _, list := range []struct {
		path string
		all  []string
	}{{"admin", s.Admin}, {"dns", s.DNS}, {"ntp", s.NTP}, {"packages", s.Packages}} {
		for i, text := range list.all {
			if _, err := ParseNetwork(text); err != nil {
				r.fault(fmt.Sprintf("%s[%d]", list.path, i), "is "+shown(text)+", which is neither an IP address nor a network", "write one such as 10.0.9.0/24")
			}
		}
	}
	if r.sound("admin") && len(s.Admin) == 0 {
		r.fault("admin", "is missing", "write the networks from which people log in: nobody could, with such a firewall")
	}
	if text := s.Public.Address; text != "" {
		if a, err := netip.ParseAddr(text); err != nil || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() {
			r.fault("public.address", "is "+shown(text)+", which is not an IP address that a host can hold", "write one such as 10.0.0.10")
		} else {
			r.unique(addresses, "public.address", a.String(), text, "it moves between the balancers, and is no host's own")
		}
	}
	r.checkSitePorts(s)
	for i, f := range s.Extra {
		at := fmt.Sprintf("extra[%d]", i)
		for path, end := range map[string]string{at + ".from": f.From, at + ".to": f.To} {
			_, err := ParseNetwork(end)
			if r.need(path, end, "write a tier, all, admin, or a network") && err != nil && end != "all" && end != "admin" && !slices.Contains(Tiers(), Tier(end)) {
				r.fault(path, "is "+shown(end)+", which is no tier and no network", "write "+tierNames()+", all, admin, or a network such as 10.0.7.0/24")
			}
		}
		if r.sound(at+".port") && (f.Port < 1 || f.Port > 65535) {
			r.fault(at+".port", fmt.Sprintf("is %d, which is no port", f.Port), "write a number from 1 to 65535")
		}
		if f.Protocol != "" && f.Protocol != "tcp" && f.Protocol != "udp" {
			r.fault(at+".protocol", "is "+shown(f.Protocol), "write tcp or udp")
		}
	}
	for path, n := range map[string]int{"limits.connections": s.Limits.Connections, "limits.new_per_second": s.Limits.NewPerSecond, "limits.burst": s.Limits.Burst} {
		if r.sound(path) && (n < 1 || n > 1_000_000) {
			r.fault(path, fmt.Sprintf("is %d", n), "write a number from 1 to 1000000")
		}
	}
}

func (r *reader) checkSitePorts(s *Site) {
	seen := map[int]string{}
	for _, one := range s.Ports.Named() {
		path := "ports." + one.Name
		switch {
		case !r.sound(path):
		case one.Port < 1 || one.Port > 65535:
			r.fault(path, fmt.Sprintf("is %d, which is no port", one.Port), "write a number from 1 to 65535")
		case seen[one.Port] != "":
			r.fault(path, fmt.Sprintf("is %d, the same as %s", one.Port, seen[one.Port]), "two things cannot listen on one port")
		default:
			seen[one.Port] = path
		}
	}
}

// NamedPort is a port and what it is called.
type NamedPort struct {
	Name string
	Port int
}

// Named returns all ports with their names, in the order of the file.
func (p SitePorts) Named() []NamedPort {
	return []NamedPort{{"ssh", p.SSH}, {"http", p.HTTP}, {"https", p.HTTPS}, {"app", p.App}, {"mysql", p.MySQL}, {"api", p.API}, {"write", p.Write}, {"read", p.Read},
		{"etcd_client", p.EtcdClient}, {"etcd_peer", p.EtcdPeer}, {"node_exporter", p.NodeExporter}, {"web_exporter", p.WebExporter},
		{"prometheus", p.Prometheus}, {"alertmanager", p.Alertmanager}, {"grafana", p.Grafana}}
}

// ParseNetwork reads an IP address, as the network that has it alone, or a network.
func ParseNetwork(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, fmt.Errorf("%q is neither an IP address nor a network", text)
	}
	return p.Masked(), nil
}

func tierNames() string {
	var names []string
	for _, t := range Tiers() {
		names = append(names, string(t))
	}
	return strings.Join(names, ", ")
}
