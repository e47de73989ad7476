package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/aditdev/adit/internal/webhook/incoming"
)

// listenHook is GET /api/v1/hooks/sources/{hook_source}/listen: server-sent events, whose ids are the numbers of requests. The first id comes
// before any request, and is where the stream begins.
func (a *api) listenHook(c echo.Context) error {
	ctx, release, err := a.holdStream(c)
	if err != nil {
		return err
	}
	defer release()
	after, given, err := lastEventID(c)
	if err != nil {
		return err
	}
	if since := c.QueryParam("since"); !given && since != "" {
		if after, err = a.HooksIn.Since(ctx, c.Param("hook_source"), since); err != nil {
			return err
		}
	} else if !given {
		after = -1
	}
	from, requests, err := a.HooksIn.Listen(ctx, c.Param("hook_source"), after)
	if err != nil {
		return err
	}
	return newEventStream(c.Response()).listen(ctx, from, requests)
}

// listen writes requests after from as they come, and a comment where none does.
func (s *eventStream) listen(ctx context.Context, from int64, requests func(func(incoming.Detail, error) bool)) error {
	if s.write(fmt.Sprintf(": live\nid: %d\n\n", from)) != nil {
		requests(func(incoming.Detail, error) bool { return false }) // which ends it
		return nil
	}
	ended := make(chan error, 1) // what pull ended with
	lines := make(chan string)
	reading, stop := context.WithCancel(ctx)
	defer stop()
	go func() { ended <- pull(reading, requests, lines) }()
	beat := time.NewTicker(streamBeat)
	defer beat.Stop()
	for {
		text := ": beat\n\n"
		select {
		case err := <-ended:
			return err
		case text = <-lines:
		case <-beat.C:
		}
		if s.write(text) != nil {
			stop()
			<-ended
			return nil
		}
	}
}

// pull turns requests into lines until ctx ends.
func pull(ctx context.Context, requests func(func(incoming.Detail, error) bool), lines chan<- string) (err error) {
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
