package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/mysqlha/mysqlha/api"
)

func (t tool) watchCommand() *cli.Command {
	return &cli.Command{Name: "watch", Usage: "show status again and again, as it changes, until Ctrl-C",
		Flags:  append(clientFlags(), &cli.DurationFlag{Name: "interval", Value: time.Second, Usage: "how often to look"}),
		Action: t.watch}
}

// The codes that a terminal understands.
const (
	screenOn   = "\x1b[?1049h\x1b[?25l" // another screen, no cursor
	screenOff  = "\x1b[?25h\x1b[?1049l"
	home       = "\x1b[H"
	clearRight = "\x1b[K"
	clearBelow = "\x1b[J"
)

// watch draws the status on a screen of its own; where there is no terminal it
// prints each one that differs from the one before.
func (t tool) watch(c *cli.Context) error {
	interval := c.Duration("interval")
	if interval < 100*time.Millisecond {
		return &usageError{"--interval is 100ms or more"}
	}
	if format := given(c, "output").String("output"); format != "table" {
		return &usageError{"watch is for people; programs read " + `the events of GET /v1/events, or mysqlha status --output json`}
	}
	client, name, err := connect(c)
	if err != nil {
		return err
	}
	defer client.Close()
	out, _ := t.stdout.(*os.File)
	live := out != nil && isTerminal(out)
	if live {
		fmt.Fprint(out, screenOn)
		defer fmt.Fprint(out, screenOff)
	}
	var last api.Cluster
	said := ""
	for {
		ctx, cancel := context.WithTimeout(c.Context, pollTimeout)
		cluster, err := clusterOf(ctx, client, name)
		cancel()
		if c.Context.Err() != nil {
			return nil // Ctrl-C is how it ends.
		}
		if err == nil {
			last = cluster
		}
		text := t.screen(last, err)
		if live {
			draw(out, text)
		} else if essence := essenceOf(last, err); essence != said {
			said = essence
			fmt.Fprintf(t.stdout, "%s\n%s\n", moment(t.now()), text)
		}
		select {
		case <-c.Context.Done():
			return nil
		case <-time.After(interval):
		}
	}
}

// screen is what is shown: the status, and why it may be old.
func (t tool) screen(c api.Cluster, err error) string {
	text := ""
	if err != nil {
		text = t.paint(red, "No answer at the moment: "+strings.TrimSpace(err.Error())) + "\n\n"
	}
	if c.Name == "" {
		return text
	}
	return text + statusText(c, t.paint, time.Local)
}

// essenceOf is what makes one status differ from another, without running figures.
func essenceOf(c api.Cluster, err error) string {
	var b strings.Builder
	fmt.Fprint(&b, err != nil, c.Leader)
	if r := c.Record; r != nil {
		fmt.Fprint(&b, r.Term, r.Primary, r.InSync, r.Suspended, r.Plan != nil)
		if r.Plan != nil {
			fmt.Fprint(&b, r.Plan.ID, r.Plan.Phase)
		}
	}
	for _, s := range c.Servers {
		fmt.Fprint(&b, s.Name, s.State, s.Member)
	}
	for _, w := range c.Decision.Waits {
		fmt.Fprint(&b, w.Code, w.Server)
	}
	fmt.Fprint(&b, c.Pause != nil)
	return b.String()
}

// draw paints a text over the one before, without a flicker, as far as the terminal
// is high.
func draw(out *os.File, text string) {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if size, err := unix.IoctlGetWinsize(int(out.Fd()), unix.TIOCGWINSZ); err == nil && size.Row > 1 && len(lines) > int(size.Row)-1 {
		lines = append(lines[:int(size.Row)-2], "… (the terminal is too low for the rest)")
	}
	fmt.Fprint(out, home+strings.Join(lines, clearRight+"\n")+clearRight+"\n"+clearBelow)
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
