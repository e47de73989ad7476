package outgoing

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/store"
)

// Filter chooses deliveries. Zero values choose all.
type Filter struct {
	Endpoint, State, Type, Device string // Endpoint by id or name, Type with a trailing * for the rest, Device by id
	Since, Until                  time.Time
}

// resolved is a filter as queries take it.
type resolved struct {
	endpoint, state, device string
	typeFrom, typeTo        string
	kinds                   []string // the types between, where they have an index
	since, until            int64
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
		r.typeFrom, r.typeTo, r.kinds = prefix, prefix+"\U0010ffff", kindsOf(prefix)
	} else if f.Type != "" {
		r.typeFrom, r.typeTo = f.Type, f.Type+"\x00"
		if f.Type != TypeMQTT {
			r.kinds = []string{f.Type}
		}
	}
	if !f.Since.IsZero() {
		r.since = store.Millis(f.Since)
	}
	if !f.Until.IsZero() {
		r.until = store.Millis(f.Until)
	}
	return r, nil
}

// kindsOf gives the types that begin with something; hubs deliver no others. There are none where MQTT messages are among them: they have no
// index, which would cost each, and are many.
func kindsOf(prefix string) (kinds []string) {
	if strings.HasPrefix(TypeMQTT, prefix) {
		return nil
	}
	for _, t := range events.Types() {
		if strings.HasPrefix(t.Name, prefix) {
			kinds = append(kinds, t.Name)
		}
	}
	return kinds
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
	q, w := o.Store.Read(), store.Window{Before: before, Since: r.since, Until: r.until, AtMost: int64(limit) + 1}
	if err := narrow(ctx, q, &w); err != nil {
		return nil, 0, fmt.Errorf("list deliveries: %w", err)
	}
	rows, err := rowsOf(ctx, q, r, w)
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

// rowsOf asks the query that has an index for what the filter names; where it names several things, for what is the rarest as a rule.
func rowsOf(ctx context.Context, q *store.Queries, r resolved, w store.Window) ([]store.GetHookDeliveryRow, error) {
	all := store.ListEndedHookDeliveriesParams{After: w.After, Before: w.Before, EndpointID: r.endpoint, State: r.state, TypeFrom: r.typeFrom,
		TypeTo: r.typeTo, DeviceID: &r.device, Since: w.Since, Until: w.Until, AtMost: w.AtMost}
	open := store.ListWaitingHookDeliveriesParams{After: w.After, Before: w.Before, EndpointID: r.endpoint, TypeFrom: r.typeFrom,
		TypeTo: r.typeTo, DeviceID: &r.device, Since: w.Since, Until: w.Until, AtMost: w.AtMost}
	switch {
	case r.state == StateWaiting:
		rows, err := q.ListWaitingHookDeliveries(ctx, open)
		return store.Each(rows, err, func(row store.ListWaitingHookDeliveriesRow) store.GetHookDeliveryRow {
			return store.GetHookDeliveryRow(row)
		})
	case r.state == StateSending:
		rows, err := q.ListSendingHookDeliveries(ctx, store.ListSendingHookDeliveriesParams(open))
		return store.Each(rows, err, func(row store.ListSendingHookDeliveriesRow) store.GetHookDeliveryRow {
			return store.GetHookDeliveryRow(row)
		})
	case r.device != "" && (r.state == "" || r.state == StateDelivered):
		rows, err := q.ListHookDeliveriesOfDevice(ctx, store.ListHookDeliveriesOfDeviceParams(all))
		return store.Each(rows, err, func(row store.ListHookDeliveriesOfDeviceRow) store.GetHookDeliveryRow {
			return store.GetHookDeliveryRow(row)
		})
	case len(r.kinds) > 0 && (r.state == "" || r.state == StateDelivered):
		return rowsOfTypes(ctx, q, r, w)
	case r.state != "":
		rows, err := q.ListEndedHookDeliveries(ctx, all)
		return store.Each(rows, err, func(row store.ListEndedHookDeliveriesRow) store.GetHookDeliveryRow {
			return store.GetHookDeliveryRow(row)
		})
	case r.endpoint != "":
		rows, err := q.ListHookDeliveriesOf(ctx, store.ListHookDeliveriesOfParams{After: w.After, Before: w.Before, EndpointID: r.endpoint,
			TypeFrom: r.typeFrom, TypeTo: r.typeTo, Since: w.Since, Until: w.Until, AtMost: w.AtMost})
		return store.Each(rows, err, func(row store.ListHookDeliveriesOfRow) store.GetHookDeliveryRow { return store.GetHookDeliveryRow(row) })
	}
	rows, err := q.ListHookDeliveries(ctx, store.ListHookDeliveriesParams{After: w.After, Before: w.Before, TypeFrom: r.typeFrom, TypeTo: r.typeTo,
		Since: w.Since, Until: w.Until, AtMost: w.AtMost})
	return store.Each(rows, err, func(row store.ListHookDeliveriesRow) store.GetHookDeliveryRow { return store.GetHookDeliveryRow(row) })
}

// rowsOfTypes merges what there is of each type.
func rowsOfTypes(ctx context.Context, q *store.Queries, r resolved, w store.Window) (list []store.GetHookDeliveryRow, err error) {
	for _, kind := range r.kinds {
		rows, err := q.ListHookDeliveriesOfType(ctx, store.ListHookDeliveriesOfTypeParams{After: w.After, Before: w.Before, EndpointID: r.endpoint,
			State: r.state, Type: kind, Since: w.Since, Until: w.Until, AtMost: w.AtMost})
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			list = append(list, store.GetHookDeliveryRow(row))
		}
	}
	slices.SortFunc(list, func(a, b store.GetHookDeliveryRow) int {
		return cmp.Compare(b.HookDelivery.Position, a.HookDelivery.Position)
	})
	return list[:min(int64(len(list)), w.AtMost)], nil
}

// narrow bounds the positions by the times.
func narrow(ctx context.Context, q *store.Queries, w *store.Window) error {
	ends, err := q.HookPositions(ctx)
	if err != nil {
		return err
	}
	return w.Narrow(ends.FirstPosition, ends.LastPosition, func(position int64) (int64, error) { return q.HookDeliveryTime(ctx, position) })
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
