package faults

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Reads are a client that counts in a row and clients that read it, each read in
// a session of its own. What a read shows may be old; how old is bounded.
type Reads struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu sync.Mutex
	// acked are the numbers that were acknowledged, in order, with their times.
	acked []counted
	reads map[string][]counted
}

// counted is a number and a moment: that of its acknowledgement, or the one
// before it was read.
type counted struct {
	n  int64
	at time.Time
}

const (
	countPause = 50 * time.Millisecond
	readPause  = 50 * time.Millisecond
	// countTimeout bounds one write or read, so that a hung one does not end them.
	countTimeout = 15 * time.Second
)

// StartReads makes the row through writer, which leads to the primary, and reads
// it through each of readers, by name.
func StartReads(ctx context.Context, writer *sql.DB, readers map[string]*sql.DB) (*Reads, error) {
	for _, statement := range []string{"CREATE TABLE counter (id INT PRIMARY KEY, n BIGINT NOT NULL)", "INSERT INTO counter VALUES (1, 0)"} {
		if _, err := writer.ExecContext(ctx, statement); err != nil {
			return nil, fmt.Errorf("starting the reads: %w", err)
		}
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r := &Reads{cancel: cancel, reads: make(map[string][]counted)}
	r.wg.Go(func() { r.count(run, writer) })
	for name, db := range readers {
		db.SetMaxIdleConns(-1) // Each read is a new session.
		r.wg.Go(func() { r.read(run, name, db) })
	}
	return r, nil
}

func (r *Reads) count(ctx context.Context, db *sql.DB) {
	for n := int64(1); sleep(ctx, countPause) == nil; n++ {
		short, cancel := context.WithTimeout(ctx, countTimeout)
		_, err := db.ExecContext(short, "UPDATE counter SET n = ? WHERE id = 1", n)
		cancel()
		if err == nil {
			r.mu.Lock()
			r.acked = append(r.acked, counted{n, time.Now()})
			r.mu.Unlock()
		}
	}
}

func (r *Reads) read(ctx context.Context, name string, db *sql.DB) {
	for sleep(ctx, readPause) == nil {
		short, cancel := context.WithTimeout(ctx, countTimeout)
		one := counted{at: time.Now()}
		err := db.QueryRowContext(short, "SELECT n FROM counter WHERE id = 1").Scan(&one.n)
		cancel()
		if err == nil {
			r.mu.Lock()
			r.reads[name] = append(r.reads[name], one)
			r.mu.Unlock()
		}
	}
}

// Staleness is how old what was read was.
type Staleness struct {
	Reads int
	Worst time.Duration
}

// Stop ends the clients and returns, for each reader, by how much the first newer
// acknowledgement preceded a read, at the worst.
func (r *Reads) Stop() map[string]Staleness {
	r.cancel()
	r.wg.Wait()
	out := make(map[string]Staleness)
	for name, reads := range r.reads {
		s := Staleness{Reads: len(reads)}
		for _, one := range reads {
			s.Worst = max(s.Worst, staleBy(r.acked, one))
		}
		out[name] = s
	}
	return out
}

// staleBy returns how long before the read a newer number was acknowledged, 0 if
// none was.
func staleBy(acked []counted, read counted) time.Duration {
	i, _ := slices.BinarySearchFunc(acked, read.n+1, func(c counted, n int64) int { return int(c.n - n) })
	if i == len(acked) {
		return 0
	}
	return max(0, read.at.Sub(acked[i].at))
}
