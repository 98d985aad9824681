//go:build reference

package integration

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mysqlha/mysqlha/deploy/reference"
	"github.com/mysqlha/mysqlha/deploy/reference/customer"
	"github.com/mysqlha/mysqlha/deploy/sandbox/process"
)

// ordersOfADeadServerArePlacedByAnother: an application server loses power with
// transactions open. Nobody tells mysqld so, which would keep their locks: the orders that
// were under way there are placed by the other one all the same, soon.
func ordersOfADeadServerArePlacedByAnother(t *testing.T, s *reference.Site) {
	const host = "app1"
	crowd, err := s.Order(t.Context(), reference.Crowd{Customers: 48})
	if err != nil {
		t.Fatal(err)
	}
	awaitOrders(t, crowd, 500)
	own, err := s.Processes()
	if err != nil {
		t.Fatal(err)
	}
	cluster, _, err := s.Cluster().Processes()
	if err != nil {
		t.Fatal(err)
	}
	each := func(signal syscall.Signal) {
		for _, p := range append(own.Programs, cluster.Programs...) {
			if p.Name == host || strings.HasPrefix(p.Name, host+"/") {
				if err := p.Signal(signal); err != nil && !errors.Is(err, process.ErrGone) {
					t.Error(err)
				}
			}
		}
	}
	// Held still first, so that transactions are open, and not just over, when it dies.
	within(t, "it is held still in the midst of transactions", func(ctx context.Context) error {
		return poll(ctx, func() error {
			each(syscall.SIGSTOP)
			n, err := transactionsOf(ctx, s, host)
			if err == nil && n == 0 {
				err = errors.New("it has none open")
			}
			if err != nil {
				each(syscall.SIGCONT)
			}
			return err
		})
	})
	died := time.Now()
	err = s.Plug(t.Context(), host, false)
	each(syscall.SIGKILL)
	if err != nil {
		t.Fatal(err)
	}
	awaitOrdersAfter(t, crowd, died, 300)
	var report customer.Report
	within(t, "every order that was begun is acknowledged", func(ctx context.Context) error {
		done := make(chan error, 1)
		go func() {
			var err error
			report, err = crowd.Stop()
			done <- err
		}()
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
			return fmt.Errorf("customers still wait: %w", ctx.Err())
		}
	})
	t.Log(report)
	onceEach(t, s, report.Acks)
	if err := s.Plug(t.Context(), host, true); err != nil {
		t.Fatal(err)
	}
	within(t, "the site is whole again", s.AwaitWhole)
}

// transactionsOf counts those that a host has open at the primary.
func transactionsOf(ctx context.Context, s *reference.Site, host string) (n int, err error) {
	h, _ := s.Description().Host(host) // It is there.
	primary, err := s.Cluster().Primary(ctx)
	if err != nil {
		return 0, err
	}
	admin, err := s.Cluster().OpenAdmin(primary)
	if err != nil {
		return 0, err
	}
	defer admin.Close() // Nothing of it is needed any more.
	err = admin.QueryRowContext(ctx, `SELECT COUNT(*) FROM information_schema.innodb_trx t JOIN performance_schema.processlist p ON p.id = t.trx_mysql_thread_id
		WHERE p.host LIKE CONCAT(?, ':%') AND t.trx_rows_modified > 0`, h.Addresses[0]).Scan(&n)
	return n, err
}
