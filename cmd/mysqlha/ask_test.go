package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/certs"
	"github.com/mysqlha/mysqlha/config"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication/gtid"
)

// daemon answers with one cluster.
type daemon struct {
	cluster      api.Cluster
	certificates api.Certificates
	passwords    api.Passwords
}

func (d daemon) Cluster(ctx context.Context) (api.Cluster, error) {
	if d.cluster.Name == hangs {
		<-ctx.Done()
	}
	return d.cluster, ctx.Err()
}

// hangs is the name of a cluster whose daemon never answers in time.
const hangs = "hangs"

func (d daemon) Why(context.Context) (api.Why, error) {
	return api.Why{Decision: d.cluster.Decision, Leader: d.cluster.Leader, At: time.Now()}, nil
}

func (d daemon) History(context.Context, int) ([]decide.History, error) {
	return []decide.History{*d.cluster.LastFailover}, nil
}

func (d daemon) Ready(context.Context) error { return nil }

func (d daemon) Settings(context.Context) (api.Settings, error) { return d.settings(nil), nil }

func (d daemon) settings(set map[string]string) api.Settings {
	p := decide.Policy{Version: 3, By: "me@here", At: night, Detection: 2 * time.Second}
	for name, value := range set {
		_ = p.Set(name, value) // ChangeSettings has looked.
	}
	return api.Settings{Version: p.Version, By: p.By, At: p.At, Pause: d.cluster.Pause,
		Settings: p.Settings(decide.Settings{Detection: time.Second, MaxLag: 30 * time.Second}, *d.cluster.Record, []string{"db1", "db2", "db3"})}
}

func (d daemon) ChangeSettings(_ context.Context, want api.SettingsChange) (api.Settings, error) {
	if want.Version != 0 && want.Version != 3 {
		return api.Settings{}, &api.RefusedError{Reason: "the settings have changed since"}
	}
	for name, value := range want.Set {
		if err := new(decide.Policy).Set(name, value); err != nil {
			return api.Settings{}, &api.RefusedError{Reason: err.Error()}
		}
	}
	return d.settings(want.Set), nil
}

func (d daemon) SettingsHistory(context.Context, int) ([]decide.PolicyVersion, error) {
	return []decide.PolicyVersion{
		{Version: 3, By: "me@here", At: night, Changes: []decide.Changed{{Name: "detection", From: "1.5s", To: "2s"}}, Values: map[string]string{"detection": "2s"}},
		{Version: 2, At: night, Changes: []decide.Changed{{Name: "detection", To: "1.5s"}}, Values: map[string]string{"detection": "1.5s"}},
	}, nil
}

func (d daemon) Pause(_ context.Context, want api.PauseRequest) (decide.Pause, error) {
	if want.For > time.Hour {
		return decide.Pause{}, &api.RefusedError{Reason: "that is too long"}
	}
	return decide.Pause{Reason: want.Reason, By: want.By, Since: night}, nil
}

func (d daemon) Resume(context.Context, api.ResumeRequest) (decide.Pause, error) {
	if d.cluster.Pause == nil {
		return decide.Pause{}, nil
	}
	return *d.cluster.Pause, nil
}

func (d daemon) Rejoin(_ context.Context, want api.RejoinRequest) (api.RejoinRequest, error) {
	if !want.Discard.IsEmpty() && want.Discard.String() != second+":801-812" {
		return want, &api.RefusedError{Reason: "that is not what db3 has"}
	}
	return want, nil
}

func (d daemon) Failover(_ context.Context, want decide.FailoverRequest) (string, error) {
	if want.To == "db1" {
		return "", &api.RefusedError{Reason: "db1 is the primary already"}
	}
	return want.ID, nil
}

func (d daemon) Watch(_ context.Context, tell func(api.Event)) {
	tell(api.Event{Term: d.cluster.Record.Term, Primary: d.cluster.Record.Primary})
}

func (d daemon) Kept(_ context.Context, server string) ([]decide.Kept, error) {
	switch server {
	case "db2":
		return nil, nil
	case "db9":
		return nil, &api.RefusedError{Reason: `"db9" is not a server of this cluster`}
	}
	return []decide.Kept{{Name: "binlog.000007.rewound-4-x", Way: "rewound", Term: 6, GTIDs: gtid.MustParse(second + ":801-812"), Bytes: 900, At: night}}, nil
}

func (d daemon) OpenKept(_ context.Context, _, name string) (io.ReadCloser, error) {
	if name != "binlog.000007.rewound-4-x" {
		return nil, &api.RefusedError{Reason: "nothing of the name " + name}
	}
	return io.NopCloser(strings.NewReader("what was kept")), nil
}

func (d daemon) ChangeServers(_ context.Context, want api.ServersRequest) ([]decide.Server, error) {
	if want.Remove == "db1" {
		return nil, &api.RefusedError{Reason: "db1 is the primary and cannot leave"}
	}
	if want.Remove == "db9" {
		return []decide.Server{{Name: "db1"}, {Name: "db2"}}, nil
	}
	return []decide.Server{{Name: "db1"}, {Name: "db2"}, {Name: want.Add}}, nil
}

func (d daemon) Bootstrap(_ context.Context, want decide.BootstrapRequest) (string, error) {
	if d.cluster.Record != nil {
		return "", &api.RefusedError{Reason: "the cluster has begun: db1 is primary in term 7"}
	}
	return want.ID, nil
}

func (d daemon) Recent(context.Context, string, time.Time) ([]api.Recent, error) { return nil, nil }

func (d daemon) Passwords(context.Context) (api.Passwords, error) {
	return d.passwords, nil
}

func (d daemon) Rotate(_ context.Context, want decide.RotationRequest) (string, error) {
	if d.cluster.Record == nil {
		return "", &api.RefusedError{Reason: "the cluster has no record yet"}
	}
	return want.ID, nil
}

func (d daemon) Certificates(context.Context) (api.Certificates, error) {
	return d.certificates, nil
}

func (d daemon) Doctor(_ context.Context, server string) (api.Examination, error) {
	e := api.Examination{Found: []decide.Diagnosis{}}
	for _, s := range d.cluster.Servers {
		if server == "" || s.Name == server {
			e.Servers = append(e.Servers, api.Examined{Server: s.Name, Version: "9.7.4", At: night})
		}
	}
	if server == "db9" {
		return e, &api.RefusedError{Reason: `"db9" is not a server of this cluster`}
	}
	if d.cluster.Record != nil && d.cluster.Record.Plan != nil {
		e.Found = append(e.Found, decide.Diagnosis{Code: decide.CodeWaitingForFollowers, Severity: decide.SeverityCritical, Detail: "it waits", Mend: "bring db2 back"})
	}
	return e, nil
}

func (d daemon) Switchover(_ context.Context, want decide.SwitchoverRequest) (string, error) {
	return want.ID, nil
}

func (d daemon) TestFence(_ context.Context, want api.FenceRequest) (decide.FenceTest, error) {
	report := decide.FenceTest{Server: want.Server, Killed: want.Kill, Closed: 40 * time.Millisecond,
		Stages: []decide.FenceStage{{Name: "offline_mode", Took: 12 * time.Millisecond}, {Name: "undo", Took: time.Millisecond}}}
	switch want.Server {
	case "db1":
		return decide.FenceTest{}, &api.RefusedError{Reason: "db1 is the primary"}
	case "db3":
		report.Stages[1].Error = "it hangs"
	}
	return report, nil
}

// daemonFor serves a cluster over TLS and returns a context file that leads to
// it.
func daemonFor(t testing.TB, c api.Cluster) string {
	t.Helper()
	c.Derive()
	dir := t.TempDir()
	ca, err := certs.NewAuthority("test", time.Hour)
	if err == nil {
		err = ca.WriteTo(dir)
	}
	if err == nil {
		err = ca.IssueTo(dir, "host", certs.For(certs.RoleMember, "host", []string{"127.0.0.1"}, time.Hour))
	}
	if err != nil {
		t.Fatal(err)
	}
	files := certs.Files{CA: filepath.Join(dir, "ca.crt"), Cert: filepath.Join(dir, "host.crt"), Key: filepath.Join(dir, "host.key")}
	server, err := api.NewServer(api.Options{Listen: "127.0.0.1:0", TLS: certs.OptionalClientServerConfig(files), Backend: daemon{cluster: c}, Logger: slog.New(slog.DiscardHandler)})
	if err == nil {
		err = server.Listen()
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	file := filepath.Join(dir, "context.yaml")
	settings := config.Context{Cluster: "shop", Endpoints: []config.ContextEndpoint{{Address: server.Addr().String()}}, TLS: config.TLS{CA: files.CA, Cert: files.Cert, Key: files.Key}}
	if err := os.WriteFile(file, settings.YAML(), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestCommandsAskADaemon(t *testing.T) {
	good := daemonFor(t, healthy())
	down := daemonFor(t, failingOver())
	apart := daemonFor(t, diverged())
	other := healthy()
	other.Name = "warehouse"
	foreign := daemonFor(t, other)
	roster := healthy()
	roster.Applicants = []string{"db4"}
	roster.Record.Servers = []decide.Server{{Name: "db1", MySQL: "10.0.0.1:3306", API: "10.0.0.1:8008", Etcd: decide.EtcdMember{Peer: "10.0.0.1:2380"}}}
	roster.Decision.Candidates = []decide.Candidate{{Server: "db3", Left: 4}, {Server: "db2", Problems: []string{"db2 lags", "and more"}}}
	recorded := daemonFor(t, roster)
	for _, c := range []struct {
		name   string
		args   []string
		code   int
		stdout string
		stderr string
	}{
		{"status of a healthy cluster is 0", []string{"status", "--context", good}, 0, "the primary db1 takes writes", ""},
		{"status of one without an open primary is 1", []string{"status", "--context", down}, 1, "NOBODY IS KNOWN TO TAKE WRITES", ""},
		{"so it is as JSON", []string{"status", "--context", down, "-o", "json"}, 1, `"name": "shop"`, ""},
		{"an answer of another cluster is refused", []string{"status", "--context", foreign}, 1, "", `belongs to the cluster "warehouse", not to "shop"`},
		{"flags may stand before the command", []string{"--context", good, "--output", "json", "status"}, 0, `"leader": "db2"`, ""},
		{"the nearest flag counts", []string{"--context", down, "--output", "json", "status", "--context", good, "--output", "table"}, 0, "SERVER", ""},
		{"YAML has the same keys", []string{"status", "--context", good, "--output", "yaml"}, 0, "leader: db2\n", ""},
		{"why says it in words", []string{"why", "--context", good}, 0, "Healthy: db1 is open in term 7.\n", ""},
		{"why says that it waits", []string{"why", "--context", down}, 0, "It acts as soon as what it waits for is there", ""},
		{"a fence is tested", []string{"fence", "--test", "--context", good, "db2"}, 0, "offline_mode         12 ms\nundo                  1 ms\ndb2 was closed after 40 ms and lets clients in again\n", ""},
		{"with a kill at its end", []string{"fence", "--test", "--kill", "--context", good, "db2"}, 0, "closed after 40 ms and killed", ""},
		{"a stage that failed is named and the code is 1", []string{"fence", "--test", "--context", good, "db3"}, 1, "undo                  1 ms  FAILED: it hangs", "did not hold"},
		{"a primary is not fenced", []string{"fence", "--test", "--context", good, "db1"}, 3, "", "db1 is the primary"},
		{"there is nothing to fence but for a test", []string{"fence", "--context", good, "db2"}, 2, "", "mysqlha fence --test db2"},
		{"what was given up is listed", []string{"rewound", "--context", good, "db1"}, 0, "rewound  12 transactions of term 6, 900 bytes\n  binlog.000007.rewound-4-x\n  " + second + ":801-812\n", ""},
		{"or that nothing was", []string{"rewound", "--context", good, "db2"}, 0, "db2 has given nothing up.\n", ""},
		{"as JSON it is an empty list", []string{"rewound", "--context", good, "-o", "json", "db2"}, 0, "[]\n", ""},
		{"a server that is unknown is refused", []string{"rewound", "--context", good, "db9"}, 3, "", "\"db9\" is not a server"},
		{"and a name that is", []string{"rewound", "--context", good, "db1", "x"}, 3, "", "nothing of the name x"},
		{"what to save must be named", []string{"rewound", "--context", good, "--save", "f", "db1"}, 2, "", "NAME --save FILE"},
		{"a server that is well is left alone", []string{"rejoin", "--context", good, "--discard", "db2"}, 0, "db2 is in sync\n", ""},
		{"what only one server has is named", []string{"rejoin", "--context", apart, "db3"}, 1, "", "db3 holds 12 transactions that nobody else has: "},
		{"and how it is given up", []string{"rejoin", "--context", apart, "db3"}, 1, "", "mysqlha rejoin db3 --discard gives them up"},
		{"and given up by name", []string{"rejoin", "--context", apart, "--discard", "--no-wait", "db3"}, 0, "db3 is diverged, and will be built anew without " + second + ":801-812\n", ""},
		{"and called harmless by name", []string{"rejoin", "--context", apart, "--inject-empty", "--no-wait", "db3"}, 0, "db3 is diverged, and will replicate once the primary has empty transactions for " + second + ":801-812\n", ""},
		{"not both", []string{"rejoin", "--context", apart, "--inject-empty", "--discard", "db3"}, 2, "", "not both"},
		{"an unknown server is named", []string{"rejoin", "--context", good, "db9"}, 1, "", `"db9" is not a server`},
		{"one server is enough", []string{"rejoin", "--context", good, "db1", "db2"}, 2, "", "mysqlha rejoin SERVER"},
		{"a dry run of a switchover", []string{"switchover", "--dry-run", "--context", recorded}, 0, "would move from db1 to db3, which has 4 transactions left", ""},
		{"says what speaks against the others", []string{"switchover", "--dry-run", "--context", recorded}, 0, "db2: db2 lags; and more\n", ""},
		{"and against the one that is wanted", []string{"switchover", "--dry-run", "--to", "db2", "--context", recorded}, 3, "would stay on db1:\n  db2 lags\n  and more\n", "nothing was changed"},
		{"the primary stays", []string{"switchover", "--dry-run", "--to", "db1", "--context", recorded, "-o", "json"}, 3, "db1 is the primary already", ""},
		{"so it does for one that is unknown", []string{"switchover", "--dry-run", "--to", "db9", "--context", recorded}, 3, "there is no server", ""},
		{"a switchover is asked for", []string{"switchover", "--no-wait", "--context", good}, 0, "asked for; mysqlha history", ""},
		{"not with an endless wait", []string{"switchover", "--drain", "2h", "--context", good}, 2, "", "--drain is from"},
		{"the servers of the record are listed", []string{"server", "--context", recorded}, 0, "db1     10.0.0.1:3306  10.0.0.1:8008  10.0.0.1:2380\n", ""},
		{"and who would like to join", []string{"server", "--context", recorded}, 0, "mysqlha server add db4\n", ""},
		{"as JSON", []string{"server", "--context", recorded, "-o", "json"}, 0, `"applicants": [`, ""},
		{"a server joins", []string{"server", "add", "--context", recorded, "--no-wait", "db4"}, 0, "db4 joins: the servers will be db1, db2, db4\n", ""},
		{"and it is waited for", []string{"server", "add", "--context", good, "db2"}, 0, "db2 is of the cluster and in sync after ", ""},
		{"a server leaves", []string{"server", "remove", "--context", good, "--no-wait", "db9"}, 0, "db9 leaves: the servers will be db1, db2\n", ""},
		{"and is waited for until it has", []string{"server", "remove", "--context", good, "db9"}, 0, "db9 has left after ", ""},
		{"a primary does not leave", []string{"server", "remove", "--context", good, "db1"}, 3, "", "db1 is the primary and cannot leave"},
		{"one server at a time", []string{"server", "add", "--context", good, "db4", "db5"}, 2, "", "mysqlha server add NAME"},
		{"history lists what has ended", []string{"history", "--context", good, "--limit", "1"}, 0, "db3 -> db1", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), append([]string{"mysqlha"}, c.args...), &stdout, &stderr)
			if code != c.code || !strings.Contains(stdout.String(), c.stdout) || !strings.Contains(stderr.String(), c.stderr) {
				t.Errorf("got %d\n%s\n%s", code, stdout.String(), stderr.String())
			}
			if strings.Contains(stdout.String(), "\x1b") {
				t.Error("there is colour although nobody sees it")
			}
		})
	}
}

func TestWhatWasKeptIsSavedOnce(t *testing.T) {
	context, file := daemonFor(t, healthy()), filepath.Join(t.TempDir(), "kept")
	args := []string{"mysqlha", "rewound", "--context", context, "--save", file, "db1", "binlog.000007.rewound-4-x"}
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), args, &stdout, &stderr); code != 0 {
		t.Fatalf("got %d\n%s", code, stderr.String())
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "what was kept" {
		t.Errorf("%q, %v", text, err)
	}
	if code := run(t.Context(), args, &stdout, &stderr); code != 1 || !strings.Contains(stderr.String(), "exists") {
		t.Errorf("the second time got %d\n%s", code, stderr.String())
	}
}

func TestYAMLHoldsWhatJSONHolds(t *testing.T) {
	want := healthy()
	want.Revision = 1<<62 + 1 // more digits than a float has
	var text bytes.Buffer
	if err := encode(&text, "yaml", want); err != nil {
		t.Fatal(err)
	}
	var any struct {
		Revision int64  `yaml:"revision"`
		At       string `yaml:"at"`
	}
	if err := yaml.Unmarshal(text.Bytes(), &any); err != nil || any.Revision != want.Revision || any.At != "2026-03-01T03:00:00Z" {
		t.Errorf("got %+v, %v from\n%s", any, err, text.String())
	}
	var b bytes.Buffer
	var back api.Cluster
	if err := encode(&b, "json", want); err != nil || json.Unmarshal(b.Bytes(), &back) != nil || back.Record.Term != 7 {
		t.Errorf("%v: %s", err, b.String())
	}
}

func TestDurationsAreShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0 ms", 0: "0 ms", 141 * time.Millisecond: "141 ms", 1500 * time.Millisecond: "1.5 s", 40 * time.Second: "40 s",
		12 * time.Minute: "12 min", 5 * time.Hour: "5 h", 72 * time.Hour: "3 days",
	} {
		if got := short(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}
