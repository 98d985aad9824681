package reference

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/deploy/reference/customer"
	"github.com/mysqlha/mysqlha/deploy/sandbox"
)

// Crowd says how many customers order how much.
type Crowd struct {
	// Orders is how many they place together, 0 for as many as they can until Stop.
	Orders, Customers int
	// Note goes along with every order.
	Note string
}

// Orders is a crowd of customers at work, outside the site.
type Orders struct {
	input io.Closer
	done  chan struct{}

	mu     sync.Mutex
	report customer.Report
	err    error
	// more is closed and replaced when something was acknowledged.
	more chan struct{}
}

// Said is a line of `infra customer`: an acknowledged order, or at the end all that the
// customers saw besides.
type Said struct {
	Ack    *customer.Ack    `json:"ack,omitempty"`
	Report *customer.Report `json:"report,omitempty"`
}

// Order has customers order until they have what they want, or Stop. The end of ctx ends
// them.
func (s *Site) Order(ctx context.Context, c Crowd) (*Orders, error) {
	l := s.layout
	args := l.wires().in(customerHost, asNobody(l.ours("infra"), "customer", "--name", l.site.Public.Name, "--address", l.site.Public.Address, "--ca", l.authority(),
		"--customers", strconv.Itoa(c.Customers), "--orders", strconv.Itoa(c.Orders), "--note", c.Note)...)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // A Ctrl-C reaches it through ctx only.
	var said bytes.Buffer
	cmd.Stderr = &said
	input, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("sending customers: %w", err)
	}
	output, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("sending customers: %w", err)
	}
	o := &Orders{input: input, done: make(chan struct{}), more: make(chan struct{})}
	go func() {
		defer close(o.done)
		read := o.follow(output)
		if err := cmd.Wait(); err != nil {
			read = errors.Join(fmt.Errorf("%w: %s", err, bytes.TrimSpace(said.Bytes())), context.Cause(ctx))
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		if read != nil {
			o.err = fmt.Errorf("the customers ended: %w", read)
		}
	}()
	return o, nil
}

// follow reads what the customers say.
func (o *Orders) follow(output io.Reader) error {
	lines := bufio.NewScanner(output)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var said Said
		if err := json.Unmarshal(lines.Bytes(), &said); err != nil {
			return err
		}
		o.mu.Lock()
		if said.Ack != nil {
			o.report.Acks = append(o.report.Acks, *said.Ack)
			close(o.more)
			o.more = make(chan struct{})
		}
		if said.Report != nil {
			acks := o.report.Acks
			o.report = *said.Report
			o.report.Acks = acks
		}
		o.mu.Unlock()
	}
	return lines.Err()
}

// Acknowledged returns the orders that were acknowledged so far.
func (o *Orders) Acknowledged() []customer.Ack {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]customer.Ack(nil), o.report.Acks...)
}

// Await returns when so many orders were acknowledged.
func (o *Orders) Await(ctx context.Context, n int) error {
	for {
		o.mu.Lock()
		have, more := len(o.report.Acks), o.more
		o.mu.Unlock()
		if have >= n {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %d orders: %w (%d were acknowledged)", n, context.Cause(ctx), have)
		case <-o.done:
			_, err := o.Wait()
			return errors.Join(fmt.Errorf("the customers left after %d orders, %d were waited for", have, n), err)
		case <-more:
		}
	}
}

// AwaitSince returns when so many orders that were begun after a moment were acknowledged.
func (o *Orders) AwaitSince(ctx context.Context, moment time.Time, n int) error {
	for {
		later, all := 0, o.Acknowledged()
		for _, a := range all {
			if a.Begun.After(moment) {
				later++
			}
		}
		if later >= n {
			return nil
		}
		if err := o.Await(ctx, len(all)+n-later); err != nil {
			return err
		}
	}
}

// Stop lets the customers finish what they have begun, and returns what they saw.
func (o *Orders) Stop() (customer.Report, error) {
	_ = o.input.Close() // They may have left already.
	return o.Wait()
}

// Wait returns what the customers saw once they are done.
func (o *Orders) Wait() (customer.Report, error) {
	<-o.done
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.report, o.err
}

// Check compares what was acknowledged with the tables of the primary of this moment, over
// the network as an administrator.
func (s *Site) Check(ctx context.Context, acks []customer.Ack) (customer.Found, error) {
	primary := ""
	if err := s.cluster.AwaitCluster(ctx, "a primary takes writes", func(c api.Cluster) bool {
		if sandbox.IsOpen(c) {
			primary = c.Record.Primary
		}
		return sandbox.IsOpen(c)
	}); err != nil {
		return customer.Found{}, err
	}
	at, err := s.cluster.ServerAddr(primary)
	if err != nil {
		return customer.Found{}, err
	}
	db, err := s.cluster.OpenApp(at)
	if err != nil {
		return customer.Found{}, err
	}
	defer db.Close() // Nothing of it is needed any more.
	return customer.Check(ctx, db, acks)
}
