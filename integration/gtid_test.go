package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/mysqlha/mysqlha/replication/gtid"
)

const (
	gtidPairs = 300
	// erMalformedGTIDSet is ER_MALFORMED_GTID_SET_SPECIFICATION.
	erMalformedGTIDSet = 1772
)

// TestGTIDSetsAgreeWithTheServer compares the arithmetic every promotion rests
// on (S5, S7) with the server's own. GTID_SEED repeats a run.
func TestGTIDSetsAgreeWithTheServer(t *testing.T) {
	db := StartMySQL(t)
	t.Run("random pairs give the same subset, difference and text", func(t *testing.T) {
		seed := uint64(time.Now().UnixNano())
		if text := os.Getenv("GTID_SEED"); text != "" {
			var err error
			if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
				t.Fatalf("GTID_SEED: %v", err)
			}
		}
		t.Logf("GTID_SEED=%d", seed)
		r := rand.New(rand.NewPCG(seed, 0))
		subsets := 0
		for range gtidPairs {
			aText, bText := randomSetText(r), randomSetText(r)
			if related := r.IntN(3); related > 0 {
				bText = relatedSetText(t, r, aText, bText, related == 2)
			}
			if compareWithServer(t, db, aText, bText) {
				subsets++
			}
		}
		if subsets == 0 || subsets == gtidPairs {
			t.Errorf("%d of %d pairs were subsets, so one answer was never tried", subsets, gtidPairs)
		}
	})
	t.Run("what it prints of its own transactions is read", func(t *testing.T) {
		compareOwnTransactions(t, db)
	})
	t.Run("unusual texts are accepted and refused as documented", func(t *testing.T) {
		compareUnusualTexts(t, db)
	})
}

// compareWithServer returns whether a is a subset of b.
func compareWithServer(t *testing.T, db *sql.DB, aText, bText string) bool {
	t.Helper()
	var subset bool
	var minus, printed string
	err := db.QueryRowContext(t.Context(), "SELECT GTID_SUBSET(?, ?), GTID_SUBTRACT(?, ?), GTID_SUBTRACT(?, '')",
		aText, bText, aText, bText, aText).Scan(&subset, &minus, &printed)
	if err != nil {
		t.Fatalf("ask the server about %q and %q: %v", aText, bText, err)
	}
	a, err := gtid.Parse(aText)
	if err != nil {
		t.Fatal(err)
	}
	b, err := gtid.Parse(bText)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.Contains(a); got != subset {
		t.Errorf("%q contains %q: we say %v, the server %v", b, a, got, subset)
	}
	if got := a.Subtract(b).String(); got != oneLine(minus) {
		t.Errorf("%q minus %q: we say %q, the server %q", a, b, got, minus)
	}
	if got := a.String(); got != oneLine(printed) {
		t.Errorf("%q is printed %q, by the server %q", aText, got, printed)
	}
	return subset
}

// compareOwnTransactions commits with and without tags and reads the server's
// executed set back.
func compareOwnTransactions(t *testing.T, db *sql.DB) {
	ctx := t.Context()
	conn, err := db.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const foreign = "0a11fa47-71ca-11e1-9e33-c80aa9429562:red:7"
	for _, next := range []string{"AUTOMATIC", "AUTOMATIC:blue", "AUTOMATIC", foreign} {
		if _, err := conn.ExecContext(ctx, "SET SESSION gtid_next = '"+next+"'"); err != nil {
			t.Fatalf("%s: %v", next, err)
		}
		if _, err := conn.ExecContext(ctx, "CREATE DATABASE d"+strconv.Itoa(rand.Int())); err != nil {
			t.Fatalf("%s: %v", next, err)
		}
	}
	var uuid, executed string
	if err := conn.QueryRowContext(ctx, "SELECT @@server_uuid, @@GLOBAL.gtid_executed").Scan(&uuid, &executed); err != nil {
		t.Fatal(err)
	}
	set, err := gtid.Parse(executed)
	if err != nil {
		t.Fatal(err)
	}
	if want := gtid.MustParse(fmt.Sprintf("%s:1-2:blue:1,%s", uuid, foreign)); !set.Equal(want) {
		t.Errorf("executed is %q, want %q", set, want)
	}
	if set.String() != oneLine(executed) {
		t.Errorf("we print %q, the server %q", set, executed)
	}
}

// compareUnusualTexts pins where we and the server differ, as the package
// comment of gtid tells it, so that a change of either is noticed. The server's
// column is that of 9.7.
func compareUnusualTexts(t *testing.T, db *sql.DB) {
	const uuid = "0a11fa47-71ca-11e1-9e33-c80aa9429562"
	tests := []struct {
		name, text   string
		ours, server string // What each prints, or "refused".
	}{
		{"an end below the start is empty to the server", uuid + ":5-3", "refused", ""},
		{"a UUID alone is empty to the server", uuid, "refused", ""},
		{"a tag alone is empty to the server", uuid + ":tag", "refused", ""},
		{"a trailing comma is skipped by the server", uuid + ":1,", "refused", uuid + ":1"},
		{"a leading zero is skipped by the server", uuid + ":010", "refused", uuid + ":10"},
		{"0x is refused by both", uuid + ":0x10", "refused", "refused"},
		{"a UUID without dashes is read by both", strings.ReplaceAll(uuid, "-", "") + ":1", uuid + ":1", uuid + ":1"},
		{"a UUID in braces is read by the server", "{" + uuid + "}:1", "refused", uuid + ":1"},
		{"zero is refused by both", uuid + ":0", "refused", "refused"},
		{"the largest number is read by both", uuid + ":9223372036854775806", uuid + ":9223372036854775806", uuid + ":9223372036854775806"},
		{"one more is refused by both", uuid + ":9223372036854775807", "refused", "refused"},
		{"a tag of 32 is read by both", uuid + ":" + strings.Repeat("Z", 32) + ":1", uuid + ":" + strings.Repeat("z", 32) + ":1", uuid + ":" + strings.Repeat("z", 32) + ":1"},
		{"a tag of 33 is refused by both", uuid + ":" + strings.Repeat("z", 33) + ":1", "refused", "refused"},
		{"tags sort by their bytes in both", uuid + ":b:1:_:1:a1:1:a_:1:a:1", uuid + ":_:1:a:1:a1:1:a_:1:b:1", uuid + ":_:1:a:1:a1:1:a_:1:b:1"},
		{"white space between words is skipped by both", " " + uuid + " : 1 - 5 : tag : 2 ", uuid + ":1-5:tag:2", uuid + ":1-5:tag:2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ours := "refused"
			if set, err := gtid.Parse(tt.text); err == nil {
				ours = set.String()
			}
			if ours != tt.ours {
				t.Errorf("we print %q, want %q", ours, tt.ours)
			}
			if server := serverPrints(t.Context(), t, db, tt.text); server != tt.server {
				t.Errorf("the server prints %q, want %q", server, tt.server)
			}
		})
	}
}

func serverPrints(ctx context.Context, t *testing.T, db *sql.DB, text string) string {
	t.Helper()
	var printed string
	err := db.QueryRowContext(ctx, "SELECT GTID_SUBTRACT(?, '')", text).Scan(&printed)
	var refused *mysql.MySQLError
	switch {
	case errors.As(err, &refused) && refused.Number == erMalformedGTIDSet:
		return "refused"
	case err != nil:
		t.Fatalf("ask the server about %q: %v", text, err)
	}
	return oneLine(printed)
}

// oneLine takes away the newlines that the server writes between UUIDs.
func oneLine(set string) string { return strings.ReplaceAll(set, "\n", "") }

// randomUUIDs and randomTags are the universe of randomSetText, in mixed case.
func randomUUIDs() []string {
	return []string{
		"0a11fa47-71ca-11e1-9e33-c80aa9429562", "0A11FA47-71ca-11e1-9e33-c80aa9429563",
		"b6d3a2c0-0000-0000-0000-00000000000f", "ffffffff-ffff-ffff-ffff-ffffffffffff",
	}
}

func randomTags() []string { return []string{"a", "A", "a1", "_", "blue_tag"} }

// relatedSetText returns the union of both sets, in which a is contained, or,
// for a near miss, that without one transaction at an end of an interval of a:
// pairs drawn independently hardly ever come so close.
func relatedSetText(t *testing.T, r *rand.Rand, aText, bText string, nearMiss bool) string {
	t.Helper()
	a, err := gtid.Parse(aText)
	if err != nil {
		t.Fatal(err)
	}
	b, err := gtid.Parse(bText)
	if err != nil {
		t.Fatal(err)
	}
	b = b.Union(a)
	if edges := edgesOf(a); nearMiss && len(edges) > 0 {
		missing, err := gtid.Set{}.Add(edges[r.IntN(len(edges))])
		if err != nil {
			t.Fatal(err)
		}
		b = b.Subtract(missing)
	}
	return b.String()
}

// edgesOf lists the first and last transaction of the intervals of a set from
// randomSetText, without those close to the largest number.
func edgesOf(a gtid.Set) []gtid.GTID {
	var edges []gtid.GTID
	for _, uuid := range randomUUIDs() {
		for _, tag := range append(randomTags(), "") {
			has := func(n int64) bool { return a.Has(gtid.GTID{UUID: uuid, Tag: tag, N: n}) }
			for n := int64(1); n <= 60; n++ {
				if has(n) && !(has(n-1) && has(n+1)) {
					edges = append(edges, gtid.GTID{UUID: uuid, Tag: tag, N: n})
				}
			}
		}
	}
	return edges
}

// randomSetText writes a set that both sides accept, from a universe so small
// that sets overlap often: entries unsorted and repeated, cases mixed, white
// space here and there.
func randomSetText(r *rand.Rand) string {
	space := func() string { return []string{"", "", "", " ", "\n", "\t "}[r.IntN(6)] }
	intervals := func() string {
		var s strings.Builder
		for range 1 + r.IntN(4) {
			first, base := 1+r.Int64N(30), int64(0)
			if r.IntN(10) == 0 {
				base = 1<<63 - 2 - 60 // Close to the largest number, 2^63-2.
			}
			fmt.Fprintf(&s, ":%s%d%s", space(), base+first, space())
			if r.IntN(2) == 0 {
				fmt.Fprintf(&s, "-%s%d%s", space(), base+first+r.Int64N(31), space())
			}
		}
		return s.String()
	}
	uuids, tagNames := randomUUIDs(), randomTags()
	var entries []string
	for range r.IntN(5) {
		entry := space() + uuids[r.IntN(len(uuids))] + space()
		tags := r.IntN(3)
		if tags == 0 || r.IntN(2) == 0 {
			entry += intervals()
		}
		for range tags {
			entry += ":" + space() + tagNames[r.IntN(len(tagNames))] + space() + intervals()
		}
		entries = append(entries, entry)
	}
	return strings.Join(entries, ",")
}
