package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/mysqlha/mysqlha/certs"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// documentOf asks a server for its description and checks it as OpenAPI.
func documentOf(t *testing.T, transport *http.Transport, address string) *openapi3.T {
	t.Helper()
	_, body := askRaw(t, transport, http.MethodGet, "https://"+address+"/v1/openapi.json", "")
	doc, err := openapi3.NewLoader().LoadFromData([]byte(body))
	if err == nil {
		err = doc.Validate(t.Context())
	}
	if err != nil {
		t.Fatalf("%v\n%.2000s", err, body)
	}
	return doc
}

func askRaw(t *testing.T, transport *http.Transport, method, url, body string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(text)
}

func TestTheDescriptionIsOpenAPIAndSpeaksOfAllThatIsThere(t *testing.T) {
	files := authority(t)
	w := &world{evidence: openPrimary(), cluster: Cluster{Name: "shop", At: time.Now(), Record: &decide.Record{Term: 7, Primary: "db1"},
		Servers: []Server{{Name: "db1", Live: &decide.Live{Server: "db1"}}}, Pause: &decide.Pause{Reason: "r", Since: time.Now()}},
		history:  []decide.History{{Term: 7, Result: "completed", Plan: decide.Plan{Kind: decide.PlanFailover}}},
		settings: Settings{Version: 2, Settings: []decide.Setting{{Name: "durability"}}}}
	address := serve(t, files, w, w)
	transport := &http.Transport{TLSClientConfig: certs.ClientConfig(files, "127.0.0.1")}
	t.Cleanup(transport.CloseIdleConnections)
	doc := documentOf(t, transport, address)

	described := doc.Paths.InMatchingOrder()
	h := newHandler(Options{Backend: w, Metrics: http.NotFoundHandler()})
	for _, path := range h.paths {
		item := doc.Paths.Value(path)
		if item == nil {
			t.Errorf("%s is not described", path)
			continue
		}
		for method := range h.routes[path] {
			if item.GetOperation(method) == nil {
				t.Errorf("%s %s is not described", method, path)
			}
		}
		described = slices.DeleteFunc(described, func(p string) bool { return p == path })
	}
	if len(described) > 0 {
		t.Errorf("%v are described and not there", described)
	}

	// What is answered is what is described.
	checked := 0
	for _, path := range h.paths {
		op := doc.Paths.Value(path).Get
		if op == nil || path == "/v1/events" || path == "/v1/openapi.json" {
			continue
		}
		answer, body := askRaw(t, transport, http.MethodGet, "https://"+address+path, "")
		response := op.Responses.Status(answer.StatusCode)
		if response == nil {
			t.Errorf("%s answers %d, which is not described", path, answer.StatusCode)
			continue
		}
		content := response.Value.Content.Get(answer.Header.Get("Content-Type"))
		if content == nil {
			t.Errorf("%s answers %d as %s, which is not described", path, answer.StatusCode, answer.Header.Get("Content-Type"))
			continue
		}
		var value any
		if !strings.Contains(answer.Header.Get("Content-Type"), "json") {
			continue
		}
		if err := json.Unmarshal([]byte(body), &value); err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if err := content.Schema.Value.VisitJSON(value); err != nil {
			t.Errorf("%s answers %s\n%v", path, body, err)
		}
		checked++
	}
	if checked < 12 {
		t.Errorf("only %d answers were compared with their description", checked)
	}
}

func TestProblemsAreDocumentsWithACodeOfTheCatalogue(t *testing.T) {
	files := authority(t)
	address := serve(t, files, &world{}, nil)
	with := &http.Transport{TLSClientConfig: certs.ClientConfig(files, "127.0.0.1")}
	without := &http.Transport{TLSClientConfig: certs.ClientConfig(certs.Files{CA: files.CA}, "127.0.0.1")}
	t.Cleanup(with.CloseIdleConnections)
	t.Cleanup(without.CloseIdleConnections)
	for _, c := range []struct {
		name, method, path, body string
		transport                *http.Transport
		status                   int
		code                     decide.Code
		detail                   string
	}{
		{"nothing is there", "GET", "/v1/nothing", "", with, 404, decide.CodeNotFound, "/v1/nothing"},
		{"it is only read", "POST", "/v1/why", "", with, 405, decide.CodeMethodNotAllowed, "only answers GET, HEAD, OPTIONS"},
		{"it only changes", "GET", "/v1/pause", "", with, 405, decide.CodeMethodNotAllowed, "only answers POST"},
		{"it is read and changed", "DELETE", "/v1/settings", "", with, 405, decide.CodeMethodNotAllowed, "GET, HEAD, OPTIONS, POST"},
		{"no certificate", "POST", "/v1/pause", `{"reason":"r"}`, without, 403, decide.CodeCertificateNeeded, "POST /v1/pause needs a client certificate"},
		{"an unknown parameter", "GET", "/v1/history?last=3", "", with, 400, decide.CodeBadRequest, "use limit"},
		{"an unknown field", "POST", "/v1/pause", `{"because":"r"}`, with, 400, decide.CodeBadRequest, "because"},
		{"no JSON", "POST", "/v1/pause", `reason=r`, with, 400, decide.CodeBadRequest, "cannot be read"},
		{"two of them", "POST", "/v1/pause", `{"reason":"r"}{}`, with, 400, decide.CodeBadRequest, "more after it"},
		{"more than is read", "POST", "/v1/pause", `{"reason":"` + strings.Repeat("r", maxBody) + `"}`, with, 413, decide.CodeTooLarge, "larger than 65536 bytes"},
		{"it is refused", "POST", "/v1/failover", `{"id":"x","to":"db1","at":"2026-01-01T00:00:00Z"}`, with, 409, decide.CodeRefused, "it is the primary"},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer, body := askRaw(t, c.transport, c.method, "https://"+address+c.path, c.body)
			var p Problem
			err := json.Unmarshal([]byte(body), &p)
			if err != nil || answer.StatusCode != c.status || p.Status != c.status || p.Code != c.code || !strings.Contains(p.Detail, c.detail) ||
				answer.Header.Get("Content-Type") != problemType || p.Title == "" || p.Type != "/v1/problems?code="+string(c.code) {
				t.Errorf("got %d %s %s (%v)", answer.StatusCode, answer.Header.Get("Content-Type"), body, err)
			}
			if _, entry := askRaw(t, with, "GET", "https://"+address+p.Type, ""); !strings.Contains(entry, `"code":"`+string(c.code)+`"`) {
				t.Errorf("its type leads to %s", entry)
			}
		})
	}
}

func TestWatchersAreToldOfChanges(t *testing.T) {
	files := authority(t)
	w := &world{events: make(chan Event)}
	address := serve(t, files, w, nil)
	transport := &http.Transport{TLSClientConfig: certs.ClientConfig(files, "127.0.0.1")}
	t.Cleanup(transport.CloseIdleConnections)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address+"/v1/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() { w.events <- Event{Revision: 41, Term: 7, Primary: "db1"} }() // It is told with the head of the answer.
	answer, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if got := answer.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("it is %s", got)
	}
	read := func() string {
		var text strings.Builder
		b := make([]byte, 1)
		for !strings.HasSuffix(text.String(), "\n\n") {
			if _, err := answer.Body.Read(b); err != nil {
				t.Fatalf("%v after %q", err, text.String())
			}
			text.Write(b)
		}
		return text.String()
	}
	if got := read(); !strings.HasPrefix(got, "event: change\nid: 41\ndata: {") || !strings.Contains(got, `"primary":"db1"`) {
		t.Errorf("got %q", got)
	}
	w.events <- Event{Revision: 42, Term: 8, Primary: "db2"}
	if got := read(); !strings.Contains(got, "id: 42\n") || !strings.Contains(got, `"term":8`) {
		t.Errorf("got %q", got)
	}
	// The client reads the same, and the server stops although somebody watches: see serve.
	client := clientOf(t, files, unused(t), address)
	ctx, cancel := context.WithCancel(t.Context())
	told, ended := make(chan Event, 1), make(chan error, 1)
	go func() {
		ended <- client.Watch(ctx, func(e Event) {
			select {
			case told <- e:
			case <-ctx.Done():
			}
		})
	}()
	answer.Body.Close()
	for got := (Event{}); got.Term != 9; { // The first watcher may take one before it is gone.
		select {
		case w.events <- Event{Revision: 43, Term: 9}:
		case got = <-told:
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
}

// FuzzBodies sends anything to all that takes a body. Nothing may panic, and what is
// not understood is the asker's fault.
func FuzzBodies(f *testing.F) {
	f.Add(`{"set":{"durability":"async"},"version":3}`)
	f.Add(`{"reason":"r","for_ns":1}`)
	f.Add(`{"id":"a","to":"db1","drain_ns":-1,"at":"2026-01-01T00:00:00Z"}`)
	f.Add(`{"server":"db1","discard":"3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5","harmless":""}`)
	f.Add(`{"add":"x"}{`)
	f.Add("\x00[[[")
	f.Fuzz(func(t *testing.T, body string) {
		read := func(err error) {
			if status, _ := statusOf(err); err != nil && status != http.StatusBadRequest {
				t.Errorf("%q: %v is not the asker's", body, err)
			}
		}
		_, err := decodeBody[SettingsChange](strings.NewReader(body))
		read(err)
		_, err = decodeBody[PauseRequest](strings.NewReader(body))
		read(err)
		_, err = decodeBody[RejoinRequest](strings.NewReader(body))
		read(err)
		_, err = decodeBody[ServersRequest](strings.NewReader(body))
		read(err)
		_, err = decodeBody[decide.SwitchoverRequest](strings.NewReader(body))
		read(err)
		change, err := decodeBody[SettingsChange](strings.NewReader(body))
		read(err)
		p := decide.Policy{}
		for name, value := range change.Set {
			if p.Set(name, value) == nil && value != "" && p.Values()[name] == "" {
				t.Errorf("%s=%s is taken and lost", name, value)
			}
		}
		if q, err := queryOf(body, []string{"lag"}); err == nil {
			_, err := limitsOf(q.Encode(), []string{"lag"})
			read(err)
		}
	})
}
