package sandbox

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mysqlha/mysqlha/certs"
	"github.com/mysqlha/mysqlha/config"
)

// testLayout writes the files of all hosts into a folder of the test.
func testLayout(t *testing.T, servers int, etcd EtcdMode) layout {
	t.Helper()
	durability := ""
	if servers == 1 {
		durability = config.DurabilityAsync
	}
	l := layout{dir: t.TempDir(), MySQLD: "/opt/mysqld", Mysqlha: "/opt/mysqlha", Mysqlhad: "/opt/mysqlhad", Servers: servers, Witness: Options{Servers: servers}.witness(),
		Etcd: etcd, EtcdToken: "0123456789abcdef", BufferPool: "64M", PortBase: 20000, RestartDelay: defaultRestartDelay, Durability: durability}
	if err := l.makeRunDir(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.remove(); err != nil {
			t.Error(err)
		}
	})
	if err := l.writeHosts(); err != nil {
		t.Fatal(err)
	}
	return l
}

func TestEveryHostsConfigurationIsValidAndLeadsToTheSamePorts(t *testing.T) {
	for name, c := range map[string]struct {
		servers int
		etcd    EtcdMode
		members int
	}{
		"one server has one etcd member":               {1, EtcdEmbedded, 1},
		"two servers and a witness have one each":      {2, EtcdEmbedded, 3},
		"three servers have three etcd members":        {3, EtcdEmbedded, 3},
		"five servers have three etcd members":         {5, EtcdEmbedded, 3},
		"a separate etcd has three hosts of its own":   {3, EtcdSeparate, 3},
		"two servers can have a separate etcd as well": {2, EtcdSeparate, 3},
	} {
		t.Run(name, func(t *testing.T) {
			l := testLayout(t, c.servers, c.etcd)
			var listening []string
			for _, host := range l.hosts() {
				cfg, err := config.Load(l.configFile(host), nil)
				if err != nil {
					t.Fatalf("%s: %v", host, err)
				}
				if n := len(cfg.EtcdEndpoints()); n != c.members {
					t.Errorf("%s dials %d members of etcd, want %d", host, n, c.members)
				}
				listening = append(listening, cfg.API.Listen)
				if cfg.HasRole(config.RoleEtcd) {
					listening = append(listening, cfg.Etcd.Embedded.ListenClient, cfg.Etcd.Embedded.ListenPeer)
				}
				if cfg.HasRole(config.RoleRedirector) {
					listening = append(listening, cfg.Redirect.Write, cfg.Redirect.Read)
				}
				if cfg.HasRole(config.RoleMember) {
					server, _ := cfg.Server(host)
					listening = append(listening, server.MySQL)
					if cfg.MySQL.RunFile != l.runFile(host) || cfg.MySQL.ControlPasswordFile != l.controlPassword(host) || cfg.MySQL.Socket != l.socket(host) {
						t.Errorf("%s: the daemon looks elsewhere: %+v", host, cfg.MySQL)
					}
				}
			}
			var reserved []string
			for _, offset := range l.offsets() {
				reserved = append(reserved, address(l.PortBase+offset))
			}
			slices.Sort(listening)
			slices.Sort(reserved)
			if !slices.Equal(listening, reserved) {
				t.Errorf("the hosts listen on\n%v\nand these were reserved:\n%v", listening, reserved)
			}
			if _, err := config.LoadContext(l.path("context.yaml")); err != nil {
				t.Errorf("the context: %v", err)
			}
		})
	}
}

func TestHostsOfTheirOwnListenOnTheUsualPortsAndEachRedirectorAtItsOwnAddress(t *testing.T) {
	l := layout{dir: t.TempDir(), MySQLD: "/opt/mysqld", Mysqlha: "/opt/mysqlha", Mysqlhad: "/opt/mysqlhad", Servers: 3, Etcd: EtcdEmbedded, EtcdToken: "0123456789abcdef",
		BufferPool: "64M", PortBase: firstPort, RestartDelay: defaultRestartDelay, Cluster: "shop", Redirectors: []string{"app1", "app2"},
		Network: &Network{IPs: map[string]string{"db1": "10.0.4.1", "db2": "10.0.4.2", "db3": "10.0.4.3", "app1": "10.0.3.1", "app2": "10.0.3.2"},
			Ports: &Ports{MySQL: 3306, API: 8008, Write: 6446, Read: 6447, EtcdClient: 2379, EtcdPeer: 2380}}}
	if err := l.makeRunDir(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.remove(); err != nil {
			t.Error(err)
		}
	})
	if err := l.writeHosts(); err != nil {
		t.Fatal(err)
	}
	for host, ip := range l.Network.IPs {
		c, err := config.Load(l.configFile(host), nil)
		if err != nil {
			t.Fatalf("%s: %v", host, err)
		}
		listens, want := []string{c.API.Listen}, []string{ip + ":8008"}
		if c.HasRole(config.RoleRedirector) {
			listens, want = append(listens, c.Redirect.Write, c.Redirect.Read), append(want, ip+":6446", ip+":6447")
		}
		if c.HasRole(config.RoleRedirector) != l.isRedirector(host) || !slices.Equal(listens, want) || c.Cluster != "shop" {
			t.Errorf("%s of the cluster %s listens on %v, want %v", host, c.Cluster, listens, want)
		}
		if s, _ := c.Server("db2"); s.MySQL != "10.0.4.2:3306" {
			t.Errorf("%s knows db2 as %q", host, s.MySQL)
		}
	}
	// An application verifies mysqld's certificate by the redirector that it asked.
	one, err := certs.Look(l.path("db1", "tls", "mysqld.crt"), l.path("db1", "tls", certs.AuthorityCert))
	if err != nil || !slices.Contains(one.Hosts, "app2") || !slices.Contains(one.Hosts, "10.0.3.2") {
		t.Errorf("mysqld proves %v, %v", one.Hosts, err)
	}
	if _, err := (Options{Redirectors: []string{"app1", "app2"}, Dir: t.TempDir()}).complete(); err == nil || !strings.Contains(err.Error(), "2 redirectors") {
		t.Errorf("two redirectors on one address: %v", err)
	}
}

func TestMySQLTakesTheOptionFile(t *testing.T) {
	program, err := FindMySQLD("")
	if err != nil {
		t.Fatalf("without mysqld there is nobody to ask: %v", err)
	}
	l := testLayout(t, 3, EtcdEmbedded)
	l.MySQLD = program
	args := l.mysqldArgs("db2")
	// No plugin is loaded without a datadir, and none of its options is in the file.
	out, err := exec.CommandContext(t.Context(), args[0], append(args[1:], "--validate-config")...).CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("ERROR")) {
		t.Errorf("%v: %s", err, out)
	}
}

func TestAReservedPortIsTakenUntilItIsReleased(t *testing.T) {
	base, release, err := reserve(0, []int{portWrite, portMySQL})
	if err != nil {
		t.Fatal(err)
	}
	if l, err := net.Listen("tcp", address(base+portMySQL)); err == nil {
		_ = l.Close()
		t.Error("somebody else could listen on a reserved port")
	}
	if _, _, err := reserve(base, []int{portMySQL}); err == nil || !strings.Contains(err.Error(), "cannot be had") {
		t.Errorf("reserving it again: %v", err)
	}
	release()
	if _, release, err = reserve(base, []int{portWrite, portMySQL}); err != nil {
		t.Fatal(err)
	}
	release()
}

func TestUpRefusesAFolderThatHoldsSomethingElse(t *testing.T) {
	dir := t.TempDir()
	mine := filepath.Join(dir, "thesis.txt")
	if err := os.WriteFile(mine, []byte("years of work"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := prepare(Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "something else") {
		t.Errorf("prepare: %v", err)
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "there is no sandbox") {
		t.Errorf("Open: %v", err)
	}
	if _, err := os.Stat(mine); err != nil {
		t.Error(err)
	}
}

func TestTwoCommandsNeverChangeOneFolderAtATime(t *testing.T) {
	dir := t.TempDir()
	unlock, err := lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock(dir); err == nil {
		t.Error("a second lock was given")
	}
	unlock()
	if unlock, err = lock(dir); err != nil {
		t.Fatal(err)
	}
	unlock()
}

func TestOnlyMySQLOf84AndLaterIsUsable(t *testing.T) {
	for text, want := range map[string]bool{
		"mysqld  Ver 9.7.4-2 for Linux on x86_64":                     true,
		"/usr/sbin/mysqld  Ver 8.4.0 for Linux on x86_64 (MySQL)":     true,
		"mysqld  Ver 8.0.36 for Linux":                                false,
		"mysqld  Ver 11.8.1-MariaDB-2 for debian-linux-gnu on x86_64": false,
		"segmentation fault":                                          false,
	} {
		if err := usableVersion(text); (err == nil) != want {
			t.Errorf("usableVersion(%q) = %v, want usable %t", text, err, want)
		}
	}
	paths := []string{"/c/9.7.4-2_amd64/bin/mysqld", "/c/10.1.0_amd64/bin/mysqld", "/c/8.4.9_amd64/bin/mysqld"}
	slices.SortFunc(paths, newestFirst)
	if !strings.Contains(paths[0], "10.1.0") || !strings.Contains(paths[2], "8.4.9") {
		t.Errorf("newest first: %v", paths)
	}
}

func TestSupervisorSpecStopsEtcdLast(t *testing.T) {
	l := testLayout(t, 3, EtcdSeparate)
	stages := map[string]int{}
	for _, p := range l.spec().Programs {
		stages[p.Name] = p.Stage
	}
	if !(stages["redirector"] < stages["db1/daemon"] && stages["db1/daemon"] < stages["db1/guard"] && stages["db1/guard"] < stages["etcd1"]) {
		t.Errorf("stages %v", stages)
	}
}

func TestACancelledInitLeavesNoProcess(t *testing.T) {
	l := testLayout(t, 2, EtcdEmbedded)
	ctx, cancel := context.WithCancel(t.Context())
	pidFile := l.path("pid")
	// It stands for mysqlhad and for the mysqld that it starts.
	l.Mysqlhad = l.path("init.sh")
	script := "#!/bin/sh\nsleep 600 &\necho $! >" + pidFile + ".new && mv " + pidFile + ".new " + pidFile + "\nwait\n"
	if err := os.WriteFile(l.Mysqlhad, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- l.initialiseOne(ctx, "db1", "") }()
	var child string
	for child == "" {
		if data, err := os.ReadFile(pidFile); err == nil {
			child = strings.TrimSpace(string(data))
		}
	}
	cancel()
	if err := <-done; err == nil {
		t.Error("a cancelled init succeeded")
	}
	if data, err := os.ReadFile("/proc/" + child + "/stat"); err == nil && !bytes.Contains(data, []byte(") Z ")) {
		t.Errorf("what init had started still runs: %s", data)
	}
}
