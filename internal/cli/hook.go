package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/aditdev/adit/internal/api"
	"github.com/aditdev/adit/internal/command"
	"github.com/aditdev/adit/internal/wire"
)

const hookUsage = `Usage: adit hook [list] [--json]
       adit hook endpoint list|create|show|change|rotate|test|pause|resume|remove …
       adit hook source list|create|show|change|rotate|pause|resume|remove …
       adit hook deliveries|delivery|replay|try|cancel|requests|request|listen …

Webhooks, for those who manage the hub. An endpoint is where the hub sends events and MQTT messages; each sending is a
delivery. A source is an address of the hub to which others send requests.

  list              endpoints and sources
  create URL …      short for: endpoint create URL …
  deliveries        what is and was sent; delivery ID shows each attempt
  replay ID…        send again, or do again what a source does with a request
  try ID…           make the next attempt of deliveries that wait now
  cancel ID…        give up deliveries that wait
  requests          what sources received; request ID shows one
  listen SOURCE     requests as they come, also into a program on this machine

Each has its own help, as adit hook endpoint --help. All of them take --json.
`

func hookCommand() command.Command {
	return command.Command{Name: "hook", Summary: "Webhooks: endpoints, deliveries, sources, requests", Usage: hookUsage, Run: runHook}
}

func runHook(ctx context.Context, args []string, stdio command.Stdio) error {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") && !strings.HasPrefix(args[0], "-h") && !strings.HasPrefix(args[0], "--h") {
		return listHooks(ctx, args, stdio)
	}
	return command.Dispatch(ctx, "adit hook", hookUsage, HookCommands(), args, stdio)
}

// HookCommands are the rows below `adit hook`.
func HookCommands() []command.Command {
	return []command.Command{
		{Name: "list", Usage: hookUsage, Run: listHooks},
		{Name: "endpoint", Usage: endpointUsage, Run: runEndpoint}, {Name: "source", Usage: sourceUsage, Run: runSource},
		{Name: "create", Usage: endpointUsage, Run: createEndpoint},
		{Name: "deliveries", Usage: deliveriesUsage, Run: listDeliveries}, {Name: "delivery", Usage: deliveriesUsage, Run: showDelivery},
		{Name: "replay", Usage: replayUsage, Run: replay},
		{Name: "try", Usage: replayUsage, Run: tryDeliveries}, {Name: "cancel", Usage: replayUsage, Run: cancelDeliveries},
		{Name: "requests", Usage: requestsUsage, Run: listRequests}, {Name: "request", Usage: requestsUsage, Run: showRequest},
		{Name: "listen", Usage: listenUsage, Run: listenHook},
	}
}

// hookRows dispatches below `adit hook endpoint` and `source`; without a word it is the list.
func hookRows(ctx context.Context, prefix, usage string, table []command.Command, args []string, stdio command.Stdio) error {
	if len(args) == 0 || args[0] == "--json" {
		args = append([]string{"list"}, args...)
	}
	if args[0] == "--help" || args[0] == "-h" || args[0] == "help" {
		_, err := io.WriteString(stdio.Out, usage)
		return err
	}
	for i := range table {
		table[i].Usage = usage
	}
	return command.Dispatch(ctx, prefix, usage, table, args, stdio)
}

// hookFlags are the flags of one command, and the answer as the hub gave it.
type hookFlags struct {
	*command.Flags
	json  *bool
	stdio command.Stdio
	a     account
}

func newHookFlags(name, usage string, stdio command.Stdio) *hookFlags {
	f := command.NewFlags(name, usage)
	return &hookFlags{Flags: f, json: f.Bool("json", false, ""), stdio: stdio}
}

// read reads the flags and who the caller is.
func (f *hookFlags) read(args []string, least, most int) (err error) {
	if err = parse(f.Flags, args, least, most, f.stdio); err == nil {
		f.a, err = readAccount()
	}
	return err
}

// ask calls the hub and reads the answer into result, or prints it as it is where --json is given: then done is true.
func (f *hookFlags) ask(ctx context.Context, method, path string, body, result any) (done bool, err error) {
	var raw json.RawMessage
	if err := f.a.call(ctx, method, path, body, &raw); err != nil {
		return false, err
	}
	if *f.json {
		return true, writeJSON(f.stdio.Out, raw)
	}
	if json.Unmarshal(raw, result) != nil {
		return false, refusal(http.StatusOK, nil)
	}
	return false, nil
}

// say prints a line for people, of which what others chose is made printable.
func (f *hookFlags) say(format string, args ...any) {
	fmt.Fprintln(f.stdio.Out, wire.Printable(fmt.Sprintf(format, args...), 4000))
}

// note prints a line beside the data.
func (f *hookFlags) note(format string, args ...any) {
	fmt.Fprintln(f.stdio.Err, wire.Printable(fmt.Sprintf(format, args...), 4000))
}

// remove deletes each that is named.
func remove(ctx context.Context, name, usage, path string, args []string, stdio command.Stdio) error {
	f := newHookFlags(name, usage, stdio)
	if err := f.read(args, 1, -1); err != nil {
		return err
	}
	for _, one := range f.Args() {
		if err := f.a.call(ctx, http.MethodDelete, path+url.PathEscape(one), nil, nil); err != nil {
			return err
		}
	}
	return nil
}

func listHooks(ctx context.Context, args []string, stdio command.Stdio) error {
	f := newHookFlags("adit hook list", hookUsage, stdio)
	if err := f.read(args, 0, 0); err != nil {
		return err
	}
	if *f.json {
		var both struct {
			Endpoints json.RawMessage `json:"endpoints"`
			Sources   json.RawMessage `json:"sources"`
		}
		if err := f.a.call(ctx, http.MethodGet, "hooks/endpoints", nil, &both.Endpoints); err != nil {
			return err
		}
		if err := f.a.call(ctx, http.MethodGet, "hooks/sources", nil, &both.Sources); err != nil {
			return err
		}
		return writeJSON(stdio.Out, both)
	}
	if err := f.endpoints(ctx); err != nil {
		return err
	}
	return f.sources(ctx)
}

// body is what is asked of the hub: only what was given.
type body map[string]any

// text puts a flag's text into b where the flag was given.
func (f *hookFlags) text(b body, key, flag string) {
	if f.given(flag) {
		b[key] = f.Lookup(flag).Value.String()
	}
}

// number puts a flag's number into b.
func (f *hookFlags) number(b body, key, flag string) error {
	if !f.given(flag) {
		return nil
	}
	n, err := strconv.ParseFloat(f.Lookup(flag).Value.String(), 64)
	if err != nil {
		return command.Usagef("--%s takes a number.", flag)
	}
	b[key] = n
	return nil
}

func (f *hookFlags) given(name string) (given bool) {
	f.Visit(func(known *flag.Flag) { given = given || known.Name == name })
	return given
}

// many puts a flag that may be repeated into b; one empty value clears the list.
func (f *hookFlags) many(b body, key, flag string, values list) {
	if !f.given(flag) {
		return
	}
	out := []string{}
	for _, v := range values {
		if v != "" {
			out = append(out, v)
		}
	}
	b[key] = out
}

// pairs reads values of the form NAME=VALUE, or of another separator.
func pairs(flag, separator string, values list) (map[string]string, error) {
	out := map[string]string{}
	for _, v := range values {
		name, value, ok := strings.Cut(v, separator)
		if !ok || strings.TrimSpace(name) == "" {
			return nil, command.Usagef("--%s takes NAME%sVALUE, not %q.", flag, separator, v)
		}
		out[strings.TrimSpace(name)] = strings.TrimPrefix(value, " ")
	}
	return out, nil
}

// transform reads --jq and --template: a text, or @FILE.
func (f *hookFlags) transform(b body) error {
	for _, kind := range [...]string{"jq", "template"} {
		if !f.given(kind) {
			continue
		}
		if b["transform"] != nil {
			return command.Usagef("--jq and --template are two kinds of the same. Choose one.")
		}
		text := f.Lookup(kind).Value.String()
		if name, ok := strings.CutPrefix(text, "@"); ok {
			data, err := os.ReadFile(name)
			if err != nil {
				return wire.Wrap(err, wire.Invalid, "--%s", kind)
			}
			text = string(data)
		}
		b["transform"] = body{"kind": kind, "text": text}
	}
	return nil
}

// secret reads the first line of standard input, where --secret-stdin is given.
func (f *hookFlags) secret(b body, wanted bool) error {
	if !wanted {
		return nil
	}
	line, err := bufio.NewReader(io.LimitReader(f.stdio.In, 4096)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read secret: %w", err)
	}
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return command.Usagef("Standard input held no secret.")
	}
	b["secret"] = line
	return nil
}

// rotate asks for another secret.
func rotate(ctx context.Context, name, usage, path string, args []string, stdio command.Stdio) error {
	f := newHookFlags(name, usage, stdio)
	f.String("overlap", "", "")
	fromStdin := f.Bool("secret-stdin", false, "")
	if err := f.read(args, 1, 1); err != nil {
		return err
	}
	b := body{}
	f.text(b, "overlap", "overlap")
	if err := f.secret(b, *fromStdin); err != nil {
		return err
	}
	var got struct {
		Secret   *string
		Endpoint *api.HookEndpoint
	}
	if done, err := f.ask(ctx, http.MethodPost, path+url.PathEscape(f.Arg(0))+"/rotate", b, &got); done || err != nil {
		return err
	}
	switch {
	case got.Secret != nil:
		f.showSecret(*got.Secret)
	case got.Endpoint != nil && got.Endpoint.PublicKey != nil:
		f.say("%s", *got.Endpoint.PublicKey)
	}
	return nil
}

func (f *hookFlags) showSecret(secret string) {
	f.say("%s", secret)
	f.note("This is the secret. It is shown once.")
}

// or is the text behind p, or - for none.
func or(p *string) string {
	if p == nil || *p == "" {
		return "-"
	}
	return *p
}

func joined(texts []string) string {
	if len(texts) == 0 {
		return "-"
	}
	return strings.Join(texts, ",")
}
