package firewall

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/mysqlha/mysqlha/config"
)

// Table is the name of the table that has all of our rules. What else is loaded is left
// alone; a packet passes only if every table lets it.
const Table = "mysqlha"

// Render returns the rules of a host as a file for nft, which replaces the former ones in
// one transaction.
func Render(s *config.Site, h config.SiteHost) string {
	r := &rendering{site: s, host: h, sets: make(map[string][]netip.Prefix)}
	in, out := r.rules(true), r.rules(false)
	var b strings.Builder
	tiers := make([]string, len(h.Tiers))
	for i, t := range h.Tiers {
		tiers[i] = string(t)
	}
	fmt.Fprintf(&b, "#!/usr/sbin/nft -f\n# The firewall of the host %s (%s), rendered by mysqlha from the description of the site.\n# What is not allowed here is dropped, in both directions.\n\n", h.Name, strings.Join(tiers, ", "))
	fmt.Fprintf(&b, "%s\ntable inet %s {\n", replacing, Table)
	b.WriteString(r.declarations())
	fmt.Fprintf(&b, "\tchain input {\n\t\ttype filter hook input priority filter; policy drop;\n")
	b.WriteString("\t\tiifname \"lo\" accept\n\t\tct state established,related accept\n\t\tct state invalid counter drop\n")
	b.WriteString("\t\ticmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept\n")
	b.WriteString("\t\ticmp type echo-request limit rate 10/second burst 20 packets accept\n\t\ticmpv6 type echo-request limit rate 10/second burst 20 packets accept\n")
	b.WriteString(strings.Join(in, ""))
	b.WriteString("\t\tlimit rate 10/minute burst 20 packets log prefix \"mysqlha drop in: \"\n\t\tcounter\n\t}\n\n")
	b.WriteString("\tchain forward {\n\t\ttype filter hook forward priority filter; policy drop;\n\t}\n\n")
	b.WriteString("\tchain output {\n\t\ttype filter hook output priority filter; policy drop;\n")
	b.WriteString("\t\toifname \"lo\" accept\n\t\tct state established,related accept\n")
	b.WriteString("\t\ticmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit } accept\n")
	b.WriteString("\t\ticmp type echo-request accept\n\t\ticmpv6 type echo-request accept\n")
	b.WriteString(strings.Join(r.answers, "") + strings.Join(out, ""))
	b.WriteString("\t\tlimit rate 10/minute burst 20 packets log prefix \"mysqlha drop out: \"\n\t\tcounter\n\t}\n}\n")
	return b.String()
}

// rendering collects the rules of one host and the sets that they need.
type rendering struct {
	site *config.Site
	host config.SiteHost
	// sets are the addresses of ends by the name of their set.
	sets map[string][]netip.Prefix
	// public are the ports that are for anyone.
	public []int
	// answers are rules for what goes out on connections that were there before the first
	// rules were loaded: nobody has kept track of them, and they look like new ones of ours
	// until the other end says something. Without SYN nothing can be opened by them.
	answers []string
}

// rules are those of one direction, in the order of the flows.
func (r *rendering) rules(in bool) (rules []string) {
	// One rule for all ports that one other end may use, by protocol.
	type group struct{ end, protocol string }
	var order []group
	ports := make(map[group][]int)
	names := make(map[group][]string)
	for _, f := range Flows(r.site) {
		own, other := f.To, f.From
		if !in {
			own, other = f.From, f.To
		}
		if !is(r.host, own) && !reaches(r.site, own, r.host) || own == Anyone {
			continue
		}
		g := group{other, f.Protocol}
		if _, known := ports[g]; !known {
			order = append(order, g)
		}
		if !slices.Contains(ports[g], f.Port) {
			ports[g] = append(ports[g], f.Port)
			names[g] = append(names[g], f.Name)
		}
	}
	for _, g := range order {
		what := fmt.Sprintf("%s dport %s ct state new", g.protocol, braces(ports[g]))
		answer := fmt.Sprintf("tcp sport %s tcp flags & syn == 0 ct state new counter accept", braces(ports[g]))
		if g.end == Anyone {
			r.public = ports[g]
			rules = append(rules, r.limits(what), fmt.Sprintf("\t\t%s counter accept comment \"anyone: %s\"\n", what, strings.Join(names[g], ", ")))
			r.answers = append(r.answers, fmt.Sprintf("\t\t%s comment \"answers to anyone\"\n", answer))
			continue
		}
		if in && g.protocol == "tcp" {
			r.answers = append(r.answers, r.each(g.end, false, answer, "answers to "+g.end)...)
		}
		rules = append(rules, r.each(g.end, in, what+" counter accept", g.end+": "+strings.Join(names[g], ", "))...)
	}
	if slices.Contains(r.host.Tiers, config.TierLB) {
		// VRRP by its number: a small system has no /etc/protocols to know the name by.
		rules = append(rules, r.each(string(config.TierLB), in, "meta l4proto 112 accept", "vrrp")...)
		if !in {
			rules = append(rules, "\t\tip daddr 224.0.0.18 meta l4proto 112 accept comment \"vrrp\"\n\t\tip6 daddr ff02::12 meta l4proto 112 accept comment \"vrrp\"\n")
		}
	}
	return rules
}

// each is a rule for the addresses of an end, of either family.
func (r *rendering) each(end string, in bool, what, comment string) (rules []string) {
	field := "daddr"
	if in {
		field = "saddr"
	}
	for _, family := range []struct {
		name, suffix string
		is           func(netip.Addr) bool
	}{{"ip", "4", netip.Addr.Is4}, {"ip6", "6", netip.Addr.Is6}} {
		addresses := slices.DeleteFunc(networks(r.site, end), func(p netip.Prefix) bool { return !family.is(p.Addr()) })
		if len(addresses) == 0 {
			continue
		}
		set := setName(end) + family.suffix
		r.sets[set] = addresses
		rules = append(rules, fmt.Sprintf("\t\t%s %s @%s %s comment \"%s\"\n", family.name, field, set, what, comment))
	}
	return rules
}

// setName is what the set of an end is called.
func setName(end string) string {
	if _, err := config.ParseNetwork(end); err != nil {
		return end
	}
	return "net_" + strings.NewReplacer(".", "_", ":", "_", "/", "_").Replace(end)
}

// limits keep one client, or one network of IPv6, from taking everything.
func (r *rendering) limits(what string) string {
	l := r.site.Limits
	return fmt.Sprintf("\t\t%[1]s add @crowd4 { ip saddr ct count over %[2]d } counter reject with tcp reset\n"+
		"\t\t%[1]s add @crowd6 { ip6 saddr & ffff:ffff:ffff:ffff:: ct count over %[2]d } counter reject with tcp reset\n"+
		"\t\t%[1]s update @pace4 { ip saddr limit rate over %[3]d/second burst %[4]d packets } counter drop\n"+
		"\t\t%[1]s update @pace6 { ip6 saddr & ffff:ffff:ffff:ffff:: limit rate over %[3]d/second burst %[4]d packets } counter drop\n",
		what, l.Connections, l.NewPerSecond, l.Burst)
}

// declarations are the sets.
func (r *rendering) declarations() string {
	var b strings.Builder
	names := make([]string, 0, len(r.sets))
	for name := range r.sets {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		kind, flags := "ipv4_addr", ""
		elements := make([]string, len(r.sets[name]))
		for i, p := range r.sets[name] {
			elements[i] = p.Addr().String()
			if !p.IsSingleIP() {
				elements[i], flags = p.String(), "\t\tflags interval\n\t\tauto-merge\n"
			}
			if p.Addr().Is6() {
				kind = "ipv6_addr"
			}
		}
		fmt.Fprintf(&b, "\tset %s {\n\t\ttype %s\n%s\t\telements = { %s }\n\t}\n\n", name, kind, flags, strings.Join(elements, ", "))
	}
	if r.public != nil {
		for _, name := range []string{"crowd4", "crowd6"} {
			fmt.Fprintf(&b, "\tset %s {\n\t\ttype %s\n\t\tsize 65535\n\t\tflags dynamic\n\t}\n\n", name, familyOf(name))
		}
		for _, name := range []string{"pace4", "pace6"} {
			fmt.Fprintf(&b, "\tset %s {\n\t\ttype %s\n\t\tsize 65535\n\t\tflags dynamic,timeout\n\t\ttimeout 1m\n\t}\n\n", name, familyOf(name))
		}
	}
	return b.String()
}

func familyOf(set string) string {
	if strings.HasSuffix(set, "6") {
		return "ipv6_addr"
	}
	return "ipv4_addr"
}

func braces(ports []int) string {
	ports = slices.Sorted(slices.Values(ports))
	texts := make([]string, len(ports))
	for i, p := range ports {
		texts[i] = strconv.Itoa(p)
	}
	return "{ " + strings.Join(texts, ", ") + " }"
}
