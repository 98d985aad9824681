package decide

import (
	"time"

	"github.com/mysqlha/mysqlha/replication/gtid"
)

// Kept is a file with transactions that a server had and gave up, so that it
// could come back with the primary's data. It is a binary log file that
// mysqlbinlog can read.
type Kept struct {
	// Name tells it from the server's others, Path is where it is on the host.
	Name string `json:"name"`
	Path string `json:"path"`
	// Way says how they were given up: rewound or cloned.
	Way string `json:"way"`
	// At is when, by the wall clock.
	At time.Time `json:"at"`
	// Term is the term in which they were written, 0 for unknown.
	Term uint64 `json:"term,omitempty"`
	// GTIDs are the transactions, empty for unknown, and Bytes is the file's size.
	GTIDs gtid.Set `json:"gtids"`
	Bytes int64    `json:"bytes"`
}
