package incoming

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/aditdev/adit/internal/store"
)

// Filter chooses requests; what is zero does not.
type Filter struct {
	Source, State string
	Since, Until  *time.Time
	Before        int64 // the next of the page before
	Limit         int
}

// Requests gives a page of them, the newest first, and what the next begins with; 0 where there is none.
func (h *Hooks) Requests(ctx context.Context, f Filter) (entries []Entry, next int64, err error) {
	w := store.Window{Before: math.MaxInt64, Until: math.MaxInt64, AtMost: int64(f.Limit) + 1}
	if f.Since != nil {
		w.Since = store.Millis(*f.Since)
	}
	if f.Until != nil {
		w.Until = store.Millis(*f.Until)
	}
	if f.Before > 0 {
		w.Before = f.Before
	}
	q, id := h.Store.Read(), ""
	if f.Source != "" {
		s, err := find(ctx, q, f.Source)
		if err != nil {
			return nil, 0, err
		}
		id = s.ID
	}
	if err := narrow(ctx, q, &w); err != nil {
		return nil, 0, fmt.Errorf("list requests: %w", err)
	}
	rows, err := rowsOf(ctx, q, id, f.State, w)
	if err != nil {
		return nil, 0, fmt.Errorf("list requests: %w", err)
	}
	for _, row := range rows[:min(len(rows), f.Limit)] {
		entries = append(entries, h.entry(row))
	}
	if len(rows) > f.Limit {
		next = rows[f.Limit-1].Number
	}
	return entries, next, nil
}

// rowsOf asks the query that has an index for what is named: a source, by its id, a state.
func rowsOf(ctx context.Context, q *store.Queries, source, state string, w store.Window) ([]store.ListHookRequestsRow, error) {
	switch {
	case state == stateWaiting:
		rows, err := q.ListWaitingHookRequests(ctx, store.ListWaitingHookRequestsParams{After: w.After, Before: w.Before, SourceID: source,
			Since: w.Since, Until: w.Until, AtMost: w.AtMost})
		return store.Each(rows, err, func(row store.ListWaitingHookRequestsRow) store.ListHookRequestsRow {
			return store.ListHookRequestsRow(row)
		})
	case state == stateFailed:
		rows, err := q.ListFailedHookRequests(ctx, store.ListFailedHookRequestsParams{After: w.After, Before: w.Before, SourceID: source,
			Since: w.Since, Until: w.Until, AtMost: w.AtMost})
		return store.Each(rows, err, func(row store.ListFailedHookRequestsRow) store.ListHookRequestsRow {
			return store.ListHookRequestsRow(row)
		})
	case source != "":
		rows, err := q.ListHookRequestsOf(ctx, store.ListHookRequestsOfParams{After: w.After, Before: w.Before, SourceID: source, State: state,
			Since: w.Since, Until: w.Until, AtMost: w.AtMost})
		return store.Each(rows, err, func(row store.ListHookRequestsOfRow) store.ListHookRequestsRow { return store.ListHookRequestsRow(row) })
	}
	return q.ListHookRequests(ctx, store.ListHookRequestsParams{After: w.After, Before: w.Before, State: state, Since: w.Since, Until: w.Until,
		AtMost: w.AtMost})
}

// narrow bounds the numbers by the times.
func narrow(ctx context.Context, q *store.Queries, w *store.Window) error {
	ends, err := q.HookRequestNumbers(ctx)
	if err != nil {
		return err
	}
	return w.Narrow(ends.FirstNumber, ends.LastNumber, func(number int64) (int64, error) { return q.HookRequestTime(ctx, number) })
}
