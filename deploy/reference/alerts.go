package reference

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mysqlha/mysqlha/deploy/sandbox"
)

// Alert is an alert that somebody is told of.
type Alert struct {
	// Name is its rule's; Of is the host or the tier that it is about, empty where that is
	// the site or its cluster.
	Name, Of string
}

// String is its name and what it is about.
func (a Alert) String() string {
	if a.Of == "" {
		return a.Name
	}
	return a.Name + " of " + a.Of
}

// Alerts returns the alerts that the site's Alertmanager would tell of at this moment:
// those that fire and are neither inhibited nor silenced. Notes (severity info) are none.
func (s *Site) Alerts(ctx context.Context) ([]Alert, error) {
	var all []struct{ Labels map[string]string }
	if err := s.askMonitor(ctx, s.layout.site.Ports.Alertmanager, "/api/v2/alerts?active=true&inhibited=false&silenced=false&unprocessed=false", &all); err != nil {
		return nil, fmt.Errorf("asking Alertmanager: %w", err)
	}
	told := map[Alert]bool{}
	for _, a := range all {
		if a.Labels["severity"] == "info" {
			continue
		}
		alert := Alert{Name: a.Labels["alertname"], Of: a.Labels["host"]}
		if alert.Of == "" {
			alert.Of = a.Labels["tier"]
		}
		told[alert] = true
	}
	return sorted(told), nil
}

func sorted(alerts map[Alert]bool) []Alert {
	return slices.SortedFunc(maps.Keys(alerts), func(a, b Alert) int { return strings.Compare(a.String(), b.String()) })
}

// Raised is an alert that came up, and how long after the harm.
type Raised struct {
	Alert
	After time.Duration
}

// alertWatch collects the alerts that come up from its start on.
type alertWatch struct {
	site   *Site
	began  time.Time
	before map[Alert]bool

	mu     sync.Mutex
	raised []Raised

	stop func()
	done chan struct{}
}

const (
	// alertsAskedEvery is how often Alertmanager is asked while alerts are collected.
	alertsAskedEvery = 500 * time.Millisecond
	// raisedWithin is how long alerts may take to come up.
	raisedWithin = time.Minute
)

// watchAlerts begins to collect. What is told of already does not count.
func (s *Site) watchAlerts(ctx context.Context) (*alertWatch, error) {
	now, err := s.Alerts(ctx)
	if err != nil {
		return nil, err
	}
	w := &alertWatch{site: s, began: time.Now(), before: map[Alert]bool{}, done: make(chan struct{})}
	for _, a := range now {
		w.before[a] = true
	}
	ctx, w.stop = context.WithCancel(ctx)
	go func() {
		defer close(w.done)
		tick := time.NewTicker(alertsAskedEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				w.look(ctx)
			}
		}
	}()
	return w, nil
}

func (w *alertWatch) look(ctx context.Context) {
	now, err := w.site.Alerts(ctx)
	if err != nil {
		return // It is asked again.
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range now {
		if !w.before[a] && !slices.ContainsFunc(w.raised, func(r Raised) bool { return r.Alert == a }) {
			w.raised = append(w.raised, Raised{a, time.Since(w.began)})
		}
	}
	// What has ended and comes again is a new one.
	maps.DeleteFunc(w.before, func(a Alert, _ bool) bool { return !slices.Contains(now, a) })
}

// await returns when alerts of all these names have come up, or, without an error, when
// they have had the time: who judges them says what is missing.
func (w *alertWatch) await(ctx context.Context, names []string) error {
	bounded, stop := context.WithTimeout(ctx, raisedWithin)
	defer stop()
	err := sandbox.Poll(bounded, pollInterval, fmt.Sprintf("waiting for the alerts %v", names), func(context.Context) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if missing := without(names, w.raised); len(missing) > 0 {
			return fmt.Errorf("there is no %v", missing)
		}
		return nil
	})
	if ctx.Err() == nil && bounded.Err() != nil {
		return nil
	}
	return err
}

// without are the names of which no alert was raised.
func without(names []string, raised []Raised) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return slices.ContainsFunc(raised, func(r Raised) bool { return r.Name == name })
	})
}

// end looks once more, and returns all that came up.
func (w *alertWatch) end(ctx context.Context) []Raised {
	w.look(ctx)
	w.stop()
	<-w.done
	return w.raised
}

// awaitSilence returns when none of some alerts is told of any more, whatever it is about.
func (s *Site) awaitSilence(ctx context.Context, names []string) error {
	return sandbox.Poll(ctx, alertsAskedEvery, "waiting until earlier alerts have ended", func(ctx context.Context) error {
		now, err := s.Alerts(ctx)
		now = slices.DeleteFunc(now, func(a Alert) bool { return !slices.Contains(names, a.Name) })
		if err == nil && len(now) > 0 {
			err = fmt.Errorf("there is still %v", now)
		}
		return err
	})
}

// awaitJudged returns when the rules have seen what was scraped after this moment, and what
// they have found wrong since another moment has become an alert, or nothing.
func (s *Site) awaitJudged(ctx context.Context, since time.Time) error {
	// Every target is scraped within the first interval, and judged within the second.
	seen := time.Now().Add(scrapeInterval)
	return sandbox.Poll(ctx, alertsAskedEvery, "waiting until the rules were evaluated", func(ctx context.Context) error {
		var rules struct {
			Groups []struct {
				Name           string
				LastEvaluation time.Time
			}
		}
		if err := s.Prometheus(ctx, "/api/v1/rules", &rules); err != nil {
			return err
		}
		for _, g := range rules.Groups {
			if !g.LastEvaluation.After(seen) {
				return fmt.Errorf("the group %s was evaluated at %s", g.Name, g.LastEvaluation.Format(time.TimeOnly))
			}
		}
		var now struct {
			Alerts []struct {
				Labels   map[string]string
				State    string
				ActiveAt time.Time
			}
		}
		if err := s.Prometheus(ctx, "/api/v1/alerts", &now); err != nil {
			return err
		}
		for _, a := range now.Alerts {
			if a.State == "pending" && a.ActiveAt.After(since) && a.Labels["severity"] != "info" {
				return fmt.Errorf("%s is pending: %v", a.Labels["alertname"], a.Labels)
			}
		}
		return nil
	})
}
