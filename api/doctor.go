package api

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

// doctorTimeout bounds an examination of all servers, of which one with thousands of
// tables takes seconds.
const doctorTimeout = 25 * time.Second

// Examination is what the doctor has found.
type Examination struct {
	// Servers are those that were examined.
	Servers []Examined `json:"servers"`
	// Found is all that was found, the worst first.
	Found []decide.Diagnosis `json:"found"`
}

// Examined is one server that was examined.
type Examined struct {
	// Server is its name, Version that of its mysqld, empty where it could not be asked.
	Server  string `json:"server"`
	Version string `json:"version,omitempty"`
	// At is when, by its host's clock.
	At time.Time `json:"at,omitzero"`
}

// Clean tells whether nothing was found that is worse than a remark.
func (e Examination) Clean() bool {
	for _, f := range e.Found {
		if f.Severity != decide.SeverityInfo {
			return false
		}
	}
	return true
}

// examineQuery names one server, or none for all.
type examineQuery struct {
	Server string `query:"server" description:"One server; else all of them, and the cluster as a whole."`
}

// Doctor examines a server, or all of them and the cluster where the name is empty.
// One daemon is asked, which asks the others.
func (c *Client) Doctor(ctx context.Context, server string) (Examination, error) {
	var found Examination
	// Which one lives is asked before: this may take longer than trying another does.
	if _, err := c.Cluster(ctx); err != nil {
		return found, err
	}
	e := c.endpoints[int(c.last.Load())]
	if err := e.get(ctx, "/v1/doctor?server="+url.QueryEscape(server), &found); err != nil {
		return found, fmt.Errorf("examining the servers: %s: %w", e.address, err)
	}
	return found, nil
}

// Bootstrap asks for the beginning of the cluster and returns the request's id.
func (c *Client) Bootstrap(ctx context.Context, want decide.BootstrapRequest) (string, error) {
	return asked[string](ctx, c, "/v1/bootstrap", want, "asking for the beginning of the cluster")
}
