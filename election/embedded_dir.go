package election

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
)

// ErrForeignDir means that a data folder belongs to another cluster or another member.
var ErrForeignDir = errors.New("data folder belongs to another etcd member")

// markerName is the file that says whose the folder is. etcd itself does not look at the token once it has data, and
// would quietly serve another cluster's.
const markerName = "mysqlha-member.json"

// marker is the content of that file.
type marker struct {
	Token string `json:"token"`
	Name  string `json:"name"`
	// Joining says that the member must be let into a running cluster before it starts there, or has not been seen to
	// have come in yet.
	Joining bool `json:"joining,omitempty"`
}

// claimDir makes the folder ours if it is new and refuses it if it is somebody else's.
func claimDir(dir string, want marker) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("create etcd data folder: %w", err)
	}
	path := filepath.Join(dir, markerName)
	content, err := os.ReadFile(path) //nolint:gosec // the operator names the folder
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return markDir(dir, path, want)
	case err != nil:
		return fmt.Errorf("read etcd data folder's marker: %w", err)
	}
	var have marker
	if err := json.Unmarshal(content, &have); err != nil {
		return fmt.Errorf("%w: %s is unreadable: %w", ErrForeignDir, path, err)
	}
	if have.Token != want.Token {
		return fmt.Errorf("%w: %s was made with another cluster token; use another folder, or remove it if that cluster is gone",
			ErrForeignDir, dir)
	}
	if have.Name != want.Name {
		return fmt.Errorf("%w: %s is that of member %q, this one is %q", ErrForeignDir, dir, have.Name, want.Name)
	}
	if have.Joining != want.Joining {
		return writeMarker(path, want)
	}
	return nil
}

// IsJoining tells whether the folder is that of a member that must be let into a running cluster, or was and has not been
// seen to have come in.
func IsJoining(dir string) (bool, error) {
	content, err := os.ReadFile(filepath.Join(dir, markerName)) //nolint:gosec // the operator names the folder
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	var have marker
	if err == nil {
		err = json.Unmarshal(content, &have)
	}
	if err != nil {
		return false, fmt.Errorf("read etcd data folder's marker: %w", err)
	}
	return have.Joining, nil
}

// HasData tells whether a member has been started in the folder.
func HasData(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, "member"))
	return err == nil
}

// DropData removes what an attempt to come into a cluster has left, and keeps the folder ours.
func DropData(dir string) error {
	if err := os.RemoveAll(filepath.Join(dir, "member")); err != nil {
		return fmt.Errorf("drop the data of an etcd member that never came in: %w", err)
	}
	return nil
}

// SetAside renames the data folder of a member that was removed from its cluster, or never came into it, and makes a new
// one for a member that must be let in. It returns the new name of the old one.
func SetAside(dir, token, name string, at time.Time) (string, error) {
	to := dir + ".removed-" + at.UTC().Format("20060102T150405.000")
	err := os.Rename(dir, to)
	if err == nil {
		err = claimDir(dir, marker{Token: token, Name: name, Joining: true})
	}
	if err != nil {
		return "", fmt.Errorf("set the data of a removed etcd member aside: %w", err)
	}
	return to, nil
}

// markDir writes the marker, durably, before etcd writes anything: a crash in between leaves a folder that is ours.
func markDir(dir, path string, want marker) error {
	if _, err := os.Lstat(filepath.Join(dir, "member")); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s holds etcd data but no %s", ErrForeignDir, dir, markerName)
	}
	return writeMarker(path, want)
}

func writeMarker(path string, want marker) error {
	content, err := json.Marshal(want)
	if err != nil {
		return fmt.Errorf("encode etcd data folder's marker: %w", err)
	}
	if err := renameio.WriteFile(path, append(content, '\n'), 0o600); err != nil {
		return fmt.Errorf("mark etcd data folder: %w", err)
	}
	return nil
}
