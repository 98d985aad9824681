package process

import (
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// Closed is what the gate leaves for the daemon: that it closed mysqld while the
// daemon did not.
type Closed struct {
	// StartID is the run that was closed.
	StartID string `json:"start_id"`
	// Took is how long closing it took, SinceProof the time from the last proof
	// that it was current until it was closed.
	Took       time.Duration `json:"took_ns"`
	SinceProof time.Duration `json:"since_proof_ns"`
}

// WriteClosed replaces the file at path in one step. It is not synced: it is for
// metrics alone.
func WriteClosed(path string, c Closed) error { return replace(path, c) }

// TakeClosed reads the file at path and removes it, so that it is counted once.
// The error wraps [fs.ErrNotExist] where the gate has closed nothing since.
func TakeClosed(path string) (Closed, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Closed{}, fmt.Errorf("read what the gate closed: %w", err)
	}
	var c Closed
	if err := os.Remove(path); err != nil {
		return Closed{}, fmt.Errorf("take what the gate closed: %w", err)
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return Closed{}, fmt.Errorf("read what the gate closed, %s: %w", path, err)
	}
	return c, nil
}
