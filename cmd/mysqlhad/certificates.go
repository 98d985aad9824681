package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/certs"
	"github.com/mysqlha/mysqlha/replication"
)

const (
	// certificatePoll is how often it is looked whether certificates have changed.
	certificatePoll = time.Second
	// certificateSoon is how soon it is looked again what mysqld has, while that is not
	// known.
	certificateSoon = 100 * time.Millisecond
	// certificateRead is how often mysqld is asked where its own is, and how often it is
	// tried again to have it take that.
	certificateRead = 10 * time.Second
	// reloadTimeout bounds one statement to mysqld, or one look at what it serves.
	reloadTimeout = 5 * time.Second
)

// The names of the certificates of a host.
const (
	certificateHost   = "host"
	certificateMysqld = "mysqld"
)

// certificates watches over those of this host. What the daemon itself uses follows its
// files by itself; mysqld has to be told.
type certificates struct {
	d *daemon

	// of are mysqld's files, as it said at readAt; taken is what they looked like when it
	// last took them, of that run of it.
	of     replication.TLSFiles
	readAt time.Time
	taken  [sha256.Size]byte
	told   string

	mu    sync.Mutex
	shown []api.Certificate
	// own is what mysqld can show to others, once that is known.
	own         replication.TLSFiles
	clientKnown bool
}

// run watches until ctx ends.
func (c *certificates) run(ctx context.Context) error {
	tick := time.NewTicker(certificatePoll)
	defer tick.Stop()
	for {
		c.look()
		if c.d.member != nil {
			c.tellMysqld(ctx)
			c.lookAtClient()
		}
		pause := tick.C
		if _, known := c.client(); !known && c.d.member != nil {
			pause = time.After(certificateSoon)
		}
		select {
		case <-pause:
		case <-ctx.Done():
			return nil
		}
	}
}

// client is the certificate that mysqld can show where it replicates or is cloned from,
// empty where it has none for that; false while that has not been read.
func (c *certificates) client() (replication.TLSFiles, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.own, c.clientKnown
}

// lookAtClient finds that out; a change is told to the others.
func (c *certificates) lookAtClient() {
	if c.readAt.IsZero() {
		return
	}
	var now replication.TLSFiles
	if c.of.Cert != "" {
		one, err := certs.Look(c.of.Cert, c.of.CA)
		if err != nil {
			return // It may be being replaced at this moment.
		}
		if one.Client() {
			now = c.of
		}
	}
	c.mu.Lock()
	changed := !c.clientKnown || c.own != now
	c.own, c.clientKnown = now, true
	c.mu.Unlock()
	if changed {
		c.d.elector.passwords.tell()
	}
}

// look notes until when the certificates are valid.
func (c *certificates) look() {
	shown := []api.Certificate{c.read(certificateHost, c.d.cfg.TLS.Cert, c.d.cfg.TLS.CA)}
	if c.of.Cert != "" {
		shown = append(shown, c.read(certificateMysqld, c.of.Cert, c.of.CA))
	}
	for _, one := range shown {
		if !one.Until.IsZero() {
			c.d.metrics.CertificateEnds(one.Name, one.Until)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shown = shown
}

func (c *certificates) read(name, file, ca string) api.Certificate {
	one, err := certs.Look(file, ca)
	if err != nil {
		return api.Certificate{Name: name, File: file, Problem: err.Error()}
	}
	return api.Certificate{Name: name, File: file, Role: string(one.Role), Holder: one.Identity.Name, Hosts: one.Hosts, Issuer: one.Issuer,
		From: one.From, Until: one.Until, Problem: one.Problem}
}

// state is what this host has, and whom it trusts.
func (c *certificates) state() api.Certificates {
	s := api.Certificates{Host: c.d.cfg.Name, EtcdTrusts: c.d.etcd.trusts()}
	s.Trusts, _ = certs.Fingerprints(c.d.cfg.TLS.CA) // Empty tells it.
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Certificates = slices.Clone(c.shown)
	return s
}

// tellMysqld has mysqld take its files anew when they have changed. Sessions go on with
// what they began with, and files that cannot be used change nothing.
func (c *certificates) tellMysqld(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, reloadTimeout)
	defer cancel()
	due := time.Since(c.readAt) > certificateRead
	if due {
		of, err := c.d.member.local.TLSFiles(ctx)
		if err != nil {
			return // It does not answer, and takes them when it starts.
		}
		c.of, c.readAt = of, time.Now()
	}
	if c.of.Cert == "" {
		return
	}
	now, err := contentOf(c.of)
	if err != nil || now == c.taken || !due && c.told != "" {
		return
	}
	err = c.reload(ctx)
	switch {
	case err == nil:
		c.taken, c.told = now, ""
	case c.told != err.Error():
		c.told = err.Error()
		c.d.log.Error("mysqld does not take its certificate, and the former stays in use", "error", err)
	}
}

// reload has mysqld take its certificate unless it serves that already.
func (c *certificates) reload(ctx context.Context) error {
	file, err := certs.Look(c.of.Cert, c.of.CA)
	if err != nil {
		return err
	}
	if file.Problem != "" {
		return fmt.Errorf("%s is not one of the authorities in %s: %s", c.of.Cert, c.of.CA, file.Problem)
	}
	before, err := c.served(ctx)
	if err == nil && before == file.Print && c.taken == [sha256.Size]byte{} {
		return nil // This daemon has just started.
	}
	if err := c.d.member.local.ReloadTLS(ctx); err != nil {
		return err
	}
	if after, err := c.served(ctx); err == nil && after != file.Print { // It may let nobody look yet.
		return errors.New("it was told to take it, and serves another one")
	}
	c.d.log.Info("mysqld has taken its certificate", "until", file.Until, "issuer", file.Issuer)
	return nil
}

// served is the fingerprint of what mysqld serves over the network.
func (c *certificates) served(ctx context.Context) (string, error) {
	self, ok := c.d.server(c.d.cfg.Name)
	if !ok {
		s, _ := c.d.cfg.Server(c.d.cfg.Name)
		self.MySQL = s.MySQL
	}
	chain, err := certs.Served(ctx, self.MySQL, certs.MySQL)
	if err != nil {
		return "", err
	}
	return certs.Fingerprint(chain[0]), nil
}

// contentOf tells versions of mysqld's files apart. Its key may be for its own user
// alone: what that looks like from outside has to do.
func contentOf(f replication.TLSFiles) (sum [sha256.Size]byte, err error) {
	h := sha256.New()
	for _, path := range []string{f.CA, f.Cert} {
		if path == "" {
			continue
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return sum, err
		}
		h.Write(content)
	}
	info, err := os.Stat(f.Key)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return sum, err
	}
	if err == nil {
		fmt.Fprint(h, info.Size(), info.ModTime().UnixNano())
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}
