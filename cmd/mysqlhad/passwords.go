package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/renameio/v2"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/bus"
	"github.com/mysqlha/mysqlha/certs"
	"github.com/mysqlha/mysqlha/config"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication"
)

const (
	// nextSuffix names the file of a password that is not in use yet, beside the one
	// that is.
	nextSuffix = ".next"
	// rotationPoll is how often it is looked whether passwords shall change.
	rotationPoll = time.Second
	// takeApart is how long after another host one goes over to its new passwords.
	takeApart = 3 * time.Second
	// loginTimeout bounds one login to see whether a password is known.
	loginTimeout = 3 * time.Second
)

// password is one of this host's, kept in a file. Others know its hash.
type password struct {
	path string
	// now is in use; next will be, empty while there is none.
	now, next string
}

// openPassword reads a password, and makes one where there is none.
func openPassword(path string) (p password, err error) {
	p.path = path
	if p.now, err = secret(path); err != nil {
		return p, err
	}
	p.next, err = config.ReadSecret(path + nextSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	return p, err
}

// prepare makes the next one.
func (p *password) prepare() (err error) {
	p.next, err = secret(p.path + nextSuffix)
	return err
}

// take has the next one be in use.
func (p *password) take() error {
	if p.next == "" {
		return nil
	}
	if err := os.Rename(p.path+nextSuffix, p.path); err != nil {
		return fmt.Errorf("take a new password: %w", err)
	}
	p.now, p.next = p.next, ""
	return nil
}

// coming is the one that others are to know.
func (p *password) coming() string {
	if p.next != "" {
		return p.next
	}
	return p.now
}

// passwords are those of this host's accounts, and how they change: the next ones are
// made here, the primary gives them to the accounts on all servers besides the present
// ones, this host takes them once every server knows them, and only then do the former
// ones end. It is safe for concurrent use.
type passwords struct {
	d       *daemon
	changed chan struct{}
	control control // run's
	// turnSince is since when nobody before this host goes over to new passwords; run's.
	turnSince time.Time

	mu                 sync.Mutex
	probe, replication password
	// done is the request that was carried out last.
	done string
	// hashes are those of passwords that were asked for, since one takes milliseconds.
	hashes map[string]string
}

// openPasswords reads them, and makes what is missing.
func openPasswords(d *daemon) (*passwords, error) {
	p := &passwords{d: d, changed: make(chan struct{}, 1), control: control{d: d}, hashes: make(map[string]string)}
	var err error
	if p.probe, err = openPassword(filepath.Join(d.cfg.DataDir, "probe.password")); err != nil {
		return nil, err
	}
	if !d.cfg.HasRole(config.RoleWitness) {
		if p.replication, err = openPassword(filepath.Join(d.cfg.DataDir, "replication.password")); err != nil {
			return nil, err
		}
	}
	if p.done, err = readDone(p.doneFile()); err != nil {
		return nil, err
	}
	p.control.done, err = readDone(p.control.doneFile())
	return p, err
}

// readDone reads which request was carried out last, empty for none.
func readDone(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read which passwords were changed last: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

func writeDone(file string, asked *decide.RotationRequest) error {
	return renameio.WriteFile(file, []byte(asked.ID+"\n"), 0o600)
}

func (p *passwords) doneFile() string { return filepath.Join(p.d.cfg.DataDir, "passwords.rotated") }

// probing and replicating are those in use.
func (p *passwords) probing() (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.probe.now, nil
}

func (p *passwords) replicating() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.replication.now
}

// account is what others are to know of them.
func (p *passwords) account() (a decide.Account, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a = decide.Account{Server: p.d.cfg.Name, Witness: p.d.cfg.HasRole(config.RoleWitness), Former: p.probe.next != "" || p.replication.next != ""}
	if a.ProbeHash, err = p.hash(p.probe.coming()); err == nil && !a.Witness {
		a.ReplicationHash, err = p.hash(p.replication.coming())
	}
	a.Certified = p.certified()
	return a, err
}

// certified tells whether mysqld shows a certificate to others; until that is known it is
// as it was.
func (p *passwords) certified() bool {
	if client, known := p.d.tls.client(); known {
		return client.Cert != ""
	}
	if r := p.d.bus.State().Record; r != nil {
		for _, a := range r.Accounts {
			if a.Server == p.d.cfg.Name {
				return a.Certified
			}
		}
	}
	return false
}

// hash is that of a password, under the mutex.
func (p *passwords) hash(of string) (string, error) {
	if known, ok := p.hashes[of]; ok {
		return known, nil
	}
	made, err := replication.HashPassword(of)
	if err == nil {
		p.hashes[of] = made
	}
	return made, err
}

// wanted is the rotation that was asked for last, nil for none.
func (p *passwords) wanted() *decide.RotationRequest {
	if policy := p.d.bus.State().Policy; policy != nil {
		return policy.Rotation
	}
	return nil
}

// state tells how far they have come.
func (p *passwords) state() api.Passwords {
	wanted := p.wanted()
	own, err := p.account()
	p.mu.Lock()
	defer p.mu.Unlock()
	s := api.Passwords{Host: p.d.cfg.Name, Rotation: p.done, Pending: wanted != nil && wanted.ID != p.done || own.Former || p.control.pending.Load()}
	if info, err := os.Stat(p.probe.path); err == nil {
		s.Since = info.ModTime()
	}
	if r := p.d.bus.State().Record; err == nil && r != nil {
		for _, a := range r.Accounts {
			s.Pending = s.Pending || a.Server == own.Server && a != own
		}
	}
	return s
}

// run changes them when that is asked for, until ctx ends.
func (p *passwords) run(ctx context.Context) error {
	tick := time.NewTicker(rotationPoll)
	defer tick.Stop()
	told := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := errors.Join(p.step(ctx), p.control.follow(ctx, p.wanted())); err != nil && ctx.Err() == nil && told != err.Error() {
			told = err.Error()
			p.d.log.Warn("the accounts of this host have no new passwords yet", "reason", err)
		}
	}
}

// step goes on with what is under way, or begins it.
func (p *passwords) step(ctx context.Context) error {
	s := p.d.bus.State()
	own, err := p.account()
	if err != nil || s.Record == nil || s.Record.Term == 0 {
		return err
	}
	wanted := p.wanted()
	at := slices.IndexFunc(s.Record.Accounts, func(a decide.Account) bool { return a.Server == own.Server })
	switch {
	case !own.Former && (at < 0 || wanted == nil || wanted.ID == p.last()):
		return nil
	case !own.Former:
		return p.begin()
	case at < 0:
		return p.finish(wanted) // Nobody knows the present ones either.
	case s.Record.Accounts[at] != own:
		return nil // The leader has not heard of them yet.
	}
	for _, server := range p.d.servers() {
		if err := p.known(ctx, server); err != nil {
			return err
		}
	}
	if !p.mayTake(s, at) {
		return nil
	}
	return p.finish(wanted)
}

// mayTake tells whether it is this host's turn to go over to its new passwords, by the
// order of the record: its receiver connects anew, and where those of all replicas do at
// once nobody acknowledges. The host before it must have been done for a while; one that
// does not live is not waited for.
func (p *passwords) mayTake(s *bus.State, at int) bool {
	for _, a := range s.Record.Accounts[:at] {
		if _, lives := s.Members[a.Server]; lives && a.Former {
			p.turnSince = time.Time{}
			return false
		}
	}
	if p.turnSince.IsZero() {
		p.turnSince = time.Now()
	}
	return at == 0 || time.Since(p.turnSince) > takeApart
}

func (p *passwords) last() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done
}

// begin makes the next passwords and has the others hear of their hashes.
func (p *passwords) begin() error {
	p.mu.Lock()
	err := p.probe.prepare()
	if err == nil && !p.d.cfg.HasRole(config.RoleWitness) {
		err = p.replication.prepare()
	}
	p.mu.Unlock()
	p.tell()
	return err
}

// known fails where a server that answers does not know the next passwords. One that does
// not answer has them from the primary before it is of use again.
func (p *passwords) known(ctx context.Context, server decide.Server) error {
	p.mu.Lock()
	user, next := replication.ProbeUser(p.d.cfg.Name), p.probe.next
	if p.replication.next != "" { // The clone account gets its own last, and is never locked.
		user, next = replication.CloneUser(p.d.cfg.Name), p.replication.next
	}
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	err := replication.Login(ctx, replication.RemoteOptions{Server: server.Name, Address: server.MySQL, User: user, Password: func() (string, error) { return next, nil },
		TLS: certs.ClientConfig(p.d.files, tlsNameOf(server.TLSName, server.MySQL))})
	if err != nil && (replication.RefusesLogin(err) || server.Name == p.d.bus.State().Record.Primary) {
		return fmt.Errorf("%s does not know them yet: %w", server.Name, err)
	}
	return nil
}

// finish takes the new passwords into use; the former ones end when the leader hears of
// it.
func (p *passwords) finish(asked *decide.RotationRequest) error {
	p.turnSince = time.Time{}
	p.mu.Lock()
	err := errors.Join(p.probe.take(), p.replication.take())
	if err == nil && asked != nil {
		p.done = asked.ID
		err = writeDone(p.doneFile(), asked)
	}
	p.mu.Unlock()
	if err == nil {
		p.d.log.Info("the accounts of this host have new passwords")
	}
	p.tell()
	return err
}

// tell has the registration look at the account anew.
func (p *passwords) tell() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// secret returns the password in the file, and makes one where there is none.
// It never leaves this host: others get its hash.
func secret(path string) (string, error) {
	have, err := config.ReadSecret(path)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return have, err
	}
	made := rand.Text()
	if err := renameio.WriteFile(path, []byte(made+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("keep a new password: %w", err)
	}
	return made, nil
}
