package incoming

import (
	"context"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// Figures are what a source counts since the hub began.
type Figures struct {
	Refused       int64
	LastRefused   string
	LastRefusedAt *time.Time
}

// tally is what is counted of a source in memory; snapshots hand it on.
type tally struct {
	mu sync.Mutex
	Figures
	told, untold int64 // when hook.refused was written last, in milliseconds, and how many were refused since
}

func (h *Hooks) figures(id string) Figures {
	s := h.source(id)
	if s == nil {
		return Figures{}
	}
	s.tally.mu.Lock()
	defer s.tally.mu.Unlock()
	return s.tally.Figures
}

// tellEvery is how often refused requests of one source are worth an event, in milliseconds.
const tellEvery = 60_000

// refused counts a request that was not accepted, and says so now and then.
func (h *Hooks) refused(ctx context.Context, s *source, cause error) {
	now, reason := h.Now(), wire.Printable(wire.MessageOf(cause), 300)
	t := s.tally
	t.mu.Lock()
	t.Refused++
	t.LastRefused, t.LastRefusedAt = reason, &now
	t.untold++
	count := t.untold
	tell := store.Millis(now)-t.told >= tellEvery
	if tell {
		t.told, t.untold = store.Millis(now), 0
	}
	t.mu.Unlock()
	if !tell {
		return
	}
	err := h.Store.WriteTogether(ctx, func(q *store.Queries) error {
		return h.Events.Write(ctx, q, events.Event{Type: events.HookRefused, Data: events.Data{"source": s.ID, "reason": reason, "count": count}})
	})
	if err != nil {
		h.Log.Debug("refused request not told", "source", s.ID, "cause", err)
	}
}
