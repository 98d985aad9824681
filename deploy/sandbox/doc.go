// Package sandbox owns a whole cluster on one machine: servers, daemons, etcd
// and a redirector in one folder and on 127.0.0.1, run by the shipped binaries
// with the configuration files a real host would have. Nothing in the daemon
// knows that it is in a sandbox.
//
// The command line, the benchmarks and the integration tests import it. Of ours
// it imports config (for what a file means), certs (for its throw-away CA) and
// api (to ask the daemons).
//
// The processes belong to a supervisor of their own session, `mysqlha sandbox
// supervise`, which starts again what ends and stops everything when it is told
// to; see package supervisor. An [Up] that ends early takes all that it started
// with it. The package keeps one goroutine, which waits for a supervisor that
// this process has started; [Sandbox.Down] and [Sandbox.Kill] wait for it.
//
// The folder:
//
//	sandbox.json     what the sandbox is made of; the folder's mark
//	programs.json    what the supervisor runs
//	processes.json   what it knows of them
//	supervisor.log   what it did
//	ca/, client/     the CA, and the operator's certificate and token
//	context.yaml     for mysqlha --context
//	app.password, app.cnf   the applications' account
//	NAME/            one host: mysqlhad.yaml, my.cnf, tls/, state/, data/, *.log
//	run/             sockets, elsewhere if the path would be too long
package sandbox
