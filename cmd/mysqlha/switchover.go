package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

const switchoverHelp = `Moves the primary while it is well. The redirectors hold new sessions; idle sessions are cut, open transactions get
--drain to end, then the rest is cut; the candidate catches up and opens, and the old primary follows it. No acknowledged
write is lost, and clients that try once more after an error lose none. Any trouble before the candidate takes over leaves
everything as it was; after that the old primary may be chosen again.

Without --to the best replica is taken: in sync, with the least left to apply. --dry-run says what would happen, and all
that speaks against it.`

// defaultDrain is how long open transactions may go on.
const defaultDrain = 5 * time.Second

func (t tool) switchoverCommand() *cli.Command {
	return &cli.Command{Name: "switchover", Usage: "make another server primary, while the primary is well", Description: switchoverHelp,
		Flags: append(clientFlags(),
			&cli.StringFlag{Name: "to", Usage: "the `SERVER` that shall be primary (default: the best replica)"},
			&cli.DurationFlag{Name: "drain", Value: defaultDrain, Usage: "how long open transactions may go on"},
			&cli.BoolFlag{Name: "dry-run", Usage: "only say what would happen, and what speaks against it"},
			&cli.BoolFlag{Name: "no-wait", Usage: "do not wait until it is done"}),
		Action: t.switchover}
}

func (t tool) switchover(c *cli.Context) error {
	if c.Duration("drain") < 0 || c.Duration("drain") > time.Hour {
		return &usageError{"--drain is from 0s to 1h"}
	}
	if c.Bool("dry-run") {
		return t.dryRun(c)
	}
	request := decide.SwitchoverRequest{To: c.String("to"), Drain: c.Duration("drain"), By: whoAsks()}
	var ended decide.History
	done, err := ask(t, c, func(ctx context.Context, client *api.Client, _ string) (moved, error) {
		id, err := client.Switchover(ctx, request)
		if err != nil || c.Bool("no-wait") {
			return moved{Request: id}, err
		}
		h, err := t.awaitAnswer(c.Context, client, id)
		ended = h
		return movedBy(h), err
	}, movedText)
	there := request.To == "" || done.Primary == request.To
	if err != nil || c.Bool("no-wait") || done.Result == completed && done.Primary != done.From && there {
		return err
	}
	if ended.Refused() {
		return errRefusedByLeader
	}
	return errNotMoved
}

var (
	errRefusedByLeader = errors.New("nothing was changed")
	errNotMoved        = errors.New("the primary is not where it was asked for")
)

// whoAsks names the user for the history.
func whoAsks() string {
	host, _ := os.Hostname() // Empty where it is not known.
	u, err := user.Current()
	if err != nil {
		return host
	}
	return u.Username + "@" + host
}

// moved is what came of a switchover.
type moved struct {
	Request string `json:"request"`
	Result  string `json:"result,omitempty"`
	From    string `json:"from,omitempty"`
	Primary string `json:"primary,omitempty"`
	Term    uint64 `json:"term,omitempty"`
	// Closed is how long no new session was let in, Phases how long each part took.
	Closed time.Duration            `json:"closed_ns,omitempty"`
	Phases map[string]time.Duration `json:"phases_ns,omitempty"`
	// Cut are the sessions that were ended.
	Cut decide.SessionsCut `json:"cut"`
}

func movedBy(h decide.History) moved {
	m := moved{Request: h.Plan.Request, Result: h.Result, From: h.Plan.From, Primary: h.Primary, Term: h.Term, Cut: h.Plan.Cut, Phases: make(map[string]time.Duration)}
	marks := h.Plan.Marks
	for i := range max(0, len(marks)-1) {
		m.Phases[marks[i].Name] += marks[i+1].At.Sub(marks[i].At)
	}
	_, m.Closed = span(h)
	m.Closed -= m.Phases[string(decide.PhasePrepare)] // Writes went on.
	return m
}

func movedText(m moved) string {
	if m.Result == "" {
		return "asked for; mysqlha history will say what came of it\n"
	}
	if m.Result != completed || m.Primary == m.From {
		return fmt.Sprintf("%s is still the primary: %s\n", m.Primary, m.Result)
	}
	text := fmt.Sprintf("%s is primary in term %d, and %s follows it; new sessions were held for %s", m.Primary, m.Term, m.From, short(m.Closed))
	var parts []string
	for _, phase := range []decide.Phase{decide.PhasePrepare, decide.PhaseClose, decide.PhasePromote, decide.PhaseOpen} {
		parts = append(parts, fmt.Sprintf("%s %s", phase, short(m.Phases[string(phase)])))
	}
	return text + " (" + strings.Join(parts, ", ") + ")\n" +
		fmt.Sprintf("sessions cut: %d idle, %d after their transaction, %d with something under way\n", m.Cut.Idle, m.Cut.InTransaction, m.Cut.Forced)
}

// awaitAnswer waits until the history says what came of a request, and tells
// meanwhile what is done.
func (t tool) awaitAnswer(ctx context.Context, client *api.Client, id string) (decide.History, error) {
	const recent = 20
	var found decide.History
	err := t.follow(ctx, client, func(c api.Cluster) string { return strings.TrimSpace(planLine(c)) }, func(cluster api.Cluster, _ time.Duration) (bool, error) {
		if r := cluster.Record; r != nil && r.Plan != nil && r.Plan.Request == id {
			return false, nil
		}
		short, cancel := context.WithTimeout(ctx, pollTimeout)
		defer cancel()
		entries, err := client.History(short, recent)
		if err != nil {
			return false, nil // Asked again.
		}
		i := slices.IndexFunc(entries, func(h decide.History) bool { return h.Plan.Request == id })
		if i >= 0 {
			found = entries[i]
		}
		return i >= 0, nil
	})
	return found, err
}

func (t tool) dryRun(c *cli.Context) error {
	said, err := ask(t, c, func(ctx context.Context, client *api.Client, name string) (judgement, error) {
		begun := t.now()
		for {
			cluster, err := clusterOf(ctx, client, name)
			if err != nil {
				return judgement{}, err
			}
			deadline, _ := ctx.Deadline()
			said, err := judge(cluster, c.String("to"))
			// What speaks against it may pass in a moment, as it may for the leader.
			clear := judged(cluster) && (len(said.Problems) == 0 || t.now().Sub(begun) > passes)
			if clear || time.Until(deadline) < answerReserve {
				return said, err
			}
			time.Sleep(pollEvery) // Leadership may just be moving.
		}
	}, judgementText)
	if err == nil && len(said.Problems) > 0 {
		return errRefusedByLeader
	}
	return err
}

// passes is within what time that which speaks against a switchover may pass by
// itself: a leader that is new does not know everything yet.
const passes = 3 * time.Second

// judged tells whether a leader has said who could be primary, or what it does
// instead.
func judged(c api.Cluster) bool {
	return c.Record != nil && c.DecisionFrom != "" && (len(c.Decision.Candidates) > 0 || c.Record.Plan != nil)
}

// judgement is what a dry run says.
type judgement struct {
	From string `json:"from"`
	// To is who would be primary, Left what it has to apply, in transactions.
	To   string `json:"to"`
	Left uint64 `json:"left"`
	// Problems is all that speaks against it.
	Problems []string `json:"problems"`
	// Others are the other replicas, and what speaks against them.
	Others []decide.Candidate `json:"others"`
}

func judge(c api.Cluster, to string) (judgement, error) {
	if c.Record == nil || c.DecisionFrom == "" {
		return judgement{}, errors.New("nobody leads at the moment, so nothing can be said")
	}
	j := judgement{From: c.Record.Primary, Problems: []string{}}
	if p := c.Record.Plan; p != nil {
		j.Problems = append(j.Problems, planWord(p.Kind)+" is under way")
	}
	for _, one := range c.Decision.Candidates {
		if j.To == "" && (to == "" || to == one.Server) {
			j.To, j.Left = one.Server, one.Left
			j.Problems = append(j.Problems, one.Problems...)
		} else {
			j.Others = append(j.Others, one)
		}
	}
	switch {
	case to == j.From:
		j.Problems = append(j.Problems, to+" is the primary already")
	case j.To == "" && c.Record.Plan == nil:
		j.Problems = append(j.Problems, fmt.Sprintf("there is no server %q to move to", to))
	}
	return j, nil
}

func judgementText(j judgement) string {
	var b strings.Builder
	if len(j.Problems) == 0 {
		fmt.Fprintf(&b, "the primary would move from %s to %s, which has %d transactions left to apply; nothing speaks against it\n", j.From, j.To, j.Left)
	} else {
		fmt.Fprintf(&b, "the primary would stay on %s:\n", j.From)
		for _, p := range j.Problems {
			fmt.Fprintf(&b, "  %s\n", p)
		}
	}
	for _, o := range j.Others {
		against := "would do as well"
		if len(o.Problems) > 0 {
			against = strings.Join(o.Problems, "; ")
		}
		fmt.Fprintf(&b, "%s: %s\n", o.Server, against)
	}
	return b.String()
}
