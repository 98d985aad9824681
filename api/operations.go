package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mysqlha/mysqlha/api/page"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// operation is one thing that the endpoint does, and all that is said of it. GET is
// also answered as HEAD and OPTIONS.
type operation struct {
	method, path, summary string
	// query is a struct whose fields are the parameters, nil for none.
	query any
	// body and answer are values of what is sent and answered, nil for nothing that
	// is JSON; media is the media type of such an answer.
	body, answer any
	media        string
	// check says that 503 comes with the same body as 200.
	check bool
	// needs is who may ask.
	needs need
	serve serveFunc
}

// serveFunc answers a caller who may ask.
type serveFunc func(http.ResponseWriter, *http.Request, Caller)

// The parameters of the paths.
type (
	limitQuery struct {
		Limit int `query:"limit" minimum:"1" maximum:"1000" description:"How many entries at most, the newest first."`
	}
	lagQuery struct {
		Lag          string `query:"lag" description:"The largest lag allowed: seconds, or a time such as 500ms."`
		Transactions uint64 `query:"lag_transactions" description:"How many transactions may be received and not applied."`
	}
	startQuery struct {
		Term   uint64 `query:"term" required:"true" minimum:"1" description:"The term in which the server was open."`
		Waited string `query:"waited" required:"true" description:"How long its gate has waited, such as 1.5s."`
	}
	serverQuery struct {
		Server string `query:"server" required:"true" description:"The name of the server."`
	}
	fileQuery struct {
		Server string `query:"server" required:"true" description:"The name of the server."`
		Name   string `query:"name" required:"true" description:"The name of the file, as listed."`
	}
	codeQuery struct {
		Code string `query:"code" description:"One code; else all of them."`
	}
)

// parameterNames are those of a query, nil for none.
func parameterNames(query any) (names []string) {
	if query == nil {
		return nil
	}
	t := reflect.TypeOf(query)
	for i := range t.NumField() {
		names = append(names, t.Field(i).Tag.Get("query"))
	}
	return names
}

// operations are all of them.
func (h *handler) operations() []operation {
	b := h.options.Backend
	ops := []operation{
		h.check("/primary", "Whether writes belong here: 200 only on fresh evidence.", nil, func(e Evidence, _ Limits) (bool, string) { return PrimaryOK(e) }),
		h.check("/replica", "Whether reads that stand the lag belong here.", lagQuery{}, ReplicaOK),
		h.check("/read-only", "Whether reads belong here: a replica within limits, or the primary.", lagQuery{}, ReadOnlyOK),
		h.check("/health", "Whether mysqld answers its daemon.", nil, func(e Evidence, _ Limits) (bool, string) { return HealthOK(e) }),
		{path: "/liveness", summary: "Whether the daemon runs.", answer: Check{}, check: true, serve: h.liveness},
		{path: "/readiness", summary: "Whether the daemon reaches etcd and knows the cluster.", answer: Check{}, check: true, serve: h.readiness},
		read("/v1/cluster", "All that this daemon knows of the cluster.", nil, func(ctx context.Context, _ url.Values) (Cluster, error) { return b.Cluster(ctx) }),
		read("/v1/history", "The terms and plans that have ended.", limitQuery{}, h.history),
		read("/v1/recent", "What servers did in the last hour: statements, lag, and when nobody took writes.", recentQuery{}, h.recent),
		{path: "/v1/caller", needs: anyone, summary: "Whom the endpoint takes the caller for, and what he may do.", answer: CallerAnswer{}, serve: h.caller},
		{path: "/v1/member", needs: reading, summary: "The figures of the server beside this daemon.", answer: decide.Live{}, serve: h.live},
		read("/v1/certificates", "The certificates of this host, and whom it trusts.", nil, func(ctx context.Context, _ url.Values) (Certificates, error) { return b.Certificates(ctx) }),
		read("/v1/accounts", "How far the accounts of this host have come with new passwords.", nil, func(ctx context.Context, _ url.Values) (Passwords, error) { return b.Passwords(ctx) }),
		read("/v1/why", "The latest decision in words, asked of the leader.", nil, h.why),
		read("/v1/start", "What the start gate of this host does with its dead server.", startQuery{}, h.start),
		read("/v1/kept", "What a server had and gave up.", serverQuery{}, h.kept),
		{path: "/v1/kept/file", summary: "One file of that.", query: fileQuery{}, media: "application/octet-stream", needs: changing, serve: h.keptFile},
		read("/v1/settings", "What the operator has set for the whole cluster.", nil, func(ctx context.Context, _ url.Values) (Settings, error) { return b.Settings(ctx) }),
		read("/v1/settings/history", "The versions of the settings.", limitQuery{}, h.settingsHistory),
		readWithin(doctorTimeout, "/v1/doctor", "What the doctor finds on a server, or on all of them.", examineQuery{}, func(ctx context.Context, q url.Values) (Examination, error) { return b.Doctor(ctx, q.Get("server")) }),
		read("/v1/problems", "The catalogue of all problems.", codeQuery{}, problems),
		{path: "/v1/events", needs: reading, summary: "What changes in the cluster, as server-sent events of the type change; the first comes at once.", media: "text/event-stream", serve: h.events},
		{path: "/v1/openapi.json", summary: "This document.", media: "application/json", serve: h.openAPI},
		change("/v1/settings", "Changes settings: all or none.", backendTimeout, b.ChangeSettings),
		change("/v1/pause", "Keeps the primary where it is until a human says otherwise.", backendTimeout, b.Pause),
		change("/v1/resume", "Ends the pause.", backendTimeout, b.Resume),
		change("/v1/servers", "Lets a server join the cluster or leave it.", backendTimeout, b.ChangeServers),
		change("/v1/bootstrap", "Asks for the beginning of the cluster: of empty servers, or of a running one that is adopted.", backendTimeout, b.Bootstrap),
		change("/v1/switchover", "Asks for another primary while the primary is well; answers with the request's id, by which the history says what came of it.", backendTimeout, b.Switchover),
		change("/v1/failover", "Asks for a failover; answers with the request's id, by which the history says what came of it.", backendTimeout, b.Failover),
		change("/v1/rejoin", "Says what may be done with transactions that a server alone has.", backendTimeout, b.Rejoin),
		change("/v1/accounts/rotate", "Asks for new passwords of the accounts of all hosts; answers with the request's id.", backendTimeout, b.Rotate),
		change("/v1/fence-test", "Closes a replica as a cut-off primary would be, and lets clients in again.", fenceTimeout, b.TestFence),
	}
	examine := slices.IndexFunc(ops, func(o operation) bool { return o.path == "/v1/doctor" })
	ops[examine].needs = examining
	for _, path := range []string{"/cluster", "/history"} { // As Patroni has them.
		i := slices.IndexFunc(ops, func(o operation) bool { return o.path == "/v1"+path })
		alias := ops[i]
		alias.path = path
		ops = append(ops, alias)
	}
	for _, f := range page.Files() {
		ops = append(ops, operation{path: f.Path, summary: "The status page: " + f.Type + ".", media: f.Type, serve: servePage(f)})
	}
	if h.options.Metrics != nil {
		ops = append(ops, operation{path: "/metrics", needs: reading, summary: "Metrics for Prometheus.", media: "text/plain",
			serve: func(w http.ResponseWriter, r *http.Request, _ Caller) { h.options.Metrics.ServeHTTP(w, r) }})
	}
	return ops
}

// servePage serves a file of the status page. It says nothing of the cluster, and so is for
// anyone.
func servePage(f page.File) serveFunc {
	return func(w http.ResponseWriter, r *http.Request, _ Caller) {
		w.Header().Set("Content-Security-Policy", page.Policy)
		w.Header().Set("Content-Type", f.Type)
		writeRaw(w, r, http.StatusOK, bytes.TrimSuffix(f.Body, []byte("\n")))
	}
}

// check is a check of the server beside the daemon.
func (h *handler) check(path, summary string, query any, check func(Evidence, Limits) (bool, string)) operation {
	return operation{path: path, summary: summary, query: query, answer: Check{}, check: true, serve: h.member(check, parameterNames(query)...)}
}

// read serves what a backend returns, and why not where it fails.
func read[T any](path, summary string, query any, get func(context.Context, url.Values) (T, error)) operation {
	return readWithin(backendTimeout, path, summary, query, get)
}

// readWithin likewise, and gives it so much time.
func readWithin[T any](within time.Duration, path, summary string, query any, get func(context.Context, url.Values) (T, error)) operation {
	known := parameterNames(query)
	var answer T
	return operation{path: path, summary: summary, query: query, answer: answer, needs: reading, serve: func(w http.ResponseWriter, r *http.Request, _ Caller) {
		ctx, cancel := context.WithTimeout(r.Context(), within)
		defer cancel()
		q, err := queryOf(r.URL.RawQuery, known)
		var body T
		if err == nil {
			body, err = get(ctx, q)
		}
		if err != nil {
			fail(w, r, err)
			return
		}
		write(w, r, http.StatusOK, body)
	}}
}

// change takes a request for a change and does it within a time.
func change[Want, Now any](path, summary string, within time.Duration, do func(context.Context, Want) (Now, error)) operation {
	var body Want
	var answer Now
	return operation{method: http.MethodPost, path: path, summary: summary, body: body, answer: answer, needs: changing, serve: func(w http.ResponseWriter, r *http.Request, who Caller) {
		ctx, cancel := context.WithTimeout(r.Context(), within)
		defer cancel()
		want, err := decodeBody[Want](http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			fail(w, r, err)
			return
		}
		sign(&want, who)
		now, err := do(ctx, want)
		if err != nil {
			fail(w, r, err)
			return
		}
		write(w, r, http.StatusOK, now)
	}}
}

func limitOf(q url.Values) (int, error) {
	text := q.Get("limit")
	if text == "" {
		return defaultHistory, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxHistory {
		return 0, badRequest(fmt.Sprintf("limit is %q: write a number from 1 to %d", shorten(text), maxHistory))
	}
	return n, nil
}

// problems answers with the catalogue, or one entry of it.
func problems(_ context.Context, q url.Values) ([]decide.Entry, error) {
	code := q.Get("code")
	if code == "" {
		return decide.Catalogue(), nil
	}
	entry, known := decide.Explain(decide.Code(code))
	if !known {
		return nil, badRequest(fmt.Sprintf("%q is no code of the catalogue", shorten(code)))
	}
	return []decide.Entry{entry}, nil
}

// decodeBody reads one JSON value and refuses what it does not know.
func decodeBody[Want any](body interface{ Read([]byte) (int, error) }) (want Want, err error) {
	d := json.NewDecoder(body)
	d.DisallowUnknownFields()
	err = d.Decode(&want)
	if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
		return want, tooLarge(large.Limit)
	}
	if err != nil {
		return want, badRequest("the request cannot be read: " + shorten(strings.TrimPrefix(err.Error(), "json: ")))
	}
	if d.More() {
		return want, badRequest("the request cannot be read: there is more after it")
	}
	return want, nil
}
