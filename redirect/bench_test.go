package redirect

import (
	"io"
	"net"
	"testing"
)

// BenchmarkThroughput compares a large result through the redirector with one from the server itself.
func BenchmarkThroughput(b *testing.B) {
	db1 := newBackend(b, "db1", func(conn *net.TCPConn) { _, _ = io.Copy(conn, zeros{}) })
	r := start(b, toWriter(1, db1), Options{})
	for name, address := range map[string]string{"direct": db1.Address, "redirected": r.Addresses().Write} {
		b.Run(name, func(b *testing.B) {
			c := dialTo(b, address)
			buffer := make([]byte, 1<<20)
			b.SetBytes(int64(len(buffer)))
			for b.Loop() {
				if _, err := io.ReadFull(c.TCPConn, buffer); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRoundTrip measures what the redirector adds to a small statement.
func BenchmarkRoundTrip(b *testing.B) {
	db1 := newBackend(b, "db1", echo("db1"))
	r := start(b, toWriter(1, db1), Options{})
	for name, address := range map[string]string{"direct": db1.Address, "redirected": r.Addresses().Write} {
		b.Run(name, func(b *testing.B) {
			c := dialTo(b, address)
			c.greeting(b)
			for b.Loop() {
				c.alive(b)
			}
		})
	}
}

// BenchmarkConnect measures what the redirector adds to a new connection.
func BenchmarkConnect(b *testing.B) {
	db1 := newBackend(b, "db1", echo("db1"))
	r := start(b, toWriter(1, db1), Options{})
	for name, address := range map[string]string{"direct": db1.Address, "redirected": r.Addresses().Write} {
		b.Run(name, func(b *testing.B) {
			buffer := make([]byte, 4)
			for b.Loop() {
				conn, err := net.Dial("tcp", address)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(conn, buffer); err != nil {
					b.Fatal(err)
				}
				if err := conn.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
