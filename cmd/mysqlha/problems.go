package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// problemsText lists what waits or is wrong: code, since when, in words, and
// what to do.
func problemsText(c api.Cluster, paint painter) string {
	problems := problemsOf(c)
	if len(problems) == 0 {
		return "Nothing waits, and nothing is known to be wrong.\n"
	}
	var b strings.Builder
	b.WriteString("\n" + paint(bold, "Waiting or wrong:") + "\n")
	for _, p := range problems {
		b.WriteString("  " + paint(red, string(p.Code)))
		if p.Server != "" {
			b.WriteString(" " + p.Server)
		}
		if !p.Since.IsZero() {
			b.WriteString(", for " + short(c.At.Sub(p.Since)))
		}
		b.WriteString("\n")
		for line := range strings.Lines(p.Detail) {
			b.WriteString("    " + strings.TrimRight(line, "\n") + "\n")
		}
		if p.Remedy != "" {
			b.WriteString("    -> " + p.Remedy + "\n")
		}
	}
	return b.String()
}

// problemsOf joins what the leader waits for with what the servers report and
// the leader has not named.
func problemsOf(c api.Cluster) []decide.Wait {
	all := slices.Clone(c.Decision.Waits)
	add := func(code decide.Code, server, detail, remedy string, since time.Time) {
		named := func(w decide.Wait) bool { return w.Code == code && w.Server == server }
		if !slices.ContainsFunc(all, named) {
			all = append(all, decide.Wait{Code: code, Server: server, Detail: detail, Remedy: remedy, Since: since})
		}
	}
	for _, s := range c.Servers {
		if s.Status.Problem != "" {
			add(s.Status.Problem, s.Name, s.Status.Detail, "", time.Time{})
		}
		for _, f := range s.Status.Findings {
			add(f.Code, s.Name, f.Detail, "", time.Time{})
		}
		if s.State == api.StateDiverged {
			add(decide.CodeDiverged, s.Name, errantText(s), "", time.Time{})
		}
		if s.State == api.StateBroken {
			add(decide.CodeReplicationBroken, s.Name, threadErrors(*s.Live), "", time.Time{})
		}
		if s.Live == nil && s.Member {
			add(decide.CodeDaemonDown, s.Name, "its daemon holds its lease and did not answer: "+orUnknown(s.LiveError), "", time.Time{})
		}
		if s.Live == nil && !s.Member {
			add(decide.CodeDaemonDown, s.Name, "its daemon holds no lease and did not answer: "+orUnknown(s.LiveError),
				"see whether the host "+s.Name+" is up and what mysqlhad logs there", time.Time{})
		}
	}
	return all
}

func errantText(s api.Server) string {
	if s.Errant.IsEmpty() {
		return "it holds transactions that the primary does not have"
	}
	return fmt.Sprintf("it holds %s that the primary does not have: %s", transactions(s.Errant.Count()), s.Errant)
}

func transactions(n uint64) string {
	if n == 1 {
		return "1 transaction"
	}
	return fmt.Sprintf("%d transactions", n)
}

func threadErrors(l decide.Live) string {
	var parts []string
	if l.ReceiverErrno != 0 {
		parts = append(parts, fmt.Sprintf("the receiver ended with error %d: %s", l.ReceiverErrno, l.ReceiverError))
	}
	if l.ApplierErrno != 0 {
		parts = append(parts, fmt.Sprintf("the applier ended with error %d: %s", l.ApplierErrno, l.ApplierError))
	}
	return strings.Join(parts, "\n")
}

func orUnknown(s string) string {
	if s == "" {
		return "the cause is not known"
	}
	return s
}
