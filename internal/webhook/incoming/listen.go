package incoming

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/store"
)

// crowds are those that listen to sources. The database is their queue: who is slow falls behind, and loses nothing.
type crowds struct {
	mu sync.Mutex
	by map[string]*crowd
}

type crowd struct {
	listeners int
	wake      chan struct{} // closed at the next request
}

// maxListeners bounds who listens to one source.
const maxListeners = 16

func (c *crowds) join(source string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	one := c.by[source]
	if one == nil {
		one = &crowd{wake: make(chan struct{})}
		c.by[source] = one
	}
	if one.listeners >= maxListeners {
		return false
	}
	one.listeners++
	return true
}

func (c *crowds) leave(source string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if one := c.by[source]; one != nil {
		if one.listeners--; one.listeners == 0 {
			delete(c.by, source)
		}
	}
}

func (c *crowds) has(source string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.by[source] != nil
}

// tell says that a source has a new request.
func (c *crowds) tell(source string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if one := c.by[source]; one != nil {
		close(one.wake)
		one.wake = make(chan struct{})
	}
}

func (c *crowds) next(source string) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if one := c.by[source]; one != nil {
		return one.wake
	}
	return nil
}

const (
	listenPage = 64 // requests are looked for at once, and read one by one: their bodies may be large
	listenPoll = time.Second

	// listenMemory is for what listeners have in hand, in bytes: apart from that of the door, which a slow one must not shut. Whoever finds it
	// taken waits, and loses nothing.
	listenMemory = 64 << 20
	// listenCopies of a body are in memory while it is told: itself, and base64 in JSON and in its event.
	listenCopies = 4
)

// Since is the number of the request before those to a source that somebody wants to hear: from a time on, or from the one of an id on.
// Errors: not_found, invalid.
func (h *Hooks) Since(ctx context.Context, ref, from string) (after int64, err error) {
	if at, failed := time.Parse(time.RFC3339, from); failed == nil {
		earlier, _, err := h.Requests(ctx, Filter{Source: ref, Until: &at, Limit: 1})
		if err != nil || len(earlier) == 0 {
			return 0, err
		}
		return earlier[0].Number, nil
	}
	if !strings.HasPrefix(from, "req_") {
		return 0, invalidField("since", "The id of a request, as req_4fzz, or a time, as 2026-01-31T18:00:00Z.")
	}
	s, err := find(ctx, h.Store.Read(), ref)
	if err != nil {
		return 0, err
	}
	row, err := h.row(ctx, from)
	if err == nil && row.SourceID != s.ID {
		err = errNoRequest
	}
	return row.Number - 1, err
}

// Listen yields the requests to a source after the one of that number, in order, as they come, until ctx ends. It begins at from:
// after, or the newest where after is negative or beyond it, as of who knows requests of a hub that was since restored from a backup.
// Errors: not_found, rate_limited.
func (h *Hooks) Listen(ctx context.Context, ref string, after int64) (from int64, requests iter.Seq2[Detail, error], err error) {
	s, err := find(ctx, h.Store.Read(), ref)
	if err != nil {
		return 0, nil, err
	}
	last, err := h.Store.Read().LastHookRequest(ctx, s.ID)
	if err != nil {
		return 0, nil, fmt.Errorf("listen: %w", err)
	}
	if after < 0 || after > last {
		after = last
	}
	if !h.crowds.join(s.ID) {
		return 0, nil, busy(time.Minute, "%d listen to this source already.", maxListeners)
	}
	return after, func(yield func(Detail, error) bool) {
		defer h.crowds.leave(s.ID)
		h.listen(ctx, s.ID, after, yield)
	}, nil
}

func (h *Hooks) listen(ctx context.Context, source string, after int64, yield func(Detail, error) bool) {
	poll := time.NewTicker(listenPoll) // another process may have taken one
	defer poll.Stop()
	for {
		wake := h.crowds.next(source)
		n, ok := h.forward(ctx, source, &after, yield)
		switch {
		case !ok:
			return
		case n == listenPage:
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-poll.C:
		}
	}
}

// forward yields a page; ok is false where that was the end.
func (h *Hooks) forward(ctx context.Context, source string, after *int64, yield func(Detail, error) bool) (n int, ok bool) {
	rows, err := h.Store.Read().HookRequestsAfter(ctx, store.HookRequestsAfterParams{SourceID: source, After: *after, AtMost: listenPage})
	if err != nil {
		if ctx.Err() == nil {
			yield(Detail{}, fmt.Errorf("listen: %w", err))
		}
		return 0, false
	}
	for _, row := range rows {
		*after = row.Number
		if !h.tellOne(ctx, row, yield) {
			return 0, false
		}
	}
	return len(rows), true
}

// tellOne yields a request, in its share of the memory.
func (h *Hooks) tellOne(ctx context.Context, next store.HookRequestsAfterRow, yield func(Detail, error) bool) bool {
	share := min(listenCopies*next.Size, listenMemory)
	if h.listening.Acquire(ctx, share) != nil {
		return false
	}
	defer h.listening.Release(share)
	row, err := h.Store.Read().GetHookRequest(ctx, next.ID)
	switch {
	case errors.Is(err, store.ErrNotFound): // swept since
		return true
	case err != nil:
		if ctx.Err() == nil {
			yield(Detail{}, fmt.Errorf("listen: %w", err))
		}
		return false
	}
	return yield(h.detail(row), nil)
}
