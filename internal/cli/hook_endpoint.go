package cli

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aditdev/adit/internal/api"
	"github.com/aditdev/adit/internal/command"
)

const endpointUsage = `Usage: adit hook endpoint [list]
       adit hook endpoint create URL [options]
       adit hook endpoint show|test|pause|resume NAME
       adit hook endpoint change NAME [options]
       adit hook endpoint rotate NAME [--overlap TIME] [--secret-stdin]
       adit hook endpoint remove NAME…

Where the hub sends events and MQTT messages. NAME is an endpoint's name or id. The secret is printed once, when it is made.
resume also lets one begin again that the hub disabled. test sends a message and says how that went: 0 where it arrived.

  --event TYPE       of events, as device.online or device.*; may be repeated. All events, without it and --topic
  --topic FILTER     of MQTT messages; may be repeated
  --device DEVICE    only of this device, or tag:NAME; may be repeated
  --name NAME        made from the URL otherwise
  --format FORMAT    standard, cloudevents, cloudevents-binary or raw
  --jq TEXT          a jq program that makes the body; @FILE reads it from a file
  --template TEXT    likewise, text with jq in {{ }}; --no-transform takes either away
  --header 'K: V'    a further header; may be repeated
  --ordered          one at a time of each device, the next when it arrived; --parallel: not so
  --v1a              sign with Ed25519 rather than with a shared secret (create)
  --rate N, --concurrency N, --timeout SECONDS
  --secret-stdin     a secret of your own, the first line of standard input (create, rotate)
  --url URL          another URL (change)
  --overlap TIME     how long the old secret signs too, as 24h (rotate)
  --no-wait          only queue the message, and print the delivery's id (test)
  --json             print what the hub's API gives

A list is changed as a whole; one empty value, as --event '', clears it.

Examples:
  adit hook create https://example.com/in --event device.online --event device.offline
  adit hook endpoint create https://example.com/in --topic 'devices/+/alarm' --ordered
`

func runEndpoint(ctx context.Context, args []string, stdio command.Stdio) error {
	state := func(to string) func(context.Context, []string, command.Stdio) error {
		return func(ctx context.Context, args []string, stdio command.Stdio) error {
			return patchEndpoint(ctx, args, stdio, body{"state": to})
		}
	}
	return hookRows(ctx, "adit hook endpoint", endpointUsage, []command.Command{
		{Name: "list", Run: listEndpoints}, {Name: "create", Run: createEndpoint}, {Name: "show", Run: showEndpoint},
		{Name: "change", Run: changeEndpoint}, {Name: "test", Run: testEndpoint},
		{Name: "pause", Run: state("paused")}, {Name: "resume", Run: state("active")},
		{Name: "rotate", Run: func(ctx context.Context, args []string, stdio command.Stdio) error {
			return rotate(ctx, "adit hook endpoint rotate", endpointUsage, "hooks/endpoints/", args, stdio)
		}},
		{Name: "remove", Run: func(ctx context.Context, args []string, stdio command.Stdio) error {
			return remove(ctx, "adit hook endpoint remove", endpointUsage, "hooks/endpoints/", args, stdio)
		}},
	}, args, stdio)
}

// endpointFlags are those of create and change.
type endpointFlags struct {
	*hookFlags
	events, topics, devices, headers list
	ordered, parallel                *bool
}

func newEndpointFlags(name string, stdio command.Stdio) *endpointFlags {
	f := &endpointFlags{hookFlags: newHookFlags(name, endpointUsage, stdio)}
	for flag, values := range map[string]*list{"event": &f.events, "topic": &f.topics, "device": &f.devices, "header": &f.headers} {
		f.Var(values, flag, "")
	}
	for _, flag := range [...]string{"name", "format", "jq", "template", "rate", "concurrency", "timeout"} {
		f.String(flag, "", "")
	}
	f.ordered, f.parallel = f.Bool("ordered", false, ""), f.Bool("parallel", false, "")
	return f
}

// fill puts what was given into b.
func (f *endpointFlags) fill(b body) error {
	f.text(b, "name", "name")
	f.text(b, "format", "format")
	f.many(b, "events", "event", f.events)
	f.many(b, "topics", "topic", f.topics)
	f.many(b, "devices", "device", f.devices)
	if f.given("header") {
		if len(f.headers) == 1 && f.headers[0] == "" {
			f.headers = nil
		}
		headers, err := pairs("header", ":", f.headers)
		if err != nil {
			return err
		}
		b["headers"] = headers
	}
	switch {
	case *f.ordered && *f.parallel:
		return command.Usagef("--ordered and --parallel are opposites. Choose one.")
	case *f.ordered:
		b["mode"] = "ordered"
	case *f.parallel:
		b["mode"] = "parallel"
	}
	for key, flag := range map[string]string{"rate": "rate", "concurrency": "concurrency", "timeout_seconds": "timeout"} {
		if err := f.number(b, key, flag); err != nil {
			return err
		}
	}
	return f.transform(b)
}

func createEndpoint(ctx context.Context, args []string, stdio command.Stdio) error {
	f := newEndpointFlags("adit hook endpoint create", stdio)
	v1a, fromStdin := f.Bool("v1a", false, ""), f.Bool("secret-stdin", false, "")
	if err := f.read(args, 0, 1); err != nil {
		return err
	}
	if f.NArg() == 0 {
		return command.Usagef("An endpoint needs the URL to send to. What others send to the hub is a source: `adit hook source create`.")
	}
	b := body{"url": f.Arg(0)}
	if *v1a {
		b["signature"] = "v1a"
	}
	if err := f.secret(b, *fromStdin); err != nil {
		return err
	}
	if err := f.fill(b); err != nil {
		return err
	}
	var made api.NewHookEndpoint
	if done, err := f.ask(ctx, http.MethodPost, "hooks/endpoints", b, &made); done || err != nil {
		return err
	}
	f.say("%s (%s) -> %s", made.Endpoint.Name, made.Endpoint.ID, made.Endpoint.URL)
	switch {
	case made.Secret != nil:
		f.showSecret(*made.Secret)
	case made.Endpoint.PublicKey != nil:
		f.say("%s", *made.Endpoint.PublicKey)
	}
	return nil
}

func changeEndpoint(ctx context.Context, args []string, stdio command.Stdio) error {
	f := newEndpointFlags("adit hook endpoint change", stdio)
	f.String("url", "", "")
	without := f.Bool("no-transform", false, "")
	if err := f.read(args, 1, 1); err != nil {
		return err
	}
	b := body{}
	f.text(b, "url", "url")
	if *without {
		b["no_transform"] = true
	}
	if err := f.fill(b); err != nil {
		return err
	}
	if len(b) == 0 {
		return command.Usagef("Say what to change. `adit hook endpoint --help` lists the options.")
	}
	return f.patch(ctx, b)
}

func patchEndpoint(ctx context.Context, args []string, stdio command.Stdio, b body) error {
	f := newHookFlags("adit hook endpoint", endpointUsage, stdio)
	if err := f.read(args, 1, 1); err != nil {
		return err
	}
	return f.patch(ctx, b)
}

// patch changes the endpoint that is named and shows it.
func (f *hookFlags) patch(ctx context.Context, b body) error {
	var e api.HookEndpoint
	if done, err := f.ask(ctx, http.MethodPatch, "hooks/endpoints/"+url.PathEscape(f.Arg(0)), b, &e); done || err != nil {
		return err
	}
	f.endpoint(e)
	return nil
}

func showEndpoint(ctx context.Context, args []string, stdio command.Stdio) error {
	f := newHookFlags("adit hook endpoint show", endpointUsage, stdio)
	if err := f.read(args, 1, 1); err != nil {
		return err
	}
	var e api.HookEndpoint
	if done, err := f.ask(ctx, http.MethodGet, "hooks/endpoints/"+url.PathEscape(f.Arg(0)), nil, &e); done || err != nil {
		return err
	}
	f.endpoint(e)
	return nil
}

// endpoint prints one in full.
func (f *hookFlags) endpoint(e api.HookEndpoint) {
	f.say("%s (%s) -> %s", e.Name, e.ID, e.URL)
	f.say("  state     %s", endpointState(e))
	f.say("  events    %s", joined(e.Events))
	f.say("  topics    %s", joined(e.Topics))
	f.say("  devices   %s", joined(e.Devices))
	f.say("  sends     %s, %s, signed %s", e.Format, e.Mode, e.Signature)
	if e.PublicKey != nil {
		f.say("  key       %s", *e.PublicKey)
	}
	if e.Transform != nil {
		f.say("  %-9s %s", e.Transform.Kind, e.Transform.Text)
	}
	for _, name := range slices.Sorted(maps.Keys(e.Headers)) {
		f.say("  header    %s: %s", name, e.Headers[name])
	}
	f.say("  limits    %v a second, %d at once, %d s each", e.Rate, e.Concurrency, e.TimeoutSeconds)
	f.say("  now       %d wait, %d given up; in 24 h %d attempts arrived, %d failed", e.Waiting, e.Dead, e.Delivered24H, e.Failed24H)
	if e.LastError != nil {
		f.say("  failed    %s", *e.LastError)
	}
}

func endpointState(e api.HookEndpoint) string {
	switch {
	case e.DisabledReason != nil:
		return string(e.State) + ": " + *e.DisabledReason
	case e.State != "active" || e.Breaker == "closed":
		return string(e.State)
	case e.RetryAt != nil:
		return fmt.Sprintf("%s, fails; tried again at %s", e.State, e.RetryAt.Local().Format(time.DateTime))
	}
	return string(e.State) + ", fails"
}

func listEndpoints(ctx context.Context, args []string, stdio command.Stdio) error {
	f := newHookFlags("adit hook endpoint list", endpointUsage, stdio)
	if err := f.read(args, 0, 0); err != nil {
		return err
	}
	return f.endpoints(ctx)
}

func (f *hookFlags) endpoints(ctx context.Context) error {
	var all []api.HookEndpoint
	if done, err := f.ask(ctx, http.MethodGet, "hooks/endpoints", nil, &all); done || err != nil {
		return err
	}
	rows := [][]string{{"ENDPOINT", "STATE", "WAITING", "DEAD", "GETS", "URL"}}
	for _, e := range all {
		gets := strings.Join(append(e.Events, e.Topics...), ",")
		if gets == "" {
			gets = "-"
		}
		rows = append(rows, []string{e.Name, endpointState(e), fmt.Sprint(e.Waiting), fmt.Sprint(e.Dead), gets, e.URL})
	}
	return printList(f.stdio, false, nil, rows, "There is no endpoint. `adit hook endpoint create URL` makes one.")
}
