package cli

import (
	"bufio"
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

const listenUsage = `Usage: adit hook listen SOURCE [--forward URL] [--once] [--json]

Prints each request to a source as it comes, in order, until it is interrupted. The hub keeps what comes while the line to
it is cut, and goes on there.

  --since WHEN    begin with the requests that the hub has kept since, as 1h, 7d or a time, or with one by its id: req_…
  --forward URL   send each to a program on this machine, as http://localhost:3000/path: method, headers and the exact body.
                  What it answers goes to a sender that waits (?wait=5s), where the source is one that only stores
  --once          end after one request
  --json          one JSON object on each line

Example:
  adit hook source create --slug dev --verify github --store
  adit hook listen dev --forward http://localhost:3000/webhooks
  adit hook listen dev --forward http://localhost:3000/webhooks --since req_4fzz… --once   that request once more
`

// listener prints requests to a source and sends them to a program on this machine.
type listener struct {
	*hookFlags
	source string
	since  string // where it begins, as the API has it; "" for now
	last   string // the event that was shown last; "" before the first
	target *url.URL
	client *http.Client // of target
	once   bool
	pause  time.Duration // before the hub is asked again
	mirror bool          // the source's sender is answered by a device, not by us
}

// errShown ends a listener that is to show one request.
var errShown = errors.New("one request was shown")

func listenHook(ctx context.Context, args []string, stdio command.Stdio) error {
	f := newHookFlags("adit hook listen", listenUsage, stdio)
	forward, since, once := f.String("forward", "", ""), f.String("since", "", ""), f.Bool("once", false, "")
	if err := f.read(args, 1, 1); err != nil {
		return err
	}
	l := &listener{hookFlags: f, source: f.Arg(0), once: *once, pause: listenPause}
	if err := l.begin(*since, time.Now()); err != nil {
		return err
	}
	if *forward != "" {
		if err := l.sendTo(*forward); err != nil {
			return err
		}
		defer l.client.CloseIdleConnections()
	}
	var s api.HookSource
	if err := f.a.call(ctx, http.MethodGet, "hooks/sources/"+url.PathEscape(l.source), nil, &s); err != nil {
		return err
	}
	l.mirror = s.Action.Kind != "store"
	f.note("Listening to %s. Ctrl-C ends it.", s.URL)
	return l.run(ctx)
}

// begin reads --since: the id of a request, how long ago, or a time.
func (l *listener) begin(since string, now time.Time) error {
	if l.since = since; since == "" || strings.HasPrefix(since, requestPrefix) {
		return nil
	}
	at, err := timeAgo("since", since, now)
	l.since = at.UTC().Format(time.RFC3339Nano)
	return err
}

// run reads the hub's stream again and again, from where it broke off.
func (l *listener) run(ctx context.Context) error {
	for {
		err := l.read(ctx)
		switch {
		case ctx.Err() != nil, errors.Is(err, errShown):
			return nil
		case err != nil && wire.CodeOf(err) != wire.Offline && wire.CodeOf(err) != wire.RateLimited:
			return err
		}
		l.note("The hub is away: %s. Trying again.", command.Message(err))
		select {
		case <-time.After(l.pause):
		case <-ctx.Done():
			return nil
		}
	}
}

const (
	listenPause = 2 * time.Second
	maxListened = 64 << 20 // bytes of one line: a body of 25 MiB in base64
)

// read shows what one stream of the hub tells. It fails with Offline where that breaks off.
func (l *listener) read(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	silence := time.AfterFunc(eventsSilence, cancel)
	defer silence.Stop()
	path := "hooks/sources/" + url.PathEscape(l.source) + "/listen"
	if l.since != "" {
		path += "?since=" + url.QueryEscape(l.since)
	}
	body, err := l.a.stream(ctx, path, l.last)
	if err != nil {
		return err
	}
	defer body.Close()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxListened)
	id := l.last
	for lines.Scan() {
		silence.Stop() // a program may take its time
		switch key, value, _ := strings.Cut(lines.Text(), ": "); key {
		case "id":
			id = value
		case "data":
			if err := l.show(ctx, []byte(value)); err != nil {
				return err
			}
			if l.last = id; l.once {
				return errShown
			}
		case "":
			l.last = id // also where nothing came yet: the place to go on from
		}
		silence.Reset(eventsSilence)
	}
	return wire.Wrap(lines.Err(), wire.Offline, "the stream of requests ended")
}

// listened is a line of --json: what the hub gave, and what the program answered.
type listened struct {
	api.HookRequestDetail
	Forwarded *api.HookAnswer `json:"forwarded,omitempty"`
}

// show prints one request and sends it on.
func (l *listener) show(ctx context.Context, data []byte) error {
	var d api.HookRequestDetail
	if err := json.Unmarshal(data, &d); err != nil {
		return wire.Wrap(err, wire.Internal, "The hub sent a request that cannot be read")
	}
	if !*l.json {
		l.say("%s  %s  %s %s  %s, %d bytes", local(d.Request.At), d.Request.ID, d.Request.Method, hookPath(d.Request), or(d.Request.ContentType), len(d.Body))
		l.body("  ", d.Body)
	}
	var answer *api.HookAnswer
	if l.target != nil {
		began := time.Now()
		answer = l.send(ctx, d)
		if !*l.json {
			l.say("  -> %d in %d ms", answer.Status, time.Since(began).Milliseconds())
		}
		if d.Request.Status == nil { // one of --since may have been answered before
			l.answer(ctx, d.Request.ID, answer)
		}
	}
	if *l.json {
		return json.NewEncoder(l.stdio.Out).Encode(listened{d, answer})
	}
	return nil
}

// sendTo takes the URL of a program.
func (l *listener) sendTo(text string) (err error) {
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	l.target, err = url.Parse(text)
	if err != nil || l.target.Host == "" || l.target.Scheme != "http" && l.target.Scheme != "https" || l.target.Fragment != "" {
		return command.Usagef("--forward takes a URL, as http://localhost:3000/path, not %q.", text)
	}
	l.client = &http.Client{
		Timeout: replyTimeout,
		// The program of this machine, not what a proxy makes of it, and its answer as it is.
		Transport:     &http.Transport{DialContext: (&net.Dialer{Timeout: stepTimeout}).DialContext, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return nil
}

// hopByHop are headers of one connection (RFC 9110 §7.6.1), or such that our own request has: they are not sent on. Nor is
// Accept-Encoding, since an answer has no member that says how it is encoded.
var hopByHop = []string{"Connection", "Proxy-Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Proxy-Authenticate",
	"Proxy-Authorization", "Host", "Content-Length", "Accept-Encoding", "Expect"}

// request is d for the program. What lies behind the slug goes behind the path of --forward.
func (l *listener) request(ctx context.Context, d api.HookRequestDetail) (*http.Request, error) {
	to := *l.target
	path, extra, _ := strings.Cut(d.Request.Path, "?")
	if path != "" {
		path = strings.TrimSuffix(to.EscapedPath(), "/") + "/" + strings.TrimPrefix(path, "/")
		if plain, err := url.PathUnescape(path); err == nil {
			to.Path, to.RawPath = plain, path // as it came, where that is how a path can be written
		} else {
			to.Path, to.RawPath = path, ""
		}
	}
	to.RawQuery = strings.Trim(to.RawQuery+"&"+extra, "&")
	r, err := http.NewRequestWithContext(ctx, d.Request.Method, to.String(), bytes.NewReader(d.Body))
	if err != nil {
		return nil, err
	}
	for _, h := range d.Headers {
		r.Header.Add(h.Name, h.Value)
	}
	for _, named := range r.Header.Values("Connection") {
		for name := range strings.SplitSeq(named, ",") {
			r.Header.Del(strings.TrimSpace(name))
		}
	}
	for _, name := range hopByHop {
		r.Header.Del(name)
	}
	r.Header.Set("Adit-Request", d.Request.ID)
	return r, nil
}

const maxAnswer = 1 << 20 // bytes of a program's answer that are handed back

// send gives what the program answered, or 502 with why there is no answer.
func (l *listener) send(ctx context.Context, d api.HookRequestDetail) *api.HookAnswer {
	r, err := l.request(ctx, d)
	if err == nil {
		var reply *http.Response
		if reply, err = l.client.Do(r); err == nil {
			defer reply.Body.Close()
			var data []byte
			if data, err = io.ReadAll(io.LimitReader(reply.Body, maxAnswer+1)); err == nil && len(data) <= maxAnswer {
				return &api.HookAnswer{Status: max(reply.StatusCode, http.StatusOK), ContentType: set(reply.Header.Get("Content-Type")), Body: &data}
			}
			if err == nil {
				err = fmt.Errorf("its answer has more than %d bytes", maxAnswer)
			}
		}
	}
	l.note("%s did not take %s: %s", l.target.Host, d.Request.ID, err)
	text := []byte("The program behind adit hook listen did not answer.\n")
	return &api.HookAnswer{Status: http.StatusBadGateway, ContentType: set("text/plain; charset=utf-8"), Body: &text}
}

// answer hands the program's answer to the hub, for a sender that waits.
func (l *listener) answer(ctx context.Context, id string, a *api.HookAnswer) {
	if l.mirror {
		return
	}
	err := l.a.call(ctx, http.MethodPost, "hooks/requests/"+url.PathEscape(id)+"/answer", a, nil)
	if err != nil && ctx.Err() == nil {
		l.note("The answer to %s was not handed back: %s", id, command.Message(err))
	}
}
