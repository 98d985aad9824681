package reference

import (
	"strings"
	"time"

	"github.com/mysqlha/mysqlha/config"
	"github.com/mysqlha/mysqlha/deploy/sandbox"
	"github.com/mysqlha/mysqlha/deploy/sandbox/supervisor"
)

// The stages of a stop, from the customers inwards.
const (
	stageBalancer = iota
	stageWeb
	stageApplication
	stageMonitoring
)

// The times of the supervisor.
const (
	restartDelay = time.Second
	stopDeadline = 8 * time.Second
)

// spec is what the supervisor runs on each host besides the cluster: there, systemd would.
func (l layout) spec() supervisor.Spec {
	spec := supervisor.Spec{RestartDelay: restartDelay, ReportFile: l.path("processes.json")}
	for _, h := range l.site.Hosts {
		run := func(stage int, name string, args ...string) {
			spec.Programs = append(spec.Programs, supervisor.Program{Name: h.Name + "/" + name, Args: l.wires().in(h.Name, args...),
				Log: l.host(h.Name, name+".log"), Stage: stage, StopDeadline: stopDeadline, Group: true})
		}
		p, at := l.home(h), programsAt(l.site, h, l.home(h))
		switch h.Tiers[0] {
		case config.TierLB:
			run(stageBalancer, "haproxy", l.theirs("haproxy"), "-db", "-f", p.Dir+"/haproxy.cfg")
			run(stageBalancer, "keepalived", l.theirs("keepalived"), "--dont-fork", "--log-console", "--no-syslog", "--vrrp", "--use-file", p.Dir+"/keepalived.conf",
				"--pid", p.Dir+"/keepalived.pid", "--vrrp_pid", p.Dir+"/keepalived-vrrp.pid")
		case config.TierWeb:
			run(stageWeb, "nginx", l.theirs("nginx"), "-e", "stderr", "-c", p.Dir+"/nginx.conf", "-p", p.Dir)
			run(stageMonitoring, "nginx-exporter", asNobody(append([]string{l.theirs("prometheus-nginx-exporter")}, at.nginxExporter()...)...)...)
		case config.TierApp:
			run(stageApplication, "shop", asNobody(append([]string{l.ours("shop")}, at.shop(p.TLS+"/client.key", p.Dir+"/db.password")...)...)...)
		case config.TierMonitor:
			run(stageMonitoring, "prometheus", asNobody(append([]string{l.theirs("prometheus")}, at.prometheus(p.Dir+"/prometheus")...)...)...)
			// Debian's needs a mount of its own to find its templates, and so root.
			run(stageMonitoring, "alertmanager", append([]string{l.theirs("prometheus-alertmanager")}, at.alertmanager(p.Dir+"/alertmanager")...)...)
		}
		run(stageMonitoring, "node-exporter", asNobody(append([]string{l.theirs("prometheus-node-exporter")}, append(at.nodeExporter(), "--no-collector.systemd", "--no-collector.textfile")...)...)...)
	}
	return spec
}

// arguments make the command lines of the programs of a host that are told all they need
// by arguments.
type arguments struct {
	site *config.Site
	host config.SiteHost
	home
}

func programsAt(s *config.Site, h config.SiteHost, p home) arguments { return arguments{s, h, p} }

func (a arguments) nodeExporter() []string {
	return []string{"--web.listen-address=" + address(a.host, a.site.Ports.NodeExporter), "--web.config.file=" + a.Dir + "/web.yml", "--log.level=warn"}
}

func (a arguments) nginxExporter() []string {
	return []string{"-nginx.scrape-uri=http://127.0.0.1:8081/stub_status", "-nginx.retries=30", "-nginx.retry-interval=1s", "-web.listen-address=" + address(a.host, a.site.Ports.WebExporter),
		"-web.secured-metrics", "-web.ssl-server-cert=" + a.TLS + "/client.crt", "-web.ssl-server-key=" + a.TLS + "/client.key"}
}

// shop reads its key and the database's password from files that only it may read.
func (a arguments) shop(key, password string) []string {
	allow := append(namesOf(hostsOf(a.site, config.TierWeb)), namesOf(hostsOf(a.site, config.TierMonitor))...)
	return []string{"--listen", address(a.host, a.site.Ports.App), "--cert", a.TLS + "/client.crt", "--key", key, "--client-ca", a.TLS + "/ca.crt", "--allow", strings.Join(allow, ","),
		"--write", address(a.host, a.site.Ports.Write), "--read", address(a.host, a.site.Ports.Read),
		"--db-ca", a.TLS + "/ca.crt", "--db-server", a.host.Name, "--db-user", sandbox.AppUser, "--db-password-file", password, "--db-name", sandbox.AppSchema}
}

func (a arguments) prometheus(data string) []string {
	return []string{"--config.file=" + a.Dir + "/prometheus.yml", "--storage.tsdb.path=" + data, "--web.config.file=" + a.Dir + "/web.yml",
		"--web.listen-address=" + address(a.host, a.site.Ports.Prometheus), "--log.level=warn"}
}

func (a arguments) alertmanager(data string) []string {
	return []string{"--config.file=" + a.Dir + "/alertmanager.yml", "--storage.path=" + data, "--web.config.file=" + a.Dir + "/web.yml",
		"--web.listen-address=" + address(a.host, a.site.Ports.Alertmanager), "--cluster.listen-address=", "--log.level=warn"}
}

// ports are those of the description, for the sandbox.
func (l layout) ports() *sandbox.Ports {
	p := l.site.Ports
	return &sandbox.Ports{MySQL: p.MySQL, API: p.API, Write: p.Write, Read: p.Read, EtcdClient: p.EtcdClient, EtcdPeer: p.EtcdPeer}
}

// sandbox is what the cluster is to be.
func (l layout) sandbox(o Options) sandbox.Options {
	n := &sandbox.Network{Namespaces: map[string]string{}, IPs: map[string]string{}, Ports: l.ports()}
	servers, applications := hostsOf(l.site, config.TierDB), hostsOf(l.site, config.TierApp)
	for _, h := range append(servers, applications...) {
		n.Namespaces[h.Name], n.IPs[h.Name] = l.wires().namespace(h.Name), h.Addresses[0]
	}
	return sandbox.Options{Dir: l.cluster(), Cluster: l.site.Cluster, Servers: len(servers), Redirectors: namesOf(applications), Network: n, MySQLD: o.MySQLD,
		Mysqlha: l.ours("mysqlha"), Mysqlhad: l.ours("mysqlhad"), Templates: o.Templates, BufferPool: o.BufferPool, Progress: o.Progress}
}
