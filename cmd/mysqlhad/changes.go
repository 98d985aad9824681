package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
	"github.com/mysqlha/mysqlha/replication/gtid"
)

// The changes that an operator may ask any daemon for. They go into etcd, where the
// leader and all others find them.

// Settings returns what the operator has set for the whole cluster.
func (b *backend) Settings(context.Context) (api.Settings, error) {
	s := b.d.bus.State()
	if s.Record == nil {
		return api.Settings{}, errNoRecord
	}
	p := decide.Policy{}
	if s.Policy != nil {
		p = *s.Policy
	}
	return b.settingsOf(p, *s.Record), nil
}

func (b *backend) settingsOf(p decide.Policy, r decide.Record) api.Settings {
	return api.Settings{Version: p.Version, By: p.By, At: p.At, Pause: p.Paused(time.Now()),
		Settings: p.Settings(settingsFrom(b.d.cfg), r, decide.ServerNames(b.d.servers()))}
}

// ChangeSettings changes settings, all or none.
func (b *backend) ChangeSettings(ctx context.Context, want api.SettingsChange) (api.Settings, error) {
	r := b.d.bus.State().Record
	if r == nil {
		return api.Settings{}, errNoRecord
	}
	p, err := b.d.bus.ChangePolicy(ctx, want.By, func(now decide.Policy) (decide.Policy, error) {
		if want.Version != 0 && want.Version != now.Version {
			return now, &api.RefusedError{Reason: fmt.Sprintf("the settings have changed since: version %d of %s stands, and version %d was edited", now.Version, now.By, want.Version)}
		}
		next, problems := b.set(now, *r, want.Set)
		if len(problems) > 0 {
			return now, &api.RefusedError{Reason: strings.Join(problems, "\n")}
		}
		return next, nil
	})
	if err != nil {
		return api.Settings{}, err
	}
	return b.settingsOf(p, *r), nil
}

// set returns the policy with settings changed, or all that is wrong with them.
func (b *backend) set(p decide.Policy, r decide.Record, values map[string]string) (_ decide.Policy, problems []string) {
	servers := b.d.servers()
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if _, server, of := strings.Cut(name, "."); of && values[name] != "" {
			if _, known := decide.FindServer(append(slices.Clone(servers), b.d.applicants()...), server); !known {
				problems = append(problems, fmt.Sprintf("%s: %q is not a server of this cluster", name, server))
				continue
			}
		}
		if err := p.Set(name, values[name]); err != nil {
			problems = append(problems, err.Error())
		}
	}
	if len(problems) > 0 {
		return p, problems
	}
	if p.Servers != nil {
		servers = p.Servers
	}
	if err := p.Over(r).Check(len(servers)); err != nil {
		problems = append(problems, err.Error())
	}
	instead := make(map[string]time.Duration)
	for path, value := range map[string]time.Duration{"timings.detection": p.Detection, "timings.removal_delay": p.RemovalDelay} {
		if value > 0 {
			instead[path] = value
		}
	}
	return p, append(problems, b.d.cfg.TimingConflicts(instead)...)
}

// SettingsHistory returns the versions of the settings, the newest first.
func (b *backend) SettingsHistory(ctx context.Context, limit int) ([]decide.PolicyVersion, error) {
	return b.d.bus.PolicyVersions(ctx, limit)
}

// longestPause is how long a pause may be asked for that ends by itself.
const longestPause = 30 * 24 * time.Hour

// Pause keeps the primary where it is. A second one takes the place of the first.
func (b *backend) Pause(ctx context.Context, want api.PauseRequest) (decide.Pause, error) {
	switch {
	case strings.TrimSpace(want.Reason) == "" || len(want.Reason) > 500:
		return decide.Pause{}, &api.RefusedError{Reason: "a pause needs a reason of up to 500 characters: it is what others see"}
	case want.For < 0 || want.For > longestPause:
		return decide.Pause{}, &api.RefusedError{Reason: fmt.Sprintf("a pause of %s: it may last up to %s, or, without a time, until mysqlha resume", want.For, longestPause)}
	}
	pause := decide.Pause{Reason: want.Reason, By: want.By, Since: time.Now()}
	if want.For > 0 {
		pause.Until = pause.Since.Add(want.For)
	}
	_, err := b.d.bus.ChangePolicy(ctx, want.By, func(p decide.Policy) (decide.Policy, error) {
		p.Pause = &pause
		return p, nil
	})
	return pause, err
}

// Resume ends the pause.
func (b *backend) Resume(ctx context.Context, want api.ResumeRequest) (was decide.Pause, err error) {
	_, err = b.d.bus.ChangePolicy(ctx, want.By, func(p decide.Policy) (decide.Policy, error) {
		if p.Pause != nil {
			was = *p.Pause
		}
		p.Pause = nil
		return p, nil
	})
	return was, err
}

// Rejoin says what may be done with transactions that a server alone has.
func (b *backend) Rejoin(ctx context.Context, want api.RejoinRequest) (api.RejoinRequest, error) {
	if _, known := b.d.server(want.Server); !known {
		return want, &api.RefusedError{Reason: fmt.Sprintf("%q is not a server of this cluster", want.Server)}
	}
	if want.Discard.IsEmpty() == want.Harmless.IsEmpty() {
		return want, &api.RefusedError{Reason: "say of which transactions: to discard, or harmless"}
	}
	r := b.d.bus.State().Record
	if r == nil {
		return want, errNoRecord
	}
	_, err := b.d.bus.ChangePolicy(ctx, want.By, func(p decide.Policy) (decide.Policy, error) {
		// The last word on a server counts.
		p.Discard, p.Harmless = with(p.Discard, want.Server, want.Discard), with(p.Harmless, want.Server, want.Harmless)
		if err := p.Over(*r).Check(len(b.d.servers())); err != nil {
			return p, &api.RefusedError{Reason: err.Error()}
		}
		return p, nil
	})
	return want, err
}

// with returns a map in which a server has that set, or is not there if it is empty.
func with(all map[string]gtid.Set, server string, set gtid.Set) map[string]gtid.Set {
	next := maps.Clone(all)
	delete(next, server)
	if !set.IsEmpty() {
		if next == nil {
			next = make(map[string]gtid.Set)
		}
		next[server] = set
	}
	return next
}

var errNoRecord = errors.New("the cluster has no record yet")

// ChangeServers lets a server join the cluster, or leave it.
func (b *backend) ChangeServers(ctx context.Context, want api.ServersRequest) ([]decide.Server, error) {
	r := b.d.bus.State().Record
	if r == nil || len(r.Servers) == 0 {
		return nil, errNoRecord
	}
	if want.Add != "" {
		if err := b.mayJoin(ctx, want.Add); err != nil {
			return nil, err
		}
	}
	if leaver, ok := decide.FindServer(r.Servers, want.Remove); ok && leaver.Etcd.Peer != "" {
		members, err := etcdMembers{b.d}.Members(ctx)
		if err == nil {
			err = decide.CheckEtcd(members, leaver.Etcd)
		}
		if err != nil {
			return nil, &api.RefusedError{Reason: fmt.Sprintf("%s cannot leave: %v", want.Remove, err)}
		}
	}
	now, err := b.d.bus.ChangePolicy(ctx, want.By, func(p decide.Policy) (decide.Policy, error) {
		servers, err := b.changedServers(*r, p.Servers, want)
		if err != nil {
			return p, &api.RefusedError{Reason: err.Error()}
		}
		p.Servers = servers
		return p, nil
	})
	return now.Servers, err
}

// changedServers returns the servers that are wanted with one more or one less.
func (b *backend) changedServers(r decide.Record, wanted []decide.Server, want api.ServersRequest) ([]decide.Server, error) {
	if wanted == nil {
		wanted = r.Servers
	}
	next := slices.DeleteFunc(slices.Clone(wanted), func(s decide.Server) bool { return s.Name == want.Remove })
	_, leaves := decide.FindServer(r.Servers, want.Remove)
	_, left := decide.FindServer(b.d.applicants(), want.Remove)
	if want.Remove != "" && len(next) == len(wanted) && !leaves && !left {
		return nil, fmt.Errorf("%q is not a server of this cluster", want.Remove)
	}
	if _, already := decide.FindServer(next, want.Add); want.Add != "" && !already {
		joining := b.d.bus.State().Members[want.Add].Self
		if there, ok := decide.FindServer(r.Servers, want.Add); ok {
			joining = &there // It was to leave, and stays.
		}
		if joining == nil {
			return nil, fmt.Errorf("the daemon beside %s has not registered: start mysqlhad there, with join: true in its configuration", want.Add)
		}
		next = append(next, *joining)
	}
	return next, r.CheckServers(next)
}

// Switchover asks the leader for another primary.
func (b *backend) Switchover(ctx context.Context, want decide.SwitchoverRequest) (string, error) {
	if want.Drain < 0 || want.Drain > time.Hour {
		return "", &api.RefusedError{Reason: fmt.Sprintf("open transactions may go on for 0s to 1h, not %s", want.Drain)}
	}
	if want.At.IsZero() {
		want.At = time.Now()
	}
	return want.ID, b.request(ctx, want.ID, func(p *decide.Policy) { p.Switchover = &want })
}

// Failover asks the leader for a failover.
func (b *backend) Failover(ctx context.Context, want decide.FailoverRequest) (string, error) {
	if want.At.IsZero() {
		want.At = time.Now()
	}
	return want.ID, b.request(ctx, want.ID, func(p *decide.Policy) { p.Failover = &want })
}

// Bootstrap asks the leader for the beginning of the cluster.
func (b *backend) Bootstrap(ctx context.Context, want decide.BootstrapRequest) (string, error) {
	if r := b.d.bus.State().Record; r != nil {
		return "", &api.RefusedError{Reason: fmt.Sprintf("the cluster has begun: %s is primary in term %d", r.Primary, r.Term)}
	}
	if _, known := b.d.server(want.Primary); want.Primary != "" && !known {
		return "", &api.RefusedError{Reason: fmt.Sprintf("%q is not a server of the configuration", want.Primary)}
	}
	if err := checkID(want.ID); err != nil {
		return "", err
	}
	want.At = time.Now()
	_, err := b.d.bus.ChangePolicy(ctx, want.By, func(p decide.Policy) (decide.Policy, error) {
		p.Bootstrap = &want
		return p, nil
	})
	return want.ID, err
}

// Rotate asks every daemon for new passwords of its accounts.
func (b *backend) Rotate(ctx context.Context, want decide.RotationRequest) (string, error) {
	if r := b.d.bus.State().Record; r == nil || r.Term == 0 {
		return "", errNoRecord
	} else if slices.ContainsFunc(r.Accounts, func(a decide.Account) bool { return a.Former }) {
		return "", &api.RefusedError{Reason: "a rotation is under way: mysqlha accounts tells how far it is"}
	}
	if err := checkID(want.ID); err != nil {
		return "", err
	}
	want.At = time.Now()
	_, err := b.d.bus.ChangePolicy(ctx, want.By, func(p decide.Policy) (decide.Policy, error) {
		p.Rotation = &want
		return p, nil
	})
	return want.ID, err
}

// checkID refuses a request by which nobody could find its answer.
func checkID(id string) error {
	if id == "" || len(id) > 64 {
		return &api.RefusedError{Reason: "the request has no id"}
	}
	return nil
}

// request puts what is asked for once where the leader finds it, unless another
// request waits for its answer.
func (b *backend) request(ctx context.Context, id string, ask func(*decide.Policy)) error {
	r := b.d.bus.State().Record
	if r == nil || r.Term == 0 {
		return errNoRecord
	}
	if err := checkID(id); err != nil {
		return err
	}
	if slices.Contains(r.Answered, id) {
		return nil
	}
	_, err := b.d.bus.ChangePolicy(ctx, "", func(p decide.Policy) (decide.Policy, error) {
		other, at := p.Waiting(*r, time.Now())
		switch {
		case other == id:
			return p, nil
		case other != "":
			return p, &api.RefusedError{Reason: fmt.Sprintf("another request was made %s ago, and has not been answered yet", time.Since(at).Round(time.Second))}
		}
		ask(&p)
		return p, nil
	})
	return err
}

// mayJoin refuses a server that would disturb others as soon as it replicates.
func (b *backend) mayJoin(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if _, already := b.d.server(name); already {
		return nil
	}
	if m, r := b.d.bus.State().Members[name], b.d.bus.State().Record; m.Cluster != "" && m.Cluster != r.ID {
		return &api.RefusedError{Reason: fmt.Sprintf("%s was a server of another cluster: empty mysqld's data directory and the daemon's data_dir there, and start it anew", name)}
	}
	live, err := b.d.ask(ctx, name)
	switch {
	case err != nil:
		return &api.RefusedError{Reason: fmt.Sprintf("the daemon beside %s does not answer: %v; start mysqlhad there, with join: true in its configuration", name, err)}
	case !live.Answers || live.ServerID == 0:
		return &api.RefusedError{Reason: fmt.Sprintf("mysqld of %s does not answer its daemon: start it through mysqlhad guard", name)}
	}
	for _, s := range b.d.servers() {
		other, err := b.d.ask(ctx, s.Name)
		if err == nil && other.ServerID == live.ServerID {
			return &api.RefusedError{Reason: fmt.Sprintf("%s and %s both have server_id %d: give %s one of its own in its my.cnf and restart it", name, s.Name, live.ServerID, name)}
		}
	}
	return nil
}
