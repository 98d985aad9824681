package guard

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication/binlog"
	"github.com/mysqlha/mysqlha/replication/process"
)

// # The start gate
//
// A mysqld that dies as the open primary leaves commits behind that wait for
// their acknowledgement. Its crash recovery would commit them, whether anybody
// was told of them or not. So before such a server starts, the gate asks the
// daemon who is primary now. While the dead one still is, its place may be about
// to be taken: the gate gives that a moment. When another has it, what that one
// lacks is cut off the binary log where this is safe (rewind.go), so that crash
// recovery rolls it back and the server is a replica again.
//
// Whoever was stopped politely, or never open in its last run, has nothing of
// the kind, and starts without asking.

const (
	// askEvery is how often the daemon is asked again, askTimeout bounds one
	// question, tellEvery is how often the waiting is told.
	askEvery   = 100 * time.Millisecond
	askTimeout = 2 * time.Second
	tellEvery  = 10 * time.Second
)

// gateway is what stands before a start.
type gateway struct {
	o Options
	// opened is the last run that was open.
	opened process.Opened
}

// prepare returns when mysqld may start, and the rewind whose crash recovery
// must be judged after that, nil for none.
func prepare(ctx context.Context, o Options) (*process.Rewind, error) {
	if o.Ask == nil {
		return nil, nil
	}
	if pending, err := unfinished(o); pending != nil || err != nil || o.AsIs {
		return pending, err
	}
	opened, dead, err := diedOpen(o)
	if err != nil || !dead {
		return nil, err
	}
	g := &gateway{o: o, opened: opened}
	answer, err := g.ask(ctx)
	if err != nil || answer.Advice == decide.StartNow {
		return nil, err
	}
	return g.rewind(answer)
}

// isCloning tells whether a clone was begun and its daemon has not seen its end:
// the accounts may be the donor's, and nothing here is worth a rewind.
func isCloning(o Options) (bool, error) {
	if o.CloneFile == "" {
		return false, nil
	}
	c, found, err := process.ReadClone(o.CloneFile)
	if err != nil || !found || c.Done {
		return false, err
	}
	// Transactions of its own may have been given up, in this attempt or in one
	// before: their numbers must not come again.
	return true, forgetUUID(o)
}

// diedOpen tells whether the last run of mysqld was open and did not end by a
// polite stop.
func diedOpen(o Options) (process.Opened, bool, error) {
	opened, err := process.ReadOpened(o.TermFile)
	if errors.Is(err, fs.ErrNotExist) || err == nil && opened.Run == "" {
		return opened, false, nil
	}
	if err != nil {
		return opened, false, err
	}
	run, err := process.ReadRunFile(o.RunFile)
	if errors.Is(err, fs.ErrNotExist) || err == nil && run.StartID != opened.Run {
		return opened, false, nil
	}
	if err != nil {
		return opened, false, err
	}
	inUse, err := leftInUse(o, opened)
	return opened, inUse, err
}

// leftInUse tells whether the last binary log of a run says that mysqld has not closed
// it.
func leftInUse(o Options, opened process.Opened) (bool, error) {
	logs, err := binlog.List(opened.LogIndex, o.DataDir)
	if err != nil {
		return false, err
	}
	inUse, err := isInUse(logs[len(logs)-1])
	var damage *binlog.DamageError
	if errors.As(err, &damage) {
		return true, nil // Whoever reads it for good says what is wrong.
	}
	return inUse, err
}

// ask returns the daemon's answer once it is not to wait.
func (g *gateway) ask(ctx context.Context) (decide.StartAnswer, error) {
	begun := time.Now()
	var told time.Time
	for {
		answer, err := g.askOnce(ctx, time.Since(begun))
		if err == nil && answer.Advice != decide.StartWait {
			g.o.Logger.Info("the gate opens", "term", g.opened.Term, "advice", answer.Advice, "reason", answer.Why, "waited", time.Since(begun))
			return answer, nil
		}
		if time.Since(told) > tellEvery {
			told = time.Now()
			why := answer.Why
			if err != nil {
				why = err.Error()
			}
			g.o.Logger.Warn("mysqld died as the open primary and is not started before the daemon says what became of its term; mysqlhad guard --as-is would start it all the same",
				"term", g.opened.Term, "reason", why, "waited", time.Since(begun).Round(time.Millisecond))
		}
		select {
		case <-ctx.Done():
			return decide.StartAnswer{}, fmt.Errorf("mysqld is not started: %w", context.Cause(ctx))
		case <-time.After(askEvery):
		}
	}
}

func (g *gateway) askOnce(ctx context.Context, waited time.Duration) (decide.StartAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return g.o.Ask(ctx, g.opened.Term, waited)
}
