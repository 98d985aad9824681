package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

const serverHelp = `A cluster begins with the servers of its configuration; from then on its servers stand in etcd.

To add one, give its host a configuration of its own, with join: true, start mysqld there through mysqlhad guard, and
mysqlhad. It may be empty, made by mysqlhad init. mysqlha server add NAME then lets it in: its accounts are made on the
primary, it gets the data by replication or as a clone, and its member of the embedded etcd, if it has one, gets a vote.

mysqlha server remove NAME takes one out: its vote in etcd, its place in the in-sync set, its accounts. Its data stays
where it is. A step after which etcd or the cluster could not go on is refused. Afterwards take it out of the
configuration of the other hosts as well.`

func (t tool) serverCommand() *cli.Command {
	noWait := &cli.BoolFlag{Name: "no-wait", Usage: "do not wait until it is done"}
	return &cli.Command{Name: "server", Usage: "show the servers, let one join, or have one leave", Description: serverHelp, Flags: clientFlags(), Action: t.servers,
		Subcommands: []*cli.Command{
			{Name: "add", Usage: "let a server join the cluster", ArgsUsage: "NAME", Flags: append(clientFlags(), noWait), Action: t.addServer},
			{Name: "remove", Usage: "have a server leave the cluster", ArgsUsage: "NAME", Flags: append(clientFlags(), noWait), Action: t.removeServer},
		}}
}

// roster is who is of the cluster, and who would like to be.
type roster struct {
	Servers    []decide.Server `json:"servers"`
	Applicants []string        `json:"applicants"`
}

func (t tool) servers(c *cli.Context) error {
	_, err := ask(t, c, func(ctx context.Context, client *api.Client, name string) (roster, error) {
		cluster, err := clusterOf(ctx, client, name)
		if err != nil {
			return roster{}, err
		}
		r := roster{Applicants: cluster.Applicants}
		if cluster.Record != nil {
			r.Servers = cluster.Record.Servers
		}
		return r, nil
	}, rosterText)
	return err
}

func rosterText(r roster) string {
	w := newTable("SERVER", "MYSQL", "API", "ETCD")
	for _, s := range r.Servers {
		etcd := s.Etcd.Peer
		if etcd == "" {
			etcd = "-"
		}
		w.AppendRow(table.Row{s.Name, s.MySQL, s.API, etcd})
	}
	text := w.Render() + "\n"
	for _, name := range r.Applicants {
		text += fmt.Sprintf("\n%s has registered and is not of the cluster: mysqlha server add %s\n", name, name)
	}
	return text
}

// changed is what came of a change of the servers.
type changed struct {
	Server string `json:"server"`
	// Member says whether it is of the cluster now, State and InSync how it is.
	Member bool      `json:"member"`
	State  api.State `json:"state,omitempty"`
	InSync bool      `json:"in_sync"`
	// Servers are those that are wanted.
	Servers []string `json:"servers"`
	// Took is how long it was waited for.
	Took time.Duration `json:"took_ns"`
}

func (t tool) addServer(c *cli.Context) error {
	return t.changeServers(c, "add", func(name string) api.ServersRequest { return api.ServersRequest{Add: name, By: whoAsks()} },
		func(cluster api.Cluster, r changed) bool {
			return arrived(cluster, r.Server) && !waitsFor(cluster, r.Server)
		}, addedText)
}

func (t tool) removeServer(c *cli.Context) error {
	return t.changeServers(c, "remove", func(name string) api.ServersRequest { return api.ServersRequest{Remove: name, By: whoAsks()} },
		func(_ api.Cluster, r changed) bool { return !r.Member }, removedText)
}

// changeServers asks for a change and waits until it is done.
func (t tool) changeServers(c *cli.Context, word string, request func(string) api.ServersRequest, done func(api.Cluster, changed) bool, text func(changed) string) error {
	if c.NArg() != 1 {
		return &usageError{fmt.Sprintf("name one server: mysqlha server %s NAME", word)}
	}
	name := c.Args().First()
	_, err := ask(t, c, func(ctx context.Context, client *api.Client, _ string) (changed, error) {
		if request(name).Add != "" {
			t.awaitRegistered(ctx, client, name)
		}
		wanted, err := client.ChangeServers(ctx, request(name))
		r := changed{Server: name, Servers: decide.ServerNames(wanted)}
		if err != nil || c.Bool("no-wait") {
			_, r.Member = decide.FindServer(wanted, name)
			return r, err
		}
		err = t.await(c.Context, client, name, func(cluster api.Cluster, took time.Duration) (bool, error) {
			s, err := serverOf(cluster, name)
			r.Member, r.State, r.InSync, r.Took = err == nil, s.State, s.InSync, took
			return done(cluster, r), nil
		})
		if err != nil {
			err = fmt.Errorf("%w: the change goes on without this command, see mysqlha why", err)
		}
		return r, err
	}, text)
	return err
}

// awaitRegistered waits while a server's daemon is not known to the others, for as
// long as an answer may take: it may have just started, or just left.
func (t tool) awaitRegistered(ctx context.Context, client *api.Client, name string) {
	deadline, _ := ctx.Deadline()
	ctx, cancel := context.WithDeadline(ctx, deadline.Add(-answerReserve))
	defer cancel()
	_ = t.await(ctx, client, name, func(c api.Cluster, _ time.Duration) (bool, error) { // What it lacks, the daemon says.
		_, err := serverOf(c, name)
		return err == nil || slices.Contains(c.Applicants, name), nil
	})
}

// answerReserve is what is left of the time for an answer after that.
const answerReserve = 3 * time.Second

// arrived tells whether a server counts: it is in sync, or, where the primary
// acknowledges alone and nobody is, it follows.
func arrived(c api.Cluster, name string) bool {
	s, err := serverOf(c, name)
	return err == nil && (s.InSync || c.Record != nil && c.Record.Suspended && s.State == api.StateFollowing)
}

// waitsFor tells whether anything is still waited for about a server.
func waitsFor(c api.Cluster, server string) bool {
	return slices.ContainsFunc(c.Decision.Waits, func(w decide.Wait) bool { return w.Server == server })
}

// await polls the cluster until done says so, and tells on stderr how far a server
// is. Only the end of ctx and an error of done end it: a large server takes hours.
func (t tool) await(ctx context.Context, client *api.Client, server string, done func(api.Cluster, time.Duration) (bool, error)) error {
	err := t.follow(ctx, client, func(c api.Cluster) string { return progressText(server, c) }, done)
	if err != nil && ctx.Err() != nil {
		err = errors.Join(errors.New(server+" is not there yet"), err)
	}
	return err
}

// follow polls the cluster likewise, and tells on stderr what progress says.
func (t tool) follow(ctx context.Context, client *api.Client, progress func(api.Cluster) string, done func(api.Cluster, time.Duration) (bool, error)) error {
	begun := time.Now()
	told := ""
	for {
		short, cancel := context.WithTimeout(ctx, pollTimeout)
		cluster, err := client.Cluster(short)
		cancel()
		if err == nil {
			end, err := done(cluster, time.Since(begun))
			if end || err != nil {
				return err
			}
			if now := progress(cluster); now != told && now != "" {
				told = now
				fmt.Fprintf(t.stderr, "%6.1f s  %s\n", time.Since(begun).Seconds(), now)
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pollEvery):
		}
	}
}

const (
	pollEvery   = 250 * time.Millisecond
	pollTimeout = 5 * time.Second
)

// progressText tells what a server waits for.
func progressText(server string, c api.Cluster) string {
	state := "not of the cluster"
	if s, err := serverOf(c, server); err == nil {
		state = string(s.State)
	}
	i := slices.IndexFunc(c.Decision.Waits, func(w decide.Wait) bool { return w.Server == server && w.Code == decide.CodeCloning })
	if i < 0 { // While it is cloned it is out of reach as well, and no wonder.
		i = slices.IndexFunc(c.Decision.Waits, func(w decide.Wait) bool { return w.Server == server })
	}
	if i < 0 {
		return state
	}
	return state + ": " + c.Decision.Waits[i].Detail
}

func addedText(r changed) string {
	if r.Took == 0 {
		return fmt.Sprintf("%s joins: the servers will be %s\n", r.Server, strings.Join(r.Servers, ", "))
	}
	how := "in sync"
	if !r.InSync {
		how = string(r.State)
	}
	return fmt.Sprintf("%s is of the cluster and %s after %s; the servers are %s\n", r.Server, how, short(r.Took), strings.Join(r.Servers, ", "))
}

func removedText(r changed) string {
	if r.Took == 0 {
		return fmt.Sprintf("%s leaves: the servers will be %s\n", r.Server, strings.Join(r.Servers, ", "))
	}
	return fmt.Sprintf("%s has left after %s; the servers are %s. Take it out of their configuration as well; its data is where it was\n", r.Server, short(r.Took), strings.Join(r.Servers, ", "))
}
