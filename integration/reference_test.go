//go:build reference

package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/deploy/reference"
	"github.com/mysqlha/mysqlha/deploy/reference/customer"
	"github.com/mysqlha/mysqlha/deploy/sandbox"
	"github.com/mysqlha/mysqlha/integration/harness"
)

// longestUp is how long a site may take to be up.
const longestUp = 3 * time.Minute

// siteOptions are those of a site for a test, which gets along with one of a person.
func siteOptions(t *testing.T) reference.Options {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("network namespaces need root")
	}
	// Named after this process, so that several can be tested on one machine.
	number := os.Getpid() % 10000
	o := reference.Options{Name: fmt.Sprintf("mhi%04d", number), Own: filepath.Dir(harness.Build(t)), Progress: func(line string) { t.Log(line) }}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", o.Own+"/", "./deploy/reference/shop", "./deploy/reference/infra")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the site's programs: %v\n%s", err, out)
	}
	if o.Programs = os.Getenv("REFERENCE_PROGRAMS"); o.Programs == "" {
		fetch := exec.CommandContext(t.Context(), "../deploy/reference/fetch")
		fetch.Stderr = os.Stderr
		out, err := fetch.Output()
		if err != nil {
			t.Fatalf("deploy/reference/fetch: %v", err)
		}
		o.Programs = strings.TrimSpace(string(out))
	}
	// Not below /tmp, where anybody may write: keepalived runs no script there.
	dir, err := os.MkdirTemp("/var/lib", "mysqlha-reference-it-")
	if err != nil {
		t.Fatal(err)
	}
	o.Dir = dir
	o.Description = filepath.Join(t.TempDir(), "site.yaml")
	if err := os.WriteFile(o.Description, bytes.ReplaceAll(reference.Description, []byte("10.77."), fmt.Appendf(nil, "10.%d.", 100+number%150)), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), longestUp)
		defer cancel()
		if err := reference.Remove(ctx, o); err != nil {
			t.Errorf("removing the site: %v", err)
		}
	})
	return o
}

// startSite brings a site up.
func startSite(t *testing.T, o reference.Options) *reference.Site {
	t.Helper()
	begun := time.Now()
	s, err := reference.Up(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			files, _ := filepath.Glob(filepath.Join(o.Dir, "hosts", "*", "*.log")) // The pattern is well formed.
			for _, file := range append(files, sandbox.Logs(filepath.Join(o.Dir, "cluster"))...) {
				t.Logf("the end of %s:\n%s", file, sandbox.Tail(file, 15))
			}
		}
	})
	took := time.Since(begun)
	t.Logf("the site was up after %.1f s", took.Seconds())
	if took > longestUp {
		t.Errorf("that is more than %s", longestUp)
	}
	return s
}

// leftOf is what can be seen of a site on this machine.
func leftOf(t *testing.T, o reference.Options) (left []string) {
	t.Helper()
	for _, pattern := range []string{"/run/netns/" + o.Name + "-*", "/sys/class/net/" + o.Name + "*", o.Dir} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, files...)
	}
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range processes {
		line, err := os.ReadFile(file)
		if err == nil && (bytes.Contains(line, []byte(o.Dir)) || bytes.Contains(line, []byte(o.Name+"-"))) {
			left = append(left, string(bytes.ReplaceAll(line, []byte{0}, []byte{' '})))
		}
	}
	return left
}

// tables are those of the firewall of this machine itself.
func tables(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "nft", "list", "tables").Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// onceEach fails the test unless every acknowledged order is on the primary once.
func onceEach(t *testing.T, s *reference.Site, acks []customer.Ack) {
	t.Helper()
	within(t, "every acknowledged order is there once", func(ctx context.Context) error {
		found, err := s.Check(ctx, acks)
		if err != nil {
			return err
		}
		t.Log(found)
		if !found.OK() {
			t.Error("an order was lost or doubled")
		}
		return nil
	})
}

// A site is brought up, serves a thousand orders, loses the primary under orders, and is
// taken down: no acknowledged order is lost or doubled, and nothing of the site is left.
func TestReferenceSiteServesOrders(t *testing.T) {
	o := siteOptions(t)
	before := tables(t)
	s := startSite(t, o)

	calm, err := s.Order(t.Context(), reference.Crowd{Orders: 1000, Customers: 8})
	if err != nil {
		t.Fatal(err)
	}
	report, err := calm.Wait()
	if err != nil {
		t.Fatal(err)
	}
	t.Log(report)
	if len(report.Acks) != 1000 || report.Failed > 0 || report.Repeated < 50 {
		t.Errorf("%d of 1000 orders were acknowledged, %d placed again, %d requests failed (%s)", len(report.Acks), report.Repeated, report.Failed, report.LastFailure)
	}
	onceEach(t, s, report.Acks)

	former, err := s.Cluster().Primary(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	crowd, err := s.Order(t.Context(), reference.Crowd{Customers: 8})
	if err != nil {
		t.Fatal(err)
	}
	awaitOrders(t, crowd, 200)
	killed := time.Now()
	if err := s.Cluster().Signal(t.Context(), former, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	awaitOrdersAfter(t, crowd, killed, 500)
	hurt, err := crowd.Stop()
	if err != nil {
		t.Fatal(err)
	}
	gap, at := hurt.LongestGap()
	t.Logf("%s was killed: %s; that began %d ms after the kill", former, hurt, at.Sub(killed).Milliseconds())
	if at.Before(killed.Add(-gap)) {
		t.Error("the longest gap was not that of the failover: the load was not steady")
	}
	all := append(slices.Clone(report.Acks), hurt.Acks...)
	onceEach(t, s, all)
	within(t, "another server is primary, and all are in sync", func(ctx context.Context) error {
		return s.Cluster().AwaitCluster(ctx, "that is so", func(c api.Cluster) bool { return sandbox.Settled(c) && c.Record.Primary != former })
	})
	onceEach(t, s, all)
	within(t, "the site is whole again", func(ctx context.Context) error {
		return poll(ctx, func() error { return s.WriteStatus(ctx, new(bytes.Buffer)) })
	})

	begun := time.Now()
	if err := s.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("the site was down after %.1f s", time.Since(begun).Seconds())
	if left := leftOf(t, o); len(left) > 0 {
		t.Errorf("of the site there is left:\n%s", strings.Join(left, "\n"))
	}
	if after := tables(t); after != before {
		t.Errorf("this machine had the tables\n%s\nand has\n%s", before, after)
	}
}

func awaitOrders(t *testing.T, crowd *reference.Orders, n int) {
	t.Helper()
	within(t, fmt.Sprintf("%d orders are acknowledged", n), func(ctx context.Context) error { return crowd.Await(ctx, n) })
}

// awaitOrdersAfter waits until so many orders that were begun after a moment are
// acknowledged.
func awaitOrdersAfter(t *testing.T, crowd *reference.Orders, moment time.Time, n int) {
	t.Helper()
	within(t, fmt.Sprintf("%d later orders are acknowledged", n), func(ctx context.Context) error { return crowd.AwaitSince(ctx, moment, n) })
}

// bringUp starts `infra up` and returns when it has said that it is at a moment.
func bringUp(t *testing.T, o reference.Options, moment string) (cmd *exec.Cmd, rest func()) {
	t.Helper()
	cmd = exec.CommandContext(t.Context(), filepath.Join(o.Own, "infra"), "up", "--dir", o.Dir, "--network", o.Name, "--site", o.Description, "--programs", o.Programs)
	said, err := cmd.StdoutPipe()
	if err == nil {
		cmd.Stderr = cmd.Stdout
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var all bytes.Buffer
	buffer := make([]byte, 4096)
	for !strings.Contains(all.String(), moment) {
		n, err := said.Read(buffer)
		all.Write(buffer[:n])
		if err != nil {
			t.Fatalf("it ended: %v\n%s", errors.Join(err, cmd.Wait()), all.String())
		}
	}
	if len(leftOf(t, o)) < 10 {
		t.Fatal("there is nothing to remove: this look sees nothing")
	}
	return cmd, func() { _, _ = io.Copy(io.Discard, said) } // Until it ends.
}

// Whoever brings a site up may be killed at any moment: what he had made is found and
// removed.
func TestReferenceSiteIsRemovedAfterACrashOfItsBringUp(t *testing.T) {
	for _, moment := range []string{"hosts are wired", "every host has its firewall", "db1 initialised", "daemon up", "monitoring are started"} {
		t.Run(moment, func(t *testing.T) {
			o := siteOptions(t)
			cmd, _ := bringUp(t, o, moment)
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // It was killed.
			out, err := exec.CommandContext(t.Context(), filepath.Join(o.Own, "infra"), "down", "--dir", o.Dir, "--network", o.Name).CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
			if left := leftOf(t, o); len(left) > 0 {
				t.Errorf("of the site there is left:\n%s", strings.Join(left, "\n"))
			}
		})
	}
}

// A Ctrl-C takes back what was begun.
func TestReferenceSiteIsRemovedByAnInterruptedBringUp(t *testing.T) {
	for _, moment := range []string{"hosts are wired", "daemon up", "monitoring are started"} {
		t.Run(moment, func(t *testing.T) {
			o := siteOptions(t)
			cmd, rest := bringUp(t, o, moment)
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			rest()
			if err := cmd.Wait(); err == nil {
				t.Error("it says that all went well")
			}
			if left := leftOf(t, o); len(left) > 0 {
				t.Errorf("of the site there is left:\n%s", strings.Join(left, "\n"))
			}
		})
	}
}

// Each drill breaks a site under orders: no acknowledged order is lost or doubled, the
// public address moves within 3 s, and it raises its alert and no other.
func TestReferenceSiteSurvivesItsDrills(t *testing.T) {
	s := startSite(t, siteOptions(t))
	for _, d := range reference.Drills() {
		hold := time.Duration(0)
		if d.Name == "app" {
			// After a minute the daemon there would be told of, if its host were not.
			hold = 75 * time.Second
		}
		r, err := s.Run(t.Context(), d, hold)
		if err != nil {
			t.Fatalf("%s: %v", d.Name, err)
		}
		t.Logf("%s: %s; alerts: %v", d.Name, r.Customers, r.Alerts)
		if r.MovedTo != "" {
			t.Logf("%s: the public address was at %s after %d ms", d.Name, r.MovedTo, r.Moved.Milliseconds())
		}
		if err := r.Err(); err != nil {
			t.Errorf("%s: %v", d.Name, err)
		}
		if d.Name == "balancer" && (r.Moved <= 0 || r.Moved > 3*time.Second) {
			t.Errorf("the public address was at another balancer after %s", r.Moved)
		}
		if d.Name == "etcd" && r.Customers.Failed > 0 {
			t.Errorf("without etcd %d requests failed: %s", r.Customers.Failed, r.Customers.LastFailure)
		}
		if slowest := r.Customers.Slowest(); hold > 0 && slowest > hold/2 {
			t.Errorf("an order took %s: it waited for locks of the host that is gone", slowest)
		}
		// What stops the site for as long as it lasts is seen by the customers.
		if gap, _ := r.Customers.LongestGap(); d.Stops && gap < 5*time.Second {
			t.Errorf("%s: orders went on: nothing was stopped", d.Name)
		}
	}
}
