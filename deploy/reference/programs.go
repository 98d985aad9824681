package reference

import (
	"fmt"
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
		dir, tls, at := l.host(h.Name), l.host(h.Name, "tls"), h.Addresses[0]
		switch h.Tiers[0] {
		case config.TierLB:
			run(stageBalancer, "haproxy", l.theirs("haproxy"), "-db", "-f", dir+"/haproxy.cfg")
			run(stageBalancer, "keepalived", l.theirs("keepalived"), "--dont-fork", "--log-console", "--no-syslog", "--vrrp", "--use-file", dir+"/keepalived.conf",
				"--pid", dir+"/keepalived.pid", "--vrrp_pid", dir+"/keepalived-vrrp.pid")
		case config.TierWeb:
			run(stageWeb, "nginx", l.theirs("nginx"), "-e", "stderr", "-c", dir+"/nginx.conf", "-p", dir)
			run(stageMonitoring, "nginx-exporter", asNobody(l.theirs("prometheus-nginx-exporter"), "-nginx.scrape-uri", "http://127.0.0.1:8081/stub_status", "-nginx.retries", "30",
				"-nginx.retry-interval", "1s", "-web.listen-address", address(h, l.site.Ports.WebExporter), "-web.secured-metrics",
				"-web.ssl-server-cert", tls+"/client.crt", "-web.ssl-server-key", tls+"/client.key")...)
		case config.TierApp:
			allow := append(namesOf(hostsOf(l.site, config.TierWeb)), namesOf(hostsOf(l.site, config.TierMonitor))...)
			run(stageApplication, "shop", asNobody(l.ours("shop"), "--listen", address(h, l.site.Ports.App), "--cert", tls+"/client.crt", "--key", tls+"/client.key",
				"--client-ca", tls+"/ca.crt", "--allow", strings.Join(allow, ","), "--write", address(h, l.site.Ports.Write), "--read", address(h, l.site.Ports.Read),
				"--db-ca", tls+"/ca.crt", "--db-server", h.Name, "--db-user", sandbox.AppUser, "--db-password-file", dir+"/db.password", "--db-name", sandbox.AppSchema)...)
		case config.TierMonitor:
			run(stageMonitoring, "prometheus", asNobody(l.theirs("prometheus"), "--config.file="+dir+"/prometheus.yml", "--storage.tsdb.path="+dir+"/prometheus",
				"--web.config.file="+dir+"/web.yml", "--web.listen-address="+address(h, l.site.Ports.Prometheus), "--log.level=warn")...)
			// Debian's needs a mount of its own to find its templates, and so root.
			run(stageMonitoring, "alertmanager", l.theirs("prometheus-alertmanager"), "--config.file="+dir+"/alertmanager.yml", "--storage.path="+dir+"/alertmanager",
				"--web.config.file="+dir+"/web.yml", "--web.listen-address="+address(h, l.site.Ports.Alertmanager), "--cluster.listen-address=", "--log.level=warn")
		}
		run(stageMonitoring, "node-exporter", asNobody(l.theirs("prometheus-node-exporter"), "--web.listen-address="+at+":"+fmt.Sprint(l.site.Ports.NodeExporter),
			"--web.config.file="+dir+"/web.yml", "--no-collector.systemd", "--no-collector.textfile", "--log.level=warn")...)
	}
	return spec
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
