package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/certs"
	"github.com/mysqlha/mysqlha/config"
	"github.com/mysqlha/mysqlha/doctor"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication"
	"github.com/mysqlha/mysqlha/replication/guard"
	"github.com/mysqlha/mysqlha/replication/process"
)

const (
	// examineTimeout bounds the examination of one server.
	examineTimeout = 20 * time.Second
	// clockLimit is by how much the clocks of two hosts may differ.
	clockLimit = 500 * time.Millisecond
)

// Doctor examines a server, or all of them and the cluster.
func (b *backend) Doctor(ctx context.Context, server string) (api.Examination, error) {
	ctx, cancel := context.WithTimeout(ctx, examineTimeout)
	defer cancel()
	if server != "" {
		own, peer, err := b.beside(server)
		switch {
		case err != nil:
			return api.Examination{}, err
		case !own:
			return peer.Doctor(ctx, server)
		}
		return b.d.examined.do(ctx, examineTimeout, b.d.examineOwn)
	}
	servers := b.d.servers()
	all := make([]api.Examination, len(servers))
	var wg sync.WaitGroup
	for i, s := range servers {
		wg.Go(func() {
			one, err := b.Doctor(ctx, s.Name)
			if err != nil {
				one = api.Examination{Servers: []api.Examined{{Server: s.Name}},
					Found: []decide.Diagnosis{doctor.Of(decide.CodeNotExamined, s.Name, err.Error(), "systemctl status mysqlhad on "+s.Name)}}
			}
			all[i] = one
		})
	}
	var cluster []decide.Diagnosis
	wg.Go(func() { cluster = b.d.examineCluster(ctx, b) })
	wg.Wait()
	out := api.Examination{Found: []decide.Diagnosis{}}
	for _, one := range all {
		out.Servers = append(out.Servers, one.Servers...)
		out.Found = append(out.Found, one.Found...)
	}
	for _, f := range cluster { // The server itself says it better.
		if !slices.ContainsFunc(out.Found, func(o decide.Diagnosis) bool { return o.Code == f.Code && o.Server == f.Server }) {
			out.Found = append(out.Found, f)
		}
	}
	out.Found = append(out.Found, b.d.compareVersions(out.Servers)...)
	doctor.Sort(out.Found)
	return out, nil
}

// examineOwn examines the server of this host.
func (d *daemon) examineOwn(ctx context.Context) api.Examination {
	h := doctor.Host{Server: d.cfg.Name, Now: time.Now(), Disk: d.member.member.Live().Disk, ControlUser: d.cfg.MySQL.ControlUser}
	facts, err := d.member.local.Facts(ctx)
	if err != nil {
		h.FactsError = err.Error()
	}
	h.Facts = facts
	h.Own = d.certificates(facts)
	if run, err := process.ReadRunFile(d.cfg.MySQL.RunFile); err == nil {
		h.Attached = run.Attached
		watched, err := guard.Watched(d.cfg.MySQL.RunFile)
		h.Unguarded = err == nil && !watched
		h.Options = optionsOf(ctx, run.PID)
	}
	return api.Examination{Servers: []api.Examined{{Server: d.cfg.Name, Version: facts.Version, At: h.Now}}, Found: doctor.Examine(h)}
}

// certificates are those that this host serves.
func (d *daemon) certificates(f replication.Facts) []doctor.Certificate {
	self, _ := d.cfg.Server(d.cfg.Name)
	own := inspect("mysqlhad", d.files.CA, d.files.Cert, self.APITLSName())
	all := []doctor.Certificate{own}
	if f.Variables == nil {
		return all
	}
	served := inspect("mysqld", d.files.CA, certificateFile(d.cfg, f), self.MySQLTLSName())
	served.Reload = "ALTER INSTANCE RELOAD TLS"
	if at, err := time.Parse("Jan _2 15:04:05 2006 MST", f.CertificateEnd); err == nil {
		served.Served = at
	}
	return append(all, served)
}

// certificateFile is where mysqld's certificate lies.
func certificateFile(cfg *config.Config, f replication.Facts) string {
	file := f.Variables["ssl_cert"]
	if !filepath.IsAbs(file) {
		file = filepath.Join(cfg.MySQL.DataDir, file)
	}
	return file
}

// inspect reads a certificate and says what it does not prove.
func inspect(of, ca, file, name string) doctor.Certificate {
	c := doctor.Certificate{Of: of, File: file}
	text, err := os.ReadFile(file)
	var leaf *x509.Certificate
	if err == nil {
		leaf, err = certs.Prove(ca, text, name)
	}
	if leaf != nil {
		c.NotAfter = leaf.NotAfter
	}
	var expired x509.CertificateInvalidError
	if err != nil && !(errors.As(err, &expired) && expired.Reason == x509.Expired) { // Said by its end.
		c.Problem = err.Error()
	}
	return c
}

// optionsOf returns what the option files of a running mysqld say now, as it reads
// them itself; nil where it does not tell.
func optionsOf(ctx context.Context, pid int) []string {
	dir := "/proc/" + strconv.Itoa(pid)
	program, err := os.Readlink(dir + "/exe")
	if err != nil {
		return nil
	}
	line, err := os.ReadFile(dir + "/cmdline")
	if err != nil {
		return nil
	}
	var args []string
	for _, arg := range strings.Split(string(bytes.TrimRight(line, "\x00")), "\x00")[1:] {
		if strings.HasPrefix(arg, "--defaults-") || arg == "--no-defaults" {
			args = append(args, arg)
		}
	}
	cmd := exec.CommandContext(ctx, program, append(args, "--print-defaults")...)
	cmd.Dir = "/"
	out, err := cmd.Output()
	if err != nil {
		return nil
	}
	words := strings.Fields(string(out))
	return slices.DeleteFunc(words, func(w string) bool { return !strings.HasPrefix(w, "--") })
}

// examineCluster finds what no server knows of itself.
func (d *daemon) examineCluster(ctx context.Context, b *backend) (found []decide.Diagnosis) {
	if why, err := b.Why(ctx); err != nil {
		found = append(found, doctor.Of(decide.CodeNotExamined, "", "nobody leads: "+err.Error(), "mysqlha status"))
	} else {
		for _, w := range why.Decision.Waits {
			found = append(found, doctor.Of(w.Code, w.Server, w.Detail, w.Remedy))
		}
	}
	for _, s := range d.servers() {
		asked := time.Now()
		live, err := d.ask(ctx, s.Name)
		took := time.Since(asked)
		if err != nil || live.At.IsZero() || s.Name == d.cfg.Name {
			continue
		}
		if off := live.At.Add(live.Age).Sub(asked.Add(took / 2)); off.Abs() > clockLimit+took/2 {
			found = append(found, doctor.Of(decide.CodeClockOffset, s.Name, fmt.Sprintf("its clock is %s off that of %s", off.Round(time.Millisecond), d.cfg.Name), "look at chrony or ntpd on both"))
		}
	}
	if len(d.cfg.Etcd.Endpoints) > 0 {
		return found
	}
	members, err := etcdMembers{d}.Members(ctx)
	if err == nil && len(members) < 3 {
		found = append(found, doctor.Of(decide.CodeEtcdTooSmall, "", fmt.Sprintf("etcd has %d members: none of them may be lost", len(members)), "mysqlha server add, or a witness with the role etcd"))
	}
	return found
}

// compareVersions finds replicas that are older than the primary.
func (d *daemon) compareVersions(servers []api.Examined) (found []decide.Diagnosis) {
	r := d.bus.State().Record
	i := slices.IndexFunc(servers, func(s api.Examined) bool { return r != nil && s.Server == r.Primary })
	if i < 0 || servers[i].Version == "" {
		return nil
	}
	for _, s := range servers {
		if s.Version != "" && replication.CompareVersions(s.Version, servers[i].Version) < 0 {
			found = append(found, doctor.Of(decide.CodeVersionsDiffer, s.Server, fmt.Sprintf("it runs MySQL %s, and the primary %s runs %s", s.Version, servers[i].Server, servers[i].Version), "upgrade "+s.Server))
		}
	}
	return found
}
