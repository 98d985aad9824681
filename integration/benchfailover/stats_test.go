package main

import (
	"testing"
	"time"
)

func TestQuantileIsTheNearestRank(t *testing.T) {
	to := func(n int) (all []time.Duration) {
		for i := n; i >= 1; i-- {
			all = append(all, time.Duration(i))
		}
		return all
	}
	for name, c := range map[string]struct {
		times []time.Duration
		q     float64
		want  time.Duration
	}{
		"the minimum is the smallest":                   {to(20), 0, 1},
		"the maximum is the largest":                    {to(20), 1, 20},
		"the median of an odd number is the middle one": {to(5), 0.5, 3},
		"the median of an even number is between two":   {[]time.Duration{10, 20, 30, 60}, 0.5, 25},
		"nine tenths of twenty are eighteen":            {to(20), 0.9, 18},
		"p99 of twenty is the largest":                  {to(20), 0.99, 20},
		"one time is every quantile":                    {to(1), 0.9, 1},
	} {
		t.Run(name, func(t *testing.T) {
			if got := quantile(c.times, c.q); got != c.want {
				t.Errorf("quantile(%v, %v) = %v, want %v", c.times, c.q, got, c.want)
			}
		})
	}
}

func TestSizeOfReadsSizesAsMySQLWritesThem(t *testing.T) {
	for text, want := range map[string]int64{"": 0, "512": 512, "64M": 64 << 20, "2G": 2 << 30, "8K": 8 << 10} {
		if got, err := sizeOf(text); err != nil || got != want {
			t.Errorf("sizeOf(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"G", "2GB", "-1M", "0", "2 G"} {
		if got, err := sizeOf(text); err == nil {
			t.Errorf("sizeOf(%q) = %d, want an error", text, got)
		}
	}
}
