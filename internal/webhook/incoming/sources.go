package incoming

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/webhook/sign"
	"github.com/aditdev/adit/internal/wire"
)

// Source is one, as people see it.
type Source struct {
	ID, Slug, Name string
	Settings
	DeviceName string // of the action's device, as it is called now; "" where there is none
	Secrets    []Secret
	Enabled    bool
	Accepted   int64
	LastAt     *time.Time
	CreatedAt  time.Time
	Figures
}

// Secret is one, without itself.
type Secret struct {
	ID, Hint  string
	CreatedAt time.Time
	ExpiresAt *time.Time
}

// Change is what of a source becomes new; what is nil stays.
type Change struct {
	Slug, Name, Secret *string
	Settings           func(*Settings)
	Enabled            *bool
}

// Bounds of sources.
const (
	maxSources       = 1000
	maxSecrets       = 5 // of one source, old ones with them
	minSecret        = 8 // bytes
	maxSecret        = 1024
	maxName          = 100
	defaultOverlap   = 24 * time.Hour
	maxOverlap       = 720 * time.Hour
	versionOfSources = "hook_sources" // the setting that each change writes anew
)

// Create makes a source for an admin. Secret is one that the hub made, to be shown once; "" where it was given or none is needed.
func (h *Hooks) Create(ctx context.Context, by string, c Change) (Source, string, error) {
	s := Settings{ExpiresSeconds: defaultExpires}
	c.Settings(&s)
	s.fill()
	if err := h.checkSettings(ctx, Action{}, &s); err != nil {
		return Source{}, "", err
	}
	slug, err := slugFor(s.Verify.Kind, value(c.Slug))
	if err != nil {
		return Source{}, "", err
	}
	secret, made, err := secretFor(s.Verify.Kind, value(c.Secret))
	if err != nil {
		return Source{}, "", err
	}
	name := cmp.Or(strings.TrimSpace(value(c.Name)), slug)
	if s.Verify.Kind == VerifyNone {
		name = cmp.Or(strings.TrimSpace(value(c.Name)), "source") // its slug is a secret
	}
	if err := checkName(name); err != nil {
		return Source{}, "", err
	}
	id := store.NewID("src")
	err = h.change(ctx, func(q *store.Queries) error {
		if n, err := q.CountHookSources(ctx); err != nil || n >= maxSources {
			return errors.Join(err, tooMany(n >= maxSources))
		}
		err := q.CreateHookSource(ctx, store.CreateHookSourceParams{ID: id, Slug: slug, Name: name, Settings: s.text(), CreatedAt: h.millis()})
		if store.IsConflict(err) {
			return &wire.Error{Code: wire.Conflict, Message: "Another source has this address.", Fields: map[string]string{"slug": "Another source has this address."}}
		}
		return errors.Join(err, h.addSecret(ctx, q, id, secret),
			h.Events.Write(ctx, q, events.Event{Type: events.HookSourceAdded, User: by, Data: events.Data{"source": id, "name": name}}))
	})
	if err != nil {
		return Source{}, "", err
	}
	return h.shown(ctx, id, made)
}

func tooMany(are bool) error {
	if are {
		return wire.Errorf(wire.Conflict, "There are %d sources; the hub takes no more.", maxSources)
	}
	return nil
}

func (h *Hooks) shown(ctx context.Context, id, secret string) (Source, string, error) {
	s, err := h.Source(ctx, id)
	return s, secret, err
}

// Change changes a source. Another kind of verification takes a secret of its own, and its old ones end.
func (h *Hooks) Change(ctx context.Context, by, ref string, c Change) (Source, error) {
	id := ""
	err := h.change(ctx, func(q *store.Queries) error {
		row, err := find(ctx, q, ref)
		if err != nil {
			return err
		}
		id = row.ID
		s := settingsOf(row)
		kind, action := s.Verify.Kind, s.Action
		c.Settings(&s)
		s.fill()
		if err := h.checkSettings(ctx, action, &s); err != nil {
			return err
		}
		p := store.ChangeHookSourceParams{ID: id, Slug: row.Slug, Name: cmp.Or(strings.TrimSpace(value(c.Name)), row.Name), Settings: s.text(), Enabled: row.Enabled}
		if c.Enabled != nil {
			p.Enabled = *c.Enabled
		}
		if err := checkName(p.Name); err != nil {
			return err
		}
		if s.Verify.Kind != kind {
			if p.Slug, err = h.changeKind(ctx, q, row, s.Verify.Kind, value(c.Secret)); err != nil {
				return err
			}
		} else if c.Secret != nil {
			return invalidField("secret", "A new secret of the same kind is given by rotation, which lets the old one open for a while.")
		}
		return errors.Join(q.ChangeHookSource(ctx, p), h.tellChanged(ctx, q, by, id, p.Name, changed(row, p)))
	})
	if err != nil {
		return Source{}, err
	}
	return h.Source(ctx, id)
}

// tellChanged names a source by its name: its slug may be its secret.
func (h *Hooks) tellChanged(ctx context.Context, q *store.Queries, by, id, name string, changed []string) error {
	return h.Events.Write(ctx, q, events.Event{Type: events.HookSourceChanged, User: by,
		Data: events.Data{"source": id, "name": name, "changed": changed}})
}

// changed are the names of what a change makes new, as the API has them.
func changed(was store.HookSource, p store.ChangeHookSourceParams) (names []string) {
	before, after := settingsOf(was), settingsOf(store.HookSource{Settings: p.Settings})
	is := map[string]bool{"name": was.Name != p.Name, "enabled": was.Enabled != p.Enabled, "secret": before.Verify.Kind != after.Verify.Kind}
	before.fill()
	var old, now map[string]json.RawMessage
	_, _ = json.Unmarshal([]byte(before.text()), &old), json.Unmarshal([]byte(after.text()), &now) // the hub's own
	for _, members := range []map[string]json.RawMessage{old, now} {
		for name := range members {
			is[name] = !bytes.Equal(old[name], now[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(is)) {
		if is[name] {
			names = append(names, name)
		}
	}
	return names
}

// changeKind replaces secrets by one of another kind, and gives the address: of kind none it is the secret, so a new one.
func (h *Hooks) changeKind(ctx context.Context, q *store.Queries, row store.HookSource, kind, secret string) (slug string, err error) {
	if kind != VerifyNone && secret == "" {
		return "", invalidField("secret", "Another kind of verification takes a secret of its own.")
	}
	if secret, _, err = secretFor(kind, secret); err != nil {
		return "", err
	}
	now := h.millis()
	err = errors.Join(q.EndHookSourceSecrets(ctx, store.EndHookSourceSecretsParams{SourceID: row.ID, Until: now}),
		q.SweepHookSourceSecrets(ctx, &now), h.addSecret(ctx, q, row.ID, secret))
	if kind == VerifyNone {
		return madeSlug(), err
	}
	return row.Slug, err
}

// Rotate adds a secret, which the hub makes where none is given; the others end after the overlap.
func (h *Hooks) Rotate(ctx context.Context, by, ref, secret string, overlap *time.Duration) (Source, string, error) {
	life := defaultOverlap
	if overlap != nil {
		life = *overlap
	}
	if life < 0 || life > maxOverlap {
		return Source{}, "", invalidField("overlap", "The old secret opens for at most 720h more; 0s ends it at once.")
	}
	id, made := "", ""
	err := h.change(ctx, func(q *store.Queries) error {
		row, err := find(ctx, q, ref)
		if err != nil {
			return err
		}
		id = row.ID
		kind := settingsOf(row).Verify.Kind
		if kind == VerifyNone {
			return wire.Errorf(wire.Conflict, "This source has no secret but its address. Make another source, and remove this one.")
		}
		if secret, made, err = secretFor(kind, secret); err != nil {
			return err
		}
		now, until := h.millis(), store.Millis(h.Now().Add(life))
		if err := errors.Join(q.EndHookSourceSecrets(ctx, store.EndHookSourceSecretsParams{SourceID: id, Until: until}),
			q.SweepHookSourceSecrets(ctx, &now)); err != nil {
			return err
		}
		if err := roomForSecret(ctx, q, id); err != nil {
			return err
		}
		return errors.Join(h.addSecret(ctx, q, id, secret), h.tellChanged(ctx, q, by, id, row.Name, []string{"secret"}))
	})
	if err != nil {
		return Source{}, "", err
	}
	return h.shown(ctx, id, made)
}

func roomForSecret(ctx context.Context, q *store.Queries, source string) error {
	rows, err := q.HookSourceSecrets(ctx)
	rows = slices.DeleteFunc(rows, func(r store.HookSourceSecret) bool { return r.SourceID != source })
	if err == nil && len(rows) >= maxSecrets {
		return wire.Errorf(wire.Conflict, "%d secrets of this source still open. Rotate with overlap 0s, or wait until some have ended.", len(rows))
	}
	return err
}

// Remove removes a source, with its requests. Those can be many, and others write too: so it takes nothing more, they go bit by bit,
// and the source goes last. Where that is broken off it is there still, disabled.
func (h *Hooks) Remove(ctx context.Context, by, ref string) error {
	id, name := "", ""
	err := h.change(ctx, func(q *store.Queries) error {
		row, err := find(ctx, q, ref)
		if err != nil {
			return err
		}
		id, name = row.ID, row.Name
		return q.DisableHookSource(ctx, id)
	})
	if err != nil {
		return err
	}
	err = errors.Join(
		h.inSteps(ctx, func(q *store.Queries) (int64, error) {
			return q.DropHookRequestsOf(ctx, store.DropHookRequestsOfParams{SourceID: id, AtMost: sweepAtOnce})
		}),
		h.inSteps(ctx, func(q *store.Queries) (int64, error) {
			return q.DropHookSeenOf(ctx, store.DropHookSeenOfParams{SourceID: id, AtMost: sweepAtOnce})
		}))
	if err := errors.Join(err, ctx.Err()); err != nil {
		return err
	}
	return h.change(ctx, func(q *store.Queries) error {
		n, err := q.RemoveHookSource(ctx, id)
		if err != nil || n == 0 { // somebody else did
			return err
		}
		return h.Events.Write(ctx, q, events.Event{Type: events.HookSourceRemoved, User: by, Data: events.Data{"source": id, "name": name}})
	})
}

// change writes, and has every hub on this database read its sources anew.
func (h *Hooks) change(ctx context.Context, fn func(*store.Queries) error) error {
	err := h.Store.Write(ctx, func(q *store.Queries) error {
		if err := fn(q); err != nil {
			return err
		}
		return q.PutSetting(ctx, store.PutSettingParams{Name: versionOfSources, Value: wire.NewID()})
	})
	if err != nil {
		return err
	}
	return h.Reload(ctx)
}

// Sources lists them by name.
func (h *Hooks) Sources(ctx context.Context) ([]Source, error) {
	rows, err := h.Store.Read().HookSources(ctx)
	if err != nil {
		return nil, fmt.Errorf("list sources: %w", err)
	}
	secrets, err := h.Store.Read().HookSourceSecrets(ctx)
	if err != nil {
		return nil, fmt.Errorf("list sources: %w", err)
	}
	out := make([]Source, 0, len(rows))
	for _, row := range rows {
		s, err := h.view(ctx, row, secrets)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// Source gives the one of that id or slug, or fails with wire.NotFound.
func (h *Hooks) Source(ctx context.Context, ref string) (Source, error) {
	row, err := find(ctx, h.Store.Read(), ref)
	if err != nil {
		return Source{}, err
	}
	secrets, err := h.Store.Read().HookSourceSecrets(ctx)
	if err != nil {
		return Source{}, fmt.Errorf("find source: %w", err)
	}
	return h.view(ctx, row, secrets)
}

func find(ctx context.Context, q *store.Queries, ref string) (store.HookSource, error) {
	row, err := q.FindHookSource(ctx, ref)
	if errors.Is(err, store.ErrNotFound) {
		return row, wire.Errorf(wire.NotFound, "There is no source %s.", wire.Printable(ref, 63))
	}
	if err != nil {
		return row, fmt.Errorf("find source: %w", err)
	}
	return row, nil
}

func (h *Hooks) view(ctx context.Context, row store.HookSource, secrets []store.HookSourceSecret) (s Source, err error) {
	s = Source{ID: row.ID, Slug: row.Slug, Name: row.Name, Settings: settingsOf(row), Enabled: row.Enabled, Accepted: row.Accepted,
		LastAt: store.TimeOf(row.LastAt), CreatedAt: store.Time(row.CreatedAt), Figures: h.figures(row.ID)}
	now := h.millis()
	for _, r := range secrets {
		if r.SourceID == row.ID && (r.ExpiresAt == nil || *r.ExpiresAt > now) {
			s.Secrets = append(s.Secrets, Secret{ID: r.ID, Hint: r.Hint, CreatedAt: store.Time(r.CreatedAt), ExpiresAt: store.TimeOf(r.ExpiresAt)})
		}
	}
	if s.Action.Device != "" {
		if _, s.DeviceName, err = h.Devices.Find(ctx, s.Action.Device); wire.CodeOf(err) == wire.NotFound {
			err = nil
		}
	}
	return s, err
}

// Address is where requests to a source are sent.
func (h *Hooks) Address(s Source) string { return h.URL + "/hook/" + s.Slug }

func settingsOf(row store.HookSource) (s Settings) {
	if json.Unmarshal([]byte(row.Settings), &s) != nil {
		return Settings{Verify: Verification{Kind: "unreadable"}, Dedupe: Dedupe{Hours: new(0)}} // lets nobody in
	}
	return s
}

func (s Settings) text() string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // check lets no NaN pass
	}
	return string(text)
}

func (h *Hooks) addSecret(ctx context.Context, q *store.Queries, source, secret string) error {
	if secret == "" {
		return nil
	}
	id := store.NewID("whs")
	return q.AddHookSourceSecret(ctx, store.AddHookSourceSecretParams{ID: id, SourceID: source, Sealed: h.Sealer.Seal(sealName(id), []byte(secret)),
		Hint: secret[len(secret)-4:], CreatedAt: h.millis()})
}

func sealName(id string) string { return "hook source secret " + id }

// secretFor checks a secret, or makes one; made is then the same.
func secretFor(kind, given string) (secret, made string, err error) {
	switch {
	case kind == VerifyNone && given != "":
		return "", "", invalidField("secret", "A source without verification has no secret but its address.")
	case kind == VerifyNone:
		return "", "", nil
	case given == "" && kind == VerifyStandard:
		made = sign.NewSecret().String()
		return made, made, nil
	case given == "":
		made = strings.ToLower(rand.Text() + rand.Text())
		return made, made, nil
	case len(given) < minSecret || len(given) > maxSecret || strings.TrimSpace(given) != given || strings.ContainsFunc(given, unicode.IsControl):
		return "", "", invalidField("secret", "A secret has 8 to 1,024 bytes, and no space around it.")
	case kind == VerifyStandard:
		if _, err := parseStandard(given); err != nil {
			return "", "", inField("secret", err)
		}
	}
	return given, "", nil
}

// parseStandard reads a secret of Standard Webhooks: whsec_…, or whpk_… of a sender that signs by v1a.
func parseStandard(text string) (sign.Secret, error) {
	if strings.HasPrefix(text, "whpk_") {
		return sign.ParsePublic(text)
	}
	return sign.ParseSecret(text)
}

// slugFor checks an address, or makes one; without verification it is the secret, and the hub's to make.
func slugFor(kind, given string) (string, error) {
	switch {
	case kind == VerifyNone && given != "":
		return "", invalidField("slug", "Without verification the address is the secret, and the hub makes it. Leave the address out, or choose a verification.")
	case given == "":
		return madeSlug(), nil
	case !wire.ValidDeviceName(given) || given == "requests":
		return "", invalidField("slug", "An address has 1 to 63 of a-z, 0-9 and dash, with no dash around it, and is not requests.")
	}
	return given, nil
}

func madeSlug() string { return strings.ToLower(rand.Text()) } // 130 bits

func checkName(name string) error {
	if len(name) > maxName || wire.Printable(name, maxName) != name {
		return invalidField("name", "A name has at most 100 bytes, all printable.")
	}
	return nil
}

func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
