package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// errNotOpen makes the exit code of status 1; the table says why.
var errNotOpen = errors.New("the cluster has no primary that takes writes")

func (t tool) status(c *cli.Context) error {
	cluster, err := ask(t, c, clusterOf, func(cl api.Cluster) string { return statusText(cl, t.paint, time.Local) })
	if err == nil && !cluster.Open() {
		return errNotOpen
	}
	return err
}

func clusterOf(ctx context.Context, client *api.Client, name string) (api.Cluster, error) {
	cluster, err := client.Cluster(ctx)
	if err == nil && cluster.Name != name {
		return cluster, fmt.Errorf("the daemon that answered belongs to the cluster %q, not to %q: check the addresses", cluster.Name, name)
	}
	return cluster, err
}

// statusText is the whole of status: the one sentence that matters first, then
// the servers, then what happened last, then what waits or is wrong.
func statusText(c api.Cluster, paint painter, zone *time.Location) string {
	var b strings.Builder
	b.WriteString(headline(c, paint) + "\n" + pauseText(c.Pause, paint))
	if c.Stale {
		fmt.Fprintf(&b, "%s\n", paint(yellow, fmt.Sprintf("This may be out of date: the daemon of %s has not heard from etcd for %s.", c.Self, short(c.StaleFor))))
	}
	b.WriteString(planLine(c))
	b.WriteString("\n" + serverTable(c, paint) + "\n\n")
	b.WriteString(witnessLine(c, paint))
	b.WriteString(leaderLine(c) + "\n")
	b.WriteString(lastFailover(c, zone) + "\n")
	b.WriteString(problemsText(c, paint))
	return b.String()
}

func headline(c api.Cluster, paint painter) string {
	if c.Record == nil {
		return fmt.Sprintf("Cluster %s: %s", c.Name, paint(red, "has not begun, nobody takes writes"))
	}
	terms := fmt.Sprintf("term %d, %s, %s", c.Record.Term, c.Record.Durability, count(c.Record.RequiredAcks, "required ack"))
	state := api.StateUnknown
	for _, s := range c.Servers {
		if s.Name == c.Record.Primary {
			state = s.State
		}
	}
	said := paint(red, fmt.Sprintf("NOBODY TAKES WRITES: the primary %s is %s", c.Record.Primary, state))
	switch {
	case state == api.StateOpen:
		said = paint(green, fmt.Sprintf("the primary %s takes writes", c.Record.Primary))
	case state == api.StateWritesWait:
		said = paint(red, fmt.Sprintf("WRITES WAIT: the primary %s is open and lacks acknowledgements", c.Record.Primary))
	case state == api.StateUnknown, state == api.StateUnreachable:
		said = paint(red, fmt.Sprintf("NOBODY IS KNOWN TO TAKE WRITES: the primary %s is %s", c.Record.Primary, state))
	}
	return fmt.Sprintf("Cluster %s: %s (%s)", c.Name, said, terms)
}

func planLine(c api.Cluster) string {
	if c.Record == nil || c.Record.Plan == nil {
		return ""
	}
	p := *c.Record.Plan
	text := planWord(p.Kind) + " under way"
	switch p.Kind {
	case decide.PlanFailover, decide.PlanSwitchover:
		text += " from " + p.From
		if p.Candidate != "" {
			text += " to " + p.Candidate
		}
	case decide.PlanRemove, decide.PlanJoin, decide.PlanLeave:
		text += ": " + p.Server
	case decide.PlanRenew:
		text += " of " + p.From
	}
	text += fmt.Sprintf(" (%s), in phase %s", p.Reason, p.Phase)
	if since := p.PhaseSince(); !since.IsZero() {
		text += " for " + short(c.At.Sub(since))
	}
	return text + "\n"
}

func planWord(k decide.PlanKind) string {
	switch k {
	case decide.PlanFailover:
		return "Failover"
	case decide.PlanBootstrap:
		return "Bootstrap"
	case decide.PlanAdopt:
		return "Adoption"
	case decide.PlanRemove:
		return "Removal from the in-sync set"
	case decide.PlanSwitchover:
		return "Switchover"
	case decide.PlanRenew:
		return "New term"
	case decide.PlanJoin:
		return "Joining the cluster"
	case decide.PlanLeave:
		return "Leaving the cluster"
	case decide.PlanRaiseAcks:
		return "More required acknowledgements"
	case decide.PlanResume:
		return "End of the suspension"
	}
	return string(k)
}

func serverTable(c api.Cluster, paint painter) string {
	w := newTable("SERVER", "ROLE", "STATE", "LAG", "TO APPLY", "IN SYNC", "GAP", "DAEMON", "ADDRESS")
	for _, s := range c.Servers {
		lag, apply, gap, inSync := "?", "?", "?", yesNo(s.InSync)
		if s.Live != nil && s.Live.Answers {
			apply, gap = fmt.Sprint(s.Live.LagTransactions), fmt.Sprint(s.Gap.Count())
			if s.Live.LagKnown {
				lag = short(s.Live.Lag)
			}
			if !primaryAnswers(c) {
				gap = "?"
			}
		}
		if s.Role != api.RoleReplica {
			lag, apply, gap, inSync = "-", "-", "-", "-"
		}
		w.AppendRow(table.Row{s.Name, string(s.Role), paint(colourOf(s.State), string(s.State)), lag, apply, inSync, gap, daemonWord(c, s), s.Address})
	}
	return w.Render()
}

func primaryAnswers(c api.Cluster) bool {
	for _, s := range c.Servers {
		if s.Role == api.RolePrimary {
			return s.Live != nil && s.Live.Answers
		}
	}
	return false
}

func newTable(heads ...any) table.Writer {
	w := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.Options{}
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	w.SetStyle(style)
	w.SuppressTrailingSpaces()
	w.AppendHeader(table.Row(heads))
	return w
}

func colourOf(s api.State) string {
	switch s {
	case api.StateOpen, api.StateInSync:
		return green
	case api.StateFollowing, api.StateCatchingUp, api.StateStarting, api.StateOpening, api.StatePromoting,
		api.StateRevoked, api.StateConnecting, api.StateStanding, api.StateUnknown:
		return yellow
	}
	return red
}

func daemonWord(c api.Cluster, s api.Server) string {
	switch {
	case !s.Member && s.Live == nil:
		return "gone"
	case !s.Member:
		return "no lease"
	case s.Live == nil:
		return "no answer"
	case s.Name == c.Leader:
		return "leads"
	}
	return "ok"
}

func witnessLine(c api.Cluster, paint painter) string {
	var all []string
	for _, w := range c.Witnesses {
		switch {
		case !w.Member:
			all = append(all, w.Name+" "+paint(red, "gone"))
		case w.Name == c.Leader:
			all = append(all, w.Name+" leads")
		default:
			all = append(all, w.Name+" ok")
		}
	}
	if all == nil {
		return ""
	}
	return "Witness:        " + strings.Join(all, ", ") + "\n"
}

func leaderLine(c api.Cluster) string {
	if c.Leader == "" {
		return "Leader:         none: no daemon leads, so nothing is decided at the moment"
	}
	text := "Leader:         " + c.Leader
	if c.DecisionFrom == "" {
		return text + ", whose decision is not known"
	}
	text += fmt.Sprintf(", decided %s ago: %s", short(c.At.Sub(c.DecisionAt)), c.Decision.Reason)
	if c.Decision.Detail != "" {
		text += ", " + c.Decision.Detail
	}
	return text
}

func lastFailover(c api.Cluster, zone *time.Location) string {
	if c.LastFailover == nil {
		return "Last failover:  none"
	}
	h := *c.LastFailover
	began, took := span(h)
	text := fmt.Sprintf("Last failover:  %s", moment(began.In(zone)))
	if !began.IsZero() {
		text += fmt.Sprintf(" (%s ago)", short(c.At.Sub(began)))
	}
	text += fmt.Sprintf(", %s -> %s, %s, took %s, %s", h.Plan.From, destination(h), h.Plan.Reason, short(took), h.Result)
	if !h.Complete && h.Result == completed {
		text += ", NOT complete: acknowledged writes may be missing"
	}
	return text
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
