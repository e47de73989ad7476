package handlers

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/aditdev/adit/internal/webhook/incoming"
	"github.com/aditdev/adit/internal/wire"
)

// maxBody is how much a request may carry. The largest honest one is an enrolment, but for those of MQTT.
const maxBody = 64 << 10

// bodyLimit is how much the request may carry, in bytes.
func bodyLimit(r *http.Request) int64 {
	if isHook(r) {
		return incoming.MaxBytes + 1 // each source says less
	}
	switch r.URL.Path {
	case "/api/v1/mqtt/publish": // a message of a mebibyte, in base64
		return 2 << 20
	case "/api/v1/mqtt/import": // two files of a mebibyte, as JSON writes them
		return 4 << 20
	}
	if strings.HasPrefix(r.URL.Path, "/api/v1/hooks/requests/") { // an answer of a mebibyte, in base64
		return 2 << 20
	}
	return maxBody
}

// binder reads request bodies: one JSON value, known members only, nothing behind it. The generated handlers take
// whatever it gives them, so it takes nothing else.
type binder struct{}

func (binder) Bind(into any, c echo.Context) error {
	r := c.Request()
	if kind, _, err := mime.ParseMediaType(r.Header.Get(echo.HeaderContentType)); err != nil || kind != "application/json" {
		return wire.Errorf(wire.Invalid, "The body must be JSON, with Content-Type: application/json.")
	}
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return badBody(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return wire.Errorf(wire.Invalid, "The body has something behind its JSON value.")
	}
	return nil
}

func badBody(err error) error {
	if e, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return wire.Wrap(err, wire.TooLarge, "The body takes more than %d bytes.", e.Limit)
	}
	if errors.Is(err, io.EOF) {
		return wire.Wrap(err, wire.Invalid, "The body is empty.")
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return &wire.Error{Code: wire.Invalid, Message: "The body has a value of a wrong kind.", Err: err,
			Fields: map[string]string{wire.Printable(e.Field, 60): "Not a " + e.Type.String() + "."}}
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return wire.Wrap(err, wire.Invalid, "The body has a member %s that this hub does not know.", wire.Printable(name, 60))
	}
	return wire.Wrap(err, wire.Invalid, "The body is no JSON.")
}
