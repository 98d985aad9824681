package api

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Watch tells of each change in the cluster, beginning with what stands, until ctx
// ends, whose cause it returns then. Where a daemon ends, another is asked, which
// begins again with what stands.
func (c *Client) Watch(ctx context.Context, tell func(Event)) error {
	for {
		err := c.watchOne(ctx, tell)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return fmt.Errorf("watching the cluster: %w", err)
		}
	}
}

// watchOne follows the first daemon that answers; nil means that it told something
// and then ended.
func (c *Client) watchOne(ctx context.Context, tell func(Event)) error {
	var causes []error
	for _, e := range c.endpoints {
		body, err := e.open(ctx, "/v1/events")
		if err != nil {
			causes = append(causes, fmt.Errorf("%s: %w", e.address, err))
			continue
		}
		told, err := readEvents(ctx, body, tell)
		if told {
			return nil
		}
		causes = append(causes, fmt.Errorf("%s: %w", e.address, err))
	}
	return errors.Join(causes...)
}

// readEvents reads events until their end, and says whether there were any. One that
// is silent for three times keepAlive is gone.
func readEvents(ctx context.Context, body io.ReadCloser, tell func(Event)) (told bool, err error) {
	silence := time.AfterFunc(3*keepAlive, func() { body.Close() })
	defer silence.Stop()
	stop := context.AfterFunc(ctx, func() { body.Close() })
	defer stop()
	defer body.Close()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxEvent)
	for lines.Scan() {
		silence.Reset(3 * keepAlive)
		data, isData := strings.CutPrefix(lines.Text(), "data: ")
		if !isData {
			continue
		}
		var e Event
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			return told, fmt.Errorf("reading an event: %w", err)
		}
		told = true
		tell(e)
	}
	return told, cmp.Or(lines.Err(), io.ErrUnexpectedEOF)
}

// maxEvent is far above any event of ours, in bytes.
const maxEvent = 1 << 20
