package outgoing

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/webhook/sign"
	"github.com/aditdev/adit/internal/webhook/transform"
)

// table is all endpoints as they were at a version, ready to be matched and sent to. It never changes.
type table struct {
	version   int64
	endpoints map[string]*endpoint
	list      []*endpoint // by name
	topics    bool        // some endpoint wants MQTT messages
}

// endpoint is one of them, with its secrets open.
type endpoint struct {
	row       store.HookEndpoint
	events    []string
	topics    []string
	devices   []string
	byTag     bool // some of these are tags
	transform *transform.Transform
	headers   map[string]string
	secrets   []secret // the current one first
}

type secret struct {
	row store.HookEndpointSecret
	key sign.Secret
}

// signs reports whether the secret counts at a time.
func (s secret) signs(now time.Time) bool {
	return s.row.ExpiresAt == nil || store.Millis(now) < *s.row.ExpiresAt
}

func (e *endpoint) timeout() time.Duration { return time.Duration(e.row.TimeoutMs) * time.Millisecond }

// takes reports whether new work is queued for it: for a paused one, which goes on later, and not for a disabled one.
func (e *endpoint) takes() bool { return e.row.State == StateActive || e.row.State == StatePaused }

// NameOf is what an endpoint is called; "" where it is not there any more.
func (o *Outbox) NameOf(id string) string {
	if e := o.table.Load().endpoints[id]; e != nil {
		return e.row.Name
	}
	return ""
}

// readTable reads it, in a transaction or out of one: what changes meanwhile raises the version again.
func (o *Outbox) readTable(ctx context.Context, q *store.Queries) (*table, error) {
	state, err := q.HookOutgoing(ctx)
	if err != nil {
		return nil, fmt.Errorf("read endpoints: %w", err)
	}
	rows, err := q.HookEndpoints(ctx)
	if err != nil {
		return nil, fmt.Errorf("read endpoints: %w", err)
	}
	secrets, err := q.HookEndpointSecrets(ctx)
	if err != nil {
		return nil, fmt.Errorf("read endpoints: %w", err)
	}
	t := &table{version: state.Version, endpoints: map[string]*endpoint{}}
	for _, row := range rows {
		if row.HookEndpoint.State == stateRemoved {
			continue
		}
		e, err := o.open(row.HookEndpoint, secrets)
		if err != nil {
			return nil, err
		}
		t.endpoints[e.row.ID] = e
		t.list = append(t.list, e)
		t.topics = t.topics || e.takes() && len(e.topics) > 0
	}
	return t, nil
}

// open unseals what a row has.
func (o *Outbox) open(row store.HookEndpoint, secrets []store.HookEndpointSecret) (*endpoint, error) {
	e := &endpoint{row: row, events: store.List(row.Events), topics: store.List(row.Topics), devices: store.List(row.Devices)}
	e.byTag = slices.ContainsFunc(e.devices, func(d string) bool { return strings.HasPrefix(d, "tag:") })
	if row.TransformKind != "" {
		e.transform = &transform.Transform{Kind: transform.Kind(row.TransformKind), Text: row.Transform}
	}
	plain, err := o.Sealer.Open(headersName(row.ID), row.Headers)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(plain, &e.headers); err != nil {
		return nil, fmt.Errorf("read headers of %s: %w", row.ID, err)
	}
	for _, s := range secrets {
		if s.EndpointID != row.ID {
			continue
		}
		text, err := o.Sealer.Open(secretName(s.ID), s.Sealed)
		if err != nil {
			return nil, err
		}
		key, err := sign.ParseSecret(string(text))
		if err != nil {
			return nil, fmt.Errorf("read secret of %s: %w", row.ID, err)
		}
		e.secrets = append(e.secrets, secret{s, key})
	}
	return e, nil
}

func headersName(endpoint string) string { return "hook_endpoint_headers:" + endpoint }
func secretName(id string) string        { return "hook_endpoint_secret:" + id }

// refresh takes up what has changed, by this hub or another.
func (o *Outbox) refresh(ctx context.Context) error {
	o.refreshing.Lock()
	defer o.refreshing.Unlock()
	state, err := o.Store.Read().HookOutgoing(ctx)
	if err != nil {
		return fmt.Errorf("read endpoints: %w", err)
	}
	if state.Version == o.table.Load().version {
		return nil
	}
	t, err := o.readTable(ctx, o.Store.Read())
	if err != nil {
		return err
	}
	o.table.Store(t)
	o.follow(t)
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.changed)
	o.changed = make(chan struct{})
	return nil
}

// tableIn is the table as a transaction sees it. Where that is another than this hub has, the dispatcher takes it up too.
func (o *Outbox) tableIn(ctx context.Context, q *store.Queries, version int64) (*table, error) {
	if t := o.table.Load(); t.version == version {
		return t, nil
	}
	signal(o.unseen)
	return o.readTable(ctx, q)
}

// subject is what endpoints choose by.
type subject struct {
	kind     string   // type
	device   string   // id
	tags     []string // the device's
	topic    string   // of MQTT messages only
	endpoint string   // id: what is about an endpoint is not for that one
}

// wants reports whether an endpoint is to get something.
func (e *endpoint) wants(s subject) bool {
	return e.wantsOfAny(s) && (len(e.devices) == 0 || s.device != "" && (slices.Contains(e.devices, s.device) ||
		slices.ContainsFunc(s.tags, func(tag string) bool { return slices.Contains(e.devices, "tag:"+tag) })))
}

// wantsOfAny reports whether it would get it of some device.
func (e *endpoint) wantsOfAny(s subject) bool {
	if !e.takes() || s.endpoint == e.row.ID {
		return false
	}
	if s.topic != "" {
		return slices.ContainsFunc(e.topics, func(f string) bool { return mqtt.Match(f, s.topic) })
	}
	return slices.ContainsFunc(e.events, func(p string) bool { return matchType(p, s.kind) })
}

// matchType matches a type with a pattern, whose trailing * stands for the rest.
func matchType(pattern, kind string) bool {
	if prefix, any := strings.CutSuffix(pattern, "*"); any {
		return strings.HasPrefix(kind, prefix)
	}
	return pattern == kind
}

// matching are the endpoints that want something.
func (t *table) matching(s subject) (to []*endpoint) {
	for _, e := range t.list {
		if e.wants(s) {
			to = append(to, e)
		}
	}
	return to
}

// matchingEvent is matching for an event of the log. The tags of its device are asked of the database where they count: the policy has those of a new device a
// moment after the log has its events, and the cursor would have passed them by then.
func (t *table) matchingEvent(ctx context.Context, q *store.Queries, s subject) ([]*endpoint, error) {
	if s.device != "" && s.tags == nil && slices.ContainsFunc(t.list, func(e *endpoint) bool { return e.byTag && e.wantsOfAny(s) }) {
		var err error
		if s.tags, err = q.DeviceTags(ctx, s.device); err != nil {
			return nil, fmt.Errorf("read tags: %w", err)
		}
	}
	return t.matching(s), nil
}
