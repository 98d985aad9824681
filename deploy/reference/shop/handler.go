package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// prices are those of one piece, in cents.
var prices = map[string]int64{"tea": 350, "coffee": 420, "cake": 580}

// The bounds of a request.
const (
	requestTimeout = 2500 * time.Millisecond
	// signTimeout is for what stretches a password, which takes its time.
	signTimeout  = 10 * time.Second
	largestBody  = 16 << 10
	mostPieces   = 1000
	shortestWord = 8
	longestWord  = 200
)

var (
	plainName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)
	plainID   = regexp.MustCompile(`^[A-Za-z0-9-]{8,64}$`)
)

// handler answers requests.
type handler struct {
	store   *store
	logger  *slog.Logger
	seconds *prometheus.HistogramVec
}

// newHandler returns all that the shop answers to.
func newHandler(s *store, logger *slog.Logger) http.Handler {
	registry := prometheus.NewRegistry()
	h := &handler{store: s, logger: logger, seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "shop_request_seconds", Help: "How long requests took, by what was asked and the status of the answer.",
		Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}}, []string{"route", "code"})}
	registry.MustRegister(h.seconds)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]string{"shop": "open"})
	})
	h.route(mux, "PUT /users/{name}", signTimeout, h.signUp)
	h.route(mux, "POST /sessions", signTimeout, h.signIn)
	h.route(mux, "PUT /orders/{id}", requestTimeout, h.signedIn(h.place))
	h.route(mux, "GET /orders", requestTimeout, h.signedIn(h.list))
	return mux
}

// problem is an answer that says what is wrong.
type problem struct {
	status int
	text   string
}

func (p *problem) Error() string { return p.text }

// route bounds, measures and answers one kind of request.
func (h *handler) route(mux *http.ServeMux, pattern string, timeout time.Duration, do func(*http.Request) (int, any, error)) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		begun := time.Now()
		ctx, cancel := context.WithTimeout(r.Context(), timeout)
		defer cancel()
		r.Body = http.MaxBytesReader(w, r.Body, largestBody)
		status, body, err := do(r.WithContext(ctx))
		var told *problem
		switch {
		case errors.As(err, &told):
			status, body = told.status, map[string]string{"error": told.text}
		case err != nil:
			// Nobody knows whether it was done. Asking again, with the same id, is safe.
			h.logger.Warn("The database did not answer as it should.", "route", pattern, "error", err)
			status, body = http.StatusServiceUnavailable, map[string]string{"error": "not now: ask again"}
			w.Header().Set("Retry-After", "1")
		}
		answer(w, status, body)
		h.seconds.WithLabelValues(pattern, strconv.Itoa(status)).Observe(time.Since(begun).Seconds())
	})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // Who asked may be gone.
}

func read(r *http.Request, into any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return &problem{http.StatusBadRequest, "the body is not what is asked for: " + err.Error()}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return &problem{http.StatusBadRequest, "there is more than one value in the body"}
	}
	return nil
}

// credentials are a user's.
type credentials struct {
	Name     string `json:"name,omitempty"`
	Password string `json:"password"`
}

func (c credentials) check() error {
	if !plainName.MatchString(c.Name) || len(c.Password) < shortestWord || len(c.Password) > longestWord {
		return &problem{http.StatusUnprocessableEntity, "a name has 1 to 64 small letters, digits and dashes, a password 8 to 200 bytes"}
	}
	return nil
}

func (h *handler) signUp(r *http.Request) (int, any, error) {
	var c credentials
	if err := read(r, &c); err != nil {
		return 0, nil, err
	}
	c.Name = r.PathValue("name")
	if err := c.check(); err != nil {
		return 0, nil, err
	}
	err := again(r.Context(), func() error { return h.store.signUp(r.Context(), c.Name, c.Password) })
	if errors.Is(err, errTaken) {
		err = &problem{http.StatusConflict, err.Error()}
	}
	return http.StatusOK, map[string]string{"name": c.Name}, err
}

func (h *handler) signIn(r *http.Request) (int, any, error) {
	var c credentials
	if err := read(r, &c); err != nil {
		return 0, nil, err
	}
	if err := c.check(); err != nil {
		return 0, nil, err
	}
	var token string
	err := again(r.Context(), func() (err error) {
		token, err = h.store.signIn(r.Context(), c.Name, c.Password)
		return err
	})
	if errors.Is(err, errNone) {
		err = &problem{http.StatusUnauthorized, "no user has this name and password"}
	}
	return http.StatusOK, map[string]string{"token": token}, err
}

// signedIn finds out who asks.
func (h *handler) signedIn(do func(r *http.Request, user int64) (int, any, error)) func(*http.Request) (int, any, error) {
	return func(r *http.Request) (int, any, error) {
		token, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !found {
			return 0, nil, &problem{http.StatusUnauthorized, "sign in first: POST /sessions"}
		}
		var user int64
		err := again(r.Context(), func() (err error) {
			user, err = h.store.userOf(r.Context(), token)
			return err
		})
		if errors.Is(err, errNone) {
			err = &problem{http.StatusUnauthorized, "the session has ended: POST /sessions"}
		}
		if err != nil {
			return 0, nil, err
		}
		return do(r, user)
	}
}

func (h *handler) place(r *http.Request, user int64) (int, any, error) {
	var o order
	if err := read(r, &o); err != nil {
		return 0, nil, err
	}
	o.ID = r.PathValue("id")
	if _, sold := prices[o.Item]; !sold || !plainID.MatchString(o.ID) || o.Quantity < 1 || o.Quantity > mostPieces {
		return 0, nil, &problem{http.StatusUnprocessableEntity, "order 1 to 1000 of tea, coffee or cake, with an id of 8 to 64 letters, digits and dashes"}
	}
	var fresh bool
	err := again(r.Context(), func() (err error) {
		fresh, err = h.store.place(r.Context(), user, o)
		return err
	})
	if errors.Is(err, errOtherUse) {
		err = &problem{http.StatusConflict, err.Error()}
	}
	if fresh {
		return http.StatusCreated, map[string]string{"id": o.ID}, err
	}
	return http.StatusOK, map[string]string{"id": o.ID}, err
}

func (h *handler) list(r *http.Request, user int64) (int, any, error) {
	var all []order
	err := again(r.Context(), func() (err error) {
		all, err = h.store.orders(r.Context(), user)
		return err
	})
	return http.StatusOK, all, err
}
