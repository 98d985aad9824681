package member

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestADataDirectoryIsMeasured(t *testing.T) {
	dir := t.TempDir()
	for name, size := range map[string]int{"ibdata1": 300 << 10, "app/t.ibd": 200 << 10, "binlog.000007": 90 << 10, "relay-bin.123456": 10 << 10} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		file, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		_, err = file.Write(bytes.Repeat([]byte{1}, size))
		if err == nil {
			err = file.Sync() // Until then it may take no room yet.
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
	}
	disk, err := measure(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	near := func(what string, got, want uint64) {
		t.Helper()
		if got < want || got > want+64<<10 { // The file system rounds up.
			t.Errorf("%s take %d bytes, not about %d", what, got, want)
		}
	}
	near("data", disk.Data, 500<<10)
	near("logs", disk.Logs, 100<<10)
	if room, err := free(dir); err != nil || room == 0 {
		t.Errorf("%d bytes are free, %v", room, err)
	}
	if _, err := measure(t.Context(), filepath.Join(dir, "none")); err == nil {
		t.Error("a folder that is not there was measured")
	}
}
