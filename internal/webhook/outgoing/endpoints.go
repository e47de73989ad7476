package outgoing

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/webhook/header"
	"github.com/aditdev/adit/internal/webhook/sign"
	"github.com/aditdev/adit/internal/webhook/transform"
	"github.com/aditdev/adit/internal/wire"
)

const (
	maxEndpoints   = 200
	maxSecrets     = 4 // of one endpoint, the current one among them
	defaultOverlap = 24 * time.Hour
	maxOverlap     = 720 * time.Hour
)

// Signatures.
const (
	SignatureV1  = "v1"
	SignatureV1a = "v1a"
)

// Spec is what a person decides of an endpoint. Of a change nil is: as it was.
type Spec struct {
	Name, URL, Format, Mode  *string
	Events, Topics, Devices  *[]string
	Transform                *transform.Transform // of no kind: none
	Headers                  *map[string]string   // "***" keeps a value that is not shown
	Rate                     *float64
	Concurrency              *int
	Timeout                  *time.Duration
	State, Signature, Secret *string // Signature and Secret at the creation only, State at a change only
}

// Endpoint is one as people see it.
type Endpoint struct {
	store.HookEndpoint
	Events, Topics, Devices []string
	Headers                 map[string]string // those that speak of a secret as ***
	Secrets                 []store.HookEndpointSecret
	PublicKey               string // of v1a
	Health                  store.HookEndpointHealth
	Delivered, Failed       int64 // attempts of 24 hours
}

// List gives all endpoints by name.
func (o *Outbox) List(ctx context.Context) ([]Endpoint, error) {
	q := o.Store.Read()
	t, err := o.readTable(ctx, q)
	if err != nil {
		return nil, err
	}
	healths, err := q.HookHealths(ctx)
	if err != nil {
		return nil, fmt.Errorf("list endpoints: %w", err)
	}
	hours, err := q.HookEndpointHours(ctx, o.Now().Unix()/3600-24)
	if err != nil {
		return nil, fmt.Errorf("list endpoints: %w", err)
	}
	list := make([]Endpoint, 0, len(t.list))
	for _, e := range t.list {
		shown := o.shown(e)
		for _, h := range healths {
			if h.EndpointID == e.row.ID {
				shown.Health = h
			}
		}
		for _, h := range hours {
			if h.EndpointID == e.row.ID {
				shown.Delivered, shown.Failed = h.Delivered, h.Failed
			}
		}
		list = append(list, shown)
	}
	return list, nil
}

// Find gives one by id or name. Errors: not_found.
func (o *Outbox) Find(ctx context.Context, ref string) (Endpoint, error) {
	list, err := o.List(ctx)
	if err != nil {
		return Endpoint{}, err
	}
	for _, e := range list {
		if e.ID == ref || e.Name == ref {
			return e, nil
		}
	}
	return Endpoint{}, noEndpoint(ref)
}

func noEndpoint(ref string) error {
	return wire.Errorf(wire.NotFound, "There is no webhook endpoint %q.", wire.Printable(ref, 64))
}

func (o *Outbox) shown(e *endpoint) Endpoint {
	s := Endpoint{HookEndpoint: e.row, Events: e.events, Topics: e.topics, Devices: e.devices, Headers: map[string]string{}}
	for name, value := range e.headers {
		if s.Headers[name] = value; secretHeader(name) {
			s.Headers[name] = header.Masked
		}
	}
	for _, secret := range e.secrets {
		if secret.signs(o.Now()) {
			s.Secrets = append(s.Secrets, secret.row)
		}
	}
	if len(e.secrets) > 0 {
		s.PublicKey = e.secrets[0].key.Public()
	}
	return s
}

// Create makes an endpoint. The secret is for showing once; it is empty for v1a. Errors: invalid, conflict.
func (o *Outbox) Create(ctx context.Context, by *auth.Principal, s Spec) (Endpoint, string, error) {
	key, err := keyOf(cmp.Or(deref(s.Signature), SignatureV1), deref(s.Secret))
	if err != nil {
		return Endpoint{}, "", err
	}
	row := store.HookEndpoint{ID: store.NewID("end"), Format: FormatStandard, Mode: "parallel", Rate: 10, Concurrency: 4, TimeoutMs: 15_000,
		State: StateActive, Events: "[]", Topics: "[]", Devices: "[]", Signature: cmp.Or(deref(s.Signature), SignatureV1), CreatedAt: o.millis()}
	e := &endpoint{row: row, headers: map[string]string{}}
	s.State = nil
	if err := o.apply(e, s); err != nil {
		return Endpoint{}, "", err
	}
	err = o.change(ctx, func(q *store.Queries) error {
		if err := o.unique(ctx, q, e, s.Name == nil); err != nil {
			return err
		}
		return errors.Join(q.CreateHookEndpoint(ctx, o.createParams(e)), q.CreateHookEndpointHealth(ctx, e.row.ID), o.addSecret(ctx, q, e.row.ID, key),
			o.Events.Write(ctx, q, events.Event{Type: events.HookEndpointAdded, User: by.User.ID,
				Data: events.Data{"endpoint": e.row.ID, "name": e.row.Name}}))
	})
	if err != nil {
		return Endpoint{}, "", err
	}
	made, err := o.Find(ctx, e.row.ID)
	return made, onceShown(key), err
}

// onceShown is a secret as its receiver needs it; a key is verified by its public half.
func onceShown(key sign.Secret) string {
	if key.Public() != "" {
		return ""
	}
	return key.String()
}

func keyOf(signature, given string) (sign.Secret, error) {
	switch {
	case given == "" && signature == SignatureV1a:
		return sign.NewKey(), nil
	case given == "":
		return sign.NewSecret(), nil
	}
	key, err := sign.ParseSecret(given)
	if err != nil {
		return key, invalid("secret", wire.MessageOf(err))
	}
	if (key.Public() != "") != (signature == SignatureV1a) {
		return key, invalid("secret", "A secret of v1 begins with whsec_, one of v1a with whsk_.")
	}
	return key, nil
}

func (o *Outbox) addSecret(ctx context.Context, q *store.Queries, endpoint string, key sign.Secret) error {
	text := key.String()
	hint := key.Public()
	if hint == "" {
		hint = text
	}
	id := store.NewID("sec")
	return q.AddHookEndpointSecret(ctx, store.AddHookEndpointSecretParams{ID: id, EndpointID: endpoint, Sealed: o.Sealer.Seal(secretName(id), []byte(text)),
		Hint: hint[len(hint)-4:], CreatedAt: o.millis()})
}

// change runs fn in a transaction before which everything that has happened so far was queued by what the endpoints wanted until now.
func (o *Outbox) change(ctx context.Context, fn func(*store.Queries) error) error {
	for {
		if more, err := o.changeOnce(ctx, fn); err != nil || !more {
			return err
		}
	}
}

func (o *Outbox) changeOnce(ctx context.Context, fn func(*store.Queries) error) (more bool, err error) {
	added := map[string]int{}
	err = o.Store.Write(ctx, func(q *store.Queries) (err error) {
		if _, more, err = o.catchUp(ctx, q, eventsAtOnce, added); err != nil || more {
			return err
		}
		return errors.Join(fn(q), q.RaiseHookVersion(ctx))
	})
	if err != nil {
		return false, err
	}
	o.poke(added)
	if more {
		return true, nil
	}
	defer o.wakeUp()
	return false, o.refresh(ctx)
}

// Change changes what the spec has. Errors: not_found, invalid, conflict.
func (o *Outbox) Change(ctx context.Context, by *auth.Principal, ref string, s Spec) (Endpoint, error) {
	var id string
	err := o.change(ctx, func(q *store.Queries) error {
		found, err := q.FindHookEndpoint(ctx, ref)
		if errors.Is(err, store.ErrNotFound) {
			return noEndpoint(ref)
		}
		if err != nil {
			return fmt.Errorf("find endpoint: %w", err)
		}
		id = found.HookEndpoint.ID
		e, err := o.open(found.HookEndpoint, nil)
		if err != nil {
			return err
		}
		if err := o.apply(e, s); err != nil {
			return err
		}
		if err := o.unique(ctx, q, e, false); err != nil {
			return err
		}
		h := health{found.HookEndpointHealth}
		if s.URL != nil || deref(s.State) == StateActive && found.HookEndpoint.State != StatePaused {
			h.reset()
		}
		return errors.Join(q.ChangeHookEndpoint(ctx, o.changeParams(e)), q.PutHookHealth(ctx, h.params()),
			o.tellChanged(ctx, q, by, e.row, s.members()))
	})
	if err != nil {
		return Endpoint{}, err
	}
	return o.Find(ctx, id)
}

func (o *Outbox) tellChanged(ctx context.Context, q *store.Queries, by *auth.Principal, row store.HookEndpoint, changed []string) error {
	return o.Events.Write(ctx, q, events.Event{Type: events.HookEndpointChanged, User: by.User.ID,
		Data: events.Data{"endpoint": row.ID, "name": row.Name, "changed": changed}})
}

// Remove removes an endpoint. What waits for it is not delivered any more, and goes bit by bit. Errors: not_found.
func (o *Outbox) Remove(ctx context.Context, by *auth.Principal, ref string) error {
	return o.change(ctx, func(q *store.Queries) error {
		found, err := q.FindHookEndpoint(ctx, ref)
		if errors.Is(err, store.ErrNotFound) {
			return noEndpoint(ref)
		}
		if err != nil {
			return fmt.Errorf("find endpoint: %w", err)
		}
		row := found.HookEndpoint
		return errors.Join(q.RemoveHookEndpoint(ctx, row.ID), q.DropHookEndpointSecrets(ctx, row.ID), o.Events.Write(ctx, q, events.Event{Type: events.HookEndpointRemoved,
			User: by.User.ID, Data: events.Data{"endpoint": row.ID, "name": row.Name}}))
	})
}

// Rotate gives an endpoint a new secret, given or of the hub's making; the old one signs beside it for the overlap, nil for a day.
// Errors: not_found, invalid.
func (o *Outbox) Rotate(ctx context.Context, by *auth.Principal, ref, given string, overlap *time.Duration) (Endpoint, string, error) {
	life := defaultOverlap
	if overlap != nil {
		life = *overlap
	}
	if life < 0 || life > maxOverlap {
		return Endpoint{}, "", invalid("overlap", "An overlap is a duration from 0s to 720h.")
	}
	e, err := o.Find(ctx, ref)
	if err != nil {
		return Endpoint{}, "", err
	}
	key, err := keyOf(e.Signature, given)
	if err != nil {
		return Endpoint{}, "", err
	}
	end := store.Millis(o.Now().Add(life))
	err = o.change(ctx, func(q *store.Queries) error {
		return errors.Join(q.ExpireHookEndpointSecrets(ctx, store.ExpireHookEndpointSecretsParams{ExpiresAt: &end, EndpointID: e.ID}),
			o.addSecret(ctx, q, e.ID, key),
			q.LimitHookEndpointSecrets(ctx, store.LimitHookEndpointSecretsParams{EndpointID: e.ID, AtMost: maxSecrets}),
			o.tellChanged(ctx, q, by, e.HookEndpoint, []string{"secret"}))
	})
	if err != nil {
		return Endpoint{}, "", err
	}
	e, err = o.Find(ctx, e.ID)
	return e, onceShown(key), err
}

// unique checks the endpoint's name against the others', or finds one that is free.
func (o *Outbox) unique(ctx context.Context, q *store.Queries, e *endpoint, find bool) error {
	rows, err := q.HookEndpoints(ctx)
	if err != nil {
		return fmt.Errorf("name endpoint: %w", err)
	}
	taken, count := map[string]bool{}, 0
	for _, row := range rows {
		if row.HookEndpoint.State != stateRemoved {
			count++
		}
		if row.HookEndpoint.ID != e.row.ID {
			taken[row.HookEndpoint.Name] = true
		}
	}
	for base, n := e.row.Name, 2; find && taken[e.row.Name]; n++ {
		e.row.Name = fmt.Sprintf("%s-%d", base[:min(len(base), 58)], n)
	}
	switch {
	case taken[e.row.Name]:
		return &wire.Error{Code: wire.Conflict, Message: "Another endpoint has this name.", Fields: map[string]string{"name": "Another endpoint has it."}}
	case count >= maxEndpoints && !slices.ContainsFunc(rows, func(r store.HookEndpointsRow) bool { return r.HookEndpoint.ID == e.row.ID }):
		return wire.Errorf(wire.Conflict, "There are %d endpoints already, which is the most.", maxEndpoints)
	}
	return nil
}

func (o *Outbox) sealHeaders(e *endpoint) string {
	text, err := json.Marshal(e.headers)
	if err != nil {
		panic(err) // strings
	}
	return o.Sealer.Seal(headersName(e.row.ID), text)
}

func (o *Outbox) createParams(e *endpoint) store.CreateHookEndpointParams {
	r := e.row
	return store.CreateHookEndpointParams{ID: r.ID, Name: r.Name, URL: r.URL, Events: r.Events, Topics: r.Topics, Devices: r.Devices, Format: r.Format,
		TransformKind: r.TransformKind, Transform: r.Transform, Headers: o.sealHeaders(e), Signature: r.Signature, Mode: r.Mode, Rate: r.Rate,
		Concurrency: r.Concurrency, TimeoutMs: r.TimeoutMs, State: r.State, CreatedAt: r.CreatedAt}
}

func (o *Outbox) changeParams(e *endpoint) store.ChangeHookEndpointParams {
	r := e.row
	return store.ChangeHookEndpointParams{ID: r.ID, Name: r.Name, URL: r.URL, Events: r.Events, Topics: r.Topics, Devices: r.Devices, Format: r.Format,
		TransformKind: r.TransformKind, Transform: r.Transform, Headers: o.sealHeaders(e), Mode: r.Mode, Rate: r.Rate,
		Concurrency: r.Concurrency, TimeoutMs: r.TimeoutMs, State: r.State, DisabledReason: r.DisabledReason}
}

// nameOf is a name made of a URL's host.
func nameOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "endpoint"
	}
	name := strings.Trim(notInName.ReplaceAllString(strings.ToLower(u.Hostname()), "-"), "-.")
	return cmp.Or(name[:min(len(name), 60)], "endpoint")
}
