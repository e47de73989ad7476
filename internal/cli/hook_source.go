package cli

import (
	"cmp"
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

const sourceUsage = `Usage: adit hook source [list]
       adit hook source create --verify KIND (--publish TOPIC | --command DEVICE:NAME | --store) [options]
       adit hook source show|pause|resume SOURCE
       adit hook source change SOURCE [options]
       adit hook source rotate SOURCE [--overlap TIME] [--secret-stdin]
       adit hook source remove SOURCE…

Addresses of the hub to which others send requests. SOURCE is its slug, the end of its address, or its id. A secret that the
hub makes is printed once. The list counts those that were accepted, and those that were refused since the hub started.

  --verify KIND          none, bearer, basic, standard-webhooks, github, stripe, slack, gitlab, shopify or hmac
  --secret-stdin         the sender's secret, the first line of standard input; the hub makes one otherwise
  --slug SLUG            the end of the address; made by the hub otherwise, and always for none
  --name NAME            for people
  --publish TOPIC        publish an MQTT message; with jq in {{ }}, as 'cmds/{{ .body.device }}/door'
      --topic-prefix P, --qos 0|1|2, --retain, --correlation v5|envelope|topic, --device DEVICE
  --command DEVICE:NAME  run a command that the device's agent.toml names
      --arg NAME=VALUE   a value for one of its parameters, with jq in {{ }}; may be repeated
  --store                keep it, for adit hook listen
  --jq TEXT, --template TEXT   make the message or the command's input from the request; @FILE reads it from a file
  --no-transform         take that away (change)
  --method METHOD        that is taken, POST otherwise; may be repeated
  --max-bytes N, --rate N, --burst N
  --dedupe-header NAME, --dedupe-hours N   by which repeats are told, and for how long; 0 takes repeats
  --expires TIME         how long it may wait for its device, as 1h
  --queue-offline        with ?wait, wait for a device that is offline; --refuse-offline: do not
  --username NAME        for basic
  --hmac 'KEY: VALUE'    for hmac: header, prefix, encoding, algorithm, signed, timestamp_header, id_header; may be repeated
  --tolerance SECONDS    how far the sender's clock may be off
  --overlap TIME         how long the old secret counts too, as 24h (rotate)
  --json                 print what the hub's API gives

Examples:
  adit hook source create --slug garage --verify bearer --publish 'cmds/kitchen/{{ .body.door }}'
  adit hook source create --verify none --command kitchen:open-door --arg 'door={{ .body.door }}'
  adit hook source create --slug dev --verify github --secret-stdin --store
`

func runSource(ctx context.Context, args []string, stdio command.Stdio) error {
	enabled := func(to bool) func(context.Context, []string, command.Stdio) error {
		return func(ctx context.Context, args []string, stdio command.Stdio) error {
			f := newHookFlags("adit hook source", sourceUsage, stdio)
			if err := f.read(args, 1, 1); err != nil {
				return err
			}
			return f.sourceBy(ctx, http.MethodPatch, body{"enabled": to})
		}
	}
	return hookRows(ctx, "adit hook source", sourceUsage, []command.Command{
		{Name: "list", Run: listSources}, {Name: "create", Run: createSource}, {Name: "show", Run: showSource}, {Name: "change", Run: changeSource},
		{Name: "pause", Run: enabled(false)}, {Name: "resume", Run: enabled(true)},
		{Name: "rotate", Run: func(ctx context.Context, args []string, stdio command.Stdio) error {
			return rotate(ctx, "adit hook source rotate", sourceUsage, "hooks/sources/", args, stdio)
		}},
		{Name: "remove", Run: func(ctx context.Context, args []string, stdio command.Stdio) error {
			return remove(ctx, "adit hook source remove", sourceUsage, "hooks/sources/", args, stdio)
		}},
	}, args, stdio)
}

// sourceFlags are those of create and change.
type sourceFlags struct {
	*hookFlags
	methods, arguments, hmac                  list
	store, retain, queue, refuse, secretInput *bool
}

func newSourceFlags(name string, stdio command.Stdio) *sourceFlags {
	f := &sourceFlags{hookFlags: newHookFlags(name, sourceUsage, stdio)}
	for flag, values := range map[string]*list{"method": &f.methods, "arg": &f.arguments, "hmac": &f.hmac} {
		f.Var(values, flag, "")
	}
	for _, flag := range [...]string{"verify", "name", "publish", "topic-prefix", "qos", "correlation", "device", "command", "jq", "template", "max-bytes",
		"rate", "burst", "dedupe-header", "dedupe-hours", "expires", "username", "tolerance"} {
		f.String(flag, "", "")
	}
	f.store, f.retain, f.secretInput = f.Bool("store", false, ""), f.Bool("retain", false, ""), f.Bool("secret-stdin", false, "")
	f.queue, f.refuse = f.Bool("queue-offline", false, ""), f.Bool("refuse-offline", false, "")
	return f
}

// fill puts what was given into b.
func (f *sourceFlags) fill(b body) error {
	f.text(b, "name", "name")
	f.many(b, "methods", "method", f.methods)
	for key, flag := range map[string]string{"max_bytes": "max-bytes", "rate": "rate", "burst": "burst"} {
		if err := f.number(b, key, flag); err != nil {
			return err
		}
	}
	switch {
	case *f.queue && *f.refuse:
		return command.Usagef("--queue-offline and --refuse-offline are opposites. Choose one.")
	case *f.queue:
		b["offline"] = "queue"
	case *f.refuse:
		b["offline"] = "refuse"
	}
	if f.given("expires") {
		after, err := time.ParseDuration(f.Lookup("expires").Value.String())
		if err != nil || after < 0 {
			return command.Usagef("--expires takes a time, as 1h.")
		}
		b["expires_seconds"] = int(after.Seconds())
	}
	dedupe := body{}
	f.text(dedupe, "header", "dedupe-header")
	if err := f.number(dedupe, "hours", "dedupe-hours"); err != nil {
		return err
	}
	if len(dedupe) > 0 {
		b["dedupe"] = dedupe
	}
	for _, part := range [...]func(body) error{f.verify, f.action, f.transform} {
		if err := part(b); err != nil {
			return err
		}
	}
	return f.secret(b, *f.secretInput)
}

func (f *sourceFlags) verify(b body) error {
	v := body{}
	f.text(v, "username", "username")
	if err := f.number(v, "tolerance_seconds", "tolerance"); err != nil {
		return err
	}
	members, err := pairs("hmac", ":", f.hmac)
	if err != nil {
		return err
	}
	for key, value := range members {
		v[key] = value
	}
	f.text(v, "kind", "verify")
	switch {
	case v["kind"] == nil && len(v) > 0:
		return command.Usagef("Say the whole verification, with --verify KIND.")
	case v["kind"] == "hmac" && v["header"] == nil:
		return command.Usagef("Say the name of the header that carries the signature, as --hmac 'header: X-Signature'.")
	case v["kind"] != nil:
		b["verify"] = v
	}
	return nil
}

// action reads --publish, --command and --store, of which one may be there, and what belongs to them.
func (f *sourceFlags) action(b body) error {
	kinds := body{}
	f.text(kinds, "publish", "publish")
	f.text(kinds, "command", "command")
	if *f.store {
		kinds["store"] = ""
	}
	if len(kinds) == 0 {
		return nil
	}
	if len(kinds) > 1 {
		return command.Usagef("A source does one thing: --publish, --command or --store.")
	}
	a := body{}
	f.text(a, "topic_prefix", "topic-prefix")
	f.text(a, "correlation", "correlation")
	f.text(a, "device", "device")
	if err := f.number(a, "qos", "qos"); err != nil {
		return err
	}
	if *f.retain {
		a["retain"] = true
	}
	for kind, value := range kinds {
		a["kind"] = kind
		switch kind {
		case "publish":
			if a["topic"] = value; strings.HasPrefix(f.Lookup("publish").Value.String(), "{{") && a["topic_prefix"] == nil {
				return command.Usagef("A topic that begins with {{ takes --topic-prefix: whoever sends could write any topic otherwise.")
			}
		case "command":
			device, name, ok := strings.Cut(f.Lookup("command").Value.String(), ":")
			if !ok || device == "" || name == "" {
				return command.Usagef("--command takes DEVICE:NAME, as kitchen:open-door.")
			}
			arguments, err := pairs("arg", "=", f.arguments)
			if err != nil {
				return err
			}
			a["device"], a["command"], a["arguments"] = device, name, arguments
		}
	}
	b["action"] = a
	return nil
}

func createSource(ctx context.Context, args []string, stdio command.Stdio) error {
	f := newSourceFlags("adit hook source create", stdio)
	f.String("slug", "", "")
	if err := f.read(args, 0, 0); err != nil {
		return err
	}
	b := body{}
	f.text(b, "slug", "slug")
	if err := f.fill(b); err != nil {
		return err
	}
	switch {
	case b["verify"] == nil:
		return command.Usagef("Say how a sender proves who it is: --verify none, bearer, basic, standard-webhooks, github, stripe, slack, gitlab, shopify or hmac.")
	case b["action"] == nil:
		return command.Usagef("Say what is done with a request: --publish TOPIC, --command DEVICE:NAME or --store.")
	}
	var made api.NewHookSource
	if done, err := f.ask(ctx, http.MethodPost, "hooks/sources", b, &made); done || err != nil {
		return err
	}
	f.say("%s", made.Source.URL)
	if made.Secret != nil {
		f.showSecret(*made.Secret)
	}
	if made.Source.Note != nil {
		f.note("%s", *made.Source.Note)
	}
	return nil
}

func changeSource(ctx context.Context, args []string, stdio command.Stdio) error {
	f := newSourceFlags("adit hook source change", stdio)
	without := f.Bool("no-transform", false, "")
	if err := f.read(args, 1, 1); err != nil {
		return err
	}
	b := body{}
	if *without {
		b["no_transform"] = true
	}
	if err := f.fill(b); err != nil {
		return err
	}
	if len(b) == 0 {
		return command.Usagef("Say what to change. `adit hook source --help` lists the options.")
	}
	return f.sourceBy(ctx, http.MethodPatch, b)
}

func showSource(ctx context.Context, args []string, stdio command.Stdio) error {
	f := newHookFlags("adit hook source show", sourceUsage, stdio)
	if err := f.read(args, 1, 1); err != nil {
		return err
	}
	return f.sourceBy(ctx, http.MethodGet, nil)
}

// sourceBy reads or changes the source that is named and shows it.
func (f *hookFlags) sourceBy(ctx context.Context, method string, b any) error {
	var s api.HookSource
	if done, err := f.ask(ctx, method, "hooks/sources/"+url.PathEscape(f.Arg(0)), b, &s); done || err != nil {
		return err
	}
	f.say("%s (%s) %s", s.Slug, s.ID, s.URL)
	if s.Name != "" {
		f.say("  name      %s", s.Name)
	}
	f.say("  state     %s", sourceState(s))
	f.say("  sender    %s, by %s", s.Verify.Kind, strings.Join(s.Methods, ", "))
	f.say("  does      %s", sourceAction(s))
	if s.Note != nil {
		f.say("  note      %s", *s.Note)
	}
	if s.Transform != nil {
		f.say("  %-9s %s", s.Transform.Kind, s.Transform.Text)
	}
	f.say("  limits    %d bytes, %v a second, %d at once", s.MaxBytes, s.Rate, s.Burst)
	if text := sourceWaits(s); text != "" {
		f.say("  waits     %s", text)
	}
	f.say("  so far    %d accepted; %d refused since the hub started", s.Accepted, s.Refused)
	if s.LastRefused != nil {
		f.say("  refused   %s", *s.LastRefused)
	}
	return nil
}

// sourceWaits is for how long what a source does may wait, and what becomes of a sender that waits; "" where it only keeps.
func sourceWaits(s api.HookSource) string {
	if s.Action.Kind == api.Store {
		return ""
	}
	text := "as long as it takes"
	if s.ExpiresSeconds > 0 {
		text = brief(time.Duration(s.ExpiresSeconds)*time.Second) + " at most"
	}
	if s.Offline == api.HookSourceOfflineQueue {
		return text + "; with ?wait and nobody there it is done later"
	}
	return text + "; with ?wait and nobody there it is refused"
}

// brief is a duration without what is zero at its end: 1h, not 1h0m0s.
func brief(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func sourceState(s api.HookSource) string {
	if s.Enabled {
		return "active"
	}
	return "paused"
}

// sourceAction is what a source does, in words.
func sourceAction(s api.HookSource) string {
	switch a := s.Action; {
	case a.Topic != nil:
		return "publish " + *a.Topic
	case a.Command != nil:
		text := "command " + cmp.Or(or(s.DeviceName), or(a.Device)) + ":" + *a.Command
		if a.Arguments != nil {
			for _, name := range slices.Sorted(maps.Keys(*a.Arguments)) {
				text += " " + name + "=" + (*a.Arguments)[name]
			}
		}
		return text
	default:
		return string(a.Kind)
	}
}

func listSources(ctx context.Context, args []string, stdio command.Stdio) error {
	f := newHookFlags("adit hook source list", sourceUsage, stdio)
	if err := f.read(args, 0, 0); err != nil {
		return err
	}
	return f.sources(ctx)
}

func (f *hookFlags) sources(ctx context.Context) error {
	var all []api.HookSource
	if done, err := f.ask(ctx, http.MethodGet, "hooks/sources", nil, &all); done || err != nil {
		return err
	}
	rows := [][]string{{"SOURCE", "STATE", "SENDER", "ACCEPTED", "REFUSED", "DOES", "ADDRESS"}}
	for _, s := range all {
		rows = append(rows, []string{s.Slug, sourceState(s), string(s.Verify.Kind), fmt.Sprint(s.Accepted), fmt.Sprint(s.Refused), sourceAction(s), s.URL})
	}
	return printList(f.stdio, false, nil, rows, "There is no source. `adit hook source create` makes one.")
}
