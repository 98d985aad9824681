package sandbox

import (
	"context"

	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/deploy/sandbox/process"
)

// Describe says in a line where the cluster stands.
func Describe(c api.Cluster) string {
	var parts []string
	switch r := c.Record; {
	case r == nil:
		parts = append(parts, "no record yet")
	case r.Plan != nil:
		parts = append(parts, fmt.Sprintf("term %d, primary %s, plan %s in phase %s", r.Term, r.Primary, r.Plan.Kind, r.Plan.Phase))
	default:
		parts = append(parts, fmt.Sprintf("term %d, primary %s", r.Term, r.Primary))
	}
	if c.Stale {
		parts = append(parts, "stale at "+c.Self)
	}
	if c.Leader == "" {
		parts = append(parts, "no leader")
	}
	for _, s := range c.Servers {
		part := s.Name + " " + string(s.State)
		if s.Status.Problem != "" {
			part += " (" + string(s.Status.Problem) + ": " + s.Status.Detail + ")"
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", ")
}

// WriteCluster writes the servers as a table.
func WriteCluster(w io.Writer, c api.Cluster) {
	fmt.Fprintln(w, clusterTitle(c))
	t := NewTable(w, "server", "role", "state", "mysqld", "in sync", "problem")
	for _, s := range c.Servers {
		t.AppendRow(table.Row{s.Name, s.Role, s.State, s.Address, inSync(s), problemOf(s)})
	}
	t.Render()
	for _, witness := range c.Witnesses {
		state := "ok"
		if !witness.Member {
			state = "gone"
		}
		fmt.Fprintf(w, "witness %s: %s\n", witness.Name, state)
	}
}

func clusterTitle(c api.Cluster) string {
	leader := c.Leader
	if leader == "" {
		leader = "nobody"
	}
	if c.Record == nil {
		return fmt.Sprintf("cluster %s: no term yet, led by %s", c.Name, leader)
	}
	return fmt.Sprintf("cluster %s: term %d, primary %s, led by %s", c.Name, c.Record.Term, c.Record.Primary, leader)
}

func problemOf(s api.Server) string {
	if s.Status.Problem == "" {
		return s.LiveError
	}
	return string(s.Status.Problem) + ": " + s.Status.Detail
}

// writeStatus writes the supervisor's view of the processes and the cluster's
// state. Its error says what could not be seen.
func (s *Sandbox) writeStatus(ctx context.Context, w io.Writer) error {
	report, running, err := s.Processes()
	if err != nil {
		return fmt.Errorf("the sandbox in %s was never started: %w", s.layout.dir, err)
	}
	if !running {
		return fmt.Errorf("the sandbox in %s is not running: start it again with `mysqlha sandbox up`, or remove it with `mysqlha sandbox down`", s.layout.dir)
	}
	fmt.Fprintf(w, "sandbox %s, supervisor pid %d\n", s.layout.dir, report.Supervisor.PID)
	t := NewTable(w, "process", "state", "pid", "since", "starts", "last end")
	for _, p := range report.Programs {
		t.AppendRow(table.Row{p.Name, p.State, pidText(p.Identity), time.Since(p.Since).Round(time.Second), p.Starts, p.LastExit})
		if host, isGuard := strings.CutSuffix(p.Name, "/guard"); isGuard {
			id, err := process.Read(s.layout.runFile(host))
			state := "running"
			if err != nil || !id.Alive() {
				state, id = "down", process.Identity{}
			}
			t.AppendRow(table.Row{"  mysqld of " + host, state, pidText(id)})
		}
	}
	t.Render()
	c, err := s.Cluster(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintln(w)
	WriteCluster(w, c)
	return nil
}

func pidText(id process.Identity) any {
	if id.PID == 0 {
		return "-"
	}
	return id.PID
}

// writeGuide tells how to use what is up and what to try.
func (s *Sandbox) writeGuide(w io.Writer) {
	l := s.layout
	client := filepath.Join(filepath.Dir(l.MySQLD), "mysql")
	if _, err := exec.LookPath(client); err != nil {
		client = "mysql"
	}
	fmt.Fprintf(w, `
write  %[1]s --defaults-file=%[2]s
       %[3]s:PASSWORD@tcp(%[4]s)/%[5]s?tls=sandbox
read   %[1]s --defaults-file=%[2]s --port=%[6]d
       %[3]s:PASSWORD@tcp(%[7]s)/%[5]s?tls=sandbox

In Go, register the CA %[8]s as the TLS configuration "sandbox";
the password is in %[9]s.

Try next:
  %[10]s kill primary      and watch another server take over
  %[10]s status            see who is what
  %[10]s stop %[12]s          hold a server still, and `+"`cont %[12]s`"+` to let it go on
  mysqlha status --context %[11]s
  %[10]s down              stop everything and remove it
`, shellWord(client), shellWord(l.path("app.cnf")), AppUser, s.WriteAddr(), AppSchema, l.port(portRead, 0), s.ReadAddr(),
		l.clientFiles().CA, l.path("app.password"), s.command(), shellWord(s.Context()), s.Servers()[l.Servers-1])
}

// command is how the user calls this sandbox.
func (s *Sandbox) command() string {
	if dir, err := DefaultDir(); err == nil && dir == s.layout.dir {
		return "mysqlha sandbox"
	}
	return "mysqlha sandbox --dir " + shellWord(s.layout.dir)
}

// shellWord quotes a path for a shell where it needs it; checkDir has refused
// what double quotes would not hold together.
func shellWord(path string) string {
	if strings.ContainsAny(path, " \t&|;<>()*?[]{}!~") {
		return `"` + path + `"`
	}
	return path
}

// NewTable returns a table without borders, in the look of all that is shown of clusters and
// sites.
func NewTable(w io.Writer, header ...any) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatDefault
	t.Style().Options = table.OptionsNoBordersAndSeparators
	t.AppendHeader(header)
	return t
}

// inSync is about replicas; a primary is not in its own in-sync set.
func inSync(s api.Server) string {
	switch {
	case s.Role == api.RolePrimary:
		return "-"
	case s.InSync:
		return "yes"
	}
	return "no"
}
