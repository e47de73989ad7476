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
	ctx, release, err := a.holdStream(c, true)
	if err != nil {
		return err
	}
	defer release()
	ctx, end := context.WithCancel(ctx)
	defer end()
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
	return newEventStream(c.Response()).listen(ctx, end, from, requests)
}

// listen writes requests after from as they come, and a comment where none does. It calls end, which ends ctx and with it requests, when its
// reader takes no more.
func (s *eventStream) listen(ctx context.Context, end func(), from int64, requests func(func(incoming.Detail, error) bool)) error {
	if s.write(fmt.Sprintf(": live\nid: %d\n\n", from)) != nil {
		requests(func(incoming.Detail, error) bool { return false }) // which ends it
		return nil
	}
	ended := make(chan error, 1) // what pull ended with
	lines, written := make(chan string), make(chan struct{}, 1)
	go func() { ended <- pull(ctx, requests, lines, written) }()
	beat := time.NewTicker(streamBeat)
	defer beat.Stop()
	for {
		text, beats := "", false
		select {
		case err := <-ended:
			return err
		case text = <-lines:
		case <-beat.C:
			text, beats = ": beat\n\n", true
		}
		if ctx.Err() != nil || s.write(text) != nil { // a request that was read before is not for who may not listen any more
			end()
			<-ended
			return nil
		}
		if !beats {
			written <- struct{}{}
		}
	}
}

// pull turns requests into lines until ctx ends. It keeps one in hand until it is written: its memory counts so long.
func pull(ctx context.Context, requests func(func(incoming.Detail, error) bool), lines chan<- string, written <-chan struct{}) (err error) {
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
		case <-ctx.Done():
			return false
		}
		select {
		case <-written:
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
