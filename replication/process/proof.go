package process

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Proof is what the daemon tells the gate: when the run of mysqld was last
// proven to be the primary of the newest term (S9).
type Proof struct {
	// StartID is the run that it speaks of.
	StartID string `json:"start_id"`
	// Open says that the daemon has opened it for writes.
	Open bool `json:"open"`
	// Alone says that it acknowledges without replicas, so that nothing but its
	// end stops it.
	Alone bool `json:"alone,omitempty"`
	// At is the moment of the proof, as time since boot.
	At time.Duration `json:"at_ns"`
}

// Age returns how long ago the proof was.
func (p Proof) Age() time.Duration { return BootTime() - p.At }

// BootTime returns the time since the machine was booted, sleep included. It is
// the same for all processes.
func BootTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic(err) // Linux has had this clock since 2.6.39.
	}
	return time.Duration(t.Nano())
}

// WriteProof replaces the file at path in one step. It is not synced: after a
// crash of the machine no run is left that it could speak of.
func WriteProof(path string, p Proof) error { return replace(path, p) }

// replace replaces the file at path in one step, without syncing it.
func replace(path string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	next := path + ".new"
	if err := os.WriteFile(next, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(next, path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// ReadProof reads the file at path. The error wraps [fs.ErrNotExist] where no
// daemon has ever opened a server here.
func ReadProof(path string) (Proof, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Proof{}, fmt.Errorf("read the proof: %w", err)
	}
	var p Proof
	if err := json.Unmarshal(text, &p); err != nil {
		return Proof{}, fmt.Errorf("read the proof %s: %w", path, err)
	}
	return p, nil
}
