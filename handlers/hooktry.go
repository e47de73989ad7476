package handlers

import (
	"context"

	"github.com/aditdev/adit/internal/wire"
)

func (a *api) TryHookTransform(_ context.Context, _ TryHookTransformRequestObject) (TryHookTransformResponseObject, error) {
	return nil, wire.Errorf(wire.NotFound, "Not yet.")
}
