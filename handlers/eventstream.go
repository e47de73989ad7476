package handlers

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/wire"
)

const (
	// streamBeat keeps proxies from closing a stream on which nothing happens.
	streamBeat = 15 * time.Second
	// streamWrite is how long a reader may take to take one event.
	streamWrite = 10 * time.Second
)

// eventStream is a response of server-sent events (WHATWG HTML §9.2).
type eventStream struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

// holdStream counts a stream among those of its reader. Its context ends with the hub, with the sign-in that it runs by, and where it is for
// managers alone when its reader no longer is one; the caller calls release when it is over.
func (a *api) holdStream(c echo.Context, managers bool) (ctx context.Context, release func(), err error) {
	p := principalOf(c.Request().Context())
	ctx, end, err := a.Gate.Hold(c.Request().Context(), access.Use{User: p.User.ID, Credential: p.Credential, Manages: managers})
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(a.Stopping, end)
	return ctx, func() { stop(); end() }, nil
}

// lastEventID is the id of the last event that a reader who comes back has seen; given is false for a new one.
func lastEventID(c echo.Context) (id int64, given bool, err error) {
	text := c.Request().Header.Get("Last-Event-ID")
	if text == "" {
		text = c.QueryParam("last_event_id")
	}
	if text == "" {
		return 0, false, nil
	}
	id, err = strconv.ParseInt(text, 10, 64)
	if err != nil || id < 0 {
		return 0, false, wire.Errorf(wire.Invalid, "Last-Event-ID is the id of an event of this stream.")
	}
	return id, true, nil
}

// newEventStream begins the response: nothing can be refused any more.
func newEventStream(w *echo.Response) *eventStream {
	h := w.Header()
	h.Set(echo.HeaderContentType, "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back otherwise
	w.WriteHeader(http.StatusOK)
	return &eventStream{w: w, control: http.NewResponseController(w)}
}

func (s *eventStream) write(text string) error {
	// Not every writer of a test knows deadlines; the server's does.
	_ = s.control.SetWriteDeadline(time.Now().Add(streamWrite))
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.control.Flush()
}
