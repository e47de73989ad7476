// Package events is the log of what happened and its live stream. The log in the database is the bus: whoever listens
// is woken by a commit, of this process or another, and reads on from where they were. So nobody misses an event,
// however slow, and nothing is queued for them. Events are a chain of hashes, so that it shows when one was changed, removed
// or put in behind the hub's back.
package events

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/store"
)

// Data is an event's own members. Text in it that a stranger gave must be printable (wire.Printable).
type Data map[string]any

// Event is one thing that happened. Device and User are ids, empty where it concerns none.
type Event struct {
	ID           int64
	Type         string
	At           time.Time
	Device, User string
	Data         Data
}

// Log appends and streams events. It is safe for concurrent use.
type Log struct {
	store *store.Store
	now   func() time.Time

	mu   sync.Mutex
	last int64
	wake chan struct{} // closed when last rises
}

// New makes a Log. Run must run for streams to move.
func New(st *store.Store, now func() time.Time) *Log {
	return &Log{store: st, now: now, wake: make(chan struct{})}
}

// Run wakes the streams until ctx ends.
func (l *Log) Run(ctx context.Context) error {
	return l.store.Follow(ctx, func(ctx context.Context) error {
		last, err := l.store.Read().LastEventID(ctx)
		if err != nil {
			return fmt.Errorf("follow events: %w", err)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if last > l.last {
			l.last = last
			close(l.wake)
			l.wake = make(chan struct{})
		}
		return nil
	})
}

// Append writes an event on its own. Where it belongs to another change, use Write in that change's transaction.
func (l *Log) Append(ctx context.Context, e Event) error {
	return l.store.Write(ctx, func(q *store.Queries) error { return l.Write(ctx, q, e) })
}

// Write writes an event in a transaction under way. The ID is the log's to set, and At where it is zero.
func (l *Log) Write(ctx context.Context, q *store.Queries, e Event) error {
	data, err := json.Marshal(e.Data)
	if err != nil {
		return fmt.Errorf("write event: %w", err)
	}
	if e.Data == nil {
		data = []byte("{}")
	}
	if e.At.IsZero() {
		e.At = l.now()
	}
	row := store.Event{Type: e.Type, At: store.Millis(e.At), DeviceID: orNil(e.Device), UserID: orNil(e.User), Data: string(data)}
	if err := link(ctx, q, row); err != nil {
		return fmt.Errorf("write event: %w", err)
	}
	return nil
}

func orNil(id string) *string {
	if id == "" {
		return nil
	}
	return &id
}

// page is how many events a stream reads at once.
const page = 200

// Last is the id of the newest event.
func (l *Log) Last(ctx context.Context) (int64, error) { return l.store.Read().LastEventID(ctx) }

// Stream yields the events after the id, first those of the past, then each as it happens, until ctx ends or reading
// fails.
func (l *Log) Stream(ctx context.Context, after int64) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for {
			wake := l.next()
			rows, err := l.store.Read().EventsAfter(ctx, store.EventsAfterParams{After: after, AtMost: page})
			if err != nil && ctx.Err() == nil {
				yield(Event{}, fmt.Errorf("read events: %w", err))
			}
			if err != nil {
				return
			}
			for _, row := range rows {
				after = row.ID
				if !yield(event(row), nil) {
					return
				}
			}
			if len(rows) == page {
				continue
			}
			select {
			case <-wake:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (l *Log) next() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wake
}

func event(row store.Event) Event {
	e := bare(row)
	if json.Unmarshal([]byte(row.Data), &e.Data) != nil || e.Data == nil {
		e.Data = Data{}
	}
	return e
}

// bare is an event without its data.
func bare(row store.Event) Event {
	e := Event{ID: row.ID, Type: row.Type, At: store.Time(row.At)}
	if row.DeviceID != nil {
		e.Device = *row.DeviceID
	}
	if row.UserID != nil {
		e.User = *row.UserID
	}
	return e
}
