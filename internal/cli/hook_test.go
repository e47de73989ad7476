package cli

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/api"
	"github.com/aditdev/adit/internal/command"
)

// listenTo is a listener to a hub of the test's.
func listenTo(t *testing.T, hub http.Handler, forward string) (l *listener, out *bytes.Buffer) {
	t.Helper()
	server := httptest.NewServer(hub)
	t.Cleanup(server.Close)
	out = &bytes.Buffer{}
	f := newHookFlags("adit hook listen", listenUsage, command.Stdio{Out: out, Err: io.Discard})
	f.a = account{Hub: server.URL, Token: "adit_test"}
	l = &listener{hookFlags: f, source: "dev", pause: time.Millisecond}
	if forward != "" {
		if err := l.sendTo(forward); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(l.client.CloseIdleConnections)
	}
	return l, out
}

func requestEvent(number int, body string) string {
	return fmt.Sprintf("id: %d\nevent: request\ndata: {\"request\":{\"id\":\"req_%d\",\"source_slug\":\"dev\",\"method\":\"POST\"},\"headers\":[],\"body\":%q}\n\n",
		number, number, base64.StdEncoding.EncodeToString([]byte(body)))
}

// A line that is cut, also before the first request and in the middle of one, costs none and doubles none: the listener goes on where it was.
func TestListenGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	streams := []string{
		": live\nid: 7\n\n",
		": live\nid: 7\n\n" + requestEvent(8, "eight") + requestEvent(9, "nine"),
		": live\nid: 9\n\n: beat\n\nid: 10\nevent: request\nda",
		": live\nid: 9\n\n" + requestEvent(10, "ten") + "id: 11\nevent: request\n",
		"",
		": live\nid: 10\n\n" + requestEvent(11, "eleven"),
	}
	var mu sync.Mutex
	var from []string
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	l, out := listenTo(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		from = append(from, r.Header.Get("Last-Event-ID"))
		if len(from) > len(streams) {
			stop()
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		if streams[len(from)-1] == "" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = io.WriteString(w, streams[len(from)-1])
	}), "")
	if err := l.run(ctx); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if want := []string{"", "7", "9", "9", "10", "10", "11"}; !slices.Equal(from, want) {
		t.Errorf("went on from %q, want %q", from, want)
	}
	var order []string
	for _, word := range strings.Fields(out.String()) {
		if slices.Contains([]string{"eight", "nine", "ten", "eleven"}, word) {
			order = append(order, word)
		}
	}
	if !slices.Equal(order, []string{"eight", "nine", "ten", "eleven"}) {
		t.Errorf("shown: %q", out.String())
	}
}

// A hub that says no ends the listener: a source that was removed comes back by itself no more.
func TestListenEndsWhereItMayNot(t *testing.T) {
	t.Parallel()
	l, _ := listenTo(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }), "")
	if err := l.run(t.Context()); err == nil {
		t.Error("it goes on")
	}
}

// The program gets the request that the hub got: path and query behind its own, headers but those of one connection, each byte of the body.
func TestListenForwards(t *testing.T) {
	t.Parallel()
	type seen struct {
		method, uri string
		header      http.Header
		body        []byte
	}
	got := make(chan seen, 1)
	program := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, _ := io.ReadAll(r.Body)
		got <- seen{r.Method, r.RequestURI, r.Header, data}
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	}))
	defer program.Close()
	answers := make(chan api.HookAnswer, 1)
	l, _ := listenTo(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var a api.HookAnswer
		if err := json.NewDecoder(r.Body).Decode(&a); err != nil || r.URL.Path != "/api/v1/hooks/requests/req_1/answer" {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		answers <- a
		w.WriteHeader(http.StatusNoContent)
	}), program.URL+"/base/?own=1")
	body := []byte{0, 1, '\r', '\n', 0xff}
	for path, uri := range map[string]string{
		"": "/base/?own=1", "?a=1&b=%20": "/base/?own=1&a=1&b=%20", "/x/y": "/base/x/y?own=1", "/a%2Fb?c": "/base/a%2Fb?own=1&c", "/100%": "/base/100%25?own=1",
		"/a b": "/base/a%20b?own=1", "/../../etc": "/base/../../etc?own=1", "//evil.example/": "/base//evil.example/?own=1",
	} {
		d := api.HookRequestDetail{Request: api.HookRequest{ID: "req_1", Method: http.MethodPut, Path: path}, Body: body, Headers: []api.HookHeader{
			{Name: "Content-Type", Value: "application/octet-stream"}, {Name: "X-Two", Value: "1"}, {Name: "X-Two", Value: "2"}, {Name: "Host", Value: "hub.example"},
			{Name: "Connection", Value: "close, X-Hop"}, {Name: "X-Hop", Value: "1"}, {Name: "Transfer-Encoding", Value: "chunked"}, {Name: "Accept-Encoding", Value: "gzip"},
			{Name: "X-Hub-Signature-256", Value: "sha256=00"}, {Name: "Content-Length", Value: "999"},
		}}
		data, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.show(t.Context(), data); err != nil {
			t.Fatal(err)
		}
		s := <-got
		if s.method != http.MethodPut || s.uri != uri || !bytes.Equal(s.body, body) {
			t.Errorf("%q: %s %s %q, want %s", path, s.method, s.uri, s.body, uri)
		}
		if !slices.Equal(s.header["X-Two"], []string{"1", "2"}) || s.header.Get("X-Hub-Signature-256") == "" || s.header.Get("X-Hop") != "" || s.header.Get("Accept-Encoding") != "" {
			t.Errorf("headers %v", s.header)
		}
		if a := <-answers; a.Status != http.StatusFound {
			t.Errorf("a redirect is the program's answer, and not followed: %+v", a)
		}
	}
}

// A list of more than a page is read to its end, and no further than what is asked for.
func TestPagesAreReadToTheEnd(t *testing.T) {
	t.Parallel()
	var asked []url.Values
	l, _ := listenTo(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Query())
		page := map[string]any{"deliveries": slices.Repeat([]int{1}, 200), "next": "n"}
		if r.URL.Query().Get("before") != "" {
			page = map[string]any{"deliveries": []int{2}}
		}
		_ = json.NewEncoder(w).Encode(page)
	}), "")
	for limit, want := range map[int]int{200: 200, 1000: 201} {
		all, err := l.pages(t.Context(), "hooks/deliveries", "deliveries", map[string]string{"state": "dead"}, limit)
		if err != nil || len(all) != want {
			t.Errorf("%d: %d, %v", limit, len(all), err)
		}
	}
	if last := asked[len(asked)-1]; asked[0].Get("state") != "dead" || asked[0].Get("limit") != "200" || last.Get("state") != "dead" {
		t.Errorf("asked %v", asked)
	}
}

// A test of an endpoint ends when its first attempt is there, and where that is held back it says by what instead of waiting for it.
func TestTellsHowATestWent(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ delivery, attempts, says string }{
		{`"state":"delivered","attempts":1`, `{"status":200,"took_ms":11}`, "It arrived: 200 in 11 ms."},
		{`"state":"waiting","attempts":1`, `{"error":"Nothing listens at 127.0.0.1:1."}`, "It failed: Nothing listens at 127.0.0.1:1. `adit hook delivery del_1` shows it."},
		{`"state":"waiting","held_by":"breaker"`, ``, "shop failed before, and is tried again later: `adit hook try del_1` tries it now."},
		{`"state":"waiting","held_by":"disabled"`, ``, "shop is disabled: `adit hook endpoint resume shop` sends it."},
		{`"state":"waiting","held_by":"rate"`, ``, "the rate of shop is used up."},
		{`"state":"cancelled","finished_at":"2026-01-31T18:00:00Z"`, ``, "Nothing was sent yet: the hub has not come to it."},
	} {
		reads := 0
		l, out := listenTo(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if reads++; reads == 1 && !strings.Contains(c.delivery, "held_by") {
				_, _ = io.WriteString(w, `{"delivery":{"id":"del_1","endpoint_name":"shop","state":"sending"},"attempts":[]}`)
				return
			}
			_, _ = io.WriteString(w, `{"delivery":{"id":"del_1","endpoint_name":"shop",`+c.delivery+`},"attempts":[`+c.attempts+`]}`)
		}), "")
		got, err := l.firstAttempt(t.Context(), "del_1", time.Second)
		if err == nil {
			err = l.tellTest(got)
		}
		said := out.String()
		if err != nil {
			said += command.Message(err)
		}
		if arrived := strings.Contains(c.delivery, "delivered"); !strings.Contains(said, c.says) || (err == nil) != arrived {
			t.Errorf("%s: %q, %v", c.delivery, said, err)
		}
	}
}

// Messages are told apart by their topics, and an answer without a content type has no dash for it.
func TestLinesOfHooks(t *testing.T) {
	t.Parallel()
	for got, want := range map[string]string{
		typeOf(api.HookDelivery{Type: "device.online"}):                               "device.online",
		typeOf(api.HookDelivery{Type: "mqtt.message", Topic: new("devices/a/b")}):     "mqtt.message devices/a/b",
		answerLine(api.HookAnswer{Status: 200}):                                       "< 200",
		answerLine(api.HookAnswer{Status: 201, ContentType: new("application/json")}): "< 201 application/json",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
