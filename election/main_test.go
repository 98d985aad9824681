package election

import (
	"testing"

	"go.uber.org/goleak"
)

// TestMain finds goroutines that outlive their owner. Connections between etcd members are not ours: etcd gives them a
// second at its end and leaves the rest to their read time-outs.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
		goleak.IgnoreAnyFunction("net/http.(*conn).serve"),
		goleak.IgnoreAnyFunction("net/http.(*connReader).backgroundRead"),
	)
}
