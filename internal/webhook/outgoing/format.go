package outgoing

import (
	"context"
	"encoding/json"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/webhook/header"
	"github.com/aditdev/adit/internal/webhook/transform"
)

// Formats of a body.
const (
	FormatStandard = "standard"
	FormatEvents   = "cloudevents"
	FormatBinary   = "cloudevents-binary"
	FormatRaw      = "raw"
)

const (
	jsonType   = "application/json"
	eventsType = "application/cloudevents+json"
)

// content is what is sent of a message: a body, and the headers that speak of it.
type content struct {
	body   []byte
	header http.Header
}

func newContent(body []byte, contentType string) content {
	return content{body: body, header: http.Header{"Content-Type": {contentType}}}
}

// format makes the body. An error is the transform's, or says that the message cannot be read.
func (o *Outbox) format(ctx context.Context, e *endpoint, m store.HookMessage) (content, error) {
	base, err := envelopeOf(m)
	if err != nil {
		return content{}, err
	}
	data, dataType := plainData(m)
	if e.transform != nil {
		if data, err = o.transformed(ctx, *e.transform, base, m); err != nil {
			return content{}, err
		}
		dataType = typeOf(data)
	}
	switch e.row.Format {
	case FormatEvents:
		return o.structured(m, data, dataType)
	case FormatBinary:
		return o.binary(m, data, dataType), nil
	case FormatRaw:
		return newContent(data, dataType), nil
	}
	if e.transform != nil {
		return newContent(data, dataType), nil
	}
	body, err := json.Marshal(base)
	return newContent(body, jsonType), err
}

func (o *Outbox) transformed(ctx context.Context, t transform.Transform, base envelope, m store.HookMessage) ([]byte, error) {
	base.Topic, base.ID = m.Topic, m.ID
	return o.Transform(ctx, t, base)
}

// plainData is a message's data alone: its payload as it came, with the type that it says it has or seems to have.
func plainData(m store.HookMessage) ([]byte, string) {
	if m.ContentType != "" {
		if kind, _, err := mime.ParseMediaType(m.ContentType); err == nil && strings.Contains(kind, "/") && header.ValidValue(m.ContentType) {
			return m.Payload, m.ContentType
		}
	}
	return m.Payload, typeOf(m.Payload)
}

func typeOf(data []byte) string {
	switch {
	case transform.IsJSON(data):
		return jsonType
	case utf8.Valid(data):
		return "text/plain; charset=utf-8"
	}
	return "application/octet-stream"
}

// attributes of a CloudEvent (CloudEvents 1.0.2 §3). device names the device beside source, which has its id.
func (o *Outbox) attributes(m store.HookMessage) map[string]string {
	source := "/hubs/" + url.PathEscape(o.Hub)
	a := map[string]string{"specversion": "1.0", "id": m.ID, "type": "hub." + m.Type, "time": stamp(m.At)}
	if m.DeviceID != nil {
		source += "/devices/" + *m.DeviceID
		if m.DeviceName != "" {
			a["device"] = m.DeviceName
		}
	}
	a["source"] = source
	if m.Topic != "" {
		a["subject"] = m.Topic
	}
	return a
}

// structured is the JSON format (CloudEvents 1.0.2 JSON §3): data that is JSON as such, text as a string, the rest in base64.
func (o *Outbox) structured(m store.HookMessage, data []byte, dataType string) (content, error) {
	event := map[string]any{"datacontenttype": dataType}
	for name, value := range o.attributes(m) {
		event[name] = value
	}
	value, encoding := payloadOf(data)
	switch {
	case encoding == encodingBase64:
		if event["data_base64"] = value; isJSON(dataType) { // it says that it is JSON, and is not
			event["datacontenttype"] = "application/octet-stream"
		}
	case encoding == encodingText && isJSON(dataType): // so too, or too deep
		event["datacontenttype"], event["data"] = "text/plain; charset=utf-8", value
	case encoding == encodingJSON && !isJSON(dataType):
		event["data"] = quoted(string(data))
	default:
		event["data"] = value
	}
	body, err := json.Marshal(event)
	return newContent(body, eventsType), err
}

func isJSON(contentType string) bool {
	kind, _, err := mime.ParseMediaType(contentType)
	return err == nil && (kind == jsonType || strings.HasSuffix(kind, "+json"))
}

// binary has the attributes in headers (CloudEvents 1.0.2 HTTP §3.1).
func (o *Outbox) binary(m store.HookMessage, data []byte, dataType string) content {
	c := newContent(data, dataType)
	for name, value := range o.attributes(m) {
		c.header.Set("ce-"+name, escapeAttribute(value))
	}
	return c
}

// escapeAttribute writes what a header cannot hold, percent-encoded (CloudEvents 1.0.2 HTTP §3.1.3.2).
func escapeAttribute(value string) string {
	var b strings.Builder
	for i := range len(value) {
		if c := value[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '%' {
			b.WriteByte('%')
			b.WriteString(strings.ToUpper(strconv.FormatUint(uint64(c)|0x100, 16)[1:]))
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
