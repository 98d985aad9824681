package main

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/config"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

func TestServersThatTheDescriptionLacksAreAdded(t *testing.T) {
	s := &config.Site{Hosts: []config.SiteHost{{Name: "db1", Tiers: []config.Tier{config.TierDB}, Addresses: []string{"10.0.0.1"}}, {Name: "app1", Tiers: []config.Tier{config.TierApp}, Addresses: []string{"10.0.0.9"}}}}
	servers, err := addressed(t.Context(), api.Cluster{Record: &decide.Record{Servers: []decide.Server{
		{Name: "db1", MySQL: "10.0.0.1:3306", API: "10.0.0.1:8008"},
		{Name: "db2", MySQL: "10.0.0.2:3306", API: "10.0.0.3:8008", Etcd: decide.EtcdMember{Peer: "10.0.0.2:2380", Client: "[fd00::2]:2379"}},
		{Name: "db3", MySQL: "10.0.0.9:3306", API: "10.0.0.9:8008"}, // On a host of another tier.
	}}})
	if err != nil {
		t.Fatal(err)
	}
	addServers(s, servers)
	if len(s.Hosts) != 4 {
		t.Fatalf("the hosts are %+v", s.Hosts)
	}
	if h := s.Hosts[2]; h.Name != "db2" || !slices.Equal(h.Tiers, []config.Tier{config.TierDB}) || !slices.Equal(h.Addresses, []string{"10.0.0.2", "10.0.0.3", "fd00::2"}) {
		t.Errorf("db2 is added as %+v", h)
	}
	if h := s.Hosts[3]; h.Name != "db3" || !slices.Equal(h.Addresses, []string{"10.0.0.9"}) {
		t.Errorf("db3 is added as %+v", h)
	}
	before := len(s.Hosts)
	if addServers(s, servers); len(s.Hosts) != before {
		t.Error("they are added twice")
	}
	if none, err := addressed(t.Context(), api.Cluster{}); err == nil {
		t.Errorf("who knows no servers says that there are none: %v", none)
	}
}

func TestTheServersOfAClusterAreRemembered(t *testing.T) {
	file := filepath.Join(t.TempDir(), "servers.json")
	if known, err := readKnown(file, "shop"); known != nil || err != nil {
		t.Errorf("without a file: %v, %v", known, err)
	}
	servers := []clusterServer{{"db1", []string{"10.0.0.1", "fd00::1"}}, {"db4", []string{"10.0.0.4"}}}
	if err := keepKnown(file, "shop", servers); err != nil {
		t.Fatal(err)
	}
	if known, err := readKnown(file, "shop"); err != nil || !reflect.DeepEqual(known, servers) {
		t.Errorf("known are %v, %v", known, err)
	}
	if _, err := readKnown(file, "other"); err == nil || !strings.Contains(err.Error(), `the cluster "shop", not of "other"`) {
		t.Errorf("those of another cluster: %v", err)
	}
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readKnown(file, "shop"); err == nil || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("a damaged file: %v", err)
	}
	if err := keepKnown(filepath.Join(file, "none"), "shop", servers); err == nil {
		t.Error("they are kept nowhere, and nothing is said")
	}
}
