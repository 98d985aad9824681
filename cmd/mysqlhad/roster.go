package main

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/certs"
	"github.com/mysqlha/mysqlha/config"
	"github.com/mysqlha/mysqlha/member"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// configured returns the servers of the configuration, with which a cluster
// begins.
func configured(cfg *config.Config) []decide.Server {
	servers := make([]decide.Server, 0, len(cfg.Servers))
	for _, s := range cfg.Servers {
		one := decide.Server{Name: s.Name, MySQL: s.MySQL, API: s.API, TLSName: s.TLSName}
		for _, m := range cfg.Etcd.Embedded.Members {
			if m.Name == s.Name && len(cfg.Etcd.Endpoints) == 0 {
				one.Etcd = decide.EtcdMember{Peer: m.Peer, Client: m.Client}
			}
		}
		servers = append(servers, one)
	}
	return servers
}

// servers returns those of the cluster: by the record, or by the configuration
// while no record is known.
func (d *daemon) servers() []decide.Server {
	return decide.ServersOf(d.bus.State().Record, d.configured)
}

// server returns the server of that name, and whether it is one of the cluster.
func (d *daemon) server(name string) (decide.Server, bool) {
	return decide.FindServer(d.servers(), name)
}

// belongs tells whether this daemon is one of the cluster's. One that is not
// registers, so that it can be let in, and does not lead.
func (d *daemon) belongs() bool {
	if _, witness := d.cfg.Witness(d.cfg.Name); witness {
		return true
	}
	r := d.bus.State().Record
	if r == nil || len(r.Servers) == 0 {
		return !d.cfg.Join
	}
	_, in := decide.FindServer(r.Servers, d.cfg.Name)
	return in
}

// awaitBelonging waits until belonging to the cluster is as wanted, and tells
// whether it came to that before ctx ended.
func (d *daemon) awaitBelonging(ctx context.Context, wanted bool) bool {
	for {
		changed := d.bus.Changed()
		if ctx.Err() != nil {
			return false
		}
		if d.bus.State().Loaded() && d.belongs() == wanted {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// addresses are those of all servers' mysqlds.
func (d *daemon) addresses() map[string]string {
	all := make(map[string]string)
	for _, s := range d.servers() {
		all[s.Name] = s.MySQL
	}
	return all
}

// sources are the same for receivers.
func (d *daemon) sources() map[string]member.Address {
	all := make(map[string]member.Address)
	for name, address := range d.addresses() {
		host, port, _ := net.SplitHostPort(address) // It has been checked before it was recorded.
		n, _ := strconv.Atoi(port)
		all[name] = member.Address{Host: host, Port: n}
	}
	return all
}

// applicants are the servers whose daemons have registered and that are not of
// the cluster.
func (d *daemon) applicants() []decide.Server {
	var out []decide.Server
	for name, m := range d.bus.State().Members {
		if _, in := d.server(name); !in && m.Self != nil {
			out = append(out, *m.Self)
		}
	}
	slices.SortFunc(out, func(a, b decide.Server) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// peer returns a client of the daemon of a server, of a witness, or of a server
// that has registered and is not one of the cluster.
func (d *daemon) peer(name string) (*api.Client, error) {
	if s, ok := d.server(name); ok {
		return d.peers.to(place{name, s.API, s.TLSName})
	}
	if w, ok := d.cfg.Witness(name); ok {
		return d.peers.to(place{name, w.API, w.TLSName})
	}
	if m := d.bus.State().Members[name]; m.Self != nil {
		return d.peers.to(place{name, m.Self.API, m.Self.TLSName})
	}
	return nil, fmt.Errorf("%q is not a server of this cluster", name)
}

// newPeers makes the clients of the other daemons' APIs.
func (d *daemon) newPeers() *dialled[*api.Client] {
	return &dialled[*api.Client]{dial: func(p place) (*api.Client, error) {
		return api.NewClient(api.Endpoint{Address: p.address, TLS: certs.ClientConfig(d.files, p.tlsName, certs.Daemons()...)})
	}}
}

// place is where something is dialled, whose it is, and what its certificate must
// carry: empty for the host of the address.
type place struct{ server, address, tlsName string }

// dialled are connections that are kept, one for each place.
type dialled[T any] struct {
	dial func(place) (T, error)

	mu   sync.Mutex
	kept map[place]T
}

// tlsNameOf is the name that is verified at an address: the given one, or its host.
func tlsNameOf(name, address string) string {
	if name == "" {
		name, _, _ = net.SplitHostPort(address)
	}
	return name
}

// to returns the connection to a place.
func (d *dialled[T]) to(p place) (T, error) {
	p.tlsName = tlsNameOf(p.tlsName, p.address)
	d.mu.Lock()
	defer d.mu.Unlock()
	if have, ok := d.kept[p]; ok {
		return have, nil
	}
	made, err := d.dial(p)
	if err != nil {
		return made, fmt.Errorf("prepare to ask %s at %s: %w", p.server, p.address, err)
	}
	if d.kept == nil {
		d.kept = make(map[place]T)
	}
	d.kept[p] = made
	return made, nil
}

// each calls f with all of them.
func (d *dialled[T]) each(f func(T)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, one := range d.kept {
		f(one)
	}
}
