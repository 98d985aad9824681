// Package hooks tells programs and web addresses of an operator's what happens to a
// cluster: failovers, switchovers, changes of the in-sync set, and fences.
//
// What happens to the cluster is read from what stands in etcd and delivered by the
// leader's host, in order, at least once, and goes on where another leader left off.
// A fence is told by the host that it happened on, which may be cut off from all the
// rest. Nothing ever waits for a hook.
package hooks
