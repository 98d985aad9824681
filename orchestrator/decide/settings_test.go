package decide

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestSettingsAreSetAndTakenBackAsText(t *testing.T) {
	for name, value := range map[string]string{
		"durability": "available", "required_acks": "2", "max_lag": "1m", "auto_rejoin": "off", "cooldown": "5 in 1h", "detection": "1.5s",
		"removal_delay": "3s", "candidate.db2": "never", "priority.db2": "-7", "zone.db-2.x": "eu west",
	} {
		var p Policy
		if err := p.Set(name, value); err != nil {
			t.Errorf("%s=%s: %v", name, value, err)
			continue
		}
		if got := p.Values(); !reflect.DeepEqual(got, map[string]string{name: value}) {
			t.Errorf("%s=%s: %v", name, value, got)
		}
		if err := p.Set(name, ""); err != nil || len(p.Values()) != 0 || len(p.Candidates) != 0 {
			t.Errorf("%s cannot be taken back: %v, %+v", name, err, p)
		}
	}
}

func TestASettingThatCannotBeIsRefusedAndChangesNothing(t *testing.T) {
	for _, tc := range []struct{ name, value, remedy string }{
		{"durability", "sometimes", "lossless, available, async"}, {"required_acks", "0", "from 1"}, {"required_acks", "many", "from 1"},
		{"max_lag", "10", "such as"}, {"max_lag", "-1s", "such as"}, {"detection", "0s", "such as"}, {"cooldown", "3", `"3 in 10m"`}, {"cooldown", "0 in 10m", "off"},
		{"cooldown", "17 in 10m", "from 1 to 16"}, {"auto_rejoin", "maybe", "rewind"}, {"candidate.db2", "often", "prefer"}, {"priority.db2", "1.5", "from -1000"},
		{"candidate", "never", "candidate.SERVER"}, {"candidate.", "never", "candidate.SERVER"}, {"durability.db2", "async", "there are"}, {"", "x", "there are"},
	} {
		p := Policy{Durability: DurabilityAsync, Candidates: map[string]CandidateRule{"db2": {Zone: "x"}}}
		before := p.Values()
		err := p.Set(tc.name, tc.value)
		if err == nil || !strings.Contains(err.Error(), tc.remedy) || !reflect.DeepEqual(p.Values(), before) {
			t.Errorf("%s=%s: %v, %v", tc.name, tc.value, err, p.Values())
		}
	}
}

func TestSettingsShowWhatIsInForce(t *testing.T) {
	p := Policy{Detection: 2 * time.Second, Candidates: map[string]CandidateRule{"b": {Preference: PreferencePrefer}}}
	all := p.Settings(testSettings(), Record{Durability: DurabilityLossless, RequiredAcks: 1}, []string{"a", "b"})
	want := map[string]Setting{
		"durability":  {Value: "lossless", Default: "lossless"},
		"detection":   {Value: "2s", Default: "1s", Set: true},
		"cooldown":    {Value: "3 in 10m", Default: "3 in 10m"},
		"candidate.a": {Value: "normal", Default: "normal"},
		"candidate.b": {Value: "prefer", Default: "normal", Set: true},
		"zone.b":      {},
	}
	found := 0
	for _, s := range all {
		if w, ok := want[s.Name]; ok {
			found++
			if s.Help == "" {
				t.Errorf("%s says nothing of what it does", s.Name)
			}
			if w.Name, w.Help = s.Name, s.Help; s != w {
				t.Errorf("%+v, want %+v", s, w)
			}
		}
	}
	if found != len(want) || len(all) != 7+2*3 {
		t.Errorf("%d settings, %d of %d that are asked for", len(all), found, len(want))
	}
}

func TestWhatIsSetCountsAtOnce(t *testing.T) {
	s := testSettings().under(&Policy{Detection: 2 * time.Second, RemovalDelay: time.Second})
	if s.Detection != 2*time.Second || s.Stall != 10*time.Second || s.RemovalDelay != time.Second || s.Lonely != 10*time.Second {
		t.Errorf("%+v", s)
	}
	c := healthy(t, "a", "b", "c")
	c.Policy = &Policy{Detection: 3 * time.Second}
	c.deaf["a"] = true
	for _, name := range []string{"b", "c"} {
		c.live(name, func(l *Live) { l.ContactAge = time.Hour })
	}
	seen := c.Seen["a"]
	seen.SQLFailures, seen.SQLFailure = 3, FailureSilent
	c.Seen["a"] = seen
	if c.pass(2 * time.Second).settle(); c.Record.Plan != nil {
		t.Errorf("it was not waited for: %+v", c.Record.Plan)
	}
	if c.pass(2 * time.Second).settle(); c.Record.Plan == nil {
		t.Error("nothing happens")
	}
}

func TestVersionsAreCompared(t *testing.T) {
	got := Changes(map[string]string{"a": "1", "b": "2", "c": "3"}, map[string]string{"b": "2", "c": "4", "d": "5"})
	if want := []Changed{{"a", "1", ""}, {"c", "3", "4"}, {"d", "", "5"}}; !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
}
