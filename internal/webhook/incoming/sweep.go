package incoming

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/store"
)

const (
	sweepEvery  = time.Minute
	sweepAtOnce = 500 // in a transaction, so that nobody waits for long
)

func (h *Hooks) sweepNowAndThen(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if err := h.Sweep(ctx); err != nil && ctx.Err() == nil {
			h.Log.Error("requests of hooks not swept", "cause", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-h.count:
		}
	}
}

// countAgain is how many bytes may come before the next sweep is early.
const countAgain = maxQueuedBytes / 8

// grown notes that so many bytes were kept, and has a sweep come at once where they are many: the door is to close before the disk is full.
func (h *Hooks) grown(bytes int64) {
	if h.came.Add(bytes) < countAgain {
		return
	}
	h.came.Store(0)
	select {
	case h.count <- struct{}{}:
	default:
	}
}

// Sweep removes of what is done all that is too old, and the oldest where there is too much. What waits is never removed.
func (h *Hooks) Sweep(ctx context.Context) error {
	now := h.Now()
	if err := h.hasten(ctx, now); err != nil {
		return err
	}
	keep, err := h.Events.Retention(ctx)
	if err != nil {
		return err
	}
	err = errors.Join(h.sweepOld(ctx, now, now.Add(-time.Duration(keep.RequestsDays)*24*time.Hour)),
		h.inSteps(ctx, func(q *store.Queries) (int64, error) {
			return q.SweepHookSeen(ctx, store.SweepHookSeenParams{Before: store.Millis(now), AtMost: sweepAtOnce})
		}),
		h.Store.WriteTogether(ctx, func(q *store.Queries) error { return q.SweepHookSourceSecrets(ctx, new(store.Millis(now))) }))
	for err == nil && ctx.Err() == nil {
		var left int64
		if left, err = h.surplus(ctx, keep); left <= 0 {
			break
		}
		err = h.inSteps(ctx, func(q *store.Queries) (int64, error) {
			n, err := q.DropOldestHookRequests(ctx, min(left, sweepAtOnce))
			left -= n
			if left <= 0 {
				return 0, err
			}
			return n, err
		})
	}
	return err
}

// hasten makes due what waits for a time that is out of reach: the clock was ahead when it was put off.
func (h *Hooks) hasten(ctx context.Context, now time.Time) error {
	defer h.rouse()
	return h.inSteps(ctx, func(q *store.Queries) (int64, error) {
		return q.HastenHookRequests(ctx, store.HastenHookRequestsParams{Now: store.Millis(now), LeaseUntil: store.Millis(now.Add(lease)),
			Latest: store.Millis(now.Add(absentAgain + sweepEvery)), AtMost: sweepAtOnce})
	})
}

func (h *Hooks) sweepOld(ctx context.Context, now, before time.Time) error {
	last, err := h.Store.Read().LastHookRequestBefore(ctx, store.Millis(before))
	if err != nil || last == 0 {
		return err
	}
	return h.inSteps(ctx, func(q *store.Queries) (int64, error) {
		return q.SweepHookRequests(ctx, store.SweepHookRequestsParams{Last: last, Before: store.Millis(before), Now: store.Millis(now), AtMost: sweepAtOnce})
	})
}

// surplus is how many requests that are done are too many, as far as can be told without reading them all. It also notes whether too many wait.
func (h *Hooks) surplus(ctx context.Context, keep events.Retention) (int64, error) {
	f, err := h.Store.Read().HookRequestFigures(ctx)
	if err != nil {
		return 0, fmt.Errorf("count requests: %w", err)
	}
	h.full.Store(f.Waiting >= maxQueued || f.WaitingBytes >= maxQueuedBytes)
	done := f.Count - f.Waiting
	surplus := done - keep.MaxMessages
	if f.Bytes > keep.MaxBytes && done > 0 {
		surplus = max(surplus, 1+done*(f.Bytes-keep.MaxBytes)/f.Bytes)
	}
	return surplus, nil
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
