package sandbox

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

func TestPhasesSplitTheTimeFromTheKillToTheFirstWrite(t *testing.T) {
	killed := time.Now()
	at := func(ms int) time.Time { return killed.Add(time.Duration(ms) * time.Millisecond) }
	marks := func(done int) []decide.Mark {
		return []decide.Mark{{Name: "revoke", At: at(10)}, {Name: "promote", At: at(30)}, {Name: "open", At: at(60)}, {Name: "done", At: at(done)}}
	}
	ms := time.Millisecond
	for name, c := range map[string]struct {
		marks []decide.Mark
		acked int
		want  []Phase
	}{
		"each mark ends a phase": {marks(80), 100,
			[]Phase{{PhaseDetect, 10 * ms}, {PhaseRevoke, 20 * ms}, {PhasePromote, 30 * ms}, {PhaseOpen, 20 * ms}, {PhaseFirst, 20 * ms}}},
		"a write may come before the plan has ended": {marks(120), 100,
			[]Phase{{PhaseDetect, 10 * ms}, {PhaseRevoke, 20 * ms}, {PhasePromote, 30 * ms}, {PhaseOpen, 40 * ms}, {PhaseFirst, 0}}},
		"without marks all is detection": {nil, 100, []Phase{{PhaseDetect, 100 * ms}}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, phasesOf(killed, c.marks, at(c.acked))); diff != "" {
				t.Errorf("phases (-want +got):\n%s", diff)
			}
		})
	}
}
