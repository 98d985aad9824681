package sandbox

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// The ports of one sandbox, as offsets from its first; each kind has room for
// ten. In the order in which a person looks for them.
const (
	portWrite = iota
	portRead
	portRedirectorAPI
	portMySQL      = 10
	portAPI        = 20
	portEtcdClient = 30
	portEtcdPeer   = 35
	portEtcdAPI    = 40
	portsNeeded    = 50
)

// Free ports are looked for below the range from which Linux takes the ports of
// outgoing connections (32768 and up): there, somebody's connection could sit on
// the port of a server that is down for a moment.
const (
	firstPort = 15000
	lastPort  = 32000
	portTries = 200
)

// reserve returns the first port of the sandbox and holds all ports until
// release is called. In namespaces of their own the hosts have all ports.
func (l layout) reserve() (first int, release func(), err error) {
	if l.Network != nil {
		return max(l.PortBase, firstPort), func() {}, nil
	}
	return reserve(l.PortBase, l.offsets())
}

// reserve returns the first port of a range in which all that are used are free,
// and the listeners that hold them until release is called.
func reserve(base int, offsets []int) (first int, release func(), err error) {
	if base != 0 {
		release, err := hold(base, offsets)
		return base, release, err
	}
	for range portTries {
		base := firstPort + portsNeeded*rand.IntN((lastPort-firstPort)/portsNeeded)
		if release, err = hold(base, offsets); err == nil {
			return base, release, nil
		}
	}
	return 0, nil, fmt.Errorf("finding free ports: %w", err)
}

func hold(base int, offsets []int) (release func(), err error) {
	if base < 1024 || base+portsNeeded > 65536 {
		return nil, fmt.Errorf("the first port is %d: use 1024 to %d", base, 65536-portsNeeded)
	}
	var listeners []net.Listener
	release = func() {
		for _, l := range listeners {
			_ = l.Close() // Closing a listener that nobody uses cannot matter.
		}
	}
	for _, offset := range offsets {
		l, err := net.Listen("tcp", address(base+offset))
		if err != nil {
			release()
			var op *net.OpError
			if errors.As(err, &op) {
				err = op.Err
			}
			return nil, fmt.Errorf("port %d cannot be had: %w", base+offset, err)
		}
		listeners = append(listeners, l)
	}
	return release, nil
}

// address is where a port of a sandbox on one loopback address is.
func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
