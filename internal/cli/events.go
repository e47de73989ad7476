package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aditdev/adit/internal/api"
	"github.com/aditdev/adit/internal/command"
	"github.com/aditdev/adit/internal/wire"
)

const eventsUsage = `Usage: adit events [--follow] [--since ID] [--json]

Prints what happened on the hub, as far as you may see it.

  --follow     wait for what happens next; without --since it begins now
  --since ID   begin after this event
  --json       one JSON object on each line
`

func eventsCommand() command.Command {
	return command.Command{Name: "events", Summary: "Print what happened", Usage: eventsUsage, Run: runEvents}
}

// eventsPause ends a list that is not followed: after it the hub had nothing more to tell.
const eventsPause = 700 * time.Millisecond

func runEvents(ctx context.Context, args []string, stdio command.Stdio) error {
	f := command.NewFlags("adit events", eventsUsage)
	follow, asJSON, since := f.Bool("follow", false, ""), f.Bool("json", false, ""), f.Int64("since", -1, "")
	if err := parse(f, args, 0, 0, stdio); err != nil {
		return err
	}
	if *since < 0 && !*follow {
		*since = 0
	}
	a, err := readAccount()
	if err != nil {
		return err
	}
	show := printEvent
	if *asJSON {
		show = printEventJSON
	}
	for {
		err := a.events(ctx, since, !*follow, func(e api.Event) error { return show(stdio.Out, e) })
		if ctx.Err() != nil {
			return nil
		}
		if !*follow || (err != nil && wire.CodeOf(err) != wire.Offline) {
			return err
		}
		select { // the hub may be restarting
		case <-time.After(2 * time.Second):
		case <-ctx.Done():
			return nil
		}
	}
}

// eventsSilence is how long a stream may say nothing: the hub does so every 15 s.
const eventsSilence = 40 * time.Second

// events reads the stream from after *since on and moves *since along. With past it ends where the present begins.
func (a account) events(ctx context.Context, since *int64, past bool, show func(api.Event) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	body, err := a.eventStream(ctx, *since)
	if err != nil {
		return err
	}
	defer body.Close()
	patience := eventsSilence
	if past {
		patience = eventsPause
	}
	silence := time.AfterFunc(patience, cancel)
	defer silence.Stop()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		silence.Reset(patience)
		data, isData := strings.CutPrefix(lines.Text(), "data: ")
		if !isData {
			continue
		}
		var e api.Event
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			return wire.Wrap(err, wire.Internal, "The hub sent an event that cannot be read")
		}
		*since = e.ID
		if err := show(e); err != nil {
			return err
		}
	}
	if past && ctx.Err() != nil {
		return nil
	}
	return wire.Wrap(lines.Err(), wire.Offline, "The hub's events ended")
}

func (a account) eventStream(ctx context.Context, since int64) (io.ReadCloser, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, a.Hub+"/api/v1/events", nil)
	if err != nil {
		return nil, fmt.Errorf("events: %w", err)
	}
	r.Header.Set("Authorization", "Bearer "+a.Token)
	if since >= 0 {
		r.Header.Set("Last-Event-ID", strconv.FormatInt(since, 10))
	}
	client := newHTTPClient()
	client.Timeout = 0
	reply, err := client.Do(r)
	if err != nil {
		return nil, wire.Wrap(err, wire.Offline, "The hub cannot be reached")
	}
	if reply.StatusCode == http.StatusOK {
		return reply.Body, nil
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(io.LimitReader(reply.Body, 64<<10))
	return nil, errors.Join(err, refusal(reply.StatusCode, text))
}

func printEventJSON(w io.Writer, e api.Event) error {
	if err := json.NewEncoder(w).Encode(e); err != nil {
		return fmt.Errorf("print event: %w", err)
	}
	return nil
}

// printEvent prints one line. What a device says of itself stands in quotes.
func printEvent(w io.Writer, e api.Event) error {
	names := make([]string, 0, len(e.Data))
	for name := range e.Data {
		names = append(names, name)
	}
	slices.Sort(names)
	var b strings.Builder
	fmt.Fprintf(&b, "%d  %s  %s", e.ID, e.At.Local().Format(time.DateTime), wire.Printable(e.Type, 64))
	for _, name := range names {
		fmt.Fprintf(&b, "  %s=%q", wire.Printable(name, 64), wire.Printable(fmt.Sprint(e.Data[name]), 200))
	}
	_, err := fmt.Fprintln(w, b.String())
	return err
}
