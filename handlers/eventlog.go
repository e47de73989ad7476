package handlers

import (
	"context"

	"github.com/aditdev/adit/internal/wire"
)

func (a *api) ListEventTypes(_ context.Context, _ ListEventTypesRequestObject) (ListEventTypesResponseObject, error) {
	return nil, wire.Errorf(wire.NotFound, "Not yet.")
}

func (a *api) GetRetention(_ context.Context, _ GetRetentionRequestObject) (GetRetentionResponseObject, error) {
	return nil, wire.Errorf(wire.NotFound, "Not yet.")
}

func (a *api) PutRetention(_ context.Context, _ PutRetentionRequestObject) (PutRetentionResponseObject, error) {
	return nil, wire.Errorf(wire.NotFound, "Not yet.")
}
