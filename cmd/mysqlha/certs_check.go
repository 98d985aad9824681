package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/certs"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// endsSoon is how long before its end a certificate is a fault, as for the doctor.
const endsSoon = 21 * day

// port is one place where a certificate is served.
type port struct {
	Host    string `json:"host"`
	What    string `json:"what"`
	Address string `json:"address"`
	name    string
	speaks  certs.Protocol
	// Issuer is the fingerprint of the authority of what is served, Days what is left.
	Issuer string `json:"issuer,omitempty"`
	Days   int    `json:"days_left"`
	// Problem says what is wrong, empty for nothing.
	Problem string `json:"problem,omitempty"`
}

// checkedCluster is the answer of certs check.
type checkedCluster struct {
	Cluster string `json:"cluster"`
	Ports   []port `json:"ports"`
	// Trust is what is wrong with whom the daemons trust.
	Trust []string `json:"trust"`
}

// faults are all that is wrong.
func (k checkedCluster) faults() []string {
	faults := slices.Clone(k.Trust)
	for _, p := range k.Ports {
		if p.Problem != "" {
			faults = append(faults, fmt.Sprintf("%s, %s at %s: %s", p.Host, p.What, p.Address, p.Problem))
		}
	}
	return faults
}

func (t tool) certsCheck(c *cli.Context) error {
	found, err := t.lookAtCluster(c)
	if err != nil {
		return err
	}
	if err := t.print(c, found, func() string { return checkedText(found, t.paint) }); err != nil {
		return err
	}
	if len(found.faults()) > 0 {
		return errNotClean
	}
	return nil
}

func checkedText(k checkedCluster, paint painter) string {
	w := newTable("HOST", "WHAT", "ADDRESS", "ISSUER", "DAYS LEFT", "")
	for _, p := range k.Ports {
		days := fmt.Sprint(p.Days)
		if p.Issuer == "" {
			days = ""
		}
		w.AppendRow(table.Row{p.Host, p.What, p.Address, p.Issuer[:min(8, len(p.Issuer))], days, paint(red, p.Problem)})
	}
	text := w.Render() + "\n"
	for _, fault := range k.Trust {
		text += paint(red, fault) + "\n"
	}
	if len(k.faults()) == 0 {
		text += paint(green, "all is well") + "\n"
	}
	return text
}

// lookAtCluster looks at every port of every server, and asks every daemon whom it
// trusts. It judges by the authorities of --dir, or else by those of the context.
func (t tool) lookAtCluster(c *cli.Context) (checkedCluster, error) {
	to, err := targetOf(c)
	if err != nil {
		return checkedCluster{}, err
	}
	ca := to.files.CA
	if dir := c.String("dir"); dir != "" {
		ca = filepath.Join(dir, certs.AuthorityCert)
	}
	trusted, err := authoritiesOf(ca)
	if err != nil {
		return checkedCluster{}, err
	}
	wait := given(c, "timeout").Duration("timeout")
	ctx, cancel := context.WithTimeout(c.Context, wait)
	defer cancel()
	client, err := api.NewClient(to.endpoints...)
	if err != nil {
		return checkedCluster{}, err
	}
	defer client.Close()
	cluster, err := clusterOf(ctx, client, to.cluster)
	if err != nil {
		return checkedCluster{}, err
	}
	found := checkedCluster{Cluster: to.cluster, Ports: portsOf(cluster, to), Trust: []string{}}
	var wg sync.WaitGroup
	for i := range found.Ports {
		wg.Go(func() { found.Ports[i].look(ctx, trusted) })
	}
	daemons := make([][]string, len(found.Ports))
	for i, p := range found.Ports {
		if p.What != "api" {
			continue
		}
		wg.Go(func() { daemons[i] = trustOf(ctx, to.endpoint(p.Address, p.name), p.Host, trusted) })
	}
	wg.Wait()
	found.Trust = append(found.Trust, slices.Concat(daemons...)...)
	return found, nil
}

func authoritiesOf(ca string) ([]*x509.Certificate, error) {
	text, err := os.ReadFile(ca)
	if err != nil {
		return nil, fmt.Errorf("reading the CA: %w", err)
	}
	return certs.Parse(text)
}

// portsOf are all places of a cluster where certificates are served.
func portsOf(cluster api.Cluster, to target) []port {
	var ports []port
	add := func(host, what, address, name string, speaks certs.Protocol) {
		if name == "" {
			name, _, _ = net.SplitHostPort(address)
		}
		if address != "" && !slices.ContainsFunc(ports, func(p port) bool { return p.Address == address }) {
			ports = append(ports, port{Host: host, What: what, Address: address, name: name, speaks: speaks})
		}
	}
	var servers []decide.Server
	if cluster.Record != nil {
		servers = cluster.Record.Servers
	}
	for _, s := range servers {
		add(s.Name, "api", s.API, s.TLSName, certs.PlainTLS)
		add(s.Name, "mysqld", s.MySQL, s.TLSName, certs.MySQL)
		add(s.Name, "etcd", s.Etcd.Client, "", certs.PlainTLS)
		add(s.Name, "etcd peer", s.Etcd.Peer, "", certs.PlainTLS)
	}
	for _, w := range cluster.Witnesses {
		add(w.Name, "api", w.API, "", certs.PlainTLS)
	}
	for _, e := range to.endpoints { // A redirector may be among them.
		add(e.Address, "api", e.Address, e.TLS.ServerName, certs.PlainTLS)
	}
	return ports
}

// look looks at what is served at a port.
func (p *port) look(ctx context.Context, trusted []*x509.Certificate) {
	chain, err := certs.Served(ctx, p.Address, p.speaks)
	if err != nil {
		p.Problem = err.Error()
		return
	}
	now, one := time.Now(), certs.Describe(chain, trusted, "")
	p.Issuer, p.Days, p.Problem = one.Issuer, int(one.Left(now)/day), one.Problem
	switch err := chain[0].VerifyHostname(p.name); {
	case p.Problem != "":
	case err != nil:
		p.Problem = err.Error()
	case one.Left(now) < endsSoon && one.Due(now):
		p.Problem = "it ends soon"
	}
}

// trustOf says what is wrong with whom a daemon trusts.
func trustOf(ctx context.Context, at api.Endpoint, host string, trusted []*x509.Certificate) (faults []string) {
	client, err := api.NewClient(at)
	if err != nil {
		return []string{err.Error()}
	}
	defer client.Close()
	has, err := client.Certificates(ctx)
	if err != nil {
		return []string{fmt.Sprintf("%s: %v", host, err)}
	}
	var wanted []string
	for _, c := range trusted {
		wanted = append(wanted, certs.Fingerprint(c))
	}
	for _, one := range []struct {
		who    string
		trusts []string
	}{{"the daemon of " + has.Host, has.Trusts}, {"etcd on " + has.Host, has.EtcdTrusts}} {
		if one.who != "the daemon of "+has.Host && one.trusts == nil {
			continue
		}
		for _, f := range wanted {
			if !slices.Contains(one.trusts, f) {
				faults = append(faults, fmt.Sprintf("%s does not trust the authority %s yet", one.who, f[:8]))
			}
		}
		for _, f := range one.trusts {
			if !slices.Contains(wanted, f) {
				faults = append(faults, fmt.Sprintf("%s trusts another authority, %s", one.who, f[:8]))
			}
		}
	}
	return faults
}

// ready looks whether every host has what the stage before has made. Issuer is the
// authority that all that is served must be of, empty for any that is trusted.
func (t tool) ready(c *cli.Context, issuer string) error {
	if c.Bool("unchecked") {
		return nil
	}
	found, err := t.lookAtCluster(c)
	if err != nil {
		return fmt.Errorf("%w; the cluster must be looked at first, or say --unchecked", err)
	}
	for i, p := range found.Ports {
		if issuer != "" && p.Problem == "" && p.Issuer != issuer {
			found.Ports[i].Problem = "what it serves is of the former authority still"
		}
	}
	if faults := found.faults(); len(faults) > 0 {
		return fmt.Errorf("nothing was changed, because not every host is there yet:\n  %s\ncopy the folders to their hosts; mysqlha certs check --dir %s looks again",
			strings.Join(faults, "\n  "), c.String("dir"))
	}
	return nil
}

func (t tool) replaceBegin(c *cli.Context) error {
	valid, err := checked(c)
	if err != nil {
		return err
	}
	folder, err := folderOf(c)
	if err != nil {
		return err
	}
	if err := folder.Begin(c.String("name"), valid); err != nil {
		return err
	}
	return t.replaced(folder, "The next authority is made, and is trusted in every folder beside the former one.", "switch")
}

func (t tool) replaceSwitch(c *cli.Context) error {
	folder, err := folderOf(c)
	if err != nil {
		return err
	}
	stage, err := folder.Stage()
	if err == nil && stage != certs.StageBegun {
		err = errors.New("there is nothing to switch to: mysqlha certs replace-ca begin comes first")
	}
	if err != nil {
		return err
	}
	if err := t.ready(c, ""); err != nil {
		return err
	}
	renewed, err := folder.Switch()
	if err != nil {
		return err
	}
	return t.replaced(folder, fmt.Sprintf("The next authority has issued %d certificates anew.", len(renewed)), "finish")
}

func (t tool) replaceFinish(c *cli.Context) error {
	folder, err := folderOf(c)
	if err != nil {
		return err
	}
	trusted, err := certs.Fingerprints(filepath.Join(string(folder), certs.AuthorityCert))
	if err != nil {
		return err
	}
	if err := t.ready(c, trusted[0]); err != nil {
		return err
	}
	if err := folder.Finish(); err != nil {
		return err
	}
	_, err = fmt.Fprintln(t.stdout, "The former authority is trusted no more. Copy the folders to their hosts a last time, and destroy all copies of its key: here the new one has taken its place.")
	return err
}

func (t tool) replaced(folder certs.Folder, done, next string) error {
	_, err := fmt.Fprintf(t.stdout, "%s\nNext: copy the folders to their hosts, then mysqlha certs replace-ca %s --dir %s\n", done, next, folder)
	return err
}
