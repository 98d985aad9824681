//go:build reference

package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mysqlha/mysqlha/config"
	"github.com/mysqlha/mysqlha/deploy/reference"
	"github.com/mysqlha/mysqlha/deploy/reference/customer"
	"github.com/mysqlha/mysqlha/deploy/reference/scan"
	"github.com/mysqlha/mysqlha/firewall"
)

// outsideAddress is where customers are, attackerAddress where somebody else outside is.
const (
	customerName    = "customer"
	outsideAddress  = "198.51.100.10"
	attackerAddress = "198.51.100.66"
)

// nobodyUses are ports that no host of a site is asked at.
var nobodyUses = []int{21, 23, 111, 3307, 4444, 5432, 8080, 33060, 54321}

// listening are the ports at which a host of the site answers, at one of its addresses.
func listening(t *testing.T, namespace, address string) map[int]bool {
	t.Helper()
	out, err := inNamespace(t.Context(), namespace, "ss", "-tlnH").Output()
	if err != nil {
		t.Fatalf("what listens on %s: %v", namespace, err)
	}
	ports := make(map[int]bool)
	for _, l := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		fields := strings.Fields(l)
		if len(fields) < 4 {
			continue
		}
		at, text, err := net.SplitHostPort(fields[3])
		port, failed := strconv.Atoi(text)
		if err != nil || failed != nil {
			t.Fatalf("what listens on %s: %q", namespace, l)
		}
		if at == address || at == "0.0.0.0" || at == "*" || at == "::" {
			ports[port] = true
		}
	}
	return ports
}

// strangerInside is an address in the site's own network that its description does not
// know: from there every host is reached as far as its rules let it, while nobody but the
// balancers has a way back to customers.
func strangerInside(s *config.Site) string {
	return netip.MustParseAddr(s.Admin[0]).Next().String()
}

// everyPort tries every port of the description, and some that nothing may use, from every
// host to every host and to the public address, from a customer, a stranger inside and an
// administrator, and returns what differs from the description, with how many were tried.
func everyPort(t *testing.T, s *reference.Site) (differs []string, tried int) {
	t.Helper()
	site := s.Description()
	ports := slices.Clone(nobodyUses)
	for _, p := range site.Ports.Named() {
		ports = append(ports, p.Port)
	}
	for _, e := range site.Extra {
		ports = append(ports, e.Port)
	}
	slices.Sort(ports)
	ports = slices.Compact(ports)
	holders, err := s.Holders(t.Context())
	if err != nil || len(holders) != 1 {
		t.Fatalf("%v have the public address, %v", holders, err)
	}
	holder, _ := site.Host(holders[0])
	public := config.SiteHost{Name: "the public address", Addresses: []string{site.Public.Address}}
	targets := append(slices.Clone(site.Hosts), public)
	listens := make(map[string]map[int]bool)
	for _, to := range targets {
		on := to.Name
		if to.Name == public.Name {
			on = holder.Name
		}
		listens[to.Name] = listening(t, s.Namespace(on), to.Addresses[0])
	}
	administrator := config.SiteHost{Name: "this machine", Addresses: site.Admin}
	stranger := config.SiteHost{Name: "a stranger", Addresses: []string{strangerInside(site)}}
	sources := append(slices.Clone(site.Hosts), config.SiteHost{Name: customerName, Addresses: []string{outsideAddress}}, stranger, administrator)
	// want is what becomes of an attempt, by the description alone.
	want := func(from, to config.SiteHost, port int) string {
		_, known := site.Host(from.Name)
		judged := to
		if to.Name == public.Name && !known { // By the rules of the balancer that has it.
			judged = holder
		}
		own := from.Name == to.Name || to.Name == public.Name && from.Name == holder.Name // It never leaves the host.
		switch {
		case !own && !firewall.Allows(site, from, judged, port):
			return scan.Silent
		case listens[to.Name][port]:
			return scan.Connected
		}
		return scan.Refused
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, from := range sources {
		wg.Go(func() {
			var addresses []string
			for _, to := range targets {
				for _, port := range ports {
					addresses = append(addresses, net.JoinHostPort(to.Addresses[0], strconv.Itoa(port)))
				}
			}
			namespace := s.Namespace(from.Name)
			switch from.Name {
			case administrator.Name:
				namespace = ""
			case stranger.Name:
				namespace = s.Namespace(customerName)
			}
			found := scanFrom(t, namespace, scan.Task{From: from.Addresses[0], Addresses: addresses, Patience: 4 * time.Second})
			mu.Lock()
			defer mu.Unlock()
			for _, to := range targets {
				for _, port := range ports {
					at := net.JoinHostPort(to.Addresses[0], strconv.Itoa(port))
					tried++
					if w := want(from, to, port); found[at] != w {
						differs = append(differs, fmt.Sprintf("%s to %s, port %d: %s, by the description %s", from.Name, to.Name, port, found[at], w))
					}
				}
			}
		})
	}
	wg.Wait()
	slices.Sort(differs)
	return differs, tried
}

// portsAreThoseOfTheDescription: who reaches which port of whom is what the description
// says and nothing else; and rules that somebody takes away or adds are found out.
func portsAreThoseOfTheDescription(t *testing.T, s *reference.Site) {
	addAddress(t, s, strangerInside(s.Description())+"/32")
	differs, tried := everyPort(t, s)
	if len(differs) > 0 {
		t.Errorf("%d of %d differ from the description:\n%s", len(differs), tried, strings.Join(differs, "\n"))
	}
	t.Logf("%d ports were tried", tried)

	// The look is one that can find it.
	db, web := s.Namespace("db2"), s.Namespace("web1")
	for namespace, rule := range map[string]string{db: "delete table inet " + firewall.Table, web: "add rule inet " + firewall.Table + " output tcp dport 3306 accept"} {
		if out, err := inNamespace(t.Context(), namespace, "nft", strings.Fields(rule)...).CombinedOutput(); err != nil {
			t.Fatalf("nft %s: %v\n%s", rule, err, out)
		}
	}
	differs, _ = everyPort(t, s)
	var others []string
	for _, d := range differs {
		if !strings.Contains(d, "to db2,") && !strings.HasPrefix(d, "db2 to ") {
			others = append(others, d)
		}
	}
	if len(others) > 0 || !slices.ContainsFunc(differs, func(d string) bool { return strings.HasPrefix(d, "web1 to db2, port 3306: connected") }) {
		t.Errorf("without the rules of db2 and with one too many on web1 it is found that\n%s", strings.Join(differs, "\n"))
	}
	t.Logf("without the rules of db2 and with one too many on web1, %d differ", len(differs))
	for _, host := range []string{"db2", "web1"} {
		out, err := inNamespace(t.Context(), s.Namespace(host), s.Dir()+"/programs/mysqlha", "firewall", "apply", "--yes", "--site", s.Dir()+"/site.yaml", "--host", host).CombinedOutput()
		if err != nil {
			t.Fatalf("the rules of %s: %v\n%s", host, err, out)
		}
	}
}

// addAddress gives those outside one more address.
func addAddress(t *testing.T, s *reference.Site, address string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "ip", "-n", s.Namespace(customerName), "addr", "add", address, "dev", "eth0").CombinedOutput(); err != nil {
		t.Fatalf("one more address outside: %v\n%s", err, out)
	}
}

// refusals are how many packets the limits of a balancer have refused: of a crowd, and of
// too fast a pace.
func refusals(t *testing.T, s *reference.Site, balancer string) (crowd, pace int) {
	t.Helper()
	out, err := inNamespace(t.Context(), s.Namespace(balancer), "nft", "list", "chain", "inet", firewall.Table, "input").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range strings.Split(string(out), "\n") {
		_, rest, found := strings.Cut(rule, "counter packets ")
		text, _, _ := strings.Cut(rest, " ")
		n, err := strconv.Atoi(text)
		if !found || err != nil {
			continue
		}
		switch {
		case strings.Contains(rule, "@crowd4"):
			crowd += n
		case strings.Contains(rule, "@pace4"):
			pace += n
		}
	}
	return crowd, pace
}

// median is that of the times that customers waited for an order.
func median(acks []customer.Ack) time.Duration {
	times := make([]time.Duration, 0, len(acks))
	for _, a := range acks {
		times = append(times, a.Acked.Sub(a.Begun))
	}
	slices.Sort(times)
	return times[len(times)/2]
}

// aFloodIsLimitedAndOthersAreServed: somebody outside opens connections as fast as he can,
// to hold them and then to open ever new ones. He gets what the description grants one
// address; all others order as before.
func aFloodIsLimitedAndOthersAreServed(t *testing.T, s *reference.Site) {
	limits := s.Description().Limits
	namespace := s.Namespace(customerName)
	addAddress(t, s, attackerAddress+"/24")
	holders, err := s.Holders(t.Context())
	if err != nil || len(holders) != 1 {
		t.Fatalf("%v have the public address, %v", holders, err)
	}
	const orders = 600
	order := func(when string) customer.Report {
		t.Helper()
		crowd, err := s.Order(t.Context(), reference.Crowd{Orders: orders, Customers: 4})
		if err != nil {
			t.Fatal(err)
		}
		report, err := crowd.Wait()
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %s, median %d ms", when, report, median(report.Acks).Milliseconds())
		if len(report.Acks) != orders || report.Failed > 0 {
			t.Errorf("%s %d of %d orders were acknowledged, and %d requests failed: %s", when, len(report.Acks), orders, report.Failed, report.LastFailure)
		}
		onceEach(t, s, report.Acks)
		return report
	}
	before := order("before the flood")
	for _, how := range []struct {
		name string
		hold bool
	}{{"somebody holds what he opens", true}, {"somebody opens ever new ones", false}} {
		crowd, pace := refusals(t, s, holders[0])
		to := netip.AddrPortFrom(netip.MustParseAddr(s.Description().Public.Address), uint16(s.Description().Ports.HTTPS))
		in, out := onAHost(t, namespace, "flood", flood{To: to.String(), From: attackerAddress, AtOnce: 300, Hold: how.hold})
		if said := line(t, out); said != "it has begun" {
			t.Fatal(said)
		}
		during := order("while " + how.name)
		// The burst is used up, and the pace of one address is what is left.
		begun := time.Now()
		within(t, "the attacker is refused", func(ctx context.Context) error {
			return poll(ctx, func() error {
				c, p := refusals(t, s, holders[0])
				if how.hold && c == crowd || !how.hold && p == pace || time.Since(begun) < 3*time.Second {
					return fmt.Errorf("%d of a crowd and %d of a pace were refused", c-crowd, p-pace)
				}
				return nil
			})
		})
		in.Close()
		var came flooded
		if err := json.NewDecoder(out).Decode(&came); err != nil {
			t.Fatal(err)
		}
		for what := range maps.Keys(came.Outcomes) {
			if what != scan.Connected && what != scan.Refused && what != scan.Silent {
				t.Errorf("of the flood %d attempts ended with: %s", came.Outcomes[what], what)
			}
		}
		got, granted := came.Outcomes[scan.Connected], limits.Burst+int(float64(limits.NewPerSecond)*(came.Took.Seconds()+1))
		if how.hold {
			granted = limits.Connections
			got = came.MostOpen
		}
		t.Logf("%s for %.1f s: %v, at most %d open; granted are %d", how.name, came.Took.Seconds(), came.Outcomes, came.MostOpen, granted)
		if got > granted {
			t.Errorf("%s: %d connections got through, granted are %d", how.name, got, granted)
		}
		// That he gets no less shows that it is the limit that he has met.
		if got < granted/2 {
			t.Errorf("%s: only %d connections got through, granted are %d: this was no flood", how.name, got, granted)
		}
		if was, is := median(before.Acks), median(during.Acks); is > 3*was+50*time.Millisecond {
			t.Errorf("while %s an order took %s in the median, and %s before", how.name, is, was)
		}
	}
}
