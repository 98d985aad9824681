//go:build security

package integration

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/bus"
	"github.com/mysqlha/mysqlha/certs"
	"github.com/mysqlha/mysqlha/deploy/sandbox"
	"github.com/mysqlha/mysqlha/election"
	"github.com/mysqlha/mysqlha/integration/harness"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication"
)

// The certificate authority and every certificate are replaced under load, as an
// operator does it: no write fails, no session ends, nothing is restarted, and whoever
// has only what the former authority issued is let in nowhere afterwards. The cluster
// then fails over.
func TestTheAuthorityIsReplacedUnderLoad(t *testing.T) {
	s := harness.Start(t, sandbox.Options{})
	l := harness.Writers(t, s, 8)
	before, running := record(t, s), processes(t, s)
	session := openSession(t, s)
	former := keepFormer(t, s)
	replaceAuthority(t, s)
	if err := session(); err != nil {
		t.Errorf("a session that was there before has ended: %v", err)
	}
	for what, err := range former.tries(t, s) {
		if err == nil {
			t.Errorf("%s is let in with a certificate of the former authority", what)
		}
	}
	awaitCluster(t, s, "all is well", sandbox.Settled)
	if now := processes(t, s); !slices.Equal(now, running) {
		t.Errorf("processes were\n%s\nand are\n%s", strings.Join(running, "\n"), strings.Join(now, "\n"))
	}
	undisturbed(t, s, l, before)

	signal(t, s, before.Primary, syscall.SIGKILL)
	awaitCluster(t, s, "the next term is open", func(c api.Cluster) bool { return c.Record.Term > before.Term && sandbox.Settled(c) })
	l.Check()
}

// replaceAuthority replaces the certificate authority and all certificates as an operator
// does it, and waits until everybody trusts the new one alone.
func replaceAuthority(t *testing.T, s *sandbox.Sandbox) {
	t.Helper()
	certificates := func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), harness.Build(t), append([]string{"--context", s.Context(), "certs"}, args...)...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	stage := func(name string) {
		t.Helper()
		within(t, name, func(ctx context.Context) error {
			return poll(ctx, func() error {
				out, err := certificates("replace-ca", name, "--dir", string(s.PKI()))
				if err != nil && strings.Contains(out, "not every host is there yet") {
					return fmt.Errorf("%s", out) // Etcd follows some seconds later.
				}
				if err != nil {
					t.Fatalf("%s: %v\n%s", name, err, out)
				}
				return nil
			})
		})
		if name == "switch" { // What has not been handed out is noticed.
			if out, err := certificates("replace-ca", "finish", "--dir", string(s.PKI())); err == nil || !strings.Contains(out, "of the former authority still") {
				t.Fatalf("the former authority was given up while it is in use: %v\n%s", err, out)
			}
		}
		for _, holder := range s.Holders() {
			if err := s.HandOut(holder); err != nil {
				t.Fatal(err)
			}
		}
	}
	if out, err := certificates("check"); err != nil {
		t.Fatalf("before anything: %v\n%s", err, out)
	}
	for _, name := range []string{"begin", "switch", "finish"} {
		stage(name)
	}
	within(t, "everybody trusts the new authority alone", func(ctx context.Context) error {
		return poll(ctx, func() error {
			out, err := certificates("check", "--dir", string(s.PKI()))
			if err != nil {
				return fmt.Errorf("%w\n%s", err, out)
			}
			return nil
		})
	})
}

// processes are those of the sandbox, each with when it began.
func processes(t *testing.T, s *sandbox.Sandbox) (all []string) {
	t.Helper()
	report, running, err := s.Processes()
	if err != nil || !running {
		t.Fatalf("the sandbox does not run: %v", err)
	}
	for _, p := range report.Programs {
		all = append(all, fmt.Sprintf("%s %v %d", p.Name, p.Identity, p.Starts))
	}
	slices.Sort(all)
	return all
}

// openSession opens a session through the redirector and returns what says whether it
// is still there.
func openSession(t *testing.T, s *sandbox.Sandbox) func() error {
	t.Helper()
	db, err := s.OpenApp(s.WriteAddr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	id := func() (id int64, err error) {
		return id, conn.QueryRowContext(t.Context(), "SELECT CONNECTION_ID()").Scan(&id)
	}
	first, err := id()
	if err != nil {
		t.Fatal(err)
	}
	return func() error {
		now, err := id()
		if err == nil && now != first {
			err = fmt.Errorf("it is another one")
		}
		return err
	}
}

// formerFiles are the certificates of an operator and of a daemon that somebody has kept.
type formerFiles struct{ operator, daemon certs.Files }

func keepFormer(t *testing.T, s *sandbox.Sandbox) formerFiles {
	t.Helper()
	dir := t.TempDir()
	keep := func(from, base string) certs.Files {
		f := certs.Files{CA: filepath.Join(s.Dir(), "client", "ca.crt"), Cert: filepath.Join(dir, base+".crt"), Key: filepath.Join(dir, base+".key")}
		for _, name := range []string{base + ".crt", base + ".key"} {
			text, err := os.ReadFile(filepath.Join(from, name))
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, name), text, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		return f
	}
	return formerFiles{keep(filepath.Join(s.Dir(), "client"), "operator"), keep(filepath.Join(s.Dir(), "db1", "tls"), "host")}
}

// tries asks everywhere with them; each error says that nobody was let in.
func (f formerFiles) tries(t *testing.T, s *sandbox.Sandbox) map[string]error {
	t.Helper()
	tried := make(map[string]error)
	c, err := s.Cluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, server := range c.Servers {
		client, err := api.NewClient(api.Endpoint{Address: server.API, TLS: certs.ClientConfig(f.operator, strings.Split(server.API, ":")[0])})
		if err == nil {
			_, err = client.Pause(t.Context(), api.PauseRequest{Reason: "mischief", For: time.Second})
			client.Close()
		}
		tried["the endpoint of "+server.Name] = err
	}
	for _, server := range c.Record.Servers {
		etcd, err := election.Dial(t.Context(), election.ClientOptions{Endpoints: []string{"https://" + server.Etcd.Client},
			TLS: certs.ClientConfig(f.daemon, strings.Split(server.Etcd.Client, ":")[0])})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		_, err = etcd.Get(ctx, "/mysqlha/")
		cancel()
		etcd.Close()
		tried["etcd of "+server.Name] = err
		tried["the peer port of "+server.Name] = handshake(t, server.Etcd.Peer, f.daemon)
	}
	return tried
}

// handshake tries to be let in over TLS and waits for the other's word on it.
func handshake(t *testing.T, address string, files certs.Files) error {
	t.Helper()
	host := strings.Split(address, ":")[0]
	conn, err := tls.Dial("tcp", address, certs.ClientConfig(files, host))
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(3 * time.Second)); err != nil {
		return err
	}
	// Who was let in is answered; else the alert comes instead.
	if _, err := fmt.Fprintf(conn, "GET /version HTTP/1.1\r\nHost: %s\r\n\r\n", host); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 1))
	return err
}

// All passwords with which daemons and servers reach each other are replaced under load:
// no write fails, no session ends, nothing moves, the former ones are let in nowhere
// afterwards, and the cluster fails over and clones with the new ones.
func TestPasswordsAreReplacedUnderLoad(t *testing.T) {
	s := harness.Start(t, sandbox.Options{Spares: 1})
	l := harness.Writers(t, s, 8)
	before, running := record(t, s), processes(t, s)
	session := openSession(t, s)
	passwords := func(kinds ...string) map[string]string {
		t.Helper()
		all := make(map[string]string)
		for _, server := range s.Servers()[:3] {
			for _, kind := range kinds {
				text, err := os.ReadFile(filepath.Join(s.StateDir(server), kind+".password"))
				if err != nil {
					t.Fatal(err)
				}
				all[kind+" "+server] = strings.TrimSpace(string(text))
			}
		}
		return all
	}
	client := func(name string) string { return filepath.Join(s.Dir(), "client", name) }
	holder := certs.Files{CA: client("ca.crt"), Cert: client("operator.crt"), Key: client("operator.key")}
	login := func(user, password, at string) error {
		address, err := s.ServerAddr(at)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		return replication.Login(ctx, replication.RemoteOptions{Server: at, Address: address, User: user, Password: func() (string, error) { return password, nil },
			TLS: certs.ClientConfig(holder, "127.0.0.1")})
	}
	former, control := passwords("probe", "replication"), passwords("control")
	for round := range 2 {
		if out, err := mysqlha(t, s, "accounts", "rotate"); err != nil || !strings.Contains(out, "The accounts of 3 hosts have new passwords") {
			t.Fatalf("round %d: %v\n%s", round, err, out)
		}
	}
	controlRenewed(t, s, control, passwords("control"))
	movedInTurn(t, s, before, 2)
	now := passwords("probe", "replication")
	for of, was := range former {
		kind, server, _ := strings.Cut(of, " ")
		user := replication.ProbeUser(server)
		if kind == "replication" {
			user = replication.CloneUser(server)
		}
		if now[of] == was {
			t.Errorf("the password of %s is the former one", of)
		}
		for _, at := range s.Servers()[:3] {
			within(t, fmt.Sprintf("%s has %s", at, of), func(context.Context) error { // A replica may be a moment behind.
				return poll(t.Context(), func() error {
					if err := login(user, now[of], at); err != nil {
						return err
					}
					if err := login(user, was, at); !replication.RefusesLogin(err) {
						return fmt.Errorf("the former password of %s: %v", of, err)
					}
					return nil
				})
			})
		}
	}
	if err := session(); err != nil {
		t.Errorf("a session that was there before has ended: %v", err)
	}
	awaitCluster(t, s, "all is well", sandbox.Settled)
	if now := processes(t, s); !slices.Equal(now, running) {
		t.Errorf("processes were\n%s\nand are\n%s", strings.Join(running, "\n"), strings.Join(now, "\n"))
	}
	undisturbed(t, s, l, before)

	signal(t, s, before.Primary, syscall.SIGKILL)
	awaitCluster(t, s, "the next term is open", func(c api.Cluster) bool { return c.Record.Term > before.Term && sandbox.Settled(c) })
	purge(t, openAdmin(t, s, record(t, s).Primary))
	if out, err := mysqlha(t, s, "server", "add", "db4"); err != nil || !strings.Contains(out, "cloning") {
		t.Errorf("%v\n%s", err, out)
	}
	l.Check()
}

// The same where a single replica is all that acknowledges: no statement about an account
// waits for an acknowledgement while that one connects anew, or it could not log in.
func TestPasswordsAreReplacedWithASingleReplica(t *testing.T) {
	s := harness.Start(t, sandbox.Options{Servers: 2})
	l := harness.Writers(t, s, 8)
	before, running := record(t, s), processes(t, s)
	const rounds = 3
	for round := range rounds {
		if out, err := mysqlha(t, s, "accounts", "rotate"); err != nil || !strings.Contains(out, "The accounts of 3 hosts have new passwords") {
			t.Fatalf("round %d: %v\n%s", round, err, out)
		}
	}
	movedInTurn(t, s, before, rounds)
	awaitCluster(t, s, "all is well", sandbox.Settled)
	if now := processes(t, s); !slices.Equal(now, running) {
		t.Errorf("processes were\n%s\nand are\n%s", strings.Join(running, "\n"), strings.Join(now, "\n"))
	}
	undisturbed(t, s, l, before)
	l.Check()
}

// movedInTurn sees, by the versions of the record since one, that each host went over to
// new passwords once a round, one at a time, and that no accounts changed meanwhile.
func movedInTurn(t *testing.T, s *sandbox.Sandbox, since decide.Record, rounds int) {
	t.Helper()
	etcd, keys := dialEtcd(t, s)
	var versions [][]decide.Account // The newest first.
	for revision := int64(0); ; {
		got, err := etcd.Get(t.Context(), keys.Record(), clientv3.WithRev(revision))
		if err != nil || len(got.Kvs) != 1 {
			t.Fatalf("the record at revision %d: %v, %v", revision, got, err)
		}
		r, err := bus.DecodeRecord(got.Kvs[0].Value)
		if err != nil {
			t.Fatal(err)
		}
		versions = append(versions, r.Accounts)
		if r.Version <= since.Version {
			break
		}
		revision = got.Kvs[0].ModRevision - 1
	}
	slices.Reverse(versions)
	moves, moving := make(map[string]int), ""
	for n, now := range versions[1:] {
		for i, a := range now {
			was := versions[n][i]
			switch {
			case a == was:
			case moving != "" && moving != a.Server:
				t.Errorf("the accounts of %s changed while %s went over to its new passwords", a.Server, moving)
			case a.Moving:
				moves[a.Server]++
				moving = a.Server
			case was.Moving && !a.Former:
				moving = ""
			case was.Former && !a.Former:
				t.Errorf("%s went over to its new passwords without being let", a.Server)
			}
		}
	}
	for _, a := range versions[0] {
		if moves[a.Server] != rounds {
			t.Errorf("%s went over to new passwords %d times", a.Server, moves[a.Server])
		}
	}
}

// controlRenewed sees that each server's own account has a password that it had not, and
// no other one, and that all are closed or open as before.
func controlRenewed(t *testing.T, s *sandbox.Sandbox, former, now map[string]string) {
	t.Helper()
	for _, server := range s.Servers()[:3] {
		of := "control " + server
		login, err := s.Local(server)
		if err != nil {
			t.Fatal(err)
		}
		local := func(password string) *replication.Local {
			l, err := replication.OpenLocal(replication.Options{Server: server, Socket: login.Addr, User: login.User, Password: func() (string, error) { return password, nil }})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			return l
		}
		if now[of] == former[of] {
			t.Errorf("the password of %s is the former one", of)
		}
		if _, err := local(former[of]).HasFormerPassword(t.Context()); !replication.RefusesLogin(err) {
			t.Errorf("the former password of %s: %v", of, err)
		}
		if two, err := local(now[of]).HasFormerPassword(t.Context()); err != nil || two {
			t.Errorf("%s: a former password is left: %t, %v", of, two, err)
		}
		snap, err := local(now[of]).Read(t.Context())
		if primary := record(t, s).Primary == server; err != nil || snap.SuperReadOnly == primary {
			t.Errorf("%s is primary: %t, super_read_only: %t, %v", server, primary, snap.SuperReadOnly, err)
		}
	}
}
