package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// Event is what stands in etcd after a change that anybody outside notices.
type Event struct {
	// At is when this daemon heard of it, Revision etcd's then.
	At       time.Time `json:"at"`
	Revision int64     `json:"revision"`
	// Leader is the daemon that leads, empty while nobody does.
	Leader string `json:"leader"`
	// Term and Primary are the record's, Open says that the primary takes writes in
	// that term by its daemon's word.
	Term    uint64   `json:"term"`
	Primary string   `json:"primary"`
	Open    bool     `json:"open"`
	InSync  []string `json:"in_sync"`
	// Suspended says that the primary may acknowledge writes alone.
	Suspended bool `json:"suspended,omitempty"`
	// Plan, Phase and Candidate are those of the open plan, empty for none.
	Plan      decide.PlanKind `json:"plan,omitempty"`
	Phase     decide.Phase    `json:"phase,omitempty"`
	Candidate string          `json:"candidate,omitempty"`
	// Members are the daemons whose lease lives.
	Members []string `json:"members"`
	// Paused is why the automation is paused, empty while it is not.
	Paused string `json:"paused,omitempty"`
	// Stale says that etcd cannot be reached, so that the rest may be old.
	Stale bool `json:"stale,omitempty"`
}

const (
	// mostWatchers bounds those who are told of changes, each of whom keeps a
	// connection.
	mostWatchers = 64
	// keepAlive is how often a watcher hears something though nothing changes, so
	// that either side notices that the other is gone.
	keepAlive = 10 * time.Second
	// eventTimeout is how long a watcher may take for one event.
	eventTimeout = 5 * time.Second
)

// events tells of changes as server-sent events until the client goes away.
func (h *handler) events(w http.ResponseWriter, r *http.Request, _ Caller) {
	if r.Method != http.MethodGet {
		write(w, r, http.StatusOK, struct{}{})
		return
	}
	defer h.watchers.Add(-1)
	if h.watchers.Add(1) > mostWatchers {
		writeProblem(w, r, Problem{Status: http.StatusServiceUnavailable, Code: decide.CodeUnavailable, Detail: fmt.Sprintf("%d others are told of changes already", mostWatchers)})
		return
	}
	out := http.NewResponseController(w)
	send := func(text string) error {
		if err := out.SetWriteDeadline(time.Now().Add(eventTimeout)); err != nil {
			return err
		}
		if _, err := w.Write([]byte(text)); err != nil {
			return err
		}
		return out.Flush()
	}
	w.Header().Set("Content-Type", "text/event-stream")
	ctx, cancel := context.WithCancel(r.Context())
	events, ended := make(chan Event), make(chan struct{})
	go func() {
		defer close(ended)
		h.options.Backend.Watch(ctx, func(e Event) {
			select {
			case events <- e:
			case <-ctx.Done():
			}
		})
	}()
	defer func() {
		cancel()
		<-ended
	}()
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	for {
		text := ": nothing has changed\n\n"
		select {
		case <-ctx.Done():
			return
		case <-h.stopping:
			return
		case <-ended:
			return
		case <-tick.C:
		case e := <-events:
			data, err := json.Marshal(e)
			if err != nil {
				return
			}
			text = fmt.Sprintf("event: change\nid: %d\ndata: %s\n\n", e.Revision, data)
		}
		if send(text) != nil {
			return // It went away, or does not read.
		}
	}
}
