//go:build reference

package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mysqlha/mysqlha/config"
	"github.com/mysqlha/mysqlha/deploy/reference"
)

// Customers order with a marker in every order: on no link of the site can it be read, and
// nothing speaks without TLS. A copy of the shop that speaks with the database without
// TLS is found out.
func TestReferenceNothingIsReadOnAnyLink(t *testing.T) {
	o := siteOptions(t)
	s := startSite(t, o)
	hosts := len(s.Description().Hosts) + 1
	order := func(n int) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		crowd, err := s.Order(ctx, reference.Crowd{Orders: n, Customers: 4, Note: strings.Repeat(marker+" ", 20)})
		if err != nil {
			t.Fatal(err)
		}
		report, err := crowd.Wait()
		if err != nil || len(report.Acks) != n {
			t.Fatalf("%d of %d orders were acknowledged, %v", len(report.Acks), n, err)
		}
	}
	p := startCapture(t, o.Name, hosts)
	order(800)
	// What was connected before the capture began is seen from its beginning after this.
	if err := s.Cluster().Signal(t.Context(), "primary", syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	order(200)
	within(t, "the site is whole again", s.AwaitWhole)
	seen := p.stop()
	if seen.Packets < 5000 || seen.Began() < 25 {
		t.Fatalf("only %d packets of %d connections were captured", seen.Packets, seen.Began())
	}
	if len(seen.Marked) > 0 {
		t.Errorf("the marker can be read on %v", seen.Marked)
	}
	if bad := seen.Plaintext(); len(bad) > 0 {
		t.Errorf("%d connections speak without TLS:\n%s", len(bad), strings.Join(bad[:min(20, len(bad))], "\n"))
	}
	delete(seen.Other, "protocol 112") // VRRP, by which the balancers agree.
	if len(seen.Other) > 0 {
		t.Errorf("there are packets of other protocols: %v", seen.Other)
	}
	t.Logf("%d packets, %d MB, %d connections from their beginning", seen.Packets, seen.Bytes>>20, seen.Began())

	// The look is one that can find it.
	careless(t, o, s)
	p = startCapture(t, o.Name, hosts)
	order(50)
	seen = p.stop()
	if len(seen.Marked) == 0 || len(seen.Plaintext()) == 0 {
		t.Errorf("without TLS to the database the marker is read on %v, and %v speak without TLS: this look sees nothing", seen.Marked, seen.Plaintext())
	}
	t.Logf("without TLS to the database the marker is read on %v", seen.Marked)
}

// careless replaces the shop of the application servers by a copy that does without TLS, and
// has the database servers let it in. The redirector would not: the copy goes around it.
func careless(t *testing.T, o reference.Options, s *reference.Site) {
	t.Helper()
	primary, err := s.Cluster().Primary(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, server := range s.Cluster().Servers() {
		admin, err := s.Cluster().OpenAdmin(server)
		if err != nil {
			t.Fatal(err)
		}
		mustExec(t, admin, "SET GLOBAL require_secure_transport = OFF")
		if server == primary {
			mustExec(t, admin, "ALTER USER 'app'@'%' REQUIRE NONE")
		}
		admin.Close()
	}
	source, err := filepath.Abs("../deploy/reference/shop/store.go")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	at, err := s.Cluster().ServerAddr(primary)
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{"c.TLS = &tls.Config{": "_ = &tls.Config{", `"tcp", address`: fmt.Sprintf(`"tcp", %q`, at)} {
		if !bytes.Contains(text, []byte(from)) {
			t.Fatalf("the shop's source has no %q any more", from)
		}
		text = bytes.ReplaceAll(text, []byte(from), []byte(to))
	}
	copied, overlay := filepath.Join(t.TempDir(), "store.go"), filepath.Join(t.TempDir(), "overlay.json")
	list, err := json.Marshal(map[string]any{"Replace": map[string]string{source: copied}})
	if err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string][]byte{copied: text, overlay: list} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(o.Dir, "programs", "shop")
	build := exec.CommandContext(t.Context(), "go", "build", "-overlay", overlay, "-o", program+".careless", "./deploy/reference/shop")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building a careless shop: %v\n%s", err, out)
	}
	if err := os.Rename(program+".careless", program); err != nil {
		t.Fatal(err)
	}
	for _, h := range s.Description().Hosts {
		if h.Tiers[0] != config.TierApp {
			continue
		}
		if err := s.Signal(h.Name+"/shop", syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		within(t, "the careless shop runs on "+h.Name, func(ctx context.Context) error {
			return poll(ctx, func() error {
				report, err := s.Processes()
				if err != nil {
					return err
				}
				if p, _ := report.Find(h.Name + "/shop"); p.Starts < 2 || !p.Alive() {
					return fmt.Errorf("it is %s, started %d times", p.State, p.Starts)
				}
				return nil
			})
		})
	}
}
