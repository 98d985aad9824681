package reference

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mysqlha/mysqlha/config"
	"github.com/mysqlha/mysqlha/firewall"
)

// described reads the shipped description with some words replaced.
func described(t *testing.T, replace ...string) *config.Site {
	t.Helper()
	file := filepath.Join(t.TempDir(), "site.yaml")
	if err := os.WriteFile(file, []byte(strings.NewReplacer(replace...).Replace(string(Description))), 0o644); err != nil {
		t.Fatal(err)
	}
	s, err := config.LoadSite(file)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestADescriptionThatCannotBeASiteHereIsRefused(t *testing.T) {
	if err := checkSite(described(t)); err != nil {
		t.Fatalf("the shipped one: %v", err)
	}
	for _, c := range []struct{ name, from, to, says string }{
		{"a host for two things", "tiers: [web], ", "tiers: [web, app], ", "each host is for one thing"},
		{"a host with an address of IPv6", "[10.77.2.1]", `["fd00::1"]`, "one, of IPv4"},
		{"a name for customers", "name: web1", "name: customer", "no host can be called customer"},
		{"database hosts by other names", "name: db2", "name: data2", "should be called db2"},
		{"no balancer", "tiers: [lb], ", "tiers: [web], ", "0 hosts of the tier lb"},
		{"nowhere to reach it", "public: {", "# public: {", "public.name and public.address are missing"},
		{"administrators of a whole network", "admin: [10.77.9.1]", "admin: [10.77.9.0/24]", "the address of this machine"},
		{"addresses of two worlds", "10.77.9.1", "192.168.9.1", "one private network"},
	} {
		if err := checkSite(described(t, c.from, c.to)); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: it says %v, want %q", c.name, err, c.says)
		}
	}
}

func TestTheNetworkIsTheSmallestThatHasEveryAddress(t *testing.T) {
	if n := network(described(t)); n != netip.MustParsePrefix("10.77.0.0/20") {
		t.Errorf("it is %s", n)
	}
}

// What the monitoring asks, the firewalls let through.
func TestWhateverIsScrapedTheDescriptionAllows(t *testing.T) {
	s := described(t)
	mon := hostsOf(s, config.TierMonitor)[0]
	checked := 0
	for _, j := range jobs(s) {
		for _, target := range j.Targets {
			at := netip.MustParseAddrPort(target.Address)
			h, found := s.Host(target.Host)
			if !found || !firewall.Allows(s, mon, h, int(at.Port())) {
				t.Errorf("%s of %s at %s is not let through", j.Name, target.Host, at)
			}
			checked++
		}
	}
	if checked != 10+2+2+2*2+3+2 { // A node exporter for each host, and what else runs on lb, web, app, db and mon.
		t.Errorf("%d targets are scraped", checked)
	}
}

// The files of every host are made of the description without anything left open.
func TestEveryTemplateIsFilledIn(t *testing.T) {
	l := layout{Name: "mhatest", Programs: "/programs", dir: t.TempDir(), site: described(t)}
	for _, h := range l.site.Hosts {
		for _, name := range map[config.Tier][]string{config.TierLB: {"haproxy.cfg", "keepalived.conf", "check-balancer"}, config.TierWeb: {"nginx.conf"}, config.TierMonitor: {"prometheus.yml"}}[h.Tiers[0]] {
			file := filepath.Join(l.dir, h.Name, name)
			if err := render(name, file, l.values(h), 0o644); err != nil {
				t.Errorf("%s of %s: %v", name, h.Name, err)
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil || strings.Contains(string(text), "<no value>") || strings.Contains(string(text), "{{") {
				t.Errorf("%s of %s: %v\n%s", name, h.Name, err, text)
			}
		}
	}
	// The first balancer is preferred where both begin.
	if first, second := l.values(hostsOf(l.site, config.TierLB)[0]), l.values(hostsOf(l.site, config.TierLB)[1]); first.Priority <= second.Priority || first.Peers[0] != second.Address {
		t.Errorf("the balancers have %d and %d, and the first one's peer is %v", first.Priority, second.Priority, first.Peers)
	}
}
