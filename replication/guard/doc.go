// Package guard owns the life of mysqld as its parent: how it is started, how
// it is stopped, and how an empty data directory gets its first accounts.
//
// mysqld starts harmless whatever its option files say (S8) and dies with its
// parent. A stop signal to the guard never lets go a commit that waits for an
// acknowledgement (S10; see stop.go for the argument). Only the command
// `mysqlhad guard` and the start gate around it import this package.
//
// A supervisor must send its stop signal to the guard alone: KillMode=mixed in
// a systemd unit. SIGHUP is not caught; it ends the guard and, by the parent
// death signal, mysqld with SIGKILL, which is safe.
//
// Goroutines, all awaited by [Run]: the parent (parent.go) holds the thread
// that forked mysqld and reaps it; the keeper (session.go) holds one connection
// open, since a stuck server may accept no new login, and hands it to Run for
// the stop.
package guard
