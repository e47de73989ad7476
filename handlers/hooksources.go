package handlers

import (
	"context"

	"github.com/aditdev/adit/internal/wire"
)

func (a *api) ListHookSources(_ context.Context, _ ListHookSourcesRequestObject) (ListHookSourcesResponseObject, error) {
	return nil, wire.Errorf(wire.NotFound, "Not yet.")
}

func (a *api) CreateHookSource(_ context.Context, _ CreateHookSourceRequestObject) (CreateHookSourceResponseObject, error) {
	return nil, wire.Errorf(wire.NotFound, "Not yet.")
}

func (a *api) RemoveHookSource(_ context.Context, _ RemoveHookSourceRequestObject) (RemoveHookSourceResponseObject, error) {
	return nil, wire.Errorf(wire.NotFound, "Not yet.")
}

func (a *api) GetHookSource(_ context.Context, _ GetHookSourceRequestObject) (GetHookSourceResponseObject, error) {
	return nil, wire.Errorf(wire.NotFound, "Not yet.")
}

func (a *api) ChangeHookSource(_ context.Context, _ ChangeHookSourceRequestObject) (ChangeHookSourceResponseObject, error) {
	return nil, wire.Errorf(wire.NotFound, "Not yet.")
}

func (a *api) RotateHookSource(_ context.Context, _ RotateHookSourceRequestObject) (RotateHookSourceResponseObject, error) {
	return nil, wire.Errorf(wire.NotFound, "Not yet.")
}
