// Package api owns the HTTPS endpoint of a daemon and the client of it: the
// words that travel over it, the health checks with Patroni's paths, and what
// may be answered with 200 on which evidence. It holds no state and asks a
// [Backend] for every answer.
//
// Goroutines: [HTTPServer.Run] owns the one that serves and those of its
// connections, and waits for them before it returns. A [Client] owns none of
// its own; the connections it keeps belong to its transport until
// [Client.Close].
//
// The daemon imports it to serve and to poll other daemons, the command line to
// ask; it imports orchestrator/decide and replication/gtid.
package api
