package faults

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// Appends are clients that append to a few lists, each append a transaction that
// reads the list and writes it longer. What a client was told, history by
// history, must be possible on one copy of the data that never forgets.
type Appends struct {
	cancel context.CancelFunc
	halt   chan struct{}
	wg     sync.WaitGroup

	mu      sync.Mutex
	begun   time.Time
	history []porcupine.Operation
}

const (
	appendLists   = 3
	appendClients = 3
	// appendPause keeps the lists short: the checker's work grows with them.
	appendPause = 150 * time.Millisecond
)

// appendInput is what a client asked for; appendOutput what it was told, unless
// it was told nothing.
type appendInput struct{ list, id int }

type appendOutput struct {
	before string
	known  bool
}

// StartAppends makes the table and begins, through db, which leads to the
// primary.
func StartAppends(ctx context.Context, db *sql.DB) (*Appends, error) {
	if _, err := db.ExecContext(ctx, "CREATE TABLE appends (list INT PRIMARY KEY, ids MEDIUMTEXT NOT NULL)"); err != nil {
		return nil, fmt.Errorf("starting the appends: %w", err)
	}
	for list := range appendLists {
		if _, err := db.ExecContext(ctx, "INSERT INTO appends VALUES (?, '')", list); err != nil {
			return nil, fmt.Errorf("starting the appends: %w", err)
		}
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	a := &Appends{cancel: cancel, halt: make(chan struct{}), begun: time.Now()}
	for client := range appendClients {
		a.wg.Go(func() { a.run(run, db, client) })
	}
	return a, nil
}

func (a *Appends) run(ctx context.Context, db *sql.DB, client int) {
	for n := 0; ; n++ {
		select {
		case <-a.halt:
			return
		case <-time.After(appendPause):
		}
		in := appendInput{(client + n) % appendLists, n*appendClients + client}
		call := time.Since(a.begun)
		before, sent, err := appendOnce(ctx, db, in)
		if err != nil && !sent {
			continue // Nothing was asked to be committed.
		}
		op := porcupine.Operation{ClientId: client, Input: in, Call: int64(call), Output: appendOutput{before, err == nil}, Return: int64(time.Since(a.begun))}
		if err != nil {
			op.Return = int64(1<<62 - 1) // It may take effect at any time later, or never.
		}
		a.mu.Lock()
		a.history = append(a.history, op)
		a.mu.Unlock()
	}
}

// appendOnce appends in one transaction and returns the list as it was. Sent
// says that the commit was asked for.
func appendOnce(ctx context.Context, db *sql.DB, in appendInput) (before string, sent bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return "", false, err
	}
	defer tx.Rollback() // After a commit this does nothing.
	if err := tx.QueryRowContext(ctx, "SELECT ids FROM appends WHERE list = ? FOR UPDATE", in.list).Scan(&before); err != nil {
		return "", false, err
	}
	if _, err := tx.ExecContext(ctx, "UPDATE appends SET ids = CONCAT(ids, ?) WHERE list = ?", strconv.Itoa(in.id)+" ", in.list); err != nil {
		return "", false, err
	}
	return before, true, tx.Commit()
}

// Stop ends the clients, lets what is under way end within a bound, and checks
// the history.
func (a *Appends) Stop() error {
	close(a.halt)
	timer := time.AfterFunc(5*time.Second, a.cancel)
	a.wg.Wait()
	timer.Stop()
	a.cancel()
	return checkAppends(a.history)
}

// Acknowledged returns how many appends were answered.
func (a *Appends) Acknowledged() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, op := range a.history {
		if op.Output.(appendOutput).known {
			n++
		}
	}
	return n
}

// checkTimeout bounds the search for an order in which the history is possible.
const checkTimeout = 2 * time.Minute

func checkAppends(history []porcupine.Operation) error {
	// Every read sees the whole list, so an unanswered append that no later one
	// has seen never mattered; the others are constrained by who has seen them.
	seen := make(map[int]bool)
	for _, op := range history {
		for _, id := range strings.Fields(op.Output.(appendOutput).before) {
			n, err := strconv.Atoi(id)
			if err != nil {
				return fmt.Errorf("a list holds %q", id)
			}
			seen[n] = true
		}
	}
	kept := history[:0:0]
	for _, op := range history {
		if op.Output.(appendOutput).known || seen[op.Input.(appendInput).id] {
			kept = append(kept, op)
		}
	}
	switch result := porcupine.CheckOperationsTimeout(appendModel(), kept, checkTimeout); result {
	case porcupine.Ok:
		return nil
	case porcupine.Unknown:
		return fmt.Errorf("whether the history of %d appends is possible was not found out within %s", len(kept), checkTimeout)
	default:
		return fmt.Errorf("the history of %d appends is impossible on one copy of the data: an acknowledged one was forgotten or came twice", len(kept))
	}
}

// appendModel is a list that grows.
func appendModel() porcupine.Model {
	return porcupine.Model{
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			lists := make([][]porcupine.Operation, appendLists)
			for _, op := range history {
				list := op.Input.(appendInput).list
				lists[list] = append(lists[list], op)
			}
			return lists
		},
		Init: func() any { return "" },
		Step: func(state, input, output any) (bool, any) {
			now, in, out := state.(string), input.(appendInput), output.(appendOutput)
			return !out.known || out.before == now, now + strconv.Itoa(in.id) + " "
		},
		Equal: func(a, b any) bool { return a.(string) == b.(string) },
	}
}
