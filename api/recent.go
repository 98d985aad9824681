package api

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"time"
)

// Recent is what a server did in the last hour, as its daemon remembers it since that
// began.
type Recent struct {
	Server string `json:"server"`
	// Samples are taken one Step apart, oldest first.
	Step    time.Duration `json:"step_ns"`
	Samples []Sample      `json:"samples"`
	// Interruptions are the times in which nobody is known to have taken writes, told by
	// the server that ended them.
	Interruptions []Interruption `json:"interruptions"`
	// Problem says why its daemon could not be asked, empty where it could.
	Problem string `json:"problem,omitempty"`
}

// Sample is what a server did between the sample before it and a moment.
type Sample struct {
	// At is that moment, in milliseconds since 1970 by its host's clock.
	At int64 `json:"at_ms"`
	// Questions are the statements a second that clients sent, the daemon's own among
	// them, Writes those of them that insert, update, replace or delete.
	Questions float64 `json:"questions"`
	Writes    float64 `json:"writes"`
	// Lag is how far a replica's applier is behind, in milliseconds; nil at a primary,
	// and where it is not known.
	Lag *float64 `json:"lag_ms,omitempty"`
}

// Interruption is a time in which nobody is known to have taken writes: from the last
// heartbeat that was acknowledged until a server took writes again.
type Interruption struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// Cause is new-term or stall.
	Cause string `json:"cause"`
}

type recentQuery struct {
	Server string `query:"server" description:"One server; else all of them."`
	Since  int64  `query:"since" minimum:"0" description:"Only what came after that moment, in milliseconds since 1970."`
}

func (h *handler) recent(ctx context.Context, q url.Values) ([]Recent, error) {
	var since int64
	if text := q.Get("since"); text != "" {
		var err error
		if since, err = strconv.ParseInt(text, 10, 64); err != nil || since < 0 {
			return nil, badRequest(fmt.Sprintf("since is %q: write a moment in milliseconds since 1970", shorten(text)))
		}
	}
	return list(h.options.Backend.Recent(ctx, q.Get("server"), time.UnixMilli(since)))
}

// Recent returns what a server did in the last hour and after a moment, asked of the first
// daemon that answers; of all servers where the name is empty.
func (c *Client) Recent(ctx context.Context, server string, since time.Time) ([]Recent, error) {
	q := url.Values{"since": {strconv.FormatInt(max(0, since.UnixMilli()), 10)}}
	if server != "" {
		q.Set("server", server)
	}
	all, err := first[[]Recent](ctx, c, "/v1/recent?"+q.Encode())
	if err != nil {
		return nil, fmt.Errorf("asking what servers did lately: %w", err)
	}
	return all, nil
}
