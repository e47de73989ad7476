package cli

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aditdev/adit/internal/api"
	"github.com/aditdev/adit/internal/command"
)

const deliveriesUsage = `Usage: adit hook deliveries [options]
       adit hook delivery ID

What the hub sends and sent to endpoints, newest first; and each attempt of one, with request and response.

  --endpoint NAME   only to this endpoint
  --state STATE     waiting, sending, delivered, dead or cancelled
  --type TYPE       of event, as device.*; mqtt.message for messages
  --device DEVICE   of this device
  --since TIME      how long ago, as 2h or 7d, or a time; likewise --until
  --limit N         50 otherwise
  --json            print what the hub's API gives
`

const replayUsage = `Usage: adit hook replay ID…
       adit hook replay [--endpoint NAME] [--state STATE] [--type TYPE] [--device DEVICE] [--since TIME] [--until TIME] [--dry-run]
       adit hook try ID…
       adit hook cancel ID…

replay sends again: the deliveries that are named, or those that match, as new deliveries of the same messages. With the id of
a request to a source, it does again what the source does with it. try makes the next attempt of deliveries that wait now, also where
the breaker is open; cancel gives them up, so that those behind them in order go on.

  --since TIME   how long ago, as 2h or 7d, or a time; likewise --until
  --dry-run      only say how many match
  --json         print what the hub's API gives

Example:
  adit hook replay --endpoint shop --state dead --since 2h
`

const requestsUsage = `Usage: adit hook requests [--source SOURCE] [--state STATE] [--since TIME] [--until TIME] [--limit N]
       adit hook request ID

What sources received, newest first; and one of them in full.

  --source SOURCE   only of this source
  --state STATE     waiting, done or failed
  --since TIME      how long ago, as 2h or 7d, or a time; likewise --until
  --limit N         50 otherwise
  --json            print what the hub's API gives
`

// filters defines flags of a list, and gives them as members of a request once they are read.
func (f *hookFlags) filters(names ...string) func() (map[string]string, error) {
	for _, name := range names {
		f.String(name, "", "")
	}
	return func() (map[string]string, error) {
		out := map[string]string{}
		for _, name := range names {
			value := f.Lookup(name).Value.String()
			if value != "" && (name == "since" || name == "until") {
				at, err := timeAgo(name, value, time.Now())
				if err != nil {
					return nil, err
				}
				value = at.UTC().Format(time.RFC3339Nano)
			}
			if value != "" {
				out[name] = value
			}
		}
		return out, nil
	}
}

const hookPage = 200 // that the hub gives at once, at most

// pages reads a list of the hub page by page, up to limit elements, as they are.
func (f *hookFlags) pages(ctx context.Context, path, member string, filter map[string]string, limit int) ([]json.RawMessage, error) {
	if limit < 1 {
		return nil, command.Usagef("--limit takes a number from 1 on.")
	}
	values := url.Values{}
	for name, value := range filter {
		values.Set(name, value)
	}
	all := []json.RawMessage{}
	for {
		values.Set("limit", strconv.Itoa(min(limit-len(all), hookPage)))
		var page map[string]json.RawMessage
		if err := f.a.call(ctx, http.MethodGet, path+"?"+values.Encode(), nil, &page); err != nil {
			return nil, err
		}
		var list []json.RawMessage
		var next string
		if json.Unmarshal(page[member], &list) != nil {
			return nil, refusal(http.StatusOK, nil)
		}
		_ = json.Unmarshal(page["next"], &next) // absent on the last page
		all = append(all, list...)
		if next == "" || len(list) == 0 || len(all) >= limit {
			return all, nil
		}
		values.Set("before", next)
	}
}

// table prints what pages gave: as it is for --json, else a row of each.
func (f *hookFlags) table(all []json.RawMessage, head []string, nothing string, row func(json.RawMessage) ([]string, error)) error {
	rows := [][]string{head}
	for _, one := range all {
		cells, err := row(one)
		if err != nil {
			return refusal(http.StatusOK, nil)
		}
		rows = append(rows, cells)
	}
	return printList(f.stdio, *f.json, all, rows, nothing)
}

func listDeliveries(ctx context.Context, args []string, stdio command.Stdio) error {
	f := newHookFlags("adit hook deliveries", deliveriesUsage, stdio)
	filters := f.filters("endpoint", "state", "type", "device", "since", "until")
	limit := f.Int("limit", 50, "")
	if err := f.read(args, 0, 0); err != nil {
		return err
	}
	filter, err := filters()
	if err != nil {
		return err
	}
	all, err := f.pages(ctx, "hooks/deliveries", "deliveries", filter, *limit)
	if err != nil {
		return err
	}
	return f.table(all, []string{"DELIVERY", "AT", "ENDPOINT", "TYPE", "STATE", "ATTEMPTS", "LAST"}, "No delivery matches.",
		func(raw json.RawMessage) ([]string, error) {
			var d api.HookDelivery
			err := json.Unmarshal(raw, &d)
			return []string{d.ID, local(d.CreatedAt), d.EndpointName, typeOf(d), deliveryState(d), strconv.Itoa(d.Attempts), lastOf(d)}, err
		})
}

func local(at time.Time) string { return at.Local().Format(time.DateTime) }

// typeOf is what a delivery is of: a message's topic tells it from the others of its type.
func typeOf(d api.HookDelivery) string {
	if d.Topic != nil {
		return d.Type + " " + *d.Topic
	}
	return d.Type
}

// deliveryState says why one waits, where that is known.
func deliveryState(d api.HookDelivery) string {
	if d.HeldBy != nil {
		return string(d.State) + " (" + string(*d.HeldBy) + ")"
	}
	return string(d.State)
}

// lastOf is how the last attempt went.
func lastOf(d api.HookDelivery) string {
	switch {
	case d.LastError != nil:
		return *d.LastError
	case d.LastStatus != nil:
		return strconv.Itoa(*d.LastStatus)
	}
	return "-"
}

func showDelivery(ctx context.Context, args []string, stdio command.Stdio) error {
	f := newHookFlags("adit hook delivery", deliveriesUsage, stdio)
	if err := f.read(args, 1, 1); err != nil {
		return err
	}
	var got api.HookDeliveryDetail
	if done, err := f.ask(ctx, http.MethodGet, "hooks/deliveries/"+url.PathEscape(f.Arg(0)), nil, &got); done || err != nil {
		return err
	}
	d := got.Delivery
	f.say("%s to %s: %s, %s, attempts: %d", d.ID, d.EndpointName, typeOf(d), deliveryState(d), d.Attempts)
	f.say("  message   %s", d.MessageID)
	if d.NextAt != nil {
		f.say("  next      %s", local(*d.NextAt))
	}
	if d.ReplayOf != nil {
		f.say("  again     %s", *d.ReplayOf)
	}
	for _, a := range got.Attempts {
		f.attempt(a)
	}
	return nil
}

// attempt prints one as curl -v does.
func (f *hookFlags) attempt(a api.HookAttempt) {
	f.say("\nAttempt %d at %s, %d ms, %s", a.Number, local(a.At), a.TookMs, or(a.Address))
	f.say("> %s %s", a.Method, a.URL)
	f.headers("> ", a.RequestHeaders)
	f.body("> ", a.RequestBody)
	if a.Error != nil {
		f.say("* %s", *a.Error)
	}
	if a.Status == nil {
		return
	}
	f.say("< %d", *a.Status)
	if a.ResponseHeaders != nil {
		f.headers("< ", *a.ResponseHeaders)
	}
	if a.ResponseBody != nil {
		f.body("< ", *a.ResponseBody)
	}
}

func (f *hookFlags) headers(mark string, all []api.HookHeader) {
	for _, h := range all {
		f.say("%s%s: %s", mark, h.Name, h.Value)
	}
}

const bodyShown = 8 << 10 // bytes of a body that people see

// body prints a body where it is text; --json has its bytes.
func (f *hookFlags) body(mark string, data []byte) {
	if len(data) == 0 {
		return
	}
	f.say("%s", mark)
	if !utf8.Valid(data) {
		f.say("%s(%d bytes that are no text; --json has them)", mark, len(data))
		return
	}
	shown := strings.TrimSuffix(string(data[:min(len(data), bodyShown)]), "\n")
	for line := range strings.SplitSeq(shown, "\n") {
		f.say("%s%s", mark, strings.TrimSuffix(line, "\r"))
	}
	if len(data) > bodyShown {
		f.say("%s(and %d bytes more; --json has them)", mark, len(data)-bodyShown)
	}
}

func replay(ctx context.Context, args []string, stdio command.Stdio) error {
	f := newHookFlags("adit hook replay", replayUsage, stdio)
	filters := f.filters("endpoint", "state", "type", "device", "since", "until")
	dry := f.Bool("dry-run", false, "")
	if err := f.read(args, 0, -1); err != nil {
		return err
	}
	filter, err := filters()
	switch {
	case err != nil:
		return err
	case f.NArg() > 0 && (len(filter) > 0 || *dry):
		return command.Usagef("Name what to send again by ids, or by --endpoint, --state and the others, not both.")
	case f.NArg() > 0:
		return f.each(ctx, "/replay")
	case len(filter) == 0:
		return command.Usagef("Say what to send again: ids, or --endpoint, --state, --type, --device, --since.")
	}
	b := body{}
	for name, value := range filter {
		b[name] = value
	}
	if *dry {
		b["dry_run"] = true
	}
	var got api.HookReplayed
	if done, err := f.ask(ctx, http.MethodPost, "hooks/deliveries/replay", b, &got); done || err != nil {
		return err
	}
	if *dry {
		f.say("Messages that would be sent again: %d", got.Count)
		return nil
	}
	f.say("Messages that are sent again: %d", got.Count)
	if got.Count == 0 {
		return nil
	}
	return f.noteHeld(ctx, filter["endpoint"])
}

func tryDeliveries(ctx context.Context, args []string, stdio command.Stdio) error {
	f := newHookFlags("adit hook try", replayUsage, stdio)
	if err := f.read(args, 1, -1); err != nil {
		return err
	}
	if slices.ContainsFunc(f.Args(), func(id string) bool { return strings.HasPrefix(id, requestPrefix) }) {
		return command.Usagef("try is for deliveries. A request to a source is done again by adit hook replay.")
	}
	return f.each(ctx, "/try")
}

func cancelDeliveries(ctx context.Context, args []string, stdio command.Stdio) error {
	f := newHookFlags("adit hook cancel", replayUsage, stdio)
	if err := f.read(args, 1, -1); err != nil {
		return err
	}
	return f.each(ctx, "/cancel")
}

// requestPrefix tells the ids of requests to sources from those of deliveries.
const requestPrefix = "req_"

// each does something with every delivery or request that is named, and prints the id of what came of it.
func (f *hookFlags) each(ctx context.Context, what string) error {
	for _, id := range f.Args() {
		path := "hooks/deliveries/"
		if strings.HasPrefix(id, requestPrefix) {
			path = "hooks/requests/"
		}
		var got struct {
			ID           string
			EndpointName string                  `json:"endpoint_name"`
			HeldBy       *api.HookDeliveryHeldBy `json:"held_by"`
		}
		done, err := f.ask(ctx, http.MethodPost, path+url.PathEscape(id)+what, nil, &got)
		if err != nil {
			return err
		}
		if !done {
			f.say("%s", got.ID)
		}
		if !done && got.HeldBy != nil && (*got.HeldBy == api.HookDeliveryHeldByPaused || *got.HeldBy == api.HookDeliveryHeldByDisabled) {
			f.note("%s", heldNote(got.EndpointName, string(*got.HeldBy)))
		}
	}
	return nil
}

func listRequests(ctx context.Context, args []string, stdio command.Stdio) error {
	f := newHookFlags("adit hook requests", requestsUsage, stdio)
	filters := f.filters("source", "state", "since", "until")
	limit := f.Int("limit", 50, "")
	if err := f.read(args, 0, 0); err != nil {
		return err
	}
	filter, err := filters()
	if err != nil {
		return err
	}
	all, err := f.pages(ctx, "hooks/requests", "requests", filter, *limit)
	if err != nil {
		return err
	}
	return f.table(all, []string{"REQUEST", "AT", "SOURCE", "REQUESTED", "BYTES", "STATE", "ERROR"}, "No request matches.",
		func(raw json.RawMessage) ([]string, error) {
			var r api.HookRequest
			err := json.Unmarshal(raw, &r)
			return []string{r.ID, local(r.At), hookSource(r), r.Method + " " + r.Path, strconv.Itoa(r.Bytes), string(r.State), or(r.Error)}, err
		})
}

func showRequest(ctx context.Context, args []string, stdio command.Stdio) error {
	f := newHookFlags("adit hook request", requestsUsage, stdio)
	if err := f.read(args, 1, 1); err != nil {
		return err
	}
	var d api.HookRequestDetail
	if done, err := f.ask(ctx, http.MethodGet, "hooks/requests/"+url.PathEscape(f.Arg(0)), nil, &d); done || err != nil {
		return err
	}
	r := d.Request
	f.say("%s to %s at %s from %s: %s", r.ID, hookSource(r), local(r.At), or(r.Address), r.State)
	if r.Error != nil {
		f.say("  error     %s", *r.Error)
	}
	if r.Topic != nil {
		f.say("  topic     %s", *r.Topic)
	}
	f.say("> %s %s", r.Method, hookPath(r))
	f.headers("> ", d.Headers)
	f.body("> ", d.Body)
	if a := d.Answer; a != nil {
		f.say("%s", answerLine(*a))
		if a.Body != nil {
			f.body("< ", *a.Body)
		}
	}
	return nil
}

// answerLine is the first line of an answer, with its content type where it has one.
func answerLine(a api.HookAnswer) string {
	line := "< " + strconv.Itoa(a.Status)
	if a.ContentType != nil && *a.ContentType != "" {
		line += " " + *a.ContentType
	}
	return line
}

// hookSource is what a source is called: its slug, or its name where the slug is a secret, which the hub masks.
func hookSource(r api.HookRequest) string {
	if r.SourceSlug == "***" && r.SourceName != nil {
		return *r.SourceName
	}
	return r.SourceSlug
}

// hookPath is what stood in the request line.
func hookPath(r api.HookRequest) string { return "/hook/" + r.SourceSlug + r.Path }
