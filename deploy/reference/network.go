package reference

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/mysqlha/mysqlha/config"
	"github.com/mysqlha/mysqlha/deploy/sandbox/process"
)

// wires are the namespaces of a site, one for each host and one for its customers, and
// the bridge that joins them. All are named after the site, so that they are found again
// by whoever takes it down, whatever became of whoever made it.
type wires struct{ name string }

// namespace is the network namespace of a host.
func (w wires) namespace(host string) string { return w.name + "-" + host }

// in is a command line that runs on a host; ip becomes the program, so that the process
// is the same.
func (w wires) in(host string, args ...string) []string {
	return append([]string{"ip", "netns", "exec", w.namespace(host)}, args...)
}

// link is the end of a host's cable at the bridge.
func (w wires) link(i int) string { return fmt.Sprintf("%s-%d", w.name, i) }

// endsOf are all hosts in the order of their cables, the customers last.
func endsOf(s *config.Site) []string { return append(namesOf(s.Hosts), customerHost) }

// lay makes the network of a site.
func (w wires) lay(ctx context.Context, s *config.Site) error {
	within := network(s)
	if err := unused(within); err != nil {
		return err
	}
	bits := "/" + strconv.Itoa(within.Bits())
	commands := []string{
		"link add " + w.name + " type bridge",
		"addr add " + s.Admin[0] + bits + " dev " + w.name,
		"link set " + w.name + " up",
	}
	for i, host := range endsOf(s) {
		ns := w.namespace(host)
		own := customerAddress + "/24"
		if h, found := s.Host(host); found {
			own = h.Addresses[0] + bits
		}
		commands = append(commands,
			"netns add "+ns,
			"link add "+w.link(i)+" type veth peer name eth0 netns "+ns,
			"link set "+w.link(i)+" master "+w.name+" up",
			"-n "+ns+" link set lo up",
			"-n "+ns+" addr add "+own+" dev eth0",
			"-n "+ns+" link set eth0 up")
	}
	// The bridge stands for the routers between customers and balancers.
	commands = append(commands, "-n "+w.namespace(customerHost)+" route add "+within.String()+" dev eth0")
	for _, lb := range hostsOf(s, config.TierLB) {
		commands = append(commands, "-n "+w.namespace(lb.Name)+" route add "+outside+" dev eth0")
	}
	for _, c := range commands {
		if err := run(ctx, "ip", strings.Fields(c)...); err != nil {
			return err
		}
	}
	return nil
}

// unused says where this machine has addresses of a network already.
func unused(within netip.Prefix) error {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return fmt.Errorf("looking at this machine's addresses: %w", err)
	}
	for _, a := range addresses {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Overlaps(within) {
			return fmt.Errorf("this machine has the address %s already, and the site would use %s: write other addresses into a copy of deploy/reference/site.yaml, and name it with --site", a, within)
		}
	}
	return nil
}

// all are the namespaces of the site that are there.
func (w wires) all() ([]string, error) {
	files, err := filepath.Glob("/run/netns/" + w.name + "-*")
	if err != nil {
		return nil, fmt.Errorf("looking for the site's namespaces: %w", err)
	}
	for i, file := range files {
		files[i] = filepath.Base(file)
	}
	return files, nil
}

// links are the ends of cables at the bridge, and the bridge itself, that are there.
func (w wires) links() (links []string, err error) {
	cables, err := filepath.Glob("/sys/class/net/" + w.name + "-*")
	if err != nil {
		return nil, fmt.Errorf("looking for the site's cables: %w", err)
	}
	for _, cable := range cables {
		links = append(links, filepath.Base(cable))
	}
	if _, err := os.Stat("/sys/class/net/" + w.name); err == nil {
		links = append(links, w.name)
	}
	return links, nil
}

// there tells whether anything of the site's network is.
func (w wires) there() (bool, error) {
	all, err := w.all()
	links, failed := w.links()
	return len(all)+len(links) > 0, errors.Join(err, failed)
}

// cut kills whatever is left in the namespaces, and removes them and the bridge.
func (w wires) cut(ctx context.Context) error {
	all, err := w.all()
	if err != nil {
		return err
	}
	var errs []error
	for _, ns := range all {
		errs = append(errs, killIn(ctx, ns))
	}
	// The kernel takes its time to remove a namespace, with the cables in it: so they are
	// removed first, both ends at once.
	links, err := w.links()
	errs = append(errs, err)
	for _, link := range links {
		errs = append(errs, run(ctx, "ip", "link", "del", link))
	}
	for _, ns := range all {
		errs = append(errs, run(ctx, "ip", "netns", "del", ns))
	}
	return errors.Join(errs...)
}

// killDeadline is how long killed processes may take to be gone.
const killDeadline = 20 * time.Second

// killIn kills all processes of a namespace until there are none.
func killIn(ctx context.Context, ns string) error {
	ctx, cancel := context.WithTimeout(ctx, killDeadline)
	defer cancel()
	for {
		out, err := exec.CommandContext(ctx, "ip", "netns", "pids", ns).Output()
		if err != nil {
			return fmt.Errorf("looking for processes in %s: %w", ns, err)
		}
		pids := strings.Fields(string(out))
		if len(pids) == 0 {
			return nil
		}
		for _, text := range pids {
			pid, err := strconv.Atoi(text)
			if err != nil {
				return fmt.Errorf("looking for processes in %s: %w", ns, err)
			}
			id, err := process.Of(pid)
			if err != nil {
				continue // It has ended.
			}
			if err := id.Signal(syscall.SIGKILL); err == nil {
				err = id.Await(ctx)
				if err != nil {
					return fmt.Errorf("ending what is left in %s: %w", ns, err)
				}
			}
		}
	}
}

// plug sets whether a host's cable is in.
func (w wires) plug(ctx context.Context, s *config.Site, host string, in bool) error {
	for i, name := range endsOf(s) {
		if name == host {
			return run(ctx, "ip", "link", "set", w.link(i), map[bool]string{true: "up", false: "down"}[in])
		}
	}
	return fmt.Errorf("there is no host %s", host)
}

// holders are the balancers that have the public address at this moment.
func (w wires) holders(ctx context.Context, s *config.Site) (holders []string, err error) {
	for _, lb := range hostsOf(s, config.TierLB) {
		out, err := exec.CommandContext(ctx, "ip", "-n", w.namespace(lb.Name), "-o", "-4", "addr", "show", "dev", "eth0").Output()
		if err != nil {
			return nil, fmt.Errorf("looking at the addresses of %s: %w", lb.Name, err)
		}
		if strings.Contains(string(out), " "+s.Public.Address+"/32 ") {
			holders = append(holders, lb.Name)
		}
	}
	return holders, nil
}

func run(ctx context.Context, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
