package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

const failoverHelp = `Makes another server primary now, without waiting for detection, a pause or the cooldown. It is the failover that the
cluster makes by itself: no acknowledged write is lost, and where that is not certain it is refused and says why.

  --dry-run          says what a failover would mean now: who would follow, what is in doubt, which GTIDs are at stake
  --even-if-well     also where the primary is open and answers. Its sessions are cut and its mysqld is killed;
                     mysqlha switchover is the polite way
  --allow-data-loss  also where servers that cannot be asked may have acknowledged what nobody else has. What they have is
                     given up: when they come back they wait for a human and are never rewound by themselves
  --primary-is-off SERVER
                     you have seen to it that the old primary is off and stays so. Needed with --allow-data-loss where
                     its daemon cannot be asked: it might otherwise go on with replicas that cannot be reached`

func (t tool) failoverCommand() *cli.Command {
	return &cli.Command{Name: "failover", Usage: "make another server primary although, or because, the primary is not well", Description: failoverHelp,
		Flags: append(clientFlags(),
			&cli.StringFlag{Name: "to", Usage: "the `SERVER` that shall be primary if it is as good as any (default: the best)"},
			&cli.BoolFlag{Name: "dry-run", Usage: "only say what it would mean"},
			&cli.BoolFlag{Name: "even-if-well", Usage: "also if the primary is open and answers"},
			&cli.BoolFlag{Name: "allow-data-loss", Usage: "accept that acknowledged writes may be lost"},
			&cli.StringFlag{Name: "primary-is-off", Usage: "`SERVER` is the primary, and off, and stays so"},
			&cli.BoolFlag{Name: "yes", Usage: "do not ask again before data is lost"},
			&cli.BoolFlag{Name: "no-wait", Usage: "do not wait until it is done"}),
		Action: t.failover}
}

func (t tool) failover(c *cli.Context) error {
	request := decide.FailoverRequest{To: c.String("to"), EvenIfWell: c.Bool("even-if-well"), AllowDataLoss: c.Bool("allow-data-loss"),
		Off: c.String("primary-is-off"), By: whoAsks()}
	if request.Off != "" && !request.AllowDataLoss {
		return &usageError{"--primary-is-off goes with --allow-data-loss; without it nothing depends on the old primary"}
	}
	if c.Bool("dry-run") {
		_, err := ask(t, c, outlookOf, outlookText)
		return err
	}
	if request.AllowDataLoss && !c.Bool("yes") {
		if err := t.confirmLoss(c); err != nil {
			return err
		}
	}
	var ended decide.History
	done, err := ask(t, c, func(ctx context.Context, client *api.Client, _ string) (failedOver, error) {
		id, err := client.Failover(ctx, request)
		if err != nil || c.Bool("no-wait") {
			return failedOver{Request: id}, err
		}
		h, err := t.awaitAnswer(c.Context, client, id)
		ended = h
		return failedOver{Request: id, Result: h.Result, From: h.Plan.From, Primary: h.Primary, Term: h.Term, Complete: h.Complete, Lost: h.Plan.Lost.String(), Phases: movedBy(h).Phases}, err
	}, failedOverText)
	switch {
	case err != nil || c.Bool("no-wait") || done.Result == completed && done.Primary != done.From:
		return err
	case ended.Refused():
		return errRefusedByLeader
	}
	return errNotMoved
}

// outlookOf asks what a failover would mean, once a leader has an opinion.
func outlookOf(ctx context.Context, client *api.Client, name string) (decide.Outlook, error) {
	for {
		cluster, err := clusterOf(ctx, client, name)
		if err != nil {
			return decide.Outlook{}, err
		}
		if o := cluster.Decision.Outlook; o != nil {
			return *o, nil
		}
		if deadline, _ := ctx.Deadline(); time.Until(deadline) < answerReserve {
			if r := cluster.Record; r != nil && r.Plan != nil {
				return decide.Outlook{}, fmt.Errorf("a plan is under way (%s, in phase %s), so nothing can be said of another", r.Plan.Kind, r.Plan.Phase)
			}
			return decide.Outlook{}, errors.New("nobody leads at the moment, so nothing can be said")
		}
		select {
		case <-ctx.Done():
		case <-time.After(pollEvery): // Leadership may just be moving.
		}
	}
}

func outlookText(o decide.Outlook) string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	if o.Well {
		say("%s is open and answers: mysqlha switchover is the polite way; a failover needs --even-if-well.", o.From)
	}
	for _, p := range o.Problems {
		say("It cannot be: %s.", p)
	}
	if len(o.Doubts) == 0 && len(o.Problems) == 0 {
		say("A failover from %s, probably to %s, loses no acknowledged write.", o.From, o.To)
		return b.String()
	}
	for _, d := range o.Doubts {
		say("Acknowledged writes might be lost: %s.", d)
	}
	if len(o.Doubts) > 0 {
		known := "none is known, which proves nothing"
		if !o.AtStake.IsEmpty() {
			known = o.AtStake.String()
		}
		say("Transactions that %s is known to have and nobody who can be asked has: %s.", o.From, known)
		say("It needs --allow-data-loss.")
	}
	if len(o.Doubts) > 0 && !o.Silent {
		say("The daemon beside %s cannot be asked to close it: see to it that it is off and stays so, and add --primary-is-off %s.", o.From, o.From)
	}
	return b.String()
}

// confirmLoss shows what is at stake and has the user type the primary's name.
func (t tool) confirmLoss(c *cli.Context) error {
	return t.confirm(c, "--allow-data-loss", func(ctx context.Context, client *api.Client, name string) (text, word string, err error) {
		o, err := outlookOf(ctx, client, name)
		return fmt.Sprintf("%sType the name of the primary that is given up (%s) to go on: ", outlookText(o), o.From), o.From, err
	})
}

// confirm shows what is about to be done, as about says, and has the user type a word.
func (t tool) confirm(c *cli.Context, what string, about func(context.Context, *api.Client, string) (text, word string, err error)) error {
	if !isTerminal(os.Stdin) {
		return &usageError{what + " asks before it acts, and there is no terminal to ask at: add --yes"}
	}
	client, name, err := connect(c)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(c.Context, given(c, "timeout").Duration("timeout"))
	defer cancel()
	text, word, err := about(ctx, client, name)
	if err != nil {
		return err
	}
	fmt.Fprint(t.stderr, text)
	line, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != word {
		return errRefusedByUser
	}
	return nil
}

var errRefusedByUser = errors.New("not confirmed; nothing was changed")

// failedOver is what came of a failover.
type failedOver struct {
	Request string `json:"request"`
	Result  string `json:"result,omitempty"`
	From    string `json:"from,omitempty"`
	Primary string `json:"primary,omitempty"`
	Term    uint64 `json:"term,omitempty"`
	// Complete says that nothing acknowledged can have been lost, Lost what is known
	// to have been.
	Complete bool                     `json:"complete"`
	Lost     string                   `json:"lost,omitempty"`
	Phases   map[string]time.Duration `json:"phases_ns,omitempty"`
}

func failedOverText(f failedOver) string {
	switch {
	case f.Result == "":
		return "asked for; mysqlha history will say what came of it\n"
	case f.Result != completed:
		return fmt.Sprintf("%s is still the primary: %s\n", f.From, f.Result)
	}
	text := fmt.Sprintf("%s is primary in term %d\n", f.Primary, f.Term)
	switch {
	case f.Complete:
		return text + "no acknowledged write was lost\n"
	case f.Lost != "":
		return text + "acknowledged writes may be lost; known to be missing: " + f.Lost + "\n"
	}
	return text + "acknowledged writes may be lost; none is known to be\n"
}
