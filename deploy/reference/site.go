package reference

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/mysqlha/mysqlha/config"
	"github.com/mysqlha/mysqlha/deploy/sandbox"
	"github.com/mysqlha/mysqlha/deploy/sandbox/process"
	"github.com/mysqlha/mysqlha/deploy/sandbox/supervisor"
	"github.com/mysqlha/mysqlha/deploy/systemd"
)

// The defaults of Options.
const (
	defaultDir  = "/var/lib/mysqlha-reference"
	defaultName = "mharef"
)

// ErrNone is in the chain of an error when there is no site.
var ErrNone = errors.New("there is no site; `make infra` makes one")

// Options say what site to make.
type Options struct {
	// Dir is its folder; default /var/lib/mysqlha-reference. Programs that are not root
	// must be able to enter it.
	Dir string
	// Name is what its namespaces and its bridge are named after; default mharef.
	Name string
	// Description is the description of the site, a file; default the shipped one.
	Description string
	// Programs is the folder of HAProxy, nginx and so on (deploy/reference/fetch), Own
	// that of mysqlha, mysqlhad, shop and infra.
	Programs, Own string
	// MySQLD is the mysqld program; default as for a sandbox.
	MySQLD string
	// Templates, if set, keeps initialised datadirs for the next site; see the sandbox.
	Templates string
	// BufferPool is innodb_buffer_pool_size of each server; default as for a sandbox.
	BufferPool string
	// Progress, if set, is told in a line of each stage that is reached.
	Progress func(line string)
}

func (o Options) complete() Options {
	if o.Dir == "" {
		o.Dir = defaultDir
	}
	if o.Name == "" {
		o.Name = defaultName
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	return o
}

// layout is what a site is made of, as reference.json keeps it.
type layout struct {
	Name     string `json:"name"`
	Programs string `json:"programs"`

	dir  string
	site *config.Site
}

func (l layout) path(parts ...string) string {
	return filepath.Join(append([]string{l.dir}, parts...)...)
}
func (l layout) host(parts ...string) string {
	return filepath.Join(append([]string{l.dir, "hosts"}, parts...)...)
}
func (l layout) cluster(parts ...string) string {
	return filepath.Join(append([]string{l.dir, "cluster"}, parts...)...)
}

// ours and theirs are the paths of programs.
func (l layout) ours(program string) string   { return l.path("programs", program) }
func (l layout) theirs(program string) string { return filepath.Join(l.Programs, program) }

func (l layout) authority() string { return l.path(customerHost, "ca.crt") }
func (l layout) wires() wires      { return wires{l.Name} }

// Site is a site on this machine.
type Site struct {
	layout  layout
	cluster *sandbox.Sandbox
	// ended is closed when a supervisor that this process started is reaped; nil for one
	// that it did not start.
	ended <-chan struct{}
	// spawned is that supervisor.
	spawned process.Identity
}

// Open returns the site in a folder, /var/lib/mysqlha-reference where none is named. Its
// error wraps ErrNone when there is none. Close or Down must be called.
func Open(dir string) (*Site, error) {
	l, err := readLayout(Options{Dir: dir}.complete().Dir)
	if err != nil {
		return nil, err
	}
	cluster, err := sandbox.Open(l.cluster())
	if err != nil {
		return nil, fmt.Errorf("opening the site: %w", err)
	}
	return &Site{layout: l, cluster: cluster}, nil
}

func readLayout(dir string) (layout, error) {
	data, err := os.ReadFile(filepath.Join(dir, "reference.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return layout{}, fmt.Errorf("opening %s: %w", dir, ErrNone)
	}
	l := layout{dir: dir}
	if err == nil {
		err = json.Unmarshal(data, &l)
	}
	if err == nil {
		l.site, err = config.LoadSite(l.path("site.yaml"))
	}
	if err != nil {
		return layout{}, fmt.Errorf("opening the site: %w", err)
	}
	return l, nil
}

// Close gives up the connections to the daemons; the site goes on.
func (s *Site) Close() { s.cluster.Close() }

// Cluster returns the cluster on the database hosts.
func (s *Site) Cluster() *sandbox.Sandbox { return s.cluster }

// Description returns what the site was made of.
func (s *Site) Description() *config.Site { return s.layout.site }

// Dir returns the site's folder.
func (s *Site) Dir() string { return s.layout.dir }

// Namespace returns the network namespace of a host, or of customer.
func (s *Site) Namespace(host string) string { return s.layout.wires().namespace(host) }

// Holders returns the balancers that have the public address at this moment.
func (s *Site) Holders(ctx context.Context) ([]string, error) {
	return s.layout.wires().holders(ctx, s.layout.site)
}

// Plug sets whether a host's cable is in.
func (s *Site) Plug(ctx context.Context, host string, in bool) error {
	return s.layout.wires().plug(ctx, s.layout.site, host, in)
}

// Processes returns what the supervisor knows of its programs: those on all hosts but the
// cluster's.
func (s *Site) Processes() (supervisor.Report, error) {
	return supervisor.ReadReport(s.layout.path("processes.json"))
}

// Signal sends a signal to a program of a host, such as lb1/haproxy.
func (s *Site) Signal(program string, signal syscall.Signal) error {
	report, err := s.Processes()
	if err != nil {
		return err
	}
	status, found := report.Find(program)
	if !found {
		return fmt.Errorf("there is no program %s: see `make infra-status`", program)
	}
	return status.Signal(signal)
}

var plainName = regexp.MustCompile(`^[a-z][a-z0-9]{0,8}$`)

// Up makes a site and returns when a customer's order was acknowledged and the monitoring
// sees every host. If it fails, what was started is stopped; the files stay for their
// logs, unless ctx has ended.
func Up(ctx context.Context, o Options) (*Site, error) {
	o = o.complete()
	if os.Geteuid() != 0 {
		return nil, errors.New("network namespaces need root: say sudo make infra")
	}
	if !plainName.MatchString(o.Name) {
		return nil, fmt.Errorf("the name %q cannot be that of a network: use up to 9 small letters and digits", o.Name)
	}
	for _, program := range []struct{ name, from string }{{"ip", "iproute2"}, {"nft", "nftables"}, {"setpriv", "util-linux"}, {"sysctl", "procps"}} {
		if _, err := exec.LookPath(program.name); err != nil {
			return nil, fmt.Errorf("there is no program %s: apt-get install %s", program.name, program.from)
		}
	}
	l, err := prepare(o)
	if err != nil {
		return nil, err
	}
	s := &Site{layout: l}
	if err := s.start(ctx, o); err != nil {
		keep := ctx.Err() == nil
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), downDeadline)
		defer cancel()
		err = errors.Join(err, s.end(clean, keep))
		if keep {
			err = fmt.Errorf("%w\nthe logs are kept in %s until `make infra-down`", err, l.dir)
		}
		return nil, err
	}
	return s, nil
}

// prepare makes the folder, if nothing is there yet.
func prepare(o Options) (layout, error) {
	l := layout{Name: o.Name, Programs: o.Programs, dir: o.Dir}
	there, err := l.wires().there()
	if err != nil {
		return l, err
	}
	if entries, err := os.ReadDir(o.Dir); there || len(entries) > 0 {
		return l, fmt.Errorf("a site is there already, or something is left of one (%s, the network %s): see `make infra-status`, or take it down with `make infra-down`", o.Dir, o.Name)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return l, fmt.Errorf("making the site's folder: %w", err)
	}
	text := Description
	if o.Description != "" {
		if text, err = os.ReadFile(o.Description); err != nil {
			return l, fmt.Errorf("reading the description of the site: %w", err)
		}
		if l.site, err = config.LoadSite(o.Description); err == nil {
			err = checkSite(l.site)
		}
		if err != nil {
			return l, fmt.Errorf("the description of the site %s: %w", o.Description, err)
		}
	}
	data, err := json.MarshalIndent(l, "", "  ")
	if err == nil {
		err = errors.Join(os.MkdirAll(o.Dir, 0o755), os.Chmod(o.Dir, 0o755))
	}
	if err == nil {
		err = errors.Join(writeFile(l.path("reference.json"), append(data, '\n'), 0o644), writeFile(l.path("site.yaml"), text, 0o644))
	}
	if err == nil && l.site == nil {
		if l.site, err = config.LoadSite(l.path("site.yaml")); err == nil {
			err = checkSite(l.site)
		}
	}
	if err != nil {
		return l, errors.Join(fmt.Errorf("making the site: %w", err), os.RemoveAll(o.Dir))
	}
	return l, nil
}

// start brings everything up, from the network to the monitoring.
func (s *Site) start(ctx context.Context, o Options) error {
	l := s.layout
	for _, program := range []string{"mysqlha", "mysqlhad", "shop", "infra"} {
		if err := copyFile(filepath.Join(o.Own, program), l.ours(program), 0o755); err != nil {
			return fmt.Errorf("copying our own programs: %w", err)
		}
	}
	if err := l.wires().lay(ctx, l.site); err != nil {
		return fmt.Errorf("making the network: %w", err)
	}
	if err := l.setKernels(ctx); err != nil {
		return err
	}
	o.Progress(fmt.Sprintf("%d hosts are wired", len(l.site.Hosts)))
	for _, h := range l.site.Hosts {
		if err := l.firewall(ctx, h.Name, "apply", "--yes"); err != nil {
			return err
		}
	}
	o.Progress("every host has its firewall")
	var err error
	if s.cluster, err = sandbox.Up(ctx, l.sandbox(o)); err != nil {
		return fmt.Errorf("starting the cluster: %w", err)
	}
	if err := l.writeHosts(s.cluster.PKI()); err != nil {
		return err
	}
	if err := supervisor.WriteSpec(l.path("programs.json"), l.spec()); err != nil {
		return err
	}
	if err := s.spawn(); err != nil {
		return err
	}
	o.Progress("balancers, web servers, application and monitoring are started")
	return s.await(ctx, o.Progress)
}

// setKernels has the kernel of each database host as it should be there: these settings are
// of a network namespace.
func (l layout) setKernels(ctx context.Context) error {
	for _, h := range hostsOf(l.site, config.TierDB) {
		file := l.host(h.Name, "sysctl.conf")
		if err := writeFile(file, systemd.Kernel(), 0o644); err != nil {
			return fmt.Errorf("writing the kernel's settings: %w", err)
		}
		args := l.wires().in(h.Name, "sysctl", "--quiet", "--load="+file)
		if err := run(ctx, args[0], args[1:]...); err != nil {
			return fmt.Errorf("setting up the kernel of %s: %w", h.Name, err)
		}
	}
	return nil
}

// firewall runs `mysqlha firewall` on a host.
func (l layout) firewall(ctx context.Context, host, doing string, more ...string) error {
	args := l.wires().in(host, append([]string{l.ours("mysqlha"), "firewall", doing, "--site", l.path("site.yaml"), "--host", host}, more...)...)
	if err := run(ctx, args[0], args[1:]...); err != nil {
		return fmt.Errorf("the firewall of %s: %w", host, err)
	}
	return nil
}

// spawn starts the supervisor in a session of its own.
func (s *Site) spawn() error {
	log, err := os.OpenFile(s.layout.path("supervisor.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("starting the supervisor: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(s.layout.ours("infra"), "supervise", "--dir", s.layout.dir)
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the supervisor: %w", err)
	}
	// Not reaped yet, so the pid is still its own. Until its first report this is how it
	// is found.
	if s.spawned, err = process.Of(cmd.Process.Pid); err != nil {
		return fmt.Errorf("starting the supervisor: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // How it ended is in its log.
	}()
	s.ended = ended
	return nil
}

// downDeadline bounds the whole stop.
const downDeadline = 2 * time.Minute

// Down stops everything, customers' side first, and removes it. The site cannot be used
// after it.
func (s *Site) Down(ctx context.Context) error { return s.end(ctx, false) }

// Remove takes down a site of which anything may be left, by its folder and the name of
// its network, also when the bring-up was cut off. Nothing left is no error.
func Remove(ctx context.Context, o Options) error {
	o = o.complete()
	l, err := readLayout(o.Dir)
	if err != nil { // Whatever there is goes by its name.
		l = layout{Name: o.Name, dir: o.Dir}
		if _, err := os.Stat(filepath.Join(o.Dir, "reference.json")); err != nil {
			if entries, err := os.ReadDir(o.Dir); err == nil && len(entries) > 0 {
				return fmt.Errorf("%s holds something that is no site: nothing was removed", o.Dir)
			}
		}
	}
	s := &Site{layout: l}
	if s.cluster, err = sandbox.Open(l.cluster()); err != nil && !errors.Is(err, sandbox.ErrNone) {
		return fmt.Errorf("opening the cluster: %w", err)
	}
	return s.end(ctx, false)
}

// end stops the supervisor, the cluster and whatever is left, in this order.
func (s *Site) end(ctx context.Context, keep bool) error {
	id := s.spawned
	if report, err := s.Processes(); err == nil {
		id = report.Supervisor
	}
	if err := stop(ctx, id); err != nil {
		return fmt.Errorf("stopping the supervisor: %w", err)
	}
	if s.ended != nil {
		<-s.ended
	}
	if err := stopUnreported(ctx, s.layout.dir); err != nil {
		return err
	}
	var errs []error
	if s.cluster == nil { // The sandbox may have been left by a start that failed.
		var err error
		if s.cluster, err = sandbox.Open(s.layout.cluster()); err != nil && !errors.Is(err, sandbox.ErrNone) {
			errs = append(errs, err)
		}
	}
	if s.cluster != nil {
		if err := s.cluster.Down(ctx, keep); err != nil {
			errs = append(errs, err)
		}
	}
	errs = append(errs, stopUnreported(ctx, s.layout.cluster()), s.layout.wires().cut(context.WithoutCancel(ctx)))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("taking the site down: %w", err)
	}
	if keep {
		return nil
	}
	if err := os.RemoveAll(s.layout.dir); err != nil {
		return fmt.Errorf("removing the site's files: %w", err)
	}
	return nil
}

// stopUnreported stops supervisors of the programs in a folder that are found by nothing
// but their arguments: whoever started one may have been killed before its first report.
func stopUnreported(ctx context.Context, dir string) error {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return fmt.Errorf("looking for supervisors: %w", err)
	}
	var errs []error
	for _, file := range files {
		text, err := os.ReadFile(file)
		args := strings.Split(string(text), "\x00")
		if i := slices.Index(args, "--dir"); err != nil || i < 0 || i+1 == len(args) || args[i+1] != dir || !slices.Contains(args, "supervise") {
			continue // It may also have ended.
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			return fmt.Errorf("looking for supervisors: %w", err)
		}
		if id, err := process.Of(pid); err == nil {
			errs = append(errs, stop(ctx, id))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("stopping a supervisor of %s: %w", dir, err)
	}
	return nil
}

// stop asks a process to end and waits, and kills it when that takes too long.
func stop(ctx context.Context, id process.Identity) error {
	if err := id.Signal(syscall.SIGTERM); err != nil {
		if errors.Is(err, process.ErrGone) {
			return nil
		}
		return err
	}
	asked, cancel := context.WithTimeout(ctx, downDeadline/2)
	defer cancel()
	if id.Await(asked) == nil {
		return nil
	}
	if err := id.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, process.ErrGone) {
		return err
	}
	return id.Await(context.WithoutCancel(ctx))
}

// Supervise runs the programs of the site in a folder until ctx ends; it is what
// `infra supervise` does.
func Supervise(ctx context.Context, dir string, logger *slog.Logger) error {
	spec, err := supervisor.ReadSpec(filepath.Join(dir, "programs.json"))
	if err != nil {
		return err
	}
	return supervisor.Run(ctx, spec, logger)
}
