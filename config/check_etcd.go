package config

import (
	"fmt"

	"slices"
	"unicode/utf8"
)

func (r *reader) checkEtcd() {
	c := r.cfg
	seen := map[string]string{}
	for i, text := range c.Etcd.Endpoints {
		path := fmt.Sprintf("etcd.endpoints[%d]", i)
		if !r.sound(path) {
			continue
		}
		hostPort, problem := endpoint(text)
		if problem != "" {
			r.fault(path, problem, "write https://host:port, such as https://10.0.0.1:2379")
		}
		r.unique(seen, path, hostPort, text, "name each endpoint once")
	}
	r.checkMembers()
	if !r.sound("roles") {
		return
	}
	if c.HasRole(RoleEtcd) {
		r.checkEmbedded()
	} else if r.sound("etcd.endpoints", "etcd.embedded.members") && len(c.EtcdEndpoints()) == 0 {
		r.fault("etcd.endpoints", "is missing", "name the https URLs of etcd, or list etcd.embedded.members")
	}
}

// checkMembers checks the members on every host, since a host without the role
// etcd dials them too.
func (r *reader) checkMembers() {
	e := r.cfg.Etcd.Embedded
	names := map[string]string{}
	for i, m := range e.Members {
		path := fmt.Sprintf("etcd.embedded.members[%d].name", i)
		r.needName(path, m.Name)
		r.unique(names, path, m.Name, m.Name, "give each member a name of its own")
	}
	if n := len(e.Members); n > 0 && n%2 == 0 {
		r.cfg.warnings = append(r.cfg.warnings, fmt.Sprintf("etcd.embedded.members: %d members survive no more losses than %d; use an odd number", n, n-1))
	}
}

// checkEmbedded checks what only a host with the role etcd needs.
func (r *reader) checkEmbedded() {
	c, e := r.cfg, r.cfg.Etcd.Embedded
	r.need("etcd.embedded.listen_client", e.ListenClient, listenEtcd.remedy())
	r.need("etcd.embedded.listen_peer", e.ListenPeer, listenEtcd.remedy())
	// The token stays out of the message: it may have been meant as a secret.
	if r.need("etcd.embedded.token", e.Token, "write a random text of at least 8 characters, the same on every host") && utf8.RuneCountInString(e.Token) < 8 {
		r.fault("etcd.embedded.token", "is shorter than 8 characters", "write a random text, the same on every host")
	}
	if r.sound("etcd.embedded.members") && len(e.Members) == 0 {
		r.fault("etcd.embedded.members", "is missing", "list the hosts with the role etcd: {name: db1, peer: \"10.0.0.1:2380\", client: \"10.0.0.1:2379\"}")
	}
	if !r.sound("etcd.embedded.members", "name") || !r.allSound("etcd.embedded.members[%d].name", len(e.Members)) {
		return
	}
	if !slices.ContainsFunc(e.Members, func(m EtcdMember) bool { return m.Name == c.Name }) {
		r.fault("etcd.embedded.members", "does not list this host, "+shown(c.Name)+", which has the role etcd", "add it, or take etcd from roles")
	}
}

// checkListeners checks the addresses this host listens on: two listeners on
// one port exclude each other when their hosts are equal or one is a wildcard.
func (r *reader) checkListeners() {
	if !r.sound("roles") {
		return
	}
	type listener struct{ path, host, port string }
	var all []listener
	one := func(path, text string, p purpose) {
		if !r.sound(path) || text == "" {
			return
		}
		host, port, problem := address(text, p)
		if problem != "" {
			r.fault(path, problem, p.remedy())
			return
		}
		for _, l := range all {
			if l.port == port && (l.host == host || l.host == "" || host == "") {
				r.fault(path, fmt.Sprintf("is %s, which %s takes already", shown(text), l.path), "listen on another port")
				return
			}
		}
		all = append(all, listener{path, host, port})
	}
	c := r.cfg
	one("api.listen", c.API.Listen, listen)
	if c.HasRole(RoleRedirector) {
		one("redirect.write", c.Redirect.Write, listen)
		one("redirect.read", c.Redirect.Read, listen)
		if c.Redirect.API != "" {
			one("redirect.api", c.Redirect.API, listen)
		}
	}
	if c.HasRole(RoleEtcd) {
		one("etcd.embedded.listen_client", c.Etcd.Embedded.ListenClient, listenEtcd)
		one("etcd.embedded.listen_peer", c.Etcd.Embedded.ListenPeer, listenEtcd)
	}
}
