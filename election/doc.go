// Package election owns everything that touches etcd: the names of the keys, the client, an etcd member embedded in
// the daemon, liveness leases, leadership, the guarded transaction and the mirror of the cluster's keys.
//
// It imports nothing else of this module and knows nothing about MySQL; cmd, orchestrator and redirect may import it.
//
// The rules it keeps, each because its opposite was seen to fail:
//
//   - No concurrency.Session and no concurrency.Election: one hung etcd member of three ends most sessions although a
//     quorum lives, a failed Campaign or Resign can orphan the key, and Done fires late.
//   - Every call has a short deadline and is tried again; the client's round robin takes the next try to another
//     member. Around the death of a member calls hang to their own deadline.
//   - An error that does not prove the opposite means "not renewed" and "outcome unknown".
//   - The validity of a lease is counted on the monotonic clock from before the renewal was sent.
//   - A watch is only trusted as far as a linearizable read, begun later than its last message, confirms it.
//
// Goroutines: KeepRegistered runs in its caller's. Campaign owns two (the mirror of the leader key and, while leading,
// the renewer) and waits for both. Mirror.Run owns one prober for each watch it opens. Embedded owns one that waits for
// etcd's end. All end before the function or Close that started them returns.
package election
