package firewall

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mysqlha/mysqlha/config"
)

const description = `cluster: shop
hosts:
  - {name: lb1, tiers: [lb], addresses: [10.0.1.1]}
  - {name: web1, tiers: [web], addresses: [10.0.2.1]}
  - {name: app1, tiers: [app], addresses: [10.0.3.1]}
  - {name: db1, tiers: [db], addresses: [10.0.4.1, "fd00::1"]}
  - {name: db2, tiers: [db], addresses: [10.0.4.2]}
admin: [10.0.9.0/24, "fd00:9::/64"]
ports: {mysql: 3310}
extra: [{from: 10.7.0.0/16, to: db, port: 9999, protocol: udp}]
`

func site(t *testing.T, text string) *config.Site {
	t.Helper()
	file := filepath.Join(t.TempDir(), "site.yaml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	s, err := config.LoadSite(file)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func host(t *testing.T, s *config.Site, name string) config.SiteHost {
	t.Helper()
	h, ok := s.Host(name)
	if !ok {
		t.Fatal(name)
	}
	return h
}

func TestTheRulesOfAHostAreThoseOfItsTier(t *testing.T) {
	s := site(t, description)
	db := Render(s, host(t, s, "db1"))
	for _, want := range []string{
		"policy drop;", `ip saddr @app4 tcp dport { 2379, 3310, 6446, 6447, 8008 } ct state new counter accept comment "app: mysql, api, etcd_client, write, read"`,
		"ip saddr @db4 tcp dport { 2379, 2380, 3310, 8008 }", "ip6 saddr @db6 tcp dport", "ip saddr @admin4 tcp dport { 22, 2379, 3310, 8008 }", "ip6 saddr @admin6 tcp dport",
		"elements = { 10.0.4.1, 10.0.4.2 }", "elements = { 10.0.9.0/24 }", "flags interval", "ip saddr @net_10_7_0_0_164 udp dport { 9999 }", "ip daddr @db4 tcp dport { 2379, 2380, 3310, 8008 }",
		"delete table inet mysqlha",
		`ip daddr @admin4 tcp sport { 22, 2379, 3310, 8008 } tcp flags & syn == 0 ct state new counter accept comment "answers to admin"`,
	} {
		if !strings.Contains(db, want) {
			t.Errorf("the rules of a database host lack %q", want)
		}
	}
	for _, never := range []string{"crowd", "vrrp", "443", "web4", "lb4"} {
		if strings.Contains(db, never) {
			t.Errorf("the rules of a database host have %q", never)
		}
	}
	lb := Render(s, host(t, s, "lb1"))
	for _, want := range []string{"tcp dport { 80, 443 } ct state new add @crowd4 { ip saddr ct count over 200 }", "limit rate over 50/second burst 200 packets", `comment "anyone: http, https"`, `tcp sport { 80, 443 } tcp flags & syn == 0 ct state new counter accept comment "answers to anyone"`, "ip daddr 224.0.0.18 meta l4proto 112 accept"} {
		if !strings.Contains(lb, want) {
			t.Errorf("the rules of a balancer lack %q", want)
		}
	}
	if strings.Contains(lb, "3310") || strings.Contains(lb, "db4") {
		t.Error("a balancer talks to the databases")
	}
}

func TestWhoMayTalkToWhom(t *testing.T) {
	s := site(t, description)
	eve := config.SiteHost{Name: "eve", Addresses: []string{"10.0.3.9"}}
	admin := config.SiteHost{Name: "ann", Addresses: []string{"10.0.9.7"}}
	for _, c := range []struct {
		from, to config.SiteHost
		port     int
		want     bool
	}{
		{host(t, s, "app1"), host(t, s, "db1"), 3310, true},
		{host(t, s, "app1"), host(t, s, "db1"), 3306, false},
		{host(t, s, "app1"), host(t, s, "db1"), 2380, false},
		{host(t, s, "db1"), host(t, s, "app1"), 8443, false},
		{host(t, s, "web1"), host(t, s, "db1"), 3310, false},
		{host(t, s, "lb1"), host(t, s, "web1"), 443, true},
		{host(t, s, "db1"), host(t, s, "db2"), 2380, true},
		{eve, host(t, s, "db1"), 3310, false},
		{admin, host(t, s, "db1"), 22, true},
		{admin, host(t, s, "web1"), 443, false},
		{eve, host(t, s, "lb1"), 443, true},
		{eve, host(t, s, "lb1"), 22, false},
		{admin, host(t, s, "lb1"), 443, true},
		{host(t, s, "app1"), host(t, s, "lb1"), 443, false},
	} {
		if got := Allows(s, c.from, c.to, c.port); got != c.want {
			t.Errorf("%s to %s:%d: %t, want %t", c.from.Name, c.to.Name, c.port, got, c.want)
		}
	}
}

func TestWhatIsLoadedIsComparedWithoutThoseWhoVisit(t *testing.T) {
	wanted := "table inet mysqlha {\n\tset crowd4 {\n\t\ttype ipv4_addr\n\t\tflags dynamic\n\t}\n\tset db4 {\n\t\telements = { 10.0.0.1, 10.0.0.2 }\n\t}\n\tchain input {\n\t\taccept a\n\t\taccept a\n\t\tdrop\n\t}\n}\n"
	loaded := strings.Replace(wanted, "\t\tflags dynamic\n", "\t\tflags dynamic\n\t\telements = { 10.0.0.9 ct count over 3,\n\t\t\t     10.0.0.8 ct count over 3 }\n", 1)
	if missing, surplus := Difference(wanted, withoutVisitors(loaded)); len(missing)+len(surplus) > 0 {
		t.Errorf("visitors make a difference: %q, %q", missing, surplus)
	}
	changed := strings.Replace(strings.Replace(loaded, "\t\taccept a\n", "\t\taccept b\n", 1), "10.0.0.1, 10.0.0.2", "10.0.0.1", 1)
	missing, surplus := Difference(wanted, withoutVisitors(changed))
	if !slices.Equal(missing, []string{"chain input: accept a", "set db4: elements = { 10.0.0.1, 10.0.0.2 }"}) || !slices.Equal(surplus, []string{"chain input: accept b", "set db4: elements = { 10.0.0.1 }"}) {
		t.Errorf("missing %q, surplus %q", missing, surplus)
	}
	if missing, _ := Difference(wanted, ""); len(missing) != 10 {
		t.Errorf("of nothing %d lines are missing: %q", len(missing), missing)
	}
}
