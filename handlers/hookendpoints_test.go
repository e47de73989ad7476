package handlers

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/webhook/sign"
)

func decodeAs[T any](r *rig, body []byte) (v T) {
	r.t.Helper()
	r.must(json.Unmarshal(body, &v))
	return v
}

// An endpoint by the API: made, tested, delivered to from MQTT, shown, changed, rotated, replayed, counted, removed; its secret is shown once. Long because it is one life, from its beginning to its end.
func TestHookEndpoints(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	type request struct {
		header http.Header
		body   []byte
	}
	got := make(chan request, 100)
	to := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		got <- request{q.Header, body}
	}))
	t.Cleanup(to.Close)
	next := func() request {
		t.Helper()
		select {
		case q := <-got:
			return q
		case <-time.After(patience):
			t.Fatal("nothing was delivered")
		}
		return request{}
	}
	res := r.do("admin", "POST", "/api/v1/hooks/endpoints", object{"name": "here", "url": to.URL, "topics": []string{"devices/+/t"}, "rate": 1000,
		"headers": object{"Authorization": "Bearer hidden"}, "transform": object{"kind": "jq", "text": "{t: .data.payload, device: .device.name}"}})
	made := decodeAs[NewHookEndpoint](r, []byte(res.body))
	if res.status != 201 || made.Secret == nil || made.Endpoint.Headers["Authorization"] != "***" || made.Endpoint.State != "active" {
		t.Fatalf("%d %s", res.status, res.body)
	}
	if res := r.do("admin", "POST", "/api/v1/hooks/endpoints/here/test", nil); res.status != 201 {
		t.Fatalf("test: %d %s", res.status, res.body)
	}
	q := next()
	key, err := sign.ParseSecret(*made.Secret)
	r.must(err)
	r.must(sign.Verify([]sign.Secret{key}, q.header, q.body, time.Now(), time.Minute))
	r.must(r.MQTT.Backend.Publish(t.Context(), mqtt.Message{Topic: "devices/kitchen/t", Payload: []byte("21.5"), QoS: 1}, "test"))
	if q := next(); string(q.body) != `{"device":"kitchen","t":21.5}` || q.header.Get("Authorization") != "Bearer hidden" {
		t.Errorf("%s, %v", q.body, q.header)
	}
	var page HookDeliveryPage
	for end := time.Now().Add(patience); len(page.Deliveries) < 2 && time.Now().Before(end); {
		page = decodeAs[HookDeliveryPage](r, []byte(r.do("admin", "GET", "/api/v1/hooks/deliveries?endpoint=here&state=delivered", nil).body))
	}
	if len(page.Deliveries) != 2 || page.Deliveries[0].Type != "mqtt.message" || *page.Deliveries[0].DeviceID != r.device["kitchen"].ID {
		t.Fatalf("%+v", page)
	}
	first := decodeAs[HookDeliveryPage](r, []byte(r.do("admin", "GET", "/api/v1/hooks/deliveries?limit=1", nil).body))
	second := decodeAs[HookDeliveryPage](r, []byte(r.do("admin", "GET", "/api/v1/hooks/deliveries?limit=1&before="+*first.Next, nil).body))
	if len(second.Deliveries) != 1 || second.Deliveries[0].ID == first.Deliveries[0].ID || second.Next != nil {
		t.Errorf("pages: %+v, %+v", first, second)
	}
	id := page.Deliveries[0].ID
	detail := decodeAs[HookDeliveryDetail](r, []byte(r.do("admin", "GET", "/api/v1/hooks/deliveries/"+id, nil).body))
	if len(detail.Attempts) != 1 || *detail.Attempts[0].Status != 200 || string(detail.Attempts[0].RequestBody) != `{"device":"kitchen","t":21.5}` {
		t.Errorf("%+v", detail)
	}
	for _, c := range []struct {
		method, path string
		body         any
		want         int
	}{
		{"POST", "/api/v1/hooks/deliveries/" + id + "/cancel", nil, 409},
		{"POST", "/api/v1/hooks/deliveries/" + id + "/try", nil, 409},
		{"POST", "/api/v1/hooks/deliveries/" + id + "/replay", nil, 201},
		{"POST", "/api/v1/hooks/deliveries/replay", object{"endpoint": "here", "state": "dead", "dry_run": true}, 200},
		{"POST", "/api/v1/hooks/deliveries/replay", object{"state": "waiting"}, 400},
		{"POST", "/api/v1/hooks/endpoints", object{"name": "here", "url": to.URL}, 409},
		{"POST", "/api/v1/hooks/endpoints", object{"url": "http://169.254.169.254/"}, 400},
		{"POST", "/api/v1/hooks/endpoints", object{"url": to.URL, "rate": 0}, 400},
		{"GET", "/api/v1/hooks/deliveries?state=lost", nil, 400},
		{"PATCH", "/api/v1/hooks/endpoints/here", object{"state": "paused", "no_transform": true, "format": "cloudevents"}, 200},
		{"POST", "/api/v1/hooks/endpoints/here/test", nil, 409},
		{"POST", "/api/v1/hooks/endpoints/here/rotate", object{"overlap": "721h"}, 400},
		{"POST", "/api/v1/hooks/endpoints/here/rotate", object{"overlap": "0s"}, 200},
	} {
		if res := r.do("admin", c.method, c.path, c.body); res.status != c.want {
			t.Errorf("%s %s: %d, want %d\n%s", c.method, c.path, res.status, c.want, res.body)
		}
	}
	shown := r.do("admin", "GET", "/api/v1/hooks/endpoints/here", nil)
	if e := decodeAs[HookEndpoint](r, []byte(shown.body)); e.State != "paused" || e.Transform != nil || len(e.Secrets) != 1 ||
		strings.Contains(string(shown.body), *made.Secret) || strings.Contains(string(shown.body), "hidden") {
		t.Errorf("%s", shown.body)
	}
	if metrics := r.do("admin", "GET", "/metrics", nil); !strings.Contains(string(metrics.body), `adit_hook_endpoints{state="paused"} 1`) {
		t.Error("no figures")
	}
	if res := r.do("admin", "DELETE", "/api/v1/hooks/endpoints/here", nil); res.status != 204 {
		t.Errorf("remove: %d", res.status)
	}
	if res := r.do("admin", "GET", "/api/v1/hooks/endpoints", nil); strings.TrimSpace(string(res.body)) != "[]" {
		t.Errorf("%s", res.body)
	}
}

// An endpoint that goes by a tag hears of a device from the moment that it is given the tag to its removal.
func TestHookEndpointByTag(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	got := make(chan string, 100)
	to := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		var m struct{ Type string }
		_ = json.NewDecoder(q.Body).Decode(&m)
		got <- m.Type
	}))
	t.Cleanup(to.Close)
	r.call("admin", "POST", v1("hooks/endpoints"), object{"url": to.URL, "events": []string{"device.*"}, "devices": []string{"tag:home"}, "rate": 1000}, 201, nil)
	next := func(want string) {
		t.Helper()
		select {
		case kind := <-got:
			if kind != want {
				t.Errorf("%s, want %s", kind, want)
			}
		case <-time.After(patience):
			t.Fatalf("%s has not come", want)
		}
	}
	r.call("admin", "PATCH", v1("devices/kitchen"), object{"tags": []string{"home"}}, 200, nil)
	next("device.changed")
	r.call("admin", "DELETE", v1("devices/kitchen"), nil, 204, nil)
	next("device.removed")
}
