// Package member owns the daemon beside one mysqld: it carries out the newest
// spec on that server and on no other, reports the server's status, keeps the
// primary's heartbeat row, and closes a primary that is cut off.
//
// Goroutines, all owned and awaited by [Member.Run]:
//
//   - the loop owns all state; the others send it values;
//   - the watcher looks at the mysqld process every 10 ms;
//   - the poller reads the server's state every probe interval;
//   - the worker carries out one spec at a time and is cancelled by a newer one;
//   - the heart commits the heartbeat row while the server is open;
//   - the publisher writes the newest status to etcd;
//   - the fencer, while there is one, closes the server.
//
// cmd wires it to etcd. It imports replication and orchestrator/decide.
package member
