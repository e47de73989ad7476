package handlers

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/events"
)

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

// What people do to get in and what they open is in the log, without a secret.
func TestWhatIsLogged(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.connect("kitchen")
	target, ended := echoTarget(t)
	conn := r.open("admin", target)
	r.must(conn.Close())
	<-ended
	r.do("viewer", "GET", v1("devices/kitchen/connect?target=ssh"), nil, upgrade(101)...)
	cookie := r.session("operator")
	r.do("", "POST", v1("logout"), nil, "Cookie", cookie, "Origin", r.url)
	token, err := r.Accounts.CreateTokenBy(t.Context(), &auth.Principal{User: r.users["operator"], Scope: access.ScopeAll}, auth.TokenRequest{Name: "x"})
	r.must(err)
	r.call("operator", "DELETE", v1("tokens/%s", token.ID), nil, 204, nil)
	var made struct{ ID, Code string }
	r.call("admin", "POST", v1("install-codes"), object{}, 201, &made)
	r.call("admin", "DELETE", v1("install-codes/%s", made.ID), nil, 204, nil)
	for _, kind := range []string{events.StreamOpened, events.StreamClosed, events.StreamRefused, events.LoginEnded, events.TokenRevoked,
		events.CodeCreated, events.CodeRevoked} {
		r.becomes(func() bool {
			all, _ := r.pages("admin", "type="+kind)
			for _, e := range all {
				if strings.Contains(fmt.Sprint(e.Data), made.Code) {
					t.Errorf("%s holds the code", kind)
				}
			}
			return len(all) > 0
		})
	}
	all, _ := r.pages("admin", "type=stream.opened&type=stream.closed")
	if len(all) != 2 || all[0].Data["bytes_in"] != 5.0 || all[0].Data["bytes_out"] != 5.0 || all[0].Data["target"] != string(target) ||
		all[0].Data["cause"] != nil {
		t.Errorf("%+v", all)
	}
}

func TestEventTypesAndRetention(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var types []EventType
	r.call("viewer", "GET", v1("event-types"), nil, 200, &types)
	if len(types) != len(events.Types()) || types[0].Type != events.DeviceEnrolled || !slices.Contains(types[0].Data, "address") {
		t.Errorf("%+v", types)
	}
	var kept Retention
	r.call("admin", "GET", v1("retention"), nil, 200, &kept)
	if kept.EventsDays != 90 || kept.MaxBytes != 256<<20 {
		t.Errorf("at first %+v", kept)
	}
	kept.EventsDays = 400
	r.call("admin", "PUT", v1("retention"), kept, 200, nil)
	kept.EventsDays = 0
	r.call("admin", "GET", v1("retention"), nil, 200, &kept)
	if kept.EventsDays != 400 {
		t.Errorf("then %+v", kept)
	}
	if all, _ := r.pages("admin", "type=hub.retention_changed"); len(all) != 1 || all[0].Data["events_days"] != 400.0 {
		t.Errorf("%+v", all)
	}
}

// failing is a receiver that fails, and is asked again by hand alone.
func failing(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusInternalServerError)
	}))
	t.Cleanup(s.Close)
	return s
}

// What people do with deliveries, requests and sign-ins of adit is in the log under their name; what was only counted is not.
func TestWhatPeopleDecideIsLogged(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	to := failing(t)
	var made NewHookEndpoint
	r.call("admin", "POST", v1("hooks/endpoints"), object{"name": "here", "url": to.URL}, 201, &made)
	var d HookDelivery
	r.call("admin", "POST", v1("hooks/endpoints/here/test"), nil, 201, &d)
	failed := func(times int) {
		r.becomes(func() bool {
			var seen HookDeliveryDetail
			r.call("admin", "GET", v1("hooks/deliveries/%s", d.ID), nil, 200, &seen)
			return seen.Delivery.State == "waiting" && seen.Delivery.Attempts == times
		})
	}
	failed(1)
	r.call("admin", "POST", v1("hooks/deliveries/%s/try", d.ID), nil, 200, nil)
	failed(2)
	r.call("admin", "POST", v1("hooks/deliveries/%s/cancel", d.ID), nil, 200, nil)
	r.call("admin", "POST", v1("hooks/deliveries/%s/replay", d.ID), nil, 201, &d)
	failed(1)
	r.call("admin", "POST", v1("hooks/deliveries/%s/cancel", d.ID), nil, 200, nil)
	for _, dry := range []bool{true, false} {
		r.call("admin", "POST", v1("hooks/deliveries/replay"), object{"endpoint": "here", "state": "cancelled", "dry_run": dry}, 200, nil)
	}

	path, source := r.openSource(object{"kind": "publish", "topic": "a/b"})
	request := r.accepted(r.do("", "POST", path, "{}"))
	r.hookState(request.ID, "done")
	r.call("admin", "POST", v1("hooks/requests/%s/replay", request.ID), nil, 200, nil)

	started, err := r.Accounts.StartCLILogin(t.Context(), "laptop", "192.0.2.1")
	r.must(err)
	r.call("admin", "POST", v1("cli-logins/%s", started.UserCode), object{"approve": false}, 204, nil)

	endpoint := map[string]any{"endpoint": made.Endpoint.ID}
	for kind, want := range map[string][]map[string]any{
		events.HookDeliveryTried:     {endpoint},
		events.HookDeliveryCancelled: {endpoint, endpoint},
		events.HookReplayed:          {{"endpoint": made.Endpoint.ID, "state": "cancelled", "count": 1.0}, {"endpoint": made.Endpoint.ID, "delivery_id": d.ID}},
		events.HookRequestReplayed:   {{"source": source.Source.ID, "request_id": request.ID}},
		events.LoginDenied:           {{"address": "192.0.2.1", "host": "laptop"}},
	} {
		all, _ := r.pages("admin", "type="+kind)
		if len(all) != len(want) {
			t.Errorf("%s: %+v", kind, all)
			continue
		}
		for i, members := range want {
			for name, member := range members {
				if all[i].Data[name] != member || value(all[i].UserHandle) != r.users["admin"].Handle ||
					(members["endpoint"] != nil && value(all[i].HookName) != "here") {
					t.Errorf("%s: %+v, want %s %v", kind, all[i], name, member)
				}
			}
		}
	}
}
