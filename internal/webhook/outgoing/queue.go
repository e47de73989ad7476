package outgoing

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// States of a delivery. behind ones wait for another of their key, and are shown as waiting.
const (
	StateWaiting   = "waiting"
	StateSending   = "sending"
	StateDelivered = "delivered"
	stateBehind    = "behind"
	stateDead      = "dead"
	stateCancelled = "cancelled"
)

// States of an endpoint.
const (
	StateActive   = "active"
	StatePaused   = "paused"
	StateDisabled = "disabled"
	stateRemoved  = "removed"
)

// ModeOrdered is an endpoint's that gets what concerns a device in order.
const ModeOrdered = "ordered"

// enqueue adds a message with a delivery to each endpoint, in a transaction under way. It gives the deliveries' ids by endpoint; of an
// endpoint that was removed in the meantime there is none.
func (o *Outbox) enqueue(ctx context.Context, q *store.Queries, m store.AddHookMessageParams, to []*endpoint) (map[string]string, error) {
	if len(to) == 0 {
		return nil, nil
	}
	if err := q.AddHookMessage(ctx, m); err != nil {
		return nil, fmt.Errorf("queue message: %w", err)
	}
	added := map[string]string{}
	for _, e := range to {
		d := store.AddHookDeliveryParams{MessageID: m.ID, EndpointID: e.row.ID, Type: m.Type, DeviceID: m.DeviceID, Topic: m.Topic,
			OrderKey: orderKey(e.row.Mode, m.Type, m.DeviceID), Bytes: sizeOf(m.Payload, m.Details, m.Topic)}
		id, err := o.add(ctx, q, d)
		if err != nil {
			return nil, err
		}
		if id != "" {
			added[e.row.ID] = id
		}
	}
	if len(added) == 0 {
		return nil, q.DropHookMessage(ctx, m.ID)
	}
	return added, nil
}

// orderKey is what a delivery is in order with: all of its device, or of no device; nil where there is no order, as for tests.
func orderKey(mode, kind string, device *string) *string {
	if mode != ModeOrdered || kind == TypeTest {
		return nil
	}
	return new(deref(device))
}

// add adds a delivery that is due now.
func (o *Outbox) add(ctx context.Context, q *store.Queries, d store.AddHookDeliveryParams) (id string, err error) {
	d.ID, d.CreatedAt, d.NextAt = store.NewID("del"), o.millis(), o.millis()
	n, err := q.AddHookDelivery(ctx, d)
	if err == nil && n > 0 {
		err = q.GrowHookQueue(ctx, store.GrowHookQueueParams{EndpointID: d.EndpointID, Bytes: d.Bytes})
	}
	if err != nil {
		return "", fmt.Errorf("queue delivery: %w", err)
	}
	if n == 0 {
		return "", nil
	}
	return d.ID, nil
}

// sizeOf is what a delivery counts as until it was tried, in bytes.
func sizeOf(payload []byte, details, topic string) int64 {
	return int64(len(payload) + len(details) + len(topic) + 256)
}

// job is a delivery that is ours until its lease ends.
type job struct {
	delivery store.HookDelivery
	message  store.HookMessage
	endpoint *endpoint // as the claim's transaction saw it
	token    string
}

// claim takes the next delivery of an endpoint that is due, where one may be tried now; nil: none.
func (o *Outbox) claim(ctx context.Context, q *store.Queries, endpoint string) (*job, error) {
	row, err := q.HookEndpointState(ctx, endpoint)
	if errors.Is(err, store.ErrNotFound) || err == nil && row.State != StateActive {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("claim delivery: %w", err)
	}
	t, err := o.tableIn(ctx, q, row.Version)
	if err != nil {
		return nil, fmt.Errorf("claim delivery: %w", err)
	}
	e, h := t.endpoints[endpoint], health{row.HookEndpointHealth}
	now := o.Now()
	ok, changed := h.try(now, e.timeout())
	if !ok {
		return nil, nil
	}
	j := &job{endpoint: e, token: wire.NewID()}
	until := store.Millis(now.Add(e.timeout() + leaseBeyond))
	j.delivery, err = q.ClaimHookDelivery(ctx, store.ClaimHookDeliveryParams{LeaseOwner: &o.owner, LeaseToken: &j.token, LeaseUntil: &until,
		EndpointID: endpoint, Now: store.Millis(now)})
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("claim delivery: %w", err)
	}
	if changed {
		if err := q.PutHookHealth(ctx, h.params()); err != nil {
			return nil, fmt.Errorf("claim delivery: %w", err)
		}
	}
	j.message, err = q.GetHookMessage(ctx, j.delivery.MessageID)
	return j, err
}

// outcome is what became of an attempt.
type outcome struct {
	verdict verdict
	attempt store.AddHookAttemptParams
	bytes   int64     // of what the attempt keeps
	wish    time.Time // when the receiver wants the next; zero: it said nothing
	counts  bool      // it speaks for or against the receiver
	silent  bool      // it says nothing of the endpoint
	disable string    // why there must be no further attempts to the endpoint
}

type verdict int

const (
	tryAgain verdict = iota
	arrived
	giveUp
	unfinished // the hub stops: as if it had not begun
)

// elsewhere takes from an outcome what it says of an endpoint whose URL is another by now: that one has not said it. So 410 ends neither the endpoint nor the
// delivery, which goes to the new URL next.
func (r *outcome) elsewhere(url string) {
	if r.attempt.URL == url {
		return
	}
	if r.disable != "" {
		r.verdict, r.disable = tryAgain, ""
	}
	r.silent = true
}

// finish writes what became of an attempt, and reports false where the lease was not ours any more. It may change the outcome: see elsewhere.
func (o *Outbox) finish(ctx context.Context, q *store.Queries, j *job, r *outcome) (ours bool, err error) {
	if r.verdict == unfinished {
		n, err := q.ReleaseHookDelivery(ctx, store.ReleaseHookDeliveryParams{ID: j.delivery.ID, LeaseToken: &j.token})
		return n > 0, err
	}
	row, err := q.HookEndpointState(ctx, j.delivery.EndpointID)
	if errors.Is(err, store.ErrNotFound) { // removed, and swept with all that it had
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("finish delivery: %w", err)
	}
	r.elsewhere(row.URL)
	now, d, h := o.Now(), j.delivery, health{row.HookEndpointHealth}
	hopeless := h.judge(now, r)
	f := store.FinishHookDeliveryParams{ID: d.ID, LeaseToken: &j.token, Attempts: r.attempt.Number, State: StateWaiting, LastStatus: r.attempt.Status,
		LastError: r.attempt.Error, TookMs: &r.attempt.TookMs, MoreBytes: r.bytes}
	next, again := nextTry(int(f.Attempts), now, r.wish)
	f.NextAt = store.Millis(next)
	if r.verdict == arrived || r.verdict == giveUp || !again {
		if f.State = stateDead; r.verdict == arrived {
			f.State = StateDelivered
		}
		at := store.Millis(now)
		f.NextAt, f.FinishedAt = at, &at
		h.finished(f.State, d.Bytes, d.Bytes+r.bytes)
	} else {
		h.WaitingBytes += r.bytes
	}
	n, err := q.FinishHookDelivery(ctx, f)
	if err != nil || n == 0 {
		return false, err
	}
	if hopeless && r.disable == "" {
		r.disable = fmt.Sprintf("Every attempt of the last five days failed; the last one: %s", r.attempt.Error)
	}
	return true, errors.Join(q.AddHookAttempt(ctx, r.attempt), o.count(ctx, q, d.EndpointID, now, r), q.PutHookHealth(ctx, h.params()),
		o.promote(ctx, q, d, f.FinishedAt != nil), o.tellDead(ctx, q, d, f.State, r.attempt.Error), o.disable(ctx, q, d.EndpointID, row.State, r.disable))
}

// judge is what an attempt says of its endpoint; nothing where the fault is ours or the transform's.
func (h *health) judge(now time.Time, r *outcome) (hopeless bool) {
	switch {
	case r.silent:
	case r.verdict == arrived:
		h.delivered(now)
	case r.counts:
		return h.failed(now, r.attempt.Error)
	default:
		at := store.Millis(now)
		h.LastAt, h.LastError = &at, r.attempt.Error
	}
	return false
}

func (o *Outbox) count(ctx context.Context, q *store.Queries, endpoint string, now time.Time, r *outcome) error {
	c := store.CountHookAttemptParams{EndpointID: endpoint, Hour: now.Unix() / 3600, Failed: 1}
	if r.verdict == arrived {
		c.Delivered, c.Failed = 1, 0
	}
	return q.CountHookAttempt(ctx, c)
}

// promote lets the next of a key go, where the one before it is finished.
func (o *Outbox) promote(ctx context.Context, q *store.Queries, d store.HookDelivery, finished bool) error {
	if d.OrderKey == nil || !finished {
		return nil
	}
	return q.PromoteHookDelivery(ctx, store.PromoteHookDeliveryParams{EndpointID: d.EndpointID, OrderKey: d.OrderKey, Now: o.millis()})
}

// tellDead writes the event of a delivery that was given up. What such an event itself becomes is not told again: two endpoints that both fail
// would feed each other for ever.
func (o *Outbox) tellDead(ctx context.Context, q *store.Queries, d store.HookDelivery, state, reason string) error {
	if state != stateDead || ownType(d.Type) {
		return nil
	}
	return o.Events.Write(ctx, q, events.Event{Type: events.HookDeliveryDead, Device: deref(d.DeviceID),
		Data: events.Data{"endpoint": d.EndpointID, "delivery_id": d.ID, "message_id": d.MessageID, "error": reason}})
}

// ownType are the events that this package writes.
func ownType(kind string) bool {
	return matchType("hook.delivery_*", kind) || matchType("hook.endpoint_*", kind) || kind == events.HookOverflow
}

func (o *Outbox) disable(ctx context.Context, q *store.Queries, id, state, reason string) error {
	if reason == "" || state != StateActive {
		return nil
	}
	return errors.Join(q.DisableHookEndpoint(ctx, store.DisableHookEndpointParams{ID: id, DisabledReason: reason}), q.RaiseHookVersion(ctx),
		o.Events.Write(ctx, q, events.Event{Type: events.HookEndpointDisabled, Data: events.Data{"endpoint": id, "reason": reason}}))
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// returnLeases gives back what was leased until a time at most.
func (o *Outbox) returnLeases(ctx context.Context, before time.Time) error {
	at := store.Millis(before)
	return o.Store.WriteTogether(ctx, func(q *store.Queries) error {
		n, err := q.ReturnHookLeases(ctx, &at)
		if n > 0 {
			o.Log.Info("webhooks: deliveries that were under way are tried again", "count", n)
		}
		return err
	})
}
