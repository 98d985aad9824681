// Command shop is the application of the reference site: users sign up, sign in and
// place orders. It shows what an application does so that nobody's order is lost or
// carried out twice, whatever becomes of the servers: the customer chooses the order's
// id, the order and what it costs are written in one transaction, and whoever has no
// answer asks again with the same id.
//
// It ends HTTPS of the web servers, which must show a certificate, and reaches MySQL by
// TLS through the redirector on its own host: at one port to write, at the other to read.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// drainTimeout bounds how long requests under way may take once it is told to stop.
const drainTimeout = 5 * time.Second

// options are what the command line says.
type options struct {
	listen, cert, key, clientCA    string
	allow                          string
	write, read                    string
	dbCA, dbServer                 string
	dbUser, dbPasswordFile, dbName string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	logger := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	if err := run(ctx, os.Args[1:], logger); err != nil {
		logger.Error("The shop ends.", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, logger *slog.Logger) error {
	var o options
	flags := flag.NewFlagSet("shop", flag.ContinueOnError)
	for _, f := range []struct {
		into        *string
		name, usage string
	}{
		{&o.listen, "listen", "the `ADDRESS` at which web servers ask"},
		{&o.cert, "cert", "its certificate, a `FILE`"},
		{&o.key, "key", "the certificate's key, a `FILE`"},
		{&o.clientCA, "client-ca", "the authority of whoever may ask, a `FILE`"},
		{&o.allow, "allow", "the `NAMES` that their certificates must prove one of, separated by commas"},
		{&o.write, "write", "the redirector's `ADDRESS` that leads to the primary"},
		{&o.read, "read", "the redirector's `ADDRESS` that leads to replicas"},
		{&o.dbCA, "db-ca", "the authority of the database servers, a `FILE`"},
		{&o.dbServer, "db-server", "the `NAME` that their certificates prove for this redirector"},
		{&o.dbUser, "db-user", "the account's `NAME`"},
		{&o.dbPasswordFile, "db-password-file", "its password, a `FILE`"},
		{&o.dbName, "db-name", "the schema's `NAME`"},
	} {
		flags.StringVar(f.into, f.name, "", f.usage)
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	var missing []string
	flags.VisitAll(func(f *flag.Flag) {
		if f.Value.String() == "" {
			missing = append(missing, "--"+f.Name)
		}
	})
	if len(missing) > 0 {
		return fmt.Errorf("give %s", strings.Join(missing, ", "))
	}
	settings, err := serverTLS(o)
	if err != nil {
		return err
	}
	s, err := openStore(o)
	if err != nil {
		return err
	}
	defer s.close()
	listener, err := net.Listen("tcp", o.listen)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	server := &http.Server{Handler: newHandler(s, logger), TLSConfig: settings, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		IdleTimeout: 2 * time.Minute, ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelWarn)}
	ended := make(chan error, 1)
	go func() { ended <- server.ServeTLS(listener, "", "") }()
	logger.Info("The shop is open.", "address", listener.Addr())
	select {
	case err := <-ended:
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	err = server.Shutdown(drain)
	if ended := <-ended; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}

// serverTLS lets those in who show a certificate of the authority that proves an allowed
// name.
func serverTLS(o options) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(o.cert, o.key)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate: %w", err)
	}
	pool, err := readPool(o.clientCA)
	if err != nil {
		return nil, err
	}
	allowed := strings.Split(o.allow, ",")
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool,
		VerifyConnection: func(c tls.ConnectionState) error {
			shown := c.PeerCertificates[0]
			if !slices.ContainsFunc(allowed, func(name string) bool { return shown.VerifyHostname(name) == nil }) {
				return fmt.Errorf("the certificate is that of %v, and only %v may ask", shown.DNSNames, allowed)
			}
			return nil
		}}, nil
}

func readPool(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading an authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("reading an authority: there is no certificate in %s", file)
	}
	return pool, nil
}
