package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// othersMayRead are the permission bits that a secret must not have.
const othersMayRead fs.FileMode = 0o077

// ReadSecret returns the content of a file that its owner alone may read,
// without a newline at its end. It fails when the file is missing, empty or
// open to others, even if it was closed to them at Load.
func ReadSecret(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("reading a secret: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("reading a secret: %w", err)
	}
	if info.Mode().Perm()&othersMayRead != 0 {
		return "", fmt.Errorf("reading a secret: %s has mode %04o: chmod 0600 it", path, info.Mode().Perm())
	}
	data, err := io.ReadAll(io.LimitReader(f, largest))
	if err != nil {
		return "", fmt.Errorf("reading a secret: %w", err)
	}
	secret := strings.TrimRight(string(data), "\r\n")
	if secret == "" {
		return "", fmt.Errorf("reading a secret: %s is empty", path)
	}
	return secret, nil
}

// checkFile checks that a file is there and can be read.
func (r *reader) checkFile(path, file string) (fs.FileInfo, bool) {
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.fault(path, "names "+quoted(file)+", which does not exist", "create the file or name another")
	case err != nil:
		r.fault(path, "names "+quoted(file)+", which cannot be read: "+reason(err), "let the daemon's user read it")
	case !info.Mode().IsRegular():
		r.fault(path, "names "+quoted(file)+", which is not a file", "name a file")
	default:
		return info, r.opens(path, file)
	}
	return nil, false
}

func (r *reader) opens(path, file string) bool {
	f, err := os.Open(file)
	if err != nil {
		r.fault(path, "names "+quoted(file)+", which cannot be read: "+reason(err), "let the daemon's user read it")
		return false
	}
	f.Close()
	return true
}

// checkSecret checks a file that only its owner may read. One that need not
// exist may be absent: the daemon makes it.
func (r *reader) checkSecret(path, file string, mustExist bool) {
	if !mustExist {
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			return
		}
	}
	info, there := r.checkFile(path, file)
	if there && info.Mode().Perm()&othersMayRead != 0 {
		r.fault(path, fmt.Sprintf("names %s, which others may read or change (mode %04o)", quoted(file), info.Mode().Perm()), "chmod 0600 it")
	}
}

// checkFolder refuses a folder that is something else; one that is missing is
// made by whoever needs it.
func (r *reader) checkFolder(path, folder string) {
	if !r.sound(path) {
		return
	}
	if info, err := os.Stat(folder); err == nil && !info.IsDir() {
		r.fault(path, "names "+shown(folder)+", which is not a folder", "name a folder")
	}
}
