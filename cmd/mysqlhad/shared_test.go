package main

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Many who ask at once have the work done once; one who goes away takes it from nobody.
func TestWorkIsSharedByAllWhoAskForItMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s shared[int64]
		var runs atomic.Int64
		work := func(ctx context.Context) int64 {
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				t.Error("the work ended with one who asked for it")
			}
			return runs.Add(1)
		}
		impatient, leave := context.WithTimeout(t.Context(), time.Millisecond)
		defer leave()
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := s.do(impatient, time.Minute, work); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("who went away was told %v", err)
			}
		})
		synctest.Wait() // He is the first.
		for range 20 {
			all.Go(func() {
				if n, err := s.do(t.Context(), time.Minute, work); n != 1 || err != nil {
					t.Errorf("%d, %v", n, err)
				}
			})
		}
		all.Wait()
		if n, err := s.do(t.Context(), time.Minute, work); n != 2 || err != nil {
			t.Errorf("who asks later gets what was found before: %d, %v", n, err)
		}
	})
}
