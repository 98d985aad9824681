package api

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// Observer is told of requests, for the metrics.
type Observer interface {
	// Requested tells of an answer: the path, one of a closed set or empty for one that
	// does not exist, and the status.
	Requested(path string, status int)
	// Refused tells what was refused to whom it was not for, or in the wrong form: one of
	// [Refusals].
	Refused(reason string)
}

// What befalls a connection that never gets as far as a request.
const (
	// refusedConnection: there were too many.
	refusedConnection = "too-many-connections"
	// refusedHandshake: no TLS, a certificate that proves nothing, or silence.
	refusedHandshake = "no-request"
)

// Refusals are all reasons for which something is refused.
func Refusals() []string {
	codes := []decide.Code{decide.CodeBadRequest, decide.CodeNotFound, decide.CodeMethodNotAllowed, decide.CodeCertificateNeeded,
		decide.CodeRoleNeeded, decide.CodeTokenRefused, decide.CodeCrossOrigin, decide.CodeTooLarge}
	all := []string{refusedConnection, refusedHandshake}
	for _, code := range codes {
		all = append(all, string(code))
	}
	return all
}

// mostAudited is how much of a request is written down, in bytes.
const mostAudited = 1000

// recorder remembers what was answered.
type recorder struct {
	http.ResponseWriter
	status int
	// problem is the code of a problem document.
	problem string
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach what is inside.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// capped keeps the first bytes of what is written to it.
type capped struct {
	bytes.Buffer
	most int
}

func (c *capped) Write(b []byte) (int, error) {
	c.Buffer.Write(b[:min(len(b), max(0, c.most-c.Len()))])
	return len(b), nil
}

// teeBody is a request's body that is read through something else.
type teeBody struct {
	io.Reader
	io.Closer
}

// audit writes down who has asked for a change, from where, what, and what came of it.
func (h *handler) audit(r *http.Request, who Caller, body []byte, w *recorder, began time.Time) {
	if who == (Caller{}) && !h.anonymous.allows(began) {
		return // They are counted all the same, and must not crowd out what people do.
	}
	level := slog.LevelInfo
	if w.status == http.StatusForbidden || w.status == http.StatusUnauthorized {
		level = slog.LevelWarn
	}
	way := "certificate"
	switch {
	case who == Caller{}:
		way = "none"
	case who.Token:
		way = "token"
	}
	h.options.Audit.Log(r.Context(), level, "audit", "who", who.Name, "role", string(who.Role), "proof", way, "from", r.RemoteAddr,
		"what", r.Method+" "+r.URL.Path, "request", compact(body), "status", w.status, "result", w.problem, "took", time.Since(began).Round(time.Millisecond))
}

// anonymousPerMinute is how many requests of nobody in particular are written down.
const anonymousPerMinute = 30

// perMinute allows so many in a minute.
type perMinute struct {
	most int

	mu    sync.Mutex
	began time.Time
	n     int
}

func (p *perMinute) allows(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.began) > time.Minute {
		p.began, p.n = now, 0
	}
	p.n++
	return p.n <= p.most
}

// compact is a body in one line, as much of it as is written down.
func compact(body []byte) string {
	var b bytes.Buffer
	if err := json.Compact(&b, body); err != nil {
		b.Reset()
		b.Write(body)
	}
	if b.Len() > mostAudited {
		b.Truncate(mostAudited)
		b.WriteString("…")
	}
	return b.String()
}
