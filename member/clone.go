package member

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication"
	"github.com/mysqlha/mysqlha/replication/binlog"
	"github.com/mysqlha/mysqlha/replication/process"
)

const (
	// progressPoll is how often it is looked how far a clone is.
	progressPoll = 500 * time.Millisecond
	// cloneEndDeadline bounds what is left to do after a clone's restart.
	cloneEndDeadline = 10 * time.Second
)

// clone makes this server a copy of the donor. mysqld restarts at the end, so
// the same spec is carried out again in the next run, which finds the note of the
// first and finishes.
func (w *worker) clone(ctx context.Context) error {
	note, found, err := process.ReadClone(w.m.o.CloneFile)
	if err != nil {
		return err
	}
	mine, pending := found && note.Plan == w.spec.Plan, found && !note.Done
	if mine && note.Done {
		return w.readHeld(ctx)
	}
	state, err := w.local().CloneState(ctx)
	if err != nil {
		return err
	}
	if mine && note.Run != w.proc.StartID {
		if state.Completed && state.Begun != note.Before {
			return w.step("finish_clone", func() error { return w.finishClone(ctx, note) })
		}
		w.log.Error("the clone did not end well and is made again", "donor", note.Donor, "problem", state.Problem)
	}
	if err := w.harmless(ctx); err != nil {
		return err
	}
	if err := w.local().SetReplicaAcks(ctx, false); err != nil {
		return err
	}
	next := process.Clone{Plan: w.spec.Plan, Donor: w.spec.Source, Run: w.proc.StartID, At: time.Now().UTC(), Before: state.Begun}
	if pending {
		next.Kept = note.Kept // Of an attempt that has dropped the data, perhaps.
	} else if err := w.mayBeReplaced(ctx); err != nil {
		return err
	}
	if !w.spec.Errant.IsEmpty() && next.Kept == "" {
		if next.Kept, err = w.keepGivenUp(next.At); err != nil {
			return err
		}
	}
	if err := process.WriteClone(w.m.o.CloneFile, next); err != nil {
		return err
	}
	w.log.Warn("this server is being built anew", "donor", w.spec.Source, "given_up", w.spec.Errant, "kept", next.Kept)
	return w.step("clone", func() error { return w.copyFrom(ctx) })
}

// containsPatience is how long a donor may take to have what this server has.
const containsPatience = 5 * time.Second

// mayBeReplaced makes sure, at the last moment, that nothing is lost but what the
// leader has judged: the spec may be old, and somebody may have written since.
func (w *worker) mayBeReplaced(ctx context.Context) error {
	patience, cancel := context.WithTimeout(ctx, containsPatience)
	defer cancel()
	for {
		held, err := w.local().Held(ctx)
		if err != nil {
			return err
		}
		there, err := w.m.o.Executed(ctx, w.spec.Source)
		if err != nil {
			return err
		}
		beyond := held.All().Subtract(there).Subtract(w.spec.Errant)
		if beyond.IsEmpty() {
			return nil
		}
		if wait(patience, progressPoll) != nil {
			return &refusal{decide.CodeDiverged, fmt.Sprintf("%s has what %s does not have and nobody has judged: %s", w.m.o.Server, w.spec.Source, beyond)}
		}
	}
}

// copyFrom has mysqld copy the donor and follows how far it is.
func (w *worker) copyFrom(ctx context.Context) error {
	a, err := w.m.address(w.spec.Source)
	if err != nil {
		return err
	}
	watching, unwatch := context.WithCancel(ctx)
	defer unwatch()
	with, err := w.m.login(ctx)
	if err != nil {
		return err
	}
	done := make(chan struct{})
	go func() { defer close(done); w.watchClone(watching) }()
	err = w.local().Clone(ctx, replication.Donor{Host: a.Host, Port: a.Port, User: replication.CloneUser(w.m.o.Server), Password: with.password,
		CAFile: w.m.o.Replication.CAFile, CertFile: with.cert, KeyFile: with.key})
	unwatch()
	<-done
	if err == nil {
		err = errors.New("the clone is here; waiting for mysqld's restart")
	}
	return err
}

func (w *worker) watchClone(ctx context.Context) {
	defer w.m.cloning.Store(nil)
	begun := time.Now()
	for wait(ctx, progressPoll) == nil {
		p, err := w.local().CloneProgress(ctx)
		if err == nil {
			p.For = time.Since(begun)
			w.m.cloning.Store(&p)
		}
	}
}

// finishClone makes the copy a server of its own.
func (w *worker) finishClone(ctx context.Context, note process.Clone) error {
	ctx, cancel := context.WithTimeout(ctx, cloneEndDeadline)
	defer cancel()
	if err := w.harmless(ctx); err != nil {
		return err
	}
	if err := w.local().ForgetSource(ctx); err != nil {
		return err
	}
	// What stood in the way of the data that is gone.
	if err := os.Remove(w.m.o.RewindFile); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("after the clone: %w", err)
	}
	if err := w.readHeld(ctx); err != nil {
		return err
	}
	note.Done = true
	if err := process.WriteClone(w.m.o.CloneFile, note); err != nil {
		return err
	}
	w.m.lookAtNotes()
	took := time.Since(note.At)
	if w.m.o.Events != nil {
		w.m.o.Events.Rejoined(WayCloned)
		w.m.o.Events.Cloned(took)
	}
	w.log.Info("this server was built anew", "donor", note.Donor, "took", took.Round(time.Millisecond), "kept", note.Kept)
	return nil
}

// keepGivenUp copies, out of the binary logs that are about to be replaced, the
// transactions that nobody else has, so that nothing that anybody wrote is gone
// without a trace. It returns the folder.
func (w *worker) keepGivenUp(at time.Time) (string, error) {
	logs, err := binlog.List(w.logIndex, w.m.o.ServerDataDir)
	if err != nil {
		return "", fmt.Errorf("keep what is given up: %w", err)
	}
	folder := filepath.Join(w.m.o.DataDir, replacedPrefix+at.Format(replacedTime))
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", fmt.Errorf("keep what is given up: %w", err)
	}
	kept := 0
	for _, log := range logs {
		to := filepath.Join(folder, filepath.Base(log))
		n, err := binlog.ExtractFile(log, w.spec.Errant.Has, to)
		var damage *binlog.DamageError
		if errors.Is(err, binlog.ErrEncrypted) || errors.As(err, &damage) {
			w.log.Warn("a binary log cannot be read and is kept whole", "reason", err)
			err = copyFile(log, to)
		}
		if err != nil {
			return "", errors.Join(fmt.Errorf("keep what is given up: %w", err), os.RemoveAll(folder))
		}
		kept += n
	}
	if uint64(kept) < w.spec.Errant.Count() {
		w.log.Warn("not all that is given up stands in the binary logs", "kept", kept, "given_up", w.spec.Errant.Count())
	}
	return folder, nil
}

// copyFile copies a file to a new one, synced.
func copyFile(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close() // It was only read.
	target, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	return errors.Join(err, target.Sync(), target.Close())
}
