package process

import (
	"encoding/json"
	"fmt"
	"os"
)

// Opened is what the daemon durably notes before a run of mysqld makes its first
// commit in a term and opens, and what the gate must know of a dead one. It is
// part of the daemon's term file.
type Opened struct {
	// Term was opened in the run Run of mysqld.
	Term uint64 `json:"opened_term,omitempty"`
	Run  string `json:"opened_run,omitempty"`
	// ServerUUID names the server in its own transactions, and LogIndex is the
	// file that lists its binary logs.
	ServerUUID string `json:"opened_server_uuid,omitempty"`
	LogIndex   string `json:"opened_log_index,omitempty"`
	// Fit says that all required variables were right.
	Fit bool `json:"opened_fit,omitempty"`
	// Weakened says that the server was found not to wait for replicas, and has
	// not proved since that they have everything.
	Weakened bool `json:"weakened,omitempty"`
}

// ReadOpened reads it from the daemon's term file at path. The error wraps
// [fs.ErrNotExist] where no daemon has ever seen a term here.
func ReadOpened(path string) (Opened, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Opened{}, fmt.Errorf("read the term file: %w", err)
	}
	var o Opened
	if err := json.Unmarshal(text, &o); err != nil {
		return Opened{}, fmt.Errorf("read the term file %s: %w", path, err)
	}
	return o, nil
}
