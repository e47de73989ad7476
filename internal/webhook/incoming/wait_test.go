package incoming

import "testing"

// An answer in an envelope is its payload, with the bytes that base64 stands for; what is no envelope of this request is the answer as it is.
func TestUnwrap(t *testing.T) {
	t.Parallel()
	const text, bytes = "text/plain; charset=utf-8", "application/octet-stream"
	for body, want := range map[string]answer{
		`{"id":"req_1","payload":{"a":1}}`:                                           {200, "application/json", []byte(`{"a":1}`), nil},
		`{"id":"req_1","payload":"on","status":418}`:                                 {418, text, []byte("on"), nil},
		`{"id":"req_1","payload":null}`:                                              {200, "application/json", []byte("null"), nil},
		`{"id":"req_1","payload_base64":"/w=="}`:                                     {200, bytes, []byte("\xff"), nil},
		`{"id":"req_1","payload_base64":"","content_type":"image/png","status":201}`: {201, "image/png", []byte{}, nil},
		`{"id":"req_1","payload":"on","payload_base64":"/w=="}`:                      {200, text, []byte("on"), nil},
		`{"id":"req_1","payload_base64":"no base64"}`:                                {200, "", []byte(`{"id":"req_1","payload_base64":"no base64"}`), nil},
		`{"id":"req_2","payload":"on"}`:                                              {200, "", []byte(`{"id":"req_2","payload":"on"}`), nil},
		`{"id":"req_1","payload":"on","status":42}`:                                  {200, text, []byte("on"), nil},
		"on": {200, "", []byte("on"), nil},
	} {
		got := answer{Status: 200, Body: []byte(body)}
		got.unwrap("req_1")
		if got.Status != want.Status || got.ContentType != want.ContentType || string(got.Body) != string(want.Body) {
			t.Errorf("%s: %d %s %q", body, got.Status, got.ContentType, got.Body)
		}
	}
}
