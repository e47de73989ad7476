package handlers

import (
	"context"
	"time"

	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/webhook/outgoing"
	"github.com/aditdev/adit/internal/webhook/transform"
)

// ListHookEndpoints lists endpoints by name.
func (a *api) ListHookEndpoints(ctx context.Context, _ ListHookEndpointsRequestObject) (ListHookEndpointsResponseObject, error) {
	list, err := a.Outgoing.List(ctx)
	if err != nil {
		return nil, err
	}
	out := ListHookEndpoints200JSONResponse{}
	for _, e := range list {
		out = append(out, apiHookEndpoint(e))
	}
	return out, nil
}

// CreateHookEndpoint makes one; its secret is shown once.
func (a *api) CreateHookEndpoint(ctx context.Context, r CreateHookEndpointRequestObject) (CreateHookEndpointResponseObject, error) {
	b := r.Body
	e, secret, err := a.Outgoing.Create(ctx, principalOf(ctx), outgoing.Spec{Name: b.Name, URL: &b.URL, Format: textOf(b.Format), Mode: textOf(b.Mode),
		Events: b.Events, Topics: b.Topics, Devices: b.Devices, Transform: hookTransform(b.Transform, false), Headers: b.Headers, Rate: wide(b.Rate),
		Concurrency: b.Concurrency, Timeout: seconds(b.TimeoutSeconds), Signature: textOf(b.Signature), Secret: b.Secret})
	if err != nil {
		return nil, err
	}
	return CreateHookEndpoint201JSONResponse{Endpoint: apiHookEndpoint(e), Secret: some(secret)}, nil
}

// GetHookEndpoint finds one by id or name.
func (a *api) GetHookEndpoint(ctx context.Context, r GetHookEndpointRequestObject) (GetHookEndpointResponseObject, error) {
	e, err := a.Outgoing.Find(ctx, r.HookEndpoint)
	return GetHookEndpoint200JSONResponse(apiHookEndpoint(e)), err
}

// ChangeHookEndpoint changes what is given.
func (a *api) ChangeHookEndpoint(ctx context.Context, r ChangeHookEndpointRequestObject) (ChangeHookEndpointResponseObject, error) {
	b := r.Body
	e, err := a.Outgoing.Change(ctx, principalOf(ctx), r.HookEndpoint, outgoing.Spec{Name: b.Name, URL: b.URL, Format: textOf(b.Format), Mode: textOf(b.Mode),
		Events: b.Events, Topics: b.Topics, Devices: b.Devices, Transform: hookTransform(b.Transform, value(b.NoTransform)), Headers: b.Headers,
		Rate: wide(b.Rate), Concurrency: b.Concurrency, Timeout: seconds(b.TimeoutSeconds), State: textOf(b.State)})
	return ChangeHookEndpoint200JSONResponse(apiHookEndpoint(e)), err
}

// RemoveHookEndpoint removes one, with what waits for it.
func (a *api) RemoveHookEndpoint(ctx context.Context, r RemoveHookEndpointRequestObject) (RemoveHookEndpointResponseObject, error) {
	return RemoveHookEndpoint204Response{}, a.Outgoing.Remove(ctx, principalOf(ctx), r.HookEndpoint)
}

// RotateHookEndpoint gives it a new secret.
func (a *api) RotateHookEndpoint(ctx context.Context, r RotateHookEndpointRequestObject) (RotateHookEndpointResponseObject, error) {
	b := value(r.Body)
	overlap, err := overlapOf(b.Overlap)
	if err != nil {
		return nil, err
	}
	e, secret, err := a.Outgoing.Rotate(ctx, principalOf(ctx), r.HookEndpoint, value(b.Secret), overlap)
	if err != nil {
		return nil, err
	}
	return RotateHookEndpoint200JSONResponse{Endpoint: apiHookEndpoint(e), Secret: some(secret)}, nil
}

// TestHookEndpoint queues a message of type hook.test.
func (a *api) TestHookEndpoint(ctx context.Context, r TestHookEndpointRequestObject) (TestHookEndpointResponseObject, error) {
	d, err := a.Outgoing.Test(ctx, principalOf(ctx), r.HookEndpoint)
	return TestHookEndpoint201JSONResponse(apiHookDelivery(d)), err
}

func textOf[T ~string](p *T) *string {
	if p == nil {
		return nil
	}
	text := string(*p)
	return &text
}

func wide(p *float32) *float64 {
	if p == nil {
		return nil
	}
	v := float64(*p)
	return &v
}

func seconds(p *int) *time.Duration {
	if p == nil {
		return nil
	}
	d := time.Duration(*p) * time.Second
	return &d
}

// hookTransform is the one given, one of no kind where it is to be taken away, or nil.
func hookTransform(t *HookTransform, none bool) *transform.Transform {
	if none {
		return &transform.Transform{}
	}
	if t == nil {
		return nil
	}
	return &transform.Transform{Kind: transform.Kind(t.Kind), Text: t.Text}
}

func apiHookEndpoint(e outgoing.Endpoint) HookEndpoint {
	h := e.Health
	out := HookEndpoint{ID: e.ID, Name: e.Name, URL: e.URL, Events: nonNil(e.Events), Topics: nonNil(e.Topics), Devices: nonNil(e.Devices),
		Format: HookFormat(e.Format), Headers: e.Headers, Signature: HookEndpointSignature(e.Signature), PublicKey: some(e.PublicKey),
		Mode: HookEndpointMode(e.Mode), Rate: float32(e.Rate), Concurrency: int(e.Concurrency), TimeoutSeconds: int(e.TimeoutMs / 1000),
		State: HookEndpointState(e.State), DisabledReason: some(e.DisabledReason), Breaker: HookEndpointBreaker(h.Breaker), FailingSince: store.TimeOf(h.FailingSince),
		LastError: some(h.LastError), Waiting: h.Waiting, Dead: h.Dead, Delivered24H: e.Delivered, Failed24H: e.Failed, LastAt: store.TimeOf(h.LastAt),
		CreatedAt: store.Time(e.CreatedAt), Secrets: []HookSecret{}}
	if e.TransformKind != "" {
		out.Transform = &HookTransform{Kind: HookTransformKind(e.TransformKind), Text: e.Transform}
	}
	if h.Breaker == outgoing.BreakerOpen {
		out.RetryAt = store.TimeOf(&h.RetryAt)
	}
	for _, s := range e.Secrets {
		out.Secrets = append(out.Secrets, HookSecret{ID: s.ID, Hint: s.Hint, CreatedAt: store.Time(s.CreatedAt), ExpiresAt: store.TimeOf(s.ExpiresAt)})
	}
	return out
}
