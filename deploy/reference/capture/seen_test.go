package capture

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// pcap writes packets of TCP between two hosts as tcpdump does.
type pcap struct {
	bytes.Buffer
	numbers map[[2]int]uint32
}

func newPcap() *pcap {
	p := &pcap{numbers: make(map[[2]int]uint32)}
	p.Write([]byte{0xd4, 0xc3, 0xb2, 0xa1})
	p.Write(make([]byte, 20))
	return p
}

// say adds a packet from one port to another; syn begins the connection.
func (p *pcap) say(from, to int, syn bool, words string) {
	tcp := make([]byte, 20, 20+len(words))
	binary.BigEndian.PutUint16(tcp, uint16(from))
	binary.BigEndian.PutUint16(tcp[2:], uint16(to))
	binary.BigEndian.PutUint32(tcp[4:], p.numbers[[2]int{from, to}])
	tcp[12] = 5 << 4
	p.numbers[[2]int{from, to}] += uint32(len(words))
	if syn {
		tcp[13] = 2
		p.numbers[[2]int{from, to}]++
	}
	tcp = append(tcp, words...)
	ip := append([]byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2}, tcp...)
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	frame := append(append(make([]byte, 12), 8, 0), ip...)
	head := make([]byte, 16)
	binary.LittleEndian.PutUint32(head[8:], uint32(len(frame)))
	p.Write(append(head, frame...))
}

func (p *pcap) read(t *testing.T, marker string) *Seen {
	t.Helper()
	file := filepath.Join(t.TempDir(), "link.pcap")
	if err := os.WriteFile(file, p.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	seen, err := Read([]string{file, file}, []byte(marker)) // Two links that it passes.
	if err != nil {
		t.Fatal(err)
	}
	return seen
}

// hello is what a client of TLS says first.
func hello(t *testing.T, name string) string {
	t.Helper()
	ours, theirs := net.Pipe()
	defer theirs.Close()
	go func() {
		_ = tls.Client(ours, &tls.Config{ServerName: name}).Handshake() // Nobody answers.
	}()
	words := make([]byte, 4096)
	n, err := theirs.Read(words)
	if err != nil {
		t.Fatal(err)
	}
	return string(words[:n])
}

func TestWhatAConnectionSpeaksIsToldByItsFirstWords(t *testing.T) {
	greeting := "\x4a\x00\x00\x00\x0a9.7.4"
	record := "\x17\x03\x03\x00\x20"
	asksForTLS := string([]byte{32, 0, 0, 1, 0, 0x0a, 0, 0}) + string(make([]byte, 28))
	to := Flow{"10.0.0.1:1", "10.0.0.2:2"}
	proxyHeader := string(proxied) + "\x21\x11\x00\x0c" + string(make([]byte, 12))
	for name, c := range map[string]struct {
		began     bool
		ours      string
		theirs    string
		want      Verdict
		plaintext int
	}{
		"TLS":                             {true, hello(t, "shop.example"), "\x16\x03\x03", TLS, 0},
		"TLS after a balancer's word":     {true, proxyHeader + hello(t, "shop.example"), "\x16\x03\x03", TLS, 0},
		"HTTP":                            {true, "GET / HTTP/1.1", "HTTP/1.1 200 OK", Plain, 2},
		"HTTP after a balancer's word":    {true, proxyHeader + "GET / HTTP/1.1", "HTTP/1.1 200 OK", Plain, 2},
		"a server that speaks plainly":    {true, hello(t, "shop.example"), "HTTP/1.1 400", Plain, 2},
		"MySQL that goes on in TLS":       {true, asksForTLS + hello(t, "db"), greeting, TLS, 0},
		"MySQL that does not":             {true, "\x50\x00\x00\x01\x00\x0a\x00\x00app", greeting, Plain, 1},
		"nothing":                         {true, "", "", Silent, 0},
		"an older one that goes on":       {false, record, record, TLS, 0},
		"an older one of which too late":  {false, "x" + record, "y", Unknown, 0},
		"an older one that says nothing":  {false, "", "", Silent, 0},
		"an older one, in one way silent": {false, "", record, TLS, 0},
	} {
		p := newPcap()
		if c.began {
			p.say(1, 2, true, "")
			p.flip(true, "")
		}
		p.say(1, 2, false, c.ours)
		p.flip(false, c.theirs)
		seen := p.read(t, "no such word")
		if got := seen.Judge(to); got != c.want {
			t.Errorf("%s: it is judged %d, not %d", name, got, c.want)
		}
		if bad := seen.Plaintext(); len(bad) != c.plaintext {
			t.Errorf("%s: without TLS are %q", name, bad)
		}
	}
}

// flip says something the other way.
func (p *pcap) flip(syn bool, words string) {
	at := p.Len() + 16
	p.say(2, 1, syn, words)
	addresses := p.Bytes()[at+14+12:]
	addresses[3], addresses[7] = 2, 1
}

func TestTheMarkerIsFoundAndThePacketCountsOnce(t *testing.T) {
	p := newPcap()
	p.say(1, 2, true, "")
	p.flip(true, "")
	p.say(1, 2, false, "GET /?note=secret HTTP/1.1\r\n")
	p.flip(false, "HTTP/1.1 200 OK")
	seen := p.read(t, "secret")
	stat := seen.Flows[Flow{"10.0.0.1:1", "10.0.0.2:2"}]
	if len(seen.Marked) != 2 || stat.Marked != 1 || stat.Packets != 2 || string(stat.Sample) != "GET /?note=secret HTTP/1.1\r\n" || seen.Began() != 1 {
		t.Errorf("it is read on %v, of the flow is known %+v, %d connections began", seen.Marked, stat, seen.Began())
	}
}

func TestTheNameThatAClientAsksForIsReadFromItsHello(t *testing.T) {
	p := newPcap()
	p.say(1, 2, true, "")
	p.flip(true, "")
	p.say(1, 2, false, hello(t, "shop.example"))
	p.flip(false, "\x16\x03\x03")
	seen := p.read(t, "x")
	if name := seen.ServerName(Flow{"10.0.0.1:1", "10.0.0.2:2"}); name != "shop.example" {
		t.Errorf("it is %q", name)
	}
	if name := seen.ServerName(Flow{"10.0.0.2:2", "10.0.0.1:1"}); name != "" {
		t.Errorf("the server asks for %q", name)
	}
}
