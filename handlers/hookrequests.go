package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/webhook/incoming"
	"github.com/aditdev/adit/internal/wire"
)

// ListHookRequests gives a page of what sources received.
func (a *api) ListHookRequests(ctx context.Context, r ListHookRequestsRequestObject) (ListHookRequestsResponseObject, error) {
	p := r.Params
	f := incoming.Filter{Source: value(p.Source), State: string(value(p.State)), Since: p.Since, Until: p.Until, Before: value(p.Before), Limit: 50}
	if p.Limit != nil {
		f.Limit = *p.Limit
	}
	if f.Limit < 1 || f.Limit > 200 {
		return nil, wire.Errorf(wire.Invalid, "A page has 1 to 200 requests.")
	}
	entries, next, err := a.HooksIn.Requests(ctx, f)
	if err != nil {
		return nil, err
	}
	out := ListHookRequests200JSONResponse{Requests: []HookRequest{}, Next: some(next)}
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

// listenHook is GET /api/v1/hooks/sources/{hook_source}/listen: server-sent events, as in events.go. The number of an event is where a
// listener that comes back goes on.
func (a *api) listenHook(c echo.Context) error {
	p := principalOf(c.Request().Context())
	ctx, release, err := a.Gate.Hold(c.Request().Context(), access.Use{User: p.User.ID, Credential: p.Credential})
	if err != nil {
		return err
	}
	defer release()
	defer context.AfterFunc(a.Stopping, release)()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	after, err := listenFrom(c)
	if err != nil {
		return err
	}
	from, requests, err := a.HooksIn.Listen(ctx, c.Param("hook_source"), after)
	if err != nil {
		return err
	}
	h := c.Response().Header()
	h.Set(echo.HeaderContentType, "text/event-stream")
	h.Set("X-Accel-Buffering", "no")
	c.Response().WriteHeader(http.StatusOK)
	s := &eventStream{api: a, w: c.Response(), control: http.NewResponseController(c.Response())}
	return s.listen(ctx, from, requests)
}

// listenFrom is the number of the request that a listener knows already; -1: none, it begins now.
func listenFrom(c echo.Context) (int64, error) {
	id := c.Request().Header.Get("Last-Event-ID")
	if id == "" {
		id = c.QueryParam("last_event_id")
	}
	if id == "" {
		return -1, nil
	}
	after, err := strconv.ParseInt(id, 10, 64)
	if err != nil || after < 0 {
		return 0, wire.Errorf(wire.Invalid, "Last-Event-ID is the number of a request.")
	}
	return after, nil
}

// listen writes requests after from as they come, and a comment where none does.
func (s *eventStream) listen(ctx context.Context, from int64, requests func(func(incoming.Detail, error) bool)) error {
	if s.write(fmt.Sprintf(": live\nid: %d\n\n", from)) != nil {
		requests(func(incoming.Detail, error) bool { return false }) // which ends it
		return nil
	}
	beats := make(chan error, 1)
	lines := make(chan string)
	reading, stop := context.WithCancel(ctx)
	defer stop()
	go func() { beats <- s.pull(reading, requests, lines) }()
	beat := time.NewTicker(eventsBeat)
	defer beat.Stop()
	for {
		text := ": beat\n\n"
		select {
		case err := <-beats:
			return err
		case text = <-lines:
		case <-beat.C:
		}
		if s.write(text) != nil {
			stop()
			<-beats
			return nil
		}
	}
}

// pull turns requests into lines until ctx ends.
func (s *eventStream) pull(ctx context.Context, requests func(func(incoming.Detail, error) bool), lines chan<- string) (err error) {
	requests(func(d incoming.Detail, failed error) bool {
		if failed != nil {
			err = failed
			return false
		}
		text, failed := json.Marshal(apiHookDetail(d))
		if failed != nil {
			err = fmt.Errorf("write request: %w", failed)
			return false
		}
		select {
		case lines <- fmt.Sprintf("id: %d\nevent: request\ndata: %s\n\n", d.Number, text):
			return true
		case <-ctx.Done():
			return false
		}
	})
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
