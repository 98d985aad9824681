package guard

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication/binlog"
	"github.com/mysqlha/mysqlha/replication/gtid"
	"github.com/mysqlha/mysqlha/replication/process"
)

// # Why a rewind is safe
//
// With the wait point AFTER_SYNC a transaction stands in the binary log and is
// only prepared in the engine while it waits for its acknowledgement. Crash
// recovery commits what is prepared and stands in the last binary log file, and
// rolls back what is prepared and does not. So cutting the file before the first
// transaction that the new primary lacks takes back that one and all after it.
//
// It would corrupt the data silently where the engine had committed one of them.
// So all of this must hold:
//
//   - no term since was opened without what its predecessor could have committed
//     (S6), and this server always waited for replicas in its own;
//   - its required variables were right when it was opened;
//   - mysqld has not run since it died: the last file is marked in use, and the
//     last run is the one that was open;
//   - what the new primary lacks stands in the last file, with nothing of the new
//     primary's after it, and not in an earlier one: replicas receive the files in
//     order, so whatever stands before something that this server wrote and the
//     new primary holds, that one holds as well; the files are read back to there;
//   - each such group is the server's own, and the engine knows it by an XID.
//
// Afterwards mysqld's own report of its crash recovery must agree (verify.go).

// errHead ends a scan after the first group.
var errHead = errors.New("enough")

func isInUse(path string) (bool, error) {
	f, err := binlog.ScanFile(path, func(binlog.Group) error { return errHead })
	if errors.Is(err, errHead) {
		err = nil
	}
	return f.InUse, err
}

// tail is what the binary logs hold and the primary lacks.
type tail struct {
	unknown gtid.Set
	// files is how many files were read.
	files int
	// log is the last file, headEnd where its groups begin, position where the
	// first unknown one does.
	log      string
	headEnd  int64
	position int64
	// prepared counts the groups that crash recovery must roll back.
	prepared int
	// against are the reasons why it must not be cut off.
	against []string
}

func (t *tail) object(format string, args ...any) {
	t.against = append(t.against, fmt.Sprintf(format, args...))
}

// readTail compares the last file with what the primary holds, and those before
// it back to one in which the primary holds something that this server wrote.
func readTail(logs []string, holds gtid.Set, uuid string) *tail {
	t := &tail{log: logs[len(logs)-1]}
	for i := len(logs) - 1; i >= 0; i-- {
		last, shared := i == len(logs)-1, false
		f, err := binlog.ScanFile(logs[i], func(g binlog.Group) error {
			shared = shared || g.GTID.UUID == uuid && holds.Has(g.GTID)
			if last {
				t.group(g, holds, uuid)
			}
			return nil
		})
		t.files++
		if err != nil {
			t.object("%v", err)
		}
		here, before := f.GTIDs.Subtract(holds), f.Previous.Subtract(holds)
		t.unknown = t.unknown.Union(here).Union(before)
		switch {
		case last:
			t.headEnd = f.HeadEnd
			if !f.InUse {
				t.object("%s was closed: mysqld has ended by itself or has run since", filepath.Base(logs[i]))
			}
		case !here.IsEmpty():
			t.object("%s stand in %s, which is not the last file: mysqld has committed them", here, filepath.Base(logs[i]))
		}
		if !before.IsEmpty() {
			t.object("%s stand before %s: mysqld has committed them", before, filepath.Base(logs[i]))
		}
		if shared && err == nil {
			break
		}
	}
	return t
}

// group looks at one group of the last file.
func (t *tail) group(g binlog.Group, holds gtid.Set, uuid string) {
	known := holds.Has(g.GTID)
	switch {
	case known && t.position == 0:
		return
	case known:
		t.object("%s is known and stands after one that is not", g.GTID)
	case g.Kind == binlog.KindTorn: // Crash recovery cuts it off as well.
	case g.GTID.UUID != uuid:
		t.object("%s was not written here: a replica commits what it receives at once", g.GTID)
	case g.Kind == binlog.KindTransaction || g.Kind == binlog.KindStatement:
		t.prepared++
	default:
		t.object("%s is %s: its effects may have come at once", g.GTID, g.What)
	}
	if t.position == 0 {
		t.position = g.Start
	}
}

// rewind cuts off what the new primary lacks, or notes why it must not.
func (g *gateway) rewind(answer decide.StartAnswer) (*process.Rewind, error) {
	logs, err := binlog.List(g.opened.LogIndex, g.o.DataDir)
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	t := readTail(logs, answer.Holds, g.opened.ServerUUID)
	r := process.Rewind{State: process.RewindRefused, At: time.Now().UTC(), Term: g.opened.Term, Run: g.opened.Run, GTIDs: t.unknown, Holds: answer.Holds}
	if t.unknown.IsEmpty() && len(t.against) == 0 {
		g.o.Logger.Info("nothing to rewind: the primary holds all that this server has", "primary", answer.Primary, "term", answer.Term, "files", t.files, "after", time.Since(begun))
		return nil, nil
	}
	if answer.Forbidden != "" {
		t.object("%s", answer.Forbidden)
	}
	if answer.Holds.IsEmpty() {
		t.object("what the primary holds is not known")
	}
	if !answer.Complete {
		t.object("a term since was opened without all that its predecessor could have committed")
	}
	if g.opened.Weakened {
		t.object("this server acknowledged without replicas")
	}
	if !g.opened.Fit {
		t.object("its required variables were not right when it was opened")
	}
	if len(t.against) > 0 {
		r.Why = strings.Join(t.against, "; ")
		g.o.Logger.Error("the binary log is not rewound", "transactions", t.unknown, "primary", answer.Primary, "term", answer.Term, "reason", r.Why)
		return nil, process.WriteRewind(g.o.RewindFile, r)
	}
	r.State, r.Why, r.Log, r.Position, r.Prepared = process.RewindCutting, answer.Why, t.log, t.position, t.prepared
	if err := keep(&r, t.headEnd); err != nil {
		return nil, fmt.Errorf("rewind %s: nothing was cut off: %w", t.log, err)
	}
	if err := process.WriteRewind(g.o.RewindFile, r); err != nil {
		return nil, err
	}
	if err := cut(g.o, r); err != nil {
		return nil, err
	}
	g.o.Logger.Warn("the binary log was rewound", "transactions", r.GTIDs, "log", r.Log, "position", r.Position,
		"bytes", r.Size-r.Position, "kept", r.Kept, "primary", answer.Primary, "term", answer.Term, "after", time.Since(begun))
	return &r, nil
}

// keep copies what is about to be cut off beside the binary log, after a head
// with which mysqlbinlog can read it, and a manifest beside that.
func keep(r *process.Rewind, headEnd int64) (err error) {
	from, err := os.Open(r.Log)
	if err != nil {
		return err
	}
	defer from.Close() // It was only read.
	info, err := from.Stat()
	if err != nil {
		return err
	}
	r.Size = info.Size()
	r.Kept = fmt.Sprintf("%s.rewound-%d-%s", r.Log, r.Position, r.At.Format("20060102T150405Z"))
	to, err := os.OpenFile(r.Kept, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	sum := sha256.New()
	out := bufio.NewWriter(io.MultiWriter(to, sum))
	_, err = io.Copy(out, io.MultiReader(io.NewSectionReader(from, 0, headEnd), io.NewSectionReader(from, r.Position, r.Size-r.Position)))
	err = errors.Join(err, out.Flush(), to.Sync(), to.Close())
	r.SHA256 = hex.EncodeToString(sum.Sum(nil))
	if err == nil {
		err = process.WriteRewind(r.Kept+".json", *r)
	}
	if err == nil {
		err = process.SyncFolder(r.Kept)
	}
	if err != nil {
		return errors.Join(err, os.Remove(r.Kept))
	}
	return nil
}

// cut cuts the file off, durably, and has mysqld take a new server_uuid. It would
// give the numbers that were cut off to other transactions, and a server that has
// received the old ones would seem to have the new ones (S7).
func cut(o Options, r process.Rewind) error {
	// The new name comes first: were power lost in between, nothing would be left
	// that says that numbers were cut off.
	if err := forgetUUID(o); err != nil {
		return err
	}
	file, err := os.OpenFile(r.Log, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("rewind the binary log: %w", err)
	}
	info, err := file.Stat()
	if err == nil && (info.Size() < r.Position || info.Size() > r.Size) {
		err = fmt.Errorf("%s has %d bytes, and not %d as when it was judged: it is another file", r.Log, info.Size(), r.Size)
	}
	if err == nil {
		err = errors.Join(file.Truncate(r.Position), file.Sync())
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("rewind the binary log: %w", err)
	}
	return nil
}

// forgetUUID removes the file with mysqld's server_uuid: at its next start it
// makes another.
func forgetUUID(o Options) error {
	path := filepath.Join(o.DataDir, "auto.cnf")
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("give mysqld a new server_uuid: %w", err)
	}
	if err := process.SyncFolder(path); err != nil {
		return fmt.Errorf("give mysqld a new server_uuid: %w", err)
	}
	return nil
}

// unfinished goes on with a rewind that was begun before an end of this gate.
// Whether mysqld has run since shows in the binary logs: it begins a new file.
func unfinished(o Options) (*process.Rewind, error) {
	r, found, err := process.ReadRewind(o.RewindFile)
	if err != nil || !found || r.State != process.RewindCutting && r.State != process.RewindStarted {
		return nil, err
	}
	index, err := process.ReadOpened(o.TermFile)
	if err != nil {
		return nil, err
	}
	logs, err := binlog.List(index.LogIndex, o.DataDir)
	if err != nil {
		return nil, err
	}
	if inUse, err := isInUse(r.Log); err == nil && inUse && logs[len(logs)-1] == r.Log {
		o.Logger.Warn("going on with the rewind that was begun before", "log", r.Log, "position", r.Position)
		return &r, cut(o, r)
	}
	r.State, r.Why = process.RewindFailed, "mysqld was started after the rewind, and its crash recovery was not judged"
	o.Logger.Error("the rewind is not proven: this server must be built anew", "reason", r.Why)
	return nil, process.WriteRewind(o.RewindFile, r)
}
