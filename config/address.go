package config

import (
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

var (
	namePattern  = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	labelPattern = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$`)
	digits       = regexp.MustCompile(`^[0-9]+$`)
)

// purpose is what an address is for; each has its own rules for the host.
type purpose int

const (
	dial       purpose = iota // others connect to it: a host is needed
	listen                    // this host listens on it: a wildcard is fine
	listenEtcd                // etcd listens on it: it takes IP addresses only
)

func (p purpose) remedy() string {
	switch p {
	case dial:
		return "write host:port as other hosts dial it, such as 10.0.0.1:3306 or [fd00::1]:3306"
	case listen:
		return "write host:port to listen on, such as 10.0.0.1:8008 or 0.0.0.0:8008"
	default:
		return "write ip:port to listen on, such as 10.0.0.1:2379 or 0.0.0.0:2379"
	}
}

// address splits and checks an address. Host and port come back in one
// spelling, so that equal addresses compare equal; a wildcard host is "".
func address(text string, p purpose) (host, port, problem string) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return "", "", "is " + shown(text) + ", not host:port"
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		return "", "", "has the port " + shown(port) + ", not a number from 1 to 65535"
	}
	port = strconv.FormatUint(number, 10)
	ip, err := netip.ParseAddr(host)
	ip = ip.Unmap()
	switch isIP := err == nil; {
	case isIP && ip.Zone() != "":
		return "", "", "has the host " + shown(host) + ", an address with a zone"
	case host == "" && p != listen, isIP && ip.IsUnspecified() && p == dial:
		return "", "", "is " + shown(text) + ", which names no host"
	case host == "", isIP && ip.IsUnspecified():
		return "", port, ""
	case isIP:
		return ip.String(), port, ""
	case p == listenEtcd && host != "localhost":
		return "", "", "has the host " + shown(host) + ", not an IP address"
	case !hostName(host):
		return "", "", "has the host " + shown(host) + ", neither an IP address nor a host name"
	}
	return strings.ToLower(strings.TrimSuffix(host, ".")), port, ""
}

// hostName tells whether a text is a host name. One whose last label is a
// number is an IP address gone wrong, such as 10.0.0.300.
func hostName(host string) bool {
	host = strings.TrimSuffix(host, ".")
	labels := strings.Split(host, ".")
	for _, l := range labels {
		if !labelPattern.MatchString(l) {
			return false
		}
	}
	return len(host) <= 253 && !digits.MatchString(labels[len(labels)-1])
}

// endpoint checks one URL of an existing etcd and returns its host and port in
// one spelling.
func endpoint(text string) (hostPort, problem string) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "":
		return "", "is not a URL"
	case u.User != nil:
		return "", "carries a user, which etcd takes from the certificate"
	case u.Scheme != "https":
		return "", "is " + shown(text) + ", which is not https"
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return "", "is " + shown(text) + ", with more than host and port"
	}
	host, port, problem := address(u.Host, dial)
	return net.JoinHostPort(host, port), problem
}
