// Package process owns what is known of the mysqld of this host as an operating
// system process: which one it is, whether it lives, and how to kill it for
// certain.
//
// The guard, mysqld's parent, writes a [RunFile]; the daemon follows it with
// [Watch] and fences with [Kill]. Both sides must share a PID namespace. A
// process is recognised by its pid, its start time in clock ticks and the
// kernel's boot id, so a recycled pid is never taken for mysqld. Nothing is
// ever looked up by name.
//
// Watch and Kill run in their caller's goroutine; the package starts none. The
// rooms under replication, probes and the commands may import it.
package process
