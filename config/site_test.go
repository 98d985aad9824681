package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestADescriptionOfASiteIsCheckedAsAWhole(t *testing.T) {
	good := "cluster: shop\nhosts:\n  - {name: db1, tiers: [db], addresses: [10.0.0.1, \"fd00::1\"]}\n  - {name: app1, tiers: [app, web], addresses: [10.0.0.2]}\nadmin: [10.9.0.0/16]\n"
	load := func(text string) (*Site, error) {
		file := filepath.Join(t.TempDir(), "site.yaml")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return LoadSite(file)
	}
	s, err := load(good)
	if err != nil {
		t.Fatal(err)
	}
	if h, ok := s.Host("app1"); !ok || len(h.Tiers) != 2 || s.Ports.MySQL != 3306 || s.Limits.Connections != 200 {
		t.Errorf("it reads %+v", s)
	}
	for _, c := range []struct{ name, from, to, says string }{
		{"no cluster", "cluster: shop\n", "", "cluster"},
		{"no administrator", "admin: [10.9.0.0/16]\n", "", "nobody could, with such a firewall"},
		{"a tier that is none", "[db]", "[database]", "not one of lb, web, app, db, etcd, monitor"},
		{"no tier", "tiers: [db]", "tiers: []", "is an empty list"},
		{"a name for an address", "10.0.0.2", "app1.example", "not the IP address of a host"},
		{"an address twice", "[10.0.0.2]", "[10.0.0.1]", "an address is that of one host"},
		{"a name twice", "app1", "db1", "give each host a name of its own"},
		{"a network that is none", "10.9.0.0/16", "10.9.0.0/99", "neither an IP address nor a network"},
		{"a port that is none", "admin:", "ports: {mysql: 99999}\nadmin:", "which is no port"},
		{"a port twice", "admin:", "ports: {mysql: 8008}\nadmin:", "two things cannot listen on one port"},
		{"no limit", "admin:", "limits: {connections: 0}\nadmin:", "write a number from 1"},
		{"an unknown key", "admin:", "amdin: [1]\nadmin:", "amdin"},
		{"an end that is none", "admin:", "extra: [{from: moon, to: db, port: 1}]\nadmin:", "which is no tier and no network"},
		{"a protocol that is none", "admin:", "extra: [{from: app, to: db, port: 1, protocol: icmp}]\nadmin:", "write tcp or udp"},
		{"a public address that is none", "admin:", "public: {address: shop.example}\nadmin:", "not an IP address that a host can hold"},
		{"a public address of a host", "admin:", "public: {address: 10.0.0.1}\nadmin:", "no host's own"},
		{"a flow without a port", "admin:", "extra: [{from: app, to: db}]\nadmin:", "which is no port"},
	} {
		if _, err := load(strings.Replace(good, c.from, c.to, 1)); err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "site.yaml") {
			t.Errorf("%s: it says %v, want %q", c.name, err, c.says)
		}
	}
}
