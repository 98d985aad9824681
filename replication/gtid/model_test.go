package gtid

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// model is the plainest set there is, to hold the interval arithmetic against.
type model map[GTID]bool

// drawModel draws a set from a universe so small that sets overlap, touch and
// contain each other often. Some numbers lie at the upper bound.
func drawModel(t *rapid.T, label string) model {
	m := model{}
	for range rapid.IntRange(0, 8).Draw(t, label+" runs") {
		g := GTID{
			UUID: rapid.SampledFrom([]string{uuidA, uuidB, uuidC}).Draw(t, "uuid"),
			Tag:  rapid.SampledFrom([]string{"", "a", "_b9"}).Draw(t, "tag"),
			N:    rapid.OneOf(rapid.Int64Range(1, 24), rapid.Int64Range(maxNumber-6, maxNumber)).Draw(t, "first"),
		}
		for range rapid.IntRange(1, 9).Draw(t, "length") {
			if g.N > maxNumber {
				break
			}
			m[g] = true
			g.N++
		}
	}
	return m
}

// text writes the set one transaction an entry, in the random order of a map.
func (m model) text() string {
	var entries []string
	for g := range m {
		entries = append(entries, g.String())
	}
	return strings.Join(entries, ",\n")
}

func (m model) filter(keep func(GTID) bool) model {
	out := maps.Clone(m)
	maps.DeleteFunc(out, func(g GTID, _ bool) bool { return !keep(g) })
	return out
}

// check holds set against the model in every way there is to look at it.
func (m model) check(t *rapid.T, what string, set Set) {
	t.Helper()
	if int(set.Count()) != len(m) || set.IsEmpty() != (len(m) == 0) {
		t.Fatalf("%s: %d in %q, want %d: %v", what, set.Count(), set, len(m), m)
	}
	var b Builder
	for g := range m {
		if !set.Has(g) {
			t.Fatalf("%s: %s is not in %q", what, g, set)
		}
		if err := b.Add(g); err != nil {
			t.Fatal(err)
		}
	}
	// The form must be canonical, or Equal and String would tell equal sets apart.
	if built := b.Set(); !built.Equal(set) || built.String() != set.String() {
		t.Fatalf("%s: got %q, want %q", what, set, built)
	}
	if parsed, err := Parse(set.String()); err != nil || !parsed.Equal(set) {
		t.Fatalf("%s: %q reads back as %q, %v", what, set, parsed, err)
	}
}

func TestSetsBehaveLikeTheNaiveModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ma, mb := drawModel(t, "a"), drawModel(t, "b")
		if rapid.Bool().Draw(t, "b within a") {
			mb = mb.filter(func(g GTID) bool { return ma[g] })
		}
		a, err := Parse(ma.text())
		if err != nil {
			t.Fatal(err)
		}
		b := MustParse(mb.text())
		ma.check(t, "a", a)
		mb.check(t, "b", b)

		mboth := ma.filter(func(g GTID) bool { return mb[g] })
		munion := maps.Clone(ma)
		maps.Copy(munion, mb)
		munion.check(t, "union", a.Union(b))
		mboth.check(t, "intersect", a.Intersect(b))
		ma.filter(func(g GTID) bool { return !mb[g] }).check(t, "subtract", a.Subtract(b))
		if got := a.Contains(b); got != (len(mboth) == len(mb)) {
			t.Fatalf("%q contains %q: %v", a, b, got)
		}
		if got := a.Equal(b); got != maps.Equal(ma, mb) {
			t.Fatalf("%q equals %q: %v", a, b, got)
		}
		// The operations must have left their arguments alone.
		ma.check(t, "a afterwards", a)
		mb.check(t, "b afterwards", b)
	})
}

func ExampleSet_Subtract() {
	candidate := MustParse("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-100:batch:1-4")
	primary := MustParse("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-98:batch:1-4")
	fmt.Println(candidate.Subtract(primary))
	// Output: 3e11fa47-71ca-11e1-9e33-c80aa9429562:99-100
}
