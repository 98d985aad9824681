package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// The bounds of GET /history.
const (
	defaultHistory = 20
	maxHistory     = 1000
	// maxBody bounds what a POST may send, in bytes.
	maxBody = 64 << 10
)

// Check is the body of a health check.
type Check struct {
	// OK is true with status 200.
	OK bool `json:"ok"`
	// Reason says why or why not.
	Reason string `json:"reason"`
	// Server, Term and Primary are whom the check was about and what the daemon
	// knew of the cluster; empty on a host without a server.
	Server  string `json:"server,omitempty"`
	Term    uint64 `json:"term,omitempty"`
	Primary string `json:"primary,omitempty"`
}

// Failure is the body of an answer that is neither 200 nor a check.
type Failure struct {
	// Reason says what is wrong, Paths what there is instead.
	Reason string   `json:"reason"`
	Paths  []string `json:"paths,omitempty"`
}

type handler struct {
	options Options
	routes  map[string]http.HandlerFunc
	// changes are what POST may do; all need a client certificate.
	changes map[string]http.HandlerFunc
	paths   []string
}

func newHandler(o Options) http.Handler {
	h := &handler{options: o}
	h.routes = map[string]http.HandlerFunc{
		"/primary":   h.member(func(e Evidence, _ Limits) (bool, string) { return PrimaryOK(e) }),
		"/replica":   h.member(ReplicaOK, "lag", "lag_transactions"),
		"/read-only": h.member(ReadOnlyOK, "lag", "lag_transactions"),
		"/health":    h.member(func(e Evidence, _ Limits) (bool, string) { return HealthOK(e) }),
		"/liveness":  h.liveness,
		"/readiness": h.readiness,
		"/cluster":   answer(h.cluster),
		"/history":   answer(h.history, "limit"),
		"/v1/member": h.live,
		"/v1/why":    answer(h.why),
		"/v1/start":  answer(h.start, "term", "waited"),
		"/v1/kept": answer(func(ctx context.Context, q url.Values) (any, error) {
			kept, err := o.Backend.Kept(ctx, q.Get("server"))
			if kept == nil {
				kept = []decide.Kept{} // an empty list, not null
			}
			return kept, err
		}, "server"),
		"/v1/kept/file": h.keptFile,
	}
	h.changes = map[string]http.HandlerFunc{
		"/v1/policy":     change(backendTimeout, "the settings", o.Backend.SetPolicy),
		"/v1/servers":    change(backendTimeout, "the servers", o.Backend.ChangeServers),
		"/v1/switchover": change(backendTimeout, "the switchover", o.Backend.Switchover),
		"/v1/fence-test": change(fenceTimeout, "the test of a fence", o.Backend.TestFence),
	}
	h.routes["/v1/policy"] = answer(func(ctx context.Context, _ url.Values) (any, error) { return o.Backend.Policy(ctx) })
	if o.Metrics != nil {
		h.routes["/metrics"] = o.Metrics.ServeHTTP
	}
	h.paths = slices.Collect(maps.Keys(h.routes))
	for path := range h.changes {
		if h.routes[path] == nil {
			h.paths = append(h.paths, path)
		}
	}
	slices.Sort(h.paths)
	return h
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	route, known := h.routes[r.URL.Path]
	posted := h.changes[r.URL.Path]
	switch {
	case !known && posted == nil:
		write(w, r, http.StatusNotFound, Failure{Reason: "there is nothing at " + shorten(r.URL.Path), Paths: h.paths})
	case r.Method == http.MethodPost && posted != nil:
		if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 { // Verified where there is one.
			write(w, r, http.StatusForbidden, Failure{Reason: "a change needs a client certificate of the cluster's CA"})
			return
		}
		posted(w, r)
	case !known:
		w.Header().Set("Allow", http.MethodPost)
		write(w, r, http.StatusMethodNotAllowed, Failure{Reason: "this path only answers POST"})
	case r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodOptions:
		w.Header().Set("Allow", "GET, HEAD, OPTIONS")
		write(w, r, http.StatusMethodNotAllowed, Failure{Reason: "this path only answers GET, HEAD and OPTIONS"})
	default:
		route(w, r)
	}
}

// member is a check of the server beside the daemon, with the names of the
// parameters that it takes.
func (h *handler) member(check func(Evidence, Limits) (bool, string), parameters ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		limits, err := limitsOf(r.URL.RawQuery, parameters)
		if err != nil {
			write(w, r, http.StatusBadRequest, Check{Reason: err.Error()})
			return
		}
		if h.options.Member == nil {
			writeCheck(w, r, Check{Reason: noServer})
			return
		}
		e := h.options.Member.Evidence()
		ok, reason := check(e, limits)
		writeCheck(w, r, Check{OK: ok, Reason: reason, Server: e.Self, Term: e.Term, Primary: e.Primary})
	}
}

const noServer = "this host has no server: its daemon does not have the role member"

func (h *handler) liveness(w http.ResponseWriter, r *http.Request) {
	writeCheck(w, r, Check{OK: true, Reason: "the daemon runs"})
}

func (h *handler) readiness(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), backendTimeout)
	defer cancel()
	if err := h.options.Backend.Ready(ctx); err != nil {
		writeCheck(w, r, Check{Reason: err.Error()})
		return
	}
	writeCheck(w, r, Check{OK: true, Reason: "etcd answers and the cluster is known"})
}

func (h *handler) live(w http.ResponseWriter, r *http.Request) {
	if h.options.Member == nil {
		write(w, r, http.StatusNotFound, Failure{Reason: noServer})
		return
	}
	write(w, r, http.StatusOK, h.options.Member.Evidence().Live)
}

// change takes a request for a change, named what, and does it within a time.
func change[Want, Now any](within time.Duration, what string, do func(context.Context, Want) (Now, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), within)
		defer cancel()
		var want Want
		body := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
		body.DisallowUnknownFields()
		if err := body.Decode(&want); err != nil {
			write(w, r, http.StatusBadRequest, Failure{Reason: what + " cannot be read: " + shorten(err.Error())})
			return
		}
		now, err := do(ctx, want)
		var refused *RefusedError
		switch {
		case errors.As(err, &refused):
			write(w, r, http.StatusConflict, Failure{Reason: refused.Reason})
		case err != nil:
			write(w, r, http.StatusServiceUnavailable, Failure{Reason: err.Error()})
		default:
			write(w, r, http.StatusOK, now)
		}
	}
}

// RefusedError is a change that the cluster does not make, and why.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return e.Reason }

func (h *handler) cluster(ctx context.Context, _ url.Values) (any, error) {
	return h.options.Backend.Cluster(ctx)
}

func (h *handler) why(ctx context.Context, _ url.Values) (any, error) {
	why, err := h.options.Backend.Why(ctx)
	if err == nil && why.Text == "" {
		why.Text = Explain(why, time.Now())
	}
	return why, err
}

// keptFile sends a file with transactions. It holds data, so it needs a client
// certificate, and may take its time.
func (h *handler) keptFile(w http.ResponseWriter, r *http.Request) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 { // Verified where there is one.
		write(w, r, http.StatusForbidden, Failure{Reason: "data needs a client certificate of the cluster's CA"})
		return
	}
	q, err := queryOf(r.URL.RawQuery, []string{"server", "name"})
	if err != nil {
		write(w, r, http.StatusBadRequest, Failure{Reason: err.Error()})
		return
	}
	file, err := h.options.Backend.OpenKept(r.Context(), q.Get("server"), q.Get("name"))
	if err != nil {
		write(w, r, statusOf(err), Failure{Reason: err.Error()})
		return
	}
	defer file.Close()
	// The connection's own deadline is for short answers.
	if err := http.NewResponseController(w).SetWriteDeadline(time.Time{}); err != nil {
		write(w, r, http.StatusServiceUnavailable, Failure{Reason: err.Error()})
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = io.Copy(w, file) // A client that went away is its own affair; one that stays sees the end missing.
}

// statusOf is the status of a failure: a refusal is the asker's.
func statusOf(err error) int {
	var refused *RefusedError
	if errors.As(err, &refused) {
		return http.StatusConflict
	}
	return http.StatusServiceUnavailable
}

// start answers this host's gate.
func (h *handler) start(ctx context.Context, q url.Values) (any, error) {
	if h.options.Member == nil {
		return nil, badRequest(noServer)
	}
	term, err := strconv.ParseUint(q.Get("term"), 10, 64)
	if err != nil || term == 0 {
		return nil, badRequest(fmt.Sprintf("term is %q: write the term in which the server was open", shorten(q.Get("term"))))
	}
	waited, err := time.ParseDuration(q.Get("waited"))
	if err != nil || waited < 0 {
		return nil, badRequest(fmt.Sprintf("waited is %q: write a duration such as 1.5s", shorten(q.Get("waited"))))
	}
	return h.options.Member.AdviseStart(ctx, term, waited)
}

func (h *handler) history(ctx context.Context, q url.Values) (any, error) {
	limit := defaultHistory
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxHistory {
			return nil, badRequest(fmt.Sprintf("limit is %q: write a number from 1 to %d", shorten(text), maxHistory))
		}
		limit = n
	}
	entries, err := h.options.Backend.History(ctx, limit)
	if entries == nil {
		entries = []decide.History{} // an empty list, not null
	}
	return entries, err
}

// badRequest is an error of the asker.
type badRequest string

func (b badRequest) Error() string { return string(b) }

// answer serves what a backend returns, and 503 with the reason where it fails.
func answer(get func(context.Context, url.Values) (any, error), parameters ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), backendTimeout)
		defer cancel()
		q, err := queryOf(r.URL.RawQuery, parameters)
		var body any
		if err == nil {
			body, err = get(ctx, q)
		}
		switch err.(type) {
		case nil:
			write(w, r, http.StatusOK, body)
		case badRequest:
			write(w, r, http.StatusBadRequest, Failure{Reason: err.Error()})
		default:
			write(w, r, statusOf(err), Failure{Reason: err.Error()})
		}
	}
}

// queryOf reads the parameters of a request and refuses unknown ones: a limit
// with a slip in its name must not pass as no limit.
func queryOf(raw string, known []string) (url.Values, error) {
	q, err := url.ParseQuery(raw)
	if err != nil {
		return nil, badRequest("the parameters cannot be read: " + err.Error())
	}
	for name, values := range q {
		switch {
		case !slices.Contains(known, name) && len(known) == 0:
			return nil, badRequest(fmt.Sprintf("the parameter %q is not known here: this path takes none", shorten(name)))
		case !slices.Contains(known, name):
			return nil, badRequest(fmt.Sprintf("the parameter %q is not known here: use %s", shorten(name), strings.Join(known, ", ")))
		case len(values) > 1:
			return nil, badRequest(fmt.Sprintf("the parameter %q is given %d times", name, len(values)))
		}
	}
	return q, nil
}

func limitsOf(raw string, known []string) (Limits, error) {
	q, err := queryOf(raw, known)
	if err != nil {
		return Limits{}, err
	}
	var limits Limits
	if q.Has("lag") {
		lag, err := parseLag(q.Get("lag"))
		if err != nil {
			return Limits{}, err
		}
		limits.Lag = &lag
	}
	if q.Has("lag_transactions") {
		n, err := strconv.ParseUint(q.Get("lag_transactions"), 10, 64)
		if err != nil {
			return Limits{}, badRequest(fmt.Sprintf("lag_transactions is %q: write a whole number", shorten(q.Get("lag_transactions"))))
		}
		limits.Transactions = &n
	}
	return limits, nil
}

// parseLag reads a duration with its unit, or a bare number of seconds.
func parseLag(text string) (time.Duration, error) {
	withUnit := text
	if strings.Trim(text, "0123456789.") == "" {
		withUnit += "s"
	}
	lag, err := time.ParseDuration(withUnit)
	if err != nil || lag < 0 {
		return 0, badRequest(fmt.Sprintf("lag is %q: write a duration such as 10s or 500ms, or a number of seconds", shorten(text)))
	}
	return lag, nil
}

func writeCheck(w http.ResponseWriter, r *http.Request, c Check) {
	status := http.StatusServiceUnavailable
	if c.OK {
		status = http.StatusOK
	}
	write(w, r, status, c)
}

// write answers with JSON. OPTIONS gets the status alone, as load balancers
// that check with it expect; for HEAD the http package leaves the body out.
func write(w http.ResponseWriter, r *http.Request, status int, body any) {
	if r.Method == http.MethodOptions {
		w.Header().Set("Allow", "GET, HEAD, OPTIONS")
		w.WriteHeader(status)
		return
	}
	data, err := json.Marshal(body)
	if err != nil {
		status, data = http.StatusInternalServerError, []byte(`{"reason":"the answer cannot be written as JSON"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(data)+1))
	w.WriteHeader(status)
	// A client that went away is its own affair.
	_, _ = w.Write(append(data, '\n'))
}

// shorten keeps what a client sent from filling an answer.
func shorten(s string) string {
	const most = 60
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
