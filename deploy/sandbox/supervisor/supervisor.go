// Package supervisor owns the processes of a sandbox: it starts them, starts
// again whatever ends, as systemd would with Restart=always, and stops all of
// them in stages. It knows nothing of what they are. The sandbox's commands
// import it; it imports deploy/sandbox/process only.
//
// Goroutines: Run owns the state and one runner for each program. A runner owns
// one more for each life of its program, locked to its thread, because the
// kernel ties a child's death signal to the thread that started it. Run waits
// for all of them before it returns.
package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/google/renameio/v2"

	"github.com/mysqlha/mysqlha/deploy/sandbox/process"
)

// Program is one program to keep running.
type Program struct {
	// Name is unique among the programs of a spec.
	Name string `json:"name"`
	// Args are the path of the program and its arguments.
	Args []string `json:"args"`
	// Log is the file that its output is appended to.
	Log string `json:"log"`
	// Stage orders the stopping: all of a lower stage are gone before a higher
	// one is asked to stop.
	Stage int `json:"stage"`
	// StopDeadline is how long it has to end after SIGTERM before SIGKILL.
	StopDeadline time.Duration `json:"stop_deadline_ns"`
	// Group has whatever the program has started killed when it ends, however it ends, as
	// systemd does: workers of one that was killed would keep its ports.
	Group bool `json:"group,omitempty"`
	// ChildFile, if set, holds the identity of a process that the program
	// started (see process.Read). It is killed if it outlives the program at the
	// stop; a restart leaves it to the program.
	ChildFile string `json:"child_file,omitempty"`
}

// Spec says what to run.
type Spec struct {
	// Programs are started all at once.
	Programs []Program `json:"programs"`
	// RestartDelay is the time between a program's end and its next start.
	RestartDelay time.Duration `json:"restart_delay_ns"`
	// ReportFile is where Run writes its Report at every change.
	ReportFile string `json:"report_file"`
}

// State is what a program does.
type State string

// The states of a program.
const (
	// StateRunning has a process.
	StateRunning State = "running"
	// StateWaiting has ended and starts again after the delay.
	StateWaiting State = "waiting"
	// StateStopped has ended for good.
	StateStopped State = "stopped"
)

// Status is what the supervisor knows of one program.
type Status struct {
	// Name is the program's.
	Name string `json:"name"`
	// State is what it does, Since when.
	State State     `json:"state"`
	Since time.Time `json:"since"`
	// Identity is its process while it runs.
	process.Identity
	// Starts counts how often it was started.
	Starts int `json:"starts"`
	// LastExit says how its process ended last, empty if none did.
	LastExit string `json:"last_exit,omitempty"`
}

// Report is what the supervisor knows of all programs, in the order of the spec.
type Report struct {
	// Supervisor is the supervisor's own process.
	Supervisor process.Identity `json:"supervisor"`
	// Programs are the programs.
	Programs []Status `json:"programs"`
}

// Find returns the status of the program of that name, and whether there is one.
func (r Report) Find(name string) (Status, bool) {
	i := slices.IndexFunc(r.Programs, func(s Status) bool { return s.Name == name })
	if i < 0 {
		return Status{}, false
	}
	return r.Programs[i], true
}

// ReadReport returns the report that Run wrote last. The error wraps
// fs.ErrNotExist while there is none.
func ReadReport(file string) (Report, error) {
	var r Report
	if err := readJSON(file, &r); err != nil {
		return Report{}, fmt.Errorf("reading the supervisor's report: %w", err)
	}
	return r, nil
}

// WriteSpec writes a spec for ReadSpec, readable by its owner alone.
func WriteSpec(file string, spec Spec) error {
	if err := writeJSON(file, spec); err != nil {
		return fmt.Errorf("writing the supervisor's programs: %w", err)
	}
	return nil
}

// ReadSpec returns a spec that WriteSpec has written.
func ReadSpec(file string) (Spec, error) {
	var spec Spec
	if err := readJSON(file, &spec); err != nil {
		return Spec{}, fmt.Errorf("reading the supervisor's programs: %w", err)
	}
	return spec, nil
}

// Run keeps the programs running until ctx ends, then stops them stage by stage
// and returns nil. It returns an error, with nothing left running, only when
// its report cannot be written: without one nobody could see or stop anything.
func Run(ctx context.Context, spec Spec, logger *slog.Logger) error {
	self, err := process.Of(os.Getpid())
	if err != nil {
		return fmt.Errorf("supervising: %w", err)
	}
	report := Report{Supervisor: self, Programs: make([]Status, len(spec.Programs))}
	updates := make(chan update)
	runners := make([]*runner, len(spec.Programs))
	for i, p := range spec.Programs {
		report.Programs[i] = Status{Name: p.Name, State: StateWaiting, Since: time.Now()}
		runners[i] = newRunner(i, p, spec.RestartDelay, updates, logger.With("program", p.Name))
		go runners[i].run()
	}
	failed := writeJSON(spec.ReportFile, report)
	stopped := make(chan struct{})
	stopping := false
	for {
		if !stopping && (ctx.Err() != nil || failed != nil) {
			stopping = true
			go func() { defer close(stopped); stopStages(runners) }()
		}
		asked := ctx.Done()
		if stopping {
			asked = nil
		}
		select {
		case <-asked:
		case u := <-updates:
			report.Programs[u.index] = u.status
			failed = errors.Join(failed, writeJSON(spec.ReportFile, report))
		case <-stopped:
			if failed != nil {
				return fmt.Errorf("writing the supervisor's report: %w", failed)
			}
			return nil
		}
	}
}

// stopStages stops all programs, those of the lowest stage first.
func stopStages(runners []*runner) {
	ordered := slices.Clone(runners)
	slices.SortStableFunc(ordered, func(a, b *runner) int { return a.program.Stage - b.program.Stage })
	for len(ordered) > 0 {
		n := 0
		for n < len(ordered) && ordered[n].program.Stage == ordered[0].program.Stage {
			close(ordered[n].stop)
			n++
		}
		for _, r := range ordered[:n] {
			<-r.done
		}
		ordered = ordered[n:]
	}
}

func writeJSON(file string, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	return renameio.WriteFile(file, append(data, '\n'), 0o600)
}

func readJSON(file string, into any) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}
