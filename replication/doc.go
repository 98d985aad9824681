// Package replication owns what the project knows of one MySQL server: reading
// its state and carrying out one step on it.
//
// [Local] controls the mysqld of this host over its Unix socket and is the only
// way by which the project changes a server. [Remote] reads another host's
// mysqld over TLS with an account that can only read. [RequiredVariables] is
// the one table of the server variables that the guarantees rest on.
//
// Every step is idempotent, reads back what it set, and refuses with one of the
// errors in errors.go where carrying it out would lose or fork data: whoever
// retries it after a restart does no harm. Steps keep no state between them and
// start no goroutines; all that is remembered stands in mysqld.
//
// Any package but the pure ones may import it. It imports orchestrator/decide,
// replication/gtid and the MySQL driver.
package replication
