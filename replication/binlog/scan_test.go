package binlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/mysqlha/mysqlha/replication/gtid"
)

// The files of a MySQL 9.7.4 that was told, in the second, one statement of each
// kind, and died with the third.
const server = "cac4951a-e8e4-11f1-afde-02fc00000001"

func file(t testing.TB, n int) []byte {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("testdata/mysql-9.7.%06d", n))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// scanned scans a file twice, most events in one piece and in many, and returns
// what both find.
func scanned(t testing.TB, b []byte) (File, []Group, error) {
	t.Helper()
	var groups, inPieces []Group
	f, err := Scan(bytes.NewReader(b), func(g Group) error { groups = append(groups, g); return nil })
	f2, err2 := scan(bytes.NewReader(b), headerSize, func(g Group) error { inPieces = append(inPieces, g); return nil })
	if one, many := fmt.Sprint(f, groups, err), fmt.Sprint(f2, inPieces, err2); one != many {
		t.Fatalf("in one piece: %s\nin many: %s", one, many)
	}
	return f, groups, err
}

func mustScan(t testing.TB, b []byte) (File, []Group) {
	t.Helper()
	f, groups, err := scanned(t, b)
	if err != nil {
		t.Fatal(err)
	}
	return f, groups
}

func TestAFileOfEveryKindIsRead(t *testing.T) {
	f, groups := mustScan(t, file(t, 2))
	want := []struct {
		gtid string
		kind Kind
		what string
	}{
		{":4", KindTransaction, ""},
		{":5", KindStatement, "CREATE TABLE a.u"},
		{":some_tag:1", KindTransaction, ""},
		{":6", KindOther, "FLUSH PRIVILEGES"},
		{":7", KindTransaction, ""}, // Compressed.
		{":8", KindOther, "CREATE TABLE a.m"},
		{":9", KindOther, "changes of tables that know no transactions"},
		{":10", KindOther, "XA PREPARE"},
		{":11", KindOther, "XA COMMIT"},
		{":12", KindTransaction, ""},
		{":13", KindStatement, "CREATE USER"},
		{":14", KindStatement, "DROP TABLE"},
	}
	if len(groups) != len(want) {
		t.Fatalf("%d groups, not %d: %v", len(groups), len(want), groups)
	}
	at := f.HeadEnd
	for i, g := range groups {
		w := want[i]
		if g.GTID.String() != server+w.gtid || g.Kind != w.kind || !strings.HasPrefix(g.What, w.what) || w.what == "" && g.What != "" {
			t.Errorf("group %d is %s, %s %q; it should be %s%s, %s %q", i, g.GTID, g.Kind, g.What, server, w.gtid, w.kind, w.what)
		}
		if g.Start != at || g.End <= g.Start {
			t.Errorf("%s goes from %d to %d, and the group before it ended at %d", g.GTID, g.Start, g.End, at)
		}
		at = g.End
	}
	if f.InUse || f.ServerStart || f.End != int64(len(file(t, 2))) {
		t.Errorf("in use %t, first of a run %t, ends at %d of %d", f.InUse, f.ServerStart, f.End, len(file(t, 2)))
	}
	if got := f.Previous.String(); got != server+":1-3" {
		t.Errorf("before it come %s", got)
	}
	if got := f.GTIDs.String(); got != server+":4-14:some_tag:1" {
		t.Errorf("it holds %s", got)
	}
}

func TestTheFilesOfARunFollowEachOther(t *testing.T) {
	var all gtid.Set
	for n := 1; n <= 3; n++ {
		f, groups := mustScan(t, file(t, n))
		if !f.Previous.Equal(all) {
			t.Errorf("file %d: before it come %s, not %s", n, f.Previous, all)
		}
		if f.ServerStart != (n == 1) || f.InUse != (n == 3) {
			t.Errorf("file %d: first of a run %t, in use %t", n, f.ServerStart, f.InUse)
		}
		if len(groups) > 0 && f.Last != groups[len(groups)-1] {
			t.Errorf("file %d ends with %v", n, f.Last)
		}
		all = all.Union(f.GTIDs)
	}
	if got := all.String(); got != server+":1-16:some_tag:1" {
		t.Errorf("all together hold %s", got)
	}
}

// TestAFileTornAnywhereIsReadUpToThere cuts a real file after each of its bytes.
func TestAFileTornAnywhereIsReadUpToThere(t *testing.T) {
	whole := file(t, 2)
	full, groups := mustScan(t, whole)
	for size := int(full.HeadEnd); size < len(whole); size++ {
		for _, tail := range []string{"", strings.Repeat("\x00", 100)} {
			f, got, err := scanned(t, append(bytes.Clone(whole[:size]), tail...))
			if err != nil {
				// Only zeros that fill an event up may look like damage, or like zeros.
				var damage *DamageError
				if tail == "" || !errors.As(err, &damage) {
					t.Fatalf("cut at %d: %v", size, err)
				}
				continue
			}
			n := 0
			for n < len(groups) && groups[n].End <= int64(size) {
				n++
			}
			torn := len(got) == n+1 && got[n].Kind == KindTorn && got[n].GTID == groups[n].GTID && got[n].Start == groups[n].Start
			if !slices.Equal(got[:n], groups[:n]) || len(got) != n && !torn {
				t.Fatalf("cut at %d with %d zeros: %v", size, len(tail), got)
			}
			if f.End > int64(size) {
				t.Fatalf("cut at %d it is read up to %d", size, f.End)
			}
		}
	}
}

// TestNoDamageIsReadAsSomethingElse turns each bit of a real file in turn: a
// checksum or the format must notice, or the file must seem to end there.
func TestNoDamageIsReadAsSomethingElse(t *testing.T) {
	whole := file(t, 2)
	full, groups := mustScan(t, whole)
	lengths := make(map[int]bool) // Where an event's length stands: a longer one may reach over the end.
	for at := 4; at < len(whole); {
		for i := 9; i < 13; i++ {
			lengths[at+i] = true
		}
		at += int(binary.LittleEndian.Uint32(whole[at+9:]))
	}
	inUse := 4 + 17
	for i := range whole {
		for _, bit := range []int{0, 1 + i%7} {
			b := bytes.Clone(whole)
			b[i] ^= 1 << bit
			f, got, err := scanned(t, b)
			switch {
			case i == inUse && bit == 0:
				if err != nil || !f.InUse {
					t.Fatalf("the mark of a file in use: %v", err)
				}
			case err != nil:
			case (lengths[i] || int64(i) >= groups[len(groups)-1].Start) && f.End < full.End:
				for n, g := range got {
					if g.Kind != KindTorn && g != groups[n] {
						t.Fatalf("bit %d of byte %d turned: %v", bit, i, g)
					}
				}
			default:
				t.Fatalf("bit %d of byte %d turned, and nobody notices", bit, i)
			}
		}
	}
}

func TestWhatIsNoBinaryLogIsRefused(t *testing.T) {
	third := file(t, 3)
	for name, b := range map[string][]byte{
		"empty":     nil,
		"text":      []byte("hello, this is no binary log"),
		"magic":     third[:4],
		"half":      third[:60],
		"beginning": append(bytes.Clone(third[:4]), third[200:]...),
	} {
		var damage *DamageError
		if _, _, err := scanned(t, b); !errors.As(err, &damage) {
			t.Errorf("%s: %v", name, err)
		}
	}
	encrypted, err := os.ReadFile("testdata/mysql-9.7-encrypted.000001")
	if err != nil {
		t.Fatal(err)
	}
	for n := 4; n <= len(encrypted); n++ { // Torn anywhere, too.
		if _, _, err := scanned(t, encrypted[:n]); !errors.Is(err, ErrEncrypted) {
			t.Fatalf("%d bytes of an encrypted one: %v", n, err)
		}
	}
}

func TestAnErrorOfTheVisitorEndsTheScan(t *testing.T) {
	mine := errors.New("enough")
	if _, err := Scan(bytes.NewReader(file(t, 2)), func(Group) error { return mine }); !errors.Is(err, mine) {
		t.Error(err)
	}
}

// sealed returns an event with its length and checksum set right.
func sealed(event []byte) []byte {
	event = bytes.Clone(event)
	binary.LittleEndian.PutUint32(event[9:], uint32(len(event)))
	at := len(event) - checksumSize
	binary.LittleEndian.PutUint32(event[at:], crc32.ChecksumIEEE(event[:at]))
	return event
}

// TestWhatIsNotKnownIsRefused changes single events of the third file and mends
// their checksums.
func TestWhatIsNotKnownIsRefused(t *testing.T) {
	whole := file(t, 3)
	f, groups := mustScan(t, whole)
	head, last := whole[:f.HeadEnd], whole[groups[1].Start:]
	size := binary.LittleEndian.Uint32(last[9:])
	id, rest := last[:size], last[size:]
	changed := func(event []byte, at int, to byte) []byte {
		event = bytes.Clone(event)
		event[at] = to
		return sealed(event)
	}
	for name, b := range map[string][]byte{
		"two GTIDs":             append(append(append(bytes.Clone(head), id...), id...), rest...),
		"no GTID":               append(bytes.Clone(head), rest...),
		"an anonymous one":      append(append(bytes.Clone(head), changed(id, 4, typeAnonymousGTID)...), rest...),
		"an unknown kind":       append(append(bytes.Clone(head), changed(id, 4, 99)...), rest...),
		"number 0":              append(append(bytes.Clone(head), sealed(append(append(bytes.Clone(id[:36]), 0, 0, 0, 0, 0, 0, 0, 0), id[44:]...))...), rest...),
		"an incident":           append(append(append(bytes.Clone(head), id...), changed(id, 4, 26)...), rest...),
		"an unknown status var": append(append(append(bytes.Clone(head), id...), changed(rest[:binary.LittleEndian.Uint32(rest[9:])], headerSize+13, 77)...), rest[binary.LittleEndian.Uint32(rest[9:]):]...),
	} {
		var damage *DamageError
		if _, got, err := scanned(t, b); !errors.As(err, &damage) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func TestWhatMovesFilesIsNotTakenBack(t *testing.T) {
	for text, want := range map[string]bool{
		"ALTER TABLE t DISCARD TABLESPACE":                                    true,
		"alter table t\n discard partition p0 /* now */ tablespace":           true,
		"ALTER TABLE t IMPORT TABLESPACE":                                     true,
		"ALTER TABLE t TABLESPACE = discarded":                                false,
		"DROP TABLE `t`":                                                      false,
		"CREATE TABLE t (i INT) /*" + strings.Repeat("x", keptQuery/2) + "*/": true,
	} {
		if movesFiles(text) != want {
			t.Errorf("%.60q: not %t", text, want)
		}
		s := &scanner{open: true, visit: func(g Group) error {
			if (g.Kind == KindOther) != want {
				t.Errorf("%.60q is of the kind %s", text, g.Kind)
			}
			return nil
		}}
		if err := s.query(query{text: text, logged: true}); err != nil {
			t.Error(err)
		}
	}
}

// FuzzScan looks for a file that makes the scan fail badly, or whose groups do
// not follow each other.
func FuzzScan(f *testing.F) {
	for n := 1; n <= 3; n++ {
		f.Add(file(f, n))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, groups, err := scanned(t, b)
		at := int64(0)
		for _, g := range groups {
			if g.Start < at || g.End < g.Start || g.End > int64(len(b)) {
				t.Fatalf("%s goes from %d to %d after %d", g.GTID, g.Start, g.End, at)
			}
			at = g.End
		}
		if err == nil && (got.End > int64(len(b)) || got.End < at) {
			t.Fatalf("it ends at %d of %d, after a group that ends at %d", got.End, len(b), at)
		}
	})
}

func TestChosenGroupsAreExtracted(t *testing.T) {
	whole := file(t, 2)
	var out bytes.Buffer
	n, err := Extract(bytes.NewReader(whole), int64(len(whole)), func(g gtid.GTID) bool { return g.Tag != "" || g.N == 7 }, &out)
	if err != nil || n != 2 {
		t.Fatalf("%d groups, %v", n, err)
	}
	if f, _ := mustScan(t, out.Bytes()); f.GTIDs.String() != server+":7:some_tag:1" {
		t.Errorf("extracted %s", f.GTIDs)
	}
	out.Reset()
	if n, err := Extract(bytes.NewReader(whole), int64(len(whole)), func(gtid.GTID) bool { return false }, &out); n != 0 || err != nil || out.Len() > 0 {
		t.Errorf("nothing chosen: %d groups, %d bytes, %v", n, out.Len(), err)
	}
}
