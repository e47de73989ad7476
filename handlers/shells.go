package handlers

import (
	"context"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/shell"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// ListShells gives the caller's own shells that still live.
func (a *api) ListShells(ctx context.Context, _ ListShellsRequestObject) (ListShellsResponseObject, error) {
	p := principalOf(ctx)
	views, err := a.Shells.List(ctx, p.User.ID)
	if err != nil {
		return nil, err
	}
	shells := make(ListShells200JSONResponse, len(views))
	for i, v := range views {
		shells[i] = apiShell(v, a.deviceName(ctx, p, v.Device))
	}
	return shells, nil
}

func (a *api) deviceName(ctx context.Context, p *auth.Principal, id string) string {
	d, err := a.Devices.Find(ctx, p, id)
	if err != nil {
		return id
	}
	return d.Name
}

// OpenShell begins a shell and answers while it is opening: how that went, whoever attaches is told.
func (a *api) OpenShell(ctx context.Context, r OpenShellRequestObject) (OpenShellResponseObject, error) {
	p := principalOf(ctx)
	d, err := a.Devices.Find(ctx, p, r.Body.Device)
	if err != nil {
		return nil, err
	}
	record := shell.Record{ID: store.NewID("shl"), User: p.User.ID, Device: d.ID, Login: value(r.Body.Login),
		Rescue: value(r.Body.Rescue), Cols: r.Body.Cols, Rows: r.Body.Rows, Created: a.Now()}
	if record.Login == "" {
		record.Login = d.DefaultLogin
	}
	if !wire.ValidLogin(record.Login) {
		return nil, &wire.Error{Code: wire.Invalid, Message: "Say as which Unix account. " + d.Name + " has no default login.",
			Fields: map[string]string{"login": "Name an account of the device, as pi or root."}}
	}
	use := access.Use{User: p.User.ID, Credential: p.Credential, Device: d.ID, Target: string(record.Target()), Login: record.Login,
		Way: access.Held}
	if err := a.Gate.Check(ctx, use); err != nil {
		return nil, err
	}
	if !a.Tunnel.Online(d.ID) {
		return nil, wire.Errorf(wire.Offline, "%s is offline. A shell can be opened when it is back.", d.Name)
	}
	view, err := a.Shells.Open(ctx, record)
	if err != nil {
		return nil, err
	}
	return OpenShell201JSONResponse(apiShell(view, d.Name)), nil
}

// CloseShell ends a shell of the caller's.
func (a *api) CloseShell(ctx context.Context, r CloseShellRequestObject) (CloseShellResponseObject, error) {
	if err := a.Shells.Close(ctx, principalOf(ctx).User.ID, r.ShellID); err != nil {
		return nil, err
	}
	return CloseShell204Response{}, nil
}

func apiShell(v shell.View, deviceName string) Shell {
	return Shell{ID: v.ID, DeviceID: v.Device, DeviceName: deviceName, Login: v.Login, State: ShellState(v.State),
		CreatedAt: v.Created, Cols: v.Cols, Rows: v.Rows, OutlivesHub: v.OutlivesHub, ExitStatus: v.ExitStatus, Attached: &v.Attached}
}
