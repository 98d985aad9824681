package capture

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Flow is one direction of a TCP connection: from and to as address:port.
type Flow struct{ From, To string }

// Back is the other direction.
func (f Flow) Back() Flow { return Flow{f.To, f.From} }

// Stat is what was captured of a flow. A packet that passed two links counts once.
type Stat struct {
	Packets, Bytes int
	// Began tells whether its beginning was captured. First are its first bytes then;
	// of an older one they are those that were captured first.
	Began bool
	First []byte
	// Marked counts the packets in which the marker can be read, and Sample is the
	// beginning of the first of them.
	Marked int
	Sample []byte
}

// Seen is what was captured on all links.
type Seen struct {
	Packets, Bytes int
	// Marked are the files, one for each link, in which the marker can be read.
	Marked []string
	Flows  map[Flow]*Stat
	// Other are packets that are neither TCP nor needed to find each other.
	Other map[string]int
}

// firstBytes of each flow are kept.
const firstBytes = 300

// Read reads captured files, Ethernet, IPv4 and TCP, and looks for a marker.
func Read(files []string, marker []byte) (*Seen, error) {
	s := &Seen{Flows: make(map[Flow]*Stat), Other: make(map[string]int)}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading what was captured: %w", err)
		}
		if len(data) < 24 || binary.LittleEndian.Uint32(data) != 0xa1b2c3d4 {
			return nil, fmt.Errorf("%s is no capture", file)
		}
		if bytes.Contains(data, marker) {
			s.Marked = append(s.Marked, filepath.Base(file))
		}
		one := link{seen: s, marker: marker, flows: make(map[Flow]*Stat), next: make(map[Flow]uint32)}
		for data = data[24:]; len(data) >= 16; {
			n := int(binary.LittleEndian.Uint32(data[8:]))
			if len(data) < 16+n {
				break
			}
			s.Packets, s.Bytes = s.Packets+1, s.Bytes+n
			one.packet(data[16 : 16+n])
			data = data[16+n:]
		}
		for f, stat := range one.flows { // The link that has seen most of a flow tells of it.
			if known := s.Flows[f]; known == nil || stat.Packets > known.Packets {
				s.Flows[f] = stat
			}
		}
	}
	slices.Sort(s.Marked)
	return s, nil
}

// link reads the packets of one link.
type link struct {
	seen   *Seen
	marker []byte
	flows  map[Flow]*Stat
	// next are the numbers of the first bytes of flows.
	next map[Flow]uint32
}

func (l *link) packet(frame []byte) {
	if len(frame) < 14 {
		return
	}
	switch kind := binary.BigEndian.Uint16(frame[12:]); {
	case kind == 0x0806 || kind == 0x86dd: // ARP, and IPv6's own announcements
		return
	case kind != 0x0800:
		l.seen.Other[fmt.Sprintf("ethernet %#x", kind)]++
		return
	}
	ip := frame[14:]
	if len(ip) < 20 {
		return
	}
	if ip[9] != 6 {
		l.seen.Other[fmt.Sprintf("protocol %d", ip[9])]++
		return
	}
	total, head := int(binary.BigEndian.Uint16(ip[2:])), int(ip[0]&15)*4
	if total > len(ip) || total < head+20 {
		return
	}
	tcp := ip[head:total]
	f := Flow{fmt.Sprintf("%d.%d.%d.%d:%d", ip[12], ip[13], ip[14], ip[15], binary.BigEndian.Uint16(tcp)),
		fmt.Sprintf("%d.%d.%d.%d:%d", ip[16], ip[17], ip[18], ip[19], binary.BigEndian.Uint16(tcp[2:]))}
	number := binary.BigEndian.Uint32(tcp[4:])
	if tcp[13]&2 != 0 { // SYN
		l.next[f] = number + 1
		l.flows[f] = &Stat{Packets: 1, Bytes: len(frame), Began: true, First: make([]byte, firstBytes)}
		return
	}
	stat := l.flows[f]
	if stat == nil {
		stat = &Stat{}
		l.flows[f] = stat
	}
	stat.Packets, stat.Bytes = stat.Packets+1, stat.Bytes+len(frame)
	words := tcp[min(len(tcp), int(tcp[12]>>4)*4):]
	if len(words) == 0 {
		return
	}
	if stat.First == nil { // An older one.
		stat.First = make([]byte, firstBytes)
		l.next[f] = number
	}
	if at := int(number - l.next[f]); at >= 0 && at < firstBytes {
		copy(stat.First[at:], words)
	}
	if i := bytes.Index(words, l.marker); i >= 0 {
		if stat.Marked++; stat.Marked == 1 {
			stat.Sample = bytes.Clone(words[:min(len(words), firstBytes)])
		}
	}
}

// Began counts the connections whose beginning was captured.
func (s *Seen) Began() (n int) {
	for f, stat := range s.Flows {
		if back := s.Flows[f.Back()]; stat.Began && back != nil && back.Began && f.From < f.To {
			n++
		}
	}
	return n
}

// Plaintext are the connections that speak anything but TLS, be it after MySQL's greeting,
// of those whose beginning was captured.
func (s *Seen) Plaintext() (bad []string) {
	for f, stat := range s.Flows {
		if stat.Began && !s.speaksTLS(f) {
			bad = append(bad, fmt.Sprintf("%s to %s begins with %q", f.From, f.To, unproxied(stat.First)[:48]))
		}
	}
	slices.Sort(bad)
	return bad
}

// speaksTLS judges one direction of a connection that was captured from its beginning.
func (s *Seen) speaksTLS(f Flow) bool {
	stat, other := s.Flows[f], s.Flows[f.Back()]
	if other == nil || !other.Began { // It was not answered.
		return true
	}
	words, back := unproxied(stat.First), unproxied(other.First)
	switch {
	case all0(words), isGreeting(words): // It is judged by its other direction.
		return true
	case isTLS(words) && (all0(back) || isTLS(back)):
		return true
	}
	return isGreeting(back) && judgeMySQL(words)
}

// Verdict is what can be said of a connection.
type Verdict int

// The verdicts. Silent is one in which nothing was said; of one that is older than the
// capture TLS is known by the records in which it goes on, and else nothing.
const (
	Silent Verdict = iota
	TLS
	Plain
	Unknown
)

// Judge tells of a connection, by any of its directions, what it speaks.
func (s *Seen) Judge(f Flow) Verdict {
	stat, back := s.Flows[f], s.Flows[f.Back()]
	if stat == nil {
		stat, back = back, nil
	}
	if stat == nil {
		return Silent
	}
	if stat.Began && back != nil && back.Began {
		switch {
		case all0(stat.First) && all0(back.First):
			return Silent
		case s.speaksTLS(f) && s.speaksTLS(f.Back()):
			return TLS
		}
		return Plain
	}
	verdict := Silent
	for _, one := range []*Stat{stat, back} {
		switch {
		case one == nil || one.First == nil:
		case isRecord(one.First):
			return TLS
		default:
			verdict = Unknown
		}
	}
	return verdict
}

func all0(b []byte) bool { return bytes.Count(b, []byte{0}) == len(b) }

// proxied is the beginning of the PROXY protocol, by which a balancer tells whom it passes
// on.
var proxied = []byte("\r\n\r\n\x00\r\nQUIT\n")

// unproxied is what follows it, if there is one.
func unproxied(b []byte) []byte {
	if !bytes.HasPrefix(b, proxied) {
		return b
	}
	if n := len(proxied) + 4 + int(binary.BigEndian.Uint16(b[len(proxied)+2:])); n < firstBytes-100 {
		return b[n:]
	}
	return b
}

func isTLS(b []byte) bool { return len(b) > 2 && (b[0] == 22 || b[0] == 21) && b[1] == 3 }

// isRecord: the beginning of any record of TLS.
func isRecord(b []byte) bool {
	return len(b) > 2 && b[0] >= 20 && b[0] <= 23 && b[1] == 3 && b[2] == 3
}

// isGreeting: a packet with number 0 whose protocol is 10, or with an error in its place.
func isGreeting(b []byte) bool { return b[3] == 0 && (b[4] == 10 || b[4] == 255) && b[2] == 0 }

// judgeMySQL: a client that asks for TLS and then speaks it, or says nothing.
func judgeMySQL(b []byte) bool {
	return all0(b) || b[0] == 32 && b[3] == 1 && binary.LittleEndian.Uint32(b[4:])&0x800 != 0 && (isTLS(b[36:]) || all0(b[36:]))
}

// ServerName is the name that a client of TLS asks for in the clear, empty for none.
func (s *Seen) ServerName(f Flow) string {
	stat := s.Flows[f]
	if stat == nil || !stat.Began {
		return ""
	}
	b := unproxied(stat.First)
	// A record, a handshake, the version and a random; then what has a length of its own.
	if len(b) < 44 || b[0] != 22 || b[5] != 1 {
		return ""
	}
	b = b[43:]
	skip := func(width int) bool {
		if len(b) < width {
			return false
		}
		n := 0
		for _, d := range b[:width] {
			n = n<<8 | int(d)
		}
		if len(b) < width+n {
			return false
		}
		b = b[width+n:]
		return true
	}
	if !skip(1) || !skip(2) || !skip(1) || len(b) < 2 { // session, ciphers, compression
		return ""
	}
	for b = b[2:]; len(b) >= 4; {
		kind, n := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		if kind == 0 && len(b) >= 4+n && n > 5 {
			return string(b[9 : 4+n])
		}
		if len(b) < 4+n {
			return ""
		}
		b = b[4+n:]
	}
	return ""
}
