package outgoing

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// Delivery is one as people see it.
type Delivery struct {
	store.HookDelivery
	EndpointName string
	HeldBy       string // breaker, order, paused, disabled, rate; empty where it is not due, or under way
}

func (o *Outbox) delivery(row store.GetHookDeliveryRow) Delivery {
	d := Delivery{HookDelivery: row.HookDelivery, EndpointName: row.EndpointName}
	switch {
	case d.State == stateBehind:
		d.State, d.HeldBy = StateWaiting, "order"
	case d.State != StateWaiting || d.NextAt > o.millis():
	case row.EndpointState == StateDisabled:
		d.HeldBy = "disabled"
	case row.EndpointState != StateActive:
		d.HeldBy = "paused"
	case row.Breaker != BreakerClosed:
		d.HeldBy = "breaker"
	case o.millis()-d.NextAt > 1000: // it takes a moment to begin
		d.HeldBy = "rate"
	}
	return d
}

// Delivery finds one. Errors: not_found.
func (o *Outbox) Delivery(ctx context.Context, id string) (Delivery, error) {
	row, err := o.Store.Read().GetHookDelivery(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return Delivery{}, wire.Errorf(wire.NotFound, "There is no such delivery any more.")
	}
	if err != nil {
		return Delivery{}, fmt.Errorf("find delivery: %w", err)
	}
	return o.delivery(row), nil
}

// Attempts gives a delivery's attempts, each with its body, and the endpoint's last one that arrived; nil where there is none.
func (o *Outbox) Attempts(ctx context.Context, d Delivery) (list []store.HookAttempt, success *store.HookAttempt, err error) {
	if list, err = o.attemptsOf(ctx, d.ID); err != nil {
		return nil, nil, err
	}
	id, err := o.Store.Read().LastDeliveredHook(ctx, d.EndpointID)
	if errors.Is(err, store.ErrNotFound) {
		return list, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("find last success: %w", err)
	}
	last, err := o.attemptsOf(ctx, id)
	if err != nil || len(last) == 0 {
		return list, nil, err
	}
	return list, &last[len(last)-1], nil
}

func (o *Outbox) attemptsOf(ctx context.Context, delivery string) ([]store.HookAttempt, error) {
	list, err := o.Store.Read().HookAttempts(ctx, delivery)
	if err != nil {
		return nil, fmt.Errorf("list attempts: %w", err)
	}
	bodies := map[int64][]byte{}
	for i, a := range list {
		if a.BodyOf == a.Number {
			bodies[a.Number] = a.RequestBody
		}
		list[i].RequestBody = bodies[a.BodyOf]
	}
	return list, nil
}

// TryNow makes the next attempt of a delivery that waits due, before the others of its endpoint, and takes it as the one that an open breaker
// lets through. Errors: not_found; conflict where it does not wait, waits behind another of its device, or its endpoint is not active.
func (o *Outbox) TryNow(ctx context.Context, id string) (Delivery, error) {
	d, err := o.Delivery(ctx, id)
	if err != nil {
		return d, err
	}
	err = o.Store.WriteTogether(ctx, func(q *store.Queries) error { return o.tryNow(ctx, q, id) })
	if err != nil {
		return d, err
	}
	o.poke(map[string]int{d.EndpointID: 1})
	return o.Delivery(ctx, id)
}

func (o *Outbox) tryNow(ctx context.Context, q *store.Queries, id string) error {
	row, err := q.GetHookDelivery(ctx, id)
	if err != nil {
		return fmt.Errorf("try delivery: %w", err)
	}
	switch d := row.HookDelivery; {
	case d.State == stateBehind:
		return wire.Errorf(wire.Conflict, "This delivery waits for an earlier one of its device: try that one, or cancel it.")
	case d.State == StateSending:
		return wire.Errorf(wire.Conflict, "This delivery is being sent just now.")
	case d.State != StateWaiting:
		return wire.Errorf(wire.Conflict, "This delivery is finished: to send it again, replay it.")
	case row.EndpointState != StateActive:
		return wire.Errorf(wire.Conflict, "The endpoint is %s: set it active first.", row.EndpointState)
	}
	now := o.millis()
	err = q.TryHookDelivery(ctx, store.TryHookDeliveryParams{ID: id, EndpointID: row.HookDelivery.EndpointID, Now: now})
	if err != nil {
		return fmt.Errorf("try delivery: %w", err)
	}
	if row.Breaker != BreakerOpen { // half-open: one is on its way, and what becomes of it counts
		return nil
	}
	return q.ProbeHookEndpoint(ctx, store.ProbeHookEndpointParams{EndpointID: row.HookDelivery.EndpointID, Now: now})
}

// Cancel gives up a delivery that waits; in order, what is behind it goes on. Errors: not_found, conflict.
func (o *Outbox) Cancel(ctx context.Context, id string) (Delivery, error) {
	d, err := o.Delivery(ctx, id)
	if err != nil {
		return d, err
	}
	err = o.Store.WriteTogether(ctx, func(q *store.Queries) error { return o.end(ctx, q, d.HookDelivery, stateCancelled, "") })
	if err != nil {
		return d, err
	}
	o.poke(map[string]int{d.EndpointID: 1})
	return o.Delivery(ctx, id)
}

// end finishes a delivery without an attempt.
func (o *Outbox) end(ctx context.Context, q *store.Queries, d store.HookDelivery, state, reason string) error {
	if reason == "" {
		reason = d.LastError
	}
	at := o.millis()
	bytes, err := q.EndHookDelivery(ctx, store.EndHookDeliveryParams{ID: d.ID, State: state, LastError: reason, FinishedAt: at})
	if errors.Is(err, store.ErrNotFound) {
		return wire.Errorf(wire.Conflict, "This delivery does not wait: it is being sent, or finished.")
	}
	if err != nil {
		return fmt.Errorf("end delivery: %w", err)
	}
	row, err := q.HookEndpointState(ctx, d.EndpointID)
	if err != nil {
		return fmt.Errorf("end delivery: %w", err)
	}
	h := health{row.HookEndpointHealth}
	h.finished(state, bytes, bytes) // d was read before, and an attempt may have ended since
	return errors.Join(q.PutHookHealth(ctx, h.params()), o.promote(ctx, q, d, true), o.tellDead(ctx, q, d, state, reason))
}

// Test delivers a message of type hook.test, past filters and order. Errors: not_found, conflict where the endpoint is not active.
func (o *Outbox) Test(ctx context.Context, by *auth.Principal, ref string) (Delivery, error) {
	e, err := o.Find(ctx, ref)
	if err != nil {
		return Delivery{}, err
	}
	if e.State != StateActive {
		return Delivery{}, wire.Errorf(wire.Conflict, "The endpoint is %s: set it active first.", e.State)
	}
	var ids map[string]string
	err = o.Store.WriteTogether(ctx, func(q *store.Queries) (err error) {
		ids, err = o.enqueue(ctx, q, ofTest(e.ID, by.User.Handle, o.Now()), []*endpoint{{row: e.HookEndpoint}})
		return err
	})
	if err != nil {
		return Delivery{}, err
	}
	o.poke(map[string]int{e.ID: 1})
	return o.Delivery(ctx, ids[e.ID])
}

// Replay delivers a finished delivery's message again, as a new delivery. Errors: not_found, conflict.
func (o *Outbox) Replay(ctx context.Context, id string) (Delivery, error) {
	d, err := o.Delivery(ctx, id)
	if err != nil {
		return d, err
	}
	if d.FinishedAt == nil {
		return d, wire.Errorf(wire.Conflict, "This delivery is not finished: it is tried again by itself. To send it at once, try it now.")
	}
	var made string
	err = o.Store.WriteTogether(ctx, func(q *store.Queries) (err error) {
		made, err = o.again(ctx, q, d.ID, math.MaxInt64)
		return err
	})
	if err != nil {
		return d, err
	}
	if made == "" {
		return d, wire.Errorf(wire.Conflict, "Its message waits for the endpoint already, the endpoint's queue is full, or it is not there any more.")
	}
	o.poke(map[string]int{d.EndpointID: 1})
	return o.Delivery(ctx, made)
}

// again queues a delivery anew, in a transaction under way; "" where there is no endpoint or no room, and where its message waits for the endpoint or
// was queued for it behind a position: another replay that runs at the same time did that.
func (o *Outbox) again(ctx context.Context, q *store.Queries, id string, after int64) (string, error) {
	row, err := q.GetHookDelivery(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("replay delivery: %w", err)
	}
	d := row.HookDelivery
	queued, err := q.HookQueuedAgain(ctx, store.HookQueuedAgainParams{MessageID: d.MessageID, EndpointID: d.EndpointID, After: after})
	if err != nil {
		return "", fmt.Errorf("replay delivery: %w", err)
	}
	if queued {
		return "", nil
	}
	m, err := q.GetHookMessage(ctx, d.MessageID)
	if err != nil {
		return "", fmt.Errorf("replay delivery: %w", err)
	}
	n := store.AddHookDeliveryParams{MessageID: d.MessageID, EndpointID: d.EndpointID, Type: d.Type, DeviceID: d.DeviceID, Topic: d.Topic, ReplayOf: &d.ID,
		OrderKey: orderKey(row.EndpointMode, d.Type, d.DeviceID), Bytes: sizeOf(m.Payload, m.Details, m.Topic)}
	if !o.room(d.EndpointID, n.Bytes) {
		return "", nil
	}
	return o.add(ctx, q, n)
}

const replayStep = 200

// ReplayAll delivers again what matches and is finished: each message once to each endpoint, but where it waits already, or of dead ones where
// it has arrived since. It gives how many those are; dry counts only.
func (o *Outbox) ReplayAll(ctx context.Context, f Filter, dry bool) (count int64, err error) {
	if f.State == StateWaiting || f.State == StateSending {
		return 0, invalid("state", "What is not finished is delivered by itself: choose delivered, dead or cancelled.")
	}
	r, err := o.resolve(ctx, f)
	if err != nil {
		return 0, err
	}
	last, err := o.Store.Read().LastHookPosition(ctx)
	if err != nil {
		return 0, fmt.Errorf("replay deliveries: %w", err)
	}
	seen := map[[2]string]bool{}
	for after := int64(0); ; {
		rows, err := toReplay(ctx, o.Store.Read(), r, after, last)
		if err != nil {
			return count, err
		}
		n, err := o.replayStep(ctx, rows, last, seen, dry)
		count += n
		if err != nil || len(rows) < replayStep {
			return count, err
		}
		after = rows[len(rows)-1].Position
	}
}

// replayStep replays some that were found when the queue ended at a position.
func (o *Outbox) replayStep(ctx context.Context, rows []store.HookDeliveriesToReplayRow, last int64, seen map[[2]string]bool, dry bool) (count int64, err error) {
	var fresh []store.HookDeliveriesToReplayRow
	for _, row := range rows {
		if pair := [2]string{row.MessageID, row.EndpointID}; !seen[pair] {
			seen[pair] = true
			fresh = append(fresh, row)
		}
	}
	if dry || len(fresh) == 0 {
		return int64(len(fresh)), nil
	}
	added := map[string]int{}
	err = o.Store.WriteQuietly(ctx, func(q *store.Queries) error {
		for _, row := range fresh {
			made, err := o.again(ctx, q, row.ID, last)
			if err != nil {
				return err
			}
			if made != "" {
				added[row.EndpointID]++
				count++
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	o.poke(added)
	return count, nil
}
