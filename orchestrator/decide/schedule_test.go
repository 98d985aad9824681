package decide

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// event is one thing that happens. It means something whatever happened before,
// or nothing, so that any part of a schedule can be left out.
type event struct {
	kind eventKind
	a, b uint8
	n    uint16
}

type eventKind uint8

// The events; the faults come last.
const (
	evWrite   eventKind = iota // a client writes at server a
	evDeliver                  // etcd's state arrives at daemon a
	evStep                     // daemon a does one small step of its spec
	evReport                   // daemon a makes up its status
	evPublish                  // that status arrives in etcd
	evReceive                  // replica a receives one transaction, and acknowledges
	evApply                    // replica a applies one transaction
	evHear                     // the oldest acknowledgement arrives at source a
	evPoll                     // daemon a reads its server's figures
	evAsk                      // leader b asks daemon a for them
	evAnswer                   // the answer arrives at leader b, which judges
	evPing                     // leader b asks mysqld a, and judges
	evSync                     // etcd's state arrives at leader b, which judges
	evCommit                   // what leader b decided arrives in etcd
	evOrphan                   // a transaction that was given up arrives in etcd
	evPass                     // n ms pass

	evKill     // mysqld a dies
	evPower    // host a loses power, and n per mille of its relay log
	evDaemon   // daemon a dies
	evIsolate  // daemon a loses etcd
	evCut      // a and b lose each other
	evFreeze   // mysqld a stands still
	evSlow     // the receiver of a receives nothing more
	evThaw     // mysqld a goes on
	evStart    // mysqld a is started by its supervisor
	evBoot     // host a starts
	evEtcdBack // daemon a reaches etcd again
	evJoin     // the network is whole again
	evElect    // daemon a is elected; the old leader does not know
	evForget   // the oldest of several leaders learns that it leads no more
	evGiveUp   // leader b will give its next transaction up, which goes on its way alone
	evHeal     // everything is well
	evClone    // a diverged server is built anew from the primary
	evPolicy   // the operator asks for another k or durability
	evRoster   // the operator wants server a out, or all servers in
	evSwitch   // the operator asks for a switchover to server a
	evHold     // the operator pauses the automation, resumes it, or wants another cooldown
	evRules    // the operator says whether server a shall be primary
	evHand     // the operator asks for a failover to server a
	evSpoil    // the data of server a, a replica, can only be replaced
	evBackup   // etcd is backed up
	evRestore  // etcd is restored from that backup
	evKinds
)

// weights are how often each event is drawn. Faults are drawn less often, and
// more of them mend than break.
func weights(o simOptions) [evKinds]int {
	w := [evKinds]int{evWrite: 60, evDeliver: 60, evStep: 170, evReport: 60, evPublish: 60, evReceive: 140, evApply: 90, evHear: 80,
		evPoll: 60, evAsk: 60, evAnswer: 60, evPing: 50, evSync: 70, evCommit: 60, evOrphan: 2, evPass: 25,
		evKill: 2, evPower: 2, evDaemon: 1, evIsolate: 1, evCut: 2, evFreeze: 3, evSlow: 3, evThaw: 5, evStart: 8, evBoot: 4, evEtcdBack: 3, evJoin: 3,
		evElect: 2, evForget: 2, evGiveUp: 3, evHeal: 2, evClone: 4, evPolicy: 1, evRoster: 10, evSpoil: 4, evSwitch: 6,
		evHold: 3, evRules: 3, evHand: 8}
	if o.noPower {
		w[evPower] = 0
	}
	if !o.policies {
		w[evPolicy] = 0
	}
	if !o.roster {
		w[evRoster], w[evSpoil], w[evSwitch] = 0, 0, 0
	}
	if !o.hands {
		w[evHold], w[evRules], w[evHand] = 0, 0, 0
	}
	if o.restores {
		w[evBackup], w[evRestore] = 2, 1
	}
	if o.broken != nil && o.broken.faults != nil {
		clear(w[evKill:])
		for kind, weight := range o.broken.faults {
			w[kind] = weight
		}
	}
	return w
}

// simOptions are what a run is like, all drawn from its seed.
type simOptions struct {
	servers, acks               int
	durability                  Durability
	noPower, policies, restores bool
	roster                      bool
	// hands: the operator pauses, asks for failovers and says who shall be primary;
	// overrides: also at the cost of data.
	hands, overrides bool
	// adopted: the servers run before the daemons do, and are adopted. The schedule
	// begins in the midst of it.
	adopted bool
	broken  *brokenRule
}

func optionsOf(seed uint64, broken *brokenRule) simOptions {
	rng := rand.New(rand.NewPCG(seed, 7))
	o := simOptions{servers: 3 + rng.IntN(3), acks: 1 + rng.IntN(2), durability: DurabilityLossless,
		noPower: rng.IntN(3) == 0, policies: rng.IntN(2) == 0, restores: rng.IntN(8) == 0, broken: broken}
	if broken != nil && broken.faults != nil {
		o.servers = 3
	}
	if o.servers == 3 {
		o.acks = 1
	}
	switch rng.IntN(6) {
	case 0:
		o.durability = DurabilityAvailable
	case 1:
		o.durability = DurabilityAsync
	}
	o.roster = broken == nil && rng.IntN(2) == 0
	o.hands = broken == nil && rng.IntN(2) == 0
	o.overrides = o.hands && rng.IntN(2) == 0
	if broken != nil {
		o.noPower, o.restores, o.hands, o.overrides = broken.noPower, broken.restores, broken.overrides, broken.overrides
		if broken.faults != nil {
			o.durability, o.policies = DurabilityLossless, false
		}
		if broken.durability != "" {
			o.durability = broken.durability
		}
	}
	o.adopted = broken == nil && rng.IntN(4) == 0
	return o
}

// draw draws a schedule: a few faults close together, then a stretch in which
// the cluster may get on with what they set off, and so on.
func draw(seed uint64, o simOptions, events int) []event {
	rng := rand.New(rand.NewPCG(seed, 11))
	weights := weights(o)
	one := func(from, to eventKind) event {
		total := 0
		for _, w := range weights[from:to] {
			total += w
		}
		at, kind := rng.IntN(total), from
		for ; at >= weights[kind]; kind++ {
			at -= weights[kind]
		}
		return event{kind: kind, a: uint8(rng.IntN(60)), b: uint8(rng.IntN(60)), n: uint16(rng.IntN(1 << 16))}
	}
	schedule := make([]event, 0, events)
	for len(schedule) < events {
		from, to := evKill, evThaw
		if rng.IntN(3) == 0 || o.broken != nil && o.broken.faults != nil {
			to = evKinds
		}
		for range rng.IntN(3) {
			schedule = append(schedule, one(from, to))
			for range rng.IntN(30) {
				schedule = append(schedule, one(0, evKill))
			}
		}
		for range 20 + rng.IntN(20<<rng.IntN(8)) {
			schedule = append(schedule, one(0, evKill))
			if rng.IntN(300) == 0 {
				schedule = append(schedule, one(evThaw, evElect+1)) // Supervisors, and time, mend things.
			}
		}
	}
	return schedule[:events]
}

// shrink leaves out what the violation does not need.
func shrink(o simOptions, schedule []event, broke string, budget int) []event {
	rule := ruleOf(broke)
	for size := len(schedule) / 2; size > 0 && budget > 0; size /= 2 {
		for at := 0; at < len(schedule) && budget > 0; {
			budget--
			shorter := slices.Delete(slices.Clone(schedule), at, min(at+size, len(schedule)))
			if _, again, until := play(o, shorter, true); again != "" && ruleOf(again) == rule {
				schedule = shorter[:min(until+1, len(shorter))]
				continue
			}
			at += size
		}
	}
	return schedule
}

// ruleOf is what two violations of the same kind share.
func ruleOf(broke string) string {
	head, _, _ := strings.Cut(broke, "\n")
	return strings.Join(strings.Fields(head)[:min(4, len(strings.Fields(head)))], " ")
}

// tell fails the test with the seed and a shrunk schedule.
func tell(t *testing.T, o simOptions, seed uint64, schedule []event, broke string, at int) {
	t.Helper()
	short := shrink(o, schedule[:min(at+1, len(schedule))], broke, 400)
	s, again, _ := play(o, short, false)
	head, _, _ := strings.Cut(cmp.Or(again, broke), "\n")
	t.Errorf("seed %d (%+v): %s\nthe schedule, shrunk from %d to %d events, plays:\n%s", seed, o, head, at+1, len(short), strings.Join(s.trace[max(0, len(s.trace)-80):], "\n"))
}
