package load

import (
	"context"
	"database/sql"

	"fmt"
	"maps"
	"slices"
	"strings"
)

// Report is what a check found.
type Report struct {
	// Acknowledged is the number of acknowledged inserts, Rows that of the
	// table's rows.
	Acknowledged, Rows int
	// Lost are acknowledged inserts without a row, Doubled those of any kind
	// with more than one.
	Lost, Doubled []Key
	// Unacknowledged is the number of rows whose insert had no answer; that is
	// allowed.
	Unacknowledged int
}

// OK tells whether nothing was lost and nothing doubled.
func (r Report) OK() bool { return len(r.Lost) == 0 && len(r.Doubled) == 0 }

// String says it in a sentence, with the first few keys of what is wrong.
func (r Report) String() string {
	text := fmt.Sprintf("%d rows acknowledged, %d lost, %d doubled (%d more rows without an answer)",
		r.Acknowledged, len(r.Lost), len(r.Doubled), r.Unacknowledged)
	if !r.OK() {
		text += fmt.Sprintf("; lost: %s; doubled: %s", some(r.Lost), some(r.Doubled))
	}
	return text
}

func some(keys []Key) string {
	const most = 5
	var words []string
	for _, k := range keys[:min(most, len(keys))] {
		words = append(words, fmt.Sprintf("%d/%d", k.Client, k.Seq))
	}
	if len(keys) > most {
		words = append(words, "…")
	}
	return "[" + strings.Join(words, " ") + "]"
}

// Check compares the table on one server with what was acknowledged. db must
// lead to that server and its schema.
func Check(ctx context.Context, db *sql.DB, result Result) (Report, error) {
	rows, err := db.QueryContext(ctx, "SELECT client, seq, COUNT(*) FROM "+result.Table+" GROUP BY client, seq")
	if err != nil {
		return Report{}, fmt.Errorf("reading back the load: %w", err)
	}
	found, err := readCounts(rows)
	if err != nil {
		return Report{}, fmt.Errorf("reading back the load: %w", err)
	}
	return compare(found, result.Acks), nil
}

func readCounts(rows *sql.Rows) (map[Key]int, error) {
	defer rows.Close()
	found := map[Key]int{}
	for rows.Next() {
		var k Key
		var n int
		if err := rows.Scan(&k.Client, &k.Seq, &n); err != nil {
			return nil, err
		}
		found[k] = n
	}
	return found, rows.Err()
}

func compare(found map[Key]int, acks []Ack) Report {
	report := Report{Acknowledged: len(acks)}
	acked := make(map[Key]bool, len(acks))
	for _, a := range acks {
		acked[a.Key] = true
		if found[a.Key] == 0 {
			report.Lost = append(report.Lost, a.Key)
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(found), compareKeys) {
		n := found[k]
		report.Rows += n
		if n > 1 {
			report.Doubled = append(report.Doubled, k)
		}
		if !acked[k] {
			report.Unacknowledged++
		}
	}
	slices.SortFunc(report.Lost, compareKeys)
	return report
}

func compareKeys(a, b Key) int {
	if a.Client != b.Client {
		return a.Client - b.Client
	}
	return int(min(1, max(-1, a.Seq-b.Seq)))
}
