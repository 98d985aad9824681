// Package decide owns the judgement of the cluster: what its state is, whether
// something must be done, and what exactly.
//
// It is pure. [Decide] is a function of a [View] (what the leader knows, each
// fact with its time), [Settings] and now; it returns a [Decision]: a named
// reason, what is being waited for, and at most one [Change] of the record and
// the specs, which the leader writes to etcd in one transaction. There is no
// context, clock, network or database in here, so a simulation can drive the
// same code that decides in production. A plan is part of the record; each call
// moves it on by at most one journaled phase, so whichever leader calls next
// goes on where the last one stopped.
//
// Any package of the project may import it for its words; it imports only
// replication/gtid.
package decide
