package gtid

import "slices"

// Builder collects single GTIDs, as a scan of binary logs meets them, without
// making a new Set for each. Numbers that follow each other cost no memory.
// The zero value is ready to use; a Builder is for one goroutine and must not
// be copied after the first Add.
type Builder struct {
	lists map[key]*[]interval // In the order of adding, not yet merged.
}

// Add puts g into the set being built, or returns an error, and changes
// nothing, when g is not valid.
func (b *Builder) Add(g GTID) error {
	k, err := g.key()
	if err != nil {
		return err
	}
	collect(b.list(k), interval{g.N, g.N + 1})
	return nil
}

// Set returns what was added so far. The Builder may be used further; the
// returned set does not change with it.
func (b *Builder) Set() Set {
	var parts []part
	for k, list := range b.lists {
		parts = append(parts, part{k, normalized(*list)})
	}
	slices.SortFunc(parts, func(x, y part) int { return x.key.compare(y.key) })
	return Set{parts}
}

// list returns where the intervals under k are collected. The caller adds at
// least one, so that no key stays without.
func (b *Builder) list(k key) *[]interval {
	if b.lists == nil {
		b.lists = make(map[key]*[]interval)
	}
	list := b.lists[k]
	if list == nil {
		list = new([]interval)
		b.lists[k] = list
	}
	return list
}

// collect adds iv, merging it at once in the usual case of ascending order.
func collect(list *[]interval, iv interval) {
	if n := len(*list); n > 0 && iv.start < (*list)[n-1].start {
		*list = append(*list, iv)
		return
	}
	*list = appendMerged(*list, iv)
}
