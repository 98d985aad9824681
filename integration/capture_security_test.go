//go:build security

package integration

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/deploy/sandbox"
	"github.com/mysqlha/mysqlha/integration/faults"
	"github.com/mysqlha/mysqlha/integration/harness"
)

// marker is what clients write and nobody may read on a wire.
const marker = "MARKER-0b5e12b6-that-only-the-ends-may-read"

// capture is tcpdump on every link of a network.
type capture struct {
	t    *testing.T
	dir  string
	cmds []*exec.Cmd
}

func startCapture(t *testing.T, c *faults.Cluster) *capture {
	t.Helper()
	p := &capture{t: t, dir: t.TempDir()}
	links, err := filepath.Glob("/sys/class/net/" + strings.TrimSuffix(c.Lab.Namespace("x"), "-x") + "-*")
	if err != nil || len(links) < len(c.Lab.Hosts()) {
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
		back := s.first[flow{f.to, f.from}]
		switch {
		case back == nil, all0(words), isGreeting(words): // It is judged by its other direction.
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

func isTLS(b []byte) bool { return len(b) > 2 && (b[0] == 22 || b[0] == 21) && b[1] == 3 }

// isGreeting: a packet with number 0 whose protocol is 10, or with an error in its place.
func isGreeting(b []byte) bool { return b[3] == 0 && (b[4] == 10 || b[4] == 255) && b[2] == 0 }

// judgeMySQL: a client that asks for TLS and then speaks it, or says nothing.
func judgeMySQL(b []byte) bool {
	return all0(b) || b[0] == 32 && b[3] == 1 && binary.LittleEndian.Uint32(b[4:])&0x800 != 0 && (isTLS(b[36:]) || all0(b[36:]))
}

// Clients write a marker while a primary is lost, a server is cloned and every
// certificate is replaced: on no link can it be read, and nothing speaks without TLS.
// With TLS switched off the same look finds it.
func TestSecurityNothingIsReadOnAnyLink(t *testing.T) {
	c := onNetwork(t, sandbox.Options{Spares: 1})
	p := startCapture(t, c)
	db, err := c.OpenApp(c.WriteAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	within(t, "the table of markers", func(ctx context.Context) error {
		return poll(ctx, func() error {
			_, err := db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS marked (id BIGINT AUTO_INCREMENT PRIMARY KEY, words TEXT)")
			return err
		})
	})
	l := harness.Writers(t, c.Sandbox, 4)
	wrote := 0
	mark := func() {
		t.Helper()
		within(t, "a marker is written", func(ctx context.Context) error {
			return poll(ctx, func() error {
				_, err := db.ExecContext(ctx, "INSERT INTO marked (words) VALUES (?)", strings.Repeat(marker+" ", 50))
				return err
			})
		})
		wrote++
	}
	mark()
	before := record(t, c.Sandbox)
	signal(t, c.Sandbox, before.Primary, syscall.SIGKILL)
	mark()
	awaitCluster(t, c.Sandbox, "the next term is open", func(s api.Cluster) bool { return s.Record.Term > before.Term && sandbox.Settled(s) })
	mark()
	purge(t, openAdmin(t, c.Sandbox, record(t, c.Sandbox).Primary)) // So that who joins is cloned.
	if out, err := mysqlha(t, c.Sandbox, "server", "add", "db4"); err != nil || !strings.Contains(out, "cloning") {
		t.Fatalf("%v\n%s", err, out)
	}
	mark()
	// What was purged may have been needed by the former primary, too, which is a clone then.
	awaitCluster(t, c.Sandbox, "every server is in sync", sandbox.Settled)
	replaceAuthority(t, c.Sandbox)
	mark()
	for range 20 {
		mark()
	}
	l.Check()
	s := read(t, p.stop())
	if s.packets < 10_000 || len(s.first) < 50 {
		t.Fatalf("only %d packets of %d connections were captured", s.packets, len(s.first)/2)
	}
	if len(s.marked) > 0 {
		t.Errorf("the marker can be read on %v", s.marked)
	}
	if bad := s.plaintext(); len(bad) > 0 {
		t.Errorf("%d connections speak without TLS:\n%s", len(bad), strings.Join(bad[:min(20, len(bad))], "\n"))
	}
	if len(s.other) > 0 {
		t.Errorf("there are packets of other protocols: %v", s.other)
	}
	t.Logf("%d packets, %d MB, %d connections from their beginning, %d markers", s.packets, s.bytes>>20, len(s.first)/2, wrote)

	// The look is one that can find it: a session without TLS, straight to mysqld.
	primary := record(t, c.Sandbox).Primary
	admin := openAdmin(t, c.Sandbox, primary)
	mustExec(t, admin, "SET GLOBAL require_secure_transport = OFF")
	mustExec(t, admin, "CREATE USER 'careless'@'%' IDENTIFIED BY 'a-Careless-1'")
	mustExec(t, admin, "GRANT INSERT ON *.* TO 'careless'@'%'")
	p = startCapture(t, c)
	address, err := c.ServerAddr(primary)
	if err != nil {
		t.Fatal(err)
	}
	config, err := c.App(address)
	if err != nil {
		t.Fatal(err)
	}
	config.User, config.Passwd, config.TLS, config.TLSConfig = "careless", "a-Careless-1", nil, ""
	connector, err := mysql.NewConnector(config)
	if err != nil {
		t.Fatal(err)
	}
	plain := sql.OpenDB(connector)
	defer plain.Close()
	within(t, "this look finds what is said without TLS", func(ctx context.Context) error {
		return poll(ctx, func() error {
			if _, err := plain.ExecContext(ctx, "INSERT INTO marked (words) VALUES (?)", strings.Repeat(marker+" ", 50)); err != nil {
				t.Fatalf("writing without TLS: %v", err)
			}
			s := read(t, p.files())
			if len(s.marked) == 0 || len(s.plaintext()) == 0 {
				return fmt.Errorf("the marker is read on %v, and %v speak without TLS", s.marked, s.plaintext())
			}
			return nil
		})
	})
}
