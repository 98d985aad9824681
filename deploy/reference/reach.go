package reference

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"time"

	"github.com/mysqlha/mysqlha/config"
	"github.com/mysqlha/mysqlha/deploy/reference/scan"
)

// Reached is what became of an attempt to reach a port of the site.
type Reached struct {
	To, Address string
	Port        int
	// Name is what the port is called, empty for one that nobody uses.
	Name string
	// What is one of package scan's outcomes.
	What string
}

// scanPatience is how long silence is listened to.
const scanPatience = 3 * time.Second

// unusedPorts are ports that nobody at a site is asked at.
var unusedPorts = []int{21, 23, 111, 4444, 5432, 8080, 33060}

// Reach tries, from a host or as a customer, every port of every other host and of the
// public address: those of the description, and some that nobody uses.
func (s *Site) Reach(ctx context.Context, from string) (all []Reached, err error) {
	l := s.layout
	if !slices.Contains(endsOf(l.site), from) {
		return nil, fmt.Errorf("there is no host %q: they are %v", from, endsOf(l.site))
	}
	names := make(map[int]string)
	for _, port := range unusedPorts {
		names[port] = ""
	}
	for _, e := range l.site.Extra {
		names[e.Port] = "extra"
	}
	for _, p := range l.site.Ports.Named() {
		names[p.Port] = p.Name
	}
	task := scan.Task{Patience: scanPatience}
	targets := append(slices.Clone(l.site.Hosts), config.SiteHost{Name: l.site.Public.Name, Addresses: []string{l.site.Public.Address}})
	holders, err := s.Holders(ctx)
	if err != nil {
		return nil, err
	}
	order := namesOf(targets)
	for _, h := range targets {
		// What goes to the host itself never leaves it.
		if h.Name == from || h.Name == l.site.Public.Name && slices.Contains(holders, from) {
			continue
		}
		for port, name := range names {
			all = append(all, Reached{To: h.Name, Address: net.JoinHostPort(h.Addresses[0], strconv.Itoa(port)), Port: port, Name: name})
			task.Addresses = append(task.Addresses, all[len(all)-1].Address)
		}
	}
	text, err := json.Marshal(task)
	if err != nil {
		return nil, err
	}
	args := l.wires().in(from, asNobody(l.ours("infra"), "scan")...)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var said bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(text), &said
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("trying ports from %s: %w: %s", from, err, bytes.TrimSpace(said.Bytes()))
	}
	var found map[string]string
	if err := json.Unmarshal(out, &found); err != nil {
		return nil, fmt.Errorf("trying ports from %s: %w", from, err)
	}
	for i := range all {
		all[i].What = found[all[i].Address]
	}
	slices.SortFunc(all, func(a, b Reached) int {
		if a.To != b.To {
			return slices.Index(order, a.To) - slices.Index(order, b.To)
		}
		return a.Port - b.Port
	})
	return all, nil
}

// Scan tries what it reads, and writes what became of it; it is what `infra scan` does.
func Scan(in io.Reader, out io.Writer) error {
	var task scan.Task
	if err := json.NewDecoder(in).Decode(&task); err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(scan.Run(task))
}
