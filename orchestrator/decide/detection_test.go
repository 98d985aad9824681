package decide

import (
	"testing"
	"time"
)

func TestAPrimaryIsDeadOnlyOnEvidence(t *testing.T) {
	silent := func(c *table, since time.Duration) {
		c.deaf["a"] = true
		c.pass(since)
		seen := c.Seen["a"]
		seen.SQLFailure, seen.SQLFailures = FailureSilent, 5
		c.Seen["a"] = seen
	}
	nobodyReceives := func(c *table) {
		for _, name := range []string{"b", "c"} {
			c.live(name, func(l *Live) { l.ContactAge = 2 * time.Second })
		}
	}
	refused := func(c *table, times int) {
		c.deaf["a"] = true
		c.pass(1100 * time.Millisecond)
		seen := c.Seen["a"]
		seen.SQLFailure, seen.SQLFailures = FailureRefused, times
		seen.Live.OpenTerm = 0
		c.Seen["a"] = seen
		for _, name := range []string{"b", "c"} {
			c.live(name, func(l *Live) { l.Receiver = ReceiverConnecting })
		}
	}
	for name, tc := range map[string]struct {
		lay  func(*table)
		want Reason
	}{
		"its daemon sees the process gone":              {func(c *table) { c.dies("a") }, ReasonProcessDied},
		"the word of a dead daemon, and mysqld answers": {func(c *table) { delete(c.Members, "a"); c.status("a", func(s *Status) { s.Process = ProcessGone }) }, ReasonHealthy},
		"silent, and nobody receives":                   {func(c *table) { silent(c, 1100*time.Millisecond); nobodyReceives(c) }, ReasonSilent},
		"silent for less than the detection time":       {func(c *table) { silent(c, 900*time.Millisecond); nobodyReceives(c) }, ReasonHealthy},
		"silent, and one replica still receives":        {func(c *table) { silent(c, 1100*time.Millisecond) }, ReasonUncertain},
		"silent, and the leader itself was late": {func(c *table) {
			silent(c, 1100*time.Millisecond)
			nobodyReceives(c)
			c.TickLate = 150 * time.Millisecond
		}, ReasonUncertain},
		"silent, and its daemon reports commits": {func(c *table) {
			silent(c, 1100*time.Millisecond)
			nobodyReceives(c)
			s := c.Seen["a"]
			s.DaemonAt = c.now
			c.Seen["a"] = s
		}, ReasonUncertain},
		"silent, and no replica can be asked": {func(c *table) { c.deaf["b"], c.deaf["c"] = true, true; silent(c, 1100*time.Millisecond) }, ReasonUncertain},
		"silent since before this leader began": {func(c *table) {
			silent(c, 1100*time.Millisecond)
			nobodyReceives(c)
			c.LeadingSince = c.now.Add(-500 * time.Millisecond)
		}, ReasonUncertain},
		"never asked": {func(c *table) { c.deaf["a"] = true; c.Seen["a"] = Observation{}; nobodyReceives(c) }, ReasonUncertain},
		"refused twice, and no receiver is connected":     {func(c *table) { refused(c, 2) }, ReasonRefused},
		"refused once counts as silence":                  {func(c *table) { refused(c, 1); nobodyReceives(c) }, ReasonSilent},
		"refused, and a receiver is connected":            {func(c *table) { refused(c, 2); c.live("b", func(l *Live) { l.Receiver = ReceiverOn }) }, ReasonUncertain},
		"its daemon is gone, and mysqld answers":          {func(c *table) { c.vanishes("a"); delete(c.deaf, "a") }, ReasonHealthy},
		"it answers and is not open in the record's term": {func(c *table) { c.status("a", func(s *Status) { s.OpenTerm = 0 }) }, ReasonNotOpen},
	} {
		t.Run(name, func(t *testing.T) {
			c := healthy(t, "a", "b", "c")
			c.settle()
			tc.lay(c)
			d := Decide(c.View, c.s, c.now)
			if d.Reason != tc.want {
				t.Errorf("%s (%s), want %s", d.Reason, d.Detail, tc.want)
			}
			if dead := d.Change != nil && d.Change.Record != nil && d.Change.Record.Plan != nil; dead != (tc.want == ReasonProcessDied || tc.want == ReasonRefused || tc.want == ReasonSilent) {
				t.Errorf("plan opened: %v", dead)
			}
		})
	}
}

func TestALeaderThatDoesNotSeeWhatOthersSeeGivesLeadershipAway(t *testing.T) {
	c := healthy(t, "a", "b", "c")
	c.deaf["a"] = true
	c.pass(2500 * time.Millisecond)
	seen := c.Seen["a"]
	seen.SQLFailure, seen.SQLFailures = FailureSilent, 5
	c.Seen["a"] = seen
	if d := c.decide(); !d.Yield || c.Record.Plan != nil {
		t.Errorf("decision %+v", d)
	}
}
