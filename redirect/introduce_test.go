package redirect

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// askTLS is a client's first packet that asks for TLS, with what follows at once.
func askTLS(then string) []byte {
	packet := make([]byte, introduction)
	packet[0], packet[3] = introduction-4, 1
	binary.LittleEndian.PutUint32(packet[4:], 0x200|askForTLS)
	return append(packet, then...)
}

// tlsWords are what a client that has come through the handshake has sent: a record of the handshake, and one that is
// sealed.
func tlsWords(more string) string {
	return "\x16\x03\x01\x00\x05hello\x17\x03\x03\x00\x04done" + more
}

// login is one that goes on without TLS.
func login() []byte {
	body := append(askTLS("")[4:], "root\x00secret"...)
	body[1] &^= 8 // The flag for TLS.
	return append([]byte{byte(len(body)), 0, 0, 1}, body...)
}

// ears is a backend that greets and remembers how many it has had at a time, and all that it was sent.
type ears struct {
	mu       sync.Mutex
	heard    bytes.Buffer
	now, max atomic.Int64
}

func (r *ears) handle(conn *net.TCPConn) {
	n := r.now.Add(1)
	defer r.now.Add(-1)
	for most := r.max.Load(); n > most && !r.max.CompareAndSwap(most, n); most = r.max.Load() {
	}
	_, _ = io.WriteString(conn, "db1\n")
	buffer := make([]byte, 4096)
	for {
		n, err := conn.Read(buffer)
		r.mu.Lock()
		r.heard.Write(buffer[:n])
		r.mu.Unlock()
		if n > 0 {
			_, _ = conn.Write(buffer[:n])
		}
		if err != nil {
			return
		}
	}
}

func (r *ears) said() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Clone(r.heard.Bytes())
}

func (d *diary) waitRefused(t *testing.T, want ...RefuseReason) {
	t.Helper()
	eventually(t, "the refusals", func() bool { return d.sees(func(d *diary) bool { return len(d.reasons) >= len(want) }) })
	if !d.sees(func(d *diary) bool { return slices.Equal(d.reasons, want) }) {
		t.Fatalf("refused for %v, want %v", d.reasons, want)
	}
}

func TestWhoAsksForTLSIsPassedOnUntouched(t *testing.T) {
	heard := &ears{}
	r := start(t, toWriter(1, newBackend(t, "db1", heard.handle)), Options{TLSOnly: true})
	words := askTLS(tlsWords(" and what follows, whatever it is"))
	for _, pieces := range []int{1, 7, introduction - 1, len(words)} {
		c := dialTo(t, r.Addresses().Write)
		c.greeting(t)
		before := len(heard.said())
		for piece := range slices.Chunk(words, pieces) {
			if _, err := c.Write(piece); err != nil {
				t.Fatal(err)
			}
			if pieces < 10 {
				time.Sleep(100 * time.Microsecond) // so that they come one by one
			}
		}
		if back := make([]byte, len(words)); true {
			if _, err := io.ReadFull(c.in, back); err != nil || !bytes.Equal(back, words) {
				t.Fatalf("in pieces of %d: got back %q, %v", pieces, back, err)
			}
		}
		if got := heard.said()[before:]; !bytes.Equal(got, words) {
			t.Errorf("in pieces of %d: the server heard %q", pieces, got)
		}
		c.alive(t)
		c.Close()
	}
	r.diary.waitClosed(t, CauseClient, CauseClient, CauseClient, CauseClient)
	if r.diary.up != int64(4*(len(words)+len("ping\n"))) {
		t.Errorf("counted %d bytes", r.diary.up)
	}
}

func TestWhoSaysAnythingElseIsDismissed(t *testing.T) {
	for _, c := range []struct {
		name  string
		words []byte
		want  RefuseReason
		says  string
	}{
		{"a login without TLS", login(), RefusedPlaintext, "Connections without TLS are refused"},
		{"a short packet without the flag", bytes.Replace(askTLS(""), []byte{0, 0x0a}, []byte{0, 0x02}, 1), RefusedPlaintext, "Connections without TLS"},
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: db1.example\r\n\r\n"), RefusedMalformed, ""},
		{"TLS without asking for it", []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 and so on and so on"), RefusedMalformed, ""},
		{"plaintext after asking for TLS", askTLS("GET / HTTP/1.1\r\n\r\n"), RefusedMalformed, ""},
		{"nothing but zeros", make([]byte, 100), RefusedMalformed, ""},
		{"the packet's wrong number", append([]byte{32, 0, 0, 9}, askTLS("")[4:]...), RefusedMalformed, ""},
		{"a packet of 16 MB", append([]byte{255, 255, 255, 1}, bytes.Repeat([]byte{'x'}, 2000)...), RefusedPlaintext, "without TLS"},
	} {
		t.Run(c.name, func(t *testing.T) {
			heard := &ears{}
			r := start(t, toWriter(1, newBackend(t, "db1", heard.handle)), Options{TLSOnly: true})
			client := dialTo(t, r.Addresses().Write)
			client.greeting(t)
			if _, err := client.Write(c.words); err != nil {
				t.Fatal(err)
			}
			answer, _ := io.ReadAll(client.in) // It may end with a reset.
			if c.says != "" && (!strings.Contains(string(answer), c.says) || answer[3] != 2 || binary.LittleEndian.Uint16(answer[5:]) != errInsecureTransport) {
				t.Errorf("it was told %q", answer)
			}
			r.diary.waitRefused(t, c.want)
			r.diary.waitClosed(t, CauseRefused)
			if got := heard.said(); len(got) > 0 && !strings.HasPrefix(c.name, "plaintext after") {
				t.Errorf("the server heard %q", got)
			}
		})
	}
}

func TestWhoNeverAnswersTheGreetingLosesItsPlace(t *testing.T) {
	heard := &ears{}
	r := start(t, toWriter(1, newBackend(t, "db1", heard.handle)), Options{TLSOnly: true, HandshakeTimeout: 50 * time.Millisecond})
	mute, half, asked, begun := dialTo(t, r.Addresses().Write), dialTo(t, r.Addresses().Write), dialTo(t, r.Addresses().Write), dialTo(t, r.Addresses().Write)
	for c, words := range map[*client][]byte{half: askTLS("")[:20], asked: askTLS(""), begun: askTLS("\x16\x03\x01\x00\x05hello\x16\x03\x01\x00")} {
		if _, err := c.Write(words); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []*client{mute, half, asked, begun} {
		c.gone(t)
	}
	r.diary.waitRefused(t, RefusedMute, RefusedMute, RefusedMute, RefusedMute)
	eventually(t, "the server is rid of all", func() bool { return heard.now.Load() == 0 })
}

func TestACrowdThatNeverAnswersStandsInNobodysWay(t *testing.T) {
	heard := &ears{}
	const places, crowd = 3, 40
	r := start(t, toWriter(1, newBackend(t, "db1", heard.handle)), Options{TLSOnly: true, Handshakes: places, Hold: time.Minute})
	talk := func(c *client) {
		t.Helper()
		c.greeting(t)
		words := askTLS(tlsWords(""))
		if _, err := c.Write(words); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c.in, make([]byte, len(words))); err != nil {
			t.Fatal(err)
		}
	}
	friend := dialTo(t, r.Addresses().Write)
	talk(friend)
	for i := range crowd { // Some even ask for TLS, and go no further.
		if c := dialTo(t, r.Addresses().Write); i%2 == 0 {
			if _, err := c.Write(askTLS("")); err != nil {
				t.Fatal(err)
			}
		}
	}
	eventually(t, "the crowd is there", func() bool { return r.table.count() == crowd+1 })
	// Who comes from elsewhere is served at once, and who is there goes on.
	elsewhere, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).Dial("tcp", r.Addresses().Write)
	if err != nil {
		t.Fatal(err)
	}
	defer elsewhere.Close()
	if err := elsewhere.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	begun, greeting := time.Now(), make([]byte, 4)
	if _, err := io.ReadFull(elsewhere, greeting); err != nil || time.Since(begun) > crowdedTimeout*3/4 {
		t.Errorf("another address was greeted with %q after %s, %v", greeting, time.Since(begun), err)
	}
	friend.alive(t)
	if most := heard.max.Load(); most > places+2 {
		t.Errorf("the server had %d at a time", most)
	}
	// Who waits behind the crowd has its turn when those before have lost theirs.
	r.diary.waitRefusedAtLeast(t, RefusedMute, places)
	r.stop()
	if left := len(r.lines.at); left != 0 {
		t.Errorf("%d lines are left", left)
	}
}

func (d *diary) waitRefusedAtLeast(t *testing.T, reason RefuseReason, n int) {
	t.Helper()
	eventually(t, "the refusals", func() bool {
		return d.sees(func(d *diary) bool {
			return len(slices.DeleteFunc(slices.Clone(d.reasons), func(r RefuseReason) bool { return r != reason })) >= n
		})
	})
}

// A herd of clients that do answer, all at once after a hold, is served without refusing any.
func TestAHerdIsServedThroughFewPlaces(t *testing.T) {
	heard := &ears{}
	b := newBackend(t, "db1", heard.handle)
	r := start(t, Route{Term: 1}, Options{TLSOnly: true, Handshakes: 4, Hold: time.Minute})
	const herd = 300
	var wg sync.WaitGroup
	for range herd {
		wg.Go(func() {
			c := dialTo(t, r.Addresses().Write)
			if _, err := c.in.ReadString('\n'); err != nil {
				t.Errorf("no greeting: %v", err)
				return
			}
			words := askTLS(tlsWords(""))
			if _, err := c.Write(words); err != nil {
				t.Error(err)
			}
			if _, err := io.ReadFull(c.in, make([]byte, len(words))); err != nil {
				t.Errorf("no answer: %v", err)
			}
		})
	}
	eventually(t, "the herd is held", func() bool { return r.table.count() == herd })
	begun := time.Now()
	r.board.set(toWriter(1, b))
	wg.Wait()
	t.Logf("%d clients through 4 places in %s", herd, time.Since(begun))
	if r.diary.refused > 0 {
		t.Errorf("%d were refused: %v", r.diary.refused, r.diary.reasons)
	}
}
