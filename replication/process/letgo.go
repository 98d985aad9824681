package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// LetGo is what the gate notes of a mysqld that stopped politely without having
// been asked by it: by the statement SHUTDOWN, or a signal from elsewhere. Its
// commits that waited for replicas may have been answered OK (S10).
type LetGo struct {
	// StartID is the run that ended, At when.
	StartID string    `json:"start_id"`
	At      time.Time `json:"at"`
}

// WriteLetGo replaces the file at path durably.
func WriteLetGo(path string, l LetGo) error {
	text, err := json.Marshal(l)
	if err == nil {
		err = WriteDurable(path, text)
	}
	if err != nil {
		return fmt.Errorf("note that mysqld was stopped past its gate: %w", err)
	}
	return nil
}

// ReadLetGo reads the file at path, and whether there is one.
func ReadLetGo(path string) (l LetGo, found bool, err error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return l, false, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &l)
	}
	if err != nil {
		return l, false, fmt.Errorf("read whether mysqld was stopped past its gate, %s: %w", path, err)
	}
	return l, true, nil
}
