package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mysqlha/mysqlha/deploy/sandbox"
)

// samples are the times of several trials.
type samples struct {
	totals []time.Duration
	// names are the phases in their order, phases their times.
	names  []string
	phases map[string][]time.Duration
}

func (s *samples) len() int { return len(s.totals) }

func (s *samples) add(total time.Duration, phases []sandbox.Phase) {
	s.totals = append(s.totals, total)
	if s.phases == nil {
		s.phases = map[string][]time.Duration{}
	}
	for _, p := range phases {
		if _, known := s.phases[p.Name]; !known {
			s.names = append(s.names, p.Name)
		}
		s.phases[p.Name] = append(s.phases[p.Name], p.Took)
	}
}

// write writes a table of the times in milliseconds.
func (s *samples) write(w io.Writer, title string) {
	if len(s.totals) == 0 {
		return
	}
	fmt.Fprintf(w, "%-22s %9s %9s %9s %9s %9s   (ms, %d trials)\n", title, "min", "median", "p90", "p99", "max", len(s.totals))
	for _, name := range s.names {
		writeRow(w, "  "+name, s.phases[name])
	}
	writeRow(w, "  total", s.totals)
}

func writeRow(w io.Writer, name string, times []time.Duration) {
	fmt.Fprintf(w, "%-22s", name)
	for _, q := range []float64{0, 0.5, 0.9, 0.99, 1} {
		fmt.Fprintf(w, " %9.1f", ms(quantile(times, q)))
	}
	fmt.Fprintln(w)
}

// quantile returns the nearest rank: the smallest time that a share q of all
// does not exceed; the mean of the two in the middle for an even median.
func quantile(times []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(times))
	n := len(sorted)
	if q == 0.5 && n%2 == 0 {
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return sorted[max(0, int(math.Ceil(q*float64(n)))-1)]
}

func phaseText(phases []sandbox.Phase) string {
	var parts []string
	for _, p := range phases {
		parts = append(parts, fmt.Sprintf("%s %.1f", p.Name, ms(p.Took)))
	}
	return strings.Join(parts, ", ")
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// sizeOf reads a size as MySQL writes it; 0 for none.
func sizeOf(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	shift := map[byte]uint{'K': 10, 'M': 20, 'G': 30}[text[len(text)-1]]
	n, err := strconv.ParseInt(strings.TrimRight(text, "KMG"), 10, 32)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("the pool is %q: write a size such as 2G", text)
	}
	return n << shift, nil
}

func poolText(s settings) string {
	if s.pool == "" {
		return "64M"
	}
	return s.pool + ", filled before the kill"
}

func mebibytes(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }
