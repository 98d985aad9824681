package sandbox

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/mysqlha/mysqlha/certs"
)

// Metrics returns what the daemon of a host reports at /metrics: the samples by
// their series, such as mysqlha_leader or x_bucket{le="0.1"}.
func (s *Sandbox) Metrics(ctx context.Context, server string) (map[string]float64, error) {
	if !slices.Contains(s.layout.hosts(), server) {
		return nil, fmt.Errorf("%q is not a host of the sandbox, which are %v", server, s.layout.hosts())
	}
	doing := "reading the metrics of " + server
	transport := &http.Transport{TLSClientConfig: certs.ClientConfig(s.layout.clientFiles(), s.layout.ip(server), certs.Daemons()...)}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+s.layout.apiAddr(server)+"/metrics", nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	answer, err := transport.RoundTrip(request)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: it answered %s", doing, answer.Status)
	}
	samples, err := readSamples(answer.Body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	return samples, nil
}

// readSamples reads the lines of Prometheus' text format that are no comments.
func readSamples(r io.Reader) (map[string]float64, error) {
	samples := make(map[string]float64)
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		if at < 0 {
			return nil, fmt.Errorf("a line without a value: %q", line)
		}
		value, err := strconv.ParseFloat(line[at+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("the line %q: %w", line, err)
		}
		samples[line[:at]] = value
	}
	return samples, lines.Err()
}
