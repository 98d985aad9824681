package api

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// The bounds of a client.
const (
	// dialTimeout bounds dialling and the TLS handshake each, which go on in the
	// background after a call has given up.
	dialTimeout = 2 * time.Second
	// attemptTimeout is what one of several endpoints gets where the call's
	// context leaves more.
	attemptTimeout = 3 * time.Second
	// maxAnswer is far above any answer of ours.
	maxAnswer = 16 << 20
)

// ErrUnreachable is in the chain of an error when no endpoint gave any answer.
var ErrUnreachable = errors.New("no daemon could be reached")

// ErrTimedOut is in the chain of an error when a daemon was reached and did not
// answer in time.
var ErrTimedOut = errors.New("it was reached and did not answer in time")

// Endpoint is one daemon to ask.
type Endpoint struct {
	// Address is its host:port.
	Address string
	// TLS are the settings for dialling it, with the name that its certificate
	// must carry; see certs.ClientConfig.
	TLS *tls.Config
	// Token proves who asks, where no certificate does.
	Token string
}

// AnswerError is an answer other than 200.
type AnswerError struct {
	// Status is the HTTP status, Code the name of the problem in the catalogue and
	// Reason what the daemon said.
	Status int
	Code   decide.Code
	Reason string
}

// Refused tells whether the cluster does not want to, or not for this asker.
func (e *AnswerError) Refused() bool {
	return e.Status == http.StatusConflict || e.Status == http.StatusForbidden || e.Status == http.StatusUnauthorized
}

// Error returns the reason, or the status where none was given.
func (e *AnswerError) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("it answered %d %s", e.Status, http.StatusText(e.Status))
	}
	if e.Refused() {
		return e.Reason
	}
	return fmt.Sprintf("it answered %d: %s", e.Status, e.Reason)
}

// Client asks daemons over HTTPS and keeps its connections open from one call
// to the next, so that a poll costs one round trip. Where an endpoint fails it
// tries the next, beginning with the one that answered last. It is safe for
// concurrent use.
type Client struct {
	endpoints []*endpoint
	// last is the index of the endpoint that answered last.
	last atomic.Int64
}

type endpoint struct {
	address   string
	token     string
	transport *http.Transport
}

// NewClient returns a client of the endpoints; there must be at least one, each
// with TLS. Nothing is dialled before the first call.
func NewClient(endpoints ...Endpoint) (*Client, error) {
	if len(endpoints) == 0 {
		return nil, errors.New("no endpoint to ask was given")
	}
	c := &Client{}
	for _, e := range endpoints {
		if e.TLS == nil {
			return nil, fmt.Errorf("the endpoint %s was given without TLS settings", e.Address)
		}
		c.endpoints = append(c.endpoints, &endpoint{address: e.Address, token: e.Token, transport: newTransport(e.TLS)})
	}
	return c, nil
}

// newTransport speaks HTTP/1.1; see NewServer for why. It never uses a proxy: a
// daemon is on the same network or not reachable.
func newTransport(settings *tls.Config) *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig:     settings,
		TLSHandshakeTimeout: dialTimeout,
		Protocols:           protocols,
		DisableCompression:  true,
		MaxIdleConnsPerHost: 2,
		// Polls that time out leave their dials behind until dialTimeout; no more
		// than these pile up at a daemon that hangs.
		MaxConnsPerHost: 8,
		// Below the server's, so that the client is the one to close.
		IdleConnTimeout: idleTimeout / 2,
	}
}

// Close closes the connections that are kept. Calls under way go on.
func (c *Client) Close() {
	for _, e := range c.endpoints {
		e.transport.CloseIdleConnections()
	}
}

// Cluster returns what a daemon knows of the cluster. A daemon whose copy is
// stale is only believed when no other has a newer one.
func (c *Client) Cluster(ctx context.Context) (Cluster, error) {
	var best *Cluster
	err := c.each(ctx, func(ctx context.Context, e *endpoint) error {
		var one Cluster
		if err := e.get(ctx, "/v1/cluster", &one); err != nil {
			return err
		}
		if best == nil || best.Stale && (!one.Stale || one.StaleFor < best.StaleFor) {
			best = &one
		}
		if one.Stale {
			return errStale
		}
		return nil
	})
	if best != nil {
		return *best, nil
	}
	return Cluster{}, fmt.Errorf("asking for the state of the cluster: %w", err)
}

var errStale = errors.New("its copy of what stands in etcd is stale")

// Why returns the latest decision in words.
func (c *Client) Why(ctx context.Context) (Why, error) {
	why, err := first[Why](ctx, c, "/v1/why")
	if err != nil {
		return Why{}, fmt.Errorf("asking for the decision: %w", err)
	}
	return why, nil
}

// Rotate asks for new passwords of the accounts of all hosts and returns the request's
// id. A refusal makes an [AnswerError].
func (c *Client) Rotate(ctx context.Context, want decide.RotationRequest) (string, error) {
	return asked[string](ctx, c, "/v1/accounts/rotate", want, "asking for new passwords")
}

// Passwords tells how far the accounts of the host of the first daemon that answers have
// come with new passwords.
func (c *Client) Passwords(ctx context.Context) (Passwords, error) {
	all, err := first[Passwords](ctx, c, "/v1/accounts")
	if err != nil {
		return Passwords{}, fmt.Errorf("asking for a host's accounts: %w", err)
	}
	return all, nil
}

// Certificates returns those of the host of the first daemon that answers.
func (c *Client) Certificates(ctx context.Context) (Certificates, error) {
	all, err := first[Certificates](ctx, c, "/v1/certificates")
	if err != nil {
		return Certificates{}, fmt.Errorf("asking for a host's certificates: %w", err)
	}
	return all, nil
}

// History returns at most limit ended terms and plans, the newest first; the
// daemon's own limit where limit is 0.
func (c *Client) History(ctx context.Context, limit int) ([]decide.History, error) {
	path := "/v1/history"
	if limit > 0 {
		path += "?limit=" + strconv.Itoa(limit)
	}
	entries, err := first[[]decide.History](ctx, c, path)
	if err != nil {
		return nil, fmt.Errorf("asking for the history: %w", err)
	}
	return entries, nil
}

// Member returns the figures of the server beside the first daemon that
// answers. The leader polls with it, one client for each daemon.
func (c *Client) Member(ctx context.Context) (decide.Live, error) {
	live, err := first[decide.Live](ctx, c, "/v1/member")
	if err != nil {
		return decide.Live{}, fmt.Errorf("asking a daemon for its server's figures: %w", err)
	}
	return live, nil
}

// AdviseStart asks a daemon what became of the term in which its dead server was
// open, after having waited for so long.
func (c *Client) AdviseStart(ctx context.Context, term uint64, waited time.Duration) (decide.StartAnswer, error) {
	answer, err := first[decide.StartAnswer](ctx, c, fmt.Sprintf("/v1/start?term=%d&waited=%s", term, waited))
	if err != nil {
		return decide.StartAnswer{}, fmt.Errorf("asking the daemon what became of term %d: %w", term, err)
	}
	return answer, nil
}

// Settings returns what the operator has set for the whole cluster.
func (c *Client) Settings(ctx context.Context) (Settings, error) {
	now, err := first[Settings](ctx, c, "/v1/settings")
	if err != nil {
		return Settings{}, fmt.Errorf("asking for the settings: %w", err)
	}
	return now, nil
}

// ChangeSettings changes some of them, all or none, and returns all that stand. It
// needs a client certificate, as all changes do. A daemon that refuses makes an
// *AnswerError with its reason, and no other is asked then.
func (c *Client) ChangeSettings(ctx context.Context, want SettingsChange) (Settings, error) {
	return asked[Settings](ctx, c, "/v1/settings", want, "changing the settings")
}

// SettingsHistory returns at most limit versions of the settings, the newest first.
func (c *Client) SettingsHistory(ctx context.Context, limit int) ([]decide.PolicyVersion, error) {
	all, err := first[[]decide.PolicyVersion](ctx, c, "/v1/settings/history?limit="+strconv.Itoa(limit))
	if err != nil {
		return nil, fmt.Errorf("asking for the versions of the settings: %w", err)
	}
	return all, nil
}

// Pause keeps the primary where it is until Resume, or for a time.
func (c *Client) Pause(ctx context.Context, want PauseRequest) (decide.Pause, error) {
	return asked[decide.Pause](ctx, c, "/v1/pause", want, "pausing")
}

// Resume ends a pause, and returns the one that was there.
func (c *Client) Resume(ctx context.Context, by string) (decide.Pause, error) {
	return asked[decide.Pause](ctx, c, "/v1/resume", ResumeRequest{By: by}, "resuming")
}

// Rejoin says what may be done with transactions that a server alone has.
func (c *Client) Rejoin(ctx context.Context, want RejoinRequest) error {
	_, err := asked[RejoinRequest](ctx, c, "/v1/rejoin", want, "asking for "+want.Server+" to rejoin")
	return err
}

// Failover asks for a failover and returns the request's id, by which the history
// says what came of it.
func (c *Client) Failover(ctx context.Context, want decide.FailoverRequest) (string, error) {
	if want.ID == "" {
		want.ID, want.At = rand.Text(), time.Now()
	}
	return asked[string](ctx, c, "/v1/failover", want, "asking for a failover")
}

// ChangeServers lets a server join the cluster or leave it, and returns those that
// are wanted from then on.
func (c *Client) ChangeServers(ctx context.Context, want ServersRequest) ([]decide.Server, error) {
	return asked[[]decide.Server](ctx, c, "/v1/servers", want, "changing the servers")
}

// Switchover asks for another primary and returns the request's id, by which the
// history says what came of it.
func (c *Client) Switchover(ctx context.Context, want decide.SwitchoverRequest) (string, error) {
	// Of its own, so that a request that two daemons were asked for is one.
	if want.ID == "" {
		want.ID, want.At = rand.Text(), time.Now()
	}
	return asked[string](ctx, c, "/v1/switchover", want, "asking for a switchover")
}

// asked asks for a change that may be asked for twice, doing what it says.
func asked[Now any](ctx context.Context, c *Client, path string, want any, doing string) (Now, error) {
	var now, none Now
	if err := c.post(ctx, path, want, &now); err != nil {
		return none, fmt.Errorf("%s: %w", doing, err)
	}
	return now, nil
}

// post asks for a change that may be asked for twice, and reads the answer.
func (c *Client) post(ctx context.Context, path string, want, answer any) error {
	data, err := json.Marshal(want)
	if err != nil {
		return err
	}
	var refused error
	err = c.each(ctx, func(ctx context.Context, e *endpoint) error {
		err := e.call(ctx, http.MethodPost, path, bytes.NewReader(data), answer)
		var no *AnswerError
		if errors.As(err, &no) && no.Status != http.StatusServiceUnavailable {
			refused = err
			return nil
		}
		return err
	})
	return errors.Join(err, refused)
}

// TestFence has a replica fenced and let in again. It needs a client certificate.
// Only one daemon is asked to do it: one that did not answer may be doing it.
func (c *Client) TestFence(ctx context.Context, want FenceRequest) (decide.FenceTest, error) {
	var report decide.FenceTest
	data, err := json.Marshal(want)
	if err != nil {
		return report, fmt.Errorf("testing the fence of %s: %w", want.Server, err)
	}
	// Which one lives is asked before.
	if _, err := c.Cluster(ctx); err != nil {
		return report, err
	}
	e := c.endpoints[int(c.last.Load())]
	if err := e.call(ctx, http.MethodPost, "/v1/fence-test", bytes.NewReader(data), &report); err != nil {
		return report, fmt.Errorf("testing the fence of %s: %s: %w", want.Server, e.address, err)
	}
	return report, nil
}

// Kept lists what a server had and gave up.
func (c *Client) Kept(ctx context.Context, server string) ([]decide.Kept, error) {
	kept, err := first[[]decide.Kept](ctx, c, "/v1/kept?server="+url.QueryEscape(server))
	if err != nil {
		return nil, fmt.Errorf("asking what %s has kept: %w", server, err)
	}
	return kept, nil
}

// OpenKept opens one of them; the caller closes it. It needs a client
// certificate.
func (c *Client) OpenKept(ctx context.Context, server, name string) (io.ReadCloser, error) {
	var file io.ReadCloser
	path := "/v1/kept/file?server=" + url.QueryEscape(server) + "&name=" + url.QueryEscape(name)
	var causes []error
	// Not by each: the time of one attempt is not that of a large file.
	for _, e := range c.endpoints {
		var err error
		if file, err = e.open(ctx, path); err == nil {
			return file, nil
		}
		causes = append(causes, fmt.Errorf("%s: %w", e.address, err))
	}
	return nil, fmt.Errorf("fetching %s of %s: %w", name, server, errors.Join(causes...))
}

// open returns the body of an answer as it comes.
func (e *endpoint) open(ctx context.Context, path string) (io.ReadCloser, error) {
	request, err := e.request(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	response, err := e.transport.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode == http.StatusOK {
		return response.Body, nil
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	return nil, answerError(response.StatusCode, data)
}

// answerError reads what went wrong; where that cannot be read the status says it.
func answerError(status int, body []byte) *AnswerError {
	var said struct {
		Problem
		Reason string `json:"reason"` // of a check
	}
	_ = json.Unmarshal(body, &said)
	return &AnswerError{Status: status, Code: said.Code, Reason: cmp.Or(said.Detail, said.Reason)}
}

// first returns what the first endpoint that answers holds at path.
func first[T any](ctx context.Context, c *Client, path string) (T, error) {
	var answer T
	err := c.each(ctx, func(ctx context.Context, e *endpoint) error {
		var one T // a half-read answer must not mix with the next endpoint's
		if err := e.get(ctx, path, &one); err != nil {
			return err
		}
		answer = one
		return nil
	})
	return answer, err
}

// each asks one endpoint after the other until one call returns nil. Its error
// names each endpoint with its cause.
func (c *Client) each(ctx context.Context, call func(context.Context, *endpoint) error) error {
	var causes []error
	answered, begin := false, int(c.last.Load())
	for i := range c.endpoints {
		at := (begin + i) % len(c.endpoints)
		err := c.attempt(ctx, c.endpoints[at], len(c.endpoints)-i, call)
		if err == nil {
			c.last.Store(int64(at))
			return nil
		}
		var answer *AnswerError
		answered = answered || errors.As(err, &answer) || errors.Is(err, errStale) || errors.Is(err, ErrTimedOut)
		causes = append(causes, fmt.Errorf("%s: %w", c.endpoints[at].address, err))
	}
	err := errors.Join(causes...)
	if len(causes) > 1 {
		err = &manyError{causes}
	}
	if !answered {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return err
}

// attempt gives one endpoint its share of the time, so that one that hangs
// leaves some to those after it.
func (c *Client) attempt(ctx context.Context, e *endpoint, left int, call func(context.Context, *endpoint) error) error {
	if left == 1 && len(c.endpoints) == 1 {
		return call(ctx, e)
	}
	share := attemptTimeout
	if deadline, has := ctx.Deadline(); has {
		share = min(share, time.Until(deadline)/time.Duration(left))
	}
	ctx, cancel := context.WithTimeout(ctx, share)
	defer cancel()
	return call(ctx, e)
}

// manyError shows one cause per line.
type manyError struct{ causes []error }

func (m *manyError) Error() string {
	var b strings.Builder
	for _, c := range m.causes {
		b.WriteString("\n  " + c.Error())
	}
	return b.String()
}

func (m *manyError) Unwrap() []error { return m.causes }

func (e *endpoint) get(ctx context.Context, path string, into any) error {
	return e.call(ctx, http.MethodGet, path, nil, into)
}

func (e *endpoint) request(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, method, "https://"+e.address+path, body)
	if err == nil && e.token != "" {
		r.Header.Set("Authorization", "Bearer "+e.token)
	}
	return r, err
}

func (e *endpoint) call(ctx context.Context, method, path string, body io.Reader, into any) error {
	request, err := e.request(ctx, method, path, body)
	if err != nil {
		return err
	}
	reached := false
	response, err := e.transport.RoundTrip(request.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { reached = true },
	})))
	if err != nil && reached && errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: %w", ErrTimedOut, err)
	}
	if err != nil {
		return err
	}
	defer response.Body.Close()
	// Read to the end, or the connection is not used again.
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return fmt.Errorf("reading the answer: %w", err)
	case len(data) > maxAnswer:
		return fmt.Errorf("the answer is larger than %d MiB", maxAnswer>>20)
	case response.StatusCode != http.StatusOK:
		return answerError(response.StatusCode, data)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	return nil
}
