package handlers

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/aditdev/adit/internal/webhook/incoming"
)

// ListHookSources lists the sources by name.
func (a *api) ListHookSources(ctx context.Context, _ ListHookSourcesRequestObject) (ListHookSourcesResponseObject, error) {
	sources, err := a.HooksIn.Sources(ctx)
	if err != nil {
		return nil, err
	}
	out := ListHookSources200JSONResponse{}
	for _, s := range sources {
		view, err := a.apiHookSource(s)
		if err != nil {
			return nil, err
		}
		out = append(out, view)
	}
	return out, nil
}

// CreateHookSource makes one; a secret that the hub made is shown once.
func (a *api) CreateHookSource(ctx context.Context, r CreateHookSourceRequestObject) (CreateHookSourceResponseObject, error) {
	b := r.Body
	settings, err := settingsChange(b)
	if err != nil {
		return nil, err
	}
	s, secret, err := a.HooksIn.Create(ctx, principalOf(ctx).User.ID, incoming.Change{Slug: b.Slug, Name: b.Name, Secret: b.Secret, Settings: settings})
	if err != nil {
		return nil, err
	}
	view, err := a.notedHookSource(ctx, s)
	return CreateHookSource201JSONResponse{Source: view, Secret: some(secret)}, err
}

// GetHookSource gives one.
func (a *api) GetHookSource(ctx context.Context, r GetHookSourceRequestObject) (GetHookSourceResponseObject, error) {
	s, err := a.HooksIn.Source(ctx, r.HookSource)
	if err != nil {
		return nil, err
	}
	view, err := a.notedHookSource(ctx, s)
	return GetHookSource200JSONResponse(view), err
}

// ChangeHookSource changes what is given.
func (a *api) ChangeHookSource(ctx context.Context, r ChangeHookSourceRequestObject) (ChangeHookSourceResponseObject, error) {
	b := r.Body
	settings, err := settingsChange(b)
	if err != nil {
		return nil, err
	}
	s, err := a.HooksIn.Change(ctx, principalOf(ctx).User.ID, r.HookSource, incoming.Change{Name: b.Name, Secret: b.Secret, Enabled: b.Enabled,
		Settings: func(s *incoming.Settings) {
			settings(s)
			if value(b.NoTransform) {
				s.Transform = nil
			}
		}})
	if err != nil {
		return nil, err
	}
	view, err := a.notedHookSource(ctx, s)
	return ChangeHookSource200JSONResponse(view), err
}

// RemoveHookSource removes one with its requests.
func (a *api) RemoveHookSource(ctx context.Context, r RemoveHookSourceRequestObject) (RemoveHookSourceResponseObject, error) {
	return RemoveHookSource204Response{}, a.HooksIn.Remove(ctx, principalOf(ctx).User.ID, r.HookSource)
}

// RotateHookSource adds a secret; the old one ends after a while.
func (a *api) RotateHookSource(ctx context.Context, r RotateHookSourceRequestObject) (RotateHookSourceResponseObject, error) {
	b := value(r.Body)
	overlap, err := overlapOf(b.Overlap)
	if err != nil {
		return nil, err
	}
	s, secret, err := a.HooksIn.Rotate(ctx, principalOf(ctx).User.ID, r.HookSource, value(b.Secret), overlap)
	if err != nil {
		return nil, err
	}
	view, err := a.apiHookSource(s)
	return RotateHookSource200JSONResponse{Source: view, Secret: some(secret)}, err
}

// settingsChange takes over what a body says of the settings, whose members have the same names in both. A member that is an object is
// taken whole.
func settingsChange(body any) (func(*incoming.Settings), error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("read settings: %w", err)
	}
	if err := json.Unmarshal(text, &incoming.Settings{}); err != nil {
		return nil, badBody(err)
	}
	return func(s *incoming.Settings) {
		var given map[string]json.RawMessage
		_ = json.Unmarshal(text, &given) // it is ours
		for name, into := range map[string]func(){
			"verify": func() { s.Verify = incoming.Verification{} }, "action": func() { s.Action = incoming.Action{} },
			"dedupe": func() { s.Dedupe = incoming.Dedupe{} }, "transform": func() { s.Transform = nil }, "methods": func() { s.Methods = nil }} {
			if given[name] != nil {
				into()
			}
		}
		_ = json.Unmarshal(text, s) // read before
	}, nil
}

// notedHookSource is one by itself, with what should be known of it.
func (a *api) notedHookSource(ctx context.Context, s incoming.Source) (HookSource, error) {
	out, err := a.apiHookSource(s)
	if err != nil {
		return out, err
	}
	note, err := a.HooksIn.Note(ctx, s)
	out.Note = some(note)
	return out, err
}

func (a *api) apiHookSource(s incoming.Source) (HookSource, error) {
	out := HookSource{ID: s.ID, Slug: s.Slug, Name: s.Name, URL: a.HooksIn.Address(s), Secrets: []HookSecret{}, Enabled: s.Enabled, Accepted: s.Accepted,
		Refused: s.Refused, LastAt: s.LastAt, LastRefused: some(s.LastRefused), LastRefusedAt: s.LastRefusedAt, CreatedAt: s.CreatedAt, DeviceName: some(s.DeviceName)}
	for _, one := range s.Secrets {
		out.Secrets = append(out.Secrets, HookSecret{ID: one.ID, Hint: one.Hint, CreatedAt: one.CreatedAt, ExpiresAt: one.ExpiresAt})
	}
	text, err := json.Marshal(s.Settings)
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	if err != nil {
		return out, fmt.Errorf("show source: %w", err)
	}
	return out, nil
}
