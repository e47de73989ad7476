package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/wire"
)

// listEvents is GET /api/v1/events: a page of JSON, newest first, or with Accept: text/event-stream the live events.
func (a *api) listEvents(c echo.Context) error {
	f, err := a.eventFilter(c)
	if err != nil {
		return err
	}
	c.Response().Header().Add(echo.HeaderVary, echo.HeaderAccept)
	if strings.Contains(c.Request().Header.Get(echo.HeaderAccept), "text/event-stream") {
		return a.streamEvents(c, f)
	}
	before, limit, err := eventPage(c)
	if err != nil {
		return err
	}
	list, next, err := a.Events.Page(c.Request().Context(), f, before, limit)
	if err != nil {
		return err
	}
	out := EventPage{Events: make([]Event, 0, len(list))}
	for _, e := range list {
		out.Events = append(out.Events, a.apiEvent(principalOf(c.Request().Context()), e))
	}
	out.Next = nextPage(next)
	return c.JSON(http.StatusOK, out)
}

// ListEventTypes is the catalogue of events.
func (a *api) ListEventTypes(_ context.Context, _ ListEventTypesRequestObject) (ListEventTypesResponseObject, error) {
	out := ListEventTypes200JSONResponse{}
	for _, t := range events.Types() {
		out = append(out, EventType{Type: t.Name, Data: nonNil(t.Data)})
	}
	return out, nil
}

// eventPage reads where a page begins and how long it is.
func eventPage(c echo.Context) (before int64, limit int, err error) {
	limit = 100
	if text := c.QueryParam("before"); text != "" {
		if before, err = strconv.ParseInt(text, 10, 64); err != nil || before < 1 {
			return 0, 0, invalidQuery("before", "The next of an earlier page.")
		}
	}
	if text := c.QueryParam("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > 500 {
			return 0, 0, invalidQuery("limit", "1 to 500.")
		}
	}
	return before, limit, nil
}

func invalidQuery(name, hint string) error {
	return &wire.Error{Code: wire.Invalid, Message: name + " is not usable. " + hint, Fields: map[string]string{name: hint}}
}

// maxEventTypes bounds the patterns of one filter.
const maxEventTypes = 100

// eventFilter reads what is wanted, and adds what the caller may see.
func (a *api) eventFilter(c echo.Context) (f events.Filter, err error) {
	ctx, p := c.Request().Context(), principalOf(c.Request().Context())
	for _, list := range c.QueryParams()["type"] {
		f.Types = append(f.Types, strings.FieldsFunc(list, func(r rune) bool { return r == ',' })...)
	}
	if len(f.Types) > maxEventTypes {
		return f, invalidQuery("type", "A hundred at most.")
	}
	if err := checkEventTypes(f.Types); err != nil {
		return f, err
	}
	for name, at := range map[string]*time.Time{"since": &f.Since, "until": &f.Until} {
		if text := c.QueryParam(name); text != "" {
			if *at, err = time.Parse(time.RFC3339, text); err != nil {
				return f, invalidQuery(name, "A time as 2026-01-31T18:00:00Z.")
			}
		}
	}
	if ref := c.QueryParam("device"); ref != "" {
		if f.Device, err = a.eventDevice(ctx, p, ref); err != nil {
			return f, err
		}
	}
	if ref := c.QueryParam("user"); ref != "" {
		if f.User, err = a.eventUser(ctx, p, ref); err != nil {
			return f, err
		}
	}
	f.Sees = func(e events.Event) bool { return a.sees(p, e) }
	if p.Role().Manages() {
		return f, nil
	}
	f.Own = p.User.ID
	rows, err := a.Devices.List(ctx, p)
	for _, d := range rows {
		f.Near = append(f.Near, d.ID)
	}
	return f, err
}

// checkEventTypes refuses types of which this hub knows none. Beside others one is let through: the log may hold what an older hub wrote.
func checkEventTypes(patterns []string) (err error) {
	for _, p := range patterns {
		known := events.CheckPattern(p)
		if known == nil {
			return nil
		}
		if err == nil {
			err = &wire.Error{Code: wire.Invalid, Message: wire.MessageOf(known), Fields: map[string]string{"type": wire.MessageOf(known)}}
		}
	}
	return err
}

// eventDevice gives the id of a device in the caller's view. One that is gone has its id alone, and its events go on to be seen by
// those who saw them before.
func (a *api) eventDevice(ctx context.Context, p *auth.Principal, ref string) (string, error) {
	d, err := a.Devices.Find(ctx, p, ref)
	if wire.CodeOf(err) == wire.NotFound && strings.HasPrefix(ref, "dev_") {
		return ref, nil
	}
	return d.ID, err
}

// eventUser gives the id of a user. Who does not manage learns of nobody else.
func (a *api) eventUser(ctx context.Context, p *auth.Principal, ref string) (string, error) {
	u, err := a.Accounts.FindUser(ctx, ref)
	if err == nil && u.ID != p.User.ID && !p.Role().Manages() {
		err = wire.Errorf(wire.NotFound, "There is no user %s.", wire.Printable(ref, 254))
	}
	if wire.CodeOf(err) == wire.NotFound && strings.HasPrefix(ref, "usr_") {
		return ref, nil
	}
	return u.ID, err
}

// streamEvents sends events as they come, until its reader goes away.
func (a *api) streamEvents(c echo.Context, f events.Filter) error {
	ctx, release, err := a.holdStream(c, false) // what is seen is asked of each event
	if err != nil {
		return err
	}
	defer release()
	after, err := a.eventsFrom(c)
	if err != nil {
		return err
	}
	s := liveEvents{eventStream: newEventStream(c.Response()), api: a, reader: principalOf(c.Request().Context()), filter: f}
	return s.run(ctx, after)
}

func (a *api) eventsFrom(c echo.Context) (int64, error) {
	after, given, err := lastEventID(c)
	if err != nil {
		return 0, err
	}
	last, err := a.Events.Last(c.Request().Context())
	if err != nil || !given {
		return last, err
	}
	return min(after, last), nil // a page may know events of a hub that was since restored from a backup
}

type liveEvents struct {
	*eventStream
	api    *api
	reader *auth.Principal
	filter events.Filter
}

// run writes events as they come and a comment where none does. The first id stands alone: where to go on if the connection is cut before
// anything came. The pull goroutine of the sequence ends with it.
func (s *liveEvents) run(ctx context.Context, after int64) error {
	if err := s.write(fmt.Sprintf(": live\nid: %d\n\n", after)); err != nil {
		return nil
	}
	for {
		beat, cancel := context.WithTimeout(ctx, streamBeat)
		last, err := s.forward(s.api.Events.Stream(beat, after))
		cancel()
		if ctx.Err() != nil || errors.Is(err, errReader) {
			return nil
		}
		if err != nil && beat.Err() == nil {
			return err
		}
		after = max(after, last)
		if err := s.write(": beat\n\n"); err != nil {
			return nil
		}
	}
}

var errReader = errors.New("reader went away")

func (s *liveEvents) forward(stream iter.Seq2[events.Event, error]) (last int64, err error) {
	for e, err := range stream {
		if err != nil {
			return last, err
		}
		last = e.ID
		if !s.filter.Wants(e) {
			continue
		}
		text, err := json.Marshal(s.api.apiEvent(s.reader, e))
		if err != nil {
			return last, fmt.Errorf("write event: %w", err)
		}
		if s.write(fmt.Sprintf("id: %d\nevent: %s\ndata: %s\n\n", e.ID, e.Type, text)) != nil {
			return last, errReader
		}
	}
	return last, nil
}

// sees: managers see every event, others their own and what becomes of the devices in their view. Who else signs in
// there, and by which grant, is not theirs to know.
func (a *api) sees(p *auth.Principal, e events.Event) bool {
	policy, now := a.Gate.Policy(), a.Now()
	switch {
	case policy.Users[p.User.ID].Role.Manages():
		return true
	case e.Type == events.LoginFailed, e.Type == events.InstallStep:
		return false
	case e.Device != "" && !policy.Sees(p.User.ID, e.Device, now):
		return false
	}
	return e.User == p.User.ID || (e.Device != "" && strings.HasPrefix(e.Type, "device."))
}

// apiEvent is an event that p sees, with the names of what it concerns as they are now.
func (a *api) apiEvent(p *auth.Principal, e events.Event) Event {
	policy := a.Gate.Policy()
	out := Event{ID: e.ID, Type: e.Type, At: e.At, Data: e.Data, DeviceID: some(e.Device), DeviceName: some(policy.Devices[e.Device].Name),
		UserID: some(e.User)}
	if policy.Users[p.User.ID].Role.Manages() || e.User == p.User.ID { // as in sees: a stream outlives a role
		out.UserHandle = some(policy.Users[e.User].Handle)
	}
	if endpoint, ok := e.Data["endpoint"].(string); ok {
		out.HookName = some(a.Outgoing.NameOf(endpoint))
	}
	if source, ok := e.Data["source"].(string); ok {
		out.HookName = some(a.HooksIn.NameOf(source))
	}
	return out
}
