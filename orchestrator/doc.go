// Package orchestrator owns the leader's loop: it probes all servers, builds
// the view, asks decide what to do, commits that to etcd, and remembers what
// it decided for those who ask why.
//
// Goroutines while leading, all owned and awaited by [Orchestrator.Lead]: the
// loop, which owns the view, and two probers a server (its mysqld over TLS, its
// daemon over HTTPS), which send it what they saw.
package orchestrator
