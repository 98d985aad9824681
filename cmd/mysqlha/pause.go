package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

const pauseHelp = `While automation is paused, a dead primary is not replaced: no failover, no new term of a lone primary and no clone
begins by itself. What is under way goes on, and so does everything that keeps writes safe: replicas enter and leave the
in-sync set, and a primary that is cut off still closes itself. A primary that is restarted meanwhile opens again where it was.
Switchovers and failovers by hand work as always.`

func (t tool) pauseCommand() *cli.Command {
	return &cli.Command{Name: "pause", Usage: "keep the primary where it is, whatever happens, until mysqlha resume", Description: pauseHelp,
		Flags: append(clientFlags(),
			&cli.StringFlag{Name: "reason", Usage: "why, in words: it is shown to everybody (required)"},
			&cli.DurationFlag{Name: "for", Usage: "end it by itself after this time, such as 2h"}),
		Action: t.pause}
}

func (t tool) resumeCommand() *cli.Command {
	return &cli.Command{Name: "resume", Usage: "end a pause", Flags: clientFlags(), Action: t.resume}
}

func (t tool) pause(c *cli.Context) error {
	if strings.TrimSpace(c.String("reason")) == "" {
		return &usageError{`say why: mysqlha pause --reason "patching db1" --for 2h`}
	}
	if c.IsSet("for") && c.Duration("for") <= 0 {
		return &usageError{"--for is a time such as 2h; without it the pause lasts until mysqlha resume"}
	}
	_, err := ask(t, c, func(ctx context.Context, client *api.Client, _ string) (decide.Pause, error) {
		return client.Pause(ctx, api.PauseRequest{Reason: c.String("reason"), For: c.Duration("for"), By: whoAsks()})
	}, func(p decide.Pause) string { return pauseText(&p, t.paint) })
	return err
}

func (t tool) resume(c *cli.Context) error {
	_, err := ask(t, c, func(ctx context.Context, client *api.Client, _ string) (decide.Pause, error) {
		return client.Resume(ctx, whoAsks())
	}, func(was decide.Pause) string {
		if was.Since.IsZero() {
			return "Automation was not paused.\n"
		}
		return fmt.Sprintf("Automation acts again, after %s (%s)\n", short(t.now().Sub(was.Since)), was.Reason)
	})
	return err
}

// pauseText tells of a pause so that nobody misses it; empty for none.
func pauseText(p *decide.Pause, paint painter) string {
	if p == nil {
		return ""
	}
	end := "until mysqlha resume"
	if !p.Until.IsZero() {
		end = "until " + moment(p.Until.Local())
	}
	return paint(yellow, fmt.Sprintf("AUTOMATION IS PAUSED%s since %s %s: %s", bySomebody(p.By), p.Since.Local().Format(time.DateTime), end, p.Reason)) + "\n" +
		paint(yellow, "A dead primary is not replaced meanwhile.") + "\n"
}
