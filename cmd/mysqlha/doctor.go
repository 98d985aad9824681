package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

const doctorHelp = `Examines every server, its host and the cluster, now and as the next start would find them: version, variables and whether
they last, plugins, accounts and rights, certificates, clocks, disk, how long binary logs are kept, tables that make
replication slow or a rewind impossible, and my.cnf against the start gate. Nothing is changed.

Each finding has a code (mysqlha explain CODE), a severity, and what mends it. Exit code 0: nothing worse than a remark.`

func (t tool) doctorCommand() *cli.Command {
	return &cli.Command{Name: "doctor", Usage: "examine all servers, or one, and say what is not as it should be and how to mend it", ArgsUsage: "[SERVER]", Description: doctorHelp,
		Flags: clientFlags(), Action: t.doctor}
}

// errNotClean makes the exit code where something was found; the list has said it.
var errNotClean = errors.New("something is not as it should be")

func (t tool) doctor(c *cli.Context) error {
	if c.NArg() > 1 {
		return &usageError{"examine one server, mysqlha doctor SERVER, or all: mysqlha doctor"}
	}
	found, err := ask(t, c, func(ctx context.Context, client *api.Client, name string) (api.Examination, error) {
		if _, err := clusterOf(ctx, client, name); err != nil {
			return api.Examination{}, err
		}
		return client.Doctor(ctx, c.Args().First())
	}, func(e api.Examination) string { return examinationText(e, t.paint) })
	if err == nil && !found.Clean() {
		return errNotClean
	}
	return err
}

func examinationText(e api.Examination, paint painter) string {
	var b strings.Builder
	counts := make(map[decide.Severity]int)
	for _, f := range e.Found {
		counts[f.Severity]++
		about := f.Server
		if about == "" {
			about = "cluster"
		}
		fmt.Fprintf(&b, "%s  %s  %s\n", paint(severityColour(f.Severity), fmt.Sprintf("%-8s", f.Severity)), about, f.Code)
		for line := range strings.Lines(f.Detail) {
			b.WriteString("          " + strings.TrimRight(line, "\n") + "\n")
		}
		if f.Mend != "" {
			b.WriteString("          -> " + f.Mend + "\n")
		}
	}
	var servers []string
	for _, s := range e.Servers {
		version := s.Version
		if version == "" {
			version = "not examined"
		}
		servers = append(servers, fmt.Sprintf("%s (%s)", s.Server, version))
	}
	fmt.Fprintf(&b, "Examined %s: ", strings.Join(servers, ", "))
	if e.Clean() {
		b.WriteString(paint(green, "all is well") + remarks(counts[decide.SeverityInfo]) + "\n")
		return b.String()
	}
	fmt.Fprintf(&b, "%d critical, %d warnings%s\n", counts[decide.SeverityCritical], counts[decide.SeverityWarning], remarks(counts[decide.SeverityInfo]))
	return b.String()
}

func remarks(n int) string {
	switch n {
	case 0:
		return ""
	case 1:
		return ", 1 remark"
	}
	return fmt.Sprintf(", %d remarks", n)
}

func severityColour(s decide.Severity) string {
	switch s {
	case decide.SeverityCritical:
		return red
	case decide.SeverityWarning:
		return yellow
	}
	return bold
}
