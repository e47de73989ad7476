package cli

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aditdev/adit/internal/api"
	"github.com/aditdev/adit/internal/command"
	"github.com/aditdev/adit/internal/wire"
)

const eventsUsage = `Usage: adit events [--follow] [--since WHEN] [--type TYPE]… [--device DEVICE] [--user USER]
                   [--limit N] [--json]

Prints what happened on the hub, as far as you may see it, oldest first.

  --follow          then wait for what happens next; without --since it begins now
  --since WHEN      begin after the event of that number, or at a time: 1h, 2d, 2026-01-31, 2026-01-31T18:00:00Z
  --type TYPE       only of this type, as device.online; device.* is every type that begins so. May be given several times
  --device DEVICE   only of this device: name or id
  --user USER       only of this user: id, e-mail or handle
  --limit N         at most the newest N; 100 without --since, no limit with it
  --json            one JSON object on each line
`

func eventsCommand() command.Command {
	return command.Command{Name: "events", Summary: "Print what happened", Usage: eventsUsage, Run: runEvents}
}

// eventQuery is what of the log is wanted.
type eventQuery struct {
	filter url.Values // type, device, user and since, as the API has them
	after  int64      // an event's number
	limit  int        // 0: none
}

func runEvents(ctx context.Context, args []string, stdio command.Stdio) error {
	f := command.NewFlags("adit events", eventsUsage)
	follow, asJSON, since := f.Bool("follow", false, ""), f.Bool("json", false, ""), f.String("since", "", "")
	device, user, limit := f.String("device", "", ""), f.String("user", "", ""), f.Int("limit", 0, "")
	var types list
	f.Var(&types, "type", "")
	if err := parse(f, args, 0, 0, stdio); err != nil {
		return err
	}
	q := eventQuery{filter: url.Values{"type": types}, limit: *limit}
	if err := q.begin(*since, time.Now()); err != nil {
		return err
	}
	for name, ref := range map[string]string{"device": *device, "user": *user} {
		if ref != "" {
			q.filter.Set(name, ref)
		}
	}
	if q.limit < 0 {
		return wire.Errorf(wire.Invalid, "--limit is how many events to print at most.")
	}
	if q.limit == 0 && *since == "" {
		q.limit = 100
	}
	a, err := readAccount()
	if err != nil {
		return err
	}
	show := func(e api.Event) error { return printEvent(stdio.Out, e) }
	if *asJSON {
		show = func(e api.Event) error { return printEventJSON(stdio.Out, e) }
	}
	if !*follow {
		_, err := a.pastEvents(ctx, q, show)
		return err
	}
	return a.followEvents(ctx, q, *since != "" || *limit > 0, show)
}

// begin reads --since: the number of an event, how long ago, or a time.
func (q *eventQuery) begin(since string, now time.Time) (err error) {
	if since == "" {
		return nil
	}
	if q.after, err = strconv.ParseInt(since, 10, 64); err == nil && q.after >= 0 {
		return nil
	}
	q.after = 0
	at, err := timeAgo("since", since, now)
	if err != nil {
		return wire.Wrap(err, wire.Invalid, "This is neither the number of an event nor a time")
	}
	q.filter.Set("since", at.UTC().Format(time.RFC3339))
	return nil
}

// timeAgo reads how long before now, as 90m, 2h or 7d, a day, or a time, which is this machine's where it names no zone.
func timeAgo(flag, text string, now time.Time) (time.Time, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return now.AddDate(0, 0, -int(n)), nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", time.DateTime, "2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly} {
		if at, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return at, nil
		}
	}
	return now, command.Usagef("--%s takes how long ago, as 2h or 7d, or a time, as 2026-01-31 or 2026-01-31T18:00:00Z, not %q.", flag, wire.Printable(text, 40))
}

// pastEvents shows what is in the log, oldest first, and gives the number of the last that it showed, or q.after.
func (a account) pastEvents(ctx context.Context, q eventQuery, show func(api.Event) error) (last int64, err error) {
	var found []api.Event
	for before := ""; ; {
		p, err := a.eventPage(ctx, q.filter, before, 500)
		if err != nil {
			return q.after, err
		}
		for _, e := range p.Events {
			if e.ID > q.after && (q.limit == 0 || len(found) < q.limit) {
				found = append(found, e)
			}
		}
		done := p.Next == nil || (q.limit > 0 && len(found) == q.limit)
		if !done {
			n, err := strconv.ParseInt(*p.Next, 10, 64)
			done = err != nil || n <= q.after+1
			before = *p.Next
		}
		if done {
			break
		}
	}
	last = q.after
	for _, e := range slices.Backward(found) {
		if err := show(e); err != nil {
			return last, err
		}
		last = e.ID
	}
	return last, nil
}

func (a account) eventPage(ctx context.Context, filter url.Values, before string, limit int) (p api.EventPage, err error) {
	values := maps.Clone(filter)
	values.Set("limit", strconv.Itoa(limit))
	if before != "" {
		values.Set("before", before)
	}
	return p, a.call(ctx, http.MethodGet, "events?"+values.Encode(), nil, &p)
}

// newestEvent is the number of the newest event that the account may see; 0 where there is none.
func (a account) newestEvent(ctx context.Context) (int64, error) {
	for before := ""; ; {
		p, err := a.eventPage(ctx, url.Values{}, before, 1)
		switch {
		case err != nil:
			return 0, err
		case len(p.Events) > 0:
			return p.Events[0].ID, nil
		case p.Next == nil:
			return 0, nil
		}
		before = *p.Next
	}
}

// followEvents shows what is past, where that is wanted, and what happens until ctx ends, each event once. Where the stream
// begins is known before anything is shown, so that what happens meanwhile is not lost.
func (a account) followEvents(ctx context.Context, q eventQuery, past bool, show func(api.Event) error) error {
	since, err := a.newestEvent(ctx)
	if err == nil && past {
		var last int64
		last, err = a.pastEvents(ctx, q, show)
		since = max(since, last)
	}
	if err != nil {
		return err
	}
	q.filter.Del("since")
	for {
		err := a.events(ctx, q.filter, &since, show)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && wire.CodeOf(err) != wire.Offline {
			return err
		}
		select { // the hub may be restarting
		case <-time.After(2 * time.Second):
		case <-ctx.Done():
			return nil
		}
		if newest, err := a.newestEvent(ctx); err == nil { // lower where the hub was restored from a backup
			since = min(since, newest)
		}
	}
}

// eventsSilence is how long a stream may say nothing: the hub does so every 15 s.
const eventsSilence = 40 * time.Second

// events reads the stream from after *since on and moves *since along.
func (a account) events(ctx context.Context, filter url.Values, since *int64, show func(api.Event) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	body, err := a.stream(ctx, "events?"+filter.Encode(), strconv.FormatInt(*since, 10))
	if err != nil {
		return err
	}
	defer body.Close()
	silence := time.AfterFunc(eventsSilence, cancel)
	defer silence.Stop()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		silence.Reset(eventsSilence)
		data, isData := strings.CutPrefix(lines.Text(), "data: ")
		if !isData {
			continue
		}
		var e api.Event
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			return wire.Wrap(err, wire.Internal, "The hub sent an event that cannot be read")
		}
		if e.ID <= *since { // shown already
			continue
		}
		*since = e.ID
		if err := show(e); err != nil {
			return err
		}
	}
	return wire.Wrap(lines.Err(), wire.Offline, "The hub's events ended")
}

func printEventJSON(w io.Writer, e api.Event) error {
	if err := json.NewEncoder(w).Encode(e); err != nil {
		return fmt.Errorf("print event: %w", err)
	}
	return nil
}

// printEvent prints one line: device, user and hook as they are called now, the first two by their ids where they are not there any more, and what
// the event holds besides, numbers bare and text in quotes.
func printEvent(w io.Writer, e api.Event) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%d  %s  %s", e.ID, e.At.Local().Format(time.DateTime), wire.Printable(e.Type, 64))
	for _, who := range []struct {
		label    string
		name, id *string
	}{{"device", e.DeviceName, e.DeviceID}, {"user", e.UserHandle, e.UserID}, {"hook", e.HookName, nil}} {
		if shown := cmp.Or(who.name, who.id); shown != nil {
			fmt.Fprintf(&b, "  %s=%s", who.label, nameText(*shown))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(e.Data)) {
		if text := memberText(e.Data[name]); text != "" && !said(e, name) {
			fmt.Fprintf(&b, "  %s=%s", wire.Printable(name, 64), text)
		}
	}
	_, err := fmt.Fprintln(w, b.String())
	return err
}

// nameText is a name as it is printed: in quotes where it is more than a word, as those of sources may be.
func nameText(name string) string {
	text := wire.Printable(name, 100)
	if !wire.IsWord(text, "-._@+") {
		return strconv.Quote(text)
	}
	return text
}

// said reports whether a member says no more than the names before it.
func said(e api.Event, member string) bool {
	switch member {
	case "name":
		return e.DeviceName != nil && e.Data[member] == *e.DeviceName || e.HookName != nil && e.Data[member] == *e.HookName
	case "endpoint", "source":
		return e.HookName != nil
	}
	return false
}

// memberText is a member as it is printed; "" where it says nothing.
func memberText(member any) string {
	text, isText := member.(string)
	if !isText {
		raw, err := json.Marshal(member) // was decoded from JSON
		if err != nil || string(raw) == "null" {
			return ""
		}
		return wire.Printable(string(raw), 200)
	}
	if text == "" {
		return ""
	}
	return strconv.Quote(wire.Printable(text, 200))
}
