package outgoing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/store"
)

const (
	eventsPage   = 200
	eventsAtOnce = 2000 // events that one transaction of the pump reads
	// cursorLag is how many events that nobody wants may lie between where the log was read to and where the database says so.
	cursorLag   = 500
	refuseEvery = time.Minute // of hook.overflow
)

// pump follows the event log until ctx ends: what an endpoint wants is queued in the transaction that moves the cursor, so each event is
// queued once, whoever is killed when.
func (o *Outbox) pump(ctx context.Context) {
	for {
		err := o.followEvents(ctx)
		if ctx.Err() != nil {
			return
		}
		o.Log.Error("webhooks: the event log cannot be followed", "error", err)
		if !pause(ctx, retryWrite) {
			return
		}
	}
}

// queueUnread queues the events that a hub before this one left, ahead of the retention that may remove them.
func (o *Outbox) queueUnread(ctx context.Context) error {
	for more := true; more; {
		err := o.Store.WriteTogether(ctx, func(q *store.Queries) (err error) {
			_, more, err = o.catchUp(ctx, q, eventsAtOnce, map[string]int{})
			return err
		})
		if err != nil {
			return fmt.Errorf("queue events: %w", err)
		}
	}
	return nil
}

func (o *Outbox) followEvents(ctx context.Context) error {
	kept, err := o.advance(ctx)
	if err != nil {
		return err
	}
	done := kept
	for row, err := range o.Events.Stream(ctx, kept) {
		switch {
		case err != nil:
			return err
		case row.ID <= done:
			continue
		}
		wanted, err := o.wanted(ctx, row)
		if err != nil {
			return err
		}
		if !wanted && row.ID-kept < cursorLag {
			done = row.ID
			continue
		}
		if kept, err = o.advance(ctx); err != nil {
			return err
		}
		done = max(done, kept)
	}
	return ctx.Err()
}

func (o *Outbox) wanted(ctx context.Context, e events.Event) (bool, error) {
	to, err := o.table.Load().matchingEvent(ctx, o.Store.Read(), subjectOf(e.Type, e.Device, e.Data))
	return len(to) > 0, err
}

// advance queues what has come, some of it where it is much, and gives the cursor.
func (o *Outbox) advance(ctx context.Context) (cursor int64, err error) {
	var added map[string]int
	err = o.Store.WriteTogether(ctx, func(q *store.Queries) (err error) {
		added = map[string]int{}
		cursor, _, err = o.catchUp(ctx, q, eventsAtOnce, added)
		return err
	})
	o.poke(added)
	return cursor, err
}

// catchUp queues the events behind the cursor in a transaction under way, at most so many, and moves it. more says that there are others, and added
// how many each endpoint got.
// Where nothing was read yet it begins at the end of the log.
func (o *Outbox) catchUp(ctx context.Context, q *store.Queries, atMost int, added map[string]int) (cursor int64, more bool, err error) {
	state, err := q.HookOutgoing(ctx)
	if err != nil {
		return 0, false, fmt.Errorf("read cursor: %w", err)
	}
	last, err := q.LastEventID(ctx)
	if err != nil {
		return 0, false, fmt.Errorf("read events: %w", err)
	}
	if state.EventCursor == nil || *state.EventCursor > last { // a log that is shorter than it was is another one
		return last, false, q.SetHookCursor(ctx, &last)
	}
	t, err := o.tableIn(ctx, q, state.Version)
	if err != nil {
		return 0, false, err
	}
	cursor = *state.EventCursor
	for seen := 0; seen < atMost; {
		rows, err := q.EventsAfter(ctx, store.EventsAfterParams{After: cursor, AtMost: eventsPage})
		if err != nil {
			return 0, false, fmt.Errorf("read events: %w", err)
		}
		for _, row := range rows {
			if err := o.queueEvent(ctx, q, t, row, added); err != nil {
				return 0, false, err
			}
			cursor = row.ID
		}
		if seen += len(rows); len(rows) < eventsPage {
			return cursor, false, q.SetHookCursor(ctx, &cursor)
		}
	}
	return cursor, true, q.SetHookCursor(ctx, &cursor)
}

// queueEvent queues one event. An endpoint whose queue is full does not get it: what happened cannot be refused, so that is counted, and told by an
// event of its own.
func (o *Outbox) queueEvent(ctx context.Context, q *store.Queries, t *table, row store.Event, added map[string]int) error {
	m := ofEvent(row, o.Gate.Policy())
	var data events.Data
	_ = json.Unmarshal([]byte(row.Data), &data)
	wanting, err := t.matchingEvent(ctx, q, subjectOf(row.Type, deref(row.DeviceID), data))
	if err != nil {
		return err
	}
	var to []*endpoint
	for _, e := range wanting {
		if o.room(e.row.ID, sizeOf(m.Payload, m.Details, m.Topic)) {
			to = append(to, e)
		} else if err := o.refuse(ctx, q, e); err != nil {
			return err
		}
	}
	ids, err := o.enqueue(ctx, q, m, to)
	for endpoint := range ids {
		added[endpoint]++
	}
	return err
}

func subjectOf(kind, device string, data events.Data) subject {
	s := subject{kind: kind, device: device}
	if matchType("hook.*", kind) {
		s.endpoint, _ = data["endpoint"].(string)
	}
	if kind == events.DeviceRemoved {
		tags, _ := data["tags"].([]any)
		for _, tag := range tags {
			text, _ := tag.(string)
			s.tags = append(s.tags, text)
		}
	}
	return s
}

func (o *Outbox) refuse(ctx context.Context, q *store.Queries, e *endpoint) error {
	o.counts.refused.Add(1)
	if err := q.AddHookRefused(ctx, e.row.ID); err != nil {
		return fmt.Errorf("count refused event: %w", err)
	}
	now := o.Now()
	count, err := q.TellHookRefused(ctx, store.TellHookRefusedParams{EndpointID: e.row.ID, Now: store.Millis(now), Before: store.Millis(now.Add(-refuseEvery))})
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("tell refused events: %w", err)
	}
	o.Log.Warn("webhooks: the queue of an endpoint is full, and takes no events", "endpoint", e.row.ID, "refused", count)
	return o.Events.Write(ctx, q, events.Event{Type: events.HookOverflow, Data: events.Data{"endpoint": e.row.ID, "refused": count}})
}
