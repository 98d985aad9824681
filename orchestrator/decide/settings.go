package decide

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Setting is one of the things that an operator sets for the whole cluster.
type Setting struct {
	// Name is what it is set by; those of one server end in a dot and its name.
	Name string `json:"name"`
	// Value is in force, in the words in which it is set.
	Value string `json:"value"`
	// Default is in force where nobody sets it, Set says that somebody has.
	Default string `json:"default"`
	Set     bool   `json:"set"`
	// Help says what it does.
	Help string `json:"help"`
}

// knob is how one setting is read and written. Both speak of a server where the
// setting is one of a server's, and get returns nothing where it is not set.
type knob struct {
	name, help string
	ofServer   bool
	get        func(p Policy, server string) string
	set        func(p *Policy, server, value string) error
	standard   func(s Settings, r Record) string
}

// ofServer is how names of a server's settings go on.
const ofServer = "."

func knobs() []knob {
	return []knob{
		{name: "durability",
			help: "what an acknowledged write is promised: lossless (it is on required_acks replicas; with too few of them writes wait), available (the same, but with too few the primary acknowledges alone, which is recorded first), async (it never waits)",
			get:  func(p Policy, _ string) string { return string(p.Durability) },
			set: func(p *Policy, _, v string) error {
				return oneOf((*string)(&p.Durability), v, texts(Durabilities()))
			},
			standard: func(_ Settings, r Record) string { return string(r.Durability) }},
		{name: "required_acks", help: "how many replicas must have a write before it is acknowledged",
			get: func(p Policy, _ string) string { return numberText(p.RequiredAcks) },
			set: func(p *Policy, _, v string) error { return setNumber(&p.RequiredAcks, v, 1) },
			standard: func(_ Settings, r Record) string {
				return numberText(r.RequiredAcks)
			}},
		{name: "max_lag", help: "in async: how far the best replica may be behind to be promoted",
			get:      func(p Policy, _ string) string { return durationText(p.MaxLag) },
			set:      func(p *Policy, _, v string) error { return setDuration(&p.MaxLag, v) },
			standard: func(s Settings, _ Record) string { return durationText(s.MaxLag) }},
		{name: "auto_rejoin", help: "what is done by itself with a server that holds transactions which the primary does not, and which nobody was told of: clone (rewind it, or else clone it), rewind, or off",
			get: func(p Policy, _ string) string { return string(p.AutoRejoin) },
			set: func(p *Policy, _, v string) error {
				return oneOf((*string)(&p.AutoRejoin), v, texts(AutoRejoins()))
			},
			standard: func(Settings, Record) string { return string(AutoRejoinClone) }},
		{name: "cooldown", help: "after how many failovers within what time the primary stays where it is until a human says otherwise, such as \"3 in 10m\"; or off",
			get: func(p Policy, _ string) string {
				if p.Cooldown == nil {
					return ""
				}
				return p.Cooldown.String()
			},
			set: func(p *Policy, _, v string) error {
				c, err := parseCooldown(v)
				if v == "" {
					p.Cooldown = nil
					return nil
				}
				p.Cooldown = &c
				return err
			},
			standard: func(Settings, Record) string { return DefaultCooldown().String() }},
		{name: "detection", help: "how long a primary must be silent to count as dead",
			get:      func(p Policy, _ string) string { return durationText(p.Detection) },
			set:      func(p *Policy, _, v string) error { return setDuration(&p.Detection, v) },
			standard: func(s Settings, _ Record) string { return durationText(s.Detection) }},
		{name: "removal_delay", help: "how long a replica must be gone to leave the in-sync set",
			get:      func(p Policy, _ string) string { return durationText(p.RemovalDelay) },
			set:      func(p *Policy, _, v string) error { return setDuration(&p.RemovalDelay, v) },
			standard: func(s Settings, _ Record) string { return durationText(s.RemovalDelay) }},
		{name: "candidate", ofServer: true, help: "whether the server shall be primary: prefer (before others that are as good), normal, never (it acknowledges only where too few others do)",
			get: func(p Policy, server string) string { return string(p.Candidates[server].Preference) },
			set: func(p *Policy, server, v string) error {
				return p.setRule(server, func(r *CandidateRule) error {
					return oneOf((*string)(&r.Preference), v, texts(Preferences()))
				})
			},
			standard: func(Settings, Record) string { return string(PreferenceNormal) }},
		{name: "priority", ofServer: true, help: "a number; among servers that are as good and as welcome the highest becomes primary",
			get: func(p Policy, server string) string { return numberText(p.Candidates[server].Priority) },
			set: func(p *Policy, server, v string) error {
				return p.setRule(server, func(r *CandidateRule) error { return setNumber(&r.Priority, v, -1000) })
			},
			standard: func(Settings, Record) string { return "0" }},
		{name: "zone", ofServer: true, help: "where the server stands; one in the zone of the old primary comes before others that are as good",
			get: func(p Policy, server string) string { return p.Candidates[server].Zone },
			set: func(p *Policy, server, v string) error {
				return p.setRule(server, func(r *CandidateRule) error { r.Zone = v; return nil })
			},
			standard: func(Settings, Record) string { return "" }},
	}
}

// SettingNames returns the names of all settings; those of a server with the word
// SERVER in place of its name.
func SettingNames() (names []string) {
	for _, k := range knobs() {
		if k.ofServer {
			k.name += ofServer + "SERVER"
		}
		names = append(names, k.name)
	}
	return names
}

// Set sets one setting from text; an empty text takes it back. An error says what
// would be right, and nothing is changed then.
func (p *Policy) Set(name, value string) error {
	head, server, named := strings.Cut(name, ofServer)
	for _, k := range knobs() {
		if k.name != head || k.ofServer != named || named && server == "" {
			continue
		}
		next := *p
		next.Candidates = maps.Clone(p.Candidates)
		if err := k.set(&next, server, value); err != nil {
			return fmt.Errorf("%s is %q: %w", name, value, err)
		}
		*p = next
		return nil
	}
	return fmt.Errorf("%q is not a setting: there are %s", name, strings.Join(SettingNames(), ", "))
}

// Settings lists all of them, those of the servers last.
func (p Policy) Settings(s Settings, r Record, servers []string) (all []Setting) {
	add := func(k knob, name, server string) {
		one := Setting{Name: name, Value: k.get(p, server), Default: k.standard(s, r), Help: k.help}
		if one.Set = one.Value != ""; !one.Set {
			one.Value = one.Default
		}
		all = append(all, one)
	}
	for _, k := range knobs() {
		if !k.ofServer {
			add(k, k.name, "")
			continue
		}
		for _, server := range servers {
			add(k, k.name+ofServer+server, server)
		}
	}
	return all
}

// Values returns all that was ever asked for and stands, as text by name: the
// settings, and under names of their own the pause, the servers and what was given
// up or called harmless. What is asked for once, a switchover say, is not among it.
func (p Policy) Values() map[string]string {
	all := make(map[string]string)
	put := func(name, value string) {
		if value != "" {
			all[name] = value
		}
	}
	for _, k := range knobs() {
		if !k.ofServer {
			put(k.name, k.get(p, ""))
			continue
		}
		for server := range p.Candidates {
			put(k.name+ofServer+server, k.get(p, server))
		}
	}
	if p.Pause != nil {
		put("pause", p.Pause.String())
	}
	put("servers", strings.Join(ServerNames(p.Servers), ", "))
	for server, set := range p.Discard {
		put("discard"+ofServer+server, set.String())
	}
	for server, set := range p.Harmless {
		put("harmless"+ofServer+server, set.String())
	}
	return all
}

// Changed is one value of two versions.
type Changed struct {
	Name string `json:"name"`
	// From and To are empty where it was not set.
	From string `json:"from"`
	To   string `json:"to"`
}

// Changes returns what is different in the second of two versions, by name.
func Changes(from, to map[string]string) (all []Changed) {
	names := slices.Collect(maps.Keys(from))
	names = sorted(slices.AppendSeq(names, maps.Keys(to)))
	for _, name := range names {
		if from[name] != to[name] {
			all = append(all, Changed{Name: name, From: from[name], To: to[name]})
		}
	}
	return all
}

// PolicyVersion is one version of what the operator wants, as the history keeps it.
type PolicyVersion struct {
	// Version counts from 1; By is who made it and At when.
	Version uint64    `json:"version"`
	By      string    `json:"by,omitempty"`
	At      time.Time `json:"at"`
	// Changes are those to the version before, Values all that stands since.
	Changes []Changed         `json:"changes"`
	Values  map[string]string `json:"values"`
}

// String is how the cooldown is set.
func (c Cooldown) String() string {
	if c.Failovers <= 0 {
		return "off"
	}
	return fmt.Sprintf("%d in %s", c.Failovers, durationText(c.Within))
}

func parseCooldown(text string) (Cooldown, error) {
	if text == "off" {
		return Cooldown{}, nil
	}
	count, within, _ := strings.Cut(text, " in ")
	n, err := strconv.Atoi(count)
	d, err2 := time.ParseDuration(within)
	if err != nil || err2 != nil || n < 1 || n > mostFailovers || d <= 0 {
		return Cooldown{}, fmt.Errorf("write a number from 1 to %d and a time, such as \"3 in 10m\", or off", mostFailovers)
	}
	return Cooldown{Failovers: n, Within: d}, nil
}

// setRule changes one server's rule; one that says nothing more is dropped.
func (p *Policy) setRule(server string, change func(*CandidateRule) error) error {
	rule := p.Candidates[server]
	if err := change(&rule); err != nil {
		return err
	}
	if p.Candidates == nil {
		p.Candidates = make(map[string]CandidateRule)
	}
	p.Candidates[server] = rule
	if rule == (CandidateRule{}) {
		delete(p.Candidates, server)
	}
	return nil
}

func texts[S ~string](all []S) (out []string) {
	for _, one := range all {
		out = append(out, string(one))
	}
	return out
}

func oneOf(to *string, value string, allowed []string) error {
	if value != "" && !slices.Contains(allowed, value) {
		return fmt.Errorf("write one of %s", strings.Join(allowed, ", "))
	}
	*to = value
	return nil
}

func numberText(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func setNumber(to *int, value string, least int) error {
	if value == "" {
		*to = 0
		return nil
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < least || n > 1000 {
		return fmt.Errorf("write a number from %d to 1000", least)
	}
	*to = n
	return nil
}

// durationText is a time as people write it: 10m and not 10m0s.
func durationText(d time.Duration) string {
	if d == 0 {
		return ""
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func setDuration(to *time.Duration, value string) error {
	if value == "" {
		*to = 0
		return nil
	}
	d, err := time.ParseDuration(value)
	if err != nil || d <= 0 || d > 24*time.Hour {
		return fmt.Errorf("write a time such as 1s or 500ms, at most 24h")
	}
	*to = d
	return nil
}
