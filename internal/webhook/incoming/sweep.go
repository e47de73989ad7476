package incoming

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aditdev/adit/internal/store"
)

// Retention is what is kept of requests that are done. What waits is never removed.
type Retention struct {
	Age      time.Duration
	Bytes    int64
	Requests int64
}

// DefaultRetention holds until somebody sets another.
var DefaultRetention = Retention{Age: 7 * 24 * time.Hour, Bytes: 256 << 20, Requests: 100_000}

const (
	sweepEvery  = time.Minute
	sweepAtOnce = 500 // in a transaction, so that nobody waits for long
)

func (h *Hooks) sweepNowAndThen(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if err := h.Sweep(ctx, h.Retention(ctx)); err != nil && ctx.Err() == nil {
			h.Log.Error("requests of hooks not swept", "cause", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Sweep removes what is too old, and the oldest that is done where there is too much.
func (h *Hooks) Sweep(ctx context.Context, keep Retention) error {
	now := h.Now()
	err := errors.Join(
		h.inSteps(ctx, func(q *store.Queries) (int64, error) {
			return q.SweepHookRequests(ctx, store.SweepHookRequestsParams{Before: store.Millis(now.Add(-keep.Age)), AtMost: sweepAtOnce})
		}),
		h.inSteps(ctx, func(q *store.Queries) (int64, error) {
			return q.SweepHookSeen(ctx, store.SweepHookSeenParams{Before: store.Millis(now), AtMost: sweepAtOnce})
		}),
		h.Store.WriteTogether(ctx, func(q *store.Queries) error { return q.SweepHookSourceSecrets(ctx, new(store.Millis(now))) }))
	for err == nil && ctx.Err() == nil {
		f, err := h.Store.Read().HookRequestFigures(ctx)
		if err != nil {
			return fmt.Errorf("count requests: %w", err)
		}
		h.full.Store(f.Waiting >= maxQueued)
		surplus := f.Count - f.Waiting - keep.Requests
		if f.Bytes > keep.Bytes && f.Count > f.Waiting {
			surplus = max(surplus, 1+(f.Count-f.Waiting)*(f.Bytes-keep.Bytes)/f.Bytes)
		}
		if surplus <= 0 {
			return nil
		}
		left := surplus
		if err := h.inSteps(ctx, func(q *store.Queries) (int64, error) {
			n, err := q.DropOldestHookRequests(ctx, min(left, sweepAtOnce))
			left -= n
			if left <= 0 {
				return 0, err
			}
			return n, err
		}); err != nil {
			return err
		}
	}
	return err
}

// inSteps repeats a removal while it is as large as a step may be.
func (h *Hooks) inSteps(ctx context.Context, remove func(*store.Queries) (int64, error)) error {
	for n := int64(sweepAtOnce); n == sweepAtOnce && ctx.Err() == nil; {
		err := h.Store.WriteTogether(ctx, func(q *store.Queries) (err error) {
			n, err = remove(q)
			return err
		})
		if err != nil {
			return fmt.Errorf("sweep hooks: %w", err)
		}
	}
	return nil
}
