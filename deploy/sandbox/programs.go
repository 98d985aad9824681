package sandbox

import (
	"path/filepath"
	"time"

	"github.com/mysqlha/mysqlha/deploy/sandbox/supervisor"
)

// The stages of a stop: nobody may be left who would move the cluster because
// of what is stopped, and etcd must be there for as long as anybody asks it.
const (
	stageRedirector = iota
	stageDaemons
	stageGuards
	stageEtcd
)

// The deadlines of a stop. The last member of etcd waits several seconds for
// another to lead, and there is none; its files survive a kill. A guard asks
// mysqld politely, which flushes.
const (
	daemonStopDeadline = 3 * time.Second
	guardStopDeadline  = 10 * time.Second
	// wholeStopDeadline is more than all stages together.
	wholeStopDeadline = 60 * time.Second
)

// spec is what the supervisor runs: on each host what systemd would run there.
func (l layout) spec() supervisor.Spec {
	spec := supervisor.Spec{RestartDelay: l.RestartDelay, ReportFile: l.path("processes.json")}
	daemon := func(name, host string, stage int) {
		spec.Programs = append(spec.Programs, supervisor.Program{Name: name, Stage: stage,
			Args: l.onHost(host, l.Mysqlhad, "--config", l.configFile(host)),
			Log:  l.path(host, "mysqlhad.log"), StopDeadline: daemonStopDeadline})
	}
	if l.Etcd == EtcdSeparate {
		for _, host := range l.etcdNames() {
			daemon(host, host, stageEtcd)
		}
	}
	for _, host := range l.serverNames() {
		daemon(programName(host, "daemon"), host, stageDaemons)
		spec.Programs = append(spec.Programs, supervisor.Program{Name: programName(host, "guard"), Stage: stageGuards,
			Args: l.onHost(host, append([]string{l.Mysqlhad, "guard", "--config", l.configFile(host), "--"}, l.mysqldArgs(host)...)...),
			Log:  l.path(host, "mysqld.log"), StopDeadline: guardStopDeadline, ChildFile: l.runFile(host)})
	}
	if l.Witness {
		daemon(witnessName, witnessName, stageDaemons)
	}
	for _, host := range l.redirectors() {
		daemon(host, host, stageRedirector)
	}
	return spec
}

// onHost returns a command line that runs in the host's network namespace. ip
// becomes the program, so that the process is the same.
func (l layout) onHost(host string, args ...string) []string {
	if l.Network == nil {
		return args
	}
	return append([]string{"ip", "netns", "exec", l.Network.Namespaces[host]}, args...)
}

func (l layout) supervisorLog() string { return filepath.Join(l.dir, "supervisor.log") }
