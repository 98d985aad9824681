package process

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// WriteDurable replaces a file in one step, and returns once the file and its
// name would survive the loss of power. Only its owner may read it.
func WriteDurable(path string, text []byte) error {
	if err := renameio.WriteFile(path, text, 0o600, renameio.WithStaticPermissions(0o600)); err != nil {
		return err
	}
	return SyncFolder(path)
}

// SyncFolder makes the making, renaming or removal of a file durable.
func SyncFolder(file string) error {
	folder, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
