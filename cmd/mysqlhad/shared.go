package main

import (
	"context"
	"time"

	"golang.org/x/sync/singleflight"
)

// shared is work whose result serves all who ask for it while it is under way: whoever
// asks often costs no more than who asks once.
type shared[T any] struct{ group singleflight.Group }

// do returns the result of the work that is under way, or else begins it and gives it so
// much time. A caller whose context ends goes away without it; the others get it.
func (s *shared[T]) do(ctx context.Context, within time.Duration, work func(context.Context) T) (T, error) {
	result := s.group.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
		defer cancel()
		return work(ctx), nil
	})
	select {
	case r := <-result:
		return r.Val.(T), nil
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}
