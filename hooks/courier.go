package hooks

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Journal is what stands in etcd of the cluster's events.
type Journal interface {
	// Changed is closed at the next change of what stands in etcd, Version is that of
	// the record, with which everything that happens changes; 0 for none.
	Changed() <-chan struct{}
	Version() uint64
	// Begin returns a hook's cursor, and makes one behind all that has happened where
	// there is none.
	Begin(ctx context.Context, hook string) (Cursor, error)
	// Steps returns what has happened since, the oldest first.
	Steps(ctx context.Context, c Cursor) ([]Step, error)
	// Save keeps a hook's cursor, if this host still leads.
	Save(ctx context.Context, hook string, c Cursor) error
}

// Events are what metrics want to know.
type Events interface {
	// Hooked is told of each event that was delivered to a hook, or given up.
	Hooked(hook string, kind Kind, delivered bool)
}

const (
	// firstRetry is how long is waited before an event is tried again; each pause after
	// it is twice as long, up to longestRetry.
	firstRetry   = time.Second
	longestRetry = time.Minute
	// journalRetry is how long is waited where etcd does not answer.
	journalRetry = 2 * time.Second
	// mostLocal is how many events of this host may wait for a hook; more are dropped,
	// and that is told.
	mostLocal = 64
)

// Courier tells the hooks of a host.
type Courier struct {
	hooks  []*one
	log    *slog.Logger
	events Events
}

// one is a hook with what waits for it.
type one struct {
	Hook
	// mu: one event at a time, of whatever origin.
	mu    sync.Mutex
	local chan Event
}

// NewCourier returns the courier of some hooks; events may be nil.
func NewCourier(all []Hook, events Events, log *slog.Logger) *Courier {
	c := &Courier{log: log, events: events}
	for _, h := range all {
		c.hooks = append(c.hooks, &one{Hook: h, local: make(chan Event, mostLocal)})
	}
	return c
}

// Tell has the hooks of this host told of an event that is its own. It never waits.
func (c *Courier) Tell(e Event) {
	for _, h := range c.hooks {
		if !h.Wants(e.Kind) {
			continue
		}
		select {
		case h.local <- e:
		default:
			c.log.Error("a hook is so far behind that an event is dropped", "hook", h.Name, "kind", e.Kind, "id", e.ID, "term", e.Term)
			c.count(h.Name, e.Kind, false)
		}
	}
}

// Run delivers what Tell is told, until ctx ends.
func (c *Courier) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, h := range c.hooks {
		wg.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case e := <-h.local:
					c.insist(ctx, ctx, h, e)
				}
			}
		})
	}
	wg.Wait()
	return nil
}

// Lead delivers the cluster's events until leading ends; an attempt under way goes on
// until ctx ends. It returns when all is over.
func (c *Courier) Lead(ctx, leading context.Context, j Journal) {
	var wg sync.WaitGroup
	for _, h := range c.hooks {
		wg.Go(func() { c.follow(ctx, leading, h, j) })
	}
	wg.Wait()
}

// follow delivers the cluster's events to one hook, in their order.
func (c *Courier) follow(ctx, leading context.Context, h *one, j Journal) {
	cursor, err := j.Begin(leading, h.Name)
	for err != nil {
		if !pause(leading, journalRetry) {
			return
		}
		cursor, err = j.Begin(leading, h.Name)
	}
	looked := cursor.Version
	for leading.Err() == nil {
		changed, version := j.Changed(), j.Version()
		var steps []Step
		if version != looked { // Servers report more often than anything happens.
			if steps, err = j.Steps(leading, cursor); err != nil {
				pause(leading, journalRetry)
				continue
			}
			looked = version
		}
		for _, s := range steps {
			if s.Event != nil && h.Wants(s.Event.Kind) && !c.insist(ctx, leading, h, *s.Event) {
				return // Somebody else's from here on.
			}
			cursor = s.Cursor
			for j.Save(leading, h.Name, cursor) != nil {
				if !pause(leading, journalRetry) {
					return
				}
			}
		}
		select {
		case <-leading.Done():
		case <-changed:
		}
	}
}

// insist tells a hook of an event as often as it may, and returns whether that has
// come to an end, good or bad, before going was over.
func (c *Courier) insist(ctx, going context.Context, h *one, e Event) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	wait := firstRetry
	for try := 1; going.Err() == nil; try++ {
		err := h.Deliver(ctx, e)
		if err == nil {
			c.log.Info("hook told", "hook", h.Name, "kind", e.Kind, "id", e.ID, "term", e.Term, "try", try)
			c.count(h.Name, e.Kind, true)
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		if try >= h.Tries {
			c.log.Error("hook given up for this event", "hook", h.Name, "kind", e.Kind, "id", e.ID, "term", e.Term, "tries", try, "error", err)
			c.count(h.Name, e.Kind, false)
			return true
		}
		c.log.Warn("hook failed, will be tried again", "hook", h.Name, "kind", e.Kind, "id", e.ID, "term", e.Term, "try", try, "in", wait, "error", err)
		if !pause(going, wait) {
			return false
		}
		wait = min(2*wait, longestRetry)
	}
	return false
}

func (c *Courier) count(hook string, kind Kind, delivered bool) {
	if c.events != nil {
		c.events.Hooked(hook, kind, delivered)
	}
}

// pause waits, and tells whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
