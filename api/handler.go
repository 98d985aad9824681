package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
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

type handler struct {
	options Options
	// routes are the operations by path and method.
	routes map[string]map[string]operation
	paths  []string
	// document is the description of all of it, made when it is first asked for.
	document func() ([]byte, error)
	watchers atomic.Int64
	// anonymous bounds what is written down of nobody in particular.
	anonymous perMinute
	// stopping is closed when the server stops: a watcher's request never ends by
	// itself.
	stopping chan struct{}
}

func newHandler(o Options) *handler {
	h := &handler{options: o, routes: make(map[string]map[string]operation), stopping: make(chan struct{}), anonymous: perMinute{most: anonymousPerMinute}}
	for _, op := range h.operations() {
		if op.method == "" {
			op.method = http.MethodGet
		}
		if h.routes[op.path] == nil {
			h.routes[op.path] = make(map[string]operation)
			h.paths = append(h.paths, op.path)
		}
		h.routes[op.path][op.method] = op
	}
	slices.Sort(h.paths)
	h.document = sync.OnceValues(h.describe)
	return h
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(inner http.ResponseWriter, r *http.Request) {
	w := &recorder{ResponseWriter: inner}
	for name, value := range securityHeaders {
		w.Header().Set(name, value)
	}
	at, known := h.routes[r.URL.Path]
	path := ""
	if known {
		path = r.URL.Path
	}
	defer func() { h.tell(path, w) }()
	if !known {
		writeProblem(w, r, Problem{Status: http.StatusNotFound, Code: decide.CodeNotFound, Detail: "there is nothing at " + shorten(r.URL.Path), Paths: h.paths})
		return
	}
	method := r.Method
	if method == http.MethodHead || method == http.MethodOptions {
		method = http.MethodGet // Load balancers ask with these.
	}
	op, does := at[method]
	if !does {
		allowed := methodsOf(at)
		w.Header().Set("Allow", allowed)
		writeProblem(w, r, Problem{Status: http.StatusMethodNotAllowed, Code: decide.CodeMethodNotAllowed, Detail: "this path only answers " + allowed})
		return
	}
	h.serve(op, w, r)
}

// serve does an operation for those whom it is for. What changes something is written
// down, also where it was refused.
func (h *handler) serve(op operation, w *recorder, r *http.Request) {
	if op.needs == anyone {
		op.serve(w, r, Caller{})
		return
	}
	who, err := h.callerOf(r)
	if op.needs == changing {
		began, kept := time.Now(), &capped{most: mostAudited + 1}
		r.Body = teeBody{io.TeeReader(r.Body, kept), r.Body}
		defer func() { h.audit(r, who, kept.Bytes(), w, began) }()
	}
	if err != nil {
		refuseToken(w, r, err)
		return
	}
	if op.needs == changing {
		// A browser shows a certificate of its user whoever's page asks for it.
		if err := sameOrigin.Check(r); err != nil {
			writeProblem(w, r, Problem{Status: http.StatusForbidden, Code: decide.CodeCrossOrigin, Detail: "a page from elsewhere asked a browser for this"})
			return
		}
	}
	if p, refused := h.refusal(r, who, op.needs); refused {
		writeProblem(w, r, p)
		return
	}
	op.serve(w, r, who)
}

// sameOrigin refuses what a browser was asked for by another's page.
var sameOrigin = http.NewCrossOriginProtection()

func refuseToken(w http.ResponseWriter, r *http.Request, err error) {
	w.Header().Set("WWW-Authenticate", "Bearer")
	writeProblem(w, r, Problem{Status: http.StatusUnauthorized, Code: decide.CodeTokenRefused, Detail: err.Error()})
}

// tell tells the metrics of an answer.
func (h *handler) tell(path string, w *recorder) {
	h.options.Observer.Requested(path, w.status)
	if w.problem != "" && w.status < http.StatusInternalServerError && w.status != http.StatusConflict {
		h.options.Observer.Refused(w.problem)
	}
}

// securityHeaders go with every answer: nothing here is to be kept, framed, or to load
// anything from elsewhere.
var securityHeaders = map[string]string{
	"Cache-Control":                "no-store",
	"Content-Security-Policy":      "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Permissions-Policy":           "camera=(), geolocation=(), microphone=()",
	"Referrer-Policy":              "no-referrer",
	"Strict-Transport-Security":    "max-age=31536000",
	"X-Content-Type-Options":       "nosniff",
	"X-Frame-Options":              "DENY",
}

// methodsOf are what a path answers.
func methodsOf(at map[string]operation) string {
	var all []string
	if _, reads := at[http.MethodGet]; reads {
		all = append(all, http.MethodGet, http.MethodHead, http.MethodOptions)
	}
	if _, changes := at[http.MethodPost]; changes {
		all = append(all, http.MethodPost)
	}
	return strings.Join(all, ", ")
}

// member is a check of the server beside the daemon, with the names of the
// parameters that it takes.
func (h *handler) member(check func(Evidence, Limits) (bool, string), parameters ...string) serveFunc {
	return func(w http.ResponseWriter, r *http.Request, _ Caller) {
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

func (h *handler) liveness(w http.ResponseWriter, r *http.Request, _ Caller) {
	writeCheck(w, r, Check{OK: true, Reason: "the daemon runs"})
}

func (h *handler) readiness(w http.ResponseWriter, r *http.Request, _ Caller) {
	ctx, cancel := context.WithTimeout(r.Context(), backendTimeout)
	defer cancel()
	if err := h.options.Backend.Ready(ctx); err != nil {
		writeCheck(w, r, Check{Reason: err.Error()})
		return
	}
	writeCheck(w, r, Check{OK: true, Reason: "etcd answers and the cluster is known"})
}

func (h *handler) live(w http.ResponseWriter, r *http.Request, _ Caller) {
	if h.options.Member == nil {
		writeProblem(w, r, Problem{Status: http.StatusNotFound, Code: decide.CodeNotFound, Detail: noServer})
		return
	}
	write(w, r, http.StatusOK, h.options.Member.Evidence().Live)
}

func (h *handler) why(ctx context.Context, _ url.Values) (Why, error) {
	why, err := h.options.Backend.Why(ctx)
	if err == nil && why.Text == "" {
		why.Text = Explain(why, time.Now())
	}
	return why, err
}

// keptFile sends a file with transactions, which may take its time.
func (h *handler) keptFile(w http.ResponseWriter, r *http.Request, _ Caller) {
	q, err := queryOf(r.URL.RawQuery, parameterNames(fileQuery{}))
	if err != nil {
		fail(w, r, err)
		return
	}
	file, err := h.options.Backend.OpenKept(r.Context(), q.Get("server"), q.Get("name"))
	if err != nil {
		fail(w, r, err)
		return
	}
	defer file.Close()
	// The connection's own deadline is for short answers.
	if err := http.NewResponseController(w).SetWriteDeadline(time.Time{}); err != nil {
		fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = io.Copy(w, file) // A client that went away is its own affair; one that stays sees the end missing.
}

// start answers this host's gate.
func (h *handler) start(ctx context.Context, q url.Values) (none decide.StartAnswer, err error) {
	if h.options.Member == nil {
		return none, badRequest(noServer)
	}
	term, err := strconv.ParseUint(q.Get("term"), 10, 64)
	if err != nil || term == 0 {
		return none, badRequest(fmt.Sprintf("term is %q: write the term in which the server was open", shorten(q.Get("term"))))
	}
	waited, err := time.ParseDuration(q.Get("waited"))
	if err != nil || waited < 0 {
		return none, badRequest(fmt.Sprintf("waited is %q: write a duration such as 1.5s", shorten(q.Get("waited"))))
	}
	return h.options.Member.AdviseStart(ctx, term, waited)
}

func (h *handler) history(ctx context.Context, q url.Values) ([]decide.History, error) {
	limit, err := limitOf(q)
	if err != nil {
		return nil, err
	}
	return list(h.options.Backend.History(ctx, limit))
}

func (h *handler) settingsHistory(ctx context.Context, q url.Values) ([]decide.PolicyVersion, error) {
	limit, err := limitOf(q)
	if err != nil {
		return nil, err
	}
	return list(h.options.Backend.SettingsHistory(ctx, limit))
}

func (h *handler) kept(ctx context.Context, q url.Values) ([]decide.Kept, error) {
	return list(h.options.Backend.Kept(ctx, q.Get("server")))
}

// list makes an empty list of none, which is not null then.
func list[T any](all []T, err error) ([]T, error) {
	if all == nil {
		all = []T{}
	}
	return all, err
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

// write answers with JSON.
func write(w http.ResponseWriter, r *http.Request, status int, body any) {
	data, err := json.Marshal(body)
	if err != nil {
		status, data = http.StatusInternalServerError, []byte(`{"detail":"the answer cannot be written as JSON"}`)
	}
	writeRaw(w, r, status, data)
}

// writeRaw answers with what is JSON already. OPTIONS gets the status alone, as load
// balancers that check with it expect; for HEAD the http package leaves the body out.
func writeRaw(w http.ResponseWriter, r *http.Request, status int, data []byte) {
	if r.Method == http.MethodOptions {
		w.Header().Set("Allow", "GET, HEAD, OPTIONS")
		w.WriteHeader(status)
		return
	}
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json")
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(data)+1))
	w.WriteHeader(status)
	// A client that went away is its own affair.
	_, _ = w.Write(append(slices.Clip(data), '\n'))
}

// shorten keeps what a client sent from filling an answer.
func shorten(s string) string {
	const most = 60
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
