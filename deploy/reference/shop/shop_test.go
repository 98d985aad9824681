package main

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestWhatIsAskedWronglyIsAnsweredWithoutTheDatabase(t *testing.T) {
	h := newHandler(&store{}, slog.New(slog.DiscardHandler)) // Whoever asked the store would panic.
	for name, c := range map[string]struct {
		method, path, body string
		want               int
	}{
		"no session":                  {"PUT", "/orders/12345678", `{"item":"tea","quantity":1}`, http.StatusUnauthorized},
		"no session to list":          {"GET", "/orders", "", http.StatusUnauthorized},
		"a name with capitals":        {"PUT", "/users/Ann", `{"password":"long enough"}`, http.StatusUnprocessableEntity},
		"a short password":            {"PUT", "/users/ann", `{"password":"short"}`, http.StatusUnprocessableEntity},
		"an unknown field":            {"PUT", "/users/ann", `{"pasword":"long enough"}`, http.StatusBadRequest},
		"two values":                  {"PUT", "/users/ann", `{"password":"long enough"} {}`, http.StatusBadRequest},
		"a body that is too large":    {"PUT", "/users/ann", `{"password":"` + strings.Repeat("x", largestBody) + `"}`, http.StatusBadRequest},
		"a way that there is not":     {"POST", "/orders/12345678", "", http.StatusMethodNotAllowed},
		"whether the shop is open":    {"GET", "/health", "", http.StatusOK},
		"a session without a name":    {"POST", "/sessions", `{"password":"long enough"}`, http.StatusUnprocessableEntity},
		"a place that there is not":   {"GET", "/cart", "", http.StatusNotFound},
		"what the monitoring asks":    {"GET", "/metrics", "", http.StatusOK},
		"a session that is no bearer": {"GET", "/orders", "", http.StatusUnauthorized},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(c.method, c.path, strings.NewReader(c.body)))
		if w.Code != c.want {
			t.Errorf("%s: %d, want %d: %s", name, w.Code, c.want, w.Body)
		}
	}
}

func TestTheDatabaseIsAskedAgainAsLongAsACustomerHasPatience(t *testing.T) {
	broken := errors.New("invalid connection")
	for name, c := range map[string]struct {
		answers []error // The last one is given for ever.
		want    error
		tries   int
		atLeast time.Duration
	}{
		"it answers at once":               {[]error{nil}, nil, 1, 0},
		"a failover is over":               {[]error{broken, broken, nil}, nil, 3, 2 * againPause},
		"what is the customer's is told":   {[]error{broken, errOtherUse}, errOtherUse, 2, againPause},
		"it is given up after a while":     {[]error{broken}, broken, 0, patience},
		"somebody is unknown, and told so": {[]error{errNone}, errNone, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tries, begun := 0, time.Now()
				err := again(t.Context(), func() error {
					tries++
					return c.answers[min(tries, len(c.answers))-1]
				})
				took := time.Since(begun)
				if !errors.Is(err, c.want) || c.tries > 0 && tries != c.tries || took < c.atLeast || took > patience+2*againPause {
					t.Errorf("%v after %d tries and %s", err, tries, took)
				}
			})
		})
	}
}

func TestAPasswordIsKeptSoThatItCanOnlyBeCompared(t *testing.T) {
	salt := newSalt()
	kept := stretch("long enough", salt)
	if !same(kept, stretch("long enough", salt)) || same(kept, stretch("long enougi", salt)) || same(kept, stretch("long enough", newSalt())) {
		t.Error("a password is not told from another, or not by its salt")
	}
	if token, hash := newToken(); !same(hash, hashOf(token)) || strings.Contains(string(hash), token) {
		t.Error("a token is not found by its hash")
	}
}
