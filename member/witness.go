package member

import (
	"context"
	"log/slog"
	"time"
)

// Witness is what a daemon without a server remembers: the highest version of
// the record (S1), across its restarts.
type Witness struct {
	terms *termFile
	board Board
	log   *slog.Logger
}

// NewWitness reads what is remembered in the daemon's own folder; Run goes on
// remembering. An error says that the file cannot be read.
func NewWitness(dir string, board Board, log *slog.Logger) (*Witness, error) {
	terms, err := openTermFile(dir)
	if err != nil {
		return nil, err
	}
	return &Witness{terms: terms, board: board, log: log}, nil
}

// RecordSeen returns the highest version of the record ever seen here.
func (w *Witness) RecordSeen() uint64 { return w.terms.now().RecordSeen }

// keepInterval is how often what was seen is written, if it has changed.
const keepInterval = 250 * time.Millisecond

// Run notes each record until ctx ends. An error says that its file cannot be
// written.
func (w *Witness) Run(ctx context.Context) error {
	tick := time.NewTicker(keepInterval)
	defer tick.Stop()
	past := false
	for {
		changed := w.board.Changed()
		if _, record := w.board.Own(); record != nil {
			was := past
			if past = w.terms.sawRecord(record.Version); past && !was {
				w.log.Error(restoredMessage, "version", record.Version, "seen", w.RecordSeen())
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-tick.C:
			if err := w.terms.keep(); err != nil {
				return err
			}
		}
	}
}
