package outgoing

import (
	"net/textproto"
	"regexp"
	"slices"
	"strings"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/devices"
	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/webhook/header"
	"github.com/aditdev/adit/internal/webhook/transform"
	"github.com/aditdev/adit/internal/wire"
)

const (
	maxHeaders = 20
	maxValue   = 1024
	maxList    = 50
)

var (
	validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
	notInName = regexp.MustCompile(`[^a-z0-9.-]+`)
	validType = regexp.MustCompile(`^(\*|[a-z0-9_]+(\.[a-z0-9_]+)*(\.\*|\*)?)$`)
)

// secretHeader reports whether a value is not shown. Unlike those that come in, which are kept so that somebody can verify them later, a signature is:
// one that stands the same in every request is a secret.
func secretHeader(name string) bool {
	return header.Secret(name) || strings.Contains(strings.ToLower(name), "signature")
}

// ownHeaders are the hub's or the connection's to set.
var ownHeaders = []string{"Host", "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "Te",
	"Trailer", "Upgrade", "Expect", "User-Agent", "Accept-Encoding", "Content-Encoding"}

var ownPrefixes = []string{"Webhook-", "Ce-", "Adit-"}

func invalid(field, message string) error {
	return &wire.Error{Code: wire.Invalid, Message: message, Fields: map[string]string{field: message}}
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

// members are the names of what a change changes.
func (s Spec) members() (names []string) {
	for name, has := range map[string]bool{"name": s.Name != nil, "url": s.URL != nil, "format": s.Format != nil, "mode": s.Mode != nil,
		"events": s.Events != nil, "topics": s.Topics != nil, "devices": s.Devices != nil, "transform": s.Transform != nil, "headers": s.Headers != nil,
		"rate": s.Rate != nil, "concurrency": s.Concurrency != nil, "timeout_seconds": s.Timeout != nil, "state": s.State != nil} {
		if has {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// apply puts what the spec has into an endpoint, and checks the whole.
func (o *Outbox) apply(e *endpoint, s Spec) error {
	r := &e.row
	set(&r.URL, s.URL)
	set(&r.Format, s.Format)
	set(&r.Mode, s.Mode)
	set(&r.Rate, s.Rate)
	set(&r.State, s.State)
	if s.State != nil {
		r.DisabledReason = ""
	}
	if s.Concurrency != nil {
		r.Concurrency = int64(*s.Concurrency)
	}
	if s.Timeout != nil {
		r.TimeoutMs = s.Timeout.Milliseconds()
	}
	if s.Transform != nil {
		r.TransformKind, r.Transform = string(s.Transform.Kind), s.Transform.Text
	}
	if set(&r.Name, s.Name); r.Name == "" {
		r.Name = nameOf(r.URL)
	}
	if err := o.checkEndpoint(*r, s); err != nil {
		return err
	}
	if err := o.applyLists(r, s); err != nil {
		return err
	}
	return e.setHeaders(s.Headers)
}

func (o *Outbox) checkEndpoint(r store.HookEndpoint, s Spec) error {
	switch {
	case !validName.MatchString(r.Name) || strings.HasPrefix(r.Name, "end_"):
		return invalid("name", "A name has 1 to 63 letters, digits, dots, dashes and underscores, begins with a letter or digit, and not with end_.")
	case !slices.Contains([]string{FormatStandard, FormatEvents, FormatBinary, FormatRaw}, r.Format):
		return invalid("format", "A format is standard, cloudevents, cloudevents-binary or raw.")
	case r.Mode != "parallel" && r.Mode != ModeOrdered:
		return invalid("mode", "A mode is parallel or ordered.")
	case r.Signature != SignatureV1 && r.Signature != SignatureV1a:
		return invalid("signature", "A signature is v1 or v1a.")
	case !(r.Rate >= 0.01 && r.Rate <= 1000): // not NaN either
		return invalid("rate", "A rate is 0.01 to 1000 attempts a second.")
	case r.Concurrency < 1 || r.Concurrency > 32:
		return invalid("concurrency", "There are 1 to 32 attempts at once.")
	case r.TimeoutMs < 1000 || r.TimeoutMs > maxTimeout.Milliseconds():
		return invalid("timeout_seconds", "A timeout is 1 to 30 seconds.")
	case s.State != nil && r.State != StateActive && r.State != StatePaused:
		return invalid("state", "An endpoint is set active or paused.")
	}
	if s.URL != nil {
		if err := o.Guard.CheckURL(r.URL); err != nil {
			return invalid("url", wire.MessageOf(err))
		}
	}
	if s.Transform != nil && r.TransformKind != "" {
		if err := transform.Check(transform.Transform{Kind: transform.Kind(r.TransformKind), Text: r.Transform}); err != nil {
			return invalid("transform", wire.MessageOf(err))
		}
	}
	return nil
}

// applyLists sets what an endpoint wants. One that names nothing wants every event.
func (o *Outbox) applyLists(r *store.HookEndpoint, s Spec) error {
	types, topics := store.List(r.Events), store.List(r.Topics)
	if err := checkTypes(types, s.Events); err != nil {
		return err
	}
	set(&types, s.Events)
	set(&topics, s.Topics)
	for _, t := range topics {
		if _, _, shared := mqtt.CutShare(t); shared || !mqtt.ValidFilter(t) || !access.ValidTopic(t) || strings.HasPrefix(t, "$") {
			return invalid("topics", "A topic filter has 1 to 256 bytes, + and # for whole levels, # only for the last, and does not begin with $.")
		}
	}
	if max(len(types), len(topics)) > maxList {
		return invalid("events", "There are at most 50 types, 50 topic filters and 50 devices.")
	}
	if len(types)+len(topics) == 0 {
		types = []string{"*"}
	}
	r.Events, r.Topics = store.JSONList(types), store.JSONList(topics)
	if s.Devices == nil {
		return nil
	}
	ids, err := o.deviceIDs(*s.Devices)
	r.Devices = store.JSONList(ids)
	return err
}

// checkTypes refuses what no event can match. What the endpoint wanted before may stay: types that another hub's version knew.
func checkTypes(was []string, given *[]string) error {
	if given == nil {
		return nil
	}
	for _, t := range *given {
		if !validType.MatchString(t) {
			return invalid("events", "A type of event is as device.online; a trailing * stands for the rest, as device.*")
		}
		if err := events.CheckPattern(t); err != nil && !slices.Contains(was, t) {
			return invalid("events", wire.MessageOf(err))
		}
	}
	return nil
}

// deviceIDs finds devices by id or name; a device that is renamed later stays the same.
func (o *Outbox) deviceIDs(refs []string) (out []string, err error) {
	policy := o.Gate.Policy()
	if len(refs) > maxList {
		return nil, invalid("devices", "There are at most 50 types, 50 topic filters and 50 devices.")
	}
	for _, ref := range refs {
		if tag, ok := strings.CutPrefix(ref, "tag:"); ok {
			if err := devices.CheckTags([]string{tag}); err != nil {
				return nil, invalid("devices", wire.MessageOf(err))
			}
			out = append(out, ref)
			continue
		}
		id := ref
		if _, known := policy.Devices[id]; !known {
			id = policy.DeviceIDs[ref]
		}
		if id == "" {
			return nil, invalid("devices", "There is no device "+wire.Printable(ref, 64)+".")
		}
		out = append(out, id)
	}
	return out, nil
}

func (e *endpoint) setHeaders(given *map[string]string) error {
	if given == nil {
		return nil
	}
	if len(*given) > maxHeaders {
		return invalid("headers", "There are at most 20 headers.")
	}
	headers := map[string]string{}
	for name, value := range *given {
		canonical := textproto.CanonicalMIMEHeaderKey(name)
		if kept, ok := e.headers[canonical]; ok && value == header.Masked && secretHeader(name) {
			value = kept
		}
		switch {
		case !header.ValidName(name):
			return invalid("headers", "A header's name has no spaces and no colon.")
		case slices.Contains(ownHeaders, canonical) || slices.ContainsFunc(ownPrefixes, func(p string) bool { return strings.HasPrefix(canonical, p) }):
			return invalid("headers", "The hub sets "+canonical+" itself.")
		case len(value) > maxValue || !header.ValidValue(value):
			return invalid("headers", "The value of "+canonical+" has more than 1024 bytes, or line breaks or other control characters.")
		}
		headers[canonical] = value
	}
	e.headers = headers
	return nil
}
