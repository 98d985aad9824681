package redirect

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestTLSPassesUntouched(t *testing.T) {
	certificate, pool := selfSigned(t, "db1.example")
	payload := make([]byte, 8<<20)
	if _, err := rand.Read(payload); err != nil {
		t.Fatal(err)
	}
	db1 := newBackend(t, "db1", func(conn *net.TCPConn) {
		secured := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{certificate}})
		_, _ = io.Copy(secured, secured)
		_ = secured.CloseWrite()
	})
	r := start(t, toWriter(1, db1), Options{})
	c := tls.Client(dialTo(t, r.Addresses().Write), &tls.Config{RootCAs: pool, ServerName: "db1.example"})
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	if got := c.ConnectionState().PeerCertificates[0].Raw; !bytes.Equal(got, certificate.Certificate[0]) {
		t.Error("the client sees another certificate than the server's")
	}
	sent := make(chan error, 1)
	go func() {
		_, err := c.Write(payload)
		if err == nil {
			err = c.CloseWrite()
		}
		sent <- err
	}()
	got, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, payload) {
		t.Error("the bytes came back changed")
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the session is reported", func() bool { return r.diary.sees(func(d *diary) bool { return len(d.closed) == 1 }) })
	if !r.diary.sees(func(d *diary) bool { return d.up > int64(len(payload)) && d.down > int64(len(payload)) }) {
		t.Errorf("counted %d bytes up, %d down", r.diary.up, r.diary.down)
	}
}

func selfSigned(t *testing.T, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}, pool
}

// A direction that splices holds a pipe while it waits; one that copies through this process holds none.
func TestBothDirectionsSplice(t *testing.T) {
	db1 := newBackend(t, "db1", echo("db1"))
	r := start(t, toWriter(1, db1), Options{})
	const sessions = 20
	for range sessions {
		c := dialTo(t, r.Addresses().Write)
		c.greeting(t)
		c.alive(t)
	}
	// The echo of the backends splices, too: one direction each.
	const want = sessions*2*2 + sessions*2
	eventually(t, "each direction has a pipe", func() bool { return pipeEnds(t) >= want })
}

// pipeEnds counts the descriptors of pipes that this process has.
func pipeEnds(t *testing.T) (n int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if target, err := os.Readlink("/proc/self/fd/" + entry.Name()); err == nil && strings.HasPrefix(target, "pipe:") {
			n++
		}
	}
	return n
}

func TestClientThatHasSaidItsLastWordGetsItsAnswer(t *testing.T) {
	db1 := newBackend(t, "db1", func(conn *net.TCPConn) {
		question, _ := io.ReadAll(conn) // ends when the client's half-close arrives
		_, _ = conn.Write(append([]byte("answer to "), question...))
	})
	r := start(t, toWriter(1, db1), Options{})
	c := dialTo(t, r.Addresses().Write)
	if _, err := io.WriteString(c, "question"); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); err != nil || string(got) != "answer to question" {
		t.Errorf("got %q, %v", got, err)
	}
	r.diary.waitClosed(t, CauseClient)
}

func TestIdleClientOfAServerThatClosedIsFreed(t *testing.T) {
	db1 := newBackend(t, "db1", func(conn *net.TCPConn) { _, _ = io.WriteString(conn, "db1\n") })
	r := start(t, toWriter(1, db1), Options{})
	c := dialTo(t, r.Addresses().Write) // stays open, like a connection idle in a pool
	c.greeting(t)
	c.gone(t)
	r.diary.waitClosed(t, CauseServer)
	eventually(t, "its place is free", func() bool { return r.Stats().WriteSessions == 0 })
}

func TestBrokenConnectionEndsTheSession(t *testing.T) {
	db1 := newBackend(t, "db1", echo("db1"))
	r := start(t, toWriter(1, db1), Options{})
	c := dialTo(t, r.Addresses().Write)
	c.greeting(t)
	if err := c.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	r.diary.waitClosed(t, CauseLost)
}

func TestSmallPacketsAreNotDelayed(t *testing.T) {
	db1 := newBackend(t, "db1", echo("db1"))
	r := start(t, toWriter(1, db1), Options{})
	dialTo(t, r.Addresses().Write).greeting(t)
	r.table.mu.Lock()
	defer r.table.mu.Unlock()
	for s := range r.table.sessions {
		for _, conn := range []*net.TCPConn{s.client, s.server} {
			for option, want := range map[int]int{unix.TCP_NODELAY: 1, unix.TCP_KEEPIDLE: 10, unix.TCP_KEEPINTVL: 3, unix.TCP_KEEPCNT: 3, unix.TCP_USER_TIMEOUT: 0} {
				control(t, conn, func(fd int) error {
					got, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, option)
					if got != want {
						t.Errorf("TCP option %d is %d, want %d", option, got, want)
					}
					return err
				})
			}
		}
	}
}
