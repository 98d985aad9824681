package main

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/orchestrator/decide"
)

const (
	// recentStep is how far the samples of what a server does are apart, recentSpan how
	// long they are kept.
	recentStep = 5 * time.Second
	recentSpan = time.Hour
	// mostInterruptions bounds those that are kept, the newest.
	mostInterruptions = 200
	// figuresPatience is how long mysqld may take for its figures.
	figuresPatience = 2 * time.Second
)

// writing are the statements that count as writes.
var writing = []string{"Com_insert", "Com_insert_select", "Com_update", "Com_update_multi", "Com_delete", "Com_delete_multi", "Com_replace", "Com_replace_select", "Com_load"}

// recent remembers what the server of this host did in the last hour. It is safe for
// concurrent use.
type recent struct {
	mu            sync.Mutex
	samples       []api.Sample
	interruptions []api.Interruption
}

// run takes a sample every recentStep until ctx ends.
func (r *recent) run(ctx context.Context, m *memberRole) error {
	tick := time.NewTicker(recentStep)
	defer tick.Stop()
	var before counters
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := readCounters(ctx, m)
		if sample, ok := now.since(before); ok {
			if live := m.member.Live(); live.LagKnown && live.OpenTerm == 0 {
				lag := math.Round(live.Lag.Seconds()*1e4) / 10
				sample.Lag = &lag
			}
			r.add(sample)
		}
		before = now
	}
}

// counters are how much a run of mysqld had done at a moment; at is zero where it did not
// say.
type counters struct {
	at                        time.Time
	uptime, questions, writes float64
}

func readCounters(ctx context.Context, m *memberRole) counters {
	ctx, cancel := context.WithTimeout(ctx, figuresPatience)
	defer cancel()
	at := time.Now()
	figures, err := m.local.Figures(ctx, append([]string{"Uptime", "Questions"}, writing...), nil)
	if err != nil {
		return counters{}
	}
	c := counters{at: at, uptime: figures["Uptime"], questions: figures["Questions"]}
	for _, name := range writing {
		c.writes += figures[name]
	}
	return c
}

// since is what was done since an earlier moment; false where mysqld did not answer, or
// began anew meanwhile.
func (c counters) since(before counters) (api.Sample, bool) {
	if c.at.IsZero() || before.at.IsZero() || c.uptime < before.uptime {
		return api.Sample{}, false
	}
	per := func(now, was float64) float64 {
		return math.Round(max(0, now-was)/c.at.Sub(before.at).Seconds()*10) / 10
	}
	return api.Sample{At: c.at.UnixMilli(), Questions: per(c.questions, before.questions), Writes: per(c.writes, before.writes)}, true
}

func (r *recent) add(s api.Sample) {
	r.mu.Lock()
	defer r.mu.Unlock()
	oldest := s.At - recentSpan.Milliseconds()
	r.samples = slices.DeleteFunc(append(r.samples, s), func(s api.Sample) bool { return s.At < oldest })
}

// interrupted notes that nobody took writes for a while.
func (r *recent) interrupted(cause string, since, until time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.interruptions = append(r.interruptions, api.Interruption{From: since, To: until, Cause: cause})
	r.interruptions = r.interruptions[max(0, len(r.interruptions)-mostInterruptions):]
}

// after returns what came after a moment.
func (r *recent) after(server string, since time.Time) api.Recent {
	r.mu.Lock()
	defer r.mu.Unlock()
	if oldest := time.Now().Add(-recentSpan); since.Before(oldest) {
		since = oldest
	}
	all := api.Recent{Server: server, Step: recentStep, Samples: []api.Sample{}, Interruptions: []api.Interruption{}}
	for _, s := range r.samples {
		if s.At > since.UnixMilli() {
			all.Samples = append(all.Samples, s)
		}
	}
	for _, i := range r.interruptions {
		if i.To.After(since) {
			all.Interruptions = append(all.Interruptions, i)
		}
	}
	return all
}

// Recent returns what a server did lately, or all of them, asked of their daemons.
func (b *backend) Recent(ctx context.Context, server string, since time.Time) ([]api.Recent, error) {
	if server != "" {
		own, peer, err := b.beside(server)
		if err != nil {
			return nil, err
		}
		if own {
			return []api.Recent{b.d.recent.after(server, since)}, nil
		}
		all, err := peer.Recent(ctx, server, since)
		return all, asRefusal(err)
	}
	servers := decide.ServerNames(b.d.servers())
	all := make([]api.Recent, len(servers))
	ctx, cancel := context.WithTimeout(ctx, 2*askTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for i, name := range servers {
		wg.Go(func() {
			one, err := b.Recent(ctx, name, since)
			switch {
			case err != nil:
				all[i] = api.Recent{Server: name, Step: recentStep, Samples: []api.Sample{}, Interruptions: []api.Interruption{}, Problem: err.Error()}
			case len(one) == 1:
				all[i] = one[0]
			}
		})
	}
	wg.Wait()
	return all, nil
}
