package load

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCompareFindsWhatIsLostDoubledOrWithoutAnAnswer(t *testing.T) {
	acks := func(keys ...Key) []Ack {
		var all []Ack
		for _, k := range keys {
			all = append(all, Ack{Key: k})
		}
		return all
	}
	a, b, c := Key{0, 1}, Key{0, 2}, Key{1, 1}
	for name, test := range map[string]struct {
		found map[Key]int
		acks  []Ack
		want  Report
		ok    bool
	}{
		"all there once": {map[Key]int{a: 1, b: 1}, acks(a, b), Report{Acknowledged: 2, Rows: 2}, true},
		"an insert without an answer may be there": {map[Key]int{a: 1, c: 1}, acks(a),
			Report{Acknowledged: 1, Rows: 2, Unacknowledged: 1}, true},
		"an acknowledged insert is missing": {map[Key]int{a: 1}, acks(c, a, b),
			Report{Acknowledged: 3, Rows: 1, Lost: []Key{b, c}}, false},
		"an acknowledged insert is there twice": {map[Key]int{a: 2}, acks(a),
			Report{Acknowledged: 1, Rows: 2, Doubled: []Key{a}}, false},
		"an insert without an answer is there twice": {map[Key]int{c: 2}, nil,
			Report{Rows: 2, Doubled: []Key{c}, Unacknowledged: 1}, false},
	} {
		t.Run(name, func(t *testing.T) {
			got := compare(test.found, test.acks)
			if diff := cmp.Diff(test.want, got); diff != "" || got.OK() != test.ok {
				t.Errorf("OK %t, want %t; report (-want +got):\n%s", got.OK(), test.ok, diff)
			}
		})
	}
}
