package incoming

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/aditdev/adit/internal/store"
)

// Filter chooses requests; what is zero does not.
type Filter struct {
	Source, State string
	Since, Until  *time.Time
	Before        string // the Next of the page before
	Limit         int
}

// Requests gives a page of them, the newest first, and what the next begins with; "" where there is none.
func (h *Hooks) Requests(ctx context.Context, f Filter) (entries []Entry, next string, err error) {
	p := store.ListHookRequestsOfParams{Before: math.MaxInt64, State: f.State, Until: math.MaxInt64, AtMost: int64(f.Limit) + 1}
	if f.Since != nil {
		p.Since = store.Millis(*f.Since)
	}
	if f.Until != nil {
		p.Until = store.Millis(*f.Until)
	}
	if f.Before != "" {
		if p.Before, err = strconv.ParseInt(f.Before, 10, 64); err != nil || p.Before < 1 {
			return nil, "", invalidField("before", "before is the next of another page.")
		}
	}
	if f.Source != "" {
		s, err := find(ctx, h.Store.Read(), f.Source)
		if err != nil {
			return nil, "", err
		}
		p.SourceID = s.ID
	}
	rows, err := rowsOf(ctx, h.Store.Read(), p)
	if err != nil {
		return nil, "", fmt.Errorf("list requests: %w", err)
	}
	for _, row := range rows[:min(len(rows), f.Limit)] {
		entries = append(entries, h.entry(row))
	}
	if len(rows) > f.Limit {
		next = strconv.FormatInt(rows[f.Limit-1].Number, 10)
	}
	return entries, next, nil
}

// rowsOf asks the query that has an index for what p names.
func rowsOf(ctx context.Context, q *store.Queries, p store.ListHookRequestsOfParams) ([]store.ListHookRequestsRow, error) {
	switch {
	case p.State == stateWaiting:
		rows, err := q.ListWaitingHookRequests(ctx, store.ListWaitingHookRequestsParams{Before: p.Before, SourceID: p.SourceID, Since: p.Since,
			Until: p.Until, AtMost: p.AtMost})
		return store.Each(rows, err, func(row store.ListWaitingHookRequestsRow) store.ListHookRequestsRow {
			return store.ListHookRequestsRow(row)
		})
	case p.State == stateFailed:
		rows, err := q.ListFailedHookRequests(ctx, store.ListFailedHookRequestsParams{Before: p.Before, SourceID: p.SourceID, Since: p.Since,
			Until: p.Until, AtMost: p.AtMost})
		return store.Each(rows, err, func(row store.ListFailedHookRequestsRow) store.ListHookRequestsRow {
			return store.ListHookRequestsRow(row)
		})
	case p.SourceID != "":
		rows, err := q.ListHookRequestsOf(ctx, p)
		return store.Each(rows, err, func(row store.ListHookRequestsOfRow) store.ListHookRequestsRow { return store.ListHookRequestsRow(row) })
	}
	return q.ListHookRequests(ctx, store.ListHookRequestsParams{Before: p.Before, State: p.State, Since: p.Since, Until: p.Until, AtMost: p.AtMost})
}
