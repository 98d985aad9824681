package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"

	"github.com/google/renameio/v2"

	"github.com/mysqlha/mysqlha/config"
)

// secret returns the password in the file, and makes one where there is none.
// It never leaves this host: others get its hash.
func secret(path string) (string, error) {
	have, err := config.ReadSecret(path)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return have, err
	}
	made := rand.Text()
	if err := renameio.WriteFile(path, []byte(made+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("keep a new password: %w", err)
	}
	return made, nil
}
