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
	// moveDeadline is how long others wait for a receiver that goes over to new
	// passwords and does not get through.
	moveDeadline = 30 * time.Second
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
// ones, this host takes them once every server knows them and the leader lets it, and
// only when its receiver has connected with them do the former ones end. It is safe for
// concurrent use.
type passwords struct {
	d       *daemon
	changed chan struct{}
	control control // run's

	mu                 sync.Mutex
	probe, replication password
	// ready: every server knows the next ones. movedAt is when they were taken.
	ready   bool
	movedAt time.Time
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
	recorded, _ := p.recorded(p.d.bus.State())
	arrived := p.arrived()
	p.mu.Lock()
	defer p.mu.Unlock()
	a = decide.Account{Server: p.d.cfg.Name, Witness: p.d.cfg.HasRole(config.RoleWitness), Former: p.probe.next != "" || p.replication.next != ""}
	if a.ProbeHash, err = p.hash(p.probe.coming()); err == nil && !a.Witness {
		a.ReplicationHash, err = p.hash(p.replication.coming())
	}
	a.Certified = p.certified(recorded)
	a.Moving = a.Former && p.ready
	if gone := a; err == nil && !a.Former && recorded.Moving {
		// Taken, by this daemon or by the one before it.
		if gone.Former, gone.Moving = true, true; gone == recorded && !arrived {
			if p.movedAt.IsZero() {
				p.movedAt = time.Now()
			}
			if time.Since(p.movedAt) < moveDeadline {
				return gone, nil
			}
		}
	}
	return a, err
}

// recorded is this host's account as the record has it; false where it has none.
func (p *passwords) recorded(s *bus.State) (decide.Account, bool) {
	if s.Record == nil {
		return decide.Account{}, false
	}
	at := slices.IndexFunc(s.Record.Accounts, func(a decide.Account) bool { return a.Server == p.d.cfg.Name })
	if at < 0 {
		return decide.Account{}, false
	}
	return s.Record.Accounts[at], true
}

// arrived tells whether no receiver of this host has yet to connect with its passwords.
func (p *passwords) arrived() bool {
	if p.d.member == nil {
		return true
	}
	spec, known := p.d.bus.State().Specs[p.d.cfg.Name]
	return known && spec.Goal != decide.GoalFollow || p.d.member.member.ReceivesAnew()
}

// certified tells whether mysqld shows a certificate to others; until that is known it is
// as it was.
func (p *passwords) certified(recorded decide.Account) bool {
	if client, known := p.d.tls.client(); known {
		return client.Cert != ""
	}
	return recorded.Certified
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
	if recorded, there := p.recorded(p.d.bus.State()); err == nil && there {
		s.Pending = s.Pending || recorded != own
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
	recorded, there := p.recorded(s)
	switch {
	case !own.Former && !there:
		return nil
	case !own.Former && recorded == own:
		if wanted == nil || wanted.ID == p.last() {
			return nil
		}
		return p.begin()
	case !there:
		return p.take(wanted) // Nobody knows the present ones either.
	case recorded != own:
		p.tell()
		return nil // The leader has not heard of them yet, or others come first.
	case own.Moving && p.taken():
		return nil // The receiver connects.
	case own.Moving:
		return p.take(wanted)
	}
	for _, server := range p.d.servers() {
		if err := p.known(ctx, server); err != nil {
			return err
		}
	}
	p.mu.Lock()
	p.ready = true
	p.mu.Unlock()
	p.tell()
	return nil
}

// taken tells whether no passwords are left to be taken.
func (p *passwords) taken() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.probe.next == "" && p.replication.next == ""
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

// take has the new passwords be in use; the former ones end when the leader hears that
// the receiver has connected with them.
func (p *passwords) take(asked *decide.RotationRequest) error {
	p.mu.Lock()
	p.ready, p.movedAt = false, time.Now()
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
