// Package reference owns a whole site on one machine: balancers, web servers, application
// servers, a cluster of mysqlha and the monitoring, each host with a network namespace,
// an address and a firewall of its own, made of one description. It is what a site of
// real hosts looks like, to be started, broken, read and copied from. The command beside
// it (infra), the drills and the integration tests import it.
//
// The database hosts and the redirectors beside the application are a sandbox
// (deploy/sandbox); all other programs belong to a supervisor of their own session,
// `infra supervise`. [Site.Down] and [Remove] leave nothing of either. The package keeps
// one goroutine for each program that it has started itself: the supervisor, and the
// customers of [Site.Order].
//
// [Bundle] makes of the same description and the same templates what hosts of their own
// get, with the scripts of install/; it starts nothing. [Visit] has customers order there.
//
// The folder:
//
//	reference.json     what the site is made of; the folder's mark
//	site.yaml          its description
//	programs/          our own programs, as they were when the site was made
//	programs.json      what the supervisor runs
//	processes.json     what it knows of them
//	cluster/           the sandbox
//	hosts/NAME/        one host: configuration, tls/, *.log
//	customer/          what a customer needs: the authority to trust
package reference
