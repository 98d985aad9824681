// Package redirect owns the TCP redirector: the two ports through which applications reach the cluster. The write port
// leads to the primary, the read port to fresh replicas. Bytes pass untouched, so TLS stays end to end between the
// application and mysqld, and the redirector can read neither statements nor passwords.
//
// Only the wiring in cmd/ imports it. It imports none of the other rooms: who is primary and who is fresh comes in
// through [Router], what happens goes out through [Observer].
//
// # What it promises
//
//   - A session on the write port, and one that fell back to the primary on the read port, belongs to one term. When a
//     route names another writer or a greater term it is cut at once, whatever stands in socket buffers; what had not
//     yet been sent to the former primary is thrown away and its side gets a reset.
//   - A route without a writer in the same term cuts nobody: it only holds new connections.
//   - A connection that nobody can serve yet is held, until a server can or the hold runs out; then it gets a MySQL
//     error packet, so that applications report a reason rather than a lost connection.
//   - Sessions with replicas are never cut by a route; they end when one of the two sides ends them or falls silent.
//
// The cut is for speed. That a former primary acknowledges nothing is guaranteed elsewhere, by the servers themselves.
//
// # Goroutines
//
// [Redirector.Run] owns all of them and returns after the last one has ended: one acceptor for each port, one follower
// (takes routes from the Router, cuts, and looks for silent peers), and for each session one that serves it. That one
// owns a second: while the session is held it waits for the client to go away, afterwards it copies from client to
// server. The state they share is [table], behind one mutex; nothing that can block happens under it.
//
// # What a session costs
//
// Two sockets, two goroutines and, since splice(2) goes through a pipe in each direction, up to two pipes: six file
// descriptors. A process without CAP_SYS_RESOURCE gets smaller pipes once its user has more than
// fs.pipe-user-pages-soft pages in them (64 pipes of 1 MiB by default): more system calls, same bytes.
package redirect
