package config

import (
	"fmt"
	"slices"
	"strings"
)

// Fault is one thing that is wrong with the configuration.
type Fault struct {
	// File is the file as it was named to Load, or the environment variable.
	File string
	// Line is the line to edit, counted from 1, or 0 outside a file. For a
	// missing field it is the line of the section that lacks it.
	Line int
	// Field is the path of the field, such as servers[1].mysql; empty when the
	// file as a whole is meant.
	Field string
	// Problem is what is wrong.
	Problem string
	// Remedy is what would be right.
	Remedy string
}

// String returns the fault as one line: file:line: field: problem; remedy.
func (f Fault) String() string {
	var b strings.Builder
	b.WriteString(f.File)
	if f.Line > 0 {
		fmt.Fprintf(&b, ":%d", f.Line)
	}
	if f.Field != "" {
		b.WriteString(": " + f.Field)
	}
	return b.String() + ": " + f.Problem + "; " + f.Remedy
}

// Faults is all that is wrong with a configuration, in the order of the file,
// the environment last. Load returns it as its error.
type Faults []Fault

// Error returns one fault per line.
func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.String()
	}
	return strings.Join(lines, "\n")
}

func (fs Faults) sort() {
	slices.SortStableFunc(fs, func(a, b Fault) int {
		switch {
		case a.Line == 0 && b.Line == 0:
			return strings.Compare(a.File, b.File)
		case a.Line != 0 && b.Line != 0:
			return a.Line - b.Line
		case a.Line == 0:
			return 1
		default:
			return -1
		}
	})
}

// shown quotes a text from the file for a message: on one line, and short.
func shown(s string) string {
	const most = 60
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	return quoted(s)
}

// quoted quotes a text whole, for a path cut short helps nobody.
func quoted(s string) string { return fmt.Sprintf("%q", s) }

// nearest returns the known word closest to a mistyped one, or "" when none is
// close enough to be meant.
func nearest(word string, known []string) string {
	plain := func(s string) string {
		return strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(s))
	}
	if len(word) > 100 {
		return ""
	}
	best, bestDistance := "", 1+max(2, len(word)/3)
	for _, k := range known {
		if d := distance(plain(word), plain(k)); d < bestDistance {
			best, bestDistance = k, d
		}
	}
	// A word of one or two letters is near to everything short.
	if bestDistance >= len(plain(best)) {
		return ""
	}
	return best
}

// distance is the number of single letters to insert, delete or replace.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

// didYouMean is the remedy for a word that is not one of the known ones.
func didYouMean(word string, known []string) string {
	if k := nearest(word, known); k != "" {
		return fmt.Sprintf("did you mean %s?", k)
	}
	return "use one of " + strings.Join(known, ", ")
}
