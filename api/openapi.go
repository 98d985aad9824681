package api

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/swaggest/openapi-go"
	"github.com/swaggest/openapi-go/openapi31"
)

// describe returns the OpenAPI document of all operations, made of the types that
// they take and answer with.
func (h *handler) describe() ([]byte, error) {
	r := openapi31.NewReflector()
	r.Spec.Info.WithTitle("mysqlhad").WithVersion(h.options.Version).
		WithDescription("The HTTPS endpoint of a mysqlha daemon. Every daemon of a cluster answers for all of it. GET is also answered as HEAD and OPTIONS. " +
			"Changes need a client certificate of the cluster's CA with the role operator, or a token of one. Durations are in nanoseconds.")
	for _, path := range h.paths {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			if op, does := h.routes[path][method]; does {
				if err := describe(r, op); err != nil {
					return nil, fmt.Errorf("describing %s %s: %w", method, path, err)
				}
			}
		}
	}
	return r.Spec.MarshalJSON()
}

func describe(r *openapi31.Reflector, op operation) error {
	c, err := r.NewOperationContext(op.method, op.path)
	if err != nil {
		return err
	}
	c.SetSummary(op.summary)
	c.SetID(strings.ToLower(op.method) + strings.NewReplacer("/v1", "V1", "/", "-", ".", "-").Replace(op.path))
	if op.query != nil {
		c.AddReqStructure(op.query)
	}
	if op.body != nil {
		c.AddReqStructure(op.body)
	}
	answers := func(status int, body any, media, says string) {
		c.AddRespStructure(body, func(u *openapi.ContentUnit) {
			u.HTTPStatus, u.Description = status, says
			if media != "" {
				u.ContentType = media
			}
		})
	}
	answers(http.StatusOK, op.answer, op.media, "Done, or so it is.")
	if op.check {
		answers(http.StatusServiceUnavailable, op.answer, "", "It is not so, and why.")
	}
	failures := map[int]string{http.StatusBadRequest: "The request is wrong.", http.StatusServiceUnavailable: "It cannot be answered at the moment."}
	if op.check {
		delete(failures, http.StatusServiceUnavailable)
	}
	if op.needs != anyone {
		failures[http.StatusUnauthorized] = "The token is not known, or has ended."
		failures[http.StatusForbidden] = "It is not for whoever asks."
	}
	if op.body != nil {
		failures[http.StatusRequestEntityTooLarge] = "The request is too large."
	}
	if op.body != nil || op.query != nil && !op.check {
		failures[http.StatusConflict] = "It was refused, and nothing was changed."
	}
	var all []int
	for status := range failures {
		all = append(all, status)
	}
	slices.Sort(all)
	for _, status := range all {
		answers(status, Problem{}, problemType, failures[status])
	}
	return r.AddOperation(c)
}

// openAPI answers with the document.
func (h *handler) openAPI(w http.ResponseWriter, r *http.Request, _ Caller) {
	document, err := h.document()
	if err != nil {
		fail(w, r, err)
		return
	}
	writeRaw(w, r, http.StatusOK, document)
}
