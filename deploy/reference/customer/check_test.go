package customer

import (
	"testing"
	"time"
)

func TestAnOrderIsLostOrDoubledByWhatTheDatabaseHas(t *testing.T) {
	acks := []Ack{{ID: "a"}, {ID: "b"}}
	for name, c := range map[string]struct {
		placed, charged map[string]int
		lost, doubled   int
	}{
		"all are there once":                      {map[string]int{"a": 1, "b": 1}, map[string]int{"a": 1, "b": 1}, 0, 0},
		"one is missing":                          {map[string]int{"a": 1}, map[string]int{"a": 1}, 1, 0},
		"one is there and was not charged":        {map[string]int{"a": 1, "b": 1}, map[string]int{"a": 1}, 1, 0},
		"one was charged twice":                   {map[string]int{"a": 1, "b": 1}, map[string]int{"a": 2, "b": 1}, 0, 1},
		"one that nobody acknowledged is there":   {map[string]int{"a": 1, "b": 1, "c": 1}, map[string]int{"a": 1, "b": 1, "c": 1}, 0, 0},
		"one that nobody acknowledged is doubled": {map[string]int{"a": 1, "b": 1, "c": 1}, map[string]int{"a": 1, "b": 1, "c": 2}, 0, 1},
		"a charge without an order is doubled":    {map[string]int{"a": 1, "b": 1}, map[string]int{"a": 1, "b": 1, "c": 2}, 0, 1},
	} {
		if f := compare(acks, c.placed, c.charged); len(f.Lost) != c.lost || len(f.Doubled) != c.doubled || f.OK() != (c.lost+c.doubled == 0) {
			t.Errorf("%s: %s", name, f)
		}
	}
}

func TestTheLongestGapIsBetweenAcknowledgementsInTheirOrder(t *testing.T) {
	begun := time.Unix(1000, 0)
	at := func(ms int) Ack { return Ack{Acked: begun.Add(time.Duration(ms) * time.Millisecond)} }
	r := Report{Begun: begun, Acks: []Ack{at(900), at(100), at(1000), at(200)}}
	if gap, from := r.LongestGap(); gap != 700*time.Millisecond || !from.Equal(begun.Add(200*time.Millisecond)) {
		t.Errorf("the longest is %s from %s", gap, from.Sub(begun))
	}
}
