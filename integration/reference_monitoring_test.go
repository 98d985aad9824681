//go:build reference

package integration

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mysqlha/mysqlha/deploy/reference"
)

// ask is the value of an expression that has one.
func ask(ctx context.Context, s *reference.Site, expr string, args ...any) (float64, error) {
	expr = fmt.Sprintf(expr, args...)
	samples, err := s.Query(ctx, expr)
	if err != nil {
		return 0, err
	}
	if len(samples) != 1 {
		return 0, fmt.Errorf("%s has %d values, not one", expr, len(samples))
	}
	return samples[0].Value, nil
}

// askNow is the value now; that there is none fails the test.
func askNow(t *testing.T, s *reference.Site, expr string, args ...any) float64 {
	t.Helper()
	v, err := ask(t.Context(), s, expr, args...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// interfaceFile is what a host's kernel says of its own interface.
func interfaceFile(t *testing.T, namespace, name string) string {
	t.Helper()
	out, err := inNamespace(t.Context(), namespace, "cat", "/sys/class/net/eth0/"+name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// received are the bytes that came in at a host's own interface, as its kernel counts them.
func received(t *testing.T, namespace string) float64 {
	t.Helper()
	n, err := strconv.ParseFloat(interfaceFile(t, namespace, "statistics/rx_bytes"), 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// The counters of the tiers: all that came in, since the programs began.
const (
	webRequests   = `sum(nginx_http_requests_total)`
	shopRequests  = `sum(shop_request_seconds_count{code=~"2.."})`
	shopOrders    = `sum(shop_request_seconds_count{route="PUT /orders/{id}",code="201"})`
	dbStatements  = `sum(mysqlha_mysqld_questions_total)`
	dbInserts     = `sum(mysqlha_mysqld_statements_total{kind="insert"} and on (host) mysqlha_open_term > 0)`
	checksASecond = 10 // of the web servers: by each balancer two of each, and by their exporters
	idleASecond   = 150
)

// theMonitoringSeesEveryHostAndEveryTier: while customers order, Prometheus has processor,
// memory, disk and network of every host, each by its own interface, and what each tier
// was asked is in the relation to the orders that it should be.
func theMonitoringSeesEveryHostAndEveryTier(t *testing.T, s *reference.Site) {
	hosts := s.Description().Hosts
	before := make(map[string]float64)
	for _, expr := range []string{webRequests, shopRequests, shopOrders, dbStatements, dbInserts} {
		before[expr] = askNow(t, s, expr)
	}
	begun := time.Now()
	crowd, err := s.Order(t.Context(), reference.Crowd{Customers: 4})
	if err != nil {
		t.Fatal(err)
	}
	const orders = 2000
	awaitOrders(t, crowd, orders)
	// Every tier has been asked for long enough to say how often a second.
	within(t, "requests a second of every tier", func(ctx context.Context) error {
		return poll(ctx, func() error {
			for _, tier := range []string{"web", "app", "db"} {
				if v, err := ask(ctx, s, `tier:requests:rate1m{tier=%q}`, tier); err != nil || !(v > 10) {
					return fmt.Errorf("those of %s are %v (%v)", tier, v, err)
				}
			}
			return nil
		})
	})
	for _, h := range hosts {
		hostIsSeen(t, s, h.Name)
	}
	networksAreTheirOwn(t, s)
	samples, err := s.Query(t.Context(), "tier:requests:rate1m")
	if err != nil {
		t.Fatal(err)
	}
	for _, sample := range samples {
		t.Logf("%s: %.0f a second", sample.Labels["tier"], sample.Value)
	}
	report, err := crowd.Stop()
	if err != nil {
		t.Fatal(err)
	}
	t.Log(report)
	onceEach(t, s, report.Acks)
	acked, sent := float64(len(report.Acks)), float64(report.Requests)
	// What was counted is at least what customers know of, once it has been scraped, and
	// not much more: what asks besides them is known.
	for _, c := range []struct {
		what, expr     string
		least          float64
		most, aSeconds float64
	}{
		{"requests at the web servers", webRequests, sent, 1.1 * sent, checksASecond},
		{"requests that the application answered", shopRequests, acked, 1.1 * sent, 0},
		{"orders that the application was first to place", shopOrders, acked, 1.02*acked + 20, 0},
		// For an order: its session is looked up, a transaction is begun, two rows are
		// written, and it is committed.
		{"statements at the databases", dbStatements, 4 * acked, 10 * acked, idleASecond},
		{"INSERTs at the primary", dbInserts, 2 * acked, 2.5*acked + 100, 5},
	} {
		within(t, c.what, func(ctx context.Context) error {
			return poll(ctx, func() error {
				v, err := ask(ctx, s, "%s", c.expr)
				grown := v - before[c.expr]
				if err == nil && grown < c.least {
					return fmt.Errorf("there were %.0f, at least %.0f must have been", grown, c.least)
				}
				if most := c.most + c.aSeconds*(time.Since(begun).Seconds()+10); err == nil && grown > most {
					t.Errorf("there were %.0f %s, at most %.0f should have been", grown, c.what, most)
				}
				t.Logf("%.0f %s for %.0f orders", grown, c.what, acked)
				return err
			})
		})
	}
}

// networksAreTheirOwn: what Prometheus has of the network of each host lies between what
// that host's own kernel counted before and after.
func networksAreTheirOwn(t *testing.T, s *reference.Site) {
	t.Helper()
	least := make(map[string]float64)
	hosts := s.Description().Hosts
	for _, h := range hosts {
		least[h.Name] = received(t, s.Namespace(h.Name))
	}
	asked := time.Now()
	within(t, "every host is scraped", func(ctx context.Context) error {
		return poll(ctx, func() error {
			oldest, err := ask(ctx, s, `min(timestamp(node_network_receive_bytes_total{device="eth0"}))`)
			if err == nil && oldest <= float64(asked.UnixMilli())/1000 {
				err = fmt.Errorf("one was at %.1f", oldest)
			}
			return err
		})
	})
	samples, err := s.Query(t.Context(), `node_network_receive_bytes_total{device="eth0"}`)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]float64)
	for _, sample := range samples {
		seen[sample.Labels["host"]] = sample.Value
	}
	if samples, err = s.Query(t.Context(), `node_network_info{device="eth0"}`); err != nil {
		t.Fatal(err)
	}
	cards := make(map[string]string)
	for _, sample := range samples {
		cards[sample.Labels["host"]] = sample.Labels["address"]
	}
	for _, h := range hosts {
		// Two hosts may have received as much as each other; they have no address in common.
		if card := interfaceFile(t, s.Namespace(h.Name), "address"); cards[h.Name] != card {
			t.Errorf("%s has the interface %s by Prometheus, and has %s", h.Name, cards[h.Name], card)
		}
		if most := received(t, s.Namespace(h.Name)); seen[h.Name] < least[h.Name] || seen[h.Name] > most || least[h.Name] == most {
			t.Errorf("%s received %v bytes by Prometheus, and between %v and %v by its kernel", h.Name, seen[h.Name], least[h.Name], most)
		}
		t.Logf("%s received %.1f MB at its own interface", h.Name, seen[h.Name]/1e6)
	}
}

// hostIsSeen: what Prometheus has of a host's processor, memory and disk.
func hostIsSeen(t *testing.T, s *reference.Site, host string) {
	t.Helper()
	processors := askNow(t, s, `count(count by (cpu) (node_cpu_seconds_total{host=%q}))`, host)
	busy := askNow(t, s, `sum(rate(node_cpu_seconds_total{host=%q,mode!="idle"}[30s]))`, host)
	total, available := askNow(t, s, `node_memory_MemTotal_bytes{host=%q}`, host), askNow(t, s, `node_memory_MemAvailable_bytes{host=%q}`, host)
	size, free := askNow(t, s, `max(node_filesystem_size_bytes{host=%q})`, host), askNow(t, s, `max(node_filesystem_avail_bytes{host=%q})`, host)
	written := askNow(t, s, `sum(rate(node_disk_written_bytes_total{host=%q}[30s]))`, host)
	operations := askNow(t, s, `sum(rate(node_disk_writes_completed_total{host=%q}[30s]))`, host)
	if processors < 1 || !(busy > 0 && busy <= 1.2*processors) || !(available > 0 && available < total) || !(free > 0 && free <= size) || !(written > 0 && operations > 0) {
		t.Errorf("%s: %v processors, %v of them busy; memory %v, available %v; file system %v, free %v; written %v bytes a second in %v operations",
			host, processors, busy, total, available, size, free, written, operations)
	}
	t.Logf("%s: %.2f of %.0f processors busy, %.1f of %.1f GB memory available, %.0f of %.0f GB free on disk, %.1f MB written a second",
		host, busy, processors, available/1e9, total/1e9, free/1e9, size/1e9, written/1e6)
}
