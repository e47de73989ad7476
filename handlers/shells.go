package handlers

import (
	"context"

	"github.com/aditdev/adit/internal/wire"
)

var errNoShells = wire.Errorf(wire.Offline, "Shells are not wired in yet.")

func (a *api) ListShells(context.Context, ListShellsRequestObject) (ListShellsResponseObject, error) {
	return ListShells200JSONResponse{}, nil
}

func (a *api) OpenShell(context.Context, OpenShellRequestObject) (OpenShellResponseObject, error) {
	return nil, errNoShells
}

func (a *api) CloseShell(context.Context, CloseShellRequestObject) (CloseShellResponseObject, error) {
	return nil, errNoShells
}
