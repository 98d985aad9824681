package reference

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mysqlha/mysqlha/certs"
	"github.com/mysqlha/mysqlha/config"
	"github.com/mysqlha/mysqlha/deploy/sandbox"
	"github.com/mysqlha/mysqlha/deploy/sandbox/supervisor"
)

const (
	// startTimeout bounds the start of all but the cluster, which has its own.
	startTimeout = 90 * time.Second
	// pollInterval is how often a condition is looked at.
	pollInterval = 50 * time.Millisecond
	// askTimeout bounds one question.
	askTimeout = 3 * time.Second
	// tooManyStarts is when a program that ends again and again makes the start fail.
	tooManyStarts = 6
	logLines      = 12
)

// await follows the start of all but the cluster to its end.
func (s *Site) await(ctx context.Context, progress func(string)) error {
	ctx, stop := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("the site was not up within %v", startTimeout))
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() { defer close(watched); s.watch(ctx, cancel) }()
	defer func() { cancel(nil); <-watched }()

	holder := ""
	if err := sandbox.Poll(ctx, pollInterval, "waiting until one balancer has the public address", func(ctx context.Context) error {
		holders, err := s.Holders(ctx)
		if err == nil && len(holders) != 1 {
			err = fmt.Errorf("%v have it", holders)
		}
		if err == nil {
			holder = holders[0]
		}
		return err
	}); err != nil {
		return err
	}
	progress(fmt.Sprintf("%s has %s", holder, s.layout.site.Public.Address))
	orders, err := s.Order(ctx, Crowd{Orders: 1, Customers: 1})
	if err != nil {
		return err
	}
	report, err := orders.Wait()
	if err != nil || len(report.Acks) != 1 {
		return errors.Join(fmt.Errorf("waiting for the first order: %w (the customer was told: %s)", cause(ctx, err), report.LastFailure), s.tails("shop", "nginx"))
	}
	progress("a customer's first order was acknowledged")
	if err := sandbox.Poll(ctx, pollInterval, "waiting until the monitoring sees everything", s.Healthy); err != nil {
		return errors.Join(err, s.tails("prometheus"))
	}
	progress("the monitoring sees everything")
	return nil
}

func cause(ctx context.Context, err error) error {
	if err == nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err == nil {
		return errors.New("it was not acknowledged")
	}
	return err
}

// tails are the ends of the logs of programs, wherever they run, as an error to be shown.
func (s *Site) tails(programs ...string) error {
	var errs []error
	for _, program := range programs {
		files, err := filepath.Glob(s.layout.host("*", program+".log"))
		errs = append(errs, err)
		for _, file := range files {
			errs = append(errs, fmt.Errorf("the end of %s:\n%s", file, sandbox.Tail(file, logLines)))
		}
	}
	return errors.Join(errs...)
}

// watch ends the start early when a program does not stay up.
func (s *Site) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(10 * pollInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.ended:
			cancel(fmt.Errorf("the supervisor ended:\n%s", sandbox.Tail(s.layout.path("supervisor.log"), logLines)))
			return
		case <-tick.C:
		}
		report, err := s.Processes()
		if err != nil {
			continue // Its first report may not be written yet.
		}
		if i := slices.IndexFunc(report.Programs, func(p supervisor.Status) bool { return p.Starts >= tooManyStarts }); i >= 0 {
			p := report.Programs[i]
			cancel(fmt.Errorf("%s does not stay up (%s):\n%s", p.Name, p.LastExit, sandbox.Tail(s.layout.host(p.Name+".log"), logLines)))
			return
		}
	}
}

// steadyFor is how long a program must be up to count as one that stays up: nginx, for
// one, gives up after 3 s when its ports are taken.
const steadyFor = 5 * time.Second

// steady says which programs do not run, or may be started again and again, nil for none.
func (s *Site) steady() error {
	report, err := s.Processes()
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range report.Programs {
		if p.State != supervisor.StateRunning || p.Starts > 1 && time.Since(p.Since) < steadyFor {
			errs = append(errs, fmt.Errorf("%s is %s since %s, started %d times (%s)", p.Name, p.State, time.Since(p.Since).Round(time.Millisecond), p.Starts, p.LastExit))
		}
	}
	return errors.Join(errs...)
}

// Scraped is what the monitoring says of one program.
type Scraped struct {
	Job, Host string
	Up        bool
	Problem   string
}

// Monitored asks Prometheus about everything that it scrapes.
func (s *Site) Monitored(ctx context.Context) (all []Scraped, err error) {
	var targets struct {
		ActiveTargets []struct {
			Labels            map[string]string
			Health, LastError string
		}
	}
	if err := s.Prometheus(ctx, "/api/v1/targets?state=active", &targets); err != nil {
		return nil, err
	}
	for _, t := range targets.ActiveTargets {
		all = append(all, Scraped{Job: t.Labels["job"], Host: t.Labels["host"], Up: t.Health == "up", Problem: t.LastError})
	}
	return all, nil
}

// Healthy says what the monitoring does not see well, nil for nothing.
func (s *Site) Healthy(ctx context.Context) error {
	all, err := s.Monitored(ctx)
	if err != nil {
		return err
	}
	want := 0
	for _, j := range jobs(s.layout.site) {
		want += len(j.Targets)
	}
	if len(all) != want {
		return fmt.Errorf("the monitoring has %d targets, not %d", len(all), want)
	}
	var missing []string
	for _, t := range all {
		if !t.Up {
			missing = append(missing, strings.TrimSpace(t.Job+" on "+t.Host+" "+t.Problem))
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("the monitoring does not see %s", strings.Join(missing, "; "))
	}
	return nil
}

// Prometheus asks the site's Prometheus, as an administrator.
func (s *Site) Prometheus(ctx context.Context, path string, into any) error {
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	err := s.askMonitor(ctx, s.layout.site.Ports.Prometheus, path, &answer)
	if err == nil && answer.Status != "success" {
		err = errors.New(answer.Error)
	}
	if err == nil {
		err = json.Unmarshal(answer.Data, into)
	}
	if err != nil {
		return fmt.Errorf("asking Prometheus: %w", err)
	}
	return nil
}

// askMonitor asks what listens on a port of the monitoring's host, as an administrator.
func (s *Site) askMonitor(ctx context.Context, port int, path string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	mon := hostsOf(s.layout.site, config.TierMonitor)[0]
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: certs.ClientConfig(s.cluster.Operator(), mon.Addresses[0])}}
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address(mon, port)+path, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	return json.NewDecoder(response.Body).Decode(into)
}
