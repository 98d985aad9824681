//go:build security

package integration

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mysqlha/mysqlha/config"
	"github.com/mysqlha/mysqlha/deploy/reference/scan"
	"github.com/mysqlha/mysqlha/firewall"
	"github.com/mysqlha/mysqlha/integration/harness"
	"github.com/mysqlha/mysqlha/integration/netlab"
)

// strangers are hosts that the site knows nothing of.
var strangers = []string{"eve", "joe"}

// fortress is a site in networks of its own, one for each host.
type fortress struct {
	t    *testing.T
	lab  *netlab.Lab
	file string
	site *config.Site
}

func newFortress(t *testing.T, tiers map[string]string, more string) fortress {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("network namespaces need root")
	}
	hosts := make([]string, 0, len(tiers))
	for name := range tiers {
		hosts = append(hosts, name)
	}
	slices.Sort(hosts)
	lab, err := netlab.New(t.Context(), append(slices.Clone(hosts), strangers...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	f := fortress{t: t, lab: lab, file: filepath.Join(t.TempDir(), "site.yaml")}
	text := "cluster: sandbox\nadmin: [" + lab.IP(netlab.Client) + "]\nhosts:\n"
	for _, name := range hosts {
		text += fmt.Sprintf("  - {name: %s, tiers: [%s], addresses: [%s]}\n", name, tiers[name], lab.IP(name))
	}
	if err := os.WriteFile(f.file, []byte(text+more), 0o644); err != nil {
		t.Fatal(err)
	}
	if f.site, err = config.LoadSite(f.file); err != nil {
		t.Fatal(err)
	}
	return f
}

// in makes a command of a host.
func (f fortress) in(ctx context.Context, host, program string, args ...string) *exec.Cmd {
	return inNamespace(ctx, f.namespace(host), program, args...)
}

// command runs mysqlha firewall on a host.
func (f fortress) command(host, input string, args ...string) (string, error) {
	cmd := f.in(f.t.Context(), host, harness.Build(f.t), append([]string{"firewall", args[0], "--site", f.file, "--host", host}, args[1:]...)...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (f fortress) apply(host string) {
	f.t.Helper()
	if out, err := f.command(host, "", "apply", "--yes"); err != nil {
		f.t.Fatalf("the rules of %s: %v\n%s", host, err, out)
	}
}

// helper runs this test binary on a host, as TestOnAHost does; what it says is in out.
func (f fortress) helper(host, doing string, with any) (in io.WriteCloser, out *bufio.Reader) {
	f.t.Helper()
	return onAHost(f.t, f.namespace(host), doing, with)
}

// namespace is that of a host; this machine has none.
func (f fortress) namespace(host string) string {
	if host == netlab.Client {
		return ""
	}
	return f.lab.Namespace(host)
}

// scan tells which of the addresses a host reaches.
func (f fortress) scan(from string, addresses []string) []string {
	f.t.Helper()
	open := []string{}
	for at, found := range scanFrom(f.t, f.namespace(from), scan.Task{Addresses: addresses, Patience: 700 * time.Millisecond}) {
		if found == scan.Connected {
			open = append(open, at)
		}
	}
	slices.Sort(open)
	return open
}

// Every host of a site, a stranger and an administrator try every port of every host:
// what they reach is what the description says, and nothing else.
func TestThePortsThatAreReachedAreThoseOfTheDescription(t *testing.T) {
	f := newFortress(t, map[string]string{"lb1": "lb", "web1": "web", "app1": "app", "db1": "db", "db2": "db", "w1": "etcd", "mon": "monitor", "both": "app, web"},
		"extra: [{from: web, to: db, port: 4444}]\n")
	ports := []int{23, 3307, 4444, 8080, 33060, 54321}
	for _, p := range f.site.Ports.Named() {
		ports = append(ports, p.Port)
	}
	var all []string
	hosts := make(map[string]config.SiteHost)
	for _, h := range f.site.Hosts {
		hosts[h.Name] = h
		_, out := f.helper(h.Name, "listen", ports)
		if said := line(t, out); said != "listening" {
			t.Fatal(said)
		}
		for _, port := range ports {
			all = append(all, net.JoinHostPort(f.lab.IP(h.Name), strconv.Itoa(port)))
		}
	}
	if got := f.scan("eve", all); len(got) != len(all) {
		t.Fatalf("without rules a stranger reaches %d of %d ports: the scan sees nothing", len(got), len(all))
	}
	// Somebody is talking already, and goes on.
	in, friend := f.helper("app1", "talk", net.JoinHostPort(f.lab.IP("db1"), "3306"))
	if said := line(t, friend); said != "connected" {
		t.Fatal(said)
	}
	for _, h := range f.site.Hosts {
		f.apply(h.Name)
	}
	fmt.Fprintln(in, "still")
	if said := line(t, friend); said != "still <nil>" {
		t.Errorf("who was talking when the rules came: %s", said)
	}
	sources := append(f.lab.Hosts(), netlab.Client)
	got := make(map[string][]string)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, from := range sources {
		wg.Go(func() {
			open := f.scan(from, all)
			mu.Lock()
			defer mu.Unlock()
			got[from] = open
		})
	}
	wg.Wait()
	checked := 0
	for _, from := range sources {
		var want []string
		for _, to := range f.site.Hosts {
			for _, port := range ports {
				at := net.JoinHostPort(f.lab.IP(to.Name), strconv.Itoa(port))
				source, known := hosts[from]
				if !known {
					source = config.SiteHost{Name: from, Addresses: []string{f.lab.IP(from)}}
				}
				if from == to.Name || firewall.Allows(f.site, source, to, port) {
					want = append(want, at)
				}
				checked++
			}
		}
		slices.Sort(want)
		if !slices.Equal(got[from], want) {
			t.Errorf("from %s\n  reached:     %v\n  description: %v", from, got[from], want)
		}
	}
	t.Logf("%d ports tried", checked)
}

// One client may have so many connections of a public port, and others are served.
func TestAFloodIsLimitedAndOthersAreServed(t *testing.T) {
	f := newFortress(t, map[string]string{"lb1": "lb", "web1": "web"}, "limits: {connections: 15, new_per_second: 20, burst: 40}\n")
	_, out := f.helper("lb1", "listen", []int{443})
	line(t, out)
	f.apply("lb1")
	to := net.JoinHostPort(f.lab.IP("lb1"), "443")
	_, crowd := f.helper("eve", "crowd", map[string]any{"To": to, "Count": 300})
	if n, err := strconv.Atoi(line(t, crowd)); err != nil || n == 0 || n > 15 {
		t.Errorf("a crowd got %d connections, %v", n, err)
	}
	if open := f.scan("joe", []string{to}); len(open) != 1 {
		t.Error("nobody else was served meanwhile")
	}
}

// Rules that lock their administrator out are taken back by themselves, also when his
// terminal is gone.
func TestNobodyLocksHimselfOut(t *testing.T) {
	f := newFortress(t, map[string]string{"db1": "db"}, "")
	_, out := f.helper("db1", "listen", []int{22})
	line(t, out)
	ssh := []string{net.JoinHostPort(f.lab.IP("db1"), "22")}
	reached := func(want bool) {
		t.Helper()
		within(t, fmt.Sprintf("port 22 is reached: %t", want), func(ctx context.Context) error {
			return poll(ctx, func() error {
				if got := len(f.scan(netlab.Client, ssh)) == 1; got != want {
					return fmt.Errorf("it is %t", got)
				}
				return nil
			})
		})
	}
	reached(true)
	text, err := os.ReadFile(f.file)
	if err != nil {
		t.Fatal(err)
	}
	locked := strings.Replace(string(text), "admin: ["+f.lab.IP(netlab.Client)+"]", "admin: [192.0.2.1]", 1)
	if err := os.WriteFile(f.file, []byte(locked), 0o644); err != nil {
		t.Fatal(err)
	}
	silent, typing := io.Pipe()
	defer typing.Close()
	for _, how := range []string{"nothing is typed", "the terminal is gone"} {
		cmd := f.in(t.Context(), "db1", harness.Build(t), "firewall", "apply", "--site", f.file, "--host", "db1", "--within", "4s")
		var said bytes.Buffer
		cmd.Stdout, cmd.Stderr, cmd.Stdin = &said, &said, silent
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		reached(false)
		if how == "the terminal is gone" {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		reached(true)
		typing.CloseWithError(io.EOF)
		_ = cmd.Wait()
		silent, typing = io.Pipe()
		if how == "nothing is typed" && !strings.Contains(said.String(), "the former rules are back") {
			t.Errorf("it says %q", said.String())
		}
	}
	// What is kept stays, and what somebody changes by hand is noticed.
	if err := os.WriteFile(f.file, text, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := f.command("db1", "keep\n", "apply", "--within", "20s"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := f.command("db1", "", "check"); err != nil || !strings.Contains(out, "what is loaded is what the description says") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := f.in(t.Context(), "db1", "nft", "add", "rule", "inet", firewall.Table, "input", "tcp", "dport", "23", "accept").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := f.command("db1", "", "check"); err == nil || !strings.Contains(out, "+ chain input: tcp dport 23 accept") {
		t.Errorf("%v\n%s", err, out)
	}
}

// A host keeps its rules in step with the description, and sets right what somebody
// changes by hand.
func TestTheRulesFollowTheDescription(t *testing.T) {
	f := newFortress(t, map[string]string{"db1": "db", "db2": "db"}, "")
	_, out := f.helper("db1", "listen", []int{3306})
	line(t, out)
	cmd := f.in(t.Context(), "db1", harness.Build(t), "firewall", "follow", "--site", f.file, "--host", "db1", "--every", "200ms")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	mysqld := []string{net.JoinHostPort(f.lab.IP("db1"), "3306")}
	reached := func(from string, want bool) {
		t.Helper()
		within(t, fmt.Sprintf("%s reaches mysqld: %t", from, want), func(ctx context.Context) error {
			return poll(ctx, func() error {
				if got := len(f.scan(from, mysqld)) == 1; got != want {
					return fmt.Errorf("it is %t", got)
				}
				return nil
			})
		})
	}
	reached("eve", false)
	reached("db2", true)
	text, err := os.ReadFile(f.file)
	if err != nil {
		t.Fatal(err)
	}
	joined := strings.Replace(string(text), "hosts:\n", "hosts:\n  - {name: db9, tiers: [db], addresses: ["+f.lab.IP("eve")+"]}\n", 1)
	if err := os.WriteFile(f.file, []byte(joined), 0o644); err != nil {
		t.Fatal(err)
	}
	reached("eve", true)
	if err := os.WriteFile(f.file, []byte("nonsense"), 0o644); err != nil { // Which changes nothing.
		t.Fatal(err)
	}
	if out, err := f.in(t.Context(), "db1", "nft", "delete", "table", "inet", firewall.Table).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	reached("joe", true)
	if err := os.WriteFile(f.file, text, 0o644); err != nil {
		t.Fatal(err)
	}
	reached("joe", false)
	reached("eve", false)
	reached("db2", true)
}
