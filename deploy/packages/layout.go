package main

// pkg is one package: what is in it, what it needs, and what its scripts do.
type pkg struct {
	name, summary string
	// description is the rest, as lines of less than 80 characters.
	description string
	files       []file
	needs       map[string]relations // by format
	// units are the services that it has. None is enabled by an installation: none can
	// do anything before there is a configuration.
	units []string
	// restarted are those that an upgrade starts anew where they run.
	restarted []string
	// needed must be there before a unit can start; next says how to begin while it is not.
	needed, next string
}

// relations are names of other packages.
type relations struct{ depends, recommends, suggests []string }

// file is one file, or folder, of a package.
type file struct {
	to   string // a folder where it ends with a slash
	from from
	mode uint32 // 0644, or 0755 for a folder, if it is zero
	only string // the one format that has it, or empty
}

// from says where the bytes of a file are: in the source, or made for the packages.
type from struct{ source, made, program string }

const (
	docs     = "/usr/share/doc/"
	examples = "/usr/share/mysqlha/"
	system   = "/usr/lib/systemd/system/"
)

// layout is what goes where. There are two packages: mysqlha is what an operator's machine,
// the monitoring's and any host behind the firewall's rules have, and mysqlhad what runs a
// server, a witness or a redirector. No file is in /etc: whatever is there was put there by
// people, so no upgrade has anything to ask.
//
// Not here, on purpose: a rotation of logs, since the daemon logs to the journal and
// mysqld's logs belong to mysqld's package; tmpfiles, since the units make their folders by
// themselves. Settings of the kernel are an example only: they are the whole host's. The
// other hosts of a site have no more than that, and docs/site.md says why.
func layout() []pkg {
	return []pkg{
		{
			name: "mysqlha", summary: "command line for MySQL clusters with one writer",
			description: "mysqlha shows and runs clusters of MySQL servers that mysqlhad keeps writable:\n" +
				"status, switchover, settings, certificates, firewall. It also has the alert\n" +
				"rules for Prometheus, the routing for Alertmanager, and dashboards for Grafana.",
			needs: map[string]relations{
				// nft loads the rules of the firewall; an operator's machine does without it.
				"deb": {recommends: []string{"nftables"}, suggests: []string{"bash-completion"}},
				"rpm": {recommends: []string{"nftables"}, suggests: []string{"bash-completion"}},
			},
			units: []string{"mysqlha-firewall.service"}, restarted: []string{"mysqlha-firewall.service"},
			files: append(common("mysqlha"), []file{
				{to: "/usr/bin/mysqlha", from: from{program: "mysqlha"}, mode: 0o755},
				{to: "/usr/share/man/man8/mysqlha.8.gz", from: from{made: "mysqlha.8.gz"}},
				{to: "/usr/share/bash-completion/completions/mysqlha", from: from{made: "completion.bash"}},
				{to: "/usr/share/zsh/vendor-completions/_mysqlha", from: from{made: "completion.zsh"}, only: "deb"},
				{to: "/usr/share/zsh/site-functions/_mysqlha", from: from{made: "completion.zsh"}, only: "rpm"},
				{to: "/usr/share/fish/vendor_completions.d/mysqlha.fish", from: from{made: "completion.fish"}},
				{to: system + "mysqlha-firewall.service", from: from{source: "deploy/systemd/mysqlha-firewall.service"}},
				{to: "/usr/lib/systemd/system-preset/80-mysqlha.preset", from: from{made: "mysqlha.preset"}},
				{to: docs + "mysqlha/README.md", from: from{source: "README.md"}},
				{to: docs + "mysqlha/ARCHITECTURE.md", from: from{source: "ARCHITECTURE.md"}},
				{to: docs + "mysqlha/SECURITY.md", from: from{source: "SECURITY.md"}},
				{to: docs + "mysqlha/docs/"},
				{to: docs + "mysqlha/docs/", from: from{source: "docs/*.md"}},
				{to: examples},
				{to: examples + "prometheus/"},
				{to: examples + "alertmanager/"},
				{to: examples + "grafana/"},
				{to: examples + "prometheus/", from: from{source: "deploy/prometheus/prometheus.yml"}},
				{to: examples + "prometheus/", from: from{source: "deploy/prometheus/mysqlha.rules.yml"}},
				{to: examples + "alertmanager/", from: from{source: "deploy/alertmanager/*.yml"}},
				{to: examples + "grafana/", from: from{source: "deploy/grafana/*.json"}},
			}...),
		},
		{
			name: "mysqlhad", summary: "daemon that keeps a MySQL cluster writable",
			description: "mysqlhad runs beside every MySQL server of a cluster with one writer. The\n" +
				"daemons elect a leader through etcd, which is built in, promote the best\n" +
				"replica when the primary fails, and lead applications to it. No write that was\n" +
				"acknowledged is lost. It is also the start gate that mysqld is started through,\n" +
				"the witness of two servers, and the redirector of hosts without a server.",
			needs: map[string]relations{
				// It does not depend on a server: a witness and a redirector have none, and
				// which MySQL a host gets is no package's choice.
				"deb": {depends: []string{"systemd | systemd-standalone-sysusers | systemd-sysusers"}, recommends: []string{"mysqlha"}, suggests: []string{"mysql-community-server"}},
				"rpm": {depends: []string{"systemd"}, recommends: []string{"mysqlha"}, suggests: []string{"mysql-community-server"}},
			},
			units:     []string{"mysqlhad.service", "mysqlha-redirector.service", "mysqlha-mysqld.service"},
			restarted: []string{"mysqlhad.service"},
			needed:    "/etc/mysqlha/mysqlhad.yaml", next: docs + "mysqlhad/install.md",
			files: append(common("mysqlhad"), []file{
				{to: "/usr/bin/mysqlhad", from: from{program: "mysqlhad"}, mode: 0o755},
				{to: "/usr/share/man/man8/mysqlhad.8.gz", from: from{made: "mysqlhad.8.gz"}},
				{to: system + "mysqlhad.service", from: from{source: "deploy/systemd/mysqlhad.service"}},
				{to: system + "mysqlha-redirector.service", from: from{source: "deploy/systemd/mysqlha-redirector.service"}},
				{to: system + "mysqlha-mysqld.service", from: from{source: "deploy/systemd/mysqlha-mysqld.service"}},
				{to: "/usr/lib/systemd/system-preset/80-mysqlhad.preset", from: from{made: "mysqlhad.preset"}},
				{to: "/usr/lib/sysusers.d/mysqlhad.conf", from: from{source: "deploy/systemd/mysqlha.sysusers"}},
				{to: docs + "mysqlhad/", from: from{source: "docs/install.md"}},
				{to: docs + "mysqlhad/examples/"},
				{to: docs + "mysqlhad/examples/mysqlhad.yaml", from: from{source: "config/testdata/three-hosts.yaml"}},
				{to: docs + "mysqlhad/examples/mysqlha.cnf", from: from{source: "deploy/packages/texts/mysqlha.cnf"}},
				{to: docs + "mysqlhad/examples/mysqlha.sysctl", from: from{source: "deploy/systemd/mysqlha.sysctl"}},
			}...),
		},
	}
}

// common are the files that every package has.
func common(name string) []file {
	return []file{
		{to: "/etc/mysqlha/"},
		// rpm takes away only the folders that a package says are its own.
		{to: docs + name + "/"},
		{to: docs + name + "/copyright", from: from{source: "deploy/packages/texts/copyright"}},
		{to: docs + name + "/third-party-licences.gz", from: from{made: name + ".licences.gz"}},
		{to: docs + name + "/changelog.gz", from: from{made: "changelog.gz"}},
		{to: docs + name + "/changelog.Debian.gz", from: from{made: name + ".changelog.Debian.gz"}, only: "deb"},
		{to: "/usr/share/lintian/overrides/" + name, from: from{source: "deploy/packages/texts/" + name + ".lintian-overrides"}, only: "deb"},
	}
}
