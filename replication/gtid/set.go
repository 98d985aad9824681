package gtid

import (
	"fmt"
	"iter"
	"math"
	"slices"
	"strconv"
)

// Set is a set of GTIDs. The zero value is the empty set. A Set never changes:
// it may be copied, shared and used by many goroutines at once, and every
// operation returns a new one. Sets are compared with [Set.Equal], not with ==.
type Set struct {
	// parts are sorted by key, each key once, none without intervals; nil for
	// the empty set. The slices may be shared between sets and are never
	// written to.
	parts []part
}

type part struct {
	key  key
	nums []interval // Sorted, disjoint and merged; see interval.go.
}

// Parse reads the text form of a set as servers print it, with any white space
// between its words; the empty text is the empty set. Entries may come in any
// order and overlap. What is refused although a server tolerates it is told in
// the package comment. A failure is a *SyntaxError.
func Parse(s string) (Set, error) {
	p := parser{what: "GTID set", text: s}
	return p.set()
}

// MustParse is [Parse] for tests and constants: it panics where Parse fails.
func MustParse(s string) Set {
	set, err := Parse(s)
	if err != nil {
		panic(err)
	}
	return set
}

// String returns the set as MySQL prints it (sorted by UUID and tag, intervals
// merged), but with a bare comma between UUIDs where MySQL adds a newline.
func (s Set) String() string { return string(s.appendText(nil)) }

func (s Set) appendText(dst []byte) []byte {
	for i, p := range s.parts {
		// The tags of one UUID follow each other under that UUID.
		if i == 0 || s.parts[i-1].key.uuid != p.key.uuid {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendUUID(dst, p.key.uuid)
		}
		if p.key.tag != "" {
			dst = append(append(dst, ':'), p.key.tag...)
		}
		for _, iv := range p.nums {
			dst = strconv.AppendInt(append(dst, ':'), iv.start, 10)
			if last := iv.end - 1; last > iv.start {
				dst = strconv.AppendInt(append(dst, '-'), last, 10)
			}
		}
	}
	return dst
}

// MarshalText returns the text of [Set.String], so that JSON and YAML carry a
// set as one string. It never fails.
func (s Set) MarshalText() ([]byte, error) { return s.appendText([]byte{}), nil }

// UnmarshalText replaces the set by what [Parse] reads from the text. On a
// failure, a *SyntaxError, the set stays as it was.
func (s *Set) UnmarshalText(text []byte) error {
	parsed, err := Parse(string(text))
	if err != nil {
		return err
	}
	*s = parsed
	return nil
}

// IsEmpty reports whether the set holds no GTID.
func (s Set) IsEmpty() bool { return len(s.parts) == 0 }

// Count returns how many GTIDs the set holds, or the largest uint64 where they
// are more than that.
func (s Set) Count() uint64 {
	var count uint64
	for _, p := range s.parts {
		for _, iv := range p.nums {
			n := uint64(iv.end - iv.start)
			if count > math.MaxUint64-n {
				return math.MaxUint64
			}
			count += n
		}
	}
	return count
}

// Equal reports whether both sets hold the same GTIDs.
func (s Set) Equal(other Set) bool {
	return slices.EqualFunc(s.parts, other.parts, func(a, b part) bool {
		return a.key == b.key && slices.Equal(a.nums, b.nums)
	})
}

// Contains reports whether the set holds every GTID of other. Every set
// contains the empty set and itself.
func (s Set) Contains(other Set) bool {
	for _, want := range other.parts {
		if !containsAll(s.numbers(want.key), want.nums) {
			return false
		}
	}
	return true
}

// Has reports whether the set holds g. An identifier that is not valid is in
// no set.
func (s Set) Has(g GTID) bool {
	k, err := g.key()
	return err == nil && containsNumber(s.numbers(k), g.N)
}

// All returns the GTIDs of the set one by one, in the order of [Set.String].
func (s Set) All() iter.Seq[GTID] {
	return func(yield func(GTID) bool) {
		for _, p := range s.parts {
			uuid := FormatUUID(p.key.uuid)
			for _, iv := range p.nums {
				for n := iv.start; n < iv.end; n++ {
					if !yield(GTID{UUID: uuid, Tag: p.key.tag, N: n}) {
						return
					}
				}
			}
		}
	}
}

// Union returns the GTIDs that are in either set.
func (s Set) Union(other Set) Set { return s.combine(other, union) }

// Subtract returns the GTIDs of the set that are not in other.
func (s Set) Subtract(other Set) Set { return s.combine(other, subtract) }

// Intersect returns the GTIDs that are in both sets.
func (s Set) Intersect(other Set) Set { return s.combine(other, intersect) }

// Add returns the set with g in it, or an error when g is not valid. To add
// many, use a [Builder].
func (s Set) Add(g GTID) (Set, error) {
	var b Builder
	if err := b.Add(g); err != nil {
		return Set{}, fmt.Errorf("add to GTID set: %w", err)
	}
	return s.Union(b.Set()), nil
}

// numbers returns the intervals under k, nil when there are none.
func (s Set) numbers(k key) []interval {
	i, found := slices.BinarySearchFunc(s.parts, k, func(p part, k key) int {
		return p.key.compare(k)
	})
	if !found {
		return nil
	}
	return s.parts[i].nums
}

// combine applies op to the intervals of every key that is in either set; a
// key that a set lacks gives nil.
func (s Set) combine(other Set, op func(a, b []interval) []interval) Set {
	var out []part
	add := func(k key, a, b []interval) {
		if nums := op(a, b); len(nums) > 0 {
			out = append(out, part{k, nums})
		}
	}
	a, b := s.parts, other.parts
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].key.compare(b[0].key) < 0:
			add(a[0].key, a[0].nums, nil)
			a = a[1:]
		case len(a) == 0 || a[0].key.compare(b[0].key) > 0:
			add(b[0].key, nil, b[0].nums)
			b = b[1:]
		default:
			add(a[0].key, a[0].nums, b[0].nums)
			a, b = a[1:], b[1:]
		}
	}
	return Set{out}
}
