package handlers

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/devices"
	"github.com/aditdev/adit/internal/events"
)

// listen opens the event stream and gives its lines until the stream or the test ends.
func (r *rig) listen(as, from string) <-chan string {
	r.t.Helper()
	return r.listenTo(as, from, "")
}

func (r *rig) listenTo(as, from, query string) <-chan string {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url+v1("events")+query, nil)
	r.must(err)
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Authorization", "Bearer "+r.tokens[as])
	if from != "" {
		req.Header.Set("Last-Event-ID", from)
	}
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	r.must(err)
	if res.StatusCode != http.StatusOK {
		r.t.Fatal(res.Status)
	}
	lines, done := make(chan string, 1000), make(chan struct{})
	go func() {
		defer close(done)
		defer close(lines)
		for s := bufio.NewScanner(res.Body); s.Scan(); {
			lines <- s.Text()
		}
	}()
	r.t.Cleanup(func() { cancel(); res.Body.Close(); <-done })
	if first := <-lines; first != ": live" {
		r.t.Fatalf("%q", first)
	}
	return lines
}

// await gives the next line that begins so; false when the stream ended.
func (r *rig) await(lines <-chan string, prefix string) (string, bool) {
	r.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case line, ok := <-lines:
			if !ok || strings.HasPrefix(line, prefix) {
				return line, ok
			}
		case <-deadline:
			r.t.Fatalf("no line %q", prefix)
		}
	}
}

func TestEventStream(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	live := r.listen("admin", "")
	begin := <-live
	if first := <-live; !strings.HasPrefix(begin, "id: ") || first != "" {
		t.Errorf("it begins with %q, %q", begin, first)
	}
	r.call("admin", "PATCH", v1("devices/kitchen"), object{"tags": []string{"home"}}, 200, nil)
	id, _ := r.await(live, "id: ")
	if kind, _ := r.await(live, "event: "); kind != "event: device.changed" {
		t.Errorf("%q", kind)
	}
	if data, _ := r.await(live, "data: "); !strings.Contains(data, `"name":"kitchen"`) {
		t.Errorf("%q", data)
	}
	r.call("admin", "PATCH", v1("devices/shed"), object{"tags": []string{"home"}}, 200, nil)

	// Resuming gives what was missed, and nothing twice, also where nothing had come yet.
	for from, names := range map[string][]string{begin: {"kitchen", "shed"}, id: {"shed"}} {
		resumed := r.listen("admin", strings.TrimPrefix(from, "id: "))
		if first := <-resumed; first != from {
			t.Errorf("behind %q it begins with %q", from, first)
		}
		for _, name := range names {
			if data, _ := r.await(resumed, "data: "); !strings.Contains(data, `"name":"`+name+`"`) {
				t.Errorf("behind %q: %q, want %s", from, data, name)
			}
		}
	}
	all := r.listen("admin", "0")
	for _, want := range []string{"id: 0", "id: 1"} {
		if next, _ := r.await(all, "id: "); next != want {
			t.Errorf("%q, want %q", next, want)
		}
	}
}

// Rule 11, for events: everybody sees those of their view.
func TestEventsAreForThoseWhoMaySee(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	lines := r.listen("operator", "")
	r.do("", "POST", v1("login"), object{"email": "owner@example.com", "password": "wrong"})
	r.call("admin", "PATCH", v1("devices/shed"), object{"tags": []string{"x"}}, 200, nil)
	r.call("admin", "PATCH", v1("users/viewer"), object{"disabled": false}, 200, nil)
	r.call("admin", "PATCH", v1("devices/kitchen"), object{"tags": []string{"x"}}, 200, nil)
	if data, _ := r.await(lines, "data: "); !strings.Contains(data, `"name":"kitchen"`) {
		t.Errorf("an operator of kitchen reads %s", data)
	}
}

// Types of which the hub knows none are refused, as a page and as a stream, with the one that was meant. Beside one that it knows they are let through.
func TestEventTypesAreKnown(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, accept := range []string{"application/json", "text/event-stream"} {
		got := r.do("admin", "GET", v1("events")+"?type=hook.refusd,none.such", nil, "Accept", accept)
		if got.status != 400 || !strings.Contains(got.body, `"type":"There is no event type hook.refusd. Did you mean hook.refused?"`) {
			t.Errorf("%s: %d %s", accept, got.status, got.body)
		}
	}
	r.call("admin", "GET", v1("events")+"?type=hook.refusd&type=hub.started", nil, 200, nil)
}

// Who managed the hub when their stream began, and does not any more, is told of nobody else by name.
func TestEventStreamAfterManaging(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	lines := r.listenTo("admin", "", "?type=device.changed")
	r.call("owner", "PATCH", v1("users/admin"), object{"role": "viewer"}, 200, nil)
	r.call("owner", "POST", v1("grants"), object{"user": "admin", "device": "kitchen", "logins": []string{"pi"}}, 201, nil)
	r.call("owner", "PATCH", v1("devices/kitchen"), object{"tags": []string{"x"}}, 200, nil)
	if data, ok := r.await(lines, "data: "); !ok || strings.Contains(data, "user_handle") {
		t.Errorf("%v %s", ok, data)
	}
}

// Who else is let in at a device, and by which grant, is for managers; the own part is for oneself too.
func TestEventsOfOthers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	lines := r.listen("operator", "")
	r.call("admin", "POST", v1("grants"), object{"user": "viewer", "device": "kitchen", "logins": []string{"root"}}, 201, nil)
	r.call("admin", "POST", v1("devices/kitchen/ssh-certificate"), object{"public_key": sshKey(t), "login": "root"}, 200, nil)
	r.call("operator", "POST", v1("devices/kitchen/ssh-certificate"), object{"public_key": sshKey(t), "login": "pi"}, 200, nil)
	if data, _ := r.await(lines, "data: "); !strings.Contains(data, `"login":"pi"`) {
		t.Errorf("an operator reads %s", data)
	}
}

// Rule 17: the stream of a revoked token ends.
func TestEventStreamEndsWithItsToken(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	lines := r.listen("viewer", "")
	r.must(r.Accounts.RemoveUser(t.Context(), access.Owner, r.users["viewer"]))
	if line, ok := r.await(lines, "never"); ok {
		t.Errorf("%q", line)
	}
}

// Rule 18: no code, token, password or secret is ever in a log line, nor the path of a short line.
func TestLogHoldsNoSecret(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	made, err := r.Devices.CreateCode(t.Context(), r.principal("owner"), devices.CodeRequest{})
	r.must(err)
	link, err := r.Accounts.NewLoginLink(t.Context(), r.users["viewer"].ID)
	r.must(err)
	r.do("", "GET", "/i/"+made.Code, nil)
	r.do("", "POST", v1("enroll"), object{"code": made.Code, "public_key": "short", "hostname": "x", "facts": object{}, "ssh_host_keys": []string{}})
	r.do("", "POST", v1("login"), object{"email": "owner@example.com", "password": "hunter2hunter2"})
	r.do("", "POST", v1("login/link"), object{"secret": link})
	r.do("admin", "POST", v1("users"), object{"email": "n@example.com", "role": "viewer", "password": "hunter2hunter2"})
	r.do("admin", "POST", v1("tokens"), object{"name": "x"})
	r.do("", "GET", v1("me"), nil, "Authorization", "Bearer "+r.tokens["admin"])
	started, err := r.Accounts.StartCLILogin(t.Context(), "x", "192.0.2.1")
	r.must(err)
	r.do("", "POST", v1("cli-logins/poll"), object{"secret": started.Secret})
	log := r.log.String()
	if !strings.Contains(log, "route=/i/:code") || !strings.Contains(log, "request_id=") {
		t.Fatalf("no access lines:\n%s", log)
	}
	for what, secret := range map[string]string{"code": made.Code, "token": r.tokens["admin"], "password": "hunter2", "link": link,
		"cli login": started.Secret, "code's hash": auth.Hash(made.Code)} {
		if strings.Contains(log, secret) {
			t.Errorf("the log holds a %s", what)
		}
	}
	var dump strings.Builder
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	last, err := r.Events.Last(ctx)
	r.must(err)
	for e := range r.Events.Stream(ctx, 0) {
		for _, v := range e.Data {
			dump.WriteString(strings.TrimSpace(strings.Join([]string{toText(v)}, " ")))
		}
		if e.ID == last {
			break
		}
	}
	if strings.Contains(dump.String(), "hunter2") || strings.Contains(dump.String(), made.Code) {
		t.Error("the event log holds a secret")
	}
}

func toText(v any) string {
	s, _ := v.(string)
	return s
}

// pages gives every event of a query, and how many pages they came on.
func (r *rig) pages(as, query string) (all []Event, pages int) {
	r.t.Helper()
	for next := ""; ; {
		var page EventPage
		path := "events?" + query
		if next != "" {
			path += "&before=" + next
		}
		r.call(as, "GET", v1("%s", path), nil, 200, &page)
		all = append(all, page.Events...)
		pages++
		if page.Next == nil {
			return all, pages
		}
		next = *page.Next
	}
}

func TestEventPages(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	began := time.Now()
	for i := range 25 {
		r.call("admin", "PATCH", v1("devices/kitchen"), object{"tags": []string{fmt.Sprint("t", i)}}, 200, nil)
	}
	r.call("admin", "PATCH", v1("devices/shed"), object{"tags": []string{"x"}}, 200, nil)
	all, n := r.pages("admin", "limit=10&type=device.changed&device=kitchen")
	if len(all) != 25 || n != 3 || !slices.IsSortedFunc(all, func(a, b Event) int { return int(b.ID - a.ID) }) {
		t.Errorf("%d events on %d pages", len(all), n)
	}
	for query, want := range map[string]bool{
		"type=device.*&type=user.*": true, "type=device.changed&user=admin": true, "type=device.changed&user=viewer": false,
		"device=" + value(all[0].DeviceID): true, "user=usr_none": false, "device=dev_none": false,
		"since=" + url.QueryEscape(began.Add(-time.Minute).Format(time.RFC3339)):     true,
		"since=" + url.QueryEscape(time.Now().Add(time.Minute).Format(time.RFC3339)): false,
		"until=" + url.QueryEscape(began.Add(-time.Hour).Format(time.RFC3339)):       false,
	} {
		if got, _ := r.pages("admin", query); len(got) > 0 != want {
			t.Errorf("%s: %d events", query, len(got))
		}
	}
}

// Rule 11, for pages of events: those who do not manage find theirs among many of others', and every page leads to the next.
func TestEventPagesOfTheRestricted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.call("operator", "POST", v1("tokens"), object{"name": "first"}, 201, nil)
	for range 2500 {
		r.Noted.Add(events.Event{Type: events.DeviceOnline, Device: r.enrolled("shed")})
	}
	r.Noted.Flush(t.Context())
	r.call("admin", "POST", v1("devices/kitchen/ssh-certificate"), object{"public_key": sshKey(t), "login": "root"}, 200, nil)
	r.call("admin", "PATCH", v1("devices/kitchen"), object{"tags": []string{"x"}}, 200, nil)
	all, n := r.pages("operator", "limit=5&type=device.changed&type=token.*&type=ssh.certificate")
	if len(all) != 2 || all[0].Type != events.DeviceChanged || all[1].Type != events.TokenCreated {
		t.Errorf("an operator reads %+v on %d pages", all, n)
	} else if all[0].UserHandle != nil || value(all[0].DeviceName) != "kitchen" || value(all[1].UserHandle) != r.users["operator"].Handle {
		t.Errorf("names for an operator: %+v", all)
	}
	if all, _ := r.pages("operator", "limit=500"); slices.ContainsFunc(all, func(e Event) bool {
		return value(e.DeviceID) == r.enrolled("shed") || e.Type == events.CertificateSigned
	}) {
		t.Error("an operator reads what is not theirs")
	}
	if all, _ := r.pages("operator", "device="+r.enrolled("shed")); len(all) != 0 {
		t.Errorf("by id an operator reads %d events of a device out of view", len(all))
	}
}

func (r *rig) enrolled(name string) string {
	r.t.Helper()
	d, err := r.Devices.Find(r.t.Context(), r.principal("owner"), name)
	r.must(err)
	return d.ID
}

// The live stream takes the same filters, and a number that is none is refused before it begins.
func TestEventStreamFilters(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	lines := r.listenTo("admin", "0", "?type=user.*&user=viewer")
	r.call("admin", "PATCH", v1("devices/kitchen"), object{"tags": []string{"x"}}, 200, nil)
	r.call("admin", "PATCH", v1("users/operator"), object{"disabled": false}, 200, nil)
	r.call("admin", "PATCH", v1("users/viewer"), object{"disabled": false}, 200, nil)
	if data, _ := r.await(lines, "data: "); !strings.Contains(data, "viewer@example.com") {
		t.Errorf("%q", data)
	}
	if got := r.do("viewer", "GET", v1("events?last_event_id=x"), nil, "Accept", "text/event-stream"); got.status != 400 {
		t.Errorf("from nowhere: %d", got.status)
	}
}

func TestEventTypes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var types []EventType
	r.call("viewer", "GET", v1("event-types"), nil, 200, &types)
	if len(types) != len(events.Types()) || types[0].Type != events.DeviceEnrolled || !slices.Contains(types[0].Data, "address") {
		t.Errorf("%+v", types)
	}
}
