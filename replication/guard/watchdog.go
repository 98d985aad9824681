package guard

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/mysqlha/mysqlha/replication/process"
)

const (
	// watchEvery is how often the proof is looked at.
	watchEvery = 500 * time.Millisecond
	// watchGrace is what the daemon gets beyond its own deadline, so that the
	// gate acts only where it cannot.
	watchGrace = 2 * time.Second
)

var errNotCurrent = errors.New("nothing proves any more that this server is the primary, and its daemon does not close it")

// watchdog stands in for a daemon that is dead or stopped (S9): once an open
// server has had no proof for the fence deadline and a grace, it refuses
// clients, so that nobody reads what may long be history. The daemon lets them
// in again. A server that does not obey at once, or that acknowledges without
// replicas, gets an error on fault, for which it is killed.
func watchdog(ctx context.Context, o Options, c *child, db *sql.DB, fault chan<- error) {
	if o.ProofFile == "" || o.FenceDeadline <= 0 {
		return
	}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	var closedFor time.Duration // The proof for whose age the server was closed.
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.exited:
			return
		case <-tick.C:
		}
		proof, err := process.ReadProof(o.ProofFile)
		if err != nil || proof.StartID != c.run.StartID || !proof.Open || proof.At == closedFor {
			continue // No daemon has opened this run, so it is harmless.
		}
		if proof.Age() <= o.FenceDeadline+watchGrace {
			continue
		}
		closedFor = proof.At
		o.Logger.Error("the gate closes mysqld", "reason", errNotCurrent, "proof_age", proof.Age(), "run", c.run.StartID)
		closing := &closingError{proof: proof, begun: time.Now()}
		if !proof.Alone {
			if closing.refusing = refuseClients(ctx, db); closing.refusing == nil {
				closing.tell(o)
				continue
			}
		}
		if ctx.Err() == nil {
			select {
			case fault <- closing:
			default: // Another fault is on its way.
			}
		}
		return
	}
}

// closingError is why the gate closes mysqld, since when, and why it kills it.
type closingError struct {
	proof process.Proof
	begun time.Time
	// refusing is how refusing clients failed, nil where it was not tried.
	refusing error
}

func (e *closingError) Error() string { return errors.Join(errNotCurrent, e.refusing).Error() }

func (e *closingError) Unwrap() error { return errNotCurrent }

// tell leaves for the daemon, which has the metrics, that mysqld is closed now.
func (e *closingError) tell(o Options) {
	c := process.Closed{StartID: e.proof.StartID, Took: time.Since(e.begun), SinceProof: e.proof.Age()}
	o.Logger.Warn("fenced by the gate: proven not writable", "took", c.Took, "since_proof", c.SinceProof)
	if o.ClosedFile == "" {
		return
	}
	if err := process.WriteClosed(o.ClosedFile, c); err != nil {
		o.Logger.Warn("the metrics will lack this fence", "error", err)
	}
}

// refuseClients switches offline_mode on.
func refuseClients(ctx context.Context, db *sql.DB) error {
	ctx, cancel := context.WithTimeout(ctx, offlineTimeout+readTimeout)
	defer cancel()
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connect to mysqld: %w", err)
	}
	defer conn.Close() // Nothing is under way on it.
	if _, err := conn.ExecContext(ctx, "SET GLOBAL offline_mode = ON"); err != nil {
		return fmt.Errorf("SET GLOBAL offline_mode: %w", err)
	}
	return nil
}
