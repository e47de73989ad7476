package handlers

import (
	"context"

	"github.com/aditdev/adit/internal/wire"
)

func (a *api) ListHookEndpoints(_ context.Context, _ ListHookEndpointsRequestObject) (ListHookEndpointsResponseObject, error) {
	return nil, wire.Errorf(wire.NotFound, "Not yet.")
}

func (a *api) CreateHookEndpoint(_ context.Context, _ CreateHookEndpointRequestObject) (CreateHookEndpointResponseObject, error) {
	return nil, wire.Errorf(wire.NotFound, "Not yet.")
}

func (a *api) RemoveHookEndpoint(_ context.Context, _ RemoveHookEndpointRequestObject) (RemoveHookEndpointResponseObject, error) {
	return nil, wire.Errorf(wire.NotFound, "Not yet.")
}

func (a *api) GetHookEndpoint(_ context.Context, _ GetHookEndpointRequestObject) (GetHookEndpointResponseObject, error) {
	return nil, wire.Errorf(wire.NotFound, "Not yet.")
}

func (a *api) ChangeHookEndpoint(_ context.Context, _ ChangeHookEndpointRequestObject) (ChangeHookEndpointResponseObject, error) {
	return nil, wire.Errorf(wire.NotFound, "Not yet.")
}

func (a *api) RotateHookEndpoint(_ context.Context, _ RotateHookEndpointRequestObject) (RotateHookEndpointResponseObject, error) {
	return nil, wire.Errorf(wire.NotFound, "Not yet.")
}

func (a *api) TestHookEndpoint(_ context.Context, _ TestHookEndpointRequestObject) (TestHookEndpointResponseObject, error) {
	return nil, wire.Errorf(wire.NotFound, "Not yet.")
}
