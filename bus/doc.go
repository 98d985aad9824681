// Package bus owns the cluster's keys in etcd as typed values: the record, the
// specs that go down, the statuses that come up, the registered members, the
// leader and the history.
//
// One goroutine, [Bus.Run], mirrors them; everybody else reads the newest
// [State], which never changes once made. Writing is left to two kinds of
// caller: a daemon writes its own status, and the leader commits a change,
// guarded by the leader key and the record's revision.
//
// It imports election and orchestrator/decide; cmd wires it to the others.
package bus
