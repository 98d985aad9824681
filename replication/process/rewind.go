package process

import (
	"time"

	"github.com/mysqlha/mysqlha/replication/gtid"
)

// RewindState is how far a rewind has come.
type RewindState string

// The states.
const (
	// RewindRefused: the binary log is as it was, and the server will hold what
	// the primary does not.
	RewindRefused RewindState = "refused"
	// RewindCutting: the end of the binary log is about to be cut off, or was.
	RewindCutting RewindState = "cutting"
	// RewindStarted: mysqld runs, and its crash recovery was not judged yet.
	RewindStarted RewindState = "started"
	// RewindVerified: the engine has rolled back what was cut off.
	RewindVerified RewindState = "verified"
	// RewindFailed: it has not, so the server's data is not what its GTIDs say.
	RewindFailed RewindState = "failed"
)

// Rewind is what the gate did with the end of a dead primary's binary log, or
// why it did nothing. It stands in a file of the daemon's folder, and beside
// what was kept.
type Rewind struct {
	// State is how far it has come, Why the reason for a refusal or a failure, or
	// else for the rewind.
	State RewindState `json:"state"`
	Why   string      `json:"why"`
	// At is when it was decided, by the wall clock.
	At time.Time `json:"at"`
	// Term is the term in which the dead run was open, Run that run.
	Term uint64 `json:"term"`
	Run  string `json:"run"`
	// GTIDs are what the primary does not have, Holds what it does.
	GTIDs gtid.Set `json:"gtids"`
	Holds gtid.Set `json:"holds"`
	// Log is the file that was cut at Position, which had Size bytes.
	Log      string `json:"log,omitempty"`
	Position int64  `json:"position,omitempty"`
	Size     int64  `json:"size,omitempty"`
	// Kept is where what was cut off is kept, readable by mysqlbinlog, and SHA256
	// that file's checksum.
	Kept   string `json:"kept,omitempty"`
	SHA256 string `json:"sha256,omitempty"`
	// Prepared is how many transactions the engine must roll back, RolledBack how
	// many it did.
	Prepared   int `json:"prepared,omitempty"`
	RolledBack int `json:"rolled_back,omitempty"`
	// StartID is the run of mysqld after it.
	StartID string `json:"start_id,omitempty"`
}

// WriteRewind replaces the file at path in one step, synced.
func WriteRewind(path string, r Rewind) error { return writeNote(path, r, "the rewind") }

// ReadRewind reads the file at path; found is false where there is none.
func ReadRewind(path string) (r Rewind, found bool, err error) {
	found, err = readNote(path, &r, "the rewind")
	return r, found, err
}
