package reference

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/mysqlha/mysqlha/config"
	"github.com/mysqlha/mysqlha/deploy/reference/capture"
)

// note is what customers write while somebody listens on every link: it can be found
// wherever it can be read.
const note = "only-the-ends-may-read-this"

// Overheard is what somebody on all links of the site can tell of a while.
type Overheard struct {
	// Packets were captured on so many Links.
	Packets, Links int
	// Between is what passed between the tiers, from the customers inwards.
	Between []Traffic
	// Words is a line of what can be read, with the note in it; empty for none.
	Words string
	// Balancer is the connection of a customer as a balancer sees it: whence and for which
	// name.
	Balancer string
}

// Traffic is what was captured between two tiers.
type Traffic struct {
	From, To string
	Packets  int
	// Connections spoke TLS, or were Plain; of Older ones that began before the capture,
	// it is known of those of them that are among TLS only. Silent ones are not counted.
	Connections, TLS, Plain, Older int
	// Readable counts the packets in which the note can be read.
	Readable int
}

// Eavesdrop captures every packet on every link while something is done.
func (s *Site) Eavesdrop(ctx context.Context, do func(context.Context) error) (Overheard, error) {
	dir, err := os.MkdirTemp("", "mysqlha-capture-")
	if err != nil {
		return Overheard{}, err
	}
	defer os.RemoveAll(dir) // What was captured has been read.
	// Its end comes by Stop: tcpdump must write what it has.
	c, err := capture.Start(context.WithoutCancel(ctx), s.layout.Name, dir, len(endsOf(s.layout.site)))
	if err != nil {
		return Overheard{}, err
	}
	err = do(ctx)
	c.Stop()
	files, unlisted := c.Files()
	if err := errors.Join(err, unlisted); err != nil {
		return Overheard{}, err
	}
	seen, err := capture.Read(files, []byte(note))
	if err != nil {
		return Overheard{}, err
	}
	return s.overheard(seen, len(files)), nil
}

// tierOrder is from the customers inwards.
var tierOrder = []string{customerHost, string(config.TierLB), string(config.TierWeb), string(config.TierApp), string(config.TierDB), string(config.TierMonitor), "admin"}

// tierAt is the tier whose an address is.
func (s *Site) tierAt(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	switch host {
	case customerAddress:
		return customerHost
	case s.layout.site.Public.Address:
		return string(config.TierLB)
	case s.layout.site.Admin[0]:
		return "admin"
	}
	for _, h := range s.layout.site.Hosts {
		if h.Addresses[0] == host {
			return string(h.Tiers[0])
		}
	}
	return host
}

func (s *Site) overheard(seen *capture.Seen, links int) Overheard {
	o := Overheard{Packets: seen.Packets, Links: links}
	between := make(map[[2]string]*Traffic)
	for f, stat := range seen.Flows {
		back := seen.Flows[f.Back()]
		if back != nil && f.From > f.To {
			continue // Once for both directions.
		}
		ends := [2]string{s.tierAt(f.From), s.tierAt(f.To)}
		if place(ends[1]) < place(ends[0]) {
			ends[0], ends[1] = ends[1], ends[0]
		}
		t := between[ends]
		if t == nil {
			t = &Traffic{From: ends[0], To: ends[1]}
			between[ends] = t
		}
		t.Packets, t.Readable = t.Packets+stat.Packets, t.Readable+stat.Marked
		if back != nil {
			t.Packets, t.Readable = t.Packets+back.Packets, t.Readable+back.Marked
		}
		for _, way := range []capture.Flow{f, f.Back()} { // What a customer says is told before all else.
			if one := seen.Flows[way]; one != nil && one.Marked > 0 && (o.Words == "" || s.tierAt(way.From) == customerHost) {
				o.Words = lineWithNote(one.Sample)
			}
		}
		verdict := seen.Judge(f)
		if verdict == capture.Silent {
			continue
		}
		t.Connections++
		if !stat.Began || back == nil || !back.Began {
			t.Older++
		}
		switch verdict {
		case capture.TLS:
			t.TLS++
		case capture.Plain:
			t.Plain++
		}
		for _, way := range []capture.Flow{f, f.Back()} {
			if name := seen.ServerName(way); name != "" && s.tierAt(way.From) == customerHost && o.Balancer == "" {
				o.Balancer = fmt.Sprintf("%s asks for %s, %d packets", way.From, name, stat.Packets)
			}
		}
	}
	for _, t := range between {
		o.Between = append(o.Between, *t)
	}
	slices.SortFunc(o.Between, func(a, b Traffic) int {
		if d := place(a.From) - place(b.From); d != 0 {
			return d
		}
		return place(a.To) - place(b.To)
	})
	return o
}

// place is where a tier stands in tierOrder; what is none stands last.
func place(tier string) int {
	if i := slices.Index(tierOrder, tier); i >= 0 {
		return i
	}
	return len(tierOrder)
}

// lineWithNote is the line in which the note stands, as far as it is text.
func lineWithNote(b []byte) string {
	for line := range bytes.SplitSeq(b, []byte("\r\n")) {
		if bytes.Contains(line, []byte(note)) {
			return strings.Map(func(r rune) rune {
				if r < ' ' || r > '~' {
					return '.'
				}
				return r
			}, string(line))
		}
	}
	return note
}

// OrderWithNote has customers place orders with the note that Eavesdrop looks for.
func (s *Site) OrderWithNote(ctx context.Context, orders int) error {
	crowd, err := s.Order(ctx, Crowd{Orders: orders, Customers: 4, Note: strings.Repeat(note+" ", 20)})
	if err != nil {
		return err
	}
	_, err = crowd.Wait()
	return err
}

// AskPlainly has a customer ask once by HTTP, without TLS, with the note in the address:
// all that he is told is to ask by HTTPS.
func (s *Site) AskPlainly(ctx context.Context) error {
	l := s.layout
	to := net.JoinHostPort(l.site.Public.Address, strconv.Itoa(l.site.Ports.HTTP))
	args := l.wires().in(customerHost, asNobody(l.ours("infra"), "plainly", "--to", to, "--name", l.site.Public.Name)...)
	return run(ctx, args[0], args[1:]...)
}

// Plainly asks once by HTTP, with the note in the address; it is what `infra plainly` does.
func Plainly(ctx context.Context, to, name string) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+to+"/orders?note="+note, nil)
	if err != nil {
		return err
	}
	request.Host = name
	response, err := http.DefaultTransport.RoundTrip(request) // It does not follow to HTTPS.
	if err != nil {
		return fmt.Errorf("asking by HTTP: %w", err)
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	if err == nil && response.StatusCode != http.StatusPermanentRedirect {
		err = fmt.Errorf("asking by HTTP was answered with %s: it should lead to HTTPS", response.Status)
	}
	return err
}
