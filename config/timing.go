package config

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// timingRule says that lowTimes*low must not exceed highTimes*high, or must be
// less when strict.
type timingRule struct {
	low, high           string
	lowTimes, highTimes int
	strict              bool
	// why is the reason, told to the operator.
	why string
	// role limits the rule to hosts that have it; empty is every host.
	role Role
}

// sides are what the rule compares.
func (rule timingRule) sides(low, high time.Duration) (left, right time.Duration) {
	return time.Duration(rule.lowTimes) * low, time.Duration(rule.highTimes) * high
}

// broken says how two times break the rule, empty for not at all.
func (rule timingRule) broken(low, high time.Duration) string {
	left, right := rule.sides(low, high)
	if left < right || left == right && !rule.strict {
		return ""
	}
	relation := "at most"
	if rule.strict {
		relation = "less than"
	}
	return fmt.Sprintf("%s (%v) must be %s %s (%v): %s", times(rule.lowTimes, rule.low), left, relation, times(rule.highTimes, rule.high), right, rule.why)
}

// timingRules are the rules between two times; each row is one promise that
// another part of the design relies on.
func timingRules() []timingRule {
	return []timingRule{
		{low: "timings.source_heartbeat", lowTimes: 2, high: "timings.detection", highTimes: 1,
			why: "one lost heartbeat must not look like a dead primary"},
		{low: "timings.probe_interval", lowTimes: 2, high: "timings.detection", highTimes: 1,
			why: "one lost probe must not look like a dead primary"},
		{low: "timings.member_lease", lowTimes: 1, high: "timings.fence_deadline", highTimes: 1, strict: true,
			why: "a primary must be able to lose its lease for a moment without being fenced"},
		{low: "timings.heartbeat_row", lowTimes: 2, high: "timings.fence_deadline", highTimes: 1, strict: true,
			why: "one late heartbeat commit must not fence a healthy primary"},
		{low: "timings.removal_delay", lowTimes: 1, high: "timings.fence_deadline", highTimes: 1, strict: true,
			why: "a dead replica must have left the in-sync set before the primary waiting for it fences itself"},
		{low: "timings.detection", lowTimes: 4, high: "timings.replica_net_timeout", highTimes: 1,
			why: "the heartbeats must find a dead source well before the replicas drop and redial it"},
		{low: "timings.detection", lowTimes: 1, high: "redirect.hold", highTimes: 1, strict: true, role: RoleRedirector,
			why: "a held session must outlive at least the detection of a dead primary"},
		{low: "etcd.embedded.heartbeat", lowTimes: 5, high: "etcd.embedded.election", highTimes: 1, role: RoleEtcd,
			why: "etcd refuses to start with fewer than five heartbeats in an election time"},
		{low: "etcd.embedded.election", lowTimes: 3, high: "timings.leader_lease", highTimes: 2, role: RoleEtcd,
			why: "etcd silently lengthens a lease below one and a half election times"},
		{low: "etcd.embedded.election", lowTimes: 3, high: "timings.member_lease", highTimes: 2, role: RoleEtcd,
			why: "etcd silently lengthens a lease below one and a half election times"},
	}
}

// TimingConflicts says which of the rules between times these would break in place
// of the configured ones. The times are named by their paths in the file.
func (c *Config) TimingConflicts(instead map[string]time.Duration) (conflicts []string) {
	value := c.durationOf()
	maps.Copy(value, instead)
	for _, rule := range timingRules() {
		_, low := instead[rule.low]
		_, high := instead[rule.high]
		if !low && !high || rule.role != "" && !c.HasRole(rule.role) {
			continue
		}
		if problem := rule.broken(value[rule.low], value[rule.high]); problem != "" {
			conflicts = append(conflicts, problem)
		}
	}
	return conflicts
}

// durationOf returns the values that the rules speak of, by path.
func (c *Config) durationOf() map[string]time.Duration {
	t, e := c.Timings, c.Etcd.Embedded
	return map[string]time.Duration{
		"timings.source_heartbeat":    t.SourceHeartbeat,
		"timings.heartbeat_row":       t.HeartbeatRow,
		"timings.probe_interval":      t.ProbeInterval,
		"timings.detection":           t.Detection,
		"timings.leader_lease":        t.LeaderLease,
		"timings.member_lease":        t.MemberLease,
		"timings.fence_deadline":      t.FenceDeadline,
		"timings.removal_delay":       t.RemovalDelay,
		"timings.replica_net_timeout": t.ReplicaNetTimeout,
		"redirect.hold":               c.Redirect.Hold,
		"etcd.embedded.heartbeat":     e.Heartbeat,
		"etcd.embedded.election":      e.Election,
	}
}

func (r *reader) checkTimings() {
	value := r.cfg.durationOf()
	for _, path := range []string{"timings.leader_lease", "timings.member_lease"} {
		if r.sound(path) && value[path] < 2*time.Second {
			r.fault(path, fmt.Sprintf("is %v, and a lease that short ends by itself in every etcd election", value[path]), "write 2s or more")
		}
	}
	for _, path := range wholeSeconds() {
		if r.sound(path) && value[path]%time.Second != 0 {
			r.fault(path, fmt.Sprintf("is %v, which is rounded to whole seconds where it is used", value[path]), "write whole seconds, such as 3s")
		}
	}
	for _, path := range []string{"timings.source_heartbeat", "etcd.embedded.heartbeat", "etcd.embedded.election"} {
		if r.sound(path) && value[path]%time.Millisecond != 0 {
			r.fault(path, fmt.Sprintf("is %v, which is rounded to whole milliseconds where it is used", value[path]), "write whole milliseconds, such as 200ms")
		}
	}
	if path := "etcd.embedded.election"; r.sound(path) && value[path] > 50*time.Second {
		r.fault(path, fmt.Sprintf("is %v, and etcd refuses more than 50s", value[path]), "write 500ms unless the network is slow")
	}
	for _, rule := range timingRules() {
		if r.sound("roles", rule.low, rule.high) && (rule.role == "" || r.cfg.HasRole(rule.role)) {
			r.checkTiming(rule, value[rule.low], value[rule.high])
		}
	}
}

// checkTiming reports a broken rule at whichever of its two fields was given,
// for a default cannot be edited, without making either unfit for other rules.
func (r *reader) checkTiming(rule timingRule, low, high time.Duration) {
	problem := rule.broken(low, high)
	if problem == "" {
		return
	}
	less, more := "at most", "at least"
	if rule.strict {
		less, more = "less than", "more than"
	}
	field := rule.low
	if !r.given(rule.low) {
		field = rule.high
	}
	left, right := rule.sides(low, high)
	lowLimit, highLimit := right/time.Duration(rule.lowTimes), left/time.Duration(rule.highTimes)
	if !rule.strict {
		lowLimit, highLimit = lowLimit.Truncate(time.Millisecond), roundUp(highLimit, rule.high)
	}
	remedy := fmt.Sprintf("set %s to %s %v or %s to %s %v", rule.low, less, lowLimit, rule.high, more, highLimit)
	o := r.origin(field)
	r.faults = append(r.faults, Fault{File: o.file, Line: o.line, Field: field, Problem: problem, Remedy: remedy})
}

// wholeSeconds are the times that etcd and mysqld know in seconds only.
func wholeSeconds() []string {
	return []string{"timings.leader_lease", "timings.member_lease", "timings.replica_net_timeout"}
}

// roundUp makes a limit one that the field at path accepts.
func roundUp(d time.Duration, path string) time.Duration {
	unit := time.Millisecond
	if slices.Contains(wholeSeconds(), path) {
		unit = time.Second
	}
	return (d + unit - 1).Truncate(unit)
}

func times(n int, path string) string {
	if n == 1 {
		return path
	}
	return fmt.Sprintf("%d times %s", n, path)
}
