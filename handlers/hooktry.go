package handlers

import (
	"context"
	"errors"
	"strings"

	"github.com/aditdev/adit/internal/webhook/transform"
	"github.com/aditdev/adit/internal/wire"
)

// TryHookTransform runs a transform once, for whoever writes one.
func (a *api) TryHookTransform(ctx context.Context, r TryHookTransformRequestObject) (TryHookTransformResponseObject, error) {
	if !a.hookTries.Allow(principalOf(ctx).User.ID) {
		return nil, wire.Errorf(wire.RateLimited, "Too many tries at once. Wait a few seconds.")
	}
	t := transform.Transform{Kind: transform.Kind(r.Body.Transform.Kind), Text: r.Body.Transform.Text}
	if err := transform.Check(t); err != nil {
		return nil, ofField("transform", err)
	}
	out, err := a.Transforms.Apply(ctx, t, r.Body.Input)
	if err != nil {
		return nil, ofField("transform", err)
	}
	return TryHookTransform200JSONResponse{Output: strings.ToValidUTF8(string(out), "\uFFFD")}, nil
}

// ofField shows what is wrong beside a form's field.
func ofField(field string, err error) error {
	if e, ok := errors.AsType[*wire.Error](err); ok && e.Code == wire.Invalid {
		return &wire.Error{Code: e.Code, Message: e.Message, Err: e.Err, Fields: map[string]string{field: e.Message}}
	}
	return err
}
