package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// Clone is what the daemon durably notes of a clone, before it begins: from then
// on and until it has ended well the server's data is nobody's, and the accounts
// may be the donor's.
type Clone struct {
	// Plan names the attempt, Donor whom it copies.
	Plan  string `json:"plan"`
	Donor string `json:"donor"`
	// Run is the run of mysqld that received it; the next one is the copy.
	Run string `json:"run"`
	// Before is the clone that the server knew of when this one was noted: while it
	// knows of no other, this one has not begun.
	Before string `json:"before,omitempty"`
	// Done says that the copy is complete and the server its own again.
	Done bool `json:"done"`
	// Kept is where the binary logs are kept that held what was given up.
	Kept string `json:"kept,omitempty"`
	// At is when it began, by the wall clock.
	At time.Time `json:"at"`
}

// WriteClone replaces the file at path in one step, synced.
func WriteClone(path string, c Clone) error { return writeNote(path, c, "the clone") }

// ReadClone reads the file at path; found is false where there is none.
func ReadClone(path string) (c Clone, found bool, err error) {
	found, err = readNote(path, &c, "the clone")
	return c, found, err
}

// writeNote replaces a file with JSON in one step, synced.
func writeNote(path string, note any, of string) error {
	text, err := json.MarshalIndent(note, "", "  ")
	if err == nil {
		err = WriteDurable(path, append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("write the note of %s: %w", of, err)
	}
	return nil
}

// readNote reads what writeNote wrote; found is false where there is no file.
func readNote(path string, note any, of string) (found bool, err error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		err = json.Unmarshal(text, note)
	}
	if err != nil {
		return false, fmt.Errorf("read the note of %s, %s: %w", of, path, err)
	}
	return true, nil
}
