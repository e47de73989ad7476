package outgoing

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/storetest"
	"github.com/aditdev/adit/internal/webhook/transform"
)

// formatted is what an endpoint of a format is sent of a message.
func formatted(t *testing.T, r *rig, format string, tr *transform.Transform, m store.AddHookMessageParams) (*http.Request, string) {
	t.Helper()
	c, err := r.format(t.Context(), &endpoint{row: store.HookEndpoint{Format: format}, transform: tr}, store.HookMessage(m))
	must(t, err)
	req, err := http.NewRequest(http.MethodPost, "http://x", strings.NewReader(string(c.body)))
	must(t, err)
	req.Header = c.header
	return req, string(c.body)
}

var kitchen = &access.Policy{Devices: map[string]access.Device{"dev_1": {Name: "kitchen"}}, DeviceIDs: map[string]string{"kitchen": "dev_1"}}

// Both modes of CloudEvents are read by the standard's own library, whatever the payload.
func TestCloudEvents(t *testing.T) {
	t.Parallel()
	r := stillRig(t, storetest.Dir(t))
	for name, c := range map[string]struct{ topic, payload, contentType, wantType, wantData string }{
		"json":        {"devices/kitchen/t", `{"a":1}`, "", "application/json", `{"a":1}`},
		"text":        {"devices/kitchen/t", "on, ünd", "", "text/plain; charset=utf-8", "on, ünd"},
		"binary":      {"devices/kitchen/t", "\xff\x00\x01", "", "application/octet-stream", "\xff\x00\x01"},
		"typed":       {"devices/kitchen/t", "<a/>", "application/xml", "application/xml", "<a/>"},
		"a false one": {"devices/kitchen/t", `{"a":`, "application/json", "", `{"a":`},
		"odd topic":   {"devices/kitchen/ü \"%/x", "1", "", "application/json", "1"},
		"empty":       {"devices/kitchen/t", "", "", "", ""},
	} {
		m := ofMQTT(received(c.topic, c.payload, c.contentType), kitchen)
		for _, format := range []string{FormatEvents, FormatBinary} {
			req, body := formatted(t, r, format, nil, m)
			e, err := cehttp.NewEventFromHTTPRequest(req)
			if err != nil || e.Validate() != nil {
				t.Errorf("%s, %s: %v, %v in %s", name, format, err, e.Validate(), body)
				continue
			}
			subject := e.Subject()
			if format == FormatBinary { // the library leaves a receiver to decode it (HTTP §3.1.3.2)
				subject, err = url.PathUnescape(subject)
				must(t, err)
			}
			if e.ID() != m.ID || e.Source() != "/hubs/h1/devices/dev_1" || e.Type() != "hub.mqtt.message" || subject != c.topic || e.Time().UnixMilli() != m.At {
				t.Errorf("%s, %s: %s", name, format, e)
			}
			if c.wantType != "" && e.DataContentType() != c.wantType {
				t.Errorf("%s, %s: type %q", name, format, e.DataContentType())
			}
			if data := string(e.Data()); data != c.wantData && data != string(quoted(c.wantData)) {
				t.Errorf("%s, %s: data %q", name, format, data)
			}
		}
	}
}

// What looks like JSON, or claims to be it, and is no UTF-8 comes out as the bytes that it is; JSON that is too deep for its receivers as text. The one
// was mangled, and of the other there was no body at all.
func TestFalseJSON(t *testing.T) {
	t.Parallel()
	r := stillRig(t, storetest.Dir(t))
	deep := strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000)
	for _, c := range []struct{ payload, contentType, encoding, standard, wantType, member string }{
		{"{\"a\":\"\xff\"}", "", "base64", `"eyJhIjoi/yJ9"`, "application/octet-stream", "data_base64"},
		{"{\"a\":\"\xff\"}", "application/json", "base64", `"eyJhIjoi/yJ9"`, "application/octet-stream", "data_base64"},
		{"{\"a\":\xff", "application/json", "base64", `"eyJhIjr/"`, "application/octet-stream", "data_base64"},
		{deep, "application/json", "text", string(quoted(deep)), "text/plain; charset=utf-8", "data"},
		{deep, "", "text", string(quoted(deep)), "text/plain; charset=utf-8", "data"},
	} {
		m := ofMQTT(received("a", c.payload, c.contentType), kitchen)
		_, body := formatted(t, r, FormatStandard, nil, m)
		var got struct {
			Data struct {
				Encoding string
				Payload  json.RawMessage
			}
		}
		must(t, json.Unmarshal([]byte(body), &got))
		if got.Data.Encoding != c.encoding || string(got.Data.Payload) != c.standard {
			t.Errorf("%.20q of %q: %.200s", c.payload, c.contentType, body)
		}
		_, body = formatted(t, r, FormatEvents, nil, m)
		members := map[string]json.RawMessage{}
		must(t, json.Unmarshal([]byte(body), &members))
		if string(members[c.member]) != c.standard || string(members["datacontenttype"]) != string(quoted(c.wantType)) {
			t.Errorf("%.20q of %q as a CloudEvent: %.200s", c.payload, c.contentType, body)
		}
		if _, body = formatted(t, r, FormatRaw, nil, m); body != c.payload {
			t.Errorf("raw: %.200q", body)
		}
	}
}

// The page shows this body before a message was sent (static/src/hooks/sample.test.ts compares its own with the same file).
func TestStandardMessage(t *testing.T) {
	t.Parallel()
	want, err := os.ReadFile("testdata/message.json")
	must(t, err)
	gate := &access.Policy{Devices: map[string]access.Device{"dev_1": {Name: "gate"}}, DeviceIDs: map[string]string{"gate": "dev_1"}}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	m := ofMQTT(messaging.Received{Message: mqtt.Message{Topic: "devices/gate/climate", Payload: []byte(`{"temp":21.5}`), QoS: 1}, From: "gate", At: at}, gate)
	_, body := formatted(t, stillRig(t, storetest.Dir(t)), FormatStandard, nil, m)
	var indented bytes.Buffer
	must(t, json.Indent(&indented, []byte(body), "", "  "))
	if got := indented.String() + "\n"; got != string(want) {
		t.Errorf("the body is\n%s, the file has\n%s", got, want)
	}
}

// The standard format has a payload as a value of JSON, and says how.
func TestStandardFormat(t *testing.T) {
	t.Parallel()
	r := stillRig(t, storetest.Dir(t))
	for payload, want := range map[string][2]string{`{"n":12345678901234567890}`: {`{"n":12345678901234567890}`, "json"}, "on": {`"on"`, "text"},
		"\xff": {`"/w=="`, "base64"}, "": {`""`, "text"}, "1": {"1", "json"}} {
		_, body := formatted(t, r, FormatStandard, nil, ofMQTT(received("cmds/kitchen/x", payload, ""), kitchen))
		var got struct {
			Type, Timestamp string
			Device          device
			Data            struct {
				Topic, Encoding string
				Payload         json.RawMessage
			}
		}
		must(t, json.Unmarshal([]byte(body), &got))
		if got.Type != TypeMQTT || got.Device != (device{"dev_1", "kitchen"}) || string(got.Data.Payload) != want[0] || got.Data.Encoding != want[1] || got.Data.Topic != "cmds/kitchen/x" {
			t.Errorf("%q: %s", payload, body)
		}
	}
	req, body := formatted(t, r, FormatRaw, nil, ofMQTT(received("a", "<a/>", "application/xml"), kitchen))
	if body != "<a/>" || req.Header.Get("Content-Type") != "application/xml" {
		t.Errorf("raw: %q, %v", body, req.Header)
	}
	req, body = formatted(t, r, FormatRaw, nil, ofMQTT(received("a", "on", "text/plain\r\nX-Evil: 1"), kitchen))
	if body != "on" || req.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("raw: %q, %v", body, req.Header)
	}
	req, body = formatted(t, r, FormatStandard, &transform.Transform{Kind: transform.Template, Text: "hello"}, ofMQTT(received("a", "on", ""), kitchen))
	if body != "hello" || req.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("transformed: %q, %v", body, req.Header)
	}
}

// Hops are counted across a hub's own deliveries.
func TestHops(t *testing.T) {
	t.Parallel()
	m := received("a", "1", "")
	m.UserProperties = []mqtt.UserProperty{{Name: "adit-hops", Value: "3"}}
	if got := ofMQTT(m, kitchen); got.Hops != 3 {
		t.Errorf("%d", got.Hops)
	}
	if got := ofEvent(store.Event{Type: "hook.received", Data: `{"hops":2}`}, kitchen); got.Hops != 2 {
		t.Errorf("%d", got.Hops)
	}
}

// What a person may not set, and what is not shown.
func TestSpecs(t *testing.T) {
	t.Parallel()
	r := stillRig(t, storetest.Dir(t))
	good := "http://127.0.0.1:9/x"
	for field, s := range map[string]Spec{
		"url":             {URL: ptr("http://169.254.169.254/latest")},
		"name":            {URL: &good, Name: ptr("a b")},
		"events":          {URL: &good, Events: &[]string{"device.*.x"}},
		"topics":          {URL: &good, Topics: &[]string{"$SYS/#"}},
		"devices":         {URL: &good, Devices: &[]string{"nowhere"}},
		"rate":            {URL: &good, Rate: ptr(0.0)},
		"concurrency":     {URL: &good, Concurrency: ptr(33)},
		"format":          {URL: &good, Format: ptr("xml")},
		"secret":          {URL: &good, Secret: ptr("whsec_AA==")},
		"transform":       {URL: &good, Transform: &transform.Transform{Kind: transform.JQ, Text: ".a |"}},
		"headers":         {URL: &good, Headers: &map[string]string{"X-A": "a\r\nX-Evil: 1"}},
		"timeout_seconds": {URL: &good, Timeout: ptr(31 * time.Second)},
	} {
		if _, _, err := r.Create(t.Context(), somebody, s); err == nil || !strings.Contains(fieldsOf(err), field) {
			t.Errorf("%s: %v (%s)", field, err, fieldsOf(err))
		}
	}
	for _, name := range []string{"Host", "webhook-id", "ce-type", "adit-hops", "Content-Length"} {
		if _, _, err := r.Create(t.Context(), somebody, Spec{URL: &good, Headers: &map[string]string{name: "x"}}); err == nil {
			t.Errorf("header %s passes", name)
		}
	}
	e := r.endpoint(good, func(s *Spec) { s.Headers = &map[string]string{"authorization": "Bearer x", "X-A": "1"} })
	_, err := r.Change(t.Context(), somebody, e.ID, Spec{Headers: &map[string]string{"Authorization": "***", "X-A": "2"}})
	must(t, err)
	must(t, r.refresh(t.Context()))
	if h := r.table.Load().endpoints[e.ID].headers; h["Authorization"] != "Bearer x" || h["X-A"] != "2" {
		t.Errorf("%v", h)
	}
	second := r.endpoint(good)
	if second.Name == e.Name || len(second.Events) != 1 || second.Events[0] != "*" {
		t.Errorf("%+v", second)
	}
}
