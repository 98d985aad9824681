package api

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// Problem is the body of an answer that failed, a problem document after RFC 9457.
// Health checks answer with a [Check] instead.
type Problem struct {
	// Type is where the problem is described, relative to the endpoint; Title is its
	// short description, the same each time.
	Type  string `json:"type"`
	Title string `json:"title"`
	// Status is the HTTP status again.
	Status int `json:"status"`
	// Code is the stable name, as in the catalogue.
	Code decide.Code `json:"code"`
	// Detail says what is wrong this time, and what would be right.
	Detail string `json:"detail"`
	// Paths are what there is instead of an unknown one.
	Paths []string `json:"paths,omitempty"`
}

// problemType is the media type of a problem document.
const problemType = "application/problem+json"

// RefusedError is a change that the cluster does not make, and why.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return e.Reason }

// badRequest is an error of the asker.
type badRequest string

func (b badRequest) Error() string { return string(b) }

// tooLarge is the largest body that is read, in bytes.
type tooLarge int64

func (t tooLarge) Error() string {
	return fmt.Sprintf("the request is larger than %d bytes", int64(t))
}

// statusOf is the status of a failure and its name in the catalogue: a refusal is the
// asker's.
func statusOf(err error) (int, decide.Code) {
	var refused *RefusedError
	var bad badRequest
	var large tooLarge
	switch {
	case errors.As(err, &large):
		return http.StatusRequestEntityTooLarge, decide.CodeTooLarge
	case errors.As(err, &bad):
		return http.StatusBadRequest, decide.CodeBadRequest
	case errors.As(err, &refused):
		return http.StatusConflict, decide.CodeRefused
	}
	return http.StatusServiceUnavailable, decide.CodeUnavailable
}

// fail answers with what went wrong.
func fail(w http.ResponseWriter, r *http.Request, err error) {
	status, code := statusOf(err)
	writeProblem(w, r, Problem{Status: status, Code: code, Detail: err.Error()})
}

func writeProblem(w http.ResponseWriter, r *http.Request, p Problem) {
	entry, _ := decide.Explain(p.Code)
	p.Type, p.Title = "/v1/problems?code="+string(p.Code), entry.Title
	if told, ok := w.(*recorder); ok {
		told.problem = string(p.Code)
	}
	w.Header().Set("Content-Type", problemType)
	write(w, r, p.Status, p)
}
