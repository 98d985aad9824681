package integration

import (
	"bytes"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mysqlha/mysqlha/replication/binlog"
	"github.com/mysqlha/mysqlha/replication/gtid"
)

// largeRows of about 64 kB make one transaction of several megabytes.
const largeRows = 60

// TestTheReaderOfBinaryLogsAgreesWithTheServer reads what a server of this version
// has written: all of its transactions, each with the kind that crash recovery
// gives it (S7). Transactions that are larger than any buffer are among them.
func TestTheReaderOfBinaryLogsAgreesWithTheServer(t *testing.T) {
	db := StartMySQL(t)
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() // The server goes with the test.
	noise := make([]byte, 64<<10)
	source := rand.NewChaCha8([32]byte{1})
	_, _ = source.Read(noise) // It never fails.
	one := func(statement string, args ...any) {
		t.Helper()
		if _, err := conn.ExecContext(t.Context(), statement, args...); err != nil {
			t.Fatalf("%.80s: %v", statement, err)
		}
	}
	large := func() {
		one("BEGIN")
		for i := range largeRows {
			one("INSERT INTO kinds.t (x) VALUES (?)", append(noise, byte(i)))
		}
		one("COMMIT")
	}
	for _, statement := range []string{"CREATE DATABASE kinds", "CREATE TABLE kinds.t (id INT AUTO_INCREMENT PRIMARY KEY, x LONGBLOB)",
		"CREATE TABLE kinds.copy AS SELECT * FROM kinds.t", "ALTER TABLE kinds.t ADD COLUMN y INT", "FLUSH BINARY LOGS"} {
		one(statement)
	}
	large()
	one("SET SESSION binlog_transaction_compression = ON")
	large()
	one("INSERT INTO kinds.t (x) VALUES (REPEAT('compressible', 100000))")
	one("SET SESSION binlog_transaction_compression = OFF")
	one("SET GTID_NEXT = 'AUTOMATIC:tag_of_a_name'")
	large()
	one("SET GTID_NEXT = 'AUTOMATIC'")
	for _, statement := range []string{"XA START 'x'", "INSERT INTO kinds.t (y) VALUES (1)", "XA END 'x'", "XA PREPARE 'x'", "XA COMMIT 'x'",
		"FLUSH BINARY LOGS", "UPDATE kinds.t SET y = 2 WHERE y = 1", "FLUSH PRIVILEGES", "DROP TABLE kinds.copy"} {
		one(statement)
	}
	checkFiles(t, conn)
}

func checkFiles(t *testing.T, conn *sql.Conn) {
	t.Helper()
	var index, executed string
	if err := conn.QueryRowContext(t.Context(), "SELECT @@log_bin_index, @@gtid_executed").Scan(&index, &executed); err != nil {
		t.Fatal(err)
	}
	files, err := binlog.List(index, filepath.Dir(index))
	if err != nil || len(files) < 3 {
		t.Fatalf("the binary logs %v: %v", files, err)
	}
	var all gtid.Set
	var kinds []string
	largest, largestFile := binlog.Group{}, ""
	for _, name := range files {
		f, err := binlog.ScanFile(name, func(g binlog.Group) error {
			kinds = append(kinds, string(g.Kind))
			if g.End-g.Start > largest.End-largest.Start {
				largest, largestFile = g, name
			}
			return nil
		})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !f.Previous.Equal(all) {
			t.Errorf("%s begins after %s, those before it hold %s", name, f.Previous, all)
		}
		all = all.Union(f.GTIDs)
	}
	if !all.Equal(gtid.MustParse(executed)) {
		t.Errorf("read %s, the server has executed %s", all, executed)
	}
	// The XA transaction, of two groups, and FLUSH PRIVILEGES are what crash recovery
	// does not take back.
	if n := strings.Count(fmt.Sprint(kinds), string(binlog.KindOther)); n != 3 {
		t.Errorf("%d groups are of no known kind: %v", n, kinds)
	}
	if size := largest.End - largest.Start; size < largeRows*64<<10 {
		t.Fatalf("the largest group has %d bytes", size)
	}
	checkTorn(t, largestFile, largest)
}

// checkTorn cuts a file anywhere in its largest group, which is then not there.
func checkTorn(t *testing.T, name string, g binlog.Group) {
	t.Helper()
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		at := g.Start + 1 + rand.Int64N(g.End-g.Start-1)
		seen := false
		f, err := binlog.Scan(bytes.NewReader(whole[:at]), func(one binlog.Group) error {
			seen = seen || one.GTID == g.GTID && one.Kind != binlog.KindTorn
			return nil
		})
		if err != nil || seen || f.End > at || f.GTIDs.Has(g.GTID) && f.Last.Kind != binlog.KindTorn {
			t.Errorf("cut at %d of %d to %d: whole %t, the last is %+v (%v)", at, g.Start, g.End, seen, f.Last, err)
		}
	}
}
