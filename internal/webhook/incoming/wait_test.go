package incoming

import "testing"

// An answer in an envelope is its payload, with the bytes that base64 stands for; what is no envelope of this request is the answer as it is.
func TestUnwrap(t *testing.T) {
	t.Parallel()
	const text, bytes = "text/plain; charset=utf-8", "application/octet-stream"
	for body, want := range map[string]Reply{
		`{"id":"req_1","payload":{"a":1}}`:                                           {Status: 200, ContentType: "application/json", Body: []byte(`{"a":1}`)},
		`{"id":"req_1","payload":"on","status":418}`:                                 {Status: 418, ContentType: text, Body: []byte("on")},
		`{"id":"req_1","payload":null}`:                                              {Status: 200, ContentType: "application/json", Body: []byte("null")},
		`{"id":"req_1","payload_base64":"/w=="}`:                                     {Status: 200, ContentType: bytes, Body: []byte("\xff")},
		`{"id":"req_1","payload_base64":"","content_type":"image/png","status":201}`: {Status: 201, ContentType: "image/png", Body: []byte{}},
		`{"id":"req_1","payload":"on","payload_base64":"/w=="}`:                      {Status: 200, ContentType: text, Body: []byte("on")},
		`{"id":"req_1","payload_base64":"no base64"}`:                                {Status: 200, Body: []byte(`{"id":"req_1","payload_base64":"no base64"}`)},
		`{"id":"req_2","payload":"on"}`:                                              {Status: 200, Body: []byte(`{"id":"req_2","payload":"on"}`)},
		`{"id":"req_1","payload":"on","status":42}`:                                  {Status: 200, ContentType: text, Body: []byte("on")},
		"on": {Status: 200, Body: []byte("on")},
	} {
		got := Reply{Status: 200, Body: []byte(body)}
		got.unwrap("req_1")
		if got.Status != want.Status || got.ContentType != want.ContentType || string(got.Body) != string(want.Body) {
			t.Errorf("%s: %d %s %q", body, got.Status, got.ContentType, got.Body)
		}
	}
}
