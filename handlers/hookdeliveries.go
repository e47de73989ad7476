package handlers

import (
	"context"

	"github.com/aditdev/adit/internal/wire"
)

func (a *api) ListHookDeliveries(_ context.Context, _ ListHookDeliveriesRequestObject) (ListHookDeliveriesResponseObject, error) {
	return nil, wire.Errorf(wire.NotFound, "Not yet.")
}

func (a *api) ReplayHookDeliveries(_ context.Context, _ ReplayHookDeliveriesRequestObject) (ReplayHookDeliveriesResponseObject, error) {
	return nil, wire.Errorf(wire.NotFound, "Not yet.")
}

func (a *api) GetHookDelivery(_ context.Context, _ GetHookDeliveryRequestObject) (GetHookDeliveryResponseObject, error) {
	return nil, wire.Errorf(wire.NotFound, "Not yet.")
}

func (a *api) CancelHookDelivery(_ context.Context, _ CancelHookDeliveryRequestObject) (CancelHookDeliveryResponseObject, error) {
	return nil, wire.Errorf(wire.NotFound, "Not yet.")
}

func (a *api) ReplayHookDelivery(_ context.Context, _ ReplayHookDeliveryRequestObject) (ReplayHookDeliveryResponseObject, error) {
	return nil, wire.Errorf(wire.NotFound, "Not yet.")
}
