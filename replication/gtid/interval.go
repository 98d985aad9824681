package gtid

import (
	"cmp"
	"math"
	"slices"
)

// maxNumber is the largest transaction number a server can assign.
const maxNumber int64 = math.MaxInt64 - 1

// interval holds the numbers from start up to, not including, end. The open
// end makes neighbours touch (end == start), so merging needs no arithmetic
// that could overflow at maxNumber.
type interval struct{ start, end int64 }

// The functions below work on lists that are sorted, disjoint and merged: no
// two intervals of a list touch. They never write to their arguments, but a
// result may share memory with one of them.

// appendMerged adds iv, whose start is not below that of the list's last
// interval, and merges the two where they overlap or touch.
func appendMerged(list []interval, iv interval) []interval {
	if n := len(list); n > 0 && iv.start <= list[n-1].end {
		list[n-1].end = max(list[n-1].end, iv.end)
		return list
	}
	return append(list, iv)
}

// normalized returns any intervals as a sorted, merged list of its own memory.
func normalized(ivs []interval) []interval {
	sorted := slices.SortedFunc(slices.Values(ivs), func(a, b interval) int {
		return cmp.Compare(a.start, b.start)
	})
	merged := sorted[:0]
	for _, iv := range sorted {
		merged = appendMerged(merged, iv)
	}
	return slices.Clip(merged)
}

func union(a, b []interval) []interval {
	if len(a) == 0 {
		return b
	}
	if len(b) == 0 {
		return a
	}
	out := make([]interval, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if a[0].start <= b[0].start {
			out, a = appendMerged(out, a[0]), a[1:]
		} else {
			out, b = appendMerged(out, b[0]), b[1:]
		}
	}
	for _, iv := range a {
		out = appendMerged(out, iv)
	}
	for _, iv := range b {
		out = appendMerged(out, iv)
	}
	return out
}

func subtract(a, b []interval) []interval {
	if len(b) == 0 {
		return a
	}
	var out []interval
	for _, rest := range a {
		for len(b) > 0 && b[0].end <= rest.start {
			b = b[1:]
		}
		// The last interval looked at may reach into the next of a: it is kept.
		for len(b) > 0 && b[0].start < rest.end {
			if b[0].start > rest.start {
				out = append(out, interval{rest.start, b[0].start})
			}
			rest.start = b[0].end
			if rest.start >= rest.end {
				break
			}
			b = b[1:]
		}
		if rest.start < rest.end {
			out = append(out, rest)
		}
	}
	return out
}

func intersect(a, b []interval) []interval {
	var out []interval
	for len(a) > 0 && len(b) > 0 {
		both := interval{max(a[0].start, b[0].start), min(a[0].end, b[0].end)}
		if both.start < both.end {
			out = append(out, both)
		}
		if a[0].end < b[0].end {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return out
}

// containsAll reports whether a holds every number of b.
func containsAll(a, b []interval) bool {
	for _, want := range b {
		for len(a) > 0 && a[0].end < want.end {
			a = a[1:]
		}
		// a is merged, so one interval of it must hold all of want.
		if len(a) == 0 || a[0].start > want.start {
			return false
		}
	}
	return true
}

func containsNumber(a []interval, n int64) bool {
	// The first interval that ends after n is the only one that can hold it.
	i, _ := slices.BinarySearchFunc(a, n, func(iv interval, n int64) int {
		if iv.end <= n {
			return -1
		}
		return 1
	})
	return i < len(a) && a[i].start <= n
}
