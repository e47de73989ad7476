package outgoing

import (
	"context"
	"fmt"
	"time"

	"github.com/aditdev/adit/internal/store"
)

// Stats are figures for /metrics; counters run from the hub's start.
type Stats struct {
	Waiting, Dead                      int64
	Oldest                             time.Duration    // age of the oldest delivery that is not finished
	Breakers                           map[string]int64 // endpoints by the state of their breaker, or disabled, or paused
	Delivered, Failed, GaveUp, Refused int64
}

// Stats reads them.
func (o *Outbox) Stats(ctx context.Context) (s Stats, err error) {
	s = Stats{Breakers: map[string]int64{BreakerClosed: 0, BreakerOpen: 0, BreakerHalfOpen: 0, StatePaused: 0, StateDisabled: 0},
		Delivered: o.counts.delivered.Load(), Failed: o.counts.failed.Load(), GaveUp: o.counts.dead.Load(), Refused: o.counts.refused.Load()}
	all, err := o.Store.Read().HookHealths(ctx)
	if err != nil {
		return s, fmt.Errorf("read figures: %w", err)
	}
	t := o.table.Load()
	for _, h := range all {
		e := t.endpoints[h.EndpointID]
		if e == nil {
			continue
		}
		s.Waiting, s.Dead = s.Waiting+h.Waiting, s.Dead+h.Dead
		if e.row.State == StateActive {
			s.Breakers[h.Breaker]++
		} else {
			s.Breakers[e.row.State]++
		}
	}
	oldest, err := o.Store.Read().OldestOpenHook(ctx)
	if oldest > 0 {
		s.Oldest = max(0, o.Now().Sub(store.Time(oldest)))
	}
	return s, err
}
