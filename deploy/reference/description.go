package reference

import (
	_ "embed"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/mysqlha/mysqlha/config"
)

// Description is the description of the reference site as it is shipped.
//
//go:embed site.yaml
var Description []byte

// customerHost is the host from which customers ask, outside the site.
const customerHost = "customer"

// outside is the network where customers are: one of those that are kept for examples.
const (
	outside         = "198.51.100.0/24"
	customerAddress = "198.51.100.10"
)

// checkHosts says what a description lacks to be a whole site, wherever its hosts are.
func checkHosts(s *config.Site) error {
	count := make(map[config.Tier]int)
	for _, h := range s.Hosts {
		if len(h.Tiers) != 1 {
			return fmt.Errorf("the host %s has %d tiers: here each host is for one thing", h.Name, len(h.Tiers))
		}
		if len(h.Addresses) != 1 || !netip.MustParseAddr(h.Addresses[0]).Is4() {
			return fmt.Errorf("the host %s has the addresses %v: here each has one, of IPv4", h.Name, h.Addresses)
		}
		count[h.Tiers[0]]++
	}
	for _, want := range []struct {
		tier        config.Tier
		least, most int
	}{{config.TierLB, 1, 8}, {config.TierWeb, 1, 16}, {config.TierApp, 1, 16}, {config.TierDB, 3, 5}, {config.TierMonitor, 1, 1}, {config.TierEtcd, 0, 0}} {
		if n := count[want.tier]; n < want.least || n > want.most {
			return fmt.Errorf("there are %d hosts of the tier %s: here there can be %d to %d", n, want.tier, want.least, want.most)
		}
	}
	if s.Public.Name == "" || s.Public.Address == "" {
		return fmt.Errorf("public.name and public.address are missing: write where customers reach the site, as in public: {name: shop.example, address: 10.77.0.10}")
	}
	return nil
}

// checkSite says what a description lacks to be a site on this machine.
func checkSite(s *config.Site) error {
	if err := checkHosts(s); err != nil {
		return err
	}
	servers := 0
	for _, h := range s.Hosts {
		if h.Name == customerHost || len(h.Name) > 12 {
			return fmt.Errorf("no host can be called %s here: use another name of at most 12 letters", h.Name)
		}
		if h.Tiers[0] != config.TierDB {
			continue
		}
		servers++
		if want := "db" + strconv.Itoa(servers); h.Name != want {
			return fmt.Errorf("the database host %s should be called %s: here they are db1, db2 and so on, in this order", h.Name, want)
		}
	}
	if a, err := netip.ParseAddr(s.Admin[0]); err != nil || !a.Is4() {
		return fmt.Errorf("admin[0] is %s: here it is the address of this machine in the site's network, of IPv4", s.Admin[0])
	}
	if n := network(s); n.Bits() < 8 || n.Overlaps(netip.MustParsePrefix(outside)) {
		return fmt.Errorf("the smallest network that has all addresses is %s: choose addresses of one private network, outside %s", n, outside)
	}
	return nil
}

// network is the smallest one that has every address of a site.
func network(s *config.Site) netip.Prefix {
	all := []netip.Addr{netip.MustParseAddr(s.Public.Address), netip.MustParseAddr(s.Admin[0])}
	for _, h := range s.Hosts {
		all = append(all, netip.MustParseAddr(h.Addresses[0])) // They have been checked.
	}
	n := netip.PrefixFrom(all[0], all[0].BitLen())
	for _, a := range all {
		for !n.Contains(a) {
			n = netip.PrefixFrom(all[0], n.Bits()-1).Masked()
		}
	}
	// Its own address and that of everybody are nobody's.
	if slices.Contains(all, n.Addr()) && n.Bits() > 0 {
		n = netip.PrefixFrom(all[0], n.Bits()-1).Masked()
	}
	return n
}

// hostsOf are the hosts of a tier.
func hostsOf(s *config.Site, tier config.Tier) []config.SiteHost {
	return slices.DeleteFunc(slices.Clone(s.Hosts), func(h config.SiteHost) bool { return h.Tiers[0] != tier })
}

func namesOf(hosts []config.SiteHost) []string {
	names := make([]string, len(hosts))
	for i, h := range hosts {
		names[i] = h.Name
	}
	return names
}

// address is where a host listens on a port.
func address(h config.SiteHost, port int) string {
	return netip.AddrPortFrom(netip.MustParseAddr(h.Addresses[0]), uint16(port)).String()
}

// applicationName is what the application servers prove to the web servers.
func applicationName(s *config.Site) string { return "app." + strings.TrimSuffix(s.Public.Name, ".") }
