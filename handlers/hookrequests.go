package handlers

import (
	"context"

	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/webhook/incoming"
)

// ListHookRequests gives a page of what sources received.
func (a *api) ListHookRequests(ctx context.Context, r ListHookRequestsRequestObject) (ListHookRequestsResponseObject, error) {
	p := r.Params
	limit, before, err := hookPage(p.Limit, p.Before)
	if err != nil {
		return nil, err
	}
	f := incoming.Filter{Source: value(p.Source), State: string(value(p.State)), Since: p.Since, Until: p.Until, Before: before, Limit: limit}
	entries, next, err := a.HooksIn.Requests(ctx, f)
	if err != nil {
		return nil, err
	}
	out := ListHookRequests200JSONResponse{Requests: []HookRequest{}, Next: nextPage(next)}
	for _, e := range entries {
		out.Requests = append(out.Requests, apiHookRequest(e))
	}
	return out, nil
}

// GetHookRequest gives one with its body.
func (a *api) GetHookRequest(ctx context.Context, r GetHookRequestRequestObject) (GetHookRequestResponseObject, error) {
	d, err := a.HooksIn.Request(ctx, r.HookRequest)
	if err != nil {
		return nil, err
	}
	return GetHookRequest200JSONResponse(apiHookDetail(d)), nil
}

// ReplayHookRequest does again what the source does with it.
func (a *api) ReplayHookRequest(ctx context.Context, r ReplayHookRequestRequestObject) (ReplayHookRequestResponseObject, error) {
	e, err := a.HooksIn.Replay(ctx, r.HookRequest)
	if err != nil {
		return nil, err
	}
	a.note(ctx, events.Event{Type: events.HookRequestReplayed, Device: e.DeviceID, User: principalOf(ctx).User.ID,
		Data: events.Data{"source": e.SourceID, "request_id": e.ID}})
	return ReplayHookRequest200JSONResponse(apiHookRequest(e)), nil
}

// AnswerHookRequest is the answer of whoever listens.
func (a *api) AnswerHookRequest(ctx context.Context, r AnswerHookRequestRequestObject) (AnswerHookRequestResponseObject, error) {
	b := r.Body
	return AnswerHookRequest204Response{}, a.HooksIn.GiveAnswer(ctx, r.HookRequest,
		incoming.Reply{Status: b.Status, ContentType: value(b.ContentType), Body: value(b.Body), ExitCode: b.ExitCode})
}

func apiHookRequest(e incoming.Entry) HookRequest {
	out := HookRequest{ID: e.ID, SourceID: e.SourceID, SourceSlug: e.SourceSlug, SourceName: some(e.SourceName), At: e.At, Method: e.Method, Path: e.Path, Address: some(e.Address),
		ContentType: some(e.ContentType), Bytes: int(e.Bytes), Key: some(e.Key), Repeats: some(int(e.Repeats)), State: HookRequestState(e.State),
		Attempts: int(e.Attempts), NextAt: e.NextAt, Error: some(e.Error), Topic: some(e.Topic), DeviceID: some(e.DeviceID), TookMs: e.TookMS}
	if e.Status != nil {
		out.Status = some(int(*e.Status))
	}
	if e.ExitCode != nil {
		out.ExitCode = new(int(*e.ExitCode))
	}
	return out
}

func apiHookDetail(d incoming.Detail) HookRequestDetail {
	out := HookRequestDetail{Request: apiHookRequest(d.Entry), Headers: []HookHeader{}, Body: d.Body}
	for _, h := range d.Headers {
		out.Headers = append(out.Headers, HookHeader{Name: h.Name, Value: h.Value})
	}
	if d.Payload != nil {
		out.Payload = &d.Payload
	}
	if r := d.Answer; r != nil {
		out.Answer = &HookAnswer{Status: r.Status, ContentType: some(r.ContentType), Body: &r.Body, ExitCode: r.ExitCode}
	}
	return out
}
