package hooks

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Hook is somebody to tell.
type Hook struct {
	// Name is its own among the cluster's.
	Name string
	// On are the kinds that it is told of; empty for all.
	On []Kind
	// Command is a program with its arguments, URL a web address; one of the two.
	Command []string
	URL     string
	// Token returns what stands after "Bearer" in the request, nil for nothing.
	Token func() (string, error)
	// TLS says whom to trust at the address; nil for the system's authorities.
	TLS *tls.Config
	// Timeout bounds one attempt, Tries how often one event is tried.
	Timeout time.Duration
	Tries   int
}

// Wants tells whether it is told of a kind.
func (h Hook) Wants(k Kind) bool { return k == KindTest || len(h.On) == 0 || slices.Contains(h.On, k) }

// outputShown is how much of what a command writes is told where it fails.
const outputShown = 1 << 10

// Deliver tells it of an event, once, within its time.
func (h Hook) Deliver(ctx context.Context, e Event) error {
	ctx, cancel := context.WithTimeoutCause(ctx, h.Timeout, fmt.Errorf("it took longer than %s", h.Timeout))
	defer cancel()
	payload, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if h.URL != "" {
		err = h.post(ctx, payload)
	} else {
		err = h.run(ctx, e, payload)
	}
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// run starts the command with little of the daemon's environment, and ends it and all
// that it has started when its time is over.
func (h Hook) run(ctx context.Context, e Event, payload []byte) error {
	cmd := exec.CommandContext(ctx, h.Command[0], h.Command[1:]...)
	cmd.Stdin = bytes.NewReader(payload)
	out := &head{most: outputShown}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"MYSQLHA_EVENT=" + string(e.Kind), "MYSQLHA_EVENT_ID=" + e.ID, "MYSQLHA_CLUSTER=" + e.Cluster, "MYSQLHA_TERM=" + strconv.FormatUint(e.Term, 10),
		"MYSQLHA_PRIMARY=" + e.Primary, "MYSQLHA_FROM=" + e.From, "MYSQLHA_RESULT=" + e.Result, "MYSQLHA_SERVER=" + e.Server}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second // For what holds its output and has left its group.
	if err := cmd.Run(); err != nil {
		if text := strings.TrimSpace(out.String()); text != "" {
			return fmt.Errorf("%w: %s", err, text)
		}
		return err
	}
	return nil
}

// head keeps the beginning of what is written to it.
type head struct {
	bytes.Buffer
	most int
}

func (h *head) Write(p []byte) (int, error) {
	if room := h.most - h.Len(); room > 0 {
		h.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// post hands the event to the web address. It follows no redirection: the token is for
// that address alone.
func (h Hook) post(ctx context.Context, payload []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL, bytes.NewReader(payload))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "mysqlhad")
	if h.Token != nil {
		token, err := h.Token()
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	transport := &http.Transport{TLSClientConfig: h.TLS, Proxy: http.ProxyFromEnvironment}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		var failed *url.Error
		if errors.As(err, &failed) {
			return failed.Err // Without the address, of which a part may be a secret.
		}
		return err
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, outputShown))
	err = errors.Join(err, resp.Body.Close())
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("it answered %s: %s", resp.Status, strings.TrimSpace(string(text)))
	}
	return err
}
