// Package cli holds the commands of `adit` that a person types on their own machine, one file for each. Everything they
// know comes from the hub's HTTP interface; shells and copies are made by the real OpenSSH programs.
package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aditdev/adit/internal/api"
	"github.com/aditdev/adit/internal/command"
	"github.com/aditdev/adit/internal/wire"
)

// Commands is the table, in the order of its help.
func Commands() []command.Command {
	return []command.Command{
		loginCommand(), devicesCommand(), installCodeCommand(),
		sshCommand(), shellCommand(), cpCommand(), sshConfigCommand(), sshKeyCommand(), forwardCommand(), portCommand(), streamsCommand(),
		mqttCommand(), hookCommand(), eventsCommand(), doctorCommand(), proxyCommand(), prepareCommand(),
	}
}

const (
	stepTimeout  = 10 * time.Second // each step of a dial
	replyTimeout = 30 * time.Second
	replyLimit   = 32 << 20 // bytes of one answer
)

func newHTTPClient() *http.Client {
	return &http.Client{
		Timeout: replyTimeout,
		Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: stepTimeout}).DialContext,
			TLSHandshakeTimeout: stepTimeout,
		},
		// A hub redirects nothing; a captive portal does, and gets no token.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// bounded keeps whoever answers in the hub's place from filling the memory, and says what a failure means.
type bounded struct{ *http.Client }

func (b bounded) Do(r *http.Request) (*http.Response, error) {
	reply, err := b.Client.Do(r)
	if err != nil {
		return nil, wire.Wrap(err, wire.Offline, "The hub %s cannot be reached; `adit doctor` looks why", r.URL.Host)
	}
	reply.Body = http.MaxBytesReader(nil, reply.Body, replyLimit)
	return reply, nil
}

// call is one request to the hub's API below /api/v1/; the answer is read into result, nil where there is none. It is in
// the place of the generated client, whose every operation is a kilobyte that devices fetch and keep.
func (a account) call(ctx context.Context, method, path string, body, result any) error {
	var data bytes.Buffer // stays empty without a body
	if body != nil {
		if err := json.NewEncoder(&data).Encode(body); err != nil {
			return fmt.Errorf("ask the hub: %w", err)
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, a.Hub+"/api/v1/"+path, &data)
	if err != nil {
		return wire.Wrap(err, wire.Invalid, "%q is no URL of a hub.", a.Hub)
	}
	if a.Token != "" {
		r.Header.Set("Authorization", "Bearer "+a.Token)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "adit/"+command.Version())
	reply, err := bounded{newHTTPClient()}.Do(r)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	if err != nil {
		return wire.Wrap(err, wire.Offline, "The hub's answer broke off")
	}
	if reply.StatusCode/100 != 2 {
		return refusal(reply.StatusCode, text)
	}
	if result == nil {
		return nil
	}
	if json.Unmarshal(text, result) != nil {
		return refusal(reply.StatusCode, nil)
	}
	return nil
}

// stream opens a stream of events of the hub's API, behind the one whose id is given, if any; whoever has it closes it. What ends it is ctx alone.
func (a account) stream(ctx context.Context, path, lastEventID string) (io.ReadCloser, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, a.Hub+"/api/v1/"+path, nil)
	if err != nil {
		return nil, wire.Wrap(err, wire.Invalid, "%q is no URL of a hub.", a.Hub)
	}
	r.Header.Set("Authorization", "Bearer "+a.Token)
	r.Header.Set("Accept", "text/event-stream")
	if lastEventID != "" {
		r.Header.Set("Last-Event-ID", lastEventID)
	}
	client := newHTTPClient()
	client.Timeout = 0
	reply, err := client.Do(r)
	if err != nil {
		return nil, wire.Wrap(err, wire.Offline, "the hub cannot be reached")
	}
	if reply.StatusCode == http.StatusOK {
		return reply.Body, nil
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(io.LimitReader(reply.Body, 64<<10))
	return nil, errors.Join(err, refusal(reply.StatusCode, text))
}

// refusal is the error that an answer stands for which is not the wanted one.
func refusal(status int, body []byte) error {
	var p api.Problem
	if json.Unmarshal(body, &p) != nil || p.Code == "" {
		return wire.Errorf(wire.CodeOfHTTP(status), "The hub, or what stands before it, answered with status %d "+
			"instead of a reply; `adit doctor` looks why.", status)
	}
	message := p.Title
	if p.Detail != nil {
		message = *p.Detail
	}
	return wire.Errorf(wire.Code(p.Code), "%s", wire.Printable(message, 500))
}

// query is a query string of names and values, without those that are empty.
func query(pairs ...string) string {
	values := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			values.Set(pairs[i], pairs[i+1])
		}
	}
	return "?" + values.Encode()
}

// printList prints a list as JSON, as a table whose first row is its head, or says that there is nothing.
func printList(stdio command.Stdio, asJSON bool, list any, rows [][]string, nothing string) error {
	switch {
	case asJSON:
		return writeJSON(stdio.Out, list)
	case len(rows) == 1:
		fmt.Fprintln(stdio.Err, nothing)
		return nil
	}
	for _, row := range rows {
		for i := range row {
			row[i] = wire.Printable(row[i], 300)
		}
	}
	return printTable(stdio.Out, rows)
}

// writeJSON prints v for programs.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("print JSON: %w", err)
	}
	return nil
}

// parse reads flags wherever they stand among the arguments, up to a "--", and checks how many arguments are left.
func parse(f *command.Flags, args []string, least, most int, stdio command.Stdio) error {
	var flags, rest []string
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			rest = append(rest, args[i+1:]...)
			break
		}
		if len(arg) < 2 || arg[0] != '-' {
			rest = append(rest, arg)
			continue
		}
		flags = append(flags, arg)
		name, _, inline := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		known := f.Lookup(name)
		if known != nil && !inline && !isBool(known.Value) && i+1 < len(args) {
			i++
			flags = append(flags, args[i])
		}
	}
	return f.Parse(append(append(flags, "--"), rest...), least, most, stdio)
}

func isBool(v any) bool {
	b, ok := v.(interface{ IsBoolFlag() bool })
	return ok && b.IsBoolFlag()
}

// list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// parseHubURL checks and shortens what a person typed. It fails with Invalid.
func parseHubURL(text string) (string, error) {
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return "", wire.Errorf(wire.Invalid, "%q is no URL of a hub. It looks like https://hub.example.com", text)
	}
	if u.Scheme == "http" && !loopback(u.Hostname()) {
		return "", wire.Errorf(wire.Invalid, "Over http:// everybody on the way could read the token. Write https://%s", u.Host)
	}
	return u.Scheme + "://" + u.Host, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || (ip != nil && ip.IsLoopback())
}
