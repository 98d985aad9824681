package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mysqlha/mysqlha/deploy/sandbox"
	"github.com/mysqlha/mysqlha/deploy/sandbox/process"
)

// Kind is one way to bring a cluster into trouble.
type Kind struct {
	// Name is what the report calls it.
	Name string
	// Do does it, for about so long, undoes it, and returns nil only if its
	// effect was seen.
	Do func(ctx context.Context, n *Nemesis) error
}

// Nemesis draws faults from a seed.
type Nemesis struct {
	C   *Cluster
	Rng *rand.Rand
}

// Kinds returns all faults. Those of members of etcd need a cluster whose etcd
// is separate; the full disks need disks.
func Kinds(etcd sandbox.EtcdMode) []Kind {
	processes, network := ofProcesses(etcd), ofNetwork()
	kinds := slices.Concat(processes, network, []Kind{
		{"fill primary disk", onPrimary(fillDisk)},
		{"fill replica disk", onReplica(fillDisk)},
		{"restart storm", storm},
		// One of the network among them at most: its end heals all of it.
		{"two at once, processes", together(processes, processes)},
		{"two at once, process and network", together(processes, network)},
	})
	return kinds
}

func ofProcesses(etcd sandbox.EtcdMode) []Kind {
	kinds := []Kind{
		{"kill primary mysqld", onPrimary(kill)},
		{"kill replica mysqld", onReplica(kill)},
		{"kill primary daemon", onPrimary(killDaemon)},
		{"kill replica daemon", onReplica(killDaemon)},
		{"kill primary mysqld and daemon", onPrimary(both)},
		{"kill guard of primary", onPrimary(killGuard)},
		{"freeze primary mysqld", onPrimary(freeze(""))},
		{"freeze replica mysqld", onReplica(freeze(""))},
		{"freeze primary daemon", onPrimary(freeze("/daemon"))},
		{"freeze primary mysqld and daemon", onPrimary(freezeBoth)},
	}
	if etcd == sandbox.EtcdSeparate {
		for count, name := range []string{"one member", "two members", "all"} {
			kinds = append(kinds, Kind{"freeze " + name + " of etcd", etcdMembers(count+1, holdFor(2*time.Second, 12*time.Second))},
				Kind{"kill " + name + " of etcd", etcdMembers(count+1, endAll)})
		}
	}
	return kinds
}

func ofNetwork() []Kind {
	return []Kind{
		{"isolate primary host", onPrimary(cut(func(ctx context.Context, n *Nemesis, server string) error { return n.C.Lab.Isolate(ctx, server) }))},
		{"isolate replica host", onReplica(cut(func(ctx context.Context, n *Nemesis, server string) error { return n.C.Lab.Isolate(ctx, server) }))},
		{"drop primary to a replica", onPrimary(cut(func(ctx context.Context, n *Nemesis, server string) error {
			return n.C.Lab.Drop(ctx, server, n.pick(n.C.Others(server)))
		}))},
		{"drop a replica to primary", onPrimary(cut(func(ctx context.Context, n *Nemesis, server string) error {
			return n.C.Lab.Drop(ctx, n.pick(n.C.Others(server)), server)
		}))},
		{"cut primary from all servers", onPrimary(cut(func(ctx context.Context, n *Nemesis, server string) error {
			var errs []error
			for _, other := range n.C.Others(server) {
				errs = append(errs, n.C.Lab.Cut(ctx, server, other))
			}
			return errors.Join(errs...)
		}))},
		{"cut redirector from primary", onPrimary(cut(func(ctx context.Context, n *Nemesis, server string) error {
			return n.C.Lab.Cut(ctx, server, "redirector")
		}))},
		{"split the hosts in halves", cutOnce(func(ctx context.Context, n *Nemesis) error {
			hosts := n.C.Lab.Hosts()
			n.Rng.Shuffle(len(hosts), func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] })
			return n.C.Lab.Split(ctx, hosts[:len(hosts)/2])
		})},
	}
}

// together does one of each of two lists at the same time.
func together(some, others []Kind) func(context.Context, *Nemesis) error {
	return func(ctx context.Context, n *Nemesis) error {
		a, b := some[n.Rng.IntN(len(some))], others[n.Rng.IntN(len(others))]
		// Each draws for itself: the order of two goroutines is nobody's.
		one, two := n.fork(), n.fork()
		var group errgroup.Group
		group.Go(func() error { return named(a.Name, a.Do(ctx, one)) })
		err := named(b.Name, b.Do(ctx, two))
		return errors.Join(group.Wait(), err)
	}
}

func named(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", name, err)
}

func (n *Nemesis) fork() *Nemesis {
	return &Nemesis{C: n.C, Rng: rand.New(rand.NewPCG(n.Rng.Uint64(), 1))}
}

func (n *Nemesis) pick(names []string) string { return names[n.Rng.IntN(len(names))] }

func (n *Nemesis) between(least, most time.Duration) time.Duration {
	return least + time.Duration(n.Rng.Int64N(int64(most-least)))
}

type act = func(ctx context.Context, n *Nemesis, server string) error

func onPrimary(do act) func(context.Context, *Nemesis) error {
	return func(ctx context.Context, n *Nemesis) error {
		primary, err := n.C.Primary(ctx)
		if err != nil {
			return err
		}
		return do(ctx, n, primary)
	}
}

func onReplica(do act) func(context.Context, *Nemesis) error {
	return onPrimary(func(ctx context.Context, n *Nemesis, primary string) error {
		return do(ctx, n, n.pick(n.C.Others(primary)))
	})
}

// end kills a process and returns nil when that very process is gone.
func (n *Nemesis) end(ctx context.Context, target string) error {
	id, err := n.C.Pid(ctx, target)
	if err != nil {
		return err
	}
	if err := id.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	for id.Alive() {
		if err := sleep(ctx, time.Millisecond); err != nil {
			return fmt.Errorf("%s was killed and is not gone: %w", target, err)
		}
	}
	return nil
}

func kill(ctx context.Context, n *Nemesis, server string) error { return n.end(ctx, server) }

func killDaemon(ctx context.Context, n *Nemesis, server string) error {
	return n.end(ctx, server+"/daemon")
}

func killGuard(ctx context.Context, n *Nemesis, server string) error {
	return n.end(ctx, server+"/guard")
}

func both(ctx context.Context, n *Nemesis, server string) error {
	return errors.Join(n.end(ctx, server), n.end(ctx, server+"/daemon"))
}

// hold freezes processes for a while and lets those go on that are still there.
func (n *Nemesis) hold(ctx context.Context, d time.Duration, targets ...string) (err error) {
	var held []process.Identity
	defer func() {
		for _, id := range held {
			// It may have been killed meanwhile; that is what a fence does.
			if contErr := id.Signal(syscall.SIGCONT); contErr != nil && id.Alive() {
				err = errors.Join(err, contErr)
			}
		}
	}()
	for _, target := range targets {
		id, err := n.C.Pid(ctx, target)
		if err != nil {
			return err
		}
		if err := id.Signal(syscall.SIGSTOP); err != nil {
			return err
		}
		held = append(held, id)
	}
	return sleep(ctx, d)
}

func freeze(part string) act {
	return func(ctx context.Context, n *Nemesis, server string) error {
		return n.hold(ctx, n.between(time.Second, 8*time.Second), server+part)
	}
}

func freezeBoth(ctx context.Context, n *Nemesis, server string) error {
	return n.hold(ctx, n.between(time.Second, 10*time.Second), server, server+"/daemon")
}

func etcdMembers(count int, do func(ctx context.Context, n *Nemesis, members []string) error) func(context.Context, *Nemesis) error {
	return func(ctx context.Context, n *Nemesis) error {
		members := []string{"etcd1", "etcd2", "etcd3"}
		n.Rng.Shuffle(3, func(i, j int) { members[i], members[j] = members[j], members[i] })
		return do(ctx, n, members[:count])
	}
}

func holdFor(least, most time.Duration) func(context.Context, *Nemesis, []string) error {
	return func(ctx context.Context, n *Nemesis, targets []string) error {
		return n.hold(ctx, n.between(least, most), targets...)
	}
}

func endAll(ctx context.Context, n *Nemesis, targets []string) error {
	var group errgroup.Group
	for _, target := range targets {
		group.Go(func() error { return n.end(ctx, target) })
	}
	return group.Wait()
}

// cut is cutOnce of one server.
func cut(do act) act {
	return func(ctx context.Context, n *Nemesis, server string) error {
		return cutOnce(func(ctx context.Context, n *Nemesis) error { return do(ctx, n, server) })(ctx, n)
	}
}

// cutOnce changes the network for a while; a cut that dropped nothing was none.
func cutOnce(do func(context.Context, *Nemesis) error) func(context.Context, *Nemesis) error {
	return func(ctx context.Context, n *Nemesis) error {
		if err := do(ctx, n); err != nil {
			return err
		}
		waitErr := sleep(ctx, n.between(2*time.Second, 12*time.Second))
		dropped, err := n.C.Lab.Dropped(ctx)
		if err == nil && dropped == 0 {
			err = errors.New("the cut has dropped no packet")
		}
		return errors.Join(waitErr, err, n.C.Lab.Heal(context.WithoutCancel(ctx)))
	}
}

// storm restarts several parts politely, one soon after the other.
func storm(ctx context.Context, n *Nemesis) error {
	for range 4 {
		server := n.pick(n.C.Servers())
		target := server
		if n.Rng.IntN(2) == 0 {
			target = server + "/daemon"
		}
		if err := n.C.Restart(ctx, target); err != nil && !errors.Is(err, process.ErrGone) {
			return err
		}
		if err := sleep(ctx, n.between(50*time.Millisecond, 1500*time.Millisecond)); err != nil {
			return err
		}
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
