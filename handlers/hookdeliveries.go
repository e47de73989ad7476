package handlers

import (
	"context"
	"encoding/json"

	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/webhook/outgoing"
	"github.com/aditdev/adit/internal/wire"
)

// ListHookDeliveries lists deliveries, the newest first.
func (a *api) ListHookDeliveries(ctx context.Context, r ListHookDeliveriesRequestObject) (ListHookDeliveriesResponseObject, error) {
	p := r.Params
	limit, before, err := hookPage(p.Limit, p.Before)
	if err != nil {
		return nil, err
	}
	f := outgoing.Filter{Endpoint: value(p.Endpoint), State: value(textOf(p.State)), Type: value(p.Type), Device: a.hookDevice(value(p.Device)),
		Since: value(p.Since), Until: value(p.Until)}
	if p.State != nil && !p.State.Valid() {
		return nil, wire.Errorf(wire.Invalid, "A state is waiting, sending, delivered, dead or cancelled.")
	}
	list, next, err := a.Outgoing.Deliveries(ctx, f, before, limit)
	if err != nil {
		return nil, err
	}
	out := ListHookDeliveries200JSONResponse{Deliveries: []HookDelivery{}, Next: nextPage(next)}
	for _, d := range list {
		out.Deliveries = append(out.Deliveries, apiHookDelivery(d))
	}
	return out, nil
}

// hookDevice is a device's id where its name is known; one that was removed is found by its id still.
func (a *api) hookDevice(ref string) string {
	if id := a.Gate.Policy().DeviceIDs[ref]; id != "" {
		return id
	}
	return ref
}

// ReplayHookDeliveries delivers again what matches.
func (a *api) ReplayHookDeliveries(ctx context.Context, r ReplayHookDeliveriesRequestObject) (ReplayHookDeliveriesResponseObject, error) {
	b := r.Body
	if b.State != nil && !b.State.Valid() {
		return nil, wire.Errorf(wire.Invalid, "A state is delivered, dead or cancelled.")
	}
	count, err := a.Outgoing.ReplayAll(ctx, outgoing.Filter{Endpoint: value(b.Endpoint), State: value(textOf(b.State)), Type: value(b.Type),
		Device: a.hookDevice(value(b.Device)), Since: value(b.Since), Until: value(b.Until)}, value(b.DryRun))
	if count > 0 && !value(b.DryRun) {
		a.noteReplays(ctx, r.Body, count)
	}
	return ReplayHookDeliveries200JSONResponse{Count: count}, err
}

// noteReplays tells what of a filter was chosen, with the endpoint by its id.
func (a *api) noteReplays(ctx context.Context, b *ReplayHookDeliveriesJSONRequestBody, count int64) {
	data := events.Data{"count": count}
	if b.State != nil {
		data["state"] = *b.State
	}
	if b.Endpoint != nil {
		if e, err := a.Outgoing.Find(ctx, *b.Endpoint); err == nil {
			data["endpoint"] = e.ID
		}
	}
	a.note(ctx, events.Event{Type: events.HookReplayed, User: principalOf(ctx).User.ID, Data: data})
}

// noteDelivery tells what a person did with a delivery, where it went well.
func (a *api) noteDelivery(ctx context.Context, kind string, d outgoing.Delivery, failed error) error {
	if failed == nil {
		a.note(ctx, events.Event{Type: kind, Device: value(d.DeviceID), User: principalOf(ctx).User.ID,
			Data: events.Data{"endpoint": d.EndpointID, "delivery_id": d.ID, "message_id": d.MessageID}})
	}
	return failed
}

// GetHookDelivery shows one with its attempts.
func (a *api) GetHookDelivery(ctx context.Context, r GetHookDeliveryRequestObject) (GetHookDeliveryResponseObject, error) {
	d, err := a.Outgoing.Delivery(ctx, r.HookDelivery)
	if err != nil {
		return nil, err
	}
	attempts, success, err := a.Outgoing.Attempts(ctx, d)
	if err != nil {
		return nil, err
	}
	out := GetHookDelivery200JSONResponse{Delivery: apiHookDelivery(d), Attempts: []HookAttempt{}}
	for _, t := range attempts {
		out.Attempts = append(out.Attempts, apiHookAttempt(t))
	}
	if success != nil {
		last := apiHookAttempt(*success)
		out.LastSuccess = &last
	}
	return out, nil
}

// ReplayHookDelivery delivers one again.
func (a *api) ReplayHookDelivery(ctx context.Context, r ReplayHookDeliveryRequestObject) (ReplayHookDeliveryResponseObject, error) {
	d, err := a.Outgoing.Replay(ctx, r.HookDelivery)
	return ReplayHookDelivery201JSONResponse(apiHookDelivery(d)), a.noteDelivery(ctx, events.HookReplayed, d, err)
}

// TryHookDelivery makes the next attempt of one that waits now.
func (a *api) TryHookDelivery(ctx context.Context, r TryHookDeliveryRequestObject) (TryHookDeliveryResponseObject, error) {
	d, err := a.Outgoing.TryNow(ctx, r.HookDelivery)
	return TryHookDelivery200JSONResponse(apiHookDelivery(d)), a.noteDelivery(ctx, events.HookDeliveryTried, d, err)
}

// CancelHookDelivery gives up one that waits.
func (a *api) CancelHookDelivery(ctx context.Context, r CancelHookDeliveryRequestObject) (CancelHookDeliveryResponseObject, error) {
	d, err := a.Outgoing.Cancel(ctx, r.HookDelivery)
	return CancelHookDelivery200JSONResponse(apiHookDelivery(d)), a.noteDelivery(ctx, events.HookDeliveryCancelled, d, err)
}

func apiHookDelivery(d outgoing.Delivery) HookDelivery {
	most := outgoing.MaxAttempts
	out := HookDelivery{ID: d.ID, MessageID: d.MessageID, EndpointID: d.EndpointID, EndpointName: d.EndpointName, Type: d.Type, DeviceID: d.DeviceID,
		Topic: some(d.Topic), State: HookDeliveryState(d.State), Attempts: int(d.Attempts), MaxAttempts: &most, LastError: some(d.LastError), TookMs: d.TookMs,
		ReplayOf: d.ReplayOf, CreatedAt: store.Time(d.CreatedAt), FinishedAt: store.TimeOf(d.FinishedAt), LastStatus: narrowInt(d.LastStatus)}
	if d.State == outgoing.StateWaiting {
		out.NextAt = store.TimeOf(&d.NextAt)
	}
	if d.HeldBy != "" {
		by := HookDeliveryHeldBy(d.HeldBy)
		out.HeldBy = &by
	}
	return out
}

func narrowInt(p *int64) *int {
	if p == nil {
		return nil
	}
	v := int(*p)
	return &v
}

func apiHookAttempt(t store.HookAttempt) HookAttempt {
	out := HookAttempt{DeliveryID: &t.DeliveryID, Number: int(t.Number), At: store.Time(t.At), TookMs: t.TookMs, Address: some(t.Address), Method: t.Method, URL: t.URL,
		RequestHeaders: apiHookHeaders(t.RequestHeaders), RequestBody: nonNil(t.RequestBody), Status: narrowInt(t.Status), Error: some(t.Error)}
	if t.Status != nil {
		headers := apiHookHeaders(t.ResponseHeaders)
		out.ResponseHeaders, out.ResponseBody, out.ResponseCut = &headers, &t.ResponseBody, &t.ResponseCut
	}
	return out
}

func apiHookHeaders(text string) []HookHeader {
	var pairs [][2]string
	_ = json.Unmarshal([]byte(text), &pairs) // written by us
	out := make([]HookHeader, 0, len(pairs))
	for _, p := range pairs {
		out = append(out, HookHeader{Name: p[0], Value: p[1]})
	}
	return out
}
