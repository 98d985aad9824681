// Package netlab gives integration tests real networks: one network namespace
// for each host, joined by a bridge, and nftables rules in them that drop what
// a fault shall drop. Nothing outside the namespaces and the bridge is touched.
// It needs root, iproute2 and nftables.
package netlab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Client is the name of the side on which the tests are: the bridge itself.
const Client = "client"

// Lab is a network of hosts. Its methods may be called from several goroutines.
type Lab struct {
	bridge string
	subnet string
	hosts  []string

	mu sync.Mutex
	// cut holds the directions in which packets are dropped.
	cut map[link]bool
}

type link struct{ from, to string }

// New makes the namespaces, at most 50, and the network between them. Close
// removes them; what New itself could not finish it has removed.
func New(ctx context.Context, hosts []string) (*Lab, error) {
	if len(hosts) == 0 || len(hosts) > 50 {
		return nil, fmt.Errorf("a network of %d hosts: 1 to 50 are possible", len(hosts))
	}
	n := rand.IntN(1 << 15)
	l := &Lab{bridge: fmt.Sprintf("mha%d", n), subnet: fmt.Sprintf("10.%d.%d", 200+n>>8&31, n&255), hosts: slices.Clone(hosts), cut: make(map[link]bool)}
	commands := []string{
		"link add " + l.bridge + " type bridge",
		"addr add " + l.IP(Client) + "/24 dev " + l.bridge,
		"link set " + l.bridge + " up",
	}
	for i, host := range hosts {
		ns, outer := l.Namespace(host), fmt.Sprintf("%s-%d", l.bridge, i)
		commands = append(commands,
			"netns add "+ns,
			"link add "+outer+" type veth peer name eth0 netns "+ns,
			"link set "+outer+" master "+l.bridge+" up",
			"-n "+ns+" link set lo up",
			"-n "+ns+" addr add "+l.IP(host)+"/24 dev eth0",
			"-n "+ns+" link set eth0 up")
	}
	for _, c := range commands {
		if err := run(ctx, "", "ip", strings.Fields(c)...); err != nil {
			return nil, errors.Join(err, l.Close(context.WithoutCancel(ctx)))
		}
	}
	return l, nil
}

// Close removes all that New has made.
func (l *Lab) Close(ctx context.Context) error {
	var errs []error
	for _, host := range l.hosts {
		if err := run(ctx, "", "ip", "netns", "del", l.Namespace(host)); err != nil && !strings.Contains(err.Error(), "No such file") {
			errs = append(errs, err)
		}
	}
	if err := run(ctx, "", "ip", "link", "del", l.bridge); err != nil && !strings.Contains(err.Error(), "Cannot find device") {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Namespace returns the name of a host's network namespace.
func (l *Lab) Namespace(host string) string { return l.bridge + "-" + host }

// IP returns a host's address; that of Client is the bridge's.
func (l *Lab) IP(host string) string {
	if host == Client {
		return l.subnet + ".254"
	}
	return fmt.Sprintf("%s.%d", l.subnet, slices.Index(l.hosts, host)+1)
}

// Hosts returns the names of the hosts.
func (l *Lab) Hosts() []string { return slices.Clone(l.hosts) }

// Drop drops from now on what one side sends to the other; the way back stays.
func (l *Lab) Drop(ctx context.Context, from, to string) error {
	return l.change(ctx, func() { l.cut[link{from, to}] = true })
}

// Cut drops all between two sides.
func (l *Lab) Cut(ctx context.Context, a, b string) error {
	return l.change(ctx, func() { l.cut[link{a, b}], l.cut[link{b, a}] = true, true })
}

// Isolate drops all between a host and everybody else, the client included.
func (l *Lab) Isolate(ctx context.Context, host string) error {
	return l.Split(ctx, []string{host})
}

// Split drops all between the hosts named and all others. The client is among
// the others.
func (l *Lab) Split(ctx context.Context, some []string) error {
	return l.change(ctx, func() {
		for _, a := range some {
			for _, b := range append(l.Hosts(), Client) {
				if !slices.Contains(some, b) {
					l.cut[link{a, b}], l.cut[link{b, a}] = true, true
				}
			}
		}
	})
}

// Heal lets everything pass again.
func (l *Lab) Heal(ctx context.Context) error { return l.change(ctx, func() { clear(l.cut) }) }

// change applies a change to the rules of every host at once.
func (l *Lab) change(ctx context.Context, do func()) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	do()
	var errs []error
	for _, host := range l.hosts {
		errs = append(errs, l.apply(ctx, host))
	}
	return errors.Join(errs...)
}

// apply replaces the rules of one host in one transaction. A direction is
// dropped where it arrives, or where it leaves towards the client.
func (l *Lab) apply(ctx context.Context, host string) error {
	var rules strings.Builder
	rules.WriteString("table inet lab\ndelete table inet lab\ntable inet lab {\n chain in { type filter hook input priority 0; policy accept;\n")
	for _, from := range append(l.Hosts(), Client) {
		if l.cut[link{from, host}] {
			fmt.Fprintf(&rules, "  ip saddr %s counter drop\n", l.IP(from))
		}
	}
	rules.WriteString(" }\n chain out { type filter hook output priority 0; policy accept;\n")
	if l.cut[link{host, Client}] {
		fmt.Fprintf(&rules, "  ip daddr %s counter drop\n", l.IP(Client))
	}
	rules.WriteString(" }\n}\n")
	return run(ctx, rules.String(), "ip", "netns", "exec", l.Namespace(host), "nft", "-f", "-")
}

// Dropped returns how many packets the rules in force have dropped so far: a
// cut that dropped none was none.
func (l *Lab) Dropped(ctx context.Context) (int, error) {
	total := 0
	for _, host := range l.hosts {
		out, err := exec.CommandContext(ctx, "ip", "netns", "exec", l.Namespace(host), "nft", "list", "table", "inet", "lab").Output()
		if err != nil {
			return 0, fmt.Errorf("reading the rules of %s: %w", host, err)
		}
		words := strings.Fields(string(out))
		for i, w := range words[:max(0, len(words)-1)] {
			if w == "packets" {
				n, err := strconv.Atoi(words[i+1])
				if err != nil {
					return 0, fmt.Errorf("reading the rules of %s: %w", host, err)
				}
				total += n
			}
		}
	}
	return total, nil
}

func run(ctx context.Context, stdin, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
