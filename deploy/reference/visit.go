package reference

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/mysqlha/mysqlha/certs"
	"github.com/mysqlha/mysqlha/config"
	"github.com/mysqlha/mysqlha/deploy/reference/customer"
	"github.com/mysqlha/mysqlha/deploy/sandbox"
)

// countTimeout bounds how long a primary that takes writes is looked for, and the counting.
const countTimeout = time.Minute

// Visit is a crowd of customers at a site of hosts of their own.
type Visit struct {
	// Description is the description of the site, PKI the folder of its authority.
	Description, PKI string
	// CA is the file of the authority that customers trust; default the site's own.
	CA string
	// Orders is how many orders they place together, 0 for as many as they can until they
	// are told to stop; Customers how many of them there are.
	Orders, Customers int
}

// Run has the customers order until they have what they want or stop is closed, and then
// counts at the primary of that moment what was acknowledged. It is to run from where
// administrators log in: nobody else outside is let in to the database.
func (v Visit) Run(ctx context.Context, stop <-chan struct{}) (customer.Report, customer.Found, error) {
	site, err := config.LoadSite(v.Description)
	if err == nil {
		err = checkHosts(site)
	}
	if err != nil {
		return customer.Report{}, customer.Found{}, fmt.Errorf("the description of the site %s: %w", v.Description, err)
	}
	ca := v.CA
	if ca == "" {
		ca = filepath.Join(v.PKI, certs.AuthorityCert)
	}
	report, err := customer.Run(ctx, customer.Options{Name: site.Public.Name, Address: site.Public.Address, CA: ca, Customers: v.Customers, Orders: v.Orders, Stop: stop})
	if err != nil {
		return report, customer.Found{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, countTimeout)
	defer cancel()
	db, err := v.primary(ctx, site)
	if err != nil {
		return report, customer.Found{}, fmt.Errorf("counting the orders: %w", err)
	}
	defer db.Close() // Nothing of it is needed any more.
	found, err := customer.Check(ctx, db, report.Acks)
	return report, found, err
}

// primary is the database server that takes writes.
func (v Visit) primary(ctx context.Context, site *config.Site) (db *sql.DB, err error) {
	password, err := config.ReadSecret(filepath.Join(v.PKI, "app.password"))
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(v.PKI, certs.AuthorityCert))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("there is no certificate in %s", filepath.Join(v.PKI, certs.AuthorityCert))
	}
	err = sandbox.Poll(ctx, pollInterval, "looking for the server that takes writes", func(ctx context.Context) error {
		var errs []error
		for _, h := range hostsOf(site, config.TierDB) {
			c := mysql.NewConfig()
			c.User, c.Passwd, c.DBName, c.Net, c.Addr = sandbox.AppUser, password, sandbox.AppSchema, "tcp", address(h, site.Ports.MySQL)
			c.TLS = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, ServerName: h.Name}
			c.Timeout, c.ParseTime, c.Logger = askTimeout, true, &mysql.NopLogger{} // Every failure is in an error too.
			connector, err := mysql.NewConnector(c)
			if err != nil {
				return err
			}
			one := sql.OpenDB(connector)
			var closed bool
			if err = one.QueryRowContext(ctx, "SELECT @@GLOBAL.super_read_only OR @@GLOBAL.read_only OR @@GLOBAL.offline_mode").Scan(&closed); err == nil && !closed {
				db = one
				return nil
			}
			_ = one.Close() // It is not the one.
			if err == nil {
				err = errors.New("it is closed to writes")
			}
			errs = append(errs, fmt.Errorf("%s: %w", h.Name, err))
		}
		return errors.Join(errs...)
	})
	return db, err
}
