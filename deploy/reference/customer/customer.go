// Package customer owns customers of the reference site: they sign up and place orders by
// HTTPS, as anybody outside would, ask again with the same id until an order is
// acknowledged, and remember what was. The check over the database that all of it is
// there once is in check.go. It imports nothing of ours: it judges the promise from
// outside.
//
// Goroutines: Run owns one for each customer and waits for them.
package customer

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// The bounds of one try, and the time between two.
const (
	// repeatEvery is which order of a customer is placed again after it was acknowledged,
	// as by somebody who has lost the answer: that must change nothing.
	repeatEvery = 10

	dialTimeout = 1500 * time.Millisecond
	tryTimeout  = 4 * time.Second
	signTimeout = 12 * time.Second
	pause       = 50 * time.Millisecond
)

// Options say who orders what, and where.
type Options struct {
	// Name is the site's host name, Address where it is asked, without a port.
	Name, Address string
	// CA is the file of the authority that the site's certificate must be of.
	CA string
	// Customers is how many order at a time.
	Customers int
	// Orders is how many they place together; 0 goes on until Stop or the context ends.
	Orders int
	// Stop, if set, is closed to let them finish what they have begun.
	Stop <-chan struct{}
	// Note goes along with every order.
	Note string
	// Told, if set, is called with each acknowledged order, one call at a time.
	Told func(Ack)
}

// Ack is an order that was acknowledged.
type Ack struct {
	ID string `json:"id"`
	// Begun is when it was first sent, Acked when the answer had come.
	Begun time.Time `json:"begun"`
	Acked time.Time `json:"acked"`
	// Tries is how often it was sent.
	Tries int `json:"tries"`
}

// Report is what the customers saw.
type Report struct {
	Acks []Ack `json:"acks"`
	// Requests counts those that were sent, Failed those without an answer that helps,
	// Retried the orders that were sent more than once.
	Requests int `json:"requests"`
	Failed   int `json:"failed"`
	Retried  int `json:"retried"`
	// Repeated counts the orders that were placed again after they had been acknowledged.
	Repeated int `json:"repeated"`
	// Unanswered are the orders that nobody acknowledged before the end; they may be
	// there or not.
	Unanswered []string `json:"unanswered,omitempty"`
	// Begun is when the first order was sent, Ended when the last customer was done.
	Begun time.Time `json:"begun"`
	Ended time.Time `json:"ended"`
	// LastFailure is the last failure's text, empty for none.
	LastFailure string `json:"last_failure,omitempty"`
}

// LongestGap is the longest time in which no order was acknowledged, and when it began.
func (r Report) LongestGap() (time.Duration, time.Time) {
	times := []time.Time{r.Begun}
	for _, a := range r.Acks {
		times = append(times, a.Acked)
	}
	slices.SortFunc(times, time.Time.Compare)
	longest, at := time.Duration(0), r.Begun
	for i := range times[1:] {
		if gap := times[i+1].Sub(times[i]); gap > longest {
			longest, at = gap, times[i]
		}
	}
	return longest, at
}

// Slowest is the longest that a customer waited for one order.
func (r Report) Slowest() (longest time.Duration) {
	for _, a := range r.Acks {
		longest = max(longest, a.Acked.Sub(a.Begun))
	}
	return longest
}

// String says it in a line.
func (r Report) String() string {
	gap, _ := r.LongestGap()
	return fmt.Sprintf("%d orders acknowledged in %.1f s; %d of %d requests failed, %d orders asked again; longest time without an acknowledgement %d ms, slowest order %d ms",
		len(r.Acks), r.Ended.Sub(r.Begun).Seconds(), r.Failed, r.Requests, r.Retried, gap.Milliseconds(), r.Slowest().Milliseconds())
}

// errOver says that the context ended before the order was acknowledged.
var errOver = errors.New("the customers were told to go")

// crowd is all customers of one Run.
type crowd struct {
	options Options
	roots   *x509.CertPool

	mu     sync.Mutex
	left   int
	report Report
}

// Run has the customers order, and returns what they saw. Its error is about what could
// not be begun.
func Run(ctx context.Context, o Options) (Report, error) {
	text, err := os.ReadFile(o.CA)
	if err != nil {
		return Report{}, fmt.Errorf("reading the site's authority: %w", err)
	}
	c := &crowd{options: o, roots: x509.NewCertPool(), left: o.Orders}
	if !c.roots.AppendCertsFromPEM(text) {
		return Report{}, fmt.Errorf("reading the site's authority: there is no certificate in %s", o.CA)
	}
	members := make([]*member, o.Customers)
	errs := make([]error, o.Customers)
	var wg sync.WaitGroup
	for i := range members {
		members[i] = c.member()
		wg.Go(func() { errs[i] = members[i].enter(ctx) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return Report{}, err
	}
	c.report = Report{Begun: time.Now()} // Whoever had to ask again to sign in is not about orders.
	for _, m := range members {
		wg.Go(func() { m.order(ctx) })
	}
	wg.Wait()
	c.report.Ended = time.Now()
	return c.report, nil
}

// next takes the right to place one more order.
func (c *crowd) next() bool {
	select {
	case <-c.options.Stop:
		return false
	default:
	}
	if c.options.Orders == 0 {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left--
	return c.left >= 0
}

// member is one customer with connections of his own.
type member struct {
	crowd          *crowd
	client         *http.Client
	name, password string
	token          string
}

func (c *crowd) member() *member {
	dialer := net.Dialer{Timeout: dialTimeout}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			return dialer.DialContext(ctx, "tcp", net.JoinHostPort(c.options.Address, port))
		},
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.roots, ServerName: c.options.Name},
		TLSHandshakeTimeout: tryTimeout, MaxIdleConnsPerHost: 2,
	}
	return &member{crowd: c, client: &http.Client{Transport: transport}, name: "c-" + strings.ToLower(rand.Text()[:20]), password: rand.Text()}
}

// enter signs up and signs in, however long that takes.
func (m *member) enter(ctx context.Context) error {
	return m.until(ctx, func() error {
		if status, err := m.ask(ctx, http.MethodPut, "/users/"+m.name, map[string]string{"password": m.password}, nil); err != nil || status != http.StatusOK {
			return failure("signing up", status, err)
		}
		return m.signIn(ctx)
	})
}

func (m *member) signIn(ctx context.Context) error {
	var session struct{ Token string }
	status, err := m.ask(ctx, http.MethodPost, "/sessions", map[string]string{"name": m.name, "password": m.password}, &session)
	if err != nil || status != http.StatusOK {
		return failure("signing in", status, err)
	}
	m.token = session.Token
	return nil
}

// order places orders as long as there are some to place.
func (m *member) order(ctx context.Context) {
	defer m.client.CloseIdleConnections()
	for n := 1; ctx.Err() == nil && m.crowd.next(); n++ {
		id, acked := m.placeOne(ctx)
		if acked && n%repeatEvery == 0 {
			m.repeat(ctx, id)
		}
	}
}

// repeat places an order again that was acknowledged.
func (m *member) repeat(ctx context.Context, id string) {
	// Whatever comes of it, the order is there; an answer that it is another's counts.
	_ = m.until(ctx, func() error {
		status, err := m.put(ctx, id)
		if err == nil && status == http.StatusUnauthorized {
			err = m.signIn(ctx)
		}
		if err == nil && (status == http.StatusOK || status == http.StatusCreated) {
			return nil // Whether it was done twice, the database says.
		}
		return failure("ordering again", status, err)
	})
	m.crowd.mu.Lock()
	defer m.crowd.mu.Unlock()
	m.crowd.report.Repeated++
}

// put sends one order once.
func (m *member) put(ctx context.Context, id string) (status int, err error) {
	return m.ask(ctx, http.MethodPut, "/orders/"+id, map[string]any{"item": "tea", "quantity": 1, "note": m.crowd.options.Note}, nil)
}

// placeOne sends one order until it is acknowledged. It has one id from the first try to
// the last, which is why it may be sent again.
func (m *member) placeOne(ctx context.Context) (id string, acked bool) {
	a := Ack{ID: rand.Text(), Begun: time.Now()}
	err := m.until(ctx, func() error {
		a.Tries++
		status, err := m.put(ctx, a.ID)
		switch {
		case err == nil && (status == http.StatusOK || status == http.StatusCreated):
			return nil
		case err == nil && status == http.StatusUnauthorized:
			err = m.signIn(ctx)
		}
		return failure("ordering", status, err)
	})
	a.Acked = time.Now()
	c := m.crowd
	c.mu.Lock()
	defer c.mu.Unlock()
	if a.Tries > 1 {
		c.report.Retried++
	}
	if err != nil {
		c.report.Unanswered = append(c.report.Unanswered, a.ID)
		return a.ID, false
	}
	c.report.Acks = append(c.report.Acks, a)
	if c.options.Told != nil {
		c.options.Told(a)
	}
	return a.ID, true
}

func failure(doing string, status int, err error) error {
	if err == nil {
		err = fmt.Errorf("the site answered %d", status)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// until tries until it succeeds. Each failure is counted.
func (m *member) until(ctx context.Context, try func() error) error {
	for {
		err := try()
		if err == nil {
			return nil
		}
		m.crowd.mu.Lock()
		if ctx.Err() == nil {
			m.crowd.report.Failed++
			m.crowd.report.LastFailure = err.Error()
		}
		m.crowd.mu.Unlock()
		select {
		case <-ctx.Done():
			return errors.Join(errOver, err)
		case <-time.After(pause):
		}
	}
}

// ask sends one request and reads the whole answer.
func (m *member) ask(ctx context.Context, method, path string, body, into any) (status int, err error) {
	timeout := tryTimeout
	if m.token == "" || method == http.MethodPost {
		timeout = signTimeout // Passwords are slow to check.
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	text, err := json.Marshal(body)
	if err != nil {
		return 0, err
	}
	m.crowd.mu.Lock()
	m.crowd.report.Requests++
	m.crowd.mu.Unlock()
	request, err := http.NewRequestWithContext(ctx, method, "https://"+m.crowd.options.Name+path, bytes.NewReader(text))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Content-Type", "application/json")
	if m.token != "" {
		request.Header.Set("Authorization", "Bearer "+m.token)
	}
	answer, err := m.client.Do(request)
	if err != nil {
		// What is wrong with a connection is wrong with it the next time, too.
		m.client.CloseIdleConnections()
		return 0, err
	}
	defer answer.Body.Close()
	text, err = io.ReadAll(answer.Body)
	if err == nil && into != nil && answer.StatusCode == http.StatusOK {
		err = json.Unmarshal(text, into)
	}
	return answer.StatusCode, err
}
