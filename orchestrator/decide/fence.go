package decide

import (
	"slices"
	"time"
)

// FenceTest is what a test of one server's fence has shown.
type FenceTest struct {
	// Server was fenced.
	Server string `json:"server"`
	// Stages are those of the fence in their order, and the undoing.
	Stages []FenceStage `json:"stages"`
	// Closed is how long it took until the server was proven to take no writes and
	// to have no clients; 0 where that was not proven.
	Closed time.Duration `json:"closed_ns"`
	// Killed says that mysqld was killed and its death confirmed.
	Killed bool `json:"killed"`
}

// FenceStage is one stage of a fence.
type FenceStage struct {
	// Name is that of the stage: offline_mode, kill_clients, super_read_only,
	// prove, kill, ended (before its end), undo.
	Name string `json:"name"`
	// Took is how long it took, Error why it failed, empty for a success.
	Took  time.Duration `json:"took_ns"`
	Error string        `json:"error,omitempty"`
}

// Failed tells whether any stage failed.
func (f FenceTest) Failed() bool {
	return slices.ContainsFunc(f.Stages, func(s FenceStage) bool { return s.Error != "" })
}
