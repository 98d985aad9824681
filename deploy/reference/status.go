package reference

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/mysqlha/mysqlha/config"
	"github.com/mysqlha/mysqlha/deploy/sandbox"
	"github.com/mysqlha/mysqlha/deploy/sandbox/supervisor"
)

// WriteStatus writes each host with its programs, what the monitoring says of it, whether
// its firewall is as described, the cluster, and the alerts. Its error says what is not well.
func (s *Site) WriteStatus(ctx context.Context, w io.Writer) error {
	own, err := s.Processes()
	if err != nil {
		return fmt.Errorf("the site in %s was never started: take it down with `make infra-down`: %w", s.layout.dir, err)
	}
	cluster, running, err := s.cluster.Processes()
	if err != nil {
		return fmt.Errorf("looking at the cluster: %w", err)
	}
	var wrong []string
	if !own.Supervisor.Alive() || !running {
		wrong = append(wrong, "a supervisor is gone: take the site down with `make infra-down`")
	}
	monitored, err := s.Monitored(ctx)
	if err != nil {
		wrong = append(wrong, err.Error())
	}
	holders, err := s.Holders(ctx)
	if err != nil {
		return err
	}
	t := sandbox.NewTable(w, "host", "address", "program", "state", "pid", "since", "starts", "monitoring", "firewall")
	for _, h := range s.layout.site.Hosts {
		at := h.Addresses[0]
		if strings.Contains(strings.Join(holders, " "), h.Name) {
			at += ", " + s.layout.site.Public.Address
		}
		wall := "as described"
		if err := s.layout.firewall(ctx, h.Name, "check"); err != nil {
			wall = "differs"
			wrong = append(wrong, err.Error())
		}
		health, bad := healthOf(monitored, h.Name)
		wrong = append(wrong, bad...)
		first := true
		for _, p := range programsOf(h, own, cluster) {
			row := table.Row{"", "", strings.TrimPrefix(p.Name, h.Name+"/"), p.State, p.PID, time.Since(p.Since).Round(time.Second), p.Starts, "", ""}
			if first {
				row[0], row[1], row[7], row[8] = h.Name, at, health, wall
			}
			first = false
			if p.State != supervisor.StateRunning {
				wrong = append(wrong, fmt.Sprintf("%s is %s (%s)", p.Name, p.State, p.LastExit))
			}
			t.AppendRow(row)
		}
	}
	t.Render()
	fmt.Fprintln(w)
	c, err := s.cluster.Cluster(ctx)
	if err != nil {
		wrong = append(wrong, err.Error())
	} else {
		sandbox.WriteCluster(w, c)
	}
	alerts, err := s.Alerts(ctx)
	if err != nil {
		wrong = append(wrong, err.Error())
	} else if len(alerts) > 0 {
		fmt.Fprintf(w, "alerts: %v\n", alerts)
	}
	if len(holders) != 1 {
		wrong = append(wrong, fmt.Sprintf("%v have the public address: one balancer should", holders))
	}
	if len(wrong) > 0 {
		return fmt.Errorf("not all is well:\n  %s", strings.Join(wrong, "\n  "))
	}
	return nil
}

// programsOf are those of a host. The one that a redirector's host has from the cluster is
// named after the host there.
func programsOf(h config.SiteHost, reports ...supervisor.Report) (all []supervisor.Status) {
	for _, r := range reports {
		for _, p := range r.Programs {
			if p.Name == h.Name {
				p.Name = h.Name + "/mysqlhad"
			}
			if strings.HasPrefix(p.Name, h.Name+"/") {
				all = append(all, p)
			}
		}
	}
	return all
}

// healthOf says what the monitoring sees of a host.
func healthOf(all []Scraped, host string) (text string, wrong []string) {
	seen, up := 0, 0
	for _, m := range all {
		if m.Host != host {
			continue
		}
		seen++
		if m.Up {
			up++
		} else {
			wrong = append(wrong, fmt.Sprintf("the monitoring does not see %s on %s: %s", m.Job, m.Host, m.Problem))
		}
	}
	if seen == 0 {
		return "not seen", wrong
	}
	return fmt.Sprintf("%d of %d up", up, seen), wrong
}

// WriteGuide tells how to use what is up and what to try.
func (s *Site) WriteGuide(w io.Writer) {
	l := s.layout
	mon := hostsOf(l.site, config.TierMonitor)[0].Addresses[0]
	operator := s.cluster.Operator()
	fmt.Fprintf(w, `
customers    ip netns exec %[1]s curl --cacert %[2]s --resolve %[3]s:443:%[4]s https://%[3]s/health
on a host    ip netns exec %[5]s ss -tlnp        its files and logs are in %[6]s
monitoring   https://%[7]s and https://%[8]s, for who shows a certificate:
             --cacert %[9]s --cert %[10]s --key %[11]s
cluster      %[12]s status --context %[13]s

Try next:
  make infra-orders            a thousand orders, and whether each is there once
  make infra-status            each host, its programs and its health
  make infra-drills            break it in one way after the other; what customers see, and who is told
  docs/questions.md            why it is built so, and the commands that show it
  make infra-down              stop everything and remove it
`, s.Namespace(customerHost), l.authority(), l.site.Public.Name, l.site.Public.Address, s.Namespace("web1"), l.host("web1"),
		fmt.Sprintf("%s:%d", mon, l.site.Ports.Prometheus), fmt.Sprintf("%s:%d", mon, l.site.Ports.Alertmanager),
		operator.CA, operator.Cert, operator.Key, l.ours("mysqlha"), s.cluster.Context())
}
