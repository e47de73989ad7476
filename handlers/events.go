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

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/wire"
)

const (
	// eventsBeat keeps proxies from closing a stream on which nothing happens.
	eventsBeat = 15 * time.Second
	// eventsWrite is how long a browser may take to take one event.
	eventsWrite = 10 * time.Second
)

// streamEvents is GET /api/v1/events: server-sent events (WHATWG HTML §9.2). It ends with the hub, with the sign-in
// that it runs by, or when the browser no longer reads.
func (a *api) streamEvents(c echo.Context) error {
	p := principalOf(c.Request().Context())
	ctx, release, err := a.Gate.Hold(c.Request().Context(), access.Use{User: p.User.ID, Credential: p.Credential})
	if err != nil {
		return err
	}
	defer release()
	defer context.AfterFunc(a.Stopping, release)()
	after, err := a.eventsFrom(c)
	if err != nil {
		return err
	}
	h := c.Response().Header()
	h.Set(echo.HeaderContentType, "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back otherwise
	c.Response().WriteHeader(http.StatusOK)
	s := eventStream{api: a, w: c.Response(), control: http.NewResponseController(c.Response()), principal: p}
	return s.run(ctx, after)
}

func (a *api) eventsFrom(c echo.Context) (int64, error) {
	last, err := a.Events.Last(c.Request().Context())
	if err != nil {
		return 0, err
	}
	id := c.Request().Header.Get("Last-Event-ID")
	if id == "" {
		id = c.QueryParam("last_event_id")
	}
	if id == "" {
		return last, nil
	}
	after, err := strconv.ParseInt(id, 10, 64)
	if err != nil || after < 0 {
		return 0, wire.Errorf(wire.Invalid, "Last-Event-ID is the number of an event.")
	}
	return min(after, last), nil // a page may know events of a hub that was since restored from a backup
}

type eventStream struct {
	api       *api
	w         http.ResponseWriter
	control   *http.ResponseController
	principal *auth.Principal
}

// run writes events as they come and a comment where none does. The pull goroutine of the sequence ends with it.
func (s *eventStream) run(ctx context.Context, after int64) error {
	if err := s.write(": live\n\n"); err != nil {
		return nil
	}
	for {
		beat, cancel := context.WithTimeout(ctx, eventsBeat)
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

func (s *eventStream) forward(stream iter.Seq2[events.Event, error]) (last int64, err error) {
	for e, err := range stream {
		if err != nil {
			return last, err
		}
		last = e.ID
		if !s.api.sees(s.principal, e) {
			continue
		}
		text, err := json.Marshal(apiEvent(e))
		if err != nil {
			return last, fmt.Errorf("write event: %w", err)
		}
		if s.write(fmt.Sprintf("id: %d\nevent: %s\ndata: %s\n\n", e.ID, e.Type, text)) != nil {
			return last, errReader
		}
	}
	return last, nil
}

func (s *eventStream) write(text string) error {
	// Not every writer of a test knows deadlines; the server's does.
	_ = s.control.SetWriteDeadline(time.Now().Add(eventsWrite))
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.control.Flush()
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

func apiEvent(e events.Event) Event {
	out := Event{ID: e.ID, Type: e.Type, At: e.At, Data: e.Data}
	if e.Device != "" {
		out.DeviceID = &e.Device
	}
	if e.User != "" {
		out.UserID = &e.User
	}
	return out
}
