package api

import (
	"fmt"
	"strings"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// Explain says in sentences why the cluster does what it does: the reason, what
// it waits for and since when, and whether it acts. It ends with a newline.
func Explain(w Why, now time.Time) string {
	var b strings.Builder
	d := w.Decision
	switch {
	case w.Leader == "":
		b.WriteString("No daemon leads at the moment, so nothing is decided: a leader is elected as soon as a majority of etcd can be reached.\n")
		if d.Reason == "" {
			return b.String()
		}
		b.WriteString("The last decision known was:\n")
	case d.Reason == "":
		fmt.Fprintf(&b, "%s leads and has not decided anything yet.\n", w.Leader)
		return b.String()
	}
	b.WriteString(sentence(string(d.Reason), d.Detail))
	if w.Leader != "" {
		fmt.Fprintf(&b, "Decided by %s%s.\n", w.Leader, ago(now, w.At))
	}
	for _, wait := range d.Waits {
		b.WriteString(waitText(wait, now))
	}
	b.WriteString(action(d))
	return b.String()
}

func waitText(w decide.Wait, now time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "- %s", w.Code)
	if w.Server != "" {
		fmt.Fprintf(&b, " (%s)", w.Server)
	}
	if !w.Since.IsZero() {
		fmt.Fprintf(&b, ", for %s", round(max(0, now.Sub(w.Since))))
	}
	fmt.Fprintf(&b, ": %s\n", w.Detail)
	if w.Remedy != "" {
		fmt.Fprintf(&b, "  What to do: %s\n", w.Remedy)
	}
	return b.String()
}

// action says what follows from a decision.
func action(d decide.Decision) string {
	if d.Yield {
		return "It does not act but gives leadership to a daemon that sees the primary.\n"
	}
	switch d.Reason {
	case decide.ReasonHealthy:
		if len(d.Waits) > 0 {
			return "The primary is healthy, so no failover is made; the points above remain.\n"
		}
		return "Nothing has to be done.\n"
	case decide.ReasonUncertain, decide.ReasonNotEnoughProof:
		return "It does not act, because what it sees does not prove that acting is safe. It looks again with every probe.\n"
	case decide.ReasonPaused, decide.ReasonCooldown:
		return "It does not act by itself; a human may: mysqlha failover.\n"
	case decide.ReasonTermWentBack:
		return "It does not act until a person has looked: etcd holds an older state than the servers have seen.\n"
	case decide.ReasonNotOpen:
		return "No failover is made, because the primary is alive: its own daemon opens it once a commit of its own is acknowledged.\n"
	case decide.ReasonPlanWaits:
		return "It acts as soon as what it waits for is there; nothing is given up meanwhile.\n"
	case decide.ReasonNoRecord:
		return "It does not act: the cluster has not begun.\n"
	}
	return "It acts.\n"
}

func sentence(head, detail string) string {
	head = strings.ToUpper(head[:1]) + head[1:]
	if detail != "" {
		head += ": " + detail
	}
	if !strings.HasSuffix(head, ".") {
		head += "."
	}
	return head + "\n"
}

func ago(now, at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return fmt.Sprintf(" %s ago", round(max(0, now.Sub(at))))
}
