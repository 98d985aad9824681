package config

import (
	"cmp"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"unicode/utf8"
)

// check runs every check on the values; it changes nothing but the faults and
// the warnings.
func (r *reader) check() {
	r.checkHost()
	r.checkServers()
	r.checkMySQL()
	r.checkTLS()
	r.checkEtcd()
	r.checkListeners()
	r.checkDurability()
	r.checkTimings()
	r.checkChoices()
	r.checkHooks()
}

// need reports a missing field; it tells whether the field has a usable value.
func (r *reader) need(path, value, remedy string) bool {
	if !r.sound(path) {
		return false
	}
	if value == "" {
		r.fault(path, "is missing", remedy)
	}
	return value != ""
}

func (r *reader) needName(path, value string) {
	if r.need(path, value, "give it a name, such as db1") && !namePattern.MatchString(value) {
		r.fault(path, "is "+shown(value)+", not a name", "write 1 to 63 of a-z, 0-9 and -, not beginning with -")
	}
}

func (r *reader) checkHost() {
	c := r.cfg
	r.needName("cluster", c.Cluster)
	r.needName("name", c.Name)
	known := []string{string(RoleMember), string(RoleRedirector), string(RoleEtcd), string(RoleWitness)}
	for i, role := range c.Roles {
		path := fmt.Sprintf("roles[%d]", i)
		switch {
		case !r.sound(path):
		case !slices.Contains(known, string(role)):
			r.fault(path, "is "+shown(string(role))+", not a role", didYouMean(string(role), known))
		case slices.Contains(c.Roles[:i], role):
			r.fault(path, "is "+shown(string(role))+" again", "name each role once")
		case role == RoleWitness && slices.Contains(c.Roles, RoleMember):
			r.fault(path, "is "+shown(string(role))+" beside "+shown(string(RoleMember)), "a host with a server is a member, which leads as well; make a host without one the witness")
		}
	}
	r.checkFolder("data_dir", c.DataDir)
}

// maxServerName is what MySQL's 32 characters for an account leave beside the
// project's prefix; replication.MaxServerName is the same.
const maxServerName = 22

func (r *reader) checkServers() {
	c := r.cfg
	if r.sound("servers") && len(c.Servers) == 0 {
		r.fault("servers", "is missing", "list every server of the cluster: {name: db1, mysql: \"10.0.0.1:3306\", api: \"10.0.0.1:8008\"}")
		return
	}
	names := map[string]string{}
	for i, s := range c.Servers {
		path := fmt.Sprintf("servers[%d]", i)
		r.needName(path+".name", s.Name)
		if len(s.Name) > maxServerName && r.sound(path+".name") {
			r.fault(path+".name", "is "+shown(s.Name)+", too long for a MySQL account of its own",
				fmt.Sprintf("write at most %d characters: the accounts are mysqlha_r_NAME and mysqlha_p_NAME", maxServerName))
		}
		r.unique(names, path+".name", s.Name, s.Name, "give each server a name of its own")
		r.checkTLSName(path+".tls_name", s.TLSName)
	}
	r.checkWitnesses(names)
	r.checkDialled()
	if r.sound("name", "roles", "servers") && c.Name != "" && c.HasRole(RoleMember) && r.allSound("servers[%d].name", len(c.Servers)) {
		if _, found := c.Server(c.Name); !found {
			r.fault("name", "is "+shown(c.Name)+", and no server is called that", didYouMean(c.Name, r.serverNames()))
		}
	}
	if p := c.Bootstrap.Primary; p != "" && r.sound("bootstrap.primary", "servers") && r.allSound("servers[%d].name", len(c.Servers)) {
		if _, found := c.Server(p); !found {
			r.fault("bootstrap.primary", "is "+shown(p)+", and no server is called that", didYouMean(p, r.serverNames()))
		}
	}
}

// checkWitnesses checks the witnesses; names are those of the servers.
func (r *reader) checkWitnesses(names map[string]string) {
	c := r.cfg
	var known []string
	for i, w := range c.Witnesses {
		path := fmt.Sprintf("witnesses[%d]", i)
		r.needName(path+".name", w.Name)
		if len(w.Name) > maxServerName && r.sound(path+".name") {
			r.fault(path+".name", "is "+shown(w.Name)+", too long for a MySQL account of its own",
				fmt.Sprintf("write at most %d characters: the account is mysqlha_p_NAME", maxServerName))
		}
		r.unique(names, path+".name", w.Name, w.Name, "give each server and each witness a name of its own")
		r.checkTLSName(path+".tls_name", w.TLSName)
		known = append(known, w.Name)
	}
	if !r.sound("name", "roles", "witnesses") || c.Name == "" || !c.HasRole(RoleWitness) || !r.allSound("witnesses[%d].name", len(c.Witnesses)) {
		return
	}
	if _, found := c.Witness(c.Name); !found {
		r.fault("name", "is "+shown(c.Name)+", and no witness is called that",
			cmp.Or(didYouMean(c.Name, known), "list it: witnesses: [{name: "+c.Name+", api: \"10.0.0.3:8008\"}]"))
	}
}

// allSound tells whether none of n numbered paths has a fault.
func (r *reader) allSound(pattern string, n int) bool {
	for i := range n {
		if !r.sound(fmt.Sprintf(pattern, i)) {
			return false
		}
	}
	return true
}

// checkTLSName checks that a text, if there is one, can be verified against a
// certificate.
func (r *reader) checkTLSName(path, text string) {
	if text == "" || !r.sound(path) {
		return
	}
	if _, _, problem := address(net.JoinHostPort(text, "1"), dial); problem != "" {
		r.fault(path, "is "+shown(text)+", neither a host name nor an IP address", "write the name that the certificate carries, without a port")
	}
}

func (r *reader) serverNames() []string {
	var names []string
	for _, s := range r.cfg.Servers {
		names = append(names, s.Name)
	}
	return names
}

// unique reports a key that was seen before; shownAs is how the file wrote it.
func (r *reader) unique(seen map[string]string, path, key, shownAs, remedy string) {
	if !r.sound(path) || key == "" {
		return
	}
	if first, again := seen[key]; again {
		r.fault(path, fmt.Sprintf("is %s, the same as %s on line %d", shown(shownAs), first, r.origin(first).line), remedy)
		return
	}
	seen[key] = path
}

// checkDialled checks the addresses that others dial: no two may be the same,
// whatever they are for, since each leads to a process of its own.
func (r *reader) checkDialled() {
	seen := map[string]string{}
	one := func(path, text string) {
		if !r.need(path, text, dial.remedy()) {
			return
		}
		host, port, problem := address(text, dial)
		if problem != "" {
			r.fault(path, problem, dial.remedy())
			return
		}
		r.unique(seen, path, net.JoinHostPort(host, port), text, "give each an address of its own")
	}
	for i, s := range r.cfg.Servers {
		one(fmt.Sprintf("servers[%d].mysql", i), s.MySQL)
		one(fmt.Sprintf("servers[%d].api", i), s.API)
	}
	for i, w := range r.cfg.Witnesses {
		one(fmt.Sprintf("witnesses[%d].api", i), w.API)
	}
	for i, m := range r.cfg.Etcd.Embedded.Members {
		one(fmt.Sprintf("etcd.embedded.members[%d].peer", i), m.Peer)
		one(fmt.Sprintf("etcd.embedded.members[%d].client", i), m.Client)
	}
}

func (r *reader) checkMySQL() {
	c := r.cfg
	if !r.sound("roles") {
		return
	}
	if !c.HasRole(RoleMember) {
		if r.given("mysql") {
			c.warnings = append(c.warnings, "mysql: the section is not used, since this host does not have the role member")
		}
		return
	}
	// Linux has room for 107 bytes in the address of a Unix socket.
	const longestSocket = 107
	if r.need("mysql.socket", c.MySQL.Socket, "name mysqld's Unix socket, such as /run/mysqld/mysqld.sock") && len(c.MySQL.Socket) > longestSocket {
		r.fault("mysql.socket", fmt.Sprintf("has a path of %d bytes", len(c.MySQL.Socket)), fmt.Sprintf("use one of at most %d bytes", longestSocket))
	}
	if r.need("mysql.data_dir", c.MySQL.DataDir, "name mysqld's datadir, such as /var/lib/mysql") {
		r.checkFolder("mysql.data_dir", c.MySQL.DataDir)
	}
	if user := c.MySQL.ControlUser; r.sound("mysql.control_user") && utf8.RuneCountInString(user) > 32 {
		r.fault("mysql.control_user", "is longer than MySQL allows", "write at most 32 characters")
	}
	const password = "mysql.control_password_file"
	if named := r.given(password); r.sound(password) && (named || r.sound("data_dir")) {
		r.checkSecret(password, c.MySQL.ControlPasswordFile, named)
	}
}

func (r *reader) checkTLS() {
	t := r.cfg.TLS
	if r.need("tls.ca", t.CA, "name the file of the CA certificates") {
		r.checkFile("tls.ca", t.CA)
	}
	if r.need("tls.cert", t.Cert, "name the file of this host's certificate") {
		r.checkFile("tls.cert", t.Cert)
	}
	if r.need("tls.key", t.Key, "name the file of this host's private key") {
		r.checkSecret("tls.key", t.Key, true)
	}
}

func (r *reader) checkDurability() {
	c := r.cfg
	known := []string{DurabilityLossless, DurabilityAvailable, DurabilityAsync}
	if r.sound("durability") && !slices.Contains(known, c.Durability) {
		r.fault("durability", "is "+shown(c.Durability)+", not one of "+strings.Join(known, ", "), "write lossless")
	}
	if c.Join {
		return // The cluster has its own already.
	}
	if !r.sound("required_acks") {
		return
	}
	if c.RequiredAcks < 1 {
		r.fault("required_acks", fmt.Sprintf("is %d, and lossless means at least one replica", c.RequiredAcks), "write 1 or more")
		return
	}
	if !r.sound("servers", "durability") || len(c.Servers) == 0 {
		return
	}
	if c.Durability == DurabilityAsync {
		c.warnings = append(c.warnings, "durability: in async a failover loses what no replica had received")
		return
	}
	switch have := len(c.Servers); {
	case have == 1:
		r.fault("servers", "has 1, and "+c.Durability+" needs another to acknowledge", "list more servers, or write durability: async")
	case have < c.RequiredAcks+1:
		r.fault("servers", fmt.Sprintf("has %d, and %s with %d required acks never acknowledges a write with fewer than %d", have, c.Durability, c.RequiredAcks, c.RequiredAcks+1),
			"list more servers or lower required_acks")
	case have < c.RequiredAcks+2 && c.Durability == DurabilityLossless:
		c.warnings = append(c.warnings, fmt.Sprintf("servers: with %d servers and %d required acks, writes wait as soon as one server is lost; %d servers can lose one, and durability: available goes on with fewer",
			have, c.RequiredAcks, c.RequiredAcks+2))
	}
}

func (r *reader) checkChoices() {
	c := r.cfg
	one := func(path, value string, known ...string) {
		if r.sound(path) && !slices.Contains(known, value) {
			r.fault(path, "is "+shown(value)+", not one of "+strings.Join(known, ", "), didYouMean(value, known))
		}
	}
	one("log.level", c.Log.Level, "debug", "info", "warn", "error")
	one("log.format", c.Log.Format, "auto", "json", "text")
	one("api.reads", c.API.Reads, ReadsAnyone, ReadsRole)
	if _, err := os.Stat(c.API.TokensFile); r.sound("api.tokens_file") && c.API.TokensFile != "" && err != nil {
		c.warnings = append(c.warnings, "api.tokens_file: "+reason(err)+"; no token is accepted until it is there: mysqlha token new")
	}
	if r.sound("redirect.handshakes") && c.Redirect.Handshakes < 1 {
		r.fault("redirect.handshakes", fmt.Sprintf("is %d", c.Redirect.Handshakes), "write how many clients of one address may be greeted at a time, such as 64")
	}
	if r.sound("redirect.max_sessions") && c.Redirect.MaxSessions < 0 {
		r.fault("redirect.max_sessions", fmt.Sprintf("is %d", c.Redirect.MaxSessions), "write a limit, or 0 for none")
	}
}
