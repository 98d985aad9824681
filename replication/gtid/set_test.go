package gtid

import (
	"encoding/json"
	"math"
	"sync"
	"testing"

	"go.yaml.in/yaml/v4"
)

const (
	uuidA = "0a11fa47-71ca-11e1-9e33-c80aa9429562"
	uuidB = "b6d3a2c0-0000-0000-0000-00000000000f"
	uuidC = "ffffffff-ffff-ffff-ffff-ffffffffffff"
)

func TestArithmetic(t *testing.T) {
	tests := []struct {
		name                       string
		a, b                       string
		union, minus, both         string
		aContainsB, bContainsA, eq bool
	}{
		{name: "two empty sets are equal and contain each other", aContainsB: true, bContainsA: true, eq: true},
		{
			name: "the empty set takes nothing away and is in every set",
			a:    uuidA + ":1-5", union: uuidA + ":1-5", minus: uuidA + ":1-5", aContainsB: true,
		},
		{
			name: "taking a set from the empty set leaves nothing",
			b:    uuidA + ":1-5", union: uuidA + ":1-5", bContainsA: true,
		},
		{
			name: "neighbouring intervals become one",
			a:    uuidA + ":1-5", b: uuidA + ":6-9",
			union: uuidA + ":1-9", minus: uuidA + ":1-5",
		},
		{
			name: "an interval that bridges a gap is not contained on either side",
			a:    uuidA + ":1-5:10-15", b: uuidA + ":4-11",
			union: uuidA + ":1-15", minus: uuidA + ":1-3:12-15", both: uuidA + ":4-5:10-11",
		},
		{
			name: "one interval taken from the middle leaves both ends",
			a:    uuidA + ":1-9", b: uuidA + ":5",
			union: uuidA + ":1-9", minus: uuidA + ":1-4:6-9", both: uuidA + ":5", aContainsB: true,
		},
		{
			name: "the same numbers under a tag are other transactions",
			a:    uuidA + ":1-5", b: uuidA + ":blue:1-5",
			union: uuidA + ":1-5:blue:1-5", minus: uuidA + ":1-5",
		},
		{
			name: "different tags of a UUID do not touch",
			a:    uuidA + ":blue:1-5:red:1-3", b: uuidA + ":red:2",
			union: uuidA + ":blue:1-5:red:1-3", minus: uuidA + ":blue:1-5:red:1:3", both: uuidA + ":red:2", aContainsB: true,
		},
		{
			name: "a UUID that vanishes is not printed",
			a:    uuidA + ":1," + uuidB + ":1:x:1", b: uuidB + ":1:x:1-2",
			union: uuidA + ":1," + uuidB + ":1:x:1-2", minus: uuidA + ":1", both: uuidB + ":1:x:1",
		},
		{
			name: "the largest number a server can assign does not overflow",
			a:    uuidA + ":1-9223372036854775806", b: uuidA + ":9223372036854775806",
			union: uuidA + ":1-9223372036854775806", minus: uuidA + ":1-9223372036854775805",
			both: uuidA + ":9223372036854775806", aContainsB: true,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, b := MustParse(tt.a), MustParse(tt.b)
			for _, got := range []struct {
				op         string
				set        Set
				want       string
				mayContain bool
			}{
				{op: "union", set: a.Union(b), want: tt.union},
				{op: "union the other way", set: b.Union(a), want: tt.union},
				{op: "subtract", set: a.Subtract(b), want: tt.minus},
				{op: "intersect", set: a.Intersect(b), want: tt.both},
				{op: "intersect the other way", set: b.Intersect(a), want: tt.both},
			} {
				if got.set.String() != got.want {
					t.Errorf("%s = %q, want %q", got.op, got.set, got.want)
				}
				if got.set.IsEmpty() != (got.want == "") {
					t.Errorf("%s: IsEmpty = %v", got.op, got.set.IsEmpty())
				}
			}
			if got := a.Contains(b); got != tt.aContainsB {
				t.Errorf("a.Contains(b) = %v", got)
			}
			if got := b.Contains(a); got != tt.bContainsA {
				t.Errorf("b.Contains(a) = %v", got)
			}
			if got := a.Equal(b); got != tt.eq {
				t.Errorf("a.Equal(b) = %v", got)
			}
		})
	}
}

func TestCount(t *testing.T) {
	const most = ":1-9223372036854775806"
	tests := []struct {
		name, set string
		want      uint64
	}{
		{"the empty set holds none", "", 0},
		{"all intervals and tags count", uuidA + ":1-5:7:x:1-3," + uuidB + ":9", 10},
		{"a sum beyond the range stays at the largest value", uuidA + most + "," + uuidB + most + "," + uuidC + most, math.MaxUint64},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := MustParse(tt.set).Count(); got != tt.want {
				t.Errorf("Count = %d, want %d", got, tt.want)
			}
		})
	}
}

func TestHas(t *testing.T) {
	set := MustParse(uuidA + ":2-4:8:x:9")
	tests := []struct {
		name string
		g    GTID
		want bool
	}{
		{"the first of an interval is in", GTID{UUID: uuidA, N: 2}, true},
		{"the last of an interval is in", GTID{UUID: uuidA, N: 4}, true},
		{"one below is not", GTID{UUID: uuidA, N: 1}, false},
		{"one above is not", GTID{UUID: uuidA, N: 5}, false},
		{"beyond the last interval is not", GTID{UUID: uuidA, N: 9}, false},
		{"a tag is told apart", GTID{UUID: uuidA, Tag: "x", N: 9}, true},
		{"case and dashes do not matter", GTID{UUID: "0A11FA4771CA11E19E33C80AA9429562", Tag: "X", N: 9}, true},
		{"an unknown tag is not in", GTID{UUID: uuidA, Tag: "y", N: 9}, false},
		{"an unknown UUID is not in", GTID{UUID: uuidB, N: 2}, false},
		{"an identifier that is not valid is in no set", GTID{UUID: "x", N: 2}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := set.Has(tt.g); got != tt.want {
				t.Errorf("Has(%s) = %v, want %v", tt.g, got, tt.want)
			}
		})
	}
}

func TestBuilderMergesAnyOrderAndLeavesEarlierSetsAlone(t *testing.T) {
	var b Builder
	if got := b.Set(); !got.IsEmpty() {
		t.Fatalf("a fresh Builder gives %q", got)
	}
	steps := []struct {
		add  int64
		want string
		set  Set
	}{
		{add: 5, want: "5"},
		{add: 6, want: "5-6"},
		{add: 2, want: "2:5-6"},
		{add: 4, want: "2:4-6"},
		{add: 3, want: "2-6"},
		{add: 1, want: "1-6"},
		{add: 9, want: "1-6:9"},
		{add: 5, want: "1-6:9"},
		{add: 8, want: "1-6:8-9"},
	}
	for i := range steps {
		if err := b.Add(GTID{UUID: uuidA, Tag: "T", N: steps[i].add}); err != nil {
			t.Fatal(err)
		}
		steps[i].set = b.Set()
		for _, s := range steps[:i+1] {
			if got, want := s.set.String(), uuidA+":t:"+s.want; got != want {
				t.Errorf("after adding %d, the set made after %d is %q, want %q", steps[i].add, s.add, got, want)
			}
		}
	}
}

func TestAddRefusesWhatIsNoGTID(t *testing.T) {
	for _, g := range []GTID{
		{},
		{UUID: uuidA},
		{UUID: uuidA, N: -1},
		{UUID: uuidA, N: math.MaxInt64},
		{UUID: uuidA[1:], N: 1},
		{UUID: uuidA, Tag: "1x", N: 1},
		{UUID: uuidA, Tag: "a b", N: 1},
		{UUID: uuidA, Tag: "abcdefghijklmnopqrstuvwxyz_0123456", N: 1},
	} {
		if got, err := (Set{}).Add(g); err == nil {
			t.Errorf("Add(%s) = %q, want an error", g, got)
		}
	}
	got, err := MustParse(uuidA + ":1-2").Add(GTID{UUID: uuidA, N: 3})
	if err != nil || got.String() != uuidA+":1-3" {
		t.Errorf("Add = %q, %v", got, err)
	}
}

func TestAllGoesThroughASetInOrder(t *testing.T) {
	set := MustParse(uuidB + ":7," + uuidA + ":1-3:9:x:2-3")
	var got []string
	var b Builder
	for g := range set.All() {
		got = append(got, g.String())
		if err := b.Add(g); err != nil {
			t.Fatal(err)
		}
	}
	if !b.Set().Equal(set) || len(got) != 7 || got[3] != uuidA+":9" || got[4] != uuidA+":x:2" || got[6] != uuidB+":7" {
		t.Errorf("%s is %v", set, got)
	}
	for g := range set.All() {
		if g.N == 2 {
			break // It must not go on.
		}
	}
}

func TestTextEncodings(t *testing.T) {
	type doc struct {
		Set Set `json:"set" yaml:"set"`
	}
	for _, text := range []string{"", uuidA + ":1-5:7:x:1," + uuidB + ":1"} {
		in := doc{MustParse(text)}
		asJSON, err := json.Marshal(in)
		if err != nil || string(asJSON) != `{"set":"`+text+`"}` {
			t.Errorf("JSON is %s, %v", asJSON, err)
		}
		asYAML, err := yaml.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		var fromJSON, fromYAML doc
		if err := json.Unmarshal(asJSON, &fromJSON); err != nil || !fromJSON.Set.Equal(in.Set) {
			t.Errorf("from JSON: %q, %v", fromJSON.Set, err)
		}
		if err := yaml.Unmarshal(asYAML, &fromYAML); err != nil || !fromYAML.Set.Equal(in.Set) {
			t.Errorf("from YAML %q: %q, %v", asYAML, fromYAML.Set, err)
		}
	}
	kept := doc{MustParse(uuidA + ":1")}
	if err := json.Unmarshal([]byte(`{"set":"nonsense"}`), &kept); err == nil || kept.Set.String() != uuidA+":1" {
		t.Errorf("after a text that is no set: %q, %v", kept.Set, err)
	}
}

// Meant for the race detector: sets share memory, so an operation that wrote
// to its arguments would show here.
func TestSharedSetsMayBeUsedConcurrently(t *testing.T) {
	a := MustParse(uuidA + ":1-9:20:x:1-5," + uuidB + ":1")
	b := a.Union(MustParse(uuidA + ":10:x:4-8"))
	want := a.String() + b.String()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			c := a.Union(b).Subtract(a.Intersect(b)).Union(a)
			if !c.Equal(b) || !b.Contains(a) || a.String()+b.String() != want {
				t.Errorf("got %q from %q and %q", c, a, b)
			}
		})
	}
	wg.Wait()
}
