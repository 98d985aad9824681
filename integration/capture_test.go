//go:build security || reference

package integration

import (
	"context"
	"testing"

	"github.com/mysqlha/mysqlha/deploy/reference/capture"
)

// marker is what clients write and nobody may read on a wire.
const marker = "MARKER-0b5e12b6-that-only-the-ends-may-read"

// wiretap is a capture on every link of a network, for a test.
type wiretap struct {
	t       *testing.T
	capture *capture.Capture
}

// startCapture begins on all links of the network of that name, which are so many at least.
func startCapture(t *testing.T, network string, least int) wiretap {
	t.Helper()
	// Not the test's own context, whose end would kill tcpdump before it has written all.
	c, err := capture.Start(context.Background(), network, t.TempDir(), least)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	return wiretap{t, c}
}

// read reads what was captured so far.
func (w wiretap) read() *capture.Seen {
	w.t.Helper()
	files, err := w.capture.Files()
	if err != nil {
		w.t.Fatal(err)
	}
	seen, err := capture.Read(files, []byte(marker))
	if err != nil {
		w.t.Fatal(err)
	}
	return seen
}

// stop ends the capture and reads it.
func (w wiretap) stop() *capture.Seen {
	w.t.Helper()
	w.capture.Stop()
	return w.read()
}
