package incoming

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/webhook/header"
	"github.com/aditdev/adit/internal/webhook/transform"
	"github.com/aditdev/adit/internal/wire"
)

// plan is what is to be done with a request, worked out before it is accepted. As JSON it is kept with it, but for topic,
// device and payload, which have columns of their own.
type plan struct {
	Kind        string            `json:"kind"`
	QoS         int               `json:"qos,omitempty"`
	Retain      bool              `json:"retain,omitempty"`
	Correlation string            `json:"correlation,omitempty"`
	ContentType string            `json:"content_type,omitempty"` // of the payload
	Encoding    string            `json:"encoding,omitempty"`     // of the payload, where the body was sent in one
	Command     string            `json:"command,omitempty"`
	Arguments   map[string]string `json:"arguments,omitempty"`
	Properties  []Header          `json:"properties,omitempty"` // user properties, but id and source
	Hops        int               `json:"hops,omitempty"`
	DeviceName  string            `json:"device_name,omitempty"`
	WaitMS      int64             `json:"wait_ms,omitempty"` // somebody waits so long for the answer

	topic, device string
	payload       []byte // nil: the body as it came
}

// Header is a field of a request.
type Header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// secretHeader reports whether a field's value is nobody's to read later. An Idempotency-Key only tells repeats. A signature is kept: who listens
// to a source can verify it still.
func secretHeader(name string) bool {
	return header.Secret(name) && !strings.EqualFold(name, "idempotency-key")
}

// keptHeaders are a request's fields in the order of their names, secrets masked.
func keptHeaders(h http.Header, host string) []Header {
	list := []Header{{"Host", host}}
	names := make([]string, 0, len(h))
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, v := range h[name] {
			if secretHeader(name) {
				v = header.Masked
			}
			list = append(list, Header{name, strings.ToValidUTF8(v, "\uFFFD")})
		}
	}
	return list
}

// subject is what templates and programs see of a request.
type subject struct {
	ID, Source, Method, Path string // Path without the query
	Query                    url.Values
	Headers                  []Header
	ContentType, Encoding    string
	Body                     []byte // as it came
	plain                    []byte // Body decompressed
}

// input is the subject as JSON. Of fields that come several times the first counts.
func (r *subject) input(max int64) (map[string]any, error) {
	body, err := r.parsed(max)
	if err != nil {
		return nil, err
	}
	headers, query := map[string]string{}, map[string]string{}
	for _, h := range r.Headers {
		if name := strings.ToLower(h.Name); headers[name] == "" {
			headers[name] = h.Value
		}
	}
	for name, values := range r.Query {
		query[name] = values[0]
	}
	return map[string]any{"body": body, "headers": headers, "query": query, "path": r.Path, "method": r.Method, "source": r.Source, "id": r.ID}, nil
}

// parsed is the body: JSON that programs can read as it is, a form as its first values, other text as text, and else base64.
func (r *subject) parsed(max int64) (any, error) {
	plain, err := r.plainBody(max)
	if err != nil {
		return nil, err
	}
	kind, _, _ := mime.ParseMediaType(r.ContentType)
	if kind == "application/x-www-form-urlencoded" && !transform.IsJSON(plain) {
		if form, err := url.ParseQuery(string(plain)); err == nil {
			first := map[string]string{}
			for name, values := range form {
				first[name] = values[0]
			}
			return first, nil
		}
	}
	switch {
	case transform.IsJSON(plain):
		return json.RawMessage(plain), nil
	case utf8.Valid(plain):
		return string(plain), nil
	}
	return base64.StdEncoding.EncodeToString(plain), nil
}

// plainBody decompresses, to at most as many bytes as the source takes sent.
func (r *subject) plainBody(max int64) ([]byte, error) {
	if !r.zipped() {
		return r.Body, nil
	}
	return r.unzip(func(from io.Reader) ([]byte, error) {
		plain, err := io.ReadAll(io.LimitReader(from, max+1))
		if err == nil && int64(len(plain)) > max {
			err = errTooLong
		}
		return plain, err
	}, max)
}

func (r *subject) zipped() bool { return strings.EqualFold(r.Encoding, "gzip") }

// unzip decompresses the body by read, once. Errors: those for people, and errBusy.
func (r *subject) unzip(read func(io.Reader) ([]byte, error), max int64) ([]byte, error) {
	if r.plain != nil {
		return r.plain, nil
	}
	zip, err := gzip.NewReader(bytes.NewReader(r.Body))
	if err != nil {
		return nil, wire.Errorf(wire.Invalid, "Content-Encoding says gzip, and the body is none.")
	}
	plain, err := read(zip)
	switch {
	case errors.Is(err, errTooLong):
		return nil, wire.Errorf(wire.TooLarge, "The body decompresses to more than %d bytes.", max)
	case errors.Is(err, errBusy):
		return nil, err
	case err != nil:
		return nil, wire.Errorf(wire.Invalid, "Content-Encoding says gzip, and the body is none.")
	}
	r.plain = plain
	return plain, nil
}

// plan works out what the source does with a request. Errors are wire.Invalid with a field, and wire.TooLarge.
func (h *Hooks) plan(ctx context.Context, s *source, r *subject) (*plan, error) {
	p := &plan{Kind: s.Action.Kind, ContentType: r.ContentType, Encoding: r.Encoding}
	apply := h.applier(ctx, s, r)
	if s.Transform != nil {
		payload, err := apply("transform", s.Transform.program())
		if err != nil {
			return nil, err
		}
		p.payload, p.Encoding, p.ContentType = payload, "", "text/plain; charset=utf-8"
		if transform.IsJSON(payload) {
			p.ContentType = "application/json"
		}
	}
	switch s.Action.Kind {
	case ActionPublish:
		return p, h.planPublish(ctx, s, r, p, apply)
	case ActionCommand:
		return p, h.planCommand(ctx, s, r, p, apply)
	}
	return p, nil
}

type applier func(field string, t transform.Transform) ([]byte, error)

// applier runs transforms over a request, whose input is made once.
func (h *Hooks) applier(ctx context.Context, s *source, r *subject) applier {
	var input map[string]any
	return func(field string, t transform.Transform) (out []byte, err error) {
		if input == nil {
			if input, err = r.input(s.MaxBytes); err != nil {
				return nil, err
			}
		}
		if out, err = h.Transforms.Apply(ctx, t, input); err != nil {
			return nil, inField(field, err)
		}
		if out == nil {
			out = []byte{}
		}
		return out, nil
	}
}

func (h *Hooks) planPublish(ctx context.Context, s *source, r *subject, p *plan, apply applier) error {
	a := s.Action
	p.QoS, p.Retain, p.Correlation, p.topic = *a.QoS, a.Retain, a.Correlation, a.Topic
	if isTemplate(a.Topic) {
		out, err := apply("topic", template(a.Topic))
		if err != nil {
			return err
		}
		p.topic = string(out)
		if err := a.checkMade(p.topic); err != nil {
			return inField("topic", err)
		}
	}
	if err := h.fits(p.Correlation, r.ID, r.payload(p)); err != nil {
		return err
	}
	p.Properties = selected(r.Headers)
	return h.deviceOf(ctx, a, p)
}

// maxMessage leaves room beside the payload for what else a message carries.
const maxMessage = messaging.MaxPayload - 2<<10

// fits refuses what is larger than a message. In an envelope text grows, to six times itself at most.
func (h *Hooks) fits(correlation, id string, payload []byte) error {
	size := len(payload)
	if size > maxMessage {
		return wire.Errorf(wire.TooLarge, "The message would have %d bytes; one carries %d.", size, maxMessage)
	}
	if correlation != CorrelateEnvelope || 6*size < maxMessage/2 {
		return nil
	}
	if size = len(envelope(id, h.Broker.ReplyTopic(id), payload)); size > maxMessage {
		return wire.Errorf(wire.TooLarge, "The message would have %d bytes in its envelope; one carries %d.", size, maxMessage)
	}
	return nil
}

// payload is what a plan sends.
func (r *subject) payload(p *plan) []byte {
	if p.payload != nil {
		return p.payload
	}
	return r.Body
}

// checkMade says what is wrong with a topic that a template made.
func (a Action) checkMade(topic string) error {
	if err := checkTopic(topic); err != nil {
		return err
	}
	if prefix, _ := a.prefix(); !strings.HasPrefix(topic, prefix) || len(topic) == len(prefix) {
		return wire.Errorf(wire.Invalid, "The topic %s is not below %s.", wire.Printable(topic, 100), prefix)
	}
	if emptyLevels(topic) > emptyLevels(transform.Outline(a.Topic)) {
		return wire.Errorf(wire.Invalid, "The topic %s has an empty level.", wire.Printable(topic, 100))
	}
	return nil
}

func emptyLevels(topic string) (n int) {
	for level := range strings.SplitSeq(topic, "/") {
		if level == "" {
			n++
		}
	}
	return n
}

// selected are the fields that go along as user properties: what names the event, and nothing that is long or secret.
func selected(headers []Header) (out []Header) {
	names := []string{"x-github-event", "x-github-delivery", "x-gitlab-event", "x-gitlab-event-uuid", "x-shopify-topic", "x-shopify-shop-domain",
		"x-shopify-webhook-id", "webhook-id", "ce-type", "ce-source", "ce-id", "ce-subject", "user-agent"}
	for _, h := range headers {
		if name := strings.ToLower(h.Name); slices.Contains(names, name) && len(h.Value) <= 256 && !strings.ContainsFunc(h.Value, unicode.IsControl) {
			out = append(out, Header{name, h.Value})
		}
	}
	return out
}

// deviceOf finds whose a message is: the source says so, or the topic does, as cmds/NAME/…
func (h *Hooks) deviceOf(ctx context.Context, a Action, p *plan) error {
	if a.Device != "" {
		if err := h.byID(ctx, a.Device, p); err != nil {
			return err
		}
	} else if _, name, _ := nameInTopic(p.topic); name != "" {
		id, name, err := h.Devices.Find(ctx, name)
		if err != nil && wire.CodeOf(err) != wire.NotFound {
			return err
		}
		p.device, p.DeviceName = id, name
	}
	if p.Correlation == CorrelateTopic && p.device == "" {
		return inField("topic", wire.Errorf(wire.Invalid, "Answers by topic take a device; the source names none, and neither does the topic."))
	}
	return nil
}

// nameInTopic cuts a topic around the name of the device whose it is, as cmds/NAME/…; name is "" where there is none.
func nameInTopic(topic string) (tree, name, rest string) {
	tree, rest, _ = strings.Cut(topic, "/")
	name, _, _ = strings.Cut(rest, "/")
	if tree != "cmds" && tree != "devices" || !wire.ValidDeviceName(name) {
		return "", "", ""
	}
	return tree + "/", name, rest[len(name):]
}

// byID puts a source's device into a plan. Its name would be whoever has it by now: one is left in settings only where nobody had it when they were
// made to name ids.
func (h *Hooks) byID(ctx context.Context, device string, p *plan) error {
	id, name, err := h.Devices.Find(ctx, device)
	if err == nil && id != device {
		err = wire.Errorf(wire.NotFound, "There was no device %s when this source was told of it. Name the device anew, by its id.", wire.Printable(device, 63))
	}
	if err != nil {
		return inField("device", err)
	}
	p.device, p.DeviceName = id, name
	return nil
}

func (h *Hooks) planCommand(ctx context.Context, s *source, r *subject, p *plan, apply applier) (err error) {
	a := s.Action
	if err := h.byID(ctx, a.Device, p); err != nil {
		return err
	}
	p.Command, p.Arguments = a.Command, map[string]string{}
	var errs []error
	for name, value := range a.Arguments {
		if isTemplate(value) {
			out, err := apply("arguments", template(value))
			if code := wire.CodeOf(err); code == wire.Invalid || code == wire.TooLarge {
				err = inField("arguments", wire.Wrap(err, code, "The argument %s: %s", wire.Printable(name, 63), wire.MessageOf(err)))
			}
			errs = append(errs, err)
			value = string(out)
		}
		if len(value) > wire.MaxRunArgument {
			errs = append(errs, inField("arguments", wire.Errorf(wire.Invalid, "The argument %s has more than %d bytes.", name, wire.MaxRunArgument)))
		}
		p.Arguments[name] = value
	}
	if input := r.payload(p); len(input) > wire.MaxRunStdin {
		return wire.Errorf(wire.TooLarge, "A command reads at most %d bytes of input, and this has %d. A transform can make less of it.", wire.MaxRunStdin, len(input))
	}
	return errors.Join(errs...)
}

// text is the plan for its column.
func (p *plan) text() string {
	text, err := json.Marshal(p)
	if err != nil {
		panic(err) // texts and numbers always marshal
	}
	return string(text)
}
