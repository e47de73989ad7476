package outgoing

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/aditdev/adit/internal/store"
)

// Filter chooses deliveries. Zero values choose all.
type Filter struct {
	Endpoint, State, Type, Device string // Endpoint by id or name, Type with a trailing * for the rest, Device by id
	Since, Until                  time.Time
}

// resolved is a filter as queries take it.
type resolved struct {
	endpoint, state, typeFrom, typeTo, device string
	since, until                              int64
}

func (o *Outbox) resolve(ctx context.Context, f Filter) (r resolved, err error) {
	r = resolved{state: f.State, device: f.Device, until: math.MaxInt64}
	if f.Endpoint != "" {
		e, err := o.Store.Read().FindHookEndpoint(ctx, f.Endpoint)
		if errors.Is(err, store.ErrNotFound) {
			return r, noEndpoint(f.Endpoint)
		}
		if err != nil {
			return r, fmt.Errorf("find endpoint: %w", err)
		}
		r.endpoint = e.HookEndpoint.ID
	}
	if prefix, any := strings.CutSuffix(f.Type, "*"); any {
		r.typeFrom, r.typeTo = prefix, prefix+"\U0010ffff"
	} else {
		r.typeFrom, r.typeTo = f.Type, f.Type+"\x00"
	}
	if !f.Since.IsZero() {
		r.since = store.Millis(f.Since)
	}
	if !f.Until.IsZero() {
		r.until = store.Millis(f.Until)
	}
	return r, nil
}

// Deliveries lists those before a position, the newest first; next is where the following page begins, 0 for nowhere.
func (o *Outbox) Deliveries(ctx context.Context, f Filter, before int64, limit int) (list []Delivery, next int64, err error) {
	r, err := o.resolve(ctx, f)
	if err != nil {
		return nil, 0, err
	}
	if before == 0 {
		before = math.MaxInt64
	}
	rows, err := rowsOf(ctx, o.Store.Read(), r, before, int64(limit)+1)
	if err != nil {
		return nil, 0, fmt.Errorf("list deliveries: %w", err)
	}
	for _, row := range rows[:min(len(rows), limit)] {
		list = append(list, o.delivery(row))
	}
	if len(rows) > limit {
		next = list[limit-1].Position
	}
	return list, next, nil
}

// rowsOf asks the query that has an index for what the filter names.
func rowsOf(ctx context.Context, q *store.Queries, r resolved, before, atMost int64) ([]store.GetHookDeliveryRow, error) {
	p := store.ListHookDeliveriesOfParams{Before: before, EndpointID: r.endpoint, TypeFrom: r.typeFrom, TypeTo: r.typeTo, DeviceID: &r.device,
		Since: r.since, Until: r.until, AtMost: atMost}
	switch {
	case r.state == StateWaiting:
		rows, err := q.ListWaitingHookDeliveries(ctx, store.ListWaitingHookDeliveriesParams(p))
		return store.Each(rows, err, func(row store.ListWaitingHookDeliveriesRow) store.GetHookDeliveryRow {
			return store.GetHookDeliveryRow(row)
		})
	case r.state == StateSending:
		rows, err := q.ListSendingHookDeliveries(ctx, store.ListSendingHookDeliveriesParams(p))
		return store.Each(rows, err, func(row store.ListSendingHookDeliveriesRow) store.GetHookDeliveryRow {
			return store.GetHookDeliveryRow(row)
		})
	case r.state != "":
		rows, err := q.ListEndedHookDeliveries(ctx, store.ListEndedHookDeliveriesParams{State: r.state, Before: before, EndpointID: r.endpoint,
			TypeFrom: r.typeFrom, TypeTo: r.typeTo, DeviceID: &r.device, Since: r.since, Until: r.until, AtMost: atMost})
		return store.Each(rows, err, func(row store.ListEndedHookDeliveriesRow) store.GetHookDeliveryRow {
			return store.GetHookDeliveryRow(row)
		})
	case r.endpoint != "":
		rows, err := q.ListHookDeliveriesOf(ctx, p)
		return store.Each(rows, err, func(row store.ListHookDeliveriesOfRow) store.GetHookDeliveryRow { return store.GetHookDeliveryRow(row) })
	}
	rows, err := q.ListHookDeliveries(ctx, store.ListHookDeliveriesParams{Before: before, TypeFrom: r.typeFrom, TypeTo: r.typeTo, DeviceID: &r.device,
		Since: r.since, Until: r.until, AtMost: atMost})
	return store.Each(rows, err, func(row store.ListHookDeliveriesRow) store.GetHookDeliveryRow { return store.GetHookDeliveryRow(row) })
}

// toReplay gives the next of those that a replay takes.
func toReplay(ctx context.Context, q *store.Queries, r resolved, after, upTo int64) (rows []store.HookDeliveriesToReplayRow, err error) {
	if r.state == "" {
		rows, err = q.HookDeliveriesToReplay(ctx, store.HookDeliveriesToReplayParams{After: after, UpTo: upTo, EndpointID: r.endpoint,
			TypeFrom: r.typeFrom, TypeTo: r.typeTo, DeviceID: &r.device, Since: r.since, Until: r.until, AtMost: replayStep})
	} else {
		in, failed := q.HookDeliveriesToReplayIn(ctx, store.HookDeliveriesToReplayInParams{After: after, UpTo: upTo, State: r.state, EndpointID: r.endpoint,
			TypeFrom: r.typeFrom, TypeTo: r.typeTo, DeviceID: &r.device, Since: r.since, Until: r.until, AtMost: replayStep})
		rows, err = store.Each(in, failed, func(row store.HookDeliveriesToReplayInRow) store.HookDeliveriesToReplayRow {
			return store.HookDeliveriesToReplayRow(row)
		})
	}
	if err != nil {
		return nil, fmt.Errorf("replay deliveries: %w", err)
	}
	return rows, nil
}
