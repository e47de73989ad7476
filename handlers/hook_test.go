package handlers

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/mqtt"
)

// source makes a source of that body, as an admin.
func (r *rig) source(body object) NewHookSource {
	r.t.Helper()
	var made NewHookSource
	r.call("admin", "POST", v1("hooks/sources"), body, 201, &made)
	return made
}

// openSource is a source without verification that does as action says.
func (r *rig) openSource(action object, more ...object) (path string, made NewHookSource) {
	r.t.Helper()
	body := object{"verify": object{"kind": "none"}, "action": action}
	for _, m := range more {
		for name, value := range m {
			body[name] = value
		}
	}
	made = r.source(body)
	return "/hook/" + made.Source.Slug, made
}

// accepted is what 202 says.
func (r *rig) accepted(got reply) (a HookAccepted) {
	r.t.Helper()
	if got.status != 202 {
		r.t.Fatalf("%d, want 202\n%s", got.status, got.body)
	}
	r.must(json.Unmarshal([]byte(got.body), &a))
	return a
}

func (r *rig) hookRequest(id string) (d HookRequestDetail) {
	r.t.Helper()
	r.call("admin", "GET", v1("hooks/requests/%s", id), nil, 200, &d)
	return d
}

// hookState waits until a request is in a state.
func (r *rig) hookState(id, state string) (d HookRequestDetail) {
	r.t.Helper()
	r.becomes(func() bool { d = r.hookRequest(id); return string(d.Request.State) == state })
	return d
}

func next(t *testing.T, got <-chan mqtt.Message) mqtt.Message {
	t.Helper()
	select {
	case m := <-got:
		return m
	case <-time.After(patience):
		t.Fatal("no message came")
		return mqtt.Message{}
	}
}

func TestHookStoreIsKeptAndListed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	path, made := r.openSource(object{"kind": "store"})
	if len(made.Source.Slug) < 26 || made.Secret != nil || !strings.HasSuffix(made.Source.URL, path) {
		t.Fatalf("made %+v", made)
	}
	a := r.accepted(r.do("", "POST", path+"/a/b?x=1", "hello", "Content-Type", "text/plain", "X-Api-Key", "hush", "Origin", "https://evil.example"))
	d := r.hookRequest(a.ID)
	if d.Request.Path != "/a/b?x=1" || d.Request.State != "done" || string(d.Body) != "hello" {
		t.Fatalf("%+v", d)
	}
	for _, h := range d.Headers {
		if h.Value == "hush" {
			t.Errorf("a secret header is shown: %+v", h)
		}
	}
	var page HookRequestPage
	r.call("admin", "GET", v1("hooks/requests?source=%s&limit=1", made.Source.ID), nil, 200, &page)
	if len(page.Requests) != 1 || page.Next != nil {
		t.Errorf("%+v", page)
	}
	for range 3 {
		r.accepted(r.do("", "POST", path, "more"))
	}
	seen := map[string]bool{}
	for at := ""; ; at = "&before=" + *page.Next {
		page = HookRequestPage{}
		r.call("admin", "GET", v1("hooks/requests?state=done&limit=3%s", at), nil, 200, &page)
		for _, one := range page.Requests {
			seen[one.ID] = true
		}
		if page.Next == nil {
			break
		}
	}
	if len(seen) != 4 {
		t.Errorf("pages have %d requests, want 4", len(seen))
	}
}

// The slug of a source without verification is its secret: what is told of its requests has its name.
func TestHookRequestsMaskTheSlug(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	path, made := r.openSource(object{"kind": "store"}, object{"name": "bell"})
	id := r.accepted(r.do("", "POST", path+"/front", "x")).ID
	for _, at := range []string{v1("hooks/requests"), v1("hooks/requests/%s", id)} {
		got := r.do("admin", "GET", at, nil)
		if strings.Contains(got.body, made.Source.Slug) || !strings.Contains(got.body, `"source_slug":"***"`) || !strings.Contains(got.body, `"source_name":"bell"`) {
			t.Errorf("%s: %s", at, got.body)
		}
	}
	open := r.source(object{"slug": "garage", "verify": object{"kind": "bearer"}, "action": object{"kind": "store"}})
	r.accepted(r.do("", "POST", "/hook/garage", "x", "Authorization", "Bearer "+*open.Secret))
	if got := r.do("admin", "GET", v1("hooks/requests?source=garage"), nil); !strings.Contains(got.body, `"source_slug":"garage"`) {
		t.Errorf("%s", got.body)
	}
}

// A source keeps its secrets to itself, rotates with overlap, and is gone at once when it is disabled or removed.
func TestHookSourceLife(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	made := r.source(object{"slug": "garage", "verify": object{"kind": "bearer"}, "action": object{"kind": "store"}})
	old := *made.Secret
	send := func(secret string) int {
		return r.do("", "POST", "/hook/garage", "x", "Authorization", "Bearer "+secret).status
	}
	var rotated NewHookSource
	r.call("admin", "POST", v1("hooks/sources/garage/rotate"), object{"overlap": "1h"}, 200, &rotated)
	if len(rotated.Source.Secrets) != 2 || send(old) != 202 || send(*rotated.Secret) != 202 || send("wrong") != 401 {
		t.Errorf("with overlap: %+v", rotated.Source.Secrets)
	}
	rotated = NewHookSource{}
	for _, overlap := range []string{"721h", "-1s", "a day"} {
		r.call("admin", "POST", v1("hooks/sources/garage/rotate"), object{"overlap": overlap}, 400, nil)
	}
	r.call("admin", "POST", v1("hooks/sources/garage/rotate"), object{"overlap": "0s", "secret": "my own secret"}, 200, &rotated)
	if send(old) != 401 || send("my own secret") != 202 || rotated.Secret != nil {
		t.Error("an old secret opens behind an overlap of 0s")
	}
	var view HookSource
	r.call("admin", "GET", v1("hooks/sources/garage"), nil, 200, &view)
	if view.Accepted != 3 || view.Refused != 2 || view.LastRefused == nil || !strings.Contains(*view.LastRefused, "token") {
		t.Errorf("figures %+v", view)
	}
	if text := r.do("admin", "GET", v1("hooks/sources"), nil).body; strings.Contains(text, "my own secret") {
		t.Error("a secret is shown")
	}
	r.call("admin", "PATCH", v1("hooks/sources/garage"), object{"enabled": false}, 200, nil)
	disabled, missing := r.do("", "POST", "/hook/garage", "x"), r.do("", "POST", "/hook/no-such", "x")
	if disabled.status != 404 || missing.problem(t).Detail == nil || *disabled.problem(t).Detail != *missing.problem(t).Detail {
		t.Errorf("disabled %d %s, missing %s", disabled.status, disabled.body, missing.body)
	}
	r.call("admin", "PATCH", v1("hooks/sources/garage"), object{"enabled": true, "verify": object{"kind": "github"}}, 400, nil)
	r.call("admin", "PATCH", v1("hooks/sources/garage"), object{"enabled": true, "verify": object{"kind": "none"}}, 200, &view)
	if view.Slug == "garage" || len(view.Secrets) != 0 || send("my own secret") != 404 {
		t.Errorf("without verification the address is still one that can be guessed: %+v", view)
	}
	r.call("admin", "DELETE", v1("hooks/sources/%s", view.ID), nil, 204, nil)
	if got := r.do("", "POST", "/hook/"+view.Slug, "x").status; got != 404 {
		t.Errorf("removed: %d", got)
	}
}

func TestHookPublishes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	client, got := r.as("admin")
	r.subscribe(client, "hooks/#")
	path, made := r.openSource(object{"kind": "publish", "topic": "hooks/{{.body.repo}}/{{.headers[\"x-github-event\"]}}"},
		object{"transform": object{"kind": "jq", "text": "{ref: .body.ref, id: .id}"}, "name": "GitHub"})
	send := func() reply {
		return r.do("", "POST", path, object{"repo": "adit/hub", "ref": "main"}, "X-GitHub-Event", "push", "X-GitHub-Delivery", "d1", "adit-hops", "2")
	}
	first := r.accepted(send())
	m := next(t, got)
	if m.Topic != "hooks/adit/hub/push" || m.ContentType != "application/json" || m.QoS != 1 || m.Expiry < time.Hour-time.Minute {
		t.Errorf("%+v", m)
	}
	if want := `{"id":"` + first.ID + `","ref":"main"}`; string(m.Payload) != want {
		t.Errorf("payload %s, want %s", m.Payload, want)
	}
	properties := map[string]string{}
	for _, u := range m.UserProperties {
		properties[u.Name] = u.Value
	}
	if properties["hook-id"] != first.ID || properties["hook-source"] != "GitHub" || properties["adit-hops"] != "2" || properties["x-github-event"] != "push" {
		t.Errorf("user properties %v", properties)
	}
	r.hookState(first.ID, "done")
	again := send()
	if second := r.accepted(again); second.ID != first.ID || again.header.Get("adit-duplicate") != "true" || first.ID == "" {
		t.Errorf("a repeat: %+v %v", second, again.header)
	}
	if d := r.hookRequest(first.ID); d.Request.Repeats == nil || *d.Request.Repeats != 1 || string(*d.Payload) != string(m.Payload) {
		t.Errorf("%+v", d.Request)
	}
	r.call("admin", "POST", v1("hooks/requests/%s/replay", first.ID), nil, 200, nil)
	if replayed := next(t, got); !bytes.Equal(replayed.Payload, m.Payload) { // under the same id, and the first since the repeat
		t.Errorf("replay %s", replayed.Payload)
	}
	var view HookSource
	r.call("admin", "GET", v1("hooks/sources/%s", made.Source.ID), nil, 200, &view)
	if view.Accepted != 1 {
		t.Errorf("accepted %d", view.Accepted)
	}
}

// Of many that come at the same moment one is done.
func TestHookRepeatsAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	client, got := r.as("admin")
	r.subscribe(client, "hooks/#")
	path, _ := r.openSource(object{"kind": "publish", "topic": "hooks/a"})
	var sending sync.WaitGroup
	replies := make([]reply, 20)
	for i := range replies {
		sending.Go(func() { replies[i] = r.do("", "POST", path, "x", "Idempotency-Key", "k") })
	}
	sending.Wait()
	id, firsts := "", 0
	for _, one := range replies {
		a := r.accepted(one)
		if one.header.Get("adit-duplicate") == "" {
			firsts++
		}
		if id == "" {
			id = a.ID
		}
		if a.ID != id {
			t.Errorf("ids %s and %s", a.ID, id)
		}
	}
	if firsts != 1 {
		t.Errorf("%d were new", firsts)
	}
	next(t, got)
	r.accepted(r.do("", "POST", path, "end"))
	if m := next(t, got); string(m.Payload) != "end" {
		t.Errorf("published twice: %s", m.Payload)
	}
}

func zipped(t *testing.T, size int) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(bytes.Repeat([]byte(" "), size)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// What is refused is refused as specified, and is nobody's business but the sender's. Long because it is a table.
func TestHookBadInput(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	small, _ := r.openSource(object{"kind": "store"}, object{"max_bytes": 1000, "rate": 0.01, "burst": 3, "methods": []string{"POST", "PUT"}})
	made, _ := r.openSource(object{"kind": "publish", "topic": "hooks/{{.body.x}}"}, object{"max_bytes": 100_000, "burst": 100})
	for _, row := range []struct {
		name, method, path, body string
		headers                  []string
		status                   int
		field                    string
	}{
		{"another method", "GET", small, "", nil, 405, ""},
		{"a wait that is none", "POST", small + "?wait=soon", "", nil, 400, "wait"},
		{"too long a wait", "POST", small + "?wait=31s", "", nil, 400, "wait"},
		{"too large", "POST", small, strings.Repeat("x", 1001), nil, 413, ""},
		{"too many", "POST", small, "x", nil, 429, ""},
		{"a circle", "POST", made, `{"x":"a"}`, []string{"adit-hops", "9"}, 508, ""},
		{"no hops", "POST", made, `{"x":"a"}`, []string{"adit-hops", "many"}, 400, ""},
		{"a wildcard", "POST", made, `{"x":"+"}`, nil, 400, "topic"},
		{"all of it", "POST", made, `{"x":"#"}`, nil, 400, "topic"},
		{"the broker's own", "POST", made, `{"x":"$SYS"}`, nil, 400, "topic"},
		{"an empty level", "POST", made, `{"x":"a//b"}`, nil, 400, "topic"},
		{"a long topic", "POST", made, `{"x":"` + strings.Repeat("a", 300) + `"}`, nil, 400, "topic"},
		{"nothing there", "POST", made, `{"y":"a"}`, nil, 400, "topic"},
		{"no JSON", "POST", made, `{"x":`, nil, 400, "topic"},
		{"a gzip bomb", "POST", made, zipped(t, 5<<20), []string{"Content-Encoding", "gzip"}, 413, ""},
		{"no gzip", "POST", made, `{"x":"a"}`, []string{"Content-Encoding", "gzip"}, 400, ""},
		{"gzip cut off", "POST", made, zipped(t, 1000)[:20], []string{"Content-Encoding", "gzip"}, 400, ""},
	} {
		got := r.do("", row.method, row.path, row.body, row.headers...)
		if got.status != row.status {
			t.Errorf("%s: %d, want %d\n%s", row.name, got.status, row.status, got.body)
			continue
		}
		p := got.problem(t)
		if row.field != "" && (p.Fields == nil || (*p.Fields)[row.field] == "") {
			t.Errorf("%s: no message for %s: %s", row.name, row.field, got.body)
		}
		if after, _ := strconv.Atoi(got.header.Get("Retry-After")); row.status == 429 && (after < 1 || after > 100) {
			t.Errorf("%s: Retry-After %q", row.name, got.header.Get("Retry-After"))
		}
		if row.status == 405 && got.header.Get("Allow") != "OPTIONS, POST, PUT" {
			t.Errorf("%s: Allow %q", row.name, got.header.Get("Allow"))
		}
		for name := range got.header {
			if strings.HasPrefix(name, "Access-Control-") || name == "Set-Cookie" {
				t.Errorf("%s: header %s", row.name, name)
			}
		}
	}
}

// endless is a body that says no length and stops only when nobody reads. The transport may go on reading it after the answer is there.
type endless struct{ read atomic.Int64 }

func (e *endless) Read(p []byte) (int, error) { e.read.Add(int64(len(p))); return len(p), nil }

func TestHookEndlessBodyIsCut(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	path, _ := r.openSource(object{"kind": "store"})
	body := &endless{}
	req, err := http.NewRequestWithContext(t.Context(), "POST", r.url+path, io.NopCloser(body))
	r.must(err)
	res, err := http.DefaultTransport.RoundTrip(req)
	if err == nil {
		defer res.Body.Close()
		if res.StatusCode != 413 {
			t.Errorf("status %d", res.StatusCode)
		}
	}
	if read := body.read.Load(); read > 32<<20 {
		t.Errorf("%d bytes were taken", read)
	}
}

// Slack's challenge is answered to Slack alone; CloudEvents' question to whoever asks.
func TestHookChallenges(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	made := r.source(object{"verify": object{"kind": "slack"}, "secret": "8f742231b10e8888abcd99yyyzzz85a5", "action": object{"kind": "store"}})
	path := "/hook/" + made.Source.Slug
	body := `{"type":"url_verification","challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P"}`
	at := strconv.FormatInt(time.Now().Unix(), 10)
	signature := "v0=" + opensslHMAC(t, "8f742231b10e8888abcd99yyyzzz85a5", "v0:"+at+":"+body)
	if got := r.do("", "POST", path, body, "X-Slack-Request-Timestamp", at, "X-Slack-Signature", signature); got.status != 200 ||
		got.body != "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P" {
		t.Errorf("challenge: %d %s", got.status, got.body)
	}
	if got := r.do("", "POST", path, body, "X-Slack-Request-Timestamp", at, "X-Slack-Signature", "v0="+strings.Repeat("0", 64)); got.status != 401 ||
		strings.Contains(got.body, "3eZbrw") {
		t.Errorf("challenge of a stranger: %d %s", got.status, got.body)
	}
	got := r.do("", "OPTIONS", path, nil, "WebHook-Request-Origin", "eventemitter.example.com", "WebHook-Request-Rate", "120")
	if got.status != 200 || got.header.Get("WebHook-Allowed-Origin") != "eventemitter.example.com" || got.header.Get("WebHook-Allowed-Rate") != "1200" ||
		got.header.Get("Allow") != "OPTIONS, POST" {
		t.Errorf("CloudEvents: %d %v", got.status, got.header)
	}
}

// The same signed bytes come once, whatever headers somebody who saw them adds: rule 25.
func TestHookReplayOfSignedRequest(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	made := r.source(object{"verify": object{"kind": "stripe"}, "secret": "whsec_of_stripe", "action": object{"kind": "store"}, "dedupe": object{"hours": 0}})
	body, at := `{"object":"event"}`, strconv.FormatInt(time.Now().Unix(), 10)
	signature := opensslHMAC(t, "whsec_of_stripe", at+"."+body)
	first := r.accepted(r.do("", "POST", "/hook/"+made.Source.Slug, body, "Stripe-Signature", "t="+at+",v1="+signature))
	again := r.do("", "POST", "/hook/"+made.Source.Slug, body, "Stripe-Signature", "v1="+strings.ToUpper(signature)+", t="+at, "Idempotency-Key", "new")
	if r.accepted(again).ID != first.ID || again.header.Get("adit-duplicate") != "true" {
		t.Errorf("taken as new: %s", again.body)
	}
}

// A sender that is still sending when it is told that its body is too large gets that answer, and no reset in its place: also where it says
// Connection: close, as nginx does, whose callers got 502.
func TestHookTooLargeIsHeard(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	path, _ := r.openSource(object{"kind": "store"}, object{"max_bytes": 1000})
	address := strings.TrimPrefix(r.url, "http://")
	for name, length := range map[string]string{"Content-Length": "Content-Length: 8000000\r\n\r\n", "chunked": "Transfer-Encoding: chunked\r\n\r\n7a1200\r\n"} {
		hears := func(size int) error {
			conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
			r.must(err)
			defer conn.Close()
			r.must(conn.SetDeadline(time.Now().Add(patience)))
			_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s%s", path, address, length, strings.Repeat("x", size))
			answer, broken := io.ReadAll(conn)
			if err != nil || broken != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 413") {
				return fmt.Errorf("%s: %.60q %v %v", name, answer, err, broken)
			}
			return nil
		}
		if err := hears(lingerBytes - 10<<10); err != nil { // the hub takes it all
			t.Error(err)
		}
		err := hears(1 << 20)
		for range 10 { // of more it waits half a second for the sender, who may be held up for longer here
			if err != nil {
				err = hears(1 << 20)
			}
		}
		if err != nil {
			t.Error(err)
		}
	}
}
