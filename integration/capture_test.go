//go:build security || reference

package integration

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

// marker is what clients write and nobody may read on a wire.
const marker = "MARKER-0b5e12b6-that-only-the-ends-may-read"

// capture is tcpdump on every link of a network.
type capture struct {
	t    *testing.T
	dir  string
	cmds []*exec.Cmd
}

// startCapture begins on all links of the network of that name, which are so many at least.
func startCapture(t *testing.T, network string, least int) *capture {
	t.Helper()
	p := &capture{t: t, dir: t.TempDir()}
	links, err := filepath.Glob("/sys/class/net/" + network + "-*")
	if err != nil || len(links) < least {
		t.Fatalf("the links are %v, %v", links, err)
	}
	for _, link := range links {
		name := filepath.Base(link)
		cmd := exec.Command("tcpdump", "-i", name, "-s", "0", "-U", "--immediate-mode", "-Z", "root", "-B", "16384", "-w", filepath.Join(p.dir, name+".pcap"))
		said, err := cmd.StderrPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatalf("tcpdump (Debian's package tcpdump): %v", err)
		}
		p.cmds = append(p.cmds, cmd)
		ready := make(chan struct{})
		go func() {
			buffer := make([]byte, 4096)
			for first := true; ; first = false {
				_, err := said.Read(buffer)
				if first {
					close(ready)
				}
				if err != nil {
					return
				}
			}
		}()
		<-ready
	}
	t.Cleanup(func() { p.stop() })
	return p
}

// stop ends the capture and returns the files.
func (p *capture) stop() []string {
	for _, cmd := range p.cmds {
		_ = cmd.Process.Signal(syscall.SIGINT) // It writes out what it has.
		_ = cmd.Wait()
	}
	p.cmds = nil
	return p.files()
}

// files are what was captured so far.
func (p *capture) files() []string {
	p.t.Helper()
	files, err := filepath.Glob(filepath.Join(p.dir, "*.pcap"))
	if err != nil {
		p.t.Fatal(err)
	}
	return files
}

// flow is one direction of a TCP connection: from and to as address:port.
type flow struct{ from, to string }

// seen is what was captured on all links.
type seen struct {
	packets, bytes int
	marked         []string
	// first are the first bytes of each direction of each connection whose beginning
	// was captured.
	first map[flow][]byte
	// other are packets that are neither TCP nor needed to find each other.
	other map[string]int
}

const firstBytes = 200

// read reads captured files: Ethernet, IPv4, TCP.
func read(t *testing.T, files []string) seen {
	t.Helper()
	s := seen{first: make(map[flow][]byte), other: make(map[string]int)}
	marks := make(map[string]bool)
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if len(data) < 24 || binary.LittleEndian.Uint32(data) != 0xa1b2c3d4 {
			t.Fatalf("%s is no capture", file)
		}
		if bytes.Contains(data, []byte(marker)) {
			marks[filepath.Base(file)] = true
		}
		began := make(map[flow]uint32) // the number of the first byte
		for data = data[24:]; len(data) >= 16; {
			n := int(binary.LittleEndian.Uint32(data[8:]))
			if len(data) < 16+n {
				break
			}
			s.packets, s.bytes = s.packets+1, s.bytes+n
			s.packet(data[16:16+n], began)
			data = data[16+n:]
		}
	}
	for name := range marks {
		s.marked = append(s.marked, name)
	}
	slices.Sort(s.marked)
	return s
}

func (s *seen) packet(frame []byte, began map[flow]uint32) {
	if len(frame) < 14 {
		return
	}
	switch kind := binary.BigEndian.Uint16(frame[12:]); {
	case kind == 0x0806 || kind == 0x86dd: // ARP, and IPv6's own announcements
		return
	case kind != 0x0800:
		s.other[fmt.Sprintf("ethernet %#x", kind)]++
		return
	}
	ip := frame[14:]
	if len(ip) < 20 || ip[9] != 6 {
		s.other[fmt.Sprintf("protocol %d", ip[9])]++
		return
	}
	total, head := int(binary.BigEndian.Uint16(ip[2:])), int(ip[0]&15)*4
	tcp := ip[head:min(total, len(ip))]
	f := flow{fmt.Sprintf("%d.%d.%d.%d:%d", ip[12], ip[13], ip[14], ip[15], binary.BigEndian.Uint16(tcp)),
		fmt.Sprintf("%d.%d.%d.%d:%d", ip[16], ip[17], ip[18], ip[19], binary.BigEndian.Uint16(tcp[2:]))}
	number := binary.BigEndian.Uint32(tcp[4:])
	if tcp[13]&2 != 0 { // SYN
		began[f] = number + 1
		s.first[f] = make([]byte, firstBytes)
		return
	}
	payload := tcp[int(tcp[12]>>4)*4:]
	start, known := began[f]
	if at := int(number - start); known && at < firstBytes && len(payload) > 0 {
		copy(s.first[f][at:], payload)
	}
}

// plaintext are the connections that speak anything but TLS, be it after MySQL's greeting.
func (s *seen) plaintext() (bad []string) {
	for f, words := range s.first {
		back, known := s.first[flow{f.to, f.from}]
		words, back = unproxied(words), unproxied(back)
		switch {
		case !known, all0(words), isGreeting(words): // It is judged by its other direction.
		case isTLS(words) && (all0(back) || isTLS(back)):
		case isGreeting(back) && judgeMySQL(words):
		default:
			bad = append(bad, fmt.Sprintf("%s to %s begins with %q", f.from, f.to, words[:48]))
		}
	}
	slices.Sort(bad)
	return bad
}

func all0(b []byte) bool { return bytes.Count(b, []byte{0}) == len(b) }

// proxied is the beginning of the PROXY protocol, by which a balancer tells whom it passes on.
var proxied = []byte("\r\n\r\n\x00\r\nQUIT\n")

// unproxied is what follows it, if there is one.
func unproxied(b []byte) []byte {
	if !bytes.HasPrefix(b, proxied) {
		return b
	}
	return b[min(len(b), len(proxied)+4+int(binary.BigEndian.Uint16(b[len(proxied)+2:]))):]
}

func isTLS(b []byte) bool { return len(b) > 2 && (b[0] == 22 || b[0] == 21) && b[1] == 3 }

// isGreeting: a packet with number 0 whose protocol is 10, or with an error in its place.
func isGreeting(b []byte) bool { return b[3] == 0 && (b[4] == 10 || b[4] == 255) && b[2] == 0 }

// judgeMySQL: a client that asks for TLS and then speaks it, or says nothing.
func judgeMySQL(b []byte) bool {
	return all0(b) || b[0] == 32 && b[3] == 1 && binary.LittleEndian.Uint32(b[4:])&0x800 != 0 && (isTLS(b[36:]) || all0(b[36:]))
}
