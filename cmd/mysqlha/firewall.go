package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/urfave/cli/v2"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/config"
	"github.com/mysqlha/mysqlha/firewall"
)

const siteHost = "/etc/mysqlha/site.yaml"

func (t tool) firewallCommand() *cli.Command {
	flags := func(more ...cli.Flag) []cli.Flag {
		return append([]cli.Flag{
			&cli.StringFlag{Name: "site", Value: siteHost, Usage: "the description of the hosts, the same on all: `FILE`"},
			&cli.StringFlag{Name: "host", Usage: "which of them; default this one's host name: `NAME`"},
			&cli.StringSliceFlag{Name: "role", Usage: "what the host is for, instead of what the description says: `ROLE`"},
			&cli.BoolFlag{Name: "live", Usage: "add the servers that the cluster has and the description lacks; asks a daemon"},
			&cli.StringFlag{Name: "known", Usage: "add those that it had when follow --live last heard of it, which keeps them there: `FILE`"},
		}, more...)
	}
	within := &cli.DurationFlag{Name: "within", Value: 30 * time.Second, Usage: "how long to wait for the word that the new rules are to stay"}
	return &cli.Command{
		Name: "firewall", Usage: "the firewall of each host, from one description of the site: render, apply, check, follow",
		Description: "What the hosts need of each other is allowed and all else dropped, in and out, by rules of nftables in a table of their own. See docs/firewall.md.",
		Subcommands: []*cli.Command{
			{Name: "render", Usage: "print the rules of a host, for nft -f", Flags: flags(clientFlags()...), Action: t.firewallRender},
			{Name: "apply", Usage: "load the rules of this host in one transaction; they are taken back unless you say in time that they are to stay",
				Flags: append(flags(clientFlags()...), within, &cli.BoolFlag{Name: "yes", Usage: "keep them without asking: at boot, or where nobody can be locked out"}), Action: t.firewallApply},
			{Name: "check", Usage: "compare what is loaded with what should be; exit code 1 says that it differs", Flags: flags(clientFlags()...), Action: t.firewallCheck},
			{Name: "matrix", Usage: "print who may talk to whom, on which ports", Flags: flags(clientFlags()...), Action: t.firewallMatrix},
			{Name: "follow", Usage: "keep the rules of this host in step with the description and the servers of the cluster, until stopped",
				Flags: append(flags(clientFlags()...), &cli.DurationFlag{Name: "every", Value: 5 * time.Second, Usage: "how often to look"}), Action: t.firewallFollow},
			{Name: "guardian", Hidden: true, Flags: []cli.Flag{within}, Action: func(c *cli.Context) error {
				return firewall.Guardian(c.Context, c.Duration("within"), os.Stdin, t.stdout)
			}},
		},
	}
}

// siteAndHost are the description, with the servers of the cluster where that is asked
// for, and the host that is meant.
func siteAndHost(c *cli.Context) (*config.Site, config.SiteHost, error) {
	s, err := config.LoadSite(c.String("site"))
	if err != nil {
		return nil, config.SiteHost{}, err
	}
	servers, err := readKnown(c.String("known"), s.Cluster)
	if err == nil && c.Bool("live") {
		servers, err = serversOf(c, s)
	}
	if err != nil {
		return nil, config.SiteHost{}, err
	}
	addServers(s, servers)
	h, err := hostOf(c, s)
	return s, h, err
}

func hostOf(c *cli.Context, s *config.Site) (config.SiteHost, error) {
	name := c.String("host")
	if name == "" {
		own, err := os.Hostname()
		if err != nil {
			return config.SiteHost{}, fmt.Errorf("which host is this? %w; give --host NAME", err)
		}
		name, _, _ = strings.Cut(own, ".")
	}
	h, known := s.Host(name)
	roles := c.StringSlice("role")
	if !known && len(roles) == 0 {
		return h, &usageError{fmt.Sprintf("%q is none of the hosts in %s: give --host NAME, or --role ROLE", name, c.String("site"))}
	}
	if len(roles) > 0 {
		h.Name, h.Tiers = name, nil
	}
	for _, role := range roles {
		if !slices.Contains(config.Tiers(), config.Tier(role)) {
			return h, &usageError{fmt.Sprintf("--role is %q: write lb, web, app, db, etcd or monitor", role)}
		}
		h.Tiers = append(h.Tiers, config.Tier(role))
	}
	return h, nil
}

// clusterServer is one of the cluster, with its addresses.
type clusterServer struct {
	Name      string   `json:"name"`
	Addresses []string `json:"addresses"`
}

// knownServers are those that a cluster had when it was last heard of, as they are kept in
// a file.
type knownServers struct {
	Cluster string          `json:"cluster"`
	Servers []clusterServer `json:"servers"`
}

// readKnown reads them; there are none where there is no file yet.
func readKnown(file, cluster string) ([]clusterServer, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var known knownServers
	if err == nil {
		err = json.Unmarshal(text, &known)
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("the servers that the cluster had cannot be read from %s: %w; remove it, and they are asked for anew", file, err)
	case known.Cluster != cluster:
		return nil, fmt.Errorf("%s knows the servers of the cluster %q, not of %q: remove it", file, known.Cluster, cluster)
	}
	return known.Servers, nil
}

// keepKnown writes them.
func keepKnown(file, cluster string, servers []clusterServer) error {
	if file == "" {
		return nil
	}
	text, err := json.MarshalIndent(knownServers{cluster, servers}, "", "  ")
	if err == nil {
		err = renameio.WriteFile(file, append(text, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("the servers of the cluster cannot be kept: %w", err)
	}
	return nil
}

// serversOf asks the cluster for its servers.
func serversOf(c *cli.Context, s *config.Site) ([]clusterServer, error) {
	client, cluster, err := connect(c)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	if cluster != s.Cluster {
		return nil, fmt.Errorf("%s describes the cluster %q, and the context leads to %q", c.String("site"), s.Cluster, cluster)
	}
	ctx, cancel := context.WithTimeout(c.Context, given(c, "timeout").Duration("timeout"))
	defer cancel()
	now, err := clusterOf(ctx, client, cluster)
	if err != nil {
		return nil, err
	}
	return addressed(ctx, now)
}

// addressed finds the addresses of a cluster's servers.
func addressed(ctx context.Context, c api.Cluster) (servers []clusterServer, err error) {
	if c.Record == nil || len(c.Record.Servers) == 0 {
		return nil, errors.New("the daemon that answers does not know the servers of the cluster at the moment")
	}
	for _, s := range c.Record.Servers {
		one := clusterServer{Name: s.Name}
		for _, at := range []string{s.MySQL, s.API, s.Etcd.Peer, s.Etcd.Client} {
			host, _, err := net.SplitHostPort(at)
			if err != nil || host == "" {
				continue
			}
			found := []string{host}
			if _, err := netip.ParseAddr(host); err != nil {
				if found, err = net.DefaultResolver.LookupHost(ctx, host); err != nil {
					return nil, fmt.Errorf("finding the address of %s: %w", s.Name, err)
				}
			}
			for _, a := range found {
				if !slices.Contains(one.Addresses, a) {
					one.Addresses = append(one.Addresses, a)
				}
			}
		}
		servers = append(servers, one)
	}
	return servers, nil
}

// addServers adds servers to a description that lacks them.
func addServers(s *config.Site, servers []clusterServer) {
	for _, one := range servers {
		lacks := slices.DeleteFunc(slices.Clone(one.Addresses), func(a string) bool {
			return slices.ContainsFunc(s.Hosts, func(h config.SiteHost) bool {
				return slices.Contains(h.Tiers, config.TierDB) && slices.Contains(h.Addresses, a)
			})
		})
		if len(lacks) > 0 {
			s.Hosts = append(s.Hosts, config.SiteHost{Name: one.Name, Tiers: []config.Tier{config.TierDB}, Addresses: lacks})
		}
	}
}

func (t tool) firewallRender(c *cli.Context) error {
	s, h, err := siteAndHost(c)
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(t.stdout, firewall.Render(s, h))
	return err
}

func (t tool) firewallApply(c *cli.Context) error {
	s, h, err := siteAndHost(c)
	if err != nil {
		return err
	}
	rules := firewall.Render(s, h)
	if c.Bool("yes") {
		if err := firewall.Load(c.Context, rules); err != nil {
			return err
		}
		_, err := fmt.Fprintf(t.stdout, "the rules of %s are loaded\n", h.Name)
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	trial, err := firewall.Try(c.Context, rules, self, "firewall", "guardian", "--within", c.Duration("within").String())
	if err != nil {
		return err
	}
	fmt.Fprintf(t.stdout, "The rules of %s are loaded. Can you still log in, from a second terminal?\nType keep within %s, or the former ones come back: ", h.Name, c.Duration("within"))
	if !keeps(c.Context, c.Duration("within")) {
		if err := trial.Revert(); err != nil {
			return err
		}
		return errTakenBack
	}
	if err := trial.Keep(); err != nil {
		return fmt.Errorf("%w: %w", errTakenBack, err)
	}
	_, err = fmt.Fprintln(t.stdout, "They stay until the next boot; see docs/firewall.md for what loads them then.")
	return err
}

// keeps tells whether somebody typed that the rules are to stay.
func keeps(ctx context.Context, within time.Duration) bool {
	typed := make(chan string, 1)
	go func() { // It ends with the process.
		line, _ := bufio.NewReader(os.Stdin).ReadString('\n')
		typed <- strings.TrimSpace(line)
	}()
	select {
	case word := <-typed:
		return word == "keep"
	case <-time.After(within):
	case <-ctx.Done():
	}
	return false
}

// comparedRules is the answer of firewall check.
type comparedRules struct {
	Host    string   `json:"host"`
	Loaded  bool     `json:"loaded"`
	Missing []string `json:"missing"`
	Surplus []string `json:"surplus"`
}

func (t tool) firewallCheck(c *cli.Context) error {
	s, h, err := siteAndHost(c)
	if err != nil {
		return err
	}
	found := comparedRules{Host: h.Name}
	found.Missing, found.Surplus, found.Loaded, err = firewall.Compare(c.Context, firewall.Render(s, h))
	if err != nil {
		return err
	}
	if err := t.print(c, found, func() string { return rulesText(found, t.paint) }); err != nil {
		return err
	}
	if len(found.Missing)+len(found.Surplus) > 0 {
		return errNotClean
	}
	return nil
}

func rulesText(r comparedRules, paint painter) string {
	switch {
	case !r.Loaded:
		return paint(red, "no rules are loaded") + ": mysqlha firewall apply\n"
	case len(r.Missing)+len(r.Surplus) == 0:
		return paint(green, "what is loaded is what the description says") + "\n"
	}
	var b strings.Builder
	for _, line := range r.Missing {
		b.WriteString(paint(red, "- "+line) + "\n")
	}
	for _, line := range r.Surplus {
		b.WriteString(paint(yellow, "+ "+line) + "\n")
	}
	b.WriteString("- is missing, + is too much; mysqlha firewall apply sets it right\n")
	return b.String()
}

func (t tool) firewallMatrix(c *cli.Context) error {
	s, err := config.LoadSite(c.String("site"))
	if err != nil {
		return err
	}
	flows := firewall.Flows(s)
	return t.print(c, flows, func() string {
		w := newTable("FROM", "TO", "PORT", "WHAT")
		for _, f := range flows {
			w.AppendRow([]any{f.From, f.To, fmt.Sprintf("%d/%s", f.Port, f.Protocol), f.Name})
		}
		return w.Render() + "\n"
	})
}

// firewallFollow loads the rules whenever they should be others than they are. While no
// daemon answers it goes on with the servers that it heard of last.
func (t tool) firewallFollow(c *cli.Context) error {
	every := c.Duration("every")
	if every < 100*time.Millisecond {
		return &usageError{fmt.Sprintf("--every is %s: write 100ms or more", every)}
	}
	var servers []clusterServer // as they were heard of last, or nil before that
	told := ""
	say := func(format string, args ...any) {
		if text := fmt.Sprintf(format, args...); text != told {
			told = text
			fmt.Fprintln(t.stderr, text)
		}
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		s, err := config.LoadSite(c.String("site"))
		if err == nil {
			var unheard error
			if servers, unheard = followServers(c, s, servers); unheard != nil && c.Context.Err() == nil {
				say("the servers of the cluster are not known anew: %v", unheard)
			}
			addServers(s, servers)
			err = t.followOnce(c, s, say)
		}
		if err != nil && c.Context.Err() == nil {
			say("the rules stay as they are: %v", err)
		}
		select {
		case <-tick.C:
		case <-c.Context.Done():
			return nil
		}
	}
}

// followServers are the servers of the cluster: as they are, or else as they were. What it
// fails with leaves them as good as they were.
func followServers(c *cli.Context, s *config.Site, before []clusterServer) ([]clusterServer, error) {
	file := c.String("known")
	kept, err := readKnown(file, s.Cluster)
	if before == nil {
		before = kept
	}
	if !c.Bool("live") {
		return before, err
	}
	now, unheard := serversOf(c, s)
	if unheard != nil {
		return before, errors.Join(err, unheard)
	}
	if err != nil || !reflect.DeepEqual(now, kept) {
		err = keepKnown(file, s.Cluster, now)
	}
	return now, err
}

func (t tool) followOnce(c *cli.Context, s *config.Site, say func(string, ...any)) error {
	h, err := hostOf(c, s)
	if err != nil {
		return err
	}
	rules := firewall.Render(s, h)
	missing, surplus, _, err := firewall.Compare(c.Context, rules)
	if err != nil {
		return err
	}
	if len(missing)+len(surplus) == 0 {
		return nil
	}
	if err := firewall.Load(c.Context, rules); err != nil {
		return err
	}
	say("the rules of %s are loaded anew: %d lines came, %d went", h.Name, len(missing), len(surplus))
	return nil
}

var errTakenBack = errors.New("not confirmed; the former rules are back")
