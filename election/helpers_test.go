package election

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// patience bounds every wait for a condition; it is generous because the machine may be busy.
const patience = 20 * time.Second

// authority is a certificate authority with one certificate for servers and clients on 127.0.0.1.
type authority struct {
	ca, cert, key string
	issuer        *x509.Certificate
	issuerKey     *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) authority {
	t.Helper()
	dir := t.TempDir()
	a := authority{ca: filepath.Join(dir, "ca.pem")}
	caKey := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	caTemplate := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER := must(x509.CreateCertificate(rand.Reader, caTemplate, caTemplate, caKey.Public(), caKey))(t)
	writePEM(t, a.ca, "CERTIFICATE", caDER)
	a.issuer, a.issuerKey = caTemplate, caKey
	a.cert, a.key = a.issue(t, "test")
	return a
}

// issue makes a certificate of that common name and returns its files.
func (a authority) issue(t testing.TB, name string) (certFile, keyFile string) {
	t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der := must(x509.CreateCertificate(rand.Reader, template, a.issuer, key.Public(), a.issuerKey))(t)
	certFile, keyFile = filepath.Join(filepath.Dir(a.ca), name+".pem"), filepath.Join(filepath.Dir(a.ca), name+"-key.pem")
	writePEM(t, certFile, "CERTIFICATE", der)
	writePEM(t, keyFile, "PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key))(t))
	return certFile, keyFile
}

func writePEM(t testing.TB, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// testCluster is a cluster of real embedded members.
type testCluster struct {
	t       testing.TB
	tls     authority
	options []EmbeddedOptions
	members []*Embedded // nil while closed
}

func freeAddresses(t testing.TB, n int) []string {
	t.Helper()
	var addresses []string
	for range n {
		l := must(net.Listen("tcp", "127.0.0.1:0"))(t)
		defer l.Close()
		addresses = append(addresses, l.Addr().String())
	}
	return addresses
}

func startCluster(t testing.TB, size int) *testCluster {
	t.Helper()
	c := &testCluster{t: t, tls: newAuthority(t), members: make([]*Embedded, size)}
	addresses := freeAddresses(t, 2*size)
	peers := map[string]string{}
	for i := range size {
		peers[fmt.Sprintf("m%d", i)] = "https://" + addresses[size+i]
	}
	for i := range size {
		name := fmt.Sprintf("m%d", i)
		c.options = append(c.options, EmbeddedOptions{
			Name: name, Dir: filepath.Join(t.TempDir(), name), Token: "token-" + t.Name(), Members: peers,
			ListenClientURL: "https://" + addresses[i], ListenPeerURL: peers[name],
			CAFile: c.tls.ca, CertFile: c.tls.cert, KeyFile: c.tls.key,
		})
	}
	t.Cleanup(c.closeAll)
	var wg sync.WaitGroup
	for i := range size {
		wg.Go(func() { c.start(i) })
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return c
}

// start starts a member and waits until it serves.
func (c *testCluster) start(i int) {
	m, err := StartEmbedded(c.t.Context(), c.options[i])
	if err != nil {
		c.t.Error(err)
		return
	}
	c.members[i] = m
	select {
	case <-m.Ready():
	case <-time.After(patience):
		c.t.Errorf("member %d not ready", i)
	}
}

func (c *testCluster) stop(i int) {
	if m := c.members[i]; m != nil {
		m.Close()
		c.members[i] = nil
	}
}

// closeAll stops the raft leader last: stopped together with the others it would wait for one that takes over.
func (c *testCluster) closeAll() {
	for _, leaders := range []bool{false, true} {
		var wg sync.WaitGroup
		for i, m := range c.members {
			if m != nil && m.IsRaftLeader() == leaders {
				wg.Go(func() { c.stop(i) })
			}
		}
		wg.Wait()
	}
	for i := range c.members {
		c.stop(i)
	}
}

func (c *testCluster) raftLeader() int {
	found := -1
	eventually(c.t, "a raft leader", func() bool {
		found = slices.IndexFunc(c.members, func(m *Embedded) bool { return m != nil && m.IsRaftLeader() })
		return found >= 0
	})
	return found
}

func (c *testCluster) clientOptions() ClientOptions {
	o := ClientOptions{TLS: clientTLS(c.t, c.tls.ca, c.tls.cert, c.tls.key)}
	for _, m := range c.options {
		o.Endpoints = append(o.Endpoints, m.ListenClientURL)
	}
	return o
}

func clientTLS(t testing.TB, ca, cert, key string) *tls.Config {
	t.Helper()
	return must(transport.TLSInfo{TrustedCAFile: ca, CertFile: cert, KeyFile: key}.ClientConfig())(t)
}

func (c *testCluster) client() *clientv3.Client { return dialTest(c.t, c.clientOptions()) }

func dialTest(t testing.TB, o ClientOptions) *clientv3.Client {
	t.Helper()
	client := must(Dial(t.Context(), o))(t)
	t.Cleanup(func() { client.Close() })
	return client
}

// wiredClient reaches each member through a wire of its own that can be frozen.
func (c *testCluster) wiredClient() (*clientv3.Client, []*wire) {
	o := c.clientOptions()
	var wires []*wire
	for i, endpoint := range o.Endpoints {
		w := newWire(c.t, strings.TrimPrefix(endpoint, "https://"))
		wires = append(wires, w)
		o.Endpoints[i] = "https://" + w.listener.Addr().String()
	}
	return dialTest(c.t, o), wires
}

// wire forwards TCP connections. Frozen, it keeps them open and takes new ones, but moves no byte: a hung host. Deaf, it
// holds back only what comes back: requests are carried out, and nobody hears of it.
type wire struct {
	listener net.Listener
	target   string
	mu       sync.Mutex
	moving   *sync.Cond
	frozen   bool
	deaf     bool
	closed   bool
	conns    []net.Conn
	wg       sync.WaitGroup
}

func newWire(t testing.TB, target string) *wire {
	t.Helper()
	w := &wire{target: target, listener: must(net.Listen("tcp", "127.0.0.1:0"))(t)}
	w.moving = sync.NewCond(&w.mu)
	w.wg.Go(w.accept)
	t.Cleanup(w.close)
	return w
}

func (w *wire) accept() {
	for {
		from, err := w.listener.Accept()
		if err != nil {
			return
		}
		to, err := net.Dial("tcp", w.target)
		if err != nil {
			from.Close()
			continue
		}
		w.mu.Lock()
		w.conns = append(w.conns, from, to)
		w.mu.Unlock()
		w.wg.Go(func() { w.pump(from, to, false) })
		w.wg.Go(func() { w.pump(to, from, true) })
	}
}

func (w *wire) pump(from, to net.Conn, reply bool) {
	defer from.Close()
	defer to.Close()
	buffer := make([]byte, 16<<10)
	for {
		n, err := from.Read(buffer)
		w.mu.Lock()
		for (w.frozen || w.deaf && reply) && !w.closed {
			w.moving.Wait()
		}
		w.mu.Unlock()
		if _, werr := to.Write(buffer[:n]); err != nil || werr != nil {
			return
		}
	}
}

func (w *wire) freeze(frozen bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.frozen = frozen
	w.moving.Broadcast()
}

func (w *wire) deafen(deaf bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deaf = deaf
	w.moving.Broadcast()
}

func (w *wire) close() {
	w.listener.Close()
	w.mu.Lock()
	w.closed = true
	for _, c := range w.conns {
		c.Close()
	}
	w.mu.Unlock()
	w.moving.Broadcast()
	w.wg.Wait()
}

func freezeAll(wires []*wire, frozen bool) {
	for _, w := range wires {
		w.freeze(frozen)
	}
}

func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("waited in vain for %s", what)
}

func receive[T any](t testing.TB, what string, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

// background runs f until the test ends or the returned function is called, and waits for it.
func background(t testing.TB, f func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := f(ctx); err != nil {
			t.Error(err)
		}
	})
	stop = func() { cancel(); wg.Wait() }
	t.Cleanup(stop)
	return stop
}

// hearPeer asks a peer port for its version; an error says that it does not listen to whoever asks.
func hearPeer(t testing.TB, url string, settings *tls.Config) error {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: settings}
	defer transport.CloseIdleConnections()
	request := must(http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/version", nil))(t)
	answer, err := transport.RoundTrip(request)
	if err != nil {
		return err
	}
	return answer.Body.Close()
}
