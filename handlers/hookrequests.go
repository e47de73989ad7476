package handlers

import (
	"context"

	"github.com/aditdev/adit/internal/wire"
)

func (a *api) ListHookRequests(_ context.Context, _ ListHookRequestsRequestObject) (ListHookRequestsResponseObject, error) {
	return nil, wire.Errorf(wire.NotFound, "Not yet.")
}

func (a *api) GetHookRequest(_ context.Context, _ GetHookRequestRequestObject) (GetHookRequestResponseObject, error) {
	return nil, wire.Errorf(wire.NotFound, "Not yet.")
}

func (a *api) AnswerHookRequest(_ context.Context, _ AnswerHookRequestRequestObject) (AnswerHookRequestResponseObject, error) {
	return nil, wire.Errorf(wire.NotFound, "Not yet.")
}

func (a *api) ReplayHookRequest(_ context.Context, _ ReplayHookRequestRequestObject) (ReplayHookRequestResponseObject, error) {
	return nil, wire.Errorf(wire.NotFound, "Not yet.")
}
